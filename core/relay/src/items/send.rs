//! What is made of a log's items: runs, envelopes out of their chain, and a shorter log.

use std::ops::ControlFlow;

use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::HeaderVersion;
use hearth_protocol::id::Link;
use hearth_protocol::limits::MAX_BATCH_ITEMS;

use super::walk::{Links, Standing};
use super::{LINKED, LIVE, Log, Place};
use crate::rows::Rows;
use crate::store::{Store, StoreError};

/// After so many items, a run is ended at the next that is signed.
const RUN_ITEMS: usize = MAX_BATCH_ITEMS - 128;

/// Bytes before the sealed envelope in a row with the link before it.
const LINKED_PREFIX: usize = 1 + Link::LENGTH;

/// What folding changes.
pub(crate) struct Foldable {
    /// Holes, which go.
    pub(crate) holes: Vec<Place>,
    /// Living items that are kept without the link before them, each with it.
    pub(crate) bare: Vec<(u64, Link)>,
    /// The last number looked at.
    pub(crate) upto: u64,
}

impl Log<'_> {
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
        self.each(rows, from, &mut |seq, standing| {
            if seq != expected {
                return Err(StoreError::Damaged("a log has a gap"));
            }
            let signed = match standing {
                Standing::Live(row) => {
                    items.push(LIVE);
                    items.extend_from_slice(sealed_of(row));
                    true
                }
                Standing::Hole(header_hash) => {
                    items.push(2);
                    header_hash.write(&mut items);
                    false
                }
                Standing::Marked(row) => {
                    let end = row.len().saturating_sub(Link::LENGTH);
                    items.extend_from_slice(&row[..end]);
                    true
                }
            };
            expected += 1;
            let count = expected - from;
            if signed {
                good = (items.len(), count, seq);
            }
            let full = items.len() >= bytes || count as usize >= RUN_ITEMS || seq >= upto;
            if full && signed || count as usize >= MAX_BATCH_ITEMS {
                Ok(ControlFlow::Break(()))
            } else {
                Ok(ControlFlow::Continue(()))
            }
        })?;
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
        let mut links = Links::new(*self);
        self.each(rows, from, &mut |seq, standing| {
            if seq > upto {
                return Ok(ControlFlow::Break(()));
            }
            if let Standing::Live(row) = standing {
                links.before(rows, seq, row)?.write(&mut items);
                HeaderVersion::V1.write(&mut items);
                self.id.write(&mut items);
                seq.write(&mut items);
                items.extend_from_slice(sealed_of(row));
                count += 1;
            }
            if items.len() >= bytes || count as usize >= RUN_ITEMS {
                done = seq;
                Ok(ControlFlow::Break(()))
            } else {
                Ok(ControlFlow::Continue(()))
            }
        })?;
        if count == 0 {
            return Ok((None, done));
        }
        let mut batch = vec![2];
        count.write(&mut batch);
        batch.extend_from_slice(&items);
        Ok((Some(batch), done))
    }

    /// What folding up to `upto` changes, at most `limit` items.
    pub(crate) fn foldable<S: Store>(
        &self,
        rows: &Rows<S>,
        upto: u64,
        limit: usize,
    ) -> Result<Foldable, StoreError> {
        let mut found = Foldable {
            holes: Vec::new(),
            bare: Vec::new(),
            upto,
        };
        let mut links = Links::new(*self);
        self.each(rows, self.row.folded.seq + 1, &mut |seq, standing| {
            if seq > upto {
                return Ok(ControlFlow::Break(()));
            }
            match standing {
                Standing::Live(row) if row.first() == Some(&LIVE) => {
                    found.bare.push((seq, links.before(rows, seq, row)?));
                }
                Standing::Live(_) => {}
                Standing::Hole(_) | Standing::Marked(_) => found.holes.push(Place { seq, live: None }),
            }
            if found.holes.len() + found.bare.len() >= limit {
                found.upto = seq;
                return Ok(ControlFlow::Break(()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }
}

/// The sealed envelope in a living item's row.
fn sealed_of(row: &[u8]) -> &[u8] {
    let prefix = if row.first() == Some(&LINKED) {
        LINKED_PREFIX
    } else {
        1
    };
    row.get(prefix..).unwrap_or_default()
}
