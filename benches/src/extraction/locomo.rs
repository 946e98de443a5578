//! LoCoMo's observation lists as a yardstick: each names the turn it comes from.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use hearth_core::memory::extract::{ExtractOptions, Turn, extract};
use hearth_core::types::Role;
use serde_json::Value;

use super::Asked;
use crate::share::Share;

/// One session from one speaker's side.
pub(super) struct Session {
    turns: Vec<Turn>,
    /// Turns of that speaker that an observation comes from.
    annotated: BTreeSet<usize>,
}

/// How the turns with a found fact and the annotated turns overlap.
#[derive(Default)]
pub(super) struct Overlap {
    pub(super) precision: Share,
    pub(super) recall: Share,
}

pub(super) fn read(path: &Path) -> Result<Vec<Session>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let conversations: Vec<Value> = serde_json::from_str(&text).context("a LoCoMo file")?;
    let mut out = Vec::new();
    for conversation in &conversations {
        let lists = conversation["observation"]
            .as_object()
            .context("no observations")?;
        // Some sessions of each conversation are enough to compare.
        for (name, list) in lists.iter().take(4) {
            let session = name.trim_end_matches("_observation");
            let said = conversation["conversation"][session]
                .as_array()
                .context("no session")?;
            for (speaker, observations) in list.as_object().into_iter().flatten() {
                let turns = said.iter().map(|turn| Turn {
                    speaker: if turn["speaker"].as_str() == Some(speaker) {
                        Role::User
                    } else {
                        Role::Assistant
                    },
                    text: turn["text"].as_str().unwrap_or_default().to_owned(),
                    at_ms: 0,
                });
                let number = |id: &str| said.iter().position(|turn| turn["dia_id"].as_str() == Some(id));
                let annotated = observations
                    .as_array()
                    .into_iter()
                    .flatten()
                    .flat_map(|observation| ids(&observation[1]))
                    .filter_map(|id| number(&id))
                    .collect();
                out.push(Session {
                    turns: turns.collect(),
                    annotated,
                });
            }
        }
    }
    Ok(out)
}

fn ids(value: &Value) -> Vec<String> {
    match value {
        Value::String(id) => vec![id.clone()],
        Value::Array(list) => list.iter().flat_map(ids).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn score(sessions: &[Session], asked: &Asked, options: ExtractOptions) -> Result<Overlap> {
    let mut overlap = Overlap::default();
    for session in sessions {
        let facts = extract(&session.turns, asked, &options).map_err(|error| anyhow::anyhow!("{error}"))?;
        let found: BTreeSet<usize> = facts
            .iter()
            .flat_map(|fact| fact.source_turns.iter().copied())
            .collect();
        for turn in &found {
            overlap.precision.count(session.annotated.contains(turn));
        }
        for turn in &session.annotated {
            overlap.recall.count(found.contains(turn));
        }
    }
    Ok(overlap)
}
