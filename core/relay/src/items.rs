//! Items at rest: envelopes and holes of a log, and how runs are made of them.
//!
//! A living envelope is kept with the link before it, so that its header hash can be computed and it can be sent out of
//! its chain. A hole is its header hash. A signature stands for all before it, and a run has to end with one: so a hole
//! that came signed keeps its signature and the link after it, and of envelopes that become holes one in
//! [`MARK_EVERY`] does. Of more than 4,095 items in a row one is signed: a batch ends with one, and a signature goes only
//! where there is another one shortly before it and one shortly behind.

use std::ops::ControlFlow;

use hearth_protocol::codec::{DecodeError, Reader, Wire};
use hearth_protocol::envelope::{Envelope, HeaderVersion, Kind, Sealed, next_link};
use hearth_protocol::id::{AccountId, Handle, Hash, Link, LogId, Signature};
use hearth_protocol::limits::MAX_BATCH_ITEMS;
use hearth_protocol::vector::Head;

use crate::rows::{LogRow, Rows, decode, number_of};
use crate::store::{Space, Store, StoreError};

/// After so many items, a run is ended at the next that is signed.
const RUN_ITEMS: usize = MAX_BATCH_ITEMS - 128;

/// A hole at a multiple of this keeps its signature; between two of them that have one, others don't.
const MARK_EVERY: u64 = 64;

/// A hole with its signature and the link after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) header_hash: Hash,
    pub(crate) signature: Signature,
    pub(crate) link: Link,
}

/// A row of [`Space::Items`]. The tags are those of the wire's items, so that a run is put together without decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemRow {
    Live { previous: Link, sealed: Box<Sealed> },
    Hole(Hash),
    Marked(Mark),
}

/// Bytes before the sealed envelope in a living row: the tag and the link before it.
pub(crate) const LIVE_PREFIX: usize = 1 + Link::LENGTH;

impl Wire for ItemRow {
    const MIN_BYTES: usize = 33;
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Live { previous, sealed } => {
                out.push(1);
                previous.write(out);
                sealed.write(out);
            }
            Self::Hole(header_hash) => {
                out.push(2);
                header_hash.write(out);
            }
            Self::Marked(mark) => {
                out.push(3);
                mark.header_hash.write(out);
                mark.signature.write(out);
                mark.link.write(out);
            }
        }
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            1 => Ok(Self::Live {
                previous: Wire::read(reader)?,
                sealed: Wire::read(reader)?,
            }),
            2 => Ok(Self::Hole(Wire::read(reader)?)),
            3 => Ok(Self::Marked(Mark {
                header_hash: Wire::read(reader)?,
                signature: Wire::read(reader)?,
                link: Wire::read(reader)?,
            })),
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
    /// Bytes of its row.
    pub(crate) bytes: u64,
}

/// A log, for everything that is done with its items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) id: &'a LogId,
    pub(crate) row: &'a LogRow,
}

