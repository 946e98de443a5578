//! What the model holds of devices, server and messages.

use super::ledger::{Counts, DEVICES, LogTip, NONE, ORDERS};

/// Items of one log at most.
pub const ITEMS: usize = 5;

/// Epochs that a device holds or acknowledges at most.
pub const EPOCHS: usize = 6;

/// A set of items, or of erasures, by their places.
pub type Set = u16;

/// The place of an item; numbers begin with 1.
pub fn item(log: usize, seq: u8) -> usize {
    log * ITEMS + usize::from(seq) - 1
}

/// The place of an erasure; numbers begin with 1.
pub fn slot(by: usize, number: u8) -> usize {
    by * ORDERS + usize::from(number) - 1
}

pub fn bit(place: usize) -> Set {
    1 << place
}

pub fn has(set: Set, place: usize) -> bool {
    set & bit(place) != 0
}

/// What an envelope says outside of its seal. All of them are of one document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Item {
    pub generation: u8,
    /// Its document key, by the item that brought it in.
    pub key: u8,
    /// The epoch whose key seals the document key that it brings in.
    pub new_key: LogTip,
    /// The devices that its author knew to be revoked, as bits.
    pub shut_out: u8,
}

/// What is known of another device, or of oneself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Known {
    /// The epochs that it said it has taken on, as far as that was heard.
    pub said: [LogTip; EPOCHS],
    /// The agreement key that epochs are wrapped to, and the number of the epoch that came with it.
    pub agreement: u8,
    pub of: u8,
    /// The erasures that it has confirmed.
    pub acks: Set,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Device {
    /// It takes part: a member, or one that is being let in.
    pub joined: bool,
    pub chain: LogTip,
    /// The entry that is under way to the server. A crash or a lost connection forgets it.
    pub pending: LogTip,
    /// The epoch whose key it made, until it knows what became of it.
    pub proposed: LogTip,
    /// Epoch keys.
    pub epochs: [LogTip; EPOCHS],
    /// It has the running epoch's wraps, to give to a server that lacks them.
    pub wraps: bool,
    /// Agreement keys from the first to the last of these numbers.
    pub agreement: (u8, u8),
    pub known: [Known; DEVICES],
    /// Erasures that it knows of, and those that it has carried out.
    pub noted: Set,
    pub done: Set,
    /// Erasures that the server gave a receipt for.
    pub receipts: Set,
    /// How far it has every log.
    pub vector: Counts,
    /// The items whose bodies it has, and those of them that it has opened.
    pub got: Set,
    pub have: Set,
    /// Document keys, by the items that brought them in.
    pub keys: Set,
    /// Changes that aren't sealed yet.
    pub dirty: u8,
    /// What its user wants of the control log: bit 0 to enrol the third device, bit 1 + d to revoke d.
    pub wants: u8,
    /// Its user wants a new epoch.
    pub rotate: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Server {
    pub chain: LogTip,
    /// By device: the epoch of its newest acknowledgement, its number as far as it counts, and the agreement key in it.
    pub epochs: [LogTip; DEVICES],
    pub numbers: Counts,
    pub agreement: Counts,
    /// It has the running epoch's wraps.
    pub wraps: bool,
    /// By device: 1 + the number of the agreement key that the running epoch was granted to.
    pub grants: Counts,
    pub erased: Set,
    pub acks: [Set; DEVICES],
    pub heads: Counts,
    pub bodies: Set,
    /// The keys in the table under the running epoch.
    pub table: Set,
}

/// What may still go wrong or be wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Budget {
    pub enrols: u8,
    pub revokes: u8,
    pub rotations: u8,
    pub orders: u8,
    pub edits: u8,
    /// Entries under way that get lost, with the connection or in a crash.
    pub losses: u8,
    pub backups: u8,
    pub restores: u8,
    /// What a device that was shut out writes or orders after it.
    pub rogue: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub server: Server,
    pub backup: Server,
    pub devices: [Device; DEVICES],
    pub items: [Item; DEVICES * ITEMS],
    pub orders: [u16; DEVICES * ORDERS],
    pub budget: Budget,
    /// The server was put back once: logs may have forked.
    pub restored: bool,
}

impl Item {
    pub const NONE: Self = Self {
        generation: u8::MAX,
        key: 0,
        new_key: NONE,
        shut_out: 0,
    };
}

/// The members of a set, the lowest first.
pub fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..16).filter(move |place| has(set, *place))
}
