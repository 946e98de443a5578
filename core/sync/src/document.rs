//! Records of a profile as Automerge documents: pure functions both ways.
//!
//! One document per memory, per chat, per group of settings; one for the biography, one for the recall counters of each
//! device. **A document is the unit of erasure**: what was ever written into it stays in its history until the whole
//! document goes. So a text that must go goes with its document, and what stays of a chat begins a new one
//! ([`Doc::new`], [`Doc::update`]), under a new handle.
//!
//! [`Doc::update`] compares a record with what the document says and writes only fields that differ, so that two devices'
//! edits of one record merge by field. Fields that this version doesn't know are never touched. A field at its default
//! isn't written; setting a field back to it deletes it, and a concurrent write wins over that. Where two wrote one
//! field, Automerge's order of operations decides, the same on every device; but the later of two times of change holds.
//!
//! **Actors.** A document's actor is the log id of the device's incarnation, so that a run of the simulator is
//! reproducible. Automerge needs an actor's changes to be numbered without repetition, as a log's envelopes are. A
//! restored device learns that it is one only when it is told its own head, so changes are made *then*, at upload, not
//! when something is edited: what waits offline is the store's mark. A change that an actor has made already is
//! [`DocumentError::ActorReused`].
//!
//! **Foreign bytes.** Changes come from enrolled devices, but a mistake of one must not stop the others. Before Automerge
//! sees anything, [`guard`] bounds what it would inflate to and how many operations it would read; a panic inside it is
//! caught and becomes [`DocumentError::Malformed`]; a document is changed as a whole or not at all. What a document then
//! says is read leniently: a record needs its id (and a memory its text), everything else falls back to a default.
//!
//! **Sizes**, before sealing and padding, measured by the test `sizes` (bytes):
//!
//! | | change | document |
//! |---|---|---|
//! | a memory of 45 characters with one source, new | 227 | 290 |
//! | … pinned | 86 | |
//! | … corrected: a text of 58 characters, and the time | 166 | |
//! | … superseded, and the time | 123 | |
//! | a chat's next message of 200 characters | 343 | |
//!
//! The mark is 400 bytes for a small edit on the wire; salt, tag and signature of its envelope take 112 of them.

mod chat;
pub mod guard;
pub mod media;
mod memory;
mod settings;
mod tree;
mod usage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ReadDoc};
use hearth_protocol::id::{Hash, LogId};

use crate::content::DocumentKind;
use tree::Tree;

pub use chat::{ChatRecord, MessageRecord, MessageStatus, Role};
pub use memory::{MAX_MEMORY_BYTES, MemoryKind, MemoryOrigin, MemoryRecord, MemoryStatus, Source};
pub use settings::SettingsRecord;
pub use usage::{UsageRecord, Use};

/// The id of a chat, message or memory in the store: 16 random bytes, the same on every device.
pub type LocalId = [u8; 16];

/// Bytes of a document, all of it: more is refused.
pub const MAX_DOCUMENT_BYTES: usize = 32 << 20;

/// Why bytes are no document, or a record can't become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not Automerge's encoding, or not what a document of this kind says.
    #[error("not a document of this kind: {0}")]
    Malformed(String),
    /// Larger than a document, a field or a history may be.
    #[error("{0} is larger than its limit")]
    TooLarge(&'static str),
    /// One actor made two different changes of one number: a copy of the device wrote too.
    #[error("an actor's change was made twice")]
    ActorReused,
    /// The record is of another kind, or has another id, than the document.
    #[error("the record is another document's")]
    Mismatch,
}

impl From<AutomergeError> for DocumentError {
    fn from(error: AutomergeError) -> Self {
        match error {
            AutomergeError::DuplicateSeqNumber(..) | AutomergeError::DuplicateActorId(_) => Self::ActorReused,
            error => Self::Malformed(error.to_string()),
        }
    }
}

