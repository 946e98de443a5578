//! What has to come of it: which things were made, changed and erased, as far as it was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use hearth_protocol::erasure::{Marked, mark};
use hearth_protocol::id::Handle;
use hearth_store::{ChatId, MemoryId, MemoryQuery, MessageId, SourceTurn};

use super::home::{Home, messages};

/// The setting with all the fields that are edited.
pub const SETTINGS: &str = "sync.group.simulated";

/// A thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Memory(MemoryId),
    Chat(ChatId),
    Message(MessageId),
    /// A field of the settings.
    Field(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It must be everywhere in the end.
    Here,
    /// It must be nowhere.
    Gone,
    /// Both is right: it was lost with a disk, or failed half-way.
    Either,
}

/// One value after another, on a device that showed the first.
#[derive(Debug, Clone)]
pub struct Edit {
    pub before: String,
    pub after: String,
    /// It was acknowledged, and not lost with a disk.
    pub sure: bool,
}

#[derive(Debug, Clone)]
pub struct Thing {
    pub fate: Fate,
    /// Every word that was ever in it.
    pub words: BTreeSet<String>,
    pub edits: Vec<Edit>,
    /// A device that knew nothing of the others' edits brought it in again: any of its values may win.
    pub loose: bool,
    pub sources: Vec<SourceTurn>,
    /// Of a message.
    pub chat: Option<ChatId>,
}

/// What a person was doing.
#[derive(Debug, Clone)]
pub enum Act {
    Remember {
        word: String,
        sources: Vec<SourceTurn>,
    },
    Begin {
        word: String,
    },
    Say {
        chat: ChatId,
        word: String,
    },
    Edit {
        key: Key,
        before: String,
        after: String,
    },
    Erase {
        keys: BTreeSet<Key>,
    },
    /// Something whose outcome is only compared.
    Other,
}

/// The same, with what was there before.
#[derive(Debug, Clone)]
pub struct Pending {
    pub act: Act,
    pub before: BTreeSet<Key>,
}

#[derive(Debug, Default)]
pub struct Model {
    pub things: BTreeMap<Key, Thing>,
    /// Every word that was ever written.
    pub words: BTreeSet<String>,
}

/// The things that a device shows. An emptied message is none.
pub fn shown(home: &Home) -> BTreeSet<Key> {
    let content = home.content();
    let mut keys: BTreeSet<Key> = content
        .memories
        .iter()
        .map(|memory| Key::Memory(memory.id))
        .collect();
    for (id, (_, messages)) in &content.chats {
        keys.insert(Key::Chat(*id));
        let full = messages.iter().filter(|message| !message.text.is_empty());
        keys.extend(full.map(|message| Key::Message(message.id)));
    }
    if let Some(fields) = content.settings.get(SETTINGS).and_then(|value| value.as_object()) {
        keys.extend(fields.keys().map(|field| Key::Field(field.clone())));
    }
    keys
}

/// The value of a thing that a device shows.
pub fn value(home: &Home, key: &Key) -> Option<String> {
    let store = home.store();
    match key {
        Key::Memory(id) => store.memory(*id).ok().map(|memory| memory.text),
        Key::Chat(id) => store.chat(*id).ok().map(|chat| chat.title),
        Key::Message(id) => store.message(*id).ok().map(|message| message.text),
        Key::Field(field) => {
            let value = store.get_setting(SETTINGS).unwrap()?;
            value.get(field)?.as_str().map(str::to_owned)
        }
    }
}

impl Model {
    fn made(&mut self, key: Key, word: String, sources: Vec<SourceTurn>, chat: Option<ChatId>) {
        let thing = Thing {
            fate: Fate::Here,
            words: [word].into(),
            edits: Vec::new(),
            loose: false,
            sources,
            chat,
        };
        self.things.insert(key, thing);
    }

    /// Notes what came of something: the store said so, or a start after a crash shows it.
    pub fn resolve(&mut self, home: &Home, number: usize, pending: Option<Pending>, acknowledged: bool) {
        let Some(Pending { act, before }) = pending else {
            return;
        };
        let store = home.store();
        match act {
            Act::Remember { word, sources } => {
                let query = MemoryQuery {
                    text_contains: Some(word.clone()),
                    ..MemoryQuery::default()
                };
                let found = store.memories(&query).unwrap();
                assert!(
                    !acknowledged || !found.is_empty(),
                    "device {number} has lost a memory"
                );
                if let Some(memory) = found.first() {
                    self.made(Key::Memory(memory.id), word, sources, None);
                }
            }
            Act::Begin { word } => {
                let content = home.content();
                let found = content.chats.values().find(|(chat, _)| chat.title == word);
                assert!(
                    !acknowledged || found.is_some(),
                    "device {number} has lost a chat"
                );
                if let Some((chat, _)) = found {
                    self.made(Key::Chat(chat.id), word, Vec::new(), None);
                }
            }
            Act::Say { chat, word } => {
                let all = messages(store, chat);
                let found = all.iter().find(|message| message.text.contains(&word));
                assert!(
                    !acknowledged || found.is_some(),
                    "device {number} has lost a message"
                );
                if let Some(message) = found {
                    self.made(Key::Message(message.id), word, Vec::new(), Some(chat));
                }
            }
            Act::Edit { key, before, after } => {
                let there = value(home, &key).as_ref() == Some(&after);
                assert!(!acknowledged || there, "device {number} has lost an edit");
                let field = matches!(key, Key::Field(_));
                let thing = self.things.entry(key).or_insert_with(|| Thing {
                    fate: Fate::Either,
                    words: BTreeSet::new(),
                    edits: Vec::new(),
                    loose: false,
                    sources: Vec::new(),
                    chat: None,
                });
                if field && there {
                    // A field begins with its first value that was written.
                    thing.fate = Fate::Here;
                }
                thing.words.insert(after.clone());
                thing.loose |= home.copied;
                thing.edits.push(Edit {
                    before,
                    after,
                    sure: there,
                });
            }
            Act::Erase { keys } => {
                let after = shown(home);
                let mut gone: BTreeSet<Key> = before.difference(&after).cloned().collect();
                if acknowledged {
                    let left: Vec<&Key> = keys.intersection(&after).collect();
                    assert!(left.is_empty(), "device {number} still shows {left:?}");
                }
                gone.extend(keys.iter().filter(|key| !after.contains(key)).cloned());
                let mut redacted = Vec::new();
                for key in gone.iter().chain(&keys) {
                    if let Some(thing) = self.things.get_mut(key) {
                        if gone.contains(key) {
                            thing.fate = Fate::Gone;
                        }
                        redacted.extend(thing.chat.map(Key::Chat));
                    }
                }
                // It goes on in another document: of its titles the one with the later activity stays.
                for chat in redacted {
                    if let Some(thing) = self.things.get_mut(&chat) {
                        thing.loose = true;
                    }
                }
                for key in keys.intersection(&after) {
                    // It failed here, and may yet turn out to have been written.
                    if let Some(thing) = self.things.get_mut(key)
                        && thing.fate == Fate::Here
                    {
                        thing.fate = Fate::Either;
                    }
                }
            }
            Act::Other => {}
        }
    }

