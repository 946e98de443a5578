//! Erasing here and everywhere: what a local erasure orders of other devices, and what their orders mean here.
//!
//! An order names handles and marks ([`hearth_protocol::erasure::mark`]). A **mark** says that a memory, chat or turn is gone
//! for good, or that a memory stays: what it means here is an [`ErasePlan`] like a person's own, carried out by the same
//! code, and noted by id. A **handle** without a mark is a document that something else takes the place of (a chat whose
//! turn was redacted goes on in a new one), or an evicted memory: its content goes, its id may come back. A chat stays as it
//! is here, but for what is marked: what was said here may be in no other document.
//!
//! **Closure.** A memory all of whose sources are gone goes too, unless it is marked as kept: the device that erased listed
//! those it knew, as its person ticked them; one that another device drew offline is in neither list, and is caught here,
//! whenever it comes ([`memory_is_erased`]). Only a person keeps a memory: the mark is made where the plan is theirs, and
//! for what would have gone by it, not for what stays because it has other sources. Else it would outlive those too.
//!
//! Marks are hashes of random ids. To find what a mark is of, all ids here are hashed: about 0.3 µs each, and only when an
//! order names something that is no document here.

use std::collections::BTreeSet;

use hearth_protocol::erasure::{Marked, mark};
use hearth_protocol::hash::sha256;
use hearth_protocol::id::Handle;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, json};

use super::content::setting;
use super::{ErasureDone, ErasureOrder, SettingsGroup, SyncItem, SyncKind, capture, running};
use crate::erasure::{
    EraseCounts, ErasePlan, ErasedKind, is_erased, note_unsettled, remove_memories, run_plan,
};
use crate::error::StoreError;
use crate::id::{ChatId, ErasureId, MemoryId, MessageId};
use crate::memories::Memory;

/// Whether a thing is gone for good: erased here, or marked by anybody.
pub(crate) fn is_gone(connection: &Connection, id: &[u8; 16], what: ErasedKind) -> Result<bool, StoreError> {
    let marked = match what {
        ErasedKind::Memory => Marked::Memory,
        ErasedKind::Chat => Marked::Chat,
        ErasedKind::Message => Marked::Turn,
    };
    Ok(is_erased(connection, id, what)? || is_ordered(connection, &mark(marked, id))?)
}

/// Whether this handle or mark is erased for ever.
pub(super) fn is_ordered(connection: &Connection, handle: &Handle) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sync_erased WHERE handle = ?1)")?
        .query_row([handle.0], |row| row.get(0))?)
}

pub(super) fn chat_is_erased(connection: &Connection, id: ChatId) -> Result<bool, StoreError> {
    is_gone(connection, id.as_bytes(), ErasedKind::Chat)
}

/// Whether a memory is gone, or came from nothing but what is.
pub(super) fn memory_is_erased(connection: &Connection, memory: &Memory) -> Result<bool, StoreError> {
    let id = memory.id.as_bytes();
    if is_gone(connection, id, ErasedKind::Memory)? {
        return Ok(true);
    }
    if memory.sources.is_empty() || is_ordered(connection, &mark(Marked::Kept, id))? {
        return Ok(false);
    }
    for source in &memory.sources {
        if !source_is_gone(connection, source)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn source_is_gone(
    connection: &Connection,
    source: &crate::memories::MemorySource,
) -> Result<bool, StoreError> {
    Ok(
        is_gone(connection, source.message.as_bytes(), ErasedKind::Message)?
            || is_gone(connection, source.chat.as_bytes(), ErasedKind::Chat)?,
    )
}

/// Removes the pieces of a document that hasn't come in whole.
fn drop_pieces(connection: &Connection, handle: &Handle) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM sync_piece WHERE handle = ?1")?
        .execute([handle.0])?;
    Ok(())
}

/// Notes that a handle or mark is erased for ever, and orders it of the others, unless it is known.
fn order(connection: &Connection, handle: &Handle) -> Result<bool, StoreError> {
    let new = note(connection, handle)?;
    if new {
        connection
            .prepare_cached("INSERT OR IGNORE INTO sync_outgoing_erasure (handle) VALUES (?1)")?
            .execute([handle.0])?;
    }
    Ok(new)
}

fn note(connection: &Connection, handle: &Handle) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("INSERT OR IGNORE INTO sync_erased (handle) VALUES (?1)")?
        .execute([handle.0])?
        > 0)
}

