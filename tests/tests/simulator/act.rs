//! What persons do, and what befalls their devices.

use std::collections::BTreeSet;

use hearth_protocol::control::RevokeReason;
use hearth_store::{
    ErasePlan, EraseScope, MemoryChange, MemoryKind, MemoryOrigin, MemoryStatus, MessageStatus, NewChat,
    NewMemory, NewMessage, Role, SourceTurn, Store, StoreError,
};
use hearth_sync::device::Input;
use serde_json::{Value, json};

use super::home::{Home, messages};
use super::model::{Act, Key, Pending, SETTINGS, shown, value};
use super::world::World;

/// Devices at most, copies among them.
const MOST_DEVICES: usize = 5;
/// How far a clock is off: years.
const FAR_MS: i64 = 5 * 365 * 24 * 60 * 60 * 1000;

impl World {
    /// One thing that somebody does or that befalls a device.
    pub fn something(&mut self) {
        let living = self.living();
        let home = self.random.one_of(&living);
        if self.homes[home].store.is_none() || self.homes[home].driver.is_none() {
            return;
        }
        match self.random.below(100) {
            0..20 => self.remember(home),
            20..36 => self.edit_memory(home),
            36..40 => self.pin(home),
            40..46 => self.begin_chat(home),
            46..62 => self.say(home),
            62..66 => self.rename(home),
            66..72 => self.set_field(home),
            72..80 => self.erase(home),
            80..84 => self.offline(home),
            84..89 => self.homes[home].online = true,
            89 => self.jump(home),
            90 => self.homes[home].image = Some(self.homes[home].take_image()),
            91 => self.restore_disk(home),
            92 => self.server.back_up(),
            93 => self.restore_server(),
            94 => self.rotate(home),
            95 => self.copy_disk(home),
            96 => self.come_now(),
            97 => self.revoke(home),
            98 => self.end(home, None),
            _ => self.end_server(),
        }
    }

    /// Does something to a store, and notes what came of it.
    fn act(&mut self, home: usize, act: Act, work: impl FnOnce(&mut Store) -> Result<(), StoreError>) {
        self.log(&format!("device {home}: {}", name(&act)), &[]);
        self.tell(&act);
        let pending = Pending {
            act,
            before: shown(&self.homes[home]),
        };
        let this = &mut self.homes[home];
        let Some(store) = this.store.as_mut() else { return };
        let done = work(store);
        if this.disk.is_dead() {
            self.end(home, Some(pending));
            return;
        }
        if let Err(error) = &done {
            let excused = this.disk.counts().failed > 0 || matches!(error, StoreError::LogInUse);
            assert!(excused, "seed {}: device {home}: {error}", self.seed);
            this.disk.relieve();
            this.disk.unplan();
        }
        this.changed = true;
        self.model
            .resolve(&self.homes[home], home, Some(pending), done.is_ok());
    }

    fn some_key(&mut self, home: usize, wanted: impl Fn(&Key) -> bool) -> Option<Key> {
        let keys: Vec<Key> = shown(&self.homes[home]).into_iter().filter(wanted).collect();
        (!keys.is_empty()).then(|| self.random.one_of(&keys))
    }

    fn some_chat(&mut self, home: usize) -> Option<hearth_store::ChatId> {
        match self.some_key(home, |key| matches!(key, Key::Chat(_))) {
            Some(Key::Chat(chat)) => Some(chat),
            _ => None,
        }
    }

    fn remember(&mut self, home: usize) {
        let word = self.word("memory");
        let mut sources = Vec::new();
        if self.random.once_in(3)
            && let Some(chat) = self.some_chat(home)
        {
            let all = messages(self.homes[home].store(), chat);
            let full = all.iter().filter(|message| !message.text.is_empty());
            let all: Vec<_> = full.map(|message| message.id).collect();
            if !all.is_empty() {
                let message = self.random.one_of(&all);
                sources.push(SourceTurn { chat, message });
            }
        }
        let new = NewMemory {
            text: word.clone(),
            kind: self.random.one_of(MemoryKind::ALL),
            confidence: 1.0,
            sensitive: false,
            valid_from_ms: None,
            valid_to_ms: None,
            created_at_ms: self.clock(home) as i64,
            sources: sources.clone(),
            status: MemoryStatus::Active,
            origin: MemoryOrigin::Stated,
            pinned: false,
        };
        self.act(home, Act::Remember { word, sources }, |store| {
            store.add_memory(&new, None).map(drop)
        });
    }

