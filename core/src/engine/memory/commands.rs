//! What a person says to memory itself: "remember that…", "forget…", "what do you know about me?". No model answers.

use std::fmt::Write as _;

use hearth_store as store;
use hearth_store::{
    Memory, MemoryKind, MemoryQuery, MemoryState, MemoryStatus, SourceTurn, Store, StoreError,
};

use super::super::{Engine, Result};
use super::keep::NewFact;
use super::{classify, convert, prompt};
use crate::error::EngineError;
use crate::memory::intent::{self, Intent};
use crate::memory::when;
use crate::types::{ForgetOffer, MemoryReport};

/// Who answers where no model does, as a reply's metadata names it.
pub(in crate::engine) const ANSWERED_BY: &str = "hearth";
/// Most memories that one answer lists.
const MAX_TOLD: usize = 100;

/// Something said to memory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Command {
    /// To be kept; and whether that is all that was said.
    Remember {
        fact: String,
        alone: bool,
    },
    Forget(String),
    Tell,
}

/// Whether memory is at work in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Remembering {
    Yes,
    Incognito,
    /// Off for this chat.
    Off,
    Paused,
}

/// What a line says to memory itself; none for everything else.
pub(in crate::engine) fn command(text: &str) -> Option<Command> {
    match intent::intent(text) {
        Intent::Remember(fact) => {
            let alone = is_all_of(text, &fact);
            Some(Command::Remember { fact, alone })
        }
        Intent::Forget(topic) => Some(Command::Forget(topic)),
        Intent::None => asks_what_is_known(text).then_some(Command::Tell),
    }
}

/// Whether a message says nothing but that a fact is to be kept: then no model needs to answer it.
fn is_all_of(text: &str, fact: &str) -> bool {
    let words = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .count()
    };
    let Some(at) = text.find(fact) else {
        return words(text) <= words(fact) + 8;
    };
    // What is said before the sentence that asks for it, to the end.
    let begins = text[..at]
        .char_indices()
        .filter(|(_, c)| matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '\n'))
        .map(|(end, c)| end + c.len_utf8())
        .rfind(|begin| matches!(intent::intent(&text[*begin..]), Intent::Remember(found) if found == fact))
        .unwrap_or(0);
    words(&text[at + fact.len()..]) <= 2 && words(&text[begins..at]) <= 8 && words(&text[..begins]) <= 2
}

/// "What do you know about me?" and its like, as the whole of what is said.
fn asks_what_is_known(text: &str) -> bool {
    const FORMS: [&str; 19] = [
        "what do you know about me",
        "what do you know of me",
        "what do you remember about me",
        "what do you remember of me",
        "what have you remembered about me",
        "what do you know about me so far",
        "what do you have on me",
        "what did you remember about me",
        "tell me what you know about me",
        "tell me everything you know about me",
        "list everything you know about me",
        "list what you know about me",
        "show me what you know about me",
        "show me what you remember about me",
        "what is in your memory about me",
        "was weißt du über mich",
        "que sais tu de moi",
        "qu est ce que tu sais sur moi",
        "qué sabes de mí",
    ];
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let said = words.join(" ");
    let said = ["please ", "so ", "hey ", "hi ", "ok ", "and ", "hearth "]
        .iter()
        .fold(said.as_str(), |said, filler| {
            said.strip_prefix(filler).unwrap_or(said)
        });
    let said = [" please", " hearth", " now", " already"]
        .iter()
        .fold(said, |said, filler| said.strip_suffix(filler).unwrap_or(said));
    FORMS.contains(&said)
}

impl Engine {
    /// Does what was said in `chat` by `message`; the answer and what it drew on.
    pub(in crate::engine) async fn obey(
        &self,
        command: Command,
        remembering: Remembering,
        chat: store::ChatId,
        message: store::MessageId,
    ) -> Result<(String, MemoryReport)> {
        let refused = match (&command, remembering) {
            (_, Remembering::Yes)
            | (Command::Forget(_) | Command::Tell, Remembering::Paused | Remembering::Off) => None,
            (_, Remembering::Incognito) => Some(
                "This chat is incognito: nothing that was remembered is looked at in it, and nothing in it is remembered.",
            ),
            (_, Remembering::Paused) => {
                Some("Memory is paused, so this was not kept. `hearth memory resume` lets it go on.")
            }
            (_, Remembering::Off) => Some("Memory is off for this chat, so this was not kept."),
        };
        if let Some(refused) = refused {
            return Ok((refused.to_owned(), MemoryReport::default()));
        }
        match command {
            Command::Remember { fact, .. } => self.remember(fact, chat, message).await,
            Command::Forget(topic) => self.offer_to_forget(&topic, message).await,
            Command::Tell => self.tell_what_is_known().await,
        }
    }

