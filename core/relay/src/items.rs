//! Items at rest: envelopes and holes of a log, and how runs are made of them.
//!
//! A living envelope is a row of its own. To compute its header hash, and to send it out of its chain, takes the link
//! before it, which is computed from the items before; every eighth row, and each of which that would take long, holds it.
//! A hole is its header hash, and stands with its neighbours in a row of holes. A signature stands for all before it, and a
//! run has to end with one: so a hole that came signed keeps its signature and the link after it in a row of its own, and
//! of envelopes that become holes one in [`MARK_EVERY`] does. Of more than 4,095 items in a row one is signed: a batch
//! ends with one, and a signature goes only where there is another one shortly before it and one shortly behind.

mod cut;
mod holes;
mod send;
mod walk;

use std::ops::ControlFlow;

use hearth_protocol::codec::{DecodeError, Reader, Wire};
use hearth_protocol::envelope::{Envelope, HeaderVersion, Kind, Sealed, next_link};
use hearth_protocol::id::{AccountId, Handle, Hash, Link, LogId, Signature};
use hearth_protocol::vector::Head;

use crate::rows::{LogRow, Rows, decode};
use crate::store::{Space, Store, StoreError};
use walk::Standing;

/// A hole at a multiple of this keeps its signature; between two of them that have one, others don't.
const MARK_EVERY: u64 = 64;

/// An envelope at a multiple of this is kept with the link before it.
const LINK_EVERY: u64 = 8;

/// Nor is a larger body, in bytes, hashed to find a link out.
const LINK_BODY_BYTES: usize = 4_096;

/// Bytes of a handle by which its items are found. Another handle may begin alike: whoever looks one up compares.
const INDEXED: usize = 6;

/// A hole with its signature and the link after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) header_hash: Hash,
    pub(crate) signature: Signature,
    pub(crate) link: Link,
}

/// What is kept of an item. The tags are those of the wire's items, so that a run is put together without decoding, and 4
/// for an envelope with the link before it. Plain holes have no row of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemRow {
    Live {
        previous: Option<Link>,
        sealed: Box<Sealed>,
    },
    Hole(Hash),
    Marked(Mark),
}

const LIVE: u8 = 1;
const MARKED: u8 = 3;
const LINKED: u8 = 4;

impl Wire for ItemRow {
    const MIN_BYTES: usize = 33;
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Live { previous, sealed } => {
                match previous {
                    Some(previous) => {
                        out.push(LINKED);
                        previous.write(out);
                    }
                    None => out.push(LIVE),
                }
                sealed.write(out);
            }
            Self::Hole(header_hash) => {
                out.push(2);
                header_hash.write(out);
            }
            Self::Marked(mark) => {
                out.push(MARKED);
                mark.header_hash.write(out);
                mark.signature.write(out);
                mark.link.write(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            LIVE => Ok(Self::Live {
                previous: None,
                sealed: Wire::read(reader)?,
            }),
            2 => Ok(Self::Hole(Wire::read(reader)?)),
            MARKED => Ok(Self::Marked(Mark {
                header_hash: Wire::read(reader)?,
                signature: Wire::read(reader)?,
                link: Wire::read(reader)?,
            })),
            LINKED => Ok(Self::Live {
                previous: Some(Wire::read(reader)?),
                sealed: Wire::read(reader)?,
            }),
            other => Err(DecodeError::UnknownTag(u16::from(other))),
        }
    }
}

/// An item's place, and what lives there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) live: Option<Living>,
}

/// A living item without its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Living {
    pub(crate) handle: Handle,
    pub(crate) generation: u32,
}

/// A log, for everything that is done with its items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) id: &'a LogId,
    pub(crate) row: &'a LogRow,
}

/// The key of an item: the log, then how many bytes the number takes, then these. Short, and in the order of the numbers.
pub(crate) fn item_key(log: u32, seq: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(11);
    key.extend_from_slice(&(log as u16).to_be_bytes());
    let bytes = seq.to_be_bytes();
    let skipped = (seq.leading_zeros() / 8) as usize;
    key.push((bytes.len() - skipped) as u8);
    key.extend_from_slice(&bytes[skipped..]);
    key
}

/// Log number and item number out of such a key.
pub(crate) fn place_of(key: &[u8]) -> Result<(u32, u64), StoreError> {
    let parsed = key.split_first_chunk::<2>().and_then(|(log, rest)| {
        let (length, digits) = rest.split_first()?;
        let fits = digits.len() == usize::from(*length) && digits.len() <= 8;
        fits.then(|| {
            let seq = digits.iter().fold(0, |seq, digit| seq << 8 | u64::from(*digit));
            (u32::from(u16::from_be_bytes(*log)), seq)
        })
    });
    parsed.ok_or(StoreError::Damaged("a key is no place"))
}

