//! Going through a log's items, and finding the links between them out.

use std::ops::ControlFlow;

use hearth_protocol::envelope::{Sealed, next_link};
use hearth_protocol::id::{Hash, Link};

use super::holes::{BLOCK, HoleRow};
use super::{ItemRow, Log, MARKED, item_key};
use crate::rows::{Rows, decode};
use crate::store::{Space, Store, StoreError};

/// What stands at a place: a row as it is kept, or a plain hole.
pub(super) enum Standing<'a> {
    Live(&'a [u8]),
    Hole(Hash),
    Marked(&'a [u8]),
}

/// What is called for every item.
pub(super) type EachItem<'a> = &'a mut dyn FnMut(u64, Standing<'_>) -> Result<ControlFlow<()>, StoreError>;

/// The row of holes that was looked at last.
#[derive(Default)]
pub(super) struct Near {
    block: Option<(u64, Option<HoleRow>)>,
}

impl Near {
    pub(super) fn hole<S: Store>(
        &mut self,
        log: &Log<'_>,
        rows: &Rows<S>,
        seq: u64,
    ) -> Result<Option<Hash>, StoreError> {
        let block = seq / BLOCK;
        let row = match &mut self.block {
            Some((number, row)) if *number == block => row,
            other => &mut other.insert((block, log.block(rows, block)?)).1,
        };
        Ok(row.as_ref().and_then(|row| row.get(seq)))
    }
}

/// The link before each living item, for whoever goes through them in order.
pub(super) struct Links<'a> {
    log: Log<'a>,
    /// The last item that was asked for, and the link after it.
    last: Option<(u64, Link)>,
}

impl<'a> Links<'a> {
    pub(super) fn new(log: Log<'a>) -> Self {
        Self { log, last: None }
    }

    pub(super) fn before<S: Store>(
        &mut self,
        rows: &Rows<S>,
        seq: u64,
        row: &[u8],
    ) -> Result<Link, StoreError> {
        let ItemRow::Live { previous, sealed } = decode(row)? else {
            return Err(StoreError::Damaged("a living item isn't one"));
        };
        if let Some(previous) = previous {
            self.last = None;
            return Ok(previous);
        }
        let before = match self.last {
            Some((last, link)) if last + 1 == seq => link,
            _ => self.log.before(rows, seq, None)?,
        };
        self.last = Some((seq, self.log.after(seq, *sealed, &before)));
        Ok(before)
    }
}

impl Log<'_> {
    fn after(&self, seq: u64, sealed: Sealed, previous: &Link) -> Link {
        let header_hash = self.envelope(seq, sealed).header_hash(self.account, previous);
        next_link(previous, &header_hash)
    }

    /// The link before a living item.
    pub(super) fn before<S: Store>(
        &self,
        rows: &Rows<S>,
        seq: u64,
        kept: Option<Link>,
    ) -> Result<Link, StoreError> {
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let before = seq.checked_sub(1).map(|before| self.link_at(rows, before));
        before
            .transpose()?
            .flatten()
            .ok_or(StoreError::Damaged("a link is missing"))
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
        if seq < row.folded.seq {
            // Of what is folded only what lives is there, with the link before it.
            let next = rows.get(self.account, Space::Items, &item_key(row.number, seq + 1))?;
            if let Some(ItemRow::Live {
                previous: Some(previous),
                ..
            }) = next
            {
                return Ok(Some(previous));
            }
        }
        // Back to something that knows its link, then forward again.
        let mut between: Vec<ItemRow> = Vec::new();
        let mut near = Near::default();
        let mut at = seq;
        let mut link = loop {
            if at == row.folded.seq {
                break row.folded.link;
            }
            let item = match near.hole(self, rows, at)? {
                Some(hash) => Some(ItemRow::Hole(hash)),
                None => rows.get(self.account, Space::Items, &item_key(row.number, at))?,
            };
            match item {
                None => return Ok(None),
                Some(ItemRow::Marked(mark)) => break mark.link,
                Some(ItemRow::Live {
                    previous: Some(previous),
                    sealed,
                }) => break self.after(at, *sealed, &previous),
                Some(item) => between.push(item),
            }
            let Some(before) = at.checked_sub(1) else {
                return Ok(None);
            };
            at = before;
        };
        for item in between.into_iter().rev() {
            at += 1;
            link = match item {
                ItemRow::Hole(hash) => next_link(&link, &hash),
                ItemRow::Live { sealed, .. } => self.after(at, *sealed, &link),
                ItemRow::Marked(mark) => mark.link,
            };
        }
        Ok(Some(link))
    }

    /// Visits what is there from a number on, in order.
    pub(super) fn each<S: Store>(
        &self,
        rows: &Rows<S>,
        from: u64,
        visit: EachItem<'_>,
    ) -> Result<(), StoreError> {
        let mut at = Merged {
            log: self,
            rows,
            next: from,
            holes: self.next_block(rows, from / BLOCK)?,
        };
        let mut outcome = Ok(ControlFlow::Continue(()));
        let key = item_key(self.row.number, from);
        rows.scan(self.account, Space::Items, &key, &mut |key, row| {
            let Some(seq) = self.in_this_log(key) else {
                return ControlFlow::Break(());
            };
            outcome = at.holes_before(seq, visit).and_then(|flow| {
                if flow.is_break() {
                    return Ok(flow);
                }
                at.next = seq.saturating_add(1);
                visit(
                    seq,
                    match row.first() {
                        Some(&MARKED) => Standing::Marked(row),
                        _ => Standing::Live(row),
                    },
                )
            });
            match outcome {
                Ok(flow) => flow,
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        if outcome?.is_break() {
            return Ok(());
        }
        at.holes_before(u64::MAX, visit).map(|_| ())
    }
}

/// Where a walk through rows and rows of holes is.
struct Merged<'a, S> {
    log: &'a Log<'a>,
    rows: &'a Rows<S>,
    /// What is before this was visited.
    next: u64,
    /// The row of holes that is next.
    holes: Option<(u64, HoleRow)>,
}

impl<S: Store> Merged<'_, S> {
    /// Visits the plain holes before an item.
    fn holes_before(&mut self, seq: u64, visit: EachItem<'_>) -> Result<ControlFlow<()>, StoreError> {
        while let Some((block, row)) = &self.holes {
            let first = block.saturating_mul(BLOCK);
            let end = first.saturating_add(BLOCK);
            for place in first.max(self.next)..end.min(seq) {
                if let Some(hash) = row.get(place) {
                    self.next = place.saturating_add(1);
                    if visit(place, Standing::Hole(hash))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            if end > seq {
                break;
            }
            self.holes = match block.checked_add(1) {
                Some(next) => self.log.next_block(self.rows, next)?,
                None => None,
            };
        }
        Ok(ControlFlow::Continue(()))
    }
}