/// What a document says.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A memory.
    Memory(MemoryRecord),
    /// A chat with its messages.
    Chat(ChatRecord),
    /// A group of settings.
    Settings(SettingsRecord),
    /// How often one device put memories before its model.
    Usage(UsageRecord),
}

impl Record {
    /// Which kind of document it is.
    pub fn kind(&self) -> DocumentKind {
        match self {
            Self::Memory(_) => DocumentKind::Memory,
            Self::Chat(_) => DocumentKind::Chat,
            Self::Settings(_) => DocumentKind::Settings,
            Self::Usage(_) => DocumentKind::Usage,
        }
    }

    /// Several documents of one thing, read as one: what two devices make when both import the same export before they
    /// know of each other. The documents come by handle, the lowest first: that one is written to from then on, and gets
    /// what the others have beyond it. Every device that has the same documents makes the same of them.
    ///
    /// Of a memory, the one that changed last says what it is, the lowest handle where two say the same time, and sources
    /// are united; of a chat, messages are united; of settings, fields. `None` for no records.
    pub fn united(records: impl IntoIterator<Item = Self>) -> Option<Self> {
        records.into_iter().reduce(|first, second| match (first, second) {
            (Self::Memory(a), Self::Memory(b)) => Self::Memory(a.united(b)),
            (Self::Chat(a), Self::Chat(b)) => Self::Chat(a.united(b)),
            (Self::Settings(a), Self::Settings(b)) => Self::Settings(a.united(b)),
            (Self::Usage(a), Self::Usage(b)) => Self::Usage(a.united(b)),
            (first, _) => first,
        })
    }

    fn read(kind: DocumentKind, tree: &Tree) -> Result<Self, DocumentError> {
        Ok(match kind {
            DocumentKind::Memory => Self::Memory(MemoryRecord::read(tree)?),
            DocumentKind::Chat => Self::Chat(ChatRecord::read(tree)?),
            DocumentKind::Settings => Self::Settings(SettingsRecord::read(tree)?),
            DocumentKind::Usage => Self::Usage(UsageRecord::read(tree)?),
            DocumentKind::Media => return Err(malformed("media isn't an Automerge document")),
        })
    }

    fn tree(&self) -> Result<Tree, DocumentError> {
        match self {
            Self::Memory(memory) => memory.tree(),
            Self::Chat(chat) => chat.tree(),
            Self::Settings(settings) => settings.tree(),
            Self::Usage(usage) => usage.tree(),
        }
    }
}

/// A change that was made here, in Automerge's encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// Its hash: the document's only head now.
    pub hash: Hash,
    /// Its bytes, compressed where that helps.
    pub bytes: Vec<u8>,
}

/// A document.
#[derive(Debug, Clone)]
pub struct Doc {
    inner: Automerge,
}

impl Doc {
    /// An empty document, to be written by this incarnation.
    pub fn new(actor: LogId) -> Self {
        Self {
            inner: Automerge::new().with_actor(ActorId::from(actor.0)),
        }
    }

    /// Reads what [`Doc::save`] wrote, here or on another device; further changes are this incarnation's.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`], [`DocumentError::TooLarge`].
    pub fn load(bytes: &[u8], actor: LogId) -> Result<Self, DocumentError> {
        guard::document(bytes)?;
        let mut inner = contained(|| Automerge::load(bytes).map(probed))??;
        inner.set_actor(ActorId::from(actor.0));
        Ok(Self { inner })
    }