fn handle_key(handle: &Handle, log: u32, seq: u64) -> Vec<u8> {
    let mut key = handle.0[..INDEXED].to_vec();
    key.extend_from_slice(&item_key(log, seq));
    key
}

/// Where items of a handle may be: log numbers and item numbers, ascending, at most `limit` from behind `after` on; and of
/// other handles that begin alike.
pub(crate) fn places_of<S: Store>(
    rows: &Rows<S>,
    account: &AccountId,
    handle: &Handle,
    after: Option<(u32, u64)>,
    limit: usize,
) -> Result<Vec<(u32, u64)>, StoreError> {
    let prefix = &handle.0[..INDEXED];
    let (log, seq) = after.map_or((0, 0), |(log, seq)| (log, seq.saturating_add(1)));
    let mut found = Vec::new();
    let mut damaged = None;
    rows.scan(
        account,
        Space::Handles,
        &handle_key(handle, log, seq),
        &mut |key, _| {
            let Some(place) = key.strip_prefix(prefix).filter(|_| found.len() < limit) else {
                return ControlFlow::Break(());
            };
            match place_of(place) {
                Ok(place) => found.push(place),
                Err(error) => {
                    damaged = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        },
    )?;
    damaged.map_or(Ok(found), Err)
}

impl Log<'_> {
    fn envelope(&self, seq: u64, sealed: Sealed) -> Envelope {
        Envelope {
            version: HeaderVersion::V1,
            log: *self.id,
            seq,
            sealed,
        }
    }

    fn in_this_log(&self, key: &[u8]) -> Option<u64> {
        match place_of(key) {
            Ok((log, seq)) if log == self.row.number => Some(seq),
            _ => None,
        }
    }

    /// What is kept of an item.
    pub(crate) fn item<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<Option<ItemRow>, StoreError> {
        let row = rows.get(self.account, Space::Items, &item_key(self.row.number, seq))?;
        match row {
            Some(row) => Ok(Some(row)),
            None => Ok(self.hole(rows, seq)?.map(ItemRow::Hole)),
        }
    }

    /// The header hash of an item, given the link before it.
    pub(crate) fn header_hash(&self, seq: u64, row: ItemRow, previous: &Link) -> Hash {
        match row {
            ItemRow::Live { sealed, .. } => self.envelope(seq, *sealed).header_hash(self.account, previous),
            ItemRow::Hole(header_hash) => header_hash,
            ItemRow::Marked(mark) => mark.header_hash,
        }
    }

    /// What is there from a number on, without the bodies.
    pub(crate) fn places_from<S: Store>(&self, rows: &Rows<S>, from: u64) -> Result<Vec<Place>, StoreError> {
        let mut found = Vec::new();
        self.each(rows, from, &mut |seq, standing| {
            let live = match standing {
                Standing::Live(row) => match decode(row)? {
                    ItemRow::Live { sealed, .. } => Some(Living {
                        handle: sealed.fields.handle,
                        generation: sealed.fields.generation,
                    }),
                    _ => None,
                },
                _ => None,
            };
            found.push(Place { seq, live });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Takes an item out, whatever is kept of it.
    pub(crate) fn remove<S: Store>(&self, rows: &mut Rows<S>, place: &Place) -> Result<(), StoreError> {
        let key = item_key(self.row.number, place.seq);
        if let Some(live) = &place.live {
            let handle = handle_key(&live.handle, self.row.number, place.seq);
            rows.delete(self.account, Space::Handles, &handle)?;
            rows.delete(self.account, Space::Covering, &key)?;
        } else if self.take_hole(rows, place.seq)? {
            return Ok(());
        }
        rows.delete(self.account, Space::Items, &key)
    }

    /// Puts an envelope in as living, and gives the bytes that it takes. `chained`: it is the next of its log, so that the
    /// link before it can be found out again.
    pub(crate) fn put_live<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        previous: Link,
        sealed: Sealed,
        chained: bool,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let number = self.row.number;
        let key = item_key(number, seq);
        let handle = sealed.fields.handle;
        if matches!(sealed.fields.kind, Kind::Snapshot(_)) {
            rows.put(self.account, Space::Covering, &key, &now_ms)?;
        }
        if !chained {
            self.take_hole(rows, seq)?;
        }
        // Behind a hole there may be thousands more.
        let near = chained
            && !seq.is_multiple_of(LINK_EVERY)
            && sealed.ciphertext.len() <= LINK_BODY_BYTES
            && matches!(self.tag(rows, seq - 1)?, Some(LIVE | LINKED));
        let row = ItemRow::Live {
            previous: (!near).then_some(previous),
            sealed: Box::new(sealed),
        };
        let bytes = row.encode();
        rows.put_bytes(self.account, Space::Items, &key, &bytes)?;
        rows.put_bytes(
            self.account,
            Space::Handles,
            &handle_key(&handle, number, seq),
            &[],
        )?;
        Ok(bytes.len() as u64)
    }

    /// Puts a hole in that came signed. `link` is the one after it.
    pub(crate) fn put_mark<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        mark: Mark,
    ) -> Result<(), StoreError> {
        let key = item_key(self.row.number, seq);
        rows.put(self.account, Space::Items, &key, &ItemRow::Marked(mark))
    }

    /// Gives a living item that is kept without the link before it this one, and says how many bytes more it takes.
    pub(crate) fn put_link<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        previous: Link,
    ) -> Result<u64, StoreError> {
        let key = item_key(self.row.number, seq);
        let Some(ItemRow::Live {
            previous: None,
            sealed,
        }) = rows.get(self.account, Space::Items, &key)?
        else {
            return Ok(0);
        };
        let previous = Some(previous);
        rows.put(
            self.account,
            Space::Items,
            &key,
            &ItemRow::Live { previous, sealed },
        )?;
        Ok(Link::LENGTH as u64)
    }

    /// Whether an item stands between two multiples of [`MARK_EVERY`] that are signed. Where holes came unsigned it may be
    /// the only thing signed for thousands of items, and the last item has nothing behind it.
    fn has_marks_around<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<bool, StoreError> {
        let before = seq - seq % MARK_EVERY;
        Ok(before != seq
            && (before <= self.row.folded.seq || self.tag(rows, before)?.is_some())
            && self.tag(rows, before + MARK_EVERY)?.is_some())
    }

    /// The first byte of an item's own row. Whatever has one is signed.
    fn tag<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<Option<u8>, StoreError> {
        let at = item_key(self.row.number, seq);
        let mut tag = None;
        rows.scan(self.account, Space::Items, &at, &mut |key, value| {
            if key == at {
                tag = value.first().copied();
            }
            ControlFlow::Break(())
        })?;
        Ok(tag)
    }

    /// Turns a living item into a hole, and gives the bytes that its body took: `None` if it is none, or not `of` this
    /// handle.
    pub(crate) fn dig<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        of: Option<&Handle>,
    ) -> Result<Option<u64>, StoreError> {
        let key = item_key(self.row.number, seq);
        let Some(bytes) = rows.store.get(self.account, Space::Items, &key)? else {
            return Ok(None);
        };
        let ItemRow::Live { previous, sealed } = decode(&bytes)? else {
            return Ok(None);
        };
        let (handle, signature) = (sealed.fields.handle, sealed.signature);
        if of.is_some_and(|of| *of != handle) {
            return Ok(None);
        }
        if matches!(sealed.fields.kind, Kind::Snapshot(_)) {
            rows.delete(self.account, Space::Covering, &key)?;
        }
        if seq <= self.row.folded.seq {
            rows.delete(self.account, Space::Items, &key)?;
        } else {
            let previous = self.before(rows, seq, previous)?;
            let header_hash = self.envelope(seq, *sealed).header_hash(self.account, &previous);
            if self.has_marks_around(rows, seq)? {
                rows.delete(self.account, Space::Items, &key)?;
                self.put_holes(rows, seq, &[header_hash])?;
            } else {
                let mark = Mark {
                    header_hash,
                    signature,
                    link: next_link(&previous, &header_hash),
                };
                self.put_mark(rows, seq, mark)?;
            }
        }
        rows.delete(
            self.account,
            Space::Handles,
            &handle_key(&handle, self.row.number, seq),
        )?;
        Ok(Some(bytes.len() as u64))
    }

    /// The last place up to `upto` at which the log can end: something signed, or where it was folded.
    pub(crate) fn signed_head<S: Store>(&self, rows: &Rows<S>, upto: u64) -> Result<Head, StoreError> {
        let mut seq = upto.min(self.row.head.seq);
        let mut near = walk::Near::default();
        while seq > self.row.folded.seq && near.hole(self, rows, seq)?.is_some() {
            seq -= 1;
        }
        let seq = seq.max(self.row.folded.seq);
        let link = self
            .link_at(rows, seq)?
            .ok_or(StoreError::Damaged("a link is missing"))?;
        Ok(Head { seq, link })
    }
}
