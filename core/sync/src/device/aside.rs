//! What somebody who was shut out has left that can't be applied: it is set aside, so that it holds up nobody.
//!
//! An envelope may name an item, an erasure or a key that never comes. As long as its author is a member that is a race,
//! and its log waits. Once its author was shut out and everything that the account's home has is here, the log goes on
//! without it: it is no part of the live set, as if it were a hole. Its body stays, and is tried again before live sets are
//! compared, so that devices that have the same come to the same.

use hearth_protocol::envelope::{Envelope, HeaderVersion, Nothing, Sealed};
use hearth_protocol::id::{Handle, LogId};
use std::collections::BTreeSet;

use super::record::{of_place_key, place_key, space};
use super::turn::Turn;
use super::{Device, DeviceError};

/// How many are looked at at a time: bodies are up to a mebibyte.
const PAGE: usize = 128;

impl Turn<'_> {
    /// Goes on behind what waits in vain.
    pub(super) fn set_aside(&mut self) -> Result<(), DeviceError> {
        if !self.all_has_come() {
            return Ok(());
        }
        let stuck: Vec<LogId> = self
            .d
            .logs
            .iter()
            .filter(|(_, log)| {
                log.applied.seq < log.stored.seq
                    && self.d.account.member(&log.open.statement.device).is_none()
                    && self.d.is_awake(log)
            })
            .map(|(log, _)| *log)
            .collect();
        for log in &stuck {
            while let Some((seq, place)) = self.next_item(log)? {
                if self.apply_next(log)? {
                    continue;
                }
                if let Some(sealed) = self.body(log, seq)? {
                    self.keep_its_key(log, seq, sealed)?;
                }
                self.disk.put(space::ASIDE, &place_key(log, seq), &Nothing {});
                self.d.aside = true;
                self.advance(log, seq, &place);
            }
        }
        let torn: Vec<(LogId, u64)> = self.d.torn.iter().copied().collect();
        for (log, seq) in &torn {
            let member = self
                .d
                .logs
                .get(log)
                .is_some_and(|log| self.d.account.member(&log.open.statement.device).is_some());
            if !member {
                self.torn_aside(log, *seq)?;
            }
        }
        if !stuck.is_empty() {
            self.apply_all()?;
            // Whatever had waited for these logs.
            self.wake_at(self.now);
        }
        Ok(())
    }

    /// Whether what is missing now won't come by waiting: all that the account's home has is here, its keys too.
    fn all_has_come(&self) -> bool {
        let complete = self.d.session.as_ref().is_some_and(|session| session.complete);
        complete && self.at_home() && self.table_current() && self.epoch_key().is_some()
    }

    /// The key that an envelope brings in goes into the registry, whatever else it lacks: the epoch's key won't open it later.
    fn keep_its_key(&mut self, log: &LogId, seq: u64, sealed: Sealed) -> Result<(), DeviceError> {
        let envelope = Envelope {
            version: HeaderVersion::V1,
            log: *log,
            seq,
            sealed,
        };
        self.key_for(&envelope).map(|_| ())
    }

    /// The same of an envelope that came out of its chain.
    fn torn_aside(&mut self, log: &LogId, seq: u64) -> Result<(), DeviceError> {
        if let (Some(previous), Some(sealed)) = (self.link_before(log, seq)?, self.body(log, seq)?)
            && !self.is_applied_now(log, seq, &previous, sealed.clone())?
        {
            self.keep_its_key(log, seq, sealed)?;
            self.disk.put(space::ASIDE, &place_key(log, seq), &Nothing {});
            self.d.aside = true;
        }
        self.disk.delete(space::WAITS, &place_key(log, seq));
        self.d.torn.remove(&(*log, seq));
        Ok(())
    }

    /// Applies what was set aside and lacks nothing any more, if anything has come since it was last tried.
    pub(super) fn try_aside(&mut self) -> Result<(), DeviceError> {
        if !self.d.aside || !std::mem::take(&mut self.d.aside_stale) {
            return Ok(());
        }
        self.each_aside(|turn, log, seq, sealed| {
            let Some(previous) = turn.link_before(log, seq)? else {
                return Ok(false);
            };
            let done = turn.is_applied_now(log, seq, &previous, sealed)?;
            turn.d.aside_stale |= done;
            Ok(done)
        })
    }

    /// Deletes what was set aside of these handles.
    pub(super) fn sweep_aside(&mut self, handles: &BTreeSet<Handle>) -> Result<(), DeviceError> {
        if !self.d.aside {
            return Ok(());
        }
        self.each_aside(|turn, log, seq, sealed| {
            let goes = handles.contains(&sealed.fields.handle);
            if goes {
                turn.disk.delete(space::BODY, &place_key(log, seq));
            }
            Ok(goes)
        })
    }

    /// Looks at everything that was set aside; what is done with, or has no body any more, is forgotten.
    fn each_aside(
        &mut self,
        mut visit: impl FnMut(&mut Self, &LogId, u64, Sealed) -> Result<bool, DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.disk.page(space::ASIDE, &[], after.as_deref(), PAGE)?;
            for (key, _) in &page {
                let Some((log, seq)) = of_place_key(key) else {
                    continue;
                };
                let done = match self.body(&log, seq)? {
                    Some(sealed) => visit(self, &log, seq, sealed)?,
                    None => true,
                };
                if done {
                    self.disk.delete(space::ASIDE, key);
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(()),
            }
        }
    }
}

pub(super) fn load(device: &mut Device, disk: &super::disk::Disk<'_>) -> Result<(), DeviceError> {
    device.aside = !disk.page(space::ASIDE, &[], None, 1)?.is_empty();
    device.aside_stale = device.aside;
    Ok(())
}
