//! A memory's document.
//!
//! | field | value |
//! |---|---|
//! | `i` | id |
//! | `t` | text |
//! | `k` | kind: 0 constraint, 1 biography (left out), 2 preference, 3 event, 4 context |
//! | `c` | confidence, when it isn't 1 |
//! | `x` | true when sensitive |
//! | `f`, `u` | valid from, until, when known; milliseconds, as all times |
//! | `a`, `m` | stored at; changed at |
//! | `s` | status: left out when active, 1 superseded by nothing that is here, 2 to be confirmed, or the id of the successor |
//! | `o` | origin: left out when stated, 1 extracted, 2 imported |
//! | `p` | true when pinned |
//! | `r` and a message's id | where it was said: the chat's id and 32 bytes of the text's keyed hash |

use std::collections::BTreeMap;

use automerge::ScalarValue;

use super::tree::{self, ID, Tree, UPDATED, id_name, id_value, text_value};
use super::{DocumentError, LocalId, malformed};

/// Longest text of a memory, in bytes.
pub const MAX_MEMORY_BYTES: usize = 16 * 1024;
/// Most sources that a memory is read to have.
const MAX_SOURCES: usize = 10_000;

/// What a memory is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryKind {
    /// An allergy, a hard rule.
    Constraint,
    /// A lasting fact about the person's life.
    Biography,
    /// A like or dislike.
    Preference,
    /// Something that happened or will.
    Event,
    /// A mood, a current task.
    Context,
}

/// Who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryOrigin {
    /// The person wrote or confirmed it.
    Stated,
    /// It was drawn from a conversation.
    Extracted,
    /// It came in with an import.
    Imported,
}

/// Whether a memory is held to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryStatus {
    /// Held to be true now.
    Active,
    /// Was true; by what it was superseded, where that is still there.
    Superseded {
        /// The successor.
        by: Option<LocalId>,
    },
    /// To be confirmed by the person.
    Review,
}

/// Where a memory was said, besides the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The chat.
    pub chat: LocalId,
    /// The message's text under a keyed hash, so that it can't be guessed; zeros when unknown.
    pub text_hash: [u8; 32],
}

/// A memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRecord {
    /// Its id in the store.
    pub id: LocalId,
    /// One short fact, at most [`MAX_MEMORY_BYTES`].
    pub text: String,
    /// What it is about.
    pub kind: MemoryKind,
    /// From 0 to 1.
    pub confidence: f32,
    /// A special category of personal data.
    pub sensitive: bool,
    /// Since when it holds, when known; milliseconds since the Unix epoch.
    pub valid_from_ms: Option<i64>,
    /// Until when it held, when known.
    pub valid_to_ms: Option<i64>,
    /// When it was first stored.
    pub created_at_ms: i64,
    /// When it last changed or was said again.
    pub updated_at_ms: i64,
    /// Whether it is held to be true.
    pub status: MemoryStatus,
    /// Who says so.
    pub origin: MemoryOrigin,
    /// Never evicted, never fading.
    pub pinned: bool,
    /// Where it was said, by message.
    pub sources: BTreeMap<LocalId, Source>,
}

const KINDS: [MemoryKind; 5] = [
    MemoryKind::Constraint,
    MemoryKind::Biography,
    MemoryKind::Preference,
    MemoryKind::Event,
    MemoryKind::Context,
];
const ORIGINS: [MemoryOrigin; 3] = [
    MemoryOrigin::Stated,
    MemoryOrigin::Extracted,
    MemoryOrigin::Imported,
];

/// The value that a number stands for, unless a newer version wrote it.
fn of_code<T: Copy>(known: &[T], code: Option<i64>) -> Option<T> {
    known.get(usize::try_from(code?).ok()?).copied()
}