    /// A copy has come in as a device of its own: its values have met the others' as strangers.
    pub fn rejoined(&mut self, _home: usize) {
        for thing in self.things.values_mut() {
            thing.loose = true;
        }
    }

    /// What is to become of a thing, given what becomes of what it belongs to.
    pub fn fate(&self, key: &Key) -> Fate {
        let Some(thing) = self.things.get(key) else {
            return Fate::Either;
        };
        let of = |key: Key| self.things.get(&key).map_or(Fate::Either, |thing| thing.fate);
        if let Some(chat) = thing.chat
            && of(Key::Chat(chat)) != Fate::Here
            && thing.fate != Fate::Gone
        {
            return of(Key::Chat(chat));
        }
        // What it was drawn from is gone: whether it goes too is each erasure's own business.
        let drawn = thing.sources.iter().any(|source| {
            of(Key::Message(source.message)) != Fate::Here || of(Key::Chat(source.chat)) != Fate::Here
        });
        if thing.fate == Fate::Here && drawn {
            Fate::Either
        } else {
            thing.fate
        }
    }

    /// Everything acknowledged is on some device, at any time.
    pub fn check_somewhere(&self, homes: &[&Home], seed: u64) {
        let shown: BTreeSet<Key> = homes.iter().flat_map(|home| shown(home)).collect();
        for key in self.things.keys() {
            if self.fate(key) == Fate::Here {
                assert!(shown.contains(key), "seed {seed}: {key:?} is on no device");
            }
        }
    }

    /// A disk was put back, or a device is shut out: what only it had may be lost.
    pub fn reconsider(&mut self, homes: &[&Home], at_server: &[Handle]) {
        let shown: Vec<BTreeSet<Key>> = homes.iter().map(|home| shown(home)).collect();
        let erased: BTreeSet<[u8; 16]> = homes
            .iter()
            .flat_map(|home| home.store().erased().unwrap())
            .map(|erased| erased.id)
            .collect();
        let ordered = |handle: Handle| {
            at_server.contains(&handle)
                || homes
                    .iter()
                    .any(|home| home.store().is_erased_handle(handle).unwrap())
        };
        for (key, thing) in &mut self.things {
            match thing.fate {
                Fate::Here if !shown.iter().any(|shown| shown.contains(key)) => thing.fate = Fate::Either,
                Fate::Gone => {
                    let (what, id) = match key {
                        Key::Memory(id) => (Marked::Memory, *id.as_bytes()),
                        Key::Chat(id) => (Marked::Chat, *id.as_bytes()),
                        Key::Message(id) => (Marked::Turn, *id.as_bytes()),
                        Key::Field(_) => continue,
                    };
                    let with_chat = thing.chat.is_some_and(|chat| {
                        erased.contains(chat.as_bytes()) || ordered(mark(Marked::Chat, chat.as_bytes()))
                    });
                    if !erased.contains(&id) && !ordered(mark(what, &id)) && !with_chat {
                        thing.fate = Fate::Either;
                    }
                }
                _ => {}
            }
            let values: BTreeSet<String> = homes.iter().filter_map(|home| value(home, key)).collect();
            let descends: Vec<bool> = (0..thing.edits.len())
                .map(|place| {
                    descendants(&thing.edits, &thing.edits[place].after)
                        .iter()
                        .any(|it| values.contains(it))
                })
                .collect();
            for (edit, descends) in thing.edits.iter_mut().zip(descends) {
                edit.sure &= descends;
            }
        }
    }
}

/// A value and all that were written over it.
fn descendants(edits: &[Edit], from: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = [from.to_owned()].into();
    loop {
        let next = edits
            .iter()
            .find(|edit| found.contains(&edit.before) && !found.contains(&edit.after));
        match next {
            Some(edit) => _ = found.insert(edit.after.clone()),
            None => return found,
        }
    }
}