/// The key of an item.
pub(crate) fn item_key(log: u32, seq: u64) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&(log as u16).to_be_bytes());
    key[2..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The key of an item under its handle.
pub(crate) fn handle_key(handle: &Handle, log: u32, seq: u64) -> [u8; 26] {
    let mut key = [0; 26];
    key[..16].copy_from_slice(&handle.0);
    key[16..].copy_from_slice(&item_key(log, seq));
    key
}

/// Log number and item number out of either key.
pub(crate) fn place_of(key: &[u8]) -> Result<(u32, u64), StoreError> {
    let start = key
        .len()
        .checked_sub(10)
        .ok_or(StoreError::Damaged("a key is too short"))?;
    let log = u32::from(u16::from_be_bytes([key[start], key[start + 1]]));
    Ok((log, number_of(key)?))
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

    /// The row of an item.
    pub(crate) fn item<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<Option<ItemRow>, StoreError> {
        rows.get(self.account, Space::Items, &item_key(self.row.number, seq))
    }

    /// The header hash of an item.
    pub(crate) fn header_hash(&self, seq: u64, row: ItemRow) -> Hash {
        match row {
            ItemRow::Live { previous, sealed } => {
                self.envelope(seq, *sealed).header_hash(self.account, &previous)
            }
            ItemRow::Hole(header_hash) => header_hash,
            ItemRow::Marked(mark) => mark.header_hash,
        }
    }

    /// The link after an item: `None` where it was folded away, or beyond the end.
    pub(crate) fn link_at<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<Option<Link>, StoreError> {
        let row = self.row;
        if seq == row.head.seq {
            return Ok(Some(row.head.link));
        }
        if seq == row.folded.seq {
            return Ok(Some(row.folded.link));
        }
        if seq > row.head.seq {
            return Ok(None);
        }
        if let Some(ItemRow::Live { previous, .. }) = self.item(rows, seq + 1)? {
            return Ok(Some(previous));
        }
        // Walk back to something that knows its link, then forward over the holes between.
        let mut holes: Vec<Hash> = Vec::new();
        let mut base = None;
        let mut expected = seq;
        let mut damaged = None;
        rows.store.scan_back(
            self.account,
            Space::Items,
            &item_key(row.number, seq),
            &mut |key, value| {
                if self.in_this_log(key) != Some(expected) {
                    return ControlFlow::Break(());
                }
                match decode::<ItemRow>(value) {
                    Ok(ItemRow::Hole(header_hash)) => holes.push(header_hash),
                    Ok(ItemRow::Marked(mark)) => base = Some(mark.link),
                    Ok(live @ ItemRow::Live { previous, .. }) => {
                        base = Some(next_link(&previous, &self.header_hash(expected, live)));
                    }
                    Err(error) => damaged = Some(error),
                }
                expected -= 1;
                if base.is_none() && damaged.is_none() && expected > row.folded.seq {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        )?;
        if let Some(error) = damaged {
            return Err(error);
        }
        if base.is_none() && expected == row.folded.seq {
            base = Some(row.folded.link);
        }
        Ok(base.map(|base| holes.iter().rev().fold(base, |link, hash| next_link(&link, hash))))
    }

    /// The last place up to `upto` at which the log can end: something signed, or where it was folded.
    pub(crate) fn signed_head<S: Store>(&self, rows: &Rows<S>, upto: u64) -> Result<Head, StoreError> {
        let row = self.row;
        let mut signed = row.folded.seq;
        if upto > row.folded.seq {
            rows.store.scan_back(
                self.account,
                Space::Items,
                &item_key(row.number, upto),
                &mut |key, value| {
                    let here = self.in_this_log(key).filter(|seq| *seq > row.folded.seq);
                    if here.is_some() && value.first() == Some(&2) {
                        return ControlFlow::Continue(());
                    }
                    signed = here.unwrap_or(signed);
                    ControlFlow::Break(())
                },
            )?;
        }
        let link = self
            .link_at(rows, signed)?
            .ok_or(StoreError::Damaged("a link is missing"))?;
        Ok(Head { seq: signed, link })
    }

    /// What is there from a number on, without the bodies.
    pub(crate) fn places_from<S: Store>(&self, rows: &Rows<S>, from: u64) -> Result<Vec<Place>, StoreError> {
        let mut found = Vec::new();
        rows.values::<ItemRow>(
            self.account,
            Space::Items,
            &item_key(self.row.number, from),
            &mut |key, bytes, item| match self.in_this_log(key) {
                Some(seq) => {
                    let live = match item {
                        ItemRow::Live { sealed, .. } => Some(Living {
                            handle: sealed.fields.handle,
                            generation: sealed.fields.generation,
                            bytes: bytes.len() as u64,
                        }),
                        _ => None,
                    };
                    found.push(Place { seq, live });
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Break(()),
            },
        )?;
        Ok(found)
    }

    /// Puts an envelope in as living, and gives the bytes that it takes.
    pub(crate) fn put_live<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        previous: Link,
        sealed: Sealed,
        now_ms: u64,
    ) -> Result<u64, StoreError> {
        let number = self.row.number;
        let handle = sealed.fields.handle;
        if matches!(sealed.fields.kind, Kind::Snapshot(_)) {
            rows.put(self.account, Space::Covering, &item_key(number, seq), &now_ms)?;
        }
        let row = ItemRow::Live {
            previous,
            sealed: Box::new(sealed),
        };
        let bytes = row.encode();
        rows.put_bytes(self.account, Space::Items, &item_key(number, seq), &bytes)?;
        rows.put_bytes(
            self.account,
            Space::Handles,
            &handle_key(&handle, number, seq),
            &[],
        )?;
        Ok(bytes.len() as u64)
    }

    /// Puts a hole in. `link` is the one after it.
    pub(crate) fn put_hole<S: Store>(
        &self,
        rows: &mut Rows<S>,
        seq: u64,
        header_hash: Hash,
        signature: Option<Signature>,
        link: Link,
    ) -> Result<(), StoreError> {
        let row = match signature {
            Some(signature) => ItemRow::Marked(Mark {
                header_hash,
                signature,
                link,
            }),
            None => ItemRow::Hole(header_hash),
        };
        rows.put(self.account, Space::Items, &item_key(self.row.number, seq), &row)
    }

    /// Whether an item stands between two multiples of [`MARK_EVERY`] that are signed. Where holes came unsigned it may be
    /// the only thing signed for thousands of items, and the last item has nothing behind it.
    fn has_marks_around<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<bool, StoreError> {
        let before = seq - seq % MARK_EVERY;
        Ok(before != seq
            && (before <= self.row.folded.seq || self.is_signed(rows, before)?)
            && self.is_signed(rows, before + MARK_EVERY)?)
    }

    fn is_signed<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<bool, StoreError> {
        let at = item_key(self.row.number, seq);
        let mut signed = false;
        rows.scan(self.account, Space::Items, &at, &mut |key, value| {
            signed = key == at && value.first() != Some(&2);
            ControlFlow::Break(())
        })?;
        Ok(signed)
    }

    /// Turns a living item into a hole, and gives the bytes that its body took: `None` if it is none.
    pub(crate) fn dig<S: Store>(&self, rows: &mut Rows<S>, seq: u64) -> Result<Option<u64>, StoreError> {
        let key = item_key(self.row.number, seq);
        let Some(bytes) = rows.store.get(self.account, Space::Items, &key)? else {
            return Ok(None);
        };
        let ItemRow::Live { previous, sealed } = decode(&bytes)? else {
            return Ok(None);
        };
        let (handle, signature) = (sealed.fields.handle, sealed.signature);
        if matches!(sealed.fields.kind, Kind::Snapshot(_)) {
            rows.delete(self.account, Space::Covering, &key)?;
        }
        let header_hash = self.envelope(seq, *sealed).header_hash(self.account, &previous);
        let link = next_link(&previous, &header_hash);
        if seq <= self.row.folded.seq {
            rows.delete(self.account, Space::Items, &key)?;
        } else {
            let marks = self.has_marks_around(rows, seq)?;
            self.put_hole(rows, seq, header_hash, (!marks).then_some(signature), link)?;
        }
        rows.delete(
            self.account,
            Space::Handles,
            &handle_key(&handle, self.row.number, seq),
        )?;
        Ok(Some(bytes.len() as u64))
    }

    /// A batch of the items from `from` on, up to `upto` or a little beyond (to the next that is signed), of about
    /// `bytes` bytes: the batch and its last number. `None` if there is nothing.
    pub(crate) fn run<S: Store>(
        &self,
        rows: &Rows<S>,
        from: u64,
        upto: u64,
        bytes: usize,
    ) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        let mut items = Vec::new();
        let mut expected = from;
        // Length, count and number at the last signed item.
        let mut good = (0, 0u64, 0);
        let mut broken = false;
        rows.scan(
            self.account,
            Space::Items,
            &item_key(self.row.number, from),
            &mut |key, value| {
                let Some(seq) = self.in_this_log(key) else {
                    return ControlFlow::Break(());
                };
                if seq != expected {
                    broken = true;
                    return ControlFlow::Break(());
                }
                let signed = match value.first() {
                    Some(1) => {
                        items.push(1);
                        items.extend_from_slice(value.get(LIVE_PREFIX..).unwrap_or_default());
                        true
                    }
                    Some(2) => {
                        items.extend_from_slice(value);
                        false
                    }
                    Some(3) => {
                        let end = value.len().saturating_sub(Link::LENGTH);
                        items.extend_from_slice(&value[..end]);
                        true
                    }
                    _ => {
                        broken = true;
                        return ControlFlow::Break(());
                    }
                };
                expected += 1;
                let count = expected - from;
                if signed {
                    good = (items.len(), count, seq);
                }
                let full = items.len() >= bytes || count as usize >= RUN_ITEMS || seq >= upto;
                if full && signed || count as usize >= MAX_BATCH_ITEMS {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )?;
        if broken {
            return Err(StoreError::Damaged("a log has a gap"));
        }
        let (length, count, last) = good;
        if count == 0 {
            return Ok(None);
        }
        let mut batch = vec![1];
        HeaderVersion::V1.write(&mut batch);
        self.id.write(&mut batch);
        from.write(&mut batch);
        count.write(&mut batch);
        batch.extend_from_slice(&items[..length]);
        Ok(Some((batch, last)))
    }

    /// The living items from `from` on up to `upto`, each with the link before it, of about `bytes` bytes: the batch if
    /// there are any, and the number up to which everything living is in it.
    pub(crate) fn detached<S: Store>(
        &self,
        rows: &Rows<S>,
        from: u64,
        upto: u64,
        bytes: usize,
    ) -> Result<(Option<Vec<u8>>, u64), StoreError> {
        let mut items = Vec::new();
        let mut count = 0u64;
        let mut done = upto;
        rows.scan(
            self.account,
            Space::Items,
            &item_key(self.row.number, from),
            &mut |key, value| {
                let Some(seq) = self.in_this_log(key).filter(|seq| *seq <= upto) else {
                    return ControlFlow::Break(());
                };
                if value.first() == Some(&1) && value.len() > LIVE_PREFIX {
                    items.extend_from_slice(&value[1..LIVE_PREFIX]);
                    HeaderVersion::V1.write(&mut items);
                    self.id.write(&mut items);
                    seq.write(&mut items);
                    items.extend_from_slice(&value[LIVE_PREFIX..]);
                    count += 1;
                }
                if items.len() >= bytes || count as usize >= RUN_ITEMS {
                    done = seq;
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )?;
        if count == 0 {
            return Ok((None, done));
        }
        let mut batch = vec![2];
        count.write(&mut batch);
        batch.extend_from_slice(&items);
        Ok((Some(batch), done))
    }
}
