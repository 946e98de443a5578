//! Dialogues with the facts that are to be found in them. The form is described in `benches/data/extraction/dev.txt`.

use anyhow::{Context, Result, bail};
use hearth_core::memory::extract::{Fact, Kind, Turn};
use hearth_core::types::Role;

/// One dialogue.
#[derive(Debug, Clone)]
pub(super) struct Dialogue {
    pub(super) id: String,
    pub(super) language: String,
    pub(super) turns: Vec<Turn>,
    pub(super) gold: Vec<Gold>,
    /// What may be found or not.
    neutral: Vec<Vec<Vec<String>>>,
}

/// A fact that is to be found.
#[derive(Debug, Clone)]
pub(super) struct Gold {
    kinds: Vec<Kind>,
    /// Each of these must be in the fact, in one of its forms.
    keys: Vec<Vec<String>>,
    pub(super) text: String,
}

/// What a found fact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// These gold facts; and whether the kind of one is right.
    Gold(Vec<usize>, bool),
    Neutral,
    Wrong,
}

const NEGATIONS: &[&str] = &[
    "not", "never", "no", "n't", "cannot", "without", "nicht", "kein", "keine", "nie", "pas", "ne", "jamais",
    "nunca", "sin", "não", "non", "niet", "geen", "can't", "stand", "hates", "hate", "dislikes", "only",
    "except",
];

impl Dialogue {
    /// What `fact` is among the gold facts.
    pub(super) fn find(&self, fact: &Fact) -> Match {
        let text = plain(&fact.text);
        let all = |keys: &[Vec<String>]| keys.iter().all(|forms| forms.iter().any(|form| has(&text, form)));
        let found: Vec<usize> = (0..self.gold.len())
            .filter(|at| {
                let gold = &self.gold[*at];
                // Said the other way round it is another fact, unless the keys ask for the denial themselves.
                let denied = negated(&text) && !negated(&plain(&gold.text));
                all(&gold.keys) && !denied
            })
            .collect();
        if !found.is_empty() {
            let kind = found.iter().any(|at| self.gold[*at].kinds.contains(&fact.kind));
            Match::Gold(found, kind)
        } else if self.neutral.iter().any(|keys| all(keys)) {
            Match::Neutral
        } else {
            Match::Wrong
        }
    }
}

fn negated(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .any(|word| NEGATIONS.contains(&word) || word.ends_with("n't"))
}

/// Whole-word beginnings: "allerg" finds "allergic", "is" does not find "this".
fn has(text: &str, form: &str) -> bool {
    text.match_indices(form).any(|(at, _)| {
        at == 0
            || form.starts_with("n't")
            || text[..at]
                .chars()
                .next_back()
                .is_some_and(|c| !c.is_alphanumeric())
    })
}

fn plain(text: &str) -> String {
    text.replace('\u{2019}', "'").to_lowercase()
}

/// Reads a file of dialogues.
pub(super) fn parse(text: &str) -> Result<Vec<Dialogue>> {
    let mut out: Vec<Dialogue> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let context = || format!("line {}: {line}", number + 1);
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if let Some(head) = line.strip_prefix("= ") {
            let (id, language) = head.split_once(' ').with_context(context)?;
            out.push(Dialogue {
                id: id.into(),
                language: language.into(),
                turns: Vec::new(),
                gold: Vec::new(),
                neutral: Vec::new(),
            });
            continue;
        }
        let dialogue = out.last_mut().with_context(context)?;
        if let Some(said) = line.strip_prefix("U: ") {
            dialogue.say(Role::User, said);
        } else if let Some(said) = line.strip_prefix("A: ") {
            dialogue.say(Role::Assistant, said);
        } else if let Some(fact) = line.strip_prefix("+ ") {
            let parts: Vec<&str> = fact.splitn(3, '|').map(str::trim).collect();
            let [kinds, keyed, text] = parts[..] else {
                bail!(context())
            };
            let kinds: Result<Vec<Kind>> = kinds
                .split(',')
                .map(|kind| serde_json::from_value(kind.trim().into()).with_context(context))
                .collect();
            dialogue.gold.push(Gold {
                kinds: kinds?,
                keys: keys(keyed),
                text: text.to_owned(),
            });
        } else if let Some(keyed) = line.strip_prefix("~ ") {
            dialogue.neutral.push(keys(keyed));
        } else {
            // A message of several lines.
            let turn = dialogue.turns.last_mut().with_context(context)?;
            turn.text.push('\n');
            turn.text.push_str(line);
        }
    }
    Ok(out)
}

impl Dialogue {
    fn say(&mut self, speaker: Role, text: &str) {
        self.turns.push(Turn {
            speaker,
            text: text.to_owned(),
            at_ms: 1_750_000_000_000 + 60_000 * self.turns.len() as i64,
        });
    }
}

fn keys(text: &str) -> Vec<Vec<String>> {
    text.split(',')
        .map(|key| key.split('/').map(|form| plain(form.trim())).collect())
        .collect()
}
