//! `hearth memory`: what is remembered, kept, corrected and erased.

use hearth_api::methods::Empty;
use hearth_api::methods::memory::{
    Add, Bio, Confirm, Edit, Export, Import, ImportFormat, ImportParams, List, MemoryParams, Pause, Pin,
    PinParams, Resume, Review, ReviewParams, Search, SearchParams, Show, Stats, Work,
};
use hearth_api::types::{
    EraseReceiptsParams, Memory, MemoryDetail, MemoryDraft, MemoryEdit, MemoryId, MemoryKept, MemoryKind,
    MemoryListParams, MemoryState, MemoryStats, MemoryStatus, MemoryWorked,
};
use hearth_api::{Client, ErrorCode};
use serde_json::json;

use super::chats::{save, source};
use super::{find_chat, with_session};
use crate::args::{Kind, Memory as Args, MemoryForm, State, Switch};
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(super) mod erase;
mod receipts;

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    let want = if matches!(args, Args::Work { .. }) {
        Want::Lasting
    } else {
        Want::Brief
    };
    with_session(profile, want, output, async |session| {
        obey(&session.client, args, output).await
    })
    .await
}

async fn obey(client: &Client, args: Args, output: &Output) -> Result<(), Failure> {
    match args {
        Args::Add {
            text,
            kind,
            sensitive,
            pin,
            from,
            to,
        } => {
            let draft = MemoryDraft {
                text: text.join(" "),
                kind: kind.map(Into::into),
                sensitive: sensitive.then_some(true),
                valid_from_ms: from.as_deref().map(day_ms).transpose()?,
                valid_to_ms: to.as_deref().map(day_ms).transpose()?,
                pinned: pin,
            };
            let kept = client.call::<Add>(draft).await?;
            let done = if kept.known { "Known already" } else { "Kept" };
            show_kept(client, &kept, done, output).await?;
            if kept.paused {
                output.note(
                    "Memory is paused; this was kept all the same, as you asked for it. Go on with: hearth memory resume",
                );
            }
            Ok(())
        }
        Args::List {
            kind,
            state,
            text,
            chat,
            sensitive,
            pinned,
            limit,
            offset,
        } => {
            let chat = match chat {
                Some(chat) => Some(find_chat(client, &chat).await?),
                None => None,
            };
            let params = MemoryListParams {
                kind: kind.map(Into::into),
                state: state.map(Into::into),
                text,
                chat,
                sensitive: sensitive.then_some(true),
                pinned: pinned.then_some(true),
                limit: Some(limit),
                offset: Some(offset),
            };
            list(client, params, output).await
        }
        Args::Show { memory } => {
            let memory = find_memory(client, &memory).await?;
            let detail = client.call::<Show>(MemoryParams { memory }).await?;
            show(&detail, output)
        }
        Args::Search { words, limit } => {
            let params = SearchParams {
                text: words.join(" "),
                limit: Some(limit),
            };
            let found = client.call::<Search>(params).await?;
            super::recall::show(&found, output)
        }
        Args::Edit {
            memory,
            text,
            kind,
            sensitive,
            from,
            to,
            endless,
        } => {
            let edit = MemoryEdit {
                memory: find_memory(client, &memory).await?,
                text: (!text.is_empty()).then(|| text.join(" ")),
                kind: kind.map(Into::into),
                sensitive: sensitive.map(|switch| switch == Switch::On),
                valid_from_ms: from.as_deref().map(day_ms).transpose()?,
                valid_to_ms: to.as_deref().map(day_ms).transpose()?,
                endless: endless.then_some(true),
            };
            let memory = client.call::<Edit>(edit).await?;
            show_one(&memory, "Corrected", output)
        }
        Args::Confirm { memory } => {
            let memory = find_memory(client, &memory).await?;
            let kept = client.call::<Confirm>(MemoryParams { memory }).await?;
            show_kept(client, &kept, "Confirmed", output).await
        }
        Args::Pin { memory, off } => {
            let params = PinParams {
                memory: find_memory(client, &memory).await?,
                pinned: !off,
            };
            let memory = client.call::<Pin>(params).await?;
            show_one(&memory, if off { "Let loose" } else { "Pinned" }, output)
        }
        Args::Erase {
            memories,
            chat,
            topic,
            all,
            keep,
            take,
            keep_chats,
            preview,
            yes,
        } => {
            let scope = erase::scope(client, &memories, &chat, topic, all).await?;
            let wishes = erase::Wishes {
                keep,
                take,
                keep_chats,
                preview,
                yes,
            };
            erase::run(client, scope, &wishes, output).await
        }
        Args::Receipts {
            receipt: None,
            limit,
            offset,
        } => {
            let params = EraseReceiptsParams {
                limit: Some(limit),
                offset: Some(offset),
            };
            receipts::list(client, params, output).await
        }
        Args::Receipts {
            receipt: Some(receipt),
            ..
        } => receipts::show(client, &receipt, output).await,
        Args::Export { output: file } => save::<Export>(client, Empty {}, file.as_deref(), output).await,
        Args::Import { file, format } => {
            let params = ImportParams {
                source: source(&file)?,
                format: match format {
                    MemoryForm::Auto => ImportFormat::Auto,
                    MemoryForm::Hearth => ImportFormat::Hearth,
                    MemoryForm::Facts => ImportFormat::Facts,
                },
            };
            let imported = client.call::<Import>(params).await?;
            if output.json {
                return output.value(&imported);
            }
            output.line(&format!("Read {}.", counted(imported.added)))?;
            if imported.known > 0 {
                output.note(&format!("Known already: {}.", counted(imported.known)));
            }
            if imported.erased > 0 {
                output.note(&format!(
                    "Erased here once, and not brought back: {}.",
                    counted(imported.erased)
                ));
            }
            Ok(())
        }
        Args::Pause => {
            client.call::<Pause>(Empty {}).await?;
            say_paused(true, output)
        }
        Args::Resume => {
            client.call::<Resume>(Empty {}).await?;
            say_paused(false, output)
        }
        Args::Stats => show_stats(&client.call::<Stats>(Empty {}).await?, output),
        Args::Bio => bio(client, output).await,
        Args::Review => {
            let reviewed = client.call::<Review>(ReviewParams { now: true }).await?;
            if output.json {
                return output.value(&reviewed);
            }
            match reviewed.question {
                None => output.note("There is nothing to ask."),
                Some(question) => {
                    output.line(&output.safe(&question.question))?;
                    let id = short(question.memory.id);
                    output.note(&format!(
                        "Right: hearth memory confirm {id}. Wrong: hearth memory edit {id} TEXT, or hearth memory erase {id}"
                    ));
                }
            }
            Ok(())
        }
        Args::Work { wait: _ } => show_worked(&client.call::<Work>(Empty {}).await?, output),
    }
}

