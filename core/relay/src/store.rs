//! Where a relay keeps things: an ordered map per account, with transactions. Nothing else, so that a store is small,
//! two stores can be compared call by call, and faults can be injected in one place.
//!
//! # What a store holds
//!
//! Rows `(account, space, key) → value`, all bytes. The relay makes keys and values; a store never looks inside. What
//! belongs to no account (which account a recovery phrase is of, which receipts are owed) is under [`SHARED`].
//!
//! Keys have at most [`MAX_KEY_BYTES`], values at most [`MAX_VALUE_BYTES`]. Most rows are small (30 to 300 bytes); the
//! large ones are sealed bodies ([`Space::Items`]) and shards of the key registry ([`Space::Shards`]).
//!
//! # Transactions
//!
//! A relay calls [`begin`](Store::begin), reads and writes, then [`commit`](Store::commit); after any error it calls
//! [`rollback`](Store::rollback), and then nothing of the transaction may be seen again. Reads see the transaction's own
//! writes. There is one transaction at a time and no nesting. When `commit` returns, the transaction survives a crash of
//! the machine; whoever puts several of them into one larger one (group commit) must not send the relay's outputs before
//! that one is durable.
//!
//! # Erasure
//!
//! What is deleted or overwritten must be gone from the disk after [`scrub`](Store::scrub): from free pages, logs of
//! changes and caches on disk. A relay signs a receipt only afterwards.

use std::ops::ControlFlow;

use hearth_protocol::id::AccountId;

/// The most bytes of a key.
pub const MAX_KEY_BYTES: usize = 64;

/// The most bytes of a value: a sealed body, its header and some bookkeeping.
pub const MAX_VALUE_BYTES: usize = 2 << 20;

/// The account of what belongs to none.
pub const SHARED: AccountId = AccountId([0; 32]);

/// A store can't do what it was asked. The relay rolls back, and tells whoever asked `StorageFailed`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room, not even in the reserve.
    #[error("the store is full")]
    Full,
    /// A row was written outside of a transaction, or a transaction was begun inside another: a defect of the caller.
    #[error("no transaction is open, or one is already")]
    NoTransaction,
    /// A key or value is above its limit: a defect of the caller.
    #[error("a row is too large")]
    TooLarge,
    /// What was read isn't what was written.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
    /// Anything else.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a row is about. A store may treat spaces alike; the numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// One row: the account's counters and roots.
    Account = 1,
    /// Control entries by number.
    Control = 2,
    /// The wraps of the running epoch.
    Wraps = 3,
    /// What is remembered of each device: its instance tokens, what it has acknowledged.
    Devices = 4,
    /// Logs by id: who opened them, where they stand.
    Logs = 5,
    /// Logs by their short number.
    LogNumbers = 6,
    /// Envelopes, and holes with their signatures, by log and number. By far the most bytes.
    Items = 7,
    /// Which items belong to a handle. Empty values.
    Handles = 8,
    /// Erasures in the order of arrival.
    Erasures = 9,
    /// Where an erasure stands in that order, by its id.
    EraseIds = 10,
    /// Which erasures name a handle. Empty values.
    Erased = 11,
    /// Receipts by erasure.
    Receipts = 12,
    /// Acknowledgements by erasure and device.
    Acks = 13,
    /// Signed statements in the order of arrival.
    Statements = 14,
    /// The newest statement of a device and kind.
    Newest = 15,
    /// The registry's table.
    Table = 16,
    /// The registry's shards. Up to 1 MiB each.
    Shards = 17,
    /// Snapshots whose covered bodies still wait to be deleted.
    Covering = 18,
    /// Under [`SHARED`]: all accounts.
    Accounts = 19,
    /// Under [`SHARED`]: the account of a recovery phrase's public key.
    Phrases = 20,
    /// Under [`SHARED`]: receipts that are owed.
    Owed = 21,
    /// Under [`SHARED`]: invitation codes that were used.
    Invitations = 22,
    /// The erasure that stands at a place: log and number.
    ErasePlaces = 23,
    /// Under [`SHARED`]: SHA-256 of the ids of accounts that the operator removed. Empty values.
    Purged = 24,
    /// Holes without a signature, by log: four bytes and 32 for each.
    Holes = 25,
}

impl Space {
    /// Every space.
    pub const ALL: &'static [Self] = &[
        Self::Account,
        Self::Control,
        Self::Wraps,
        Self::Devices,
        Self::Logs,
        Self::LogNumbers,
        Self::Items,
        Self::Handles,
        Self::Erasures,
        Self::EraseIds,
        Self::Erased,
        Self::Receipts,
        Self::Acks,
        Self::Statements,
        Self::Newest,
        Self::Table,
        Self::Shards,
        Self::Covering,
        Self::Accounts,
        Self::Phrases,
        Self::Owed,
        Self::Invitations,
        Self::ErasePlaces,
        Self::Purged,
        Self::Holes,
    ];
}

/// What a scan calls for every row: key and value. [`ControlFlow::Break`] ends it.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered map per account, with transactions: see the [module](self).
pub trait Store {
    /// Begins a transaction.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Ends it, durably. After an error nothing of it counts.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Ends it without a trace. Also called where none is open, and then does nothing.
    fn rollback(&mut self) -> Result<(), StoreError>;

    /// The value of a key.
    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes a row, in place of the one with this key. Only within a transaction.
    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Deletes a row if it is there. Only within a transaction.
    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError>;

    /// Visits the rows of a space in ascending order of their keys (as bytes), from this key on, itself included.
    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;

    /// Visits rows in descending order, from the last whose key is at most this one. Sees what [`scan`](Self::scan)
    /// sees.
    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError>;

    /// Deletes every row of an account. Only within a transaction.
    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError>;

    /// Overwrites whatever is left on disk of what transactions that have ended deleted or replaced. Called outside of
    /// transactions; may take seconds.
    fn scrub(&mut self) -> Result<(), StoreError>;

    /// Whether only the reserve is left: then no envelopes are taken any more, but erasures, acknowledgements and
    /// control entries still are.
    fn only_reserve_left(&self) -> bool {
        false
    }
}
