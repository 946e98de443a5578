//! One module per command. They adapt what was typed to the engine's methods, and what comes back to text or JSON.

use hearth_api::types::{ChatId, MessageId};
use hearth_api::{Client, methods};

use crate::args::{Cli, Command};
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;

mod account;
mod answer;
mod ask;
mod chat;
mod chats;
mod devices;
mod engine;
mod erasures;
mod memory;
mod models;
mod profile;
mod pull;
mod recall;
mod serve;
mod settings;
mod status;
mod sync;

/// Runs one command.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    if matches!(cli.command, Command::Version) {
        return version(output);
    }
    if let Command::Certificate(args) = &cli.command {
        return erasures::certificate(args, output);
    }
    let profile = Profile::find(&cli.global, output)?;
    match cli.command {
        Command::Ask(args) => ask::run(&profile, args, output).await,
        Command::Chat(args) => chat::run(&profile, args, output).await,
        Command::Chats(args) => chats::run(&profile, args, output).await,
        Command::Memory(args) => memory::run(&profile, args, output).await,
        Command::Recall(args) => recall::run(&profile, args, output).await,
        Command::Models(args) => models::run(&profile, args, output).await,
        Command::Account(args) => account::run(&profile, args, output).await,
        Command::Devices(args) => devices::run(&profile, args, output).await,
        Command::Sync(args) => sync::run(&profile, args, output).await,
        Command::Erase(args) => erasures::erase(&profile, args, output).await,
        Command::Erasures(args) => erasures::run(&profile, args, output).await,
        Command::Status => status::run(&profile, output).await,
        Command::Serve(args) => serve::run(&profile, args, output).await,
        Command::Engine(args) => engine::run(profile, args, output).await,
        Command::Profile(args) => profile::run(&profile, args, output).await,
        Command::Settings(args) => settings::run(&profile, args, output).await,
        Command::Certificate(_) | Command::Version => Ok(()),
    }
}

fn version(output: &Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        return output.value(&serde_json::json!({"version": version, "target": target}));
    }
    output.line(&format!("hearth {version}"))
}

/// Connects, runs `work` until it ends or Ctrl-C comes, and closes what was opened.
async fn with_session<T>(
    profile: &Profile,
    want: Want,
    output: &Output,
    work: impl AsyncFnOnce(&Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let session = profile.connect(want, output).await?;
    let result = tokio::select! {
        result = work(&session) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    };
    session.close().await;
    result
}

/// Finds a chat by its identifier, the beginning of it, or `last`.
async fn find_chat(client: &Client, name: &str) -> Result<ChatId, Failure> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let everything = methods::chats::ListParams::default();
    let chats = client.call::<methods::chats::List>(everything).await?.chats;
    if name == "last" {
        // An incognito chat is only met by those who name it.
        let latest = chats
            .iter()
            .find(|chat| !chat.incognito)
            .ok_or_else(|| Failure::not_found("There are no chats yet."))?;
        return Ok(latest.id);
    }
    let start = name.to_lowercase();
    let found: Vec<ChatId> = chats
        .iter()
        .map(|chat| chat.id)
        .filter(|id| id.to_string().starts_with(&start))
        .collect();
    match found[..] {
        [id] if !start.is_empty() => Ok(id),
        [] => Err(Failure::not_found(format!("There is no chat {name:?}."))
            .hint("`hearth chats list` shows those there are.")),
        _ => Err(Failure::usage(format!(
            "Several chats begin with {name:?}. Give more of the identifier."
        ))),
    }
}

fn message_id(text: &str) -> Result<MessageId, Failure> {
    text.parse().map_err(|_| {
        Failure::usage(format!(
            "{text:?} isn't a message's identifier (32 hexadecimal digits)."
        ))
    })
}

/// The beginning of an identifier, long enough for a person.
fn short(id: ChatId) -> String {
    id.to_string()[..8].to_owned()
}

/// Asks before something is destroyed; without a terminal `--yes` is needed.
fn confirm(output: &Output, yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !output.can_ask() {
        return Err(
            Failure::usage("This can't be undone, and there is no terminal to ask on.")
                .hint("Add --yes if you are sure."),
        );
    }
    if output.confirm(question, false) {
        Ok(())
    } else {
        output.note("Nothing was changed.");
        Err(Failure::Interrupted)
    }
}
