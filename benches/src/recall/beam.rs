//! BEAM's format: a folder a chat, with `chat.json` and `probing_questions.json`.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use time::{Date, Month};

use super::conversation::{Asked, Conversation, Turn};

const HOUR_MS: i64 = 3_600_000;

/// Reads every chat in the folder, in the order of their numbers.
pub(super) fn read(folder: &Path) -> Result<Vec<Conversation>> {
    let mut numbers: Vec<u32> = std::fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
        .iter()
        .map(|number| conversation(&folder.join(number.to_string())))
        .collect()
}

fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn conversation(folder: &Path) -> Result<Conversation> {
    let chat = json(&folder.join("chat.json"))?;
    let mut turns: Vec<Turn> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut clock = 1_704_067_200_000;
    let mut sitting = 0;
    for batch in chat.as_array().context("no batches")? {
        for exchange in batch["turns"].as_array().into_iter().flatten() {
            // Each main question, with what follows from it, was a sitting of its own; most have no date.
            sitting += 1;
            clock += 3 * HOUR_MS;
            for message in exchange.as_array().into_iter().flatten() {
                if let Some(anchor) = message["time_anchor"].as_str().and_then(date) {
                    clock = clock.max(anchor);
                }
                clock += 60_000;
                places.entry(message["id"].to_string()).or_insert(turns.len());
                let text = message["content"].as_str().unwrap_or_default();
                turns.push(Turn {
                    speaker: None,
                    by_person: message["role"] == "user",
                    // Where the set's authors numbered the message.
                    text: text
                        .split("->->")
                        .next()
                        .unwrap_or_default()
                        .trim_end()
                        .to_owned(),
                    caption: String::new(),
                    sitting,
                    at_ms: clock,
                });
            }
        }
    }
    let mut questions = Vec::new();
    let probing = json(&folder.join("probing_questions.json"))?;
    for (ability, asked) in probing.as_object().context("no questions")? {
        for one in asked.as_array().into_iter().flatten() {
            let source = &one["source_chat_ids"];
            let groups: Vec<&Value> = match source {
                Value::Object(named) => named.values().collect(),
                Value::Array(list) => list.iter().collect(),
                _ => continue,
            };
            let statements: Vec<Vec<usize>> = groups
                .into_iter()
                .map(|group| {
                    let mut ids = Vec::new();
                    leaves(group, &mut ids);
                    ids.iter()
                        .filter_map(|id| places.get(id).copied())
                        .collect::<Vec<_>>()
                })
                .filter(|group| !group.is_empty())
                .collect();
            let mut evidence: Vec<usize> = statements.iter().flatten().copied().collect();
            evidence.sort_unstable();
            evidence.dedup();
            if !evidence.is_empty() {
                questions.push(Asked {
                    text: one["question"]
                        .as_str()
                        .context("a question without text")?
                        .to_owned(),
                    category: ability.clone(),
                    evidence,
                    statements,
                });
            }
        }
    }
    Ok(Conversation { turns, questions })
}

fn leaves(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| leaves(one, into)),
        Value::Object(named) => named.values().for_each(|one| leaves(one, into)),
        Value::Null => {}
        leaf => into.push(leaf.to_string()),
    }
}

/// "March-15-2024" in milliseconds since the Unix epoch.
fn date(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let name = parts.next()?;
    let month = (1..=12)
        .filter_map(|n| Month::try_from(n).ok())
        .find(|m| m.to_string() == name)?;
    let day = parts.next()?.parse().ok()?;
    let year = parts.next()?.parse().ok()?;
    Some(
        Date::from_calendar_date(year, month, day)
            .ok()?
            .midnight()
            .assume_utc()
            .unix_timestamp()
            * 1000,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date("March-15-2024"), Some(1_710_460_800_000));
        assert_eq!(date("some day"), None);
    }
}