impl MemoryRecord {
    pub(super) fn read(tree: &Tree) -> Result<Self, DocumentError> {
        let text = tree.text("t").filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| malformed("a memory without a text"))?;
        if text.len() > MAX_MEMORY_BYTES {
            return Err(DocumentError::TooLarge("a memory's text"));
        }
        let created_at_ms = tree.int("a").unwrap_or_default();
        let confidence = match tree.get("c") {
            Some(ScalarValue::F64(value)) if value.is_finite() => (*value as f32).clamp(0.0, 1.0),
            Some(_) => 0.0,
            None => 1.0,
        };
        let sources = tree
            .with_prefix("r")
            .take(MAX_SOURCES)
            .filter_map(|(message, value)| {
                let (chat, text_hash) = tree::bytes(value)?.split_first_chunk::<16>()?;
                let source = Source {
                    chat: *chat,
                    text_hash: text_hash.try_into().ok()?,
                };
                Some((tree::id_of(message)?, source))
            });
        Ok(Self {
            id: tree.id()?,
            text: text.to_owned(),
            kind: of_code(&KINDS, tree.int("k")).unwrap_or(MemoryKind::Biography),
            confidence,
            sensitive: tree.flag("x").unwrap_or_default(),
            valid_from_ms: tree.int("f"),
            valid_to_ms: tree.int("u"),
            created_at_ms,
            updated_at_ms: tree.int(UPDATED).unwrap_or(created_at_ms),
            status: match tree.get("s") {
                None => MemoryStatus::Active,
                Some(value) => match (tree::bytes16(value), tree::int(value)) {
                    (Some(by), _) => MemoryStatus::Superseded { by: Some(by) },
                    (_, Some(1)) => MemoryStatus::Superseded { by: None },
                    // Whatever a newer version means by it, it isn't plainly true.
                    _ => MemoryStatus::Review,
                },
            },
            origin: of_code(&ORIGINS, tree.int("o").or(Some(0))).unwrap_or(MemoryOrigin::Imported),
            pinned: tree.flag("p").unwrap_or_default(),
            sources: sources.collect(),
        })
    }

    pub(super) fn tree(&self) -> Result<Tree, DocumentError> {
        if self.text.len() > MAX_MEMORY_BYTES {
            return Err(DocumentError::TooLarge("a memory's text"));
        }
        let mut tree = Tree::default();
        tree.put(ID, id_value(&self.id));
        tree.put("t", text_value(&self.text));
        if self.kind != MemoryKind::Biography {
            tree.put("k", ScalarValue::Uint(self.kind as u64));
        }
        if self.confidence < 1.0 {
            tree.put("c", ScalarValue::F64(f64::from(self.confidence.max(0.0))));
        }
        for (name, flag) in [("x", self.sensitive), ("p", self.pinned)] {
            if flag {
                tree.put(name, ScalarValue::Boolean(true));
            }
        }
        for (name, time) in [("f", self.valid_from_ms), ("u", self.valid_to_ms)] {
            if let Some(time) = time {
                tree.put(name, ScalarValue::Int(time));
            }
        }
        tree.put("a", ScalarValue::Int(self.created_at_ms));
        if self.updated_at_ms != self.created_at_ms {
            tree.put(UPDATED, ScalarValue::Int(self.updated_at_ms));
        }
        match self.status {
            MemoryStatus::Active => {}
            MemoryStatus::Superseded { by: None } => tree.put("s", ScalarValue::Uint(1)),
            MemoryStatus::Superseded { by: Some(by) } => tree.put("s", id_value(&by)),
            MemoryStatus::Review => tree.put("s", ScalarValue::Uint(2)),
        }
        if self.origin != MemoryOrigin::Stated {
            tree.put("o", ScalarValue::Uint(self.origin as u64));
        }
        for (message, source) in self.sources.iter().take(MAX_SOURCES) {
            let mut value = source.chat.to_vec();
            value.extend_from_slice(&source.text_hash);
            tree.put(id_name("r", message), ScalarValue::Bytes(value));
        }
        Ok(tree)
    }

    pub(super) fn united(self, other: Self) -> Self {
        let (mut newer, older) = if other.updated_at_ms > self.updated_at_ms {
            (other, self)
        } else {
            (self, other)
        };
        newer.created_at_ms = newer.created_at_ms.min(older.created_at_ms);
        for (message, source) in older.sources {
            newer.sources.entry(message).or_insert(source);
        }
        newer
    }
}