async fn list(client: &Client, params: MemoryListParams, output: &Output) -> Result<(), Failure> {
    let limit = params.limit;
    let listed = client.call::<List>(params).await?;
    if output.json {
        return output.value(&listed);
    }
    if listed.memories.is_empty() {
        output.note("Nothing is remembered that fits. Say it in a chat, or: hearth memory add TEXT");
        return Ok(());
    }
    let now = text::now_ms();
    let rows: Vec<Vec<String>> = listed
        .memories
        .iter()
        .map(|memory| {
            vec![
                short(memory.id),
                text::ago(memory.updated_at_ms, now),
                kind_name(memory.kind).to_owned(),
                format!("{}{}", marks(memory), text::one_line(&memory.text, 300)),
            ]
        })
        .collect();
    let width = if output.terminal {
        output.width()
    } else {
        usize::MAX
    };
    for line in text::table(&["MEMORY", "WHEN", "KIND", "TEXT"], &rows, width) {
        output.line(&line)?;
    }
    if listed.memories.len() as u64 == u64::from(limit.unwrap_or(0))
        && listed.total > listed.memories.len() as u64
    {
        output.aside(&format!(
            "{} of {}. More with --limit N.",
            listed.memories.len(),
            listed.total
        ));
    }
    Ok(())
}

fn show(detail: &MemoryDetail, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(detail);
    }
    show_detail(detail, output)
}

