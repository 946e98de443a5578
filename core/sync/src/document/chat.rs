//! A chat's document. Chats that are incognito never become one: they aren't in the store.
//!
//! | field | value |
//! |---|---|
//! | `i` | id |
//! | `t` | title, unless empty |
//! | `a`, `m` | begun at; changed at; milliseconds |
//! | `h` | the message at the end of the branch in use |
//! | `n` | true when the chat isn't remembered |
//! | `v` and a name | one of the chat's own settings, as JSON |
//! | `q` and an id | a message: a map |
//!
//! A message's map: `p` parent, `r` role (0 system, 1 user, 2 assistant, 3 tool), `s` status (left out when complete, 1 stopped,
//! 2 interrupted, 3 failed), `t` text, `g` reasoning, `a` and `m` times, `o` model, `x` metadata as JSON; what is empty is left
//! out. A message enters when it has ended, so a map is written by one device, once. An emptied message is no edit: the
//! chat goes on in a new document.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ScalarValue;

use super::tree::{self, Fields, ID, Tree, UPDATED, id_name, id_of, id_value, text_value};
use super::{DocumentError, LocalId};

/// Most messages that a chat is read to have; most bytes of a message's text.
const MAX_MESSAGES: usize = 200_000;
const MAX_TEXT_BYTES: usize = 8 << 20;
/// Most settings of a chat.
const MAX_SETTINGS: usize = 256;

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The output of a tool.
    Tool,
}

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageStatus {
    /// All of it is here.
    Complete,
    /// The user stopped it.
    Stopped,
    /// The engine ended while it was arriving.
    Interrupted,
    /// The model failed.
    Failed,
}

const ROLES: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];
const STATUSES: [MessageStatus; 4] = [
    MessageStatus::Complete,
    MessageStatus::Stopped,
    MessageStatus::Interrupted,
    MessageStatus::Failed,
];

/// A message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRecord {
    /// The message before it; `None` for a root.
    pub parent: Option<LocalId>,
    /// Who speaks.
    pub role: Role,
    /// How it ended.
    pub status: MessageStatus,
    /// The text.
    pub text: String,
    /// The model's reasoning; empty when there is none.
    pub reasoning: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When its text or status last changed.
    pub updated_at_ms: i64,
    /// The id of the model that wrote it.
    pub model: Option<String>,
    /// JSON, where there is any.
    pub metadata: Option<String>,
}

/// A chat and all its branches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRecord {
    /// Its id in the store.
    pub id: LocalId,
    /// May be empty.
    pub title: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// When a message was last added, or the chat renamed.
    pub updated_at_ms: i64,
    /// The last message of the branch in use: one of the messages.
    pub head: Option<LocalId>,
    /// Whether memories are drawn from it, and put before the model in it.
    pub memory: bool,
    /// The chat's own settings by name, each a JSON text.
    pub settings: BTreeMap<String, String>,
    /// Messages by id. A parent that isn't one of them, or that leads back to the message, is none.
    pub messages: BTreeMap<LocalId, MessageRecord>,
}

impl ChatRecord {
    pub(super) fn read(tree: &Tree) -> Result<Self, DocumentError> {
        let mut messages = BTreeMap::new();
        for (name, fields) in tree.maps("q") {
            if let (Some(id), Some(message)) = (id_of(name), MessageRecord::read(&fields)) {
                messages.insert(id, message);
            }
            if messages.len() > MAX_MESSAGES {
                return Err(DocumentError::TooLarge("the number of messages"));
            }
        }
        mend(&mut messages);
        let created_at_ms = tree.int("a").unwrap_or_default();
        let settings = tree.with_prefix("v").take(MAX_SETTINGS);
        let settings =
            settings.filter_map(|(name, value)| Some((name.to_owned(), tree::text(value)?.to_owned())));
        let head = tree.get("h").and_then(tree::bytes16);
        Ok(Self {
            id: tree.id()?,
            title: tree.text("t").unwrap_or_default().to_owned(),
            created_at_ms,
            updated_at_ms: tree.int(UPDATED).unwrap_or(created_at_ms),
            head: head.filter(|head| messages.contains_key(head)),
            memory: !tree.flag("n").unwrap_or_default(),
            settings: settings.collect(),
            messages,
        })
    }

    pub(super) fn tree(&self) -> Result<Tree, DocumentError> {
        if self.messages.len() > MAX_MESSAGES {
            return Err(DocumentError::TooLarge("the number of messages"));
        }
        let mut tree = Tree::default();
        tree.put(ID, id_value(&self.id));
        if !self.title.is_empty() {
            tree.put("t", text_value(&self.title));
        }
        tree.put("a", ScalarValue::Int(self.created_at_ms));
        if self.updated_at_ms != self.created_at_ms {
            tree.put(UPDATED, ScalarValue::Int(self.updated_at_ms));
        }
        if let Some(head) = self.head {
            tree.put("h", id_value(&head));
        }
        if !self.memory {
            tree.put("n", ScalarValue::Boolean(true));
        }
        for (name, value) in self.settings.iter().take(MAX_SETTINGS) {
            tree.put(format!("v{name}"), text_value(value));
        }
        for (id, message) in &self.messages {
            tree.put_map(id_name("q", id), message.fields()?);
        }
        Ok(tree)
    }