    /// Makes the document say what `record` says, in one change that writes only what differs; `None` when nothing does.
    ///
    /// # Errors
    /// [`DocumentError::Mismatch`] when the document is of another id; [`DocumentError::TooLarge`] for a field beyond
    /// its limit. The document is as it was then.
    pub fn update(&mut self, record: &Record) -> Result<Option<LocalChange>, DocumentError> {
        let wanted = record.tree()?;
        // Through the record, so that what isn't understood or is out of range counts as what it is read as.
        let present = match self.record(record.kind()) {
            Ok(there) => there.tree()?,
            Err(DocumentError::Malformed(_)) => Tree::default(),
            Err(error) => return Err(error),
        };
        if let (Some(there), Some(new)) = (present.get(tree::ID), wanted.get(tree::ID))
            && there != new
        {
            return Err(DocumentError::Mismatch);
        }
        let mut next = self.inner.clone();
        let change = contained(|| {
            let mut transaction = next.transaction();
            tree::write(&mut transaction, &present, &wanted)?;
            let made = transaction.commit().0.is_some();
            Ok::<_, DocumentError>(made.then(|| next.get_last_local_change()).flatten())
        })??;
        if change.is_some() {
            // Another device can have filled it up to the limit, or have made it so that this is one change too many.
            self.inner = contained(|| bounded(next))??;
        }
        Ok(change.map(|mut change| LocalChange {
            hash: Hash(change.hash().0),
            bytes: change.bytes().into_owned(),
        }))
    }

    /// Applies changes of other devices, in any order; what is known already changes nothing, and what builds on a change
    /// that isn't here waits for it ([`Doc::waiting`]). All of them or none.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`], [`DocumentError::TooLarge`], [`DocumentError::ActorReused`].
    pub fn apply<B: AsRef<[u8]>>(&mut self, changes: &[B]) -> Result<(), DocumentError> {
        let mut read = Vec::with_capacity(changes.len());
        let mut room = guard::Room::default();
        for bytes in changes {
            guard::change(bytes.as_ref(), &mut room)?;
            read.push(contained(|| Change::try_from(bytes.as_ref()))?.map_err(malformed)?);
        }
        let mut next = self.inner.clone();
        self.inner = contained(|| {
            next.apply_changes(read)?;
            bounded(next)
        })??;
        Ok(())
    }

    /// Takes over everything that another state of the same document has.
    ///
    /// # Errors
    /// As for [`Doc::load`] and [`Doc::apply`].
    pub fn merge(&mut self, snapshot: &[u8]) -> Result<(), DocumentError> {
        guard::document(snapshot)?;
        let mut next = self.inner.clone();
        self.inner = contained(|| {
            next.merge(&mut Automerge::load(snapshot)?)?;
            bounded(next)
        })??;
        Ok(())
    }

    /// What edits that aren't in the document yet and a later state of it make together, field by field. No change is
    /// made by this: that is for [`Doc::update`], when there are numbers for it. Of a field that both changed, the edit's
    /// value holds as a rule.
    ///
    /// # Errors
    /// As for [`Doc::update`] and [`Doc::record`].
    pub fn merged_with(&self, edited: &Record, later: &Self) -> Result<Record, DocumentError> {
        let mut scratch = self.clone();
        // Higher than any other: it wins where the counters are the same.
        scratch.inner.set_actor(ActorId::from([0xff; 17]));
        scratch.update(edited)?;
        contained(|| scratch.inner.merge(&mut later.inner.clone()))??;
        scratch.record(edited.kind())
    }

    /// What the document says, read as this kind.
    ///
    /// # Errors
    /// [`DocumentError::Malformed`] when it lacks what a record of this kind can't be without.
    pub fn record(&self, kind: DocumentKind) -> Result<Record, DocumentError> {
        contained(|| Record::read(kind, &tree::read(&self.inner)?))?
    }

    /// The document with its history, as bytes to keep. Their order follows the order in which changes came in.
    pub fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    /// The document as bytes to publish: replicas with the same changes have the same bytes, as long as nothing is
    /// [waiting](Doc::waiting). Applies every change anew: slower than [`Doc::save`].
    pub fn snapshot(&self) -> Vec<u8> {
        // Changes may not come in every order that their hashes allow: one can leave out what its author wrote before.
        let canonical = contained(|| self.canonical());
        canonical.ok().flatten().unwrap_or_else(|| self.save())
    }