    fn edit_memory(&mut self, home: usize) {
        let Some(key) = self.some_key(home, |key| matches!(key, Key::Memory(_))) else {
            return;
        };
        let Key::Memory(id) = key else { return };
        let before = value(&self.homes[home], &key).unwrap_or_default();
        let after = self.word("changed");
        let change = MemoryChange {
            text: Some(after.clone()),
            kind: self
                .random
                .once_in(2)
                .then(|| self.random.one_of(MemoryKind::ALL)),
            ..MemoryChange::default()
        };
        let now = self.clock(home) as i64;
        self.act(home, Act::Edit { key, before, after }, |store| {
            store.update_memory(id, &change, None, now).map(drop)
        });
    }

    fn pin(&mut self, home: usize) {
        let Some(Key::Memory(id)) = self.some_key(home, |key| matches!(key, Key::Memory(_))) else {
            return;
        };
        let pinned = self.random.once_in(2);
        self.act(home, Act::Other, |store| store.pin_memory(id, pinned));
    }

    fn begin_chat(&mut self, home: usize) {
        let word = self.word("title");
        let new = NewChat {
            title: word.clone(),
            created_at_ms: self.clock(home) as i64,
            metadata: Value::Null,
        };
        self.act(home, Act::Begin { word }, |store| {
            store.create_chat(new).map(drop)
        });
    }

    fn say(&mut self, home: usize) {
        let Some(chat) = self.some_chat(home) else {
            return self.begin_chat(home);
        };
        let word = self.word("said");
        let all = messages(self.homes[home].store(), chat);
        let head = self.homes[home].store().chat(chat).unwrap().head;
        let parent = if self.random.once_in(4) && !all.is_empty() {
            Some(self.random.one_of(&all).id)
        } else {
            head
        };
        let new = NewMessage {
            chat,
            parent,
            role: Role::User,
            text: format!("{word} {}", "and so on, ".repeat(self.random.below(40))),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            created_at_ms: self.clock(home) as i64,
            model: None,
            metadata: Value::Null,
        };
        self.act(home, Act::Say { chat, word }, |store| {
            store.append_message(new).map(drop)
        });
    }

    fn rename(&mut self, home: usize) {
        let Some(chat) = self.some_chat(home) else { return };
        let key = Key::Chat(chat);
        let before = value(&self.homes[home], &key).unwrap_or_default();
        let after = self.word("title");
        let now = self.clock(home) as i64;
        let title = after.clone();
        self.act(home, Act::Edit { key, before, after }, |store| {
            store.rename_chat(chat, &title, now)
        });
    }

    fn set_field(&mut self, home: usize) {
        let field = self.random.one_of(&["one", "two", "three"]);
        let key = Key::Field(field.to_owned());
        let before = value(&self.homes[home], &key).unwrap_or_default();
        let after = self.word("setting");
        let text = after.clone();
        self.act(home, Act::Edit { key, before, after }, |store| {
            let mut all = store.get_setting(SETTINGS)?.unwrap_or_else(|| json!({}));
            all[field] = json!(text);
            store.set_setting(SETTINGS, &all)
        });
    }

    fn erase(&mut self, home: usize) {
        if self.homes[home].copied {
            return;
        }
        let Some(key) = self.some_key(home, |key| !matches!(key, Key::Field(_))) else {
            return;
        };
        let mut plan = ErasePlan::default();
        let now = self.clock(home) as i64;
        let mut keys: BTreeSet<Key> = [key.clone()].into();
        match key {
            Key::Memory(id) => plan.memories.push(id),
            Key::Message(id) => plan.turns.push(id),
            Key::Chat(id) if self.random.once_in(2) => {
                keys.extend(of_chat(&self.homes[home], id));
                self.act(home, Act::Erase { keys }, |store| store.delete_chat(id));
                return;
            }
            Key::Chat(id) => {
                keys.extend(of_chat(&self.homes[home], id));
                // As a person is shown it, with what was drawn from it.
                let scope = EraseScope::Chats(vec![id]);
                plan = self.homes[home].store().plan_erasure(&scope).unwrap().plan();
                keys.extend(plan.memories.iter().map(|id| Key::Memory(*id)));
            }
            Key::Field(_) => return,
        }
        self.act(home, Act::Erase { keys }, |store| {
            store.erase(&plan, now).map(drop)
        });
    }