    async fn remember(
        &self,
        text: String,
        chat: store::ChatId,
        message: store::MessageId,
    ) -> Result<(String, MemoryReport)> {
        let told = classify::classify(&text);
        // What is drawn from this message later was said at the same moment.
        let at_ms = self.inner.chats.message(message).await?.created_at_ms;
        let (valid_from_ms, valid_to_ms) = when::validity(&text, told.kind == MemoryKind::Event, at_ms);
        let fact = NewFact {
            text,
            kind: told.kind,
            confidence: 1.0,
            sensitive: told.sensitive,
            valid_from_ms,
            valid_to_ms,
            at_ms,
            origin: store::MemoryOrigin::Stated,
            sources: vec![SourceTurn { chat, message }],
            pinned: false,
        };
        let kept = match self.keep_fact(fact).await {
            Ok(kept) => kept,
            Err(EngineError::InvalidRequest(reason)) => {
                return Ok((
                    format!("I couldn't keep that: {reason}."),
                    MemoryReport::default(),
                ));
            }
            Err(error) => return Err(error),
        };
        let mut recalled: Vec<store::MemoryId> = vec![kept.memory.id];
        recalled.extend(kept.superseded.iter().chain(&kept.contradicts));
        let ids = recalled.clone();
        let others = self
            .inner
            .chats
            .store()
            .run(move |store| {
                ids.into_iter()
                    .skip(1)
                    .map(|id| Ok(store.memory(id)?.text))
                    .collect::<std::result::Result<Vec<String>, StoreError>>()
            })
            .await?;
        let (superseded, contradicts) = others.split_at(kept.superseded.len());
        let fact = &kept.memory.text;
        let mut said = if kept.known {
            format!("I know that already, and have noted that you said it again: “{fact}”.")
        } else if contradicts.is_empty() {
            format!("I'll remember: “{fact}”.")
        } else {
            format!("I've kept this, to be confirmed: “{fact}”.")
        };
        for old in superseded {
            let _ = write!(said, " It takes the place of “{old}”, which I keep as history.");
        }
        for old in contradicts {
            let _ = write!(said, " It contradicts “{old}”, which still stands.");
        }
        if !contradicts.is_empty() {
            let _ = write!(
                said,
                " If the new one is right: `hearth memory confirm {}`.",
                kept.memory.id
            );
        }
        let report = MemoryReport {
            kept: vec![kept.memory.id.into()],
            recalled: recalled.into_iter().map(Into::into).collect(),
            ..MemoryReport::default()
        };
        Ok((said, report))
    }

    /// Keeps what a message says among other things; nothing is said about it but its identifier.
    pub(in crate::engine) async fn keep_by_the_way(
        &self,
        text: String,
        chat: store::ChatId,
        message: store::MessageId,
    ) -> Result<MemoryReport> {
        let (_, report) = self.remember(text, chat, message).await?;
        Ok(MemoryReport {
            kept: report.kept,
            ..MemoryReport::default()
        })
    }

    async fn offer_to_forget(
        &self,
        topic: &str,
        message: store::MessageId,
    ) -> Result<(String, MemoryReport)> {
        let mut offer = self.about(topic).await?;
        if offer.memories.is_empty() && offer.turns.iter().all(|turn| *turn == message.into()) {
            let said = "I found nothing about that in what I remember, nor in earlier chats.";
            return Ok((said.to_owned(), MemoryReport::default()));
        }
        // What asks for it says it, too.
        if !offer.turns.contains(&message.into()) {
            offer.turns.push(message.into());
        }
        let said = format!(
            "I found {} and {} about that. Nothing is erased until you say so: `hearth memory erase --topic \"{}\"` shows \
             all of it and asks.",
            counted(offer.memories.len(), "memory", "memories"),
            counted(offer.turns.len(), "message", "messages"),
            topic.replace(['"', '\\', '`', '$', '\n'], " "),
        );
        let report = MemoryReport {
            forget: Some(offer),
            ..MemoryReport::default()
        };
        Ok((said, report))
    }

    async fn tell_what_is_known(&self) -> Result<(String, MemoryReport)> {
        let (said, recalled) = self.inner.chats.store().run(|store| known(store)).await?;
        let report = MemoryReport {
            recalled: recalled.into_iter().map(Into::into).collect(),
            ..MemoryReport::default()
        };
        Ok((said, report))
    }