/// Prints a memory with where it was said and its history.
pub(super) fn show_detail(detail: &MemoryDetail, output: &Output) -> Result<(), Failure> {
    let memory = &detail.memory;
    output.line(&output.safe(&memory.text))?;
    let sure = (memory.confidence * 100.0).round();
    output.line(&output.dim(&format!(
        "{}  {}{}, {sure:.0} % sure, used {}",
        memory.id,
        marks(memory),
        kind_name(memory.kind),
        text::counted(memory.use_count, "time"),
    )))?;
    for memory_source in &memory.sources {
        let when = memory_source
            .at_ms
            .map_or_else(|| "gone".to_owned(), |at| text::ago(at, text::now_ms()));
        let title = memory_source
            .chat_title
            .as_deref()
            .unwrap_or("a chat that is gone");
        let line = format!(
            "Said {when} in \"{}\" ({})",
            text::one_line(title, 60),
            super::short(memory_source.chat)
        );
        output.line(&line)?;
    }
    for later in &detail.later {
        output.line(&format!(
            "Now: {} ({})",
            output.safe(&later.text),
            short(later.id)
        ))?;
    }
    for earlier in &detail.earlier {
        output.line(&format!(
            "Before: {} ({})",
            output.safe(&earlier.text),
            short(earlier.id)
        ))?;
    }
    Ok(())
}

fn show_one(memory: &Memory, done: &str, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(memory);
    }
    output.line(&format!(
        "{done}: {} ({})",
        output.safe(&text::one_line(&memory.text, 300)),
        short(memory.id)
    ))
}

async fn show_kept(client: &Client, kept: &MemoryKept, done: &str, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(kept);
    }
    show_one(&kept.memory, done, output)?;
    for old in &kept.superseded {
        let old = client.call::<Show>(MemoryParams { memory: *old }).await?.memory;
        output.note(&format!(
            "History now: {} ({})",
            text::one_line(&old.text, 100),
            short(old.id)
        ));
    }
    for other in &kept.contradicts {
        output.note(&format!(
            "It contradicts {}, which still stands. If the new one is right: hearth memory confirm {}",
            short(*other),
            short(kept.memory.id)
        ));
    }
    Ok(())
}

fn say_paused(paused: bool, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(&json!({ "paused": paused }));
    }
    output.line(if paused {
        "Memory is paused: nothing is remembered but what you add yourself, and nothing remembered is looked at."
    } else {
        "Memory goes on."
    })
}

async fn bio(client: &Client, output: &Output) -> Result<(), Failure> {
    let biography = client.call::<Bio>(Empty {}).await?;
    if output.json {
        return output.value(&biography);
    }
    if biography.sentences.is_empty() {
        output.note("There is no biography yet; it is built in an idle moment, or by: hearth memory work");
    }
    for sentence in &biography.sentences {
        let from: Vec<String> = sentence.memories.iter().map(|id| short(*id)).collect();
        output.line(&format!(
            "{}  {}",
            output.safe(&sentence.text),
            output.dim(&from.join(" "))
        ))?;
    }
    if biography.stale {
        output.note("Something it said is gone; it will be built anew.");
    }
    Ok(())
}

fn show_stats(stats: &MemoryStats, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(stats);
    }
    if stats.paused {
        output.line("Memory is paused.")?;
    }
    let kinds: Vec<String> = stats
        .kinds
        .iter()
        .map(|kind| format!("{} {}", text::count(kind.count), kind_name(kind.kind)))
        .collect();
    output.line(&format!(
        "Memories    {} ({})",
        text::count(stats.memories),
        kinds.join(", ")
    ))?;
    output.line(&format!(
        "            {} hold, {} are history, {} wait for your word, {} pinned, {} sensitive",
        text::count(stats.active),
        text::count(stats.superseded),
        text::count(stats.review),
        text::count(stats.pinned),
        text::count(stats.sensitive)
    ))?;
    output.line(&format!("Turns       {}", text::count(stats.turns)))?;
    output.line(&match &stats.embedding_model {
        Some(model) if stats.not_embedded == 0 => format!("Meaning     {model}"),
        Some(model) => format!(
            "Meaning     {model} ({} to be read)",
            text::count(stats.not_embedded)
        ),
        None => "Meaning     words only: no model that embeds is here".to_owned(),
    })?;
    output.line(&match &stats.extraction_model {
        _ if !stats.extraction => "Drawn       from no chat: memory_extraction is off".to_owned(),
        Some(model) => format!("Drawn       by rules and {model}"),
        None => {
            "Drawn       by rules alone: the model that answers is too small to judge, or not here".to_owned()
        }
    })?;
    output.line(&format!(
        "Biography   {}",
        text::counted(stats.biography_sentences, "sentence")
    ))?;
    output.line(&format!("Waiting     {}", text::counted(stats.jobs, "job")))
}

