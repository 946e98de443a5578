//! Conversations with questions, and the index they are put into.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hearth_core::memory::recall::{Over, RecallQuery};
use hearth_inference::embedding::TextEmbedder;
use hearth_store::{
    ChatId, Filter, Index, MessageId, MessageStatus, NewChat, NewMessage, Protection, Role, RowKey, Store,
    TextToEmbed, turn_words,
};
use serde_json::{Value, json};

/// One thing said.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// A name, where people talk with each other.
    pub(super) speaker: Option<String>,
    /// Whether a person says it and not the assistant.
    pub(super) by_person: bool,
    pub(super) text: String,
    pub(super) caption: String,
    /// Turns of one sitting have the same number.
    pub(super) sitting: usize,
    pub(super) at_ms: i64,
}

/// A question and what answers it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) category: String,
    /// Turns, by their place.
    pub(super) evidence: Vec<usize>,
    /// Statements that belong together, each as the turns that make it: both have to be found.
    pub(super) statements: Vec<Vec<usize>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Conversation {
    pub(super) turns: Vec<Turn>,
    pub(super) questions: Vec<Asked>,
}

impl Turn {
    fn metadata(&self) -> Value {
        let mut metadata = json!({});
        if let Some(speaker) = &self.speaker {
            metadata["speaker"] = json!(speaker);
        }
        if !self.caption.is_empty() {
            metadata["caption"] = json!(self.caption);
        }
        metadata
    }

    /// What is embedded of it.
    pub(super) fn words(&self) -> String {
        turn_words(&self.text, &self.metadata().to_string())
    }
}

/// A conversation in an encrypted store of its own, as the app would keep it, with the embeddings of its questions.
pub(super) struct Indexed {
    pub(super) conversation: Conversation,
    pub(super) store: Store,
    /// The place of the turn of each message.
    pub(super) place: std::collections::HashMap<MessageId, usize>,
    pub(super) turn_vectors: Vec<Vec<f32>>,
    pub(super) question_vectors: Vec<Vec<f32>>,
    model: String,
    _folder: tempfile::TempDir,
}

impl Indexed {
    pub(super) fn new(conversation: Conversation, embeddings: &Embeddings) -> Result<Indexed> {
        let folder = tempfile::tempdir()?;
        let protection = Protection::Passphrase(zeroize::Zeroizing::new("bench".into()));
        let mut store = Store::create(folder.path(), &protection)?;
        let messages = fill(&mut store, &conversation)?;
        let words: Vec<String> = conversation.turns.iter().map(Turn::words).collect();
        let turn_vectors = embeddings.of(&words)?;
        let model = embeddings.embedder.model_id().to_owned();
        let keys: Vec<RowKey> = messages
            .iter()
            .map(|id| store.turn_key(*id)?.context("a turn is not indexed"))
            .collect::<Result<_>>()?;
        let rows: Vec<(TextToEmbed, Vec<f32>)> = keys
            .iter()
            .zip(words)
            .map(|(key, text)| TextToEmbed { key: *key, text })
            .zip(turn_vectors.iter().cloned())
            .collect();
        let stored = store.set_vectors(Index::Turns, &model, &rows)?;
        anyhow::ensure!(
            stored == rows.len(),
            "{stored} of {} vectors were stored",
            rows.len()
        );
        let texts: Vec<String> = conversation
            .questions
            .iter()
            .map(|asked| asked.text.clone())
            .collect();
        Ok(Indexed {
            question_vectors: embeddings.of(&texts)?,
            place: messages
                .into_iter()
                .enumerate()
                .map(|(place, id)| (id, place))
                .collect(),
            conversation,
            store,
            turn_vectors,
            model,
            _folder: folder,
        })
    }

    pub(super) fn query(&self, question: usize, limit: usize) -> RecallQuery {
        let last = self
            .conversation
            .turns
            .iter()
            .map(|turn| turn.at_ms)
            .max()
            .unwrap_or(0);
        RecallQuery {
            text: self.conversation.questions[question].text.clone(),
            previous: Vec::new(),
            over: Over::Turns,
            limit,
            now_ms: last + 24 * 3_600_000,
            filter: Filter::default(),
        }
    }

    pub(super) fn vector(&self, question: usize) -> (&str, &[f32]) {
        (self.model.as_str(), self.question_vectors[question].as_slice())
    }
}

fn fill(store: &mut Store, conversation: &Conversation) -> Result<Vec<MessageId>> {
    let chat: ChatId = store
        .create_chat(NewChat {
            title: String::new(),
            created_at_ms: conversation.turns.first().map_or(0, |turn| turn.at_ms),
            metadata: Value::Null,
        })?
        .id;
    let mut messages: Vec<MessageId> = Vec::with_capacity(conversation.turns.len());
    let first = conversation.turns.first().and_then(|turn| turn.speaker.clone());
    for turn in &conversation.turns {
        // Of two people the first is taken for the app's own.
        let user = turn.by_person && turn.speaker == first;
        let message = store.append_message(NewMessage {
            chat,
            parent: messages.last().copied(),
            role: if user { Role::User } else { Role::Assistant },
            text: turn.text.clone(),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            created_at_ms: turn.at_ms,
            model: None,
            metadata: turn.metadata(),
        })?;
        messages.push(message.id);
    }
    Ok(messages)
}

/// Embeds texts, or remembers having done so.
pub(super) struct Embeddings {
    pub(super) embedder: TextEmbedder,
    /// Where vectors are kept between runs.
    pub(super) kept: Option<PathBuf>,
}

impl Embeddings {
    fn of(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let file = self.kept.as_ref().map(|folder| folder.join(name(texts)));
        if let Some(bytes) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
            let numbers: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect();
            if numbers.len() == texts.len() * self.embedder.dimensions() {
                return Ok(numbers
                    .chunks(self.embedder.dimensions())
                    .map(<[f32]>::to_vec)
                    .collect());
            }
        }
        let mut vectors = Vec::with_capacity(texts.len());
        for part in texts.chunks(32) {
            let part: Vec<&str> = part.iter().map(String::as_str).collect();
            vectors.extend(self.embedder.embed(&part)?);
        }
        if let Some(file) = file {
            let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|n| n.to_le_bytes()).collect();
            std::fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(vectors)
    }
}

/// A name for these texts: FNV-1a over them and their ends.
fn name(texts: &[String]) -> String {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xFF]));
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    format!("{hash:016x}.f32")
}