fn handles_of(connection: &Connection, item: &SyncItem) -> Result<Vec<Handle>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT handle FROM sync_document WHERE kind = ?1 AND local = ?2 ORDER BY handle")?;
    let rows = statement.query_map((item.kind as u8, &item.local), |row| row.get(0).map(Handle))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn drop_document(connection: &Connection, handle: &Handle) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM sync_document WHERE handle = ?1")?
        .execute([handle.0])?;
    drop_pieces(connection, handle)
}

/// Documents of this item go, here and everywhere. Says whether one was ordered that wasn't known to be erased.
pub(super) fn order_documents(connection: &Connection, item: &SyncItem) -> Result<bool, StoreError> {
    let mut new = false;
    for handle in handles_of(connection, item)? {
        drop_document(connection, &handle)?;
        new |= order(connection, &handle)?;
    }
    Ok(new)
}

/// A document that came in and may not stay goes, here and everywhere.
pub(super) fn refuse(connection: &Connection, handle: &Handle) -> Result<(), StoreError> {
    drop_document(connection, handle)?;
    order(connection, handle)?;
    Ok(())
}

/// Who made a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// A person, on this device, who saw what goes and what stays.
    Person,
    /// Another device's order, or a restored backup that is told what was erased.
    Machine,
}

/// The memories that stay though everything goes that they were drawn from: what the closure would take, and a person
/// didn't tick.
fn kept(connection: &Connection, plan: &ErasePlan) -> Result<Vec<MemoryId>, StoreError> {
    let chats: BTreeSet<ChatId> = plan.chats.iter().copied().collect();
    let turns: BTreeSet<MessageId> = plan.turns.iter().copied().collect();
    let going: BTreeSet<MemoryId> = plan.memories.iter().copied().collect();
    let mut kept = Vec::new();
    for id in drawn_from(connection, plan)? {
        if going.contains(&id) {
            continue;
        }
        let mut all = true;
        for source in &crate::memories::memory_by_id(connection, id)?.sources {
            all &= chats.contains(&source.chat)
                || turns.contains(&source.message)
                || source_is_gone(connection, source)?;
        }
        if all {
            kept.push(id);
        }
    }
    Ok(kept)
}

/// The memories with a source in what a plan takes.
fn drawn_from(connection: &Connection, plan: &ErasePlan) -> Result<BTreeSet<MemoryId>, StoreError> {
    let mut drawn = BTreeSet::new();
    for (column, ids) in [
        (
            "chat",
            plan.chats.iter().map(ChatId::as_bytes).collect::<Vec<_>>(),
        ),
        ("message", plan.turns.iter().map(MessageId::as_bytes).collect()),
    ] {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT m.id FROM memory_source AS s JOIN memory AS m ON m.seq = s.memory WHERE s.{column} = ?1"
        ))?;
        for id in ids {
            for memory in statement.query_map([id], |row| row.get::<_, MemoryId>(0))? {
                drawn.insert(memory?);
            }
        }
    }
    Ok(drawn)
}

/// What an erasure takes from other devices too, found before it is carried out.
pub(crate) struct Leaving {
    marks: BTreeSet<Handle>,
    items: Vec<SyncItem>,
    /// Chats that go on without some of their turns.
    shortened: Vec<SyncItem>,
}

impl Leaving {
    /// What `plan` takes; `None` while the profile doesn't sync.
    pub(crate) fn of(
        connection: &Connection,
        plan: &ErasePlan,
        author: Author,
    ) -> Result<Option<Leaving>, StoreError> {
        if !running(connection)? {
            return Ok(None);
        }
        let mut marks = BTreeSet::new();
        let mut items = Vec::new();
        for id in &plan.memories {
            marks.insert(mark(Marked::Memory, id.as_bytes()));
            items.push(SyncItem::memory(*id));
        }
        items.extend(plan.chats.iter().map(|id| SyncItem::chat(*id)));
        if author == Author::Person {
            for id in kept(connection, plan)?.iter().chain(&plan.kept_memories) {
                marks.insert(mark(Marked::Kept, id.as_bytes()));
            }
            let kept_turns = plan.kept_turns.iter();
            marks.extend(kept_turns.map(|id| mark(Marked::Kept, id.as_bytes())));
            marks.extend(plan.alike.iter().map(|id| mark(Marked::Alike, id.as_bytes())));
        }
        marks.extend(plan.chats.iter().map(|id| mark(Marked::Chat, id.as_bytes())));
        marks.extend(plan.turns.iter().map(|id| mark(Marked::Turn, id.as_bytes())));
        let mut shortened = BTreeSet::new();
        for id in &plan.turns {
            let chat: Option<ChatId> = connection
                .prepare_cached(
                    "SELECT c.id FROM message AS m JOIN chat AS c ON c.seq = m.chat WHERE m.id = ?1",
                )?
                .query_row([id], |row| row.get(0))
                .optional()?;
            shortened.extend(chat.filter(|chat| !plan.chats.contains(chat)).map(SyncItem::chat));
        }
        Ok(Some(Leaving {
            marks,
            items,
            shortened: shortened.into_iter().collect(),
        }))
    }