    /// The messages, parents before their children, otherwise the oldest first: an order in which they can be stored.
    pub fn in_order(&self) -> Vec<(LocalId, &MessageRecord)> {
        let mut below: BTreeMap<LocalId, Vec<LocalId>> = BTreeMap::new();
        let mut ready = BTreeSet::new();
        for (id, message) in &self.messages {
            match message.parent.filter(|parent| self.messages.contains_key(parent)) {
                Some(parent) => below.entry(parent).or_default().push(*id),
                None => _ = ready.insert((message.created_at_ms, *id)),
            }
        }
        let mut ordered = Vec::with_capacity(self.messages.len());
        while let Some((_, id)) = ready.pop_first() {
            let Some(message) = self.messages.get(&id) else {
                continue;
            };
            ordered.push((id, message));
            for child in below.remove(&id).into_iter().flatten() {
                ready.insert((self.messages[&child].created_at_ms, child));
            }
        }
        ordered
    }

    pub(super) fn united(self, other: Self) -> Self {
        let (mut newer, older) = if other.updated_at_ms > self.updated_at_ms {
            (other, self)
        } else {
            (self, other)
        };
        newer.created_at_ms = newer.created_at_ms.min(older.created_at_ms);
        newer.head = newer.head.or(older.head);
        for (name, value) in older.settings {
            newer.settings.entry(name).or_insert(value);
        }
        for (id, message) in older.messages {
            newer.messages.entry(id).or_insert(message);
        }
        mend(&mut newer.messages);
        newer
    }
}

impl MessageRecord {
    fn read(fields: &Fields) -> Option<Self> {
        let text = |name| fields.get(name).and_then(tree::text);
        let int = |name| fields.get(name).and_then(tree::int);
        let role = ROLES.get(usize::try_from(int("r")?).ok()?)?;
        let status = usize::try_from(int("s").unwrap_or_default()).ok();
        let created_at_ms = int("a").unwrap_or_default();
        Some(Self {
            parent: fields.get("p").and_then(tree::bytes16),
            role: *role,
            status: status
                .and_then(|code| STATUSES.get(code))
                .copied()
                .unwrap_or(MessageStatus::Failed),
            text: text("t").unwrap_or_default().to_owned(),
            reasoning: text("g").unwrap_or_default().to_owned(),
            created_at_ms,
            updated_at_ms: int("m").unwrap_or(created_at_ms),
            model: text("o").map(str::to_owned),
            metadata: text("x").map(str::to_owned),
        })
    }

    fn fields(&self) -> Result<Fields, DocumentError> {
        if self.text.len().max(self.reasoning.len()) > MAX_TEXT_BYTES {
            return Err(DocumentError::TooLarge("a message's text"));
        }
        let mut fields = Fields::default();
        if let Some(parent) = self.parent {
            fields.put("p", id_value(&parent));
        }
        fields.put("r", ScalarValue::Uint(self.role as u64));
        if self.status != MessageStatus::Complete {
            fields.put("s", ScalarValue::Uint(self.status as u64));
        }
        for (name, text) in [("t", &self.text), ("g", &self.reasoning)] {
            if !text.is_empty() {
                fields.put(name, text_value(text));
            }
        }
        fields.put("a", ScalarValue::Int(self.created_at_ms));
        if self.updated_at_ms != self.created_at_ms {
            fields.put("m", ScalarValue::Int(self.updated_at_ms));
        }
        for (name, text) in [("o", &self.model), ("x", &self.metadata)] {
            if let Some(text) = text {
                fields.put(name, text_value(text));
            }
        }
        Ok(fields)
    }
}

/// Makes the messages trees: a parent that isn't there is none; of a circle, each message becomes a root.
fn mend(messages: &mut BTreeMap<LocalId, MessageRecord>) {
    let parents: BTreeMap<LocalId, LocalId> = messages
        .iter()
        .filter_map(|(id, message)| Some((*id, message.parent?)))
        .collect();
    // Known to lead to a root, or made one.
    let mut sound: BTreeSet<LocalId> = BTreeSet::new();
    let mut roots = Vec::new();
    for start in parents.keys() {
        let mut path = Vec::new();
        let mut on_path = BTreeSet::new();
        let mut next = *start;
        loop {
            if sound.contains(&next) {
                break;
            }
            if !on_path.insert(next) {
                // The circle alone, not what leads into it.
                let begin = path.iter().position(|id| *id == next).unwrap_or_default();
                roots.extend_from_slice(&path[begin..]);
                break;
            }
            path.push(next);
            match parents.get(&next) {
                Some(parent) if messages.contains_key(parent) => next = *parent,
                Some(_) => {
                    roots.push(next);
                    break;
                }
                None => break,
            }
        }
        sound.extend(path);
    }
    for id in roots {
        if let Some(message) = messages.get_mut(&id) {
            message.parent = None;
        }
    }
}