    /// Memories and turns about a topic.
    pub(super) async fn about(&self, topic: &str) -> Result<ForgetOffer> {
        let vector = self.vector_of(topic).await;
        let topic = topic.to_owned();
        self.inner
            .chats
            .store()
            .run(move |store| super::erase::about(store, &topic, vector.as_ref()))
            .await
    }
}

/// Everything that is held to be true, by kind, each with where it was said.
fn known(store: &Store) -> std::result::Result<(String, Vec<store::MemoryId>), StoreError> {
    let query = |kind, state| MemoryQuery {
        kind: Some(kind),
        state: Some(state),
        limit: Some(MAX_TOLD),
        ..MemoryQuery::default()
    };
    let (mut said, mut ids) = (String::new(), Vec::new());
    for (kind, heading) in HEADINGS {
        let mut memories = store.memories(&query(kind, MemoryState::Active))?;
        memories.extend(store.memories(&query(kind, MemoryState::Review))?);
        memories.truncate(MAX_TOLD - ids.len());
        if memories.is_empty() {
            continue;
        }
        let _ = write!(said, "\n\n{heading}:");
        for memory in memories {
            let _ = write!(said, "\n- {}", with_source(store, &memory)?);
            ids.push(memory.id);
        }
    }
    if ids.is_empty() {
        return Ok(("I remember nothing about you yet.".to_owned(), ids));
    }
    let total = store.count_memories(&MemoryQuery::default())?;
    let history = store.count_memories(&MemoryQuery {
        state: Some(MemoryState::Superseded),
        ..MemoryQuery::default()
    })?;
    let shown = ids.len() as u64;
    let mut all = format!("This is what I remember.{said}");
    if history + shown < total {
        let _ = write!(all, "\n\n{} more: `hearth memory list`.", total - history - shown);
    }
    if history > 0 {
        let number = counted(history as usize, "earlier version", "earlier versions");
        let _ = write!(
            all,
            "\n\nKept as history: {number} (`hearth memory list --state superseded`)."
        );
    }
    Ok((all, ids))
}

const HEADINGS: [(MemoryKind, &str); 5] = [
    (MemoryKind::Constraint, "Rules and limits"),
    (MemoryKind::Biography, "About you"),
    (MemoryKind::Preference, "What you like and don't"),
    (MemoryKind::Event, "What happened and will"),
    (MemoryKind::Context, "For now"),
];

fn with_source(store: &Store, memory: &Memory) -> std::result::Result<String, StoreError> {
    let mut line = memory.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut from = None;
    for source in &memory.sources {
        if let (Some(said), Some(chat)) = (
            convert::here(store.message(source.message))?,
            convert::here(store.chat(source.chat))?,
        ) {
            from = Some(format!(
                "said on {} in “{}”",
                prompt::date(said.created_at_ms),
                chat.title
            ));
            break;
        }
    }
    let from = from.unwrap_or_else(|| {
        let how = match memory.origin {
            store::MemoryOrigin::Stated => "written by you",
            store::MemoryOrigin::Extracted => "from a chat that is gone",
            store::MemoryOrigin::Imported => "imported",
        };
        format!("{how} on {}", prompt::date(memory.created_at_ms))
    });
    let _ = write!(line, " ({from}");
    if memory.status == MemoryStatus::Review {
        line.push_str("; to be confirmed");
    }
    line.push(')');
    Ok(line)
}

fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_beside_a_fact_is_still_answered() {
        let alone = |text: &str, fact: &str| is_all_of(text, fact);
        assert!(alone(
            "Please remember that my dog is Rex, thanks!",
            "my dog is Rex"
        ));
        assert!(alone("Remember: my dog is Rex.", "My dog is Rex."));
        assert!(alone(
            "Hi there! Please remember this. My dog is Rex.",
            "My dog is Rex"
        ));
        assert!(!alone(
            "Hi, I moved to Lyon. Remember that my dog is Rex",
            "my dog is Rex"
        ));
        assert!(!alone(
            "Remember that my dog is Rex. What does he like to eat?",
            "my dog is Rex"
        ));
    }

    #[test]
    fn only_the_question_itself_is_answered_without_a_model() {
        for asked in [
            "What do you know about me?",
            "  what do you REMEMBER about me ?! ",
            "So, what do you know about me already?",
            "Was weißt du über mich?",
            "Que sais-tu de moi ?",
        ] {
            assert!(asks_what_is_known(asked), "{asked}");
        }
        for other in [
            "What do you know about Mexico?",
            "What do you know about me and trains?",
            "",
            "know me",
        ] {
            assert!(!asks_what_is_known(other), "{other}");
        }
    }
}