    /// Orders it, in the transaction that erased: what is erased here and not ordered can't be.
    pub(crate) fn order(&self, connection: &Connection) -> Result<(), StoreError> {
        for item in &self.items {
            order_documents(connection, item)?;
            capture::untouch(connection, item)?;
        }
        for item in &self.shortened {
            // What was said stays in a document's history: the chat goes on in a new one.
            if order_documents(connection, item)? {
                capture::touch(connection, item)?;
            }
        }
        for mark in &self.marks {
            order(connection, mark)?;
        }
        Ok(())
    }
}

/// Evicted memories leave the other devices too, but not for good: their ids aren't marked.
pub(crate) fn ordered_here(connection: &Connection, evicted: &[MemoryId]) -> Result<(), StoreError> {
    for id in evicted {
        order_documents(connection, &SyncItem::memory(*id))?;
    }
    Ok(())
}

/// What an order means here.
#[derive(Default)]
struct Meaning {
    plan: ErasePlan,
    /// Documents that go without their ids being marked.
    loose: Vec<SyncItem>,
    /// Chats one of whose documents goes because a turn of it is gone.
    explained: Vec<SyncItem>,
    documents: Vec<(Handle, SyncItem)>,
}

/// The things of a plan that are here, of those that an order names by their marks.
pub(super) fn named(connection: &Connection, handles: &[Handle]) -> Result<ErasePlan, StoreError> {
    let marks: BTreeSet<Handle> = handles.iter().copied().collect();
    let mut plan = ErasePlan::default();
    resolve(connection, &marks, &mut plan)?;
    let here = |sql: &str, id: &[u8; 16]| -> Result<bool, StoreError> {
        Ok(connection
            .prepare_cached(sql)?
            .query_row([id], |row| row.get(0))?)
    };
    let mut found = ErasePlan::default();
    for id in plan.memories {
        if here(
            "SELECT EXISTS (SELECT 1 FROM memory WHERE id = ?1)",
            id.as_bytes(),
        )? {
            if marks.contains(&mark(Marked::Alike, id.as_bytes())) {
                found.alike.push(id);
            }
            found.memories.push(id);
        }
    }
    for id in plan.turns {
        if here(
            "SELECT EXISTS (SELECT 1 FROM message WHERE id = ?1)",
            id.as_bytes(),
        )? {
            found.turns.push(id);
        }
    }
    Ok(found)
}

/// Takes from a plan what is to stay by the person's word, now or earlier.
pub(super) fn spare(
    connection: &Connection,
    handles: &[Handle],
    plan: &mut ErasePlan,
) -> Result<(), StoreError> {
    let marks: BTreeSet<Handle> = handles.iter().copied().collect();
    let stays = |id: &[u8; 16]| -> Result<bool, StoreError> {
        let mark = mark(Marked::Kept, id);
        Ok(marks.contains(&mark) || is_ordered(connection, &mark)?)
    };
    let mut kept = Vec::new();
    for id in &plan.memories {
        if stays(id.as_bytes())? {
            kept.push(*id);
        }
    }
    plan.memories.retain(|id| !kept.contains(id));
    let mut kept = Vec::new();
    for id in &plan.turns {
        if stays(id.as_bytes())? {
            kept.push(*id);
        }
    }
    plan.turns.retain(|id| !kept.contains(id));
    Ok(())
}

