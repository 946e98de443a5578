//! Where a log may end, once its device was shut out, and taking out what stands behind that.

use std::ops::ControlFlow;

use hearth_protocol::envelope::Kind;
use hearth_protocol::id::Link;
use hearth_protocol::vector::Head;

use super::{ItemRow, Log, MARKED, handle_key, item_key};
use crate::rows::{Rows, decode};
use crate::store::{Space, Store, StoreError};

/// What was taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    /// Bytes that lived.
    pub(crate) bytes: u64,
    /// Holes.
    pub(crate) holes: u64,
}

impl Log<'_> {
    /// Whether the log can end here without a body being lost: this is its link there, something signed stands there, and
    /// nothing lives behind it. `None`: before its first item.
    pub(crate) fn can_end_at<S: Store>(
        &self,
        rows: &Rows<S>,
        head: Option<&Head>,
    ) -> Result<bool, StoreError> {
        let opened = Head {
            seq: 0,
            link: Link(self.row.open.id(self.account).0),
        };
        let head = head.copied().unwrap_or(opened);
        if head.seq >= self.row.head.seq || self.lives_behind(rows, head.seq)? {
            return Ok(false);
        }
        Ok(self.signed_head(rows, head.seq)? == head)
    }

    fn lives_behind<S: Store>(&self, rows: &Rows<S>, seq: u64) -> Result<bool, StoreError> {
        let mut lives = false;
        let from = item_key(self.row.number, seq.saturating_add(1));
        rows.scan(self.account, Space::Items, &from, &mut |key, value| {
            if self.in_this_log(key).is_some() && value.first() == Some(&MARKED) {
                return ControlFlow::Continue(());
            }
            lives = self.in_this_log(key).is_some();
            ControlFlow::Break(())
        })?;
        Ok(lives)
    }

    /// Takes out everything behind a number. It looks at rows that are there, whatever number the log's head has.
    pub(crate) fn truncate<S: Store>(&self, rows: &mut Rows<S>, after: u64) -> Result<Gone, StoreError> {
        let mut gone = Gone {
            bytes: 0,
            holes: self.drop_holes(rows, after)?,
        };
        let mut keys = Vec::new();
        let mut damaged = Ok(());
        let from = item_key(self.row.number, after.saturating_add(1));
        rows.scan(self.account, Space::Items, &from, &mut |key, value| {
            let Some(seq) = self.in_this_log(key) else {
                return ControlFlow::Break(());
            };
            let mut handle = None;
            if value.first() == Some(&MARKED) {
                gone.holes += 1;
            } else {
                match decode(value) {
                    Ok(ItemRow::Live { sealed, .. }) => {
                        gone.bytes += value.len() as u64;
                        let covers = matches!(sealed.fields.kind, Kind::Snapshot(_));
                        handle = Some((sealed.fields.handle, covers));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        damaged = Err(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            keys.push((seq, handle));
            ControlFlow::Continue(())
        })?;
        damaged?;
        for (seq, lived) in keys {
            let key = item_key(self.row.number, seq);
            if let Some((handle, covers)) = lived {
                let indexed = handle_key(&handle, self.row.number, seq);
                rows.delete(self.account, Space::Handles, &indexed)?;
                if covers {
                    rows.delete(self.account, Space::Covering, &key)?;
                }
            }
            rows.delete(self.account, Space::Items, &key)?;
        }
        Ok(gone)
    }
}