    fn jump(&mut self, home: usize) {
        let skew = self
            .random
            .one_of(&[0, 1000 * 60 * 60, -FAR_MS, FAR_MS, -1000 * 60 * 60 * 30]);
        let this = &mut self.homes[home];
        this.skew_ms = skew;
        this.wake_ms = Some(self.now_ms);
        self.log(&format!("the clock of {home} jumps"), &skew.to_be_bytes());
    }

    fn rotate(&mut self, home: usize) {
        self.log(&format!("{home} rotates"), &[]);
        self.give(home, Input::Rotate);
    }

    /// Takes stock after something was lost; every database is open.
    pub fn reconsider(&mut self) {
        self.start_all();
        let erased = self.server.erased();
        let living: Vec<&Home> = self.living().into_iter().map(|home| &self.homes[home]).collect();
        let mut model = std::mem::take(&mut self.model);
        model.reconsider(&living, &erased);
        self.model = model;
    }

    fn calm<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let trouble = self.trouble;
        for home in &mut self.homes {
            home.disk.unplan();
            home.disk.relieve();
        }
        self.server.disk.unplan();
        self.server.disk.relieve();
        self.start_all();
        let done = work(self);
        self.trouble = trouble;
        done
    }

    fn restore_disk(&mut self, home: usize) {
        let Some(image) = self.homes[home].image.clone() else {
            return;
        };
        if self.homes[home].copied {
            return;
        }
        self.calm(|world| {
            let living: Vec<&Home> = world
                .living()
                .into_iter()
                .map(|home| &world.homes[home])
                .collect();
            world.model.check_somewhere(&living, world.seed);
            world.end(home, None);
            world.homes[home].put_back(&image);
            world.log(&format!("the disk of {home} is put back"), &[]);
            world.reconsider();
        });
    }

    fn copy_disk(&mut self, home: usize) {
        if self.homes.len() >= MOST_DEVICES || self.homes.iter().any(|home| home.copied) {
            return;
        }
        self.calm(|world| {
            let copy = world.homes[home].copy();
            world.homes.push(copy);
            world.homes.last_mut().unwrap().online = true;
            world.log(&format!("the disk of {home} is copied"), &[]);
            world.start_all();
        });
    }

    /// A new device.
    pub fn come_now(&mut self) {
        if self.homes.len() >= MOST_DEVICES {
            return;
        }
        let members: Vec<usize> = self
            .living()
            .into_iter()
            .filter(|home| self.homes[*home].online && !self.homes[*home].copied)
            .collect();
        if members.is_empty() {
            return;
        }
        let by = self.random.one_of(&members);
        self.calm(|world| {
            world.homes.push(Home::new());
            let new = world.homes.len() - 1;
            if !world.enrol(new, by) {
                world.homes.pop();
            }
        });
    }

    fn revoke(&mut self, by: usize) {
        let targets: Vec<usize> = self.living().into_iter().filter(|home| *home != by).collect();
        if targets.len() < 2
            || self.homes[by].copied
            || self.homes.iter().any(|home| home.copied || home.leaving)
        {
            return;
        }
        let target = self.random.one_of(&targets);
        self.calm(|world| {
            let Some(device) = world.device(target).map(hearth_sync::device::Device::id) else {
                return;
            };
            if world
                .device(by)
                .is_none_or(|by| by.account().member(&device).is_none())
            {
                return;
            }
            // Whom only the one that is shut out has let in would be out with it, and have to be paired again.
            let all_are_in = world.living().into_iter().all(|home| {
                let of = |by: &hearth_sync::device::Device| {
                    world
                        .device(home)
                        .is_some_and(|device| by.account().member(&device.id()).is_some())
                };
                world.device(by).is_some_and(of)
            });
            if !all_are_in {
                return;
            }
            world.homes[target].leaving = true;
            world.log(&format!("{by} shuts {target} out"), &[]);
            let reason = RevokeReason::Lost;
            world.give(
                by,
                Input::Revoke {
                    target: device,
                    reason,
                },
            );
            world.reconsider();
        });
    }
}

fn of_chat(home: &Home, chat: hearth_store::ChatId) -> BTreeSet<Key> {
    let all = messages(home.store(), chat);
    all.iter().map(|message| Key::Message(message.id)).collect()
}

fn name(act: &Act) -> &'static str {
    match act {
        Act::Remember { .. } => "remembers",
        Act::Begin { .. } => "begins a chat",
        Act::Say { .. } => "says something",
        Act::Edit { .. } => "changes something",
        Act::Erase { .. } => "erases something",
        Act::Other => "pins",
    }
}