/// Carries out another device's order, and what follows from it here. Ids that are known already change nothing.
pub(super) fn carry_out(
    connection: &Connection,
    order: &ErasureOrder,
    now_ms: i64,
) -> Result<ErasureDone, StoreError> {
    let ErasureOrder { erase, handles, also } = order;
    let ordered_before: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM sync_outgoing_erasure")?
        .query_row([], |row| row.get(0))?;
    for handle in handles {
        note(connection, handle)?;
        drop_pieces(connection, handle)?;
    }
    let mut meaning = meaning(connection, handles)?;
    for (handle, _) in &meaning.documents {
        drop_document(connection, handle)?;
    }
    // A chat whose turn is emptied here as it was elsewhere: the other device writes the new document.
    let mut quiet = Vec::new();
    for turn in &meaning.plan.turns {
        let chat: Option<ChatId> = connection
            .prepare_cached("SELECT c.id FROM message AS m JOIN chat AS c ON c.seq = m.chat WHERE m.id = ?1")?
            .query_row([turn], |row| row.get(0))
            .optional()?;
        if let Some(item) = chat.map(SyncItem::chat)
            && !quiet.contains(&item)
            && !capture::is_dirty(connection, &item)?
            && handles_of(connection, &item)?.is_empty()
        {
            quiet.push(item);
        }
    }
    // What follows here alone is ordered of the others: that is `more`.
    let ordered: BTreeSet<MemoryId> = meaning.plan.memories.iter().copied().collect();
    let new = also.memories.iter().filter(|id| !ordered.contains(*id));
    meaning.plan.memories.extend(new);
    let ordered: BTreeSet<MessageId> = meaning.plan.turns.iter().copied().collect();
    let new = also.turns.iter().filter(|id| !ordered.contains(*id));
    meaning.plan.turns.extend(new);
    let mut counts = EraseCounts::default();
    let mut rebuild = Vec::new();
    for item in &meaning.loose {
        loosen(connection, item, &mut counts)?;
        if !handles_of(connection, item)?.is_empty() {
            rebuild.push(item.clone());
        }
    }
    for item in chats_that_stay(connection, &meaning)? {
        // Nobody says why it went, so that nobody may bring it again; or what it goes on in is here already.
        if !meaning.explained.contains(&item) || !handles_of(connection, &item)?.is_empty() {
            capture::touch(connection, &item)?;
        }
    }
    let receipt = if meaning.plan == ErasePlan::default() {
        note_unsettled(connection, now_ms)?;
        None
    } else {
        Some(run_plan(connection, &meaning.plan, ErasureId::random(), now_ms)?)
    };
    for link in meaning.plan.turns.iter().map(MessageId::as_bytes) {
        connection
            .prepare_cached("DELETE FROM memory_source WHERE message = ?1")?
            .execute([link])?;
    }
    for link in meaning.plan.chats.iter().map(ChatId::as_bytes) {
        connection
            .prepare_cached("DELETE FROM memory_source WHERE chat = ?1")?
            .execute([link])?;
    }
    for item in &quiet {
        capture::untouch(connection, item)?;
    }
    let more = connection
        .prepare_cached("SELECT handle FROM sync_outgoing_erasure WHERE seq > ?1 ORDER BY seq")?
        .query_map([ordered_before], |row| row.get(0).map(Handle))?
        .collect::<Result<Vec<_>, _>>()?;
    // The nonce keeps the counts from being guessed.
    let mut journal = ErasureId::random().as_bytes().to_vec();
    let steps = json!({
        "documents": meaning.documents.len(),
        "loose": counts,
        "carried_out": receipt.as_ref().map(|receipt| receipt.counts),
        "more": more.len(),
    });
    journal.extend_from_slice(steps.to_string().as_bytes());
    Ok(ErasureDone {
        erase: *erase,
        journal: sha256(&journal).0,
        more,
        rebuild,
        receipt,
    })
}

fn meaning(connection: &Connection, handles: &[Handle]) -> Result<Meaning, StoreError> {
    let mut meaning = Meaning::default();
    let mut unknown: BTreeSet<Handle> = BTreeSet::new();
    for handle in handles {
        let document: Option<(u8, Vec<u8>)> = connection
            .prepare_cached("SELECT kind, local FROM sync_document WHERE handle = ?1")?
            .query_row([handle.0], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match document.and_then(|(kind, local)| Some((SyncKind::from_number(kind)?, local))) {
            Some((kind, local)) => meaning.documents.push((*handle, SyncItem { kind, local })),
            None => _ = unknown.insert(*handle),
        }
    }
    let mut unseen = false;
    if !unknown.is_empty() {
        resolve(connection, &unknown, &mut meaning.plan)?;
        let plan = &meaning.plan;
        unseen = plan.memories.len() + plan.chats.len() + plan.turns.len() < unknown.len();
    }
    closure(connection, &mut meaning.plan)?;
    let memories: BTreeSet<MemoryId> = meaning.plan.memories.iter().copied().collect();
    for (_, item) in &meaning.documents {
        let id = <[u8; 16]>::try_from(item.local.as_slice()).ok();
        match (item.kind, id) {
            (SyncKind::Memory, Some(id)) if memories.contains(&MemoryId::from_bytes(id)) => {}
            (SyncKind::Chat, Some(id)) if unseen || explained(connection, &id)? => {
                meaning.explained.push(item.clone());
            }
            // It stays, but for what is marked.
            (SyncKind::Chat, _) => {}
            _ if !meaning.loose.contains(item) => meaning.loose.push(item.clone()),
            _ => {}
        }
    }
    Ok(meaning)
}

/// Chats that are here, one of whose documents goes, and that stay. What was said here may be in no other.
fn chats_that_stay(connection: &Connection, meaning: &Meaning) -> Result<BTreeSet<SyncItem>, StoreError> {
    let mut stay = BTreeSet::new();
    for (_, item) in &meaning.documents {
        let id = <[u8; 16]>::try_from(item.local.as_slice()).map(ChatId::from_bytes);
        if item.kind == SyncKind::Chat
            && let Ok(id) = id
            && !meaning.plan.chats.contains(&id)
            && chat_is_here(connection, &id)?
        {
            stay.insert(item.clone());
        }
    }
    Ok(stay)
}

fn chat_is_here(connection: &Connection, id: &ChatId) -> Result<bool, StoreError> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM chat WHERE id = ?1)")?
        .query_row([id], |row| row.get(0))?)
}

