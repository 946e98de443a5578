//! `hearth chats`: listing, reading, searching, moving and deleting.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use hearth_api::methods::Empty;
use hearth_api::methods::chats::{
    Configure, ConfigureParams, Delete, DeleteParams, Deleted, Export, ExportEvent, ExportParams, Exported,
    Import, ImportFormat, ImportParams, ImportSource, List, ListParams, Rename, RenameParams, Search,
    SearchParams, Selection, Show, ShowParams, erased_meanwhile,
};
use hearth_api::methods::memory::Receipts;
use hearth_api::methods::sync::GetSyncStatus;
use hearth_api::types::{
    BULK_ERASURE, Chat, ChatDetail, ChatId, EraseReceiptsParams, EraseScope, ErasureId, Message, Role,
};
use hearth_api::{Client, ErrorCode, Method, Update};
use serde_json::json;

use super::{confirm, erasures, find_chat, memory, message_id, short, with_session};
use crate::args::{Chats, ImportForm, Switch};
use crate::commands::answer;
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) async fn run(profile: &Profile, args: Chats, output: &Output) -> Result<(), Failure> {
    with_session(profile, Want::Brief, output, async |session| {
        let client = &session.client;
        match args {
            Chats::List { limit } => list(client, limit, output).await,
            Chats::Show { chat, leaf } => show(client, &chat, leaf.as_deref(), output).await,
            Chats::Search { words, limit, chat } => {
                search(client, &words, limit, chat.as_deref(), output).await
            }
            Chats::Export { chats, output: file } => export(client, &chats, file.as_deref(), output).await,
            Chats::Import {
                file,
                format,
                remember,
            } => import(client, &file, format, remember, output).await,
            Chats::Rename { chat, title } => rename(client, &chat, title.join(" "), output).await,
            Chats::Memory { chat, switch } => remember(client, &chat, switch == Switch::On, output).await,
            Chats::Delete { chats, all, yes } => delete(client, &chats, all, yes, output).await,
        }
    })
    .await
}

async fn list(client: &Client, limit: u32, output: &Output) -> Result<(), Failure> {
    let listed = client
        .call::<List>(ListParams {
            limit: Some(limit),
            offset: None,
        })
        .await?;
    if output.json {
        return output.value(&listed);
    }
    if listed.chats.is_empty() {
        output.note("There are no chats yet. Begin one: hearth ask \"What can you do?\"");
        return Ok(());
    }
    let now = text::now_ms();
    let row = |chat: &Chat| {
        let title = if chat.title.is_empty() {
            "(no words)"
        } else {
            &chat.title
        };
        let mark = if chat.incognito { "(incognito) " } else { "" };
        let messages = text::count(chat.message_count);
        vec![
            short(chat.id),
            text::ago(chat.updated_at_ms, now),
            messages,
            format!("{mark}{}", text::one_line(title, 200)),
        ]
    };
    let rows: Vec<Vec<String>> = listed.chats.iter().map(row).collect();
    let width = if output.terminal {
        output.table_width()
    } else {
        usize::MAX
    };
    for line in text::table(&["CHAT", "WHEN", "MESSAGES", "TITLE"], &rows, width) {
        output.line(&line)?;
    }
    if u32::try_from(listed.chats.len()) == Ok(limit) {
        output.aside(&format!("The latest {limit}. More with --limit N."));
    }
    Ok(())
}

async fn show(client: &Client, chat: &str, leaf: Option<&str>, output: &Output) -> Result<(), Failure> {
    let leaf = leaf.map(message_id).transpose()?;
    let chat = find_chat(client, chat).await?;
    let detail = client.call::<Show>(ShowParams { chat, leaf }).await?;
    if output.json {
        return output.value(&detail);
    }
    let title = format!(
        "{}  {}",
        output.bold(&output.safe(&detail.chat.title)),
        output.dim(&short(detail.chat.id))
    );
    output.line(&title)?;
    print_messages(&detail, detail.messages.len(), output)
}

/// Prints the last `most` messages of a branch.
pub(super) fn print_messages(detail: &ChatDetail, most: usize, output: &Output) -> Result<(), Failure> {
    let now = text::now_ms();
    let skipped = detail.messages.len().saturating_sub(most);
    for message in &detail.messages[skipped..] {
        let mut head = format!("{} · {}", speaker(message), text::ago(message.created_at_ms, now));
        if message.siblings.len() > 1
            && let Some(place) = message.siblings.iter().position(|id| *id == message.id)
        {
            head = format!("{head} · version {} of {}", place + 1, message.siblings.len());
        }
        output.line("")?;
        output.line(&output.dim(&output.safe(&head)))?;
        output.line(output.safe(&message.text).trim_end())?;
        for remark in answer::remarks(message) {
            output.line(&output.dim(&format!("({remark})")))?;
        }
    }
    Ok(())
}