fn show_worked(worked: &MemoryWorked, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(worked);
    }
    output.line(&format!(
        "Embedded {}; from {} drew {} new, {} known.{}",
        text::count(worked.embedded),
        text::counted(worked.mined, "chat"),
        text::count(worked.added),
        text::count(worked.reinforced),
        if worked.biography {
            " The biography is new."
        } else {
            ""
        }
    ))?;
    if worked.failed > 0 {
        output.note(&format!(
            "Failed, to be tried again later: {}.",
            text::counted(worked.failed, "job")
        ));
    }
    Ok(())
}

/// Finds a memory by its identifier or the beginning of it.
pub(super) async fn find_memory(client: &Client, name: &str) -> Result<MemoryId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let start = name.to_lowercase();
    let hexadecimal = start.len() >= 4 && start.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal {
        return Err(Failure::usage(format!(
            "{name:?} isn't a memory's identifier, nor four digits of one's beginning."
        ))
        .hint("`hearth memory list` shows them."));
    }
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let params = MemoryListParams {
            offset: Some(offset),
            ..MemoryListParams::default()
        };
        let listed = client.call::<List>(params).await?;
        if listed.memories.is_empty() {
            break;
        }
        offset += listed.memories.len() as u32;
        let ids = listed.memories.iter().map(|memory| memory.id);
        found.extend(ids.filter(|id| id.to_string().starts_with(&start)));
    }
    match found[..] {
        [id] => Ok(id),
        [] => Err(Failure::not_found(format!("There is no memory {name:?}."))
            .hint("`hearth memory list` shows those there are.")),
        _ => Err(Failure::usage(format!(
            "Several memories begin with {name:?}. Give more of the identifier."
        ))),
    }
}

/// A day as its beginning, UTC.
fn day_ms(day: &str) -> Result<i64, Failure> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    time::Date::parse(day, &format)
        .map(|date| date.midnight().assume_utc().unix_timestamp() * 1000)
        .map_err(|_| {
            Failure::new(
                ErrorCode::InvalidRequest,
                format!("{day:?} isn't a day as 2026-05-01."),
            )
        })
}

/// The beginning of an identifier, long enough for a person.
pub(super) fn short(id: MemoryId) -> String {
    id.to_string()[..8].to_owned()
}

fn marks(memory: &Memory) -> String {
    let mut marks = String::new();
    match memory.status {
        MemoryStatus::Active => {}
        MemoryStatus::Superseded { .. } => marks.push_str("(history) "),
        MemoryStatus::Review => marks.push_str("(to be confirmed) "),
    }
    if memory.pinned {
        marks.push_str("(pinned) ");
    }
    marks
}

fn counted(number: u64) -> String {
    format!(
        "{} {}",
        text::count(number),
        if number == 1 { "memory" } else { "memories" }
    )
}

fn kind_name(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::Constraint => "constraint",
        MemoryKind::Biography => "biography",
        MemoryKind::Preference => "preference",
        MemoryKind::Event => "event",
        MemoryKind::Context => "context",
    }
}

impl From<Kind> for MemoryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Constraint => Self::Constraint,
            Kind::Biography => Self::Biography,
            Kind::Preference => Self::Preference,
            Kind::Event => Self::Event,
            Kind::Context => Self::Context,
        }
    }
}

impl From<State> for MemoryState {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Superseded => Self::Superseded,
            State::Review => Self::Review,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written() {
        assert_eq!(day_ms("2026-05-01").unwrap(), 1_777_593_600_000);
        for wrong in ["2026-13-01", "1.5.2026", "", "yesterday"] {
            assert_eq!(day_ms(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