/// Finds the things whose marks these are.
fn resolve(
    connection: &Connection,
    unknown: &BTreeSet<Handle>,
    plan: &mut ErasePlan,
) -> Result<(), StoreError> {
    let ids = |sql: &str, what: Marked| -> Result<Vec<[u8; 16]>, StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get::<_, [u8; 16]>(0))?;
        let mut found = Vec::new();
        for id in rows {
            let id = id?;
            if unknown.contains(&mark(what, &id)) {
                found.push(id);
            }
        }
        Ok(found)
    };
    let memories = ids(
        "SELECT id FROM memory UNION SELECT local FROM sync_document WHERE kind = 1 AND length(local) = 16",
        Marked::Memory,
    )?;
    plan.memories
        .extend(memories.into_iter().map(MemoryId::from_bytes));
    // Also those that aren't here, but that something was drawn from.
    let chats = ids(
        "SELECT id FROM chat UNION SELECT chat FROM memory_source
         UNION SELECT local FROM sync_document WHERE kind = 2 AND length(local) = 16",
        Marked::Chat,
    )?;
    plan.chats.extend(chats.into_iter().map(ChatId::from_bytes));
    let turns = ids(
        "SELECT id FROM message UNION SELECT message FROM memory_source",
        Marked::Turn,
    )?;
    plan.turns.extend(turns.into_iter().map(MessageId::from_bytes));
    Ok(())
}

/// Adds the memories that came from nothing but what goes, and from what is gone.
fn closure(connection: &Connection, plan: &mut ErasePlan) -> Result<(), StoreError> {
    let mut drawn = drawn_from(connection, plan)?;
    for id in &plan.memories {
        drawn.remove(id);
    }
    for id in drawn {
        let memory = crate::memories::memory_by_id(connection, id)?;
        if memory_is_erased(connection, &memory)? {
            plan.memories.push(id);
        }
    }
    Ok(())
}

/// Whether a chat's document goes because a turn of it is gone: the turn is emptied, and the rest stays. (Where an order
/// has marks of what isn't here, that may be the turn: then there is nothing to empty, and what was said here and not
/// published yet mustn't go with it.)
fn explained(connection: &Connection, chat: &[u8; 16]) -> Result<bool, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT m.id FROM message AS m JOIN chat AS c ON c.seq = m.chat WHERE c.id = ?1")?;
    for id in statement.query_map([chat], |row| row.get::<_, [u8; 16]>(0))? {
        if is_ordered(connection, &mark(Marked::Turn, &id?))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes what a document said, but not the right of its id to come back.
fn loosen(connection: &Connection, item: &SyncItem, counts: &mut EraseCounts) -> Result<(), StoreError> {
    let id = <[u8; 16]>::try_from(item.local.as_slice()).unwrap_or_default();
    match item.kind {
        SyncKind::Memory => {
            let seq: Option<i64> = connection
                .prepare_cached("SELECT seq FROM memory WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            if let Some(seq) = seq {
                remove_memories(connection, &[seq], None, counts)?;
            }
        }
        SyncKind::Settings => {
            let place = SettingsGroup::new(&String::from_utf8_lossy(&item.local));
            if let Some(value) = setting(connection, &place.setting())? {
                let bare = place.with(Some(value), Map::new());
                connection
                    .prepare_cached("UPDATE setting SET value = ?2 WHERE name = ?1")?
                    .execute((place.setting(), bare.to_string()))?;
            }
        }
        // Nothing is removed of a chat: see `chats_that_stay`.
        SyncKind::Chat | SyncKind::Usage | SyncKind::Media => {}
    }
    capture::untouch(connection, item)
}