fn speaker(message: &Message) -> String {
    match (message.role, &message.metadata) {
        (Role::User, _) => "You".to_owned(),
        (Role::System, _) => "Instructions".to_owned(),
        (Role::Assistant, Some(metadata)) => metadata.model.clone(),
        (Role::Assistant, None) => "Assistant".to_owned(),
        (Role::Tool, _) => "Tool".to_owned(),
    }
}

async fn search(
    client: &Client,
    words: &[String],
    limit: u32,
    chat: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let chat = match chat {
        Some(name) => Some(find_chat(client, name).await?),
        None => None,
    };
    let found = client
        .call::<Search>(SearchParams {
            text: words.join(" "),
            limit: Some(limit),
            chat,
        })
        .await?;
    if output.json {
        return output.value(&found);
    }
    if found.hits.is_empty() {
        output.note("Nothing was found.");
    }
    let now = text::now_ms();
    for hit in &found.hits {
        let who = if hit.role == Role::User {
            "you"
        } else {
            "the model"
        };
        let when = text::ago(hit.created_at_ms, now);
        let head = format!("{}  {}, {who}", text::one_line(&hit.chat_title, 60), when);
        output.line(&format!(
            "{}  {}",
            output.bold(&short(hit.chat)),
            output.dim(&head)
        ))?;
        let snippet = hit.snippet.split_whitespace().collect::<Vec<_>>().join(" ");
        output.line(&format!("  {}", output.safe(&snippet)))?;
    }
    Ok(())
}

async fn export(
    client: &Client,
    chats: &[String],
    file: Option<&Path>,
    output: &Output,
) -> Result<(), Failure> {
    let which = if chats.is_empty() {
        Selection::All
    } else {
        Selection::Chats {
            chats: find_all(client, chats).await?,
        }
    };
    save::<Export>(client, ExportParams { which }, file, output).await
}

/// Writes an export to standard output, or to a file that must not exist.
///
/// It is as of one moment, and writing it may take a while: when something was erased until its end, that is an error.
pub(super) async fn save<M>(
    client: &Client,
    params: M::Params,
    file: Option<&Path>,
    output: &Output,
) -> Result<(), Failure>
where
    M: Method<Event = ExportEvent, Output = Exported>,
{
    let erased = latest_erasure(client).await?;
    let mut call = client.stream::<M>(params);
    let Some(path) = file else {
        while let Some(update) = call.next().await {
            match update {
                Update::Event(piece) => io::stdout().lock().write_all(piece.chunk.as_bytes())?,
                Update::Done(done) => done.map(|_| ())?,
            }
        }
        io::stdout().lock().flush()?;
        return nothing_erased_since(client, erased).await;
    };
    let mut target = create_private(path)?;
    let written = async {
        while let Some(update) = call.next().await {
            match update {
                Update::Event(piece) => {
                    target
                        .write_all(piece.chunk.as_bytes())
                        .map_err(|error| Failure::file(path, &error))?;
                }
                Update::Done(done) => {
                    let exported = done?;
                    target.sync_all().map_err(|error| Failure::file(path, &error))?;
                    nothing_erased_since(client, erased).await?;
                    return Ok(exported);
                }
            }
        }
        Err(Failure::new(ErrorCode::Disconnected, "The engine ended."))
    }
    .await;
    let exported = match written {
        Ok(exported) => exported,
        Err(failure) => {
            // Half an export is worse than none.
            let _ = std::fs::remove_file(path);
            return Err(failure);
        }
    };
    if output.json {
        return output.value(&json!({"file": path, "bytes": exported.bytes}));
    }
    output.line(&format!(
        "Wrote {} to {}. Anyone who has this file can read it.",
        text::size(exported.bytes),
        path.display()
    ))
}

async fn latest_erasure(client: &Client) -> Result<Option<ErasureId>, Failure> {
    let latest = EraseReceiptsParams {
        limit: Some(1),
        offset: None,
    };
    let found = client.call::<Receipts>(latest).await?.receipts;
    Ok(found.first().map(|receipt| receipt.erasure))
}

async fn nothing_erased_since(client: &Client, erased: Option<ErasureId>) -> Result<(), Failure> {
    if latest_erasure(client).await? == erased {
        Ok(())
    } else {
        Err(erased_meanwhile().into())
    }
}

fn create_private(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::usage(format!("{} exists already; nothing was written.", path.display()))
        }
        _ => Failure::file(path, &error),
    })
}

async fn import(
    client: &Client,
    file: &Path,
    form: ImportForm,
    remember: bool,
    output: &Output,
) -> Result<(), Failure> {
    let source = source(file)?;
    let format = match form {
        ImportForm::Auto => ImportFormat::Auto,
        ImportForm::Hearth => ImportFormat::Hearth,
        ImportForm::Chatgpt => ImportFormat::Chatgpt,
        ImportForm::Lines => ImportFormat::Lines,
    };
    let imported = client
        .call::<Import>(ImportParams {
            source,
            format,
            remember,
        })
        .await?;
    if output.json {
        return output.value(&imported);
    }
    let (chats, messages) = (
        text::counted(imported.chats, "chat"),
        text::counted(imported.messages, "message"),
    );
    output.line(&format!("Read {chats} with {messages}."))?;
    if imported.skipped_chats > 0 {
        output.note(&format!(
            "Already here and left alone: {}.",
            text::counted(imported.skipped_chats, "chat")
        ));
    }
    for warning in &imported.warnings {
        output.note(&text::sentence(warning));
    }
    Ok(())
}

