//! `hearth ask`: one question, one answer.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use hearth_api::methods::chat::{Reply, Send, SendParams};
use hearth_api::methods::generate::{Complete, CompleteEvent, CompleteParams};
use hearth_api::methods::memory::{PreviewErase, PreviewParams};
use hearth_api::types::{EraseScope, MemoryReport, MessageStatus, ResponseFormat, Role, Turn};
use hearth_api::{Client, ErrorCode, Update};
use serde_json::{Value, json};

use super::answer::{self, Ended};
use super::{find_chat, pull};
use crate::args::Ask;
use crate::connect::{Profile, Session, Want};
use crate::failure::Failure;
use crate::output::Output;

/// Largest text taken from standard input; far more than any window holds.
const LARGEST_INPUT_BYTES: u64 = 8 << 20;
/// After so long without an end of standard input, the person is told what is being waited for.
const INPUT_REMINDER: Duration = Duration::from_secs(2);

pub(super) async fn run(profile: &Profile, args: Ask, output: &Output) -> Result<(), Failure> {
    let schema = args.schema.as_deref().map(read_schema).transpose()?;
    let text = question(&args.text.join(" "), output).await?;
    let session = profile.connect(Want::Lasting, output).await?;
    let result = match schema {
        Some(schema) => structured(&session, &args, &text, schema, output).await,
        None => ask(&session, &args, &text, output).await,
    };
    session.close().await;
    result
}

async fn ask(session: &Session, args: &Ask, text: &str, output: &Output) -> Result<(), Failure> {
    let chat = match &args.chat {
        Some(name) => Some(find_chat(&session.client, name).await?),
        None => None,
    };
    let params = SendParams {
        chat,
        parent: None,
        text: text.to_owned(),
        system: args.answering.system.clone(),
        model: args.answering.model.clone().filter(|_| chat.is_none()),
        options: answer::options(&args.answering),
        incognito: args.answering.incognito,
        memory: args.answering.no_memory.then_some(false),
    };
    let mut pulled = false;
    loop {
        let call = session.client.stream::<Send>(params.clone());
        match answer::show(&session.client, call, output).await? {
            Ended::Done(reply) => return finish(&session.client, &reply, output).await,
            Ended::Failed(error) if error.code == ErrorCode::ModelMissing && !pulled => {
                pull::missing(&session.client, &error, args.answering.yes, output).await?;
                pulled = true;
            }
            Ended::Failed(error) => return Err(error.into()),
        }
    }
}

