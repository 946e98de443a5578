//! Filters, applied before anything is ranked.

use std::collections::HashSet;

use rusqlite::Connection;

use crate::chats::chat_seq;
use crate::error::StoreError;
use crate::id::ChatId;
use crate::memories::{MemoryKind, MemoryState};
use crate::vectors::Index;

/// Which rows may be found. Every field narrows; the default lets all through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Memories of these kinds; empty for all. Turns have none and aren't asked.
    pub kinds: Vec<MemoryKind>,
    /// Memories with these statuses; empty for all.
    pub states: Vec<MemoryState>,
    /// Only sensitive memories, or only the others.
    pub sensitive: Option<bool>,
    /// Only pinned memories, or only the others.
    pub pinned: Option<bool>,
    /// Turns of these chats, memories with a source in one of them; `None` for all.
    pub chats: Option<Vec<ChatId>>,
}

/// What a filter looks at in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// A turn's chat; 0 for a memory.
    pub(crate) chat: i64,
    /// A bit each.
    pub(crate) kind: u8,
    pub(crate) state: u8,
    pub(crate) sensitive: bool,
    pub(crate) pinned: bool,
}

/// A filter made ready for one index.
pub(crate) struct Sieve {
    filter: Filter,
    kinds: u8,
    states: u8,
    /// Turns of these chats, or memories of these numbers.
    only: Option<HashSet<i64>>,
    index: Index,
    all: bool,
}

pub(crate) fn kind_bit(kind: MemoryKind) -> u8 {
    1 << kind as u8
}

pub(crate) fn state_bit(state: MemoryState) -> u8 {
    1 << state as u8
}

fn bits<T: Copy>(wanted: &[T], bit: fn(T) -> u8) -> u8 {
    if wanted.is_empty() {
        return u8::MAX;
    }
    wanted.iter().fold(0, |bits, one| bits | bit(*one))
}

impl Sieve {
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown chat to search in.
    pub(crate) fn new(connection: &Connection, index: Index, filter: &Filter) -> Result<Sieve, StoreError> {
        let only = match (&filter.chats, index) {
            (None, _) => None,
            (Some(chats), Index::Turns) => Some(
                chats
                    .iter()
                    .map(|chat| chat_seq(connection, *chat))
                    .collect::<Result<HashSet<_>, _>>()?,
            ),
            (Some(chats), Index::Memories) => {
                let mut of = connection.prepare_cached("SELECT memory FROM memory_source WHERE chat = ?1")?;
                let mut memories = HashSet::new();
                for chat in chats {
                    for memory in of.query_map([chat], |row| row.get(0))? {
                        memories.insert(memory?);
                    }
                }
                Some(memories)
            }
        };
        Ok(Sieve {
            kinds: bits(&filter.kinds, kind_bit),
            states: bits(&filter.states, state_bit),
            only,
            index,
            all: *filter == Filter::default(),
            filter: filter.clone(),
        })
    }

    /// Whether row `seq` may be found.
    pub(crate) fn lets(&self, seq: i64, facts: &Facts) -> bool {
        if self.all {
            return true;
        }
        let filter = &self.filter;
        match self.index {
            Index::Memories => {
                facts.kind & self.kinds != 0
                    && facts.state & self.states != 0
                    && filter.sensitive.is_none_or(|wanted| wanted == facts.sensitive)
                    && filter.pinned.is_none_or(|wanted| wanted == facts.pinned)
                    && self.only.as_ref().is_none_or(|only| only.contains(&seq))
            }
            Index::Turns => self.only.as_ref().is_none_or(|only| only.contains(&facts.chat)),
        }
    }
}