/// Where a file to import is; `-` is standard input.
pub(super) fn source(file: &Path) -> Result<ImportSource, Failure> {
    if file != Path::new("-") {
        let path = file.canonicalize().map_err(|error| Failure::file(file, &error))?;
        return Ok(ImportSource::File { path });
    }
    let mut text = String::new();
    let read = io::stdin().lock().read_to_string(&mut text);
    read.map_err(|_| Failure::usage("Standard input isn't UTF-8 text."))?;
    Ok(ImportSource::Text { text })
}

async fn rename(client: &Client, chat: &str, title: String, output: &Output) -> Result<(), Failure> {
    let chat = find_chat(client, chat).await?;
    client
        .call::<Rename>(RenameParams {
            chat,
            title: title.clone(),
        })
        .await?;
    if output.json {
        return output.value(&json!({"chat": chat, "title": title}));
    }
    output.line(&format!("Chat {} is now called {title:?}.", short(chat)))
}

async fn remember(client: &Client, chat: &str, on: bool, output: &Output) -> Result<(), Failure> {
    let params = ConfigureParams {
        chat: find_chat(client, chat).await?,
        system: None,
        model: None,
        memory: Some(on),
    };
    let chat = client.call::<Configure>(params).await?;
    if output.json {
        return output.value(&chat);
    }
    output.line(&format!(
        "Chat {} is {}remembered.",
        short(chat.id),
        if chat.memory { "" } else { "not " }
    ))
}

async fn delete(
    client: &Client,
    chats: &[String],
    all: bool,
    yes: bool,
    output: &Output,
) -> Result<(), Failure> {
    let chats = if all {
        every(client).await?.into_iter().map(|chat| chat.id).collect()
    } else {
        find_all(client, chats).await?
    };
    let question = if all {
        format!("Delete all chats ({}) for good?", text::count(chats.len() as u64))
    } else {
        match &chats[..] {
            [chat] => {
                let detail = client
                    .call::<Show>(ShowParams {
                        chat: *chat,
                        leaf: None,
                    })
                    .await?;
                let messages = text::counted(detail.chat.message_count, "message");
                format!(
                    "Delete \"{}\" with {messages} for good?",
                    text::one_line(&detail.chat.title, 60)
                )
            }
            chats => format!("Delete {} for good?", text::counted(chats.len() as u64, "chat")),
        }
    };
    confirm(output, yes, &question)?;
    let deleted =
        if chats.len() > BULK_ERASURE && client.call::<GetSyncStatus>(Empty {}).await?.account.is_some() {
            delete_everywhere(client, chats, output).await?
        } else {
            let which = Selection::Chats { chats };
            client.call::<Delete>(DeleteParams { which }).await?
        };
    if output.json {
        return output.value(&deleted);
    }
    output.line(&format!("Deleted {}.", text::counted(deleted.chats, "chat")))
}

/// Deletes many from every device, with a time to take it back; incognito ones are on this device alone.
async fn delete_everywhere(
    client: &Client,
    mut chats: Vec<ChatId>,
    output: &Output,
) -> Result<Deleted, Failure> {
    let incognito: HashSet<ChatId> = every(client)
        .await?
        .into_iter()
        .filter(|chat| chat.incognito)
        .map(|chat| chat.id)
        .collect();
    let here: Vec<ChatId> = chats.extract_if(.., |chat| incognito.contains(chat)).collect();
    let scope = EraseScope::Chats { chats };
    let done = erasures::order(client, memory::erase::whole(scope), output).await?;
    let which = Selection::Chats { chats: here };
    let deleted = client.call::<Delete>(DeleteParams { which }).await?;
    let erased = u32::try_from(done.receipt.chats).unwrap_or(u32::MAX);
    Ok(Deleted {
        chats: deleted.chats.saturating_add(erased),
    })
}

/// All chats; the list comes in pages.
async fn every(client: &Client) -> Result<Vec<Chat>, Failure> {
    let mut chats = Vec::new();
    loop {
        let params = ListParams {
            limit: None,
            offset: Some(u32::try_from(chats.len()).unwrap_or(u32::MAX)),
        };
        let page = client.call::<List>(params).await?.chats;
        if page.is_empty() {
            return Ok(chats);
        }
        chats.extend(page);
    }
}

async fn find_all(client: &Client, names: &[String]) -> Result<Vec<ChatId>, Failure> {
    let mut found: Vec<ChatId> = Vec::new();
    for name in names {
        let chat = find_chat(client, name).await?;
        if !found.contains(&chat) {
            found.push(chat);
        }
    }
    Ok(found)
}