async fn finish(client: &Client, reply: &Reply, output: &Output) -> Result<(), Failure> {
    let message = &reply.message;
    if output.json {
        output.value(&answer_object(reply))?;
    } else {
        for remark in answer::remarks(message) {
            output.note(&remark);
        }
        if let Some(metadata) = &message.metadata {
            after_memory(client, &metadata.memory, output).await?;
        }
        output.aside(&format!(
            "Chat {}. Go on with: hearth chat --last",
            super::short(message.chat)
        ));
    }
    if message.status == MessageStatus::Stopped {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

/// Says what the answer drew on, and what to type to erase what was asked to be forgotten.
async fn after_memory(client: &Client, memory: &MemoryReport, output: &Output) -> Result<(), Failure> {
    if let Some(line) = answer::drew_on(memory) {
        let ids: Vec<String> = memory
            .recalled
            .iter()
            .map(|id| super::memory::short(*id))
            .collect();
        output.aside(&format!("{line} hearth memory show {}", ids.join(" · ")));
    }
    if !memory.kept.is_empty() {
        let ids: Vec<String> = memory.kept.iter().map(|id| super::memory::short(*id)).collect();
        output.aside(&format!("Kept as memory {}.", ids.join(", ")));
    }
    let Some(offer) = &memory.forget else {
        return Ok(());
    };
    let scope = EraseScope::Items {
        memories: offer.memories.clone(),
        turns: offer.turns.clone(),
    };
    let preview = client
        .call::<PreviewErase>(PreviewParams {
            scope,
            take_memories: Vec::new(),
        })
        .await?;
    super::memory::erase::show(&preview, output);
    Ok(())
}

fn answer_object(reply: &Reply) -> Value {
    let message = &reply.message;
    let mut object = json!({
        "answer": message.text, "chat": message.chat, "message": message.id, "status": message.status,
    });
    if let Some(reasoning) = &message.reasoning {
        object["reasoning"] = json!(reasoning);
    }
    if let Some(metadata) = &message.metadata {
        object["model"] = json!(metadata.model);
        object["finish_reason"] = json!(metadata.finish_reason);
        object["usage"] = json!(metadata.usage);
        object["timings"] = json!(metadata.timings);
        object["context"] = json!(metadata.context);
        object["memory"] = json!(metadata.memory);
    }
    object
}

/// An answer that follows a schema: stateless, nothing is kept.
async fn structured(
    session: &Session,
    args: &Ask,
    text: &str,
    schema: Value,
    output: &Output,
) -> Result<(), Failure> {
    let options = answer::options(&args.answering);
    let turn = |role, content: &str| Turn {
        role,
        content: content.to_owned(),
    };
    let system = args
        .answering
        .system
        .as_deref()
        .map(|system| turn(Role::System, system));
    let params = CompleteParams {
        messages: system.into_iter().chain([turn(Role::User, text)]).collect(),
        model: options.model,
        sampling: options.sampling,
        format: ResponseFormat::JsonSchema { schema },
        max_tokens: options.max_tokens,
        ..CompleteParams::default()
    };
    let mut pulled = false;
    loop {
        match complete(session, params.clone(), output).await {
            Err(Failure::Api(error)) if error.code == ErrorCode::ModelMissing && !pulled => {
                pull::missing(&session.client, &error, args.answering.yes, output).await?;
                pulled = true;
            }
            result => return result,
        }
    }
}

async fn complete(session: &Session, params: CompleteParams, output: &Output) -> Result<(), Failure> {
    let mut call = session.client.stream::<Complete>(params);
    loop {
        let update = tokio::select! {
            update = call.next() => update,
            _ = tokio::signal::ctrl_c() => return Err(Failure::Interrupted),
        };
        match update {
            Some(Update::Event(CompleteEvent::Token { text })) if !output.json => output.piece(&text)?,
            Some(Update::Event(_)) => {}
            Some(Update::Done(done)) => {
                let done = done?;
                let value = serde_json::from_str::<Value>(&done.text).ok();
                if output.json {
                    output.value(&json!({
                        "answer": done.text, "value": value, "chat": null, "message": null, "model": done.model,
                        "finish_reason": done.finish_reason, "usage": done.usage, "timings": done.timings,
                        "context": done.context,
                    }))?;
                } else {
                    output.piece("\n")?;
                }
                if value.is_none() {
                    let message = "The answer ended before its JSON was whole.";
                    let hint = "Allow more with --max-tokens, or ask for less.";
                    return Err(Failure::new(ErrorCode::Unsupported, message).hint(hint));
                }
                return Ok(());
            }
            None => return Err(Failure::new(ErrorCode::Disconnected, "The engine ended.")),
        }
    }
}

fn read_schema(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{}: not JSON: {error}", path.display())))
}

/// The question: the typed text, standard input, or both, the latter attached.
async fn question(typed: &str, output: &Output) -> Result<String, Failure> {
    let typed = typed.trim();
    let attached = if io::stdin().is_terminal() {
        String::new()
    } else {
        standard_input(output).await?
    };
    let attached = attached.trim_end_matches(['\r', '\n']);
    match (typed.is_empty(), attached.trim().is_empty()) {
        (true, true) => {
            Err(Failure::usage("There is no question.").hint("Type one after `hearth ask`, or pipe it in."))
        }
        (false, true) => Ok(typed.to_owned()),
        (true, false) => Ok(attached.to_owned()),
        (false, false) => Ok(format!("{typed}\n\n{attached}")),
    }
}

async fn standard_input(output: &Output) -> Result<String, Failure> {
    let mut reading = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        io::stdin()
            .lock()
            .take(LARGEST_INPUT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    });
    let read = if let Ok(read) = tokio::time::timeout(INPUT_REMINDER, &mut reading).await {
        read
    } else {
        output.note("Reading standard input until it ends. (Add `</dev/null` if nothing is to be attached.)");
        reading.await
    };
    let bytes = match read {
        Ok(Ok(bytes)) => bytes,
        // A closed standard input holds nothing.
        Ok(Err(error)) if error.raw_os_error() == Some(9) => Vec::new(),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(Failure::Interrupted),
    };
    if bytes.len() as u64 > LARGEST_INPUT_BYTES {
        return Err(Failure::new(
            ErrorCode::ContextTooLarge,
            "Standard input holds more than 8 MiB, far more than any model's window.",
        ));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage("Standard input isn't UTF-8 text."))
}