    /// The hashes of the changes that nothing builds on, ascending: they name the state.
    pub fn heads(&self) -> Vec<Hash> {
        let mut heads: Vec<Hash> = self
            .inner
            .get_heads()
            .into_iter()
            .map(|head| Hash(head.0))
            .collect();
        heads.sort_unstable();
        heads
    }

    /// Whether every one of these heads is in the document's history.
    pub fn has(&self, heads: &[Hash]) -> bool {
        heads
            .iter()
            .all(|head| self.inner.get_change_meta_by_hash(&ChangeHash(head.0)).is_some())
    }

    /// Every change that isn't part of the state `heads`, each after those it builds on. Heads that aren't here are
    /// passed over.
    pub fn changes_since(&self, heads: &[Hash]) -> Vec<Vec<u8>> {
        let known: Vec<ChangeHash> = heads
            .iter()
            .map(|head| ChangeHash(head.0))
            .filter(|head| self.inner.get_change_meta_by_hash(head).is_some())
            .collect();
        let changes = self.inner.get_changes(&known);
        changes
            .into_iter()
            .map(|mut change| change.bytes().into_owned())
            .collect()
    }

    /// Whether a change waits for one that isn't here.
    pub fn waiting(&self) -> bool {
        !self.inner.get_missing_deps(&[]).is_empty()
    }

    /// The bytes that every replica with these changes gets, whatever the order they came in: made from the changes in
    /// the one order that follows from their hashes.
    fn canonical(&self) -> Option<Vec<u8>> {
        let mut changes = self.inner.get_changes(&[]);
        if changes.len() > 1 {
            changes = in_order(changes);
        }
        let mut fresh = Automerge::new().with_actor(self.inner.get_actor().clone());
        fresh.apply_changes(changes).ok()?;
        (!self.waiting()).then(|| fresh.save())
    }
}

/// Changes after those they build on; of those that may come next, the one with the lowest hash.
fn in_order(changes: Vec<Change>) -> Vec<Change> {
    use std::collections::{BTreeMap, BTreeSet};

    let mut missing: BTreeMap<ChangeHash, usize> = BTreeMap::new();
    let mut builders: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    let mut by_hash: BTreeMap<ChangeHash, Change> = BTreeMap::new();
    for change in changes {
        missing.insert(change.hash(), change.deps().len());
        for dep in change.deps() {
            builders.entry(*dep).or_default().push(change.hash());
        }
        by_hash.insert(change.hash(), change);
    }
    let mut ready: BTreeSet<ChangeHash> = BTreeSet::new();
    ready.extend(
        missing
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(hash, _)| *hash),
    );
    let mut ordered = Vec::with_capacity(by_hash.len());
    while let Some(hash) = ready.pop_first() {
        ordered.extend(by_hash.remove(&hash));
        for builder in builders.remove(&hash).into_iter().flatten() {
            if let Some(count) = missing.get_mut(&builder) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(builder);
                }
            }
        }
    }
    ordered
}

fn malformed(reason: impl std::fmt::Display) -> DocumentError {
    DocumentError::Malformed(reason.to_string())
}

/// Lets what will be asked of a document be asked once: what Automerge took, but can't write again, isn't taken.
fn probed(document: Automerge) -> Automerge {
    let _ = (document.get_changes(&[]), document.save());
    document
}

/// The same, of a document that has grown: what couldn't be loaded again isn't taken. Automerge applies changes that it
/// can't write so that it reads them again, such as one that deletes what was never there.
fn bounded(document: Automerge) -> Result<Automerge, DocumentError> {
    let _ = document.get_changes(&[]);
    let saved = document.save();
    guard::document(&saved)?;
    if Automerge::load(&saved)?.get_heads() != document.get_heads() {
        return Err(malformed("it is another document once it was saved"));
    }
    Ok(document)
}

/// Runs what reads foreign bytes; a panic in it is an error.
fn contained<T>(read: impl FnOnce() -> T) -> Result<T, DocumentError> {
    // What was half changed is dropped by every caller.
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| malformed("it can't be read"))
}
