//! `hearth recall`: what is remembered that answers a question, or each question of a file.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use hearth_api::Client;
use hearth_api::methods::memory::Recall;
use hearth_api::types::{ChatId, RecallHit, RecallOver, RecallParams, Recalled, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::memory::short;
use super::{find_chat, with_session};
use crate::args::{Over, Recall as Args};
use crate::connect::{Profile, Want};
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// A question of a file.
#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(rename = "query", alias = "question", alias = "text")]
    words: String,
    /// Given back with the answer.
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    previous: Vec<String>,
    /// Milliseconds since 1970-01-01 UTC.
    #[serde(default, alias = "now_ms")]
    now: Option<i64>,
}

pub(super) async fn run(profile: &Profile, args: Args, output: &Output) -> Result<(), Failure> {
    let queries = match &args.queries {
        Some(file) => Some(read(file)?),
        None if args.query.join(" ").trim().is_empty() => {
            return Err(Failure::usage("The question is empty.")
                .hint("Say what to look for, for instance: hearth recall \"Where do I live?\""));
        }
        None => None,
    };
    with_session(profile, Want::Brief, output, async |session| {
        let client = &session.client;
        let mut chats = Vec::new();
        for chat in &args.chat {
            chats.push(find_chat(client, chat).await?);
        }
        let chats = Some(chats).filter(|chats| !chats.is_empty());
        match queries {
            None => {
                let query = Query {
                    words: args.query.join(" "),
                    ..Query::default()
                };
                let recalled = ask(client, &query, &args, chats).await?;
                if output.json {
                    return output.value(&line(&query, &recalled));
                }
                show(&recalled, output)
            }
            Some(queries) => {
                for query in queries {
                    let recalled = ask(client, &query, &args, chats.clone()).await?;
                    output.value(&line(&query, &recalled))?;
                }
                Ok(())
            }
        }
    })
    .await
}

async fn ask(
    client: &Client,
    query: &Query,
    args: &Args,
    chats: Option<Vec<ChatId>>,
) -> Result<Recalled, Failure> {
    let params = RecallParams {
        query: query.words.clone(),
        previous: query.previous.clone(),
        over: match args.over {
            Over::Facts => RecallOver::Facts,
            Over::Turns => RecallOver::Turns,
            Over::All => RecallOver::All,
        },
        limit: Some(args.limit),
        chats,
        now_ms: query.now,
    };
    Ok(client.call::<Recall>(params).await?)
}

/// One question with what was found: `ids` are those of an imported file where it gave some.
fn line(query: &Query, recalled: &Recalled) -> Value {
    let hits: Vec<Value> = recalled.hits.iter().map(hit).collect();
    let ids: Vec<&Value> = hits.iter().map(|hit| &hit["id"]).collect();
    let mut line = json!({
        "query": query.words, "ids": ids, "hits": hits, "embedding_model": recalled.embedding_model,
    });
    if let Some(id) = &query.id {
        line["id"] = id.clone();
    }
    line
}

fn hit(hit: &RecallHit) -> Value {
    match hit {
        RecallHit::Memory { score, memory } => json!({
            "id": memory.id, "source": "memory", "score": score, "text": memory.text, "kind": memory.kind,
            "status": memory.status, "at_ms": memory.created_at_ms,
        }),
        RecallHit::Turn { score, turn } => json!({
            "id": turn.name.clone().unwrap_or_else(|| turn.message.to_string()), "source": "turn", "score": score,
            "text": turn.text, "chat": turn.chat_title, "chat_id": turn.chat, "message": turn.message,
            "speaker": turn.speaker, "role": turn.role, "at_ms": turn.at_ms,
        }),
    }
}

/// Prints what was found, for people.
pub(super) fn show(recalled: &Recalled, output: &Output) -> Result<(), Failure> {
    if output.json {
        return output.value(recalled);
    }
    if recalled.hits.is_empty() {
        output.note("Nothing was found.");
    }
    let now = text::now_ms();
    for hit in &recalled.hits {
        let (id, head, score, words) = match hit {
            RecallHit::Memory { score, memory } => (
                short(memory.id),
                format!("memory, {}", text::ago(memory.created_at_ms, now)),
                score,
                &memory.text,
            ),
            RecallHit::Turn { score, turn } => {
                let who = match (&turn.speaker, turn.role) {
                    (Some(speaker), _) => speaker.as_str(),
                    (None, Role::User) => "you",
                    (None, _) => "the model",
                };
                let title = text::one_line(&turn.chat_title, 40);
                (
                    turn.name
                        .clone()
                        .unwrap_or_else(|| turn.message.to_string()[..8].to_owned()),
                    format!("{who} in \"{title}\", {}", text::ago(turn.at_ms, now)),
                    score,
                    &turn.text,
                )
            }
        };
        output.line(&format!(
            "{}  {}",
            output.bold(&output.safe(&id)),
            output.dim(&format!("{head}  {score:.3}"))
        ))?;
        output.line(&format!("  {}", output.safe(&text::one_line(words, 400))))?;
    }
    if recalled.embedding_model.is_none() {
        output.aside("Words alone were compared: no model that embeds is here, or it has read nothing yet.");
    }
    Ok(())
}

/// The questions of a file; a bad line refuses all of it.
fn read(file: &Path) -> Result<Vec<Query>, Failure> {
    let reader: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = std::fs::File::open(file).map_err(|error| Failure::file(file, &error))?;
        Box::new(BufReader::new(opened))
    };
    let mut queries = Vec::new();
    for (index, line) in reader.lines().enumerate() {
        let wrong = |reason: &str| Failure::usage(format!("line {}: {reason}", index + 1));
        let line = line.map_err(|_| wrong("not UTF-8 text"))?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let query: Query = if line.starts_with('{') {
            serde_json::from_str(line).map_err(|_| wrong("not an object with a `query`"))?
        } else {
            let words = match serde_json::from_str(line) {
                Ok(Value::String(words)) => words,
                _ => line.to_owned(),
            };
            Query {
                words,
                ..Query::default()
            }
        };
        if query.words.trim().is_empty() {
            return Err(wrong("the question is empty"));
        }
        queries.push(query);
    }
    if queries.is_empty() {
        return Err(Failure::usage(format!("{} has no question.", file.display()))
            .hint("Write one on each line: text, or JSON with `query`."));
    }
    Ok(queries)
}
