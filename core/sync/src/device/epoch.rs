//! Epochs: taking a new key on, making one, granting it to whoever has none.

use hearth_protocol::codec::{List, Map};
use hearth_protocol::control::{Action, ControlEntry, Epoch, EpochWraps, wraps_hash};
use hearth_protocol::hash::Statement;
use hearth_protocol::id::{AgreementKey, DeviceId, Hash};
use hearth_protocol::limits::{EPOCH_BATCH_MS, MAX_EPOCH_ERASURES};
use hearth_protocol::message::{Fetch, Request};
use hearth_protocol::registry::RegistryUpdate;
use hearth_protocol::statement::{AnyStatement, EpochAck, Grant};

use super::record::space;
use super::session::Asked;
use super::turn::{ONLY, Turn};
use super::{DeviceError, Notice, Peer};
use crate::keys::EpochKey;
use crate::secret::Secret;

/// An epoch that is ready to be sent.
pub(super) struct Proposal {
    pub(super) entry: ControlEntry,
    pub(super) wraps: EpochWraps,
    pub(super) registry: RegistryUpdate,
    pub(super) key: EpochKey,
}

impl Turn<'_> {
    /// The running epoch's number.
    pub(super) fn running(&self) -> u64 {
        self.d.account.epoch().map_or(0, |(_, epoch)| epoch.number)
    }

    /// The running epoch's id and key, once it is here.
    pub(super) fn epoch_key(&self) -> Option<(Hash, &EpochKey)> {
        let (id, epoch) = self.d.account.epoch()?;
        Some((id, self.d.keys.epoch(epoch.number)?))
    }

    /// Whether somebody was shut out since the running epoch began: nothing may be sealed under its key any more.
    pub(super) fn epoch_is_known_outside(&self) -> bool {
        let began = self
            .d
            .history
            .iter()
            .rev()
            .find(|entry| matches!(entry.statement.action, Action::Epoch(_)))
            .map_or(0, |entry| entry.statement.number);
        self.d
            .account
            .revocations()
            .last()
            .is_some_and(|last| last.number > began)
    }

    /// The newest agreement key of a device, as far as is known here.
    pub(super) fn agreement_of(&self, device: &DeviceId) -> Option<AgreementKey> {
        let enrolled = self.d.account.devices().get(device)?.keys.agreement;
        Some(self.d.agreement.get(device).map_or(enrolled, |(_, key)| *key))
    }

    /// Whether an epoch should begin now.
    pub(super) fn epoch_wanted(&mut self) -> bool {
        let at = self.d.state.rotate_at;
        if at == 0 || self.d.account.epoch().is_none() {
            return false;
        }
        // One that is further ahead than any wait was made by a clock that was ahead.
        if at > self.now && at - self.now <= EPOCH_BATCH_MS {
            self.wake_at(at);
            return false;
        }
        // Its table must hold every key that is sealed under the old one.
        self.all_applied() && self.table_current()
    }

    /// A new epoch, for exactly the present members.
    pub(super) fn propose_epoch(&mut self) -> Result<Proposal, DeviceError> {
        let account = self.account();
        let key = EpochKey::random(self.running() + 1, self.random);
        let membership = self.d.account.membership();
        let members: Vec<DeviceId> = self.d.account.members().map(|(device, _)| *device).collect();
        let mut devices = Vec::new();
        for device in members {
            let to = self.agreement_of(&device).ok_or(DeviceError::Keychain)?;
            devices.push((
                device,
                key.wrap(&account, &membership, Some(&device), &to, self.random)?,
            ));
        }
        let phrase = self.d.account.recovery().agreement;
        let wraps = EpochWraps {
            devices: Map::new(devices)?,
            recovery: key.wrap(&account, &membership, None, &phrase, self.random)?,
        };
        let mut ends = self.d.erased.to_end();
        ends.truncate(MAX_EPOCH_ERASURES);
        let registry = self.make_table(&key)?;
        let epoch = Epoch {
            number: key.number,
            membership,
            commitment: key.commitment(&account),
            wraps: wraps_hash(&account, &wraps),
            table: registry.table.statement.id(&account),
            ends: List::try_from(ends)?,
            min_version: self.d.account.min_version().max(1),
        };
        Ok(Proposal {
            entry: self.entry(Action::Epoch(Box::new(epoch))),
            wraps,
            registry,
            key,
        })
    }

    /// The control log has a new epoch.
    pub(super) fn epoch_changed(&mut self) {
        let account = self.account();
        let Some((_, epoch)) = self.d.account.epoch().map(|(id, epoch)| (id, epoch.clone())) else {
            return;
        };
        self.d.granted.clear();
        self.disk.delete(space::WRAPS, ONLY);
        self.d.wraps = None;
        self.d.erased.ended(&epoch.ends, epoch.number);
        // Whoever wanted one has it, unless an erasure is still not ended or the members have changed again.
        self.d.state.rotate_at = 0;
        let at = self.now;
        if self.epoch_is_known_outside() {
            self.rotate_by(at + 2_000);
        } else if !self.d.erased.to_end().is_empty() {
            self.rotate_by(at + EPOCH_BATCH_MS);
        }
        match self.d.keys.proposed.take() {
            Some(key) if key.number == epoch.number && key.commitment(&account) == epoch.commitment => {
                self.epoch_opened(key);
            }
            Some(key) if key.number > epoch.number => self.d.keys.proposed = Some(key),
            Some(_) => self.keychain = true,
            None => {}
        }
        if let Some(session) = self.session() {
            session.wraps_asked = false;
        }
        self.settle_epoch();
    }

    fn epoch_opened(&mut self, key: EpochKey) {
        let account = self.account();
        let number = key.number;
        if self.d.keys.epoch(number).is_none() {
            self.d.keys.remember_discovery(key.discovery_key(&account));
            self.d.keys.epochs.push(key);
            self.keychain = true;
            self.notice(Notice::Epoch(number));
        }
        if let Some(session) = self.session() {
            session.table_wanted = true;
        }
    }

    /// Takes the wraps of the running epoch, if they are those that its entry names.
    pub(super) fn take_wraps(&mut self, wraps: &EpochWraps) {
        let account = self.account();
        let Some((_, epoch)) = self.d.account.epoch() else {
            return;
        };
        if wraps_hash(&account, wraps) != epoch.wraps {
            return;
        }
        let epoch = epoch.clone();
        self.d.wraps = Some(epoch.wraps);
        self.disk.put(space::WRAPS, ONLY, wraps);
        if self.epoch_key().is_some() {
            return;
        }
        let me = self.d.me;
        let Some(wrap) = wraps.devices.get(&me) else {
            return;
        };
        let private = self.d.keys.private(&wrap.to);
        let opened =
            private.and_then(|private| EpochKey::unwrap(&account, &epoch, Some(&me), private, wrap).ok());
        match opened {
            Some(key) => self.epoch_opened(key),
            // A key that was destroyed: somebody grants the epoch to the present one, once they know it.
            None => self.d.keys_stale = true,
        }
    }

    /// The epoch was wrapped to a key that this device has no more: a server that was restored may have forgotten which one
    /// it has.
    pub(super) fn say_newest_key(&mut self) -> Result<(), DeviceError> {
        if !std::mem::take(&mut self.d.keys_stale) || self.epoch_key().is_some() {
            return Ok(());
        }
        let me = self.d.me;
        for ack in self.newest_epoch_acks()? {
            if matches!(&ack, AnyStatement::EpochAck(ack) if ack.statement.device == me) {
                self.ask_statement(0, ack);
            }
        }
        Ok(())
    }

    /// Asks for the wraps of the running epoch when they aren't here: for its key, if that isn't here either, and to have
    /// what the phrase opens, for a drill and for a server that lacks them.
    pub(super) fn want_wraps(&mut self) {
        let Some((_, epoch)) = self.d.account.epoch() else {
            return;
        };
        if self.d.wraps == Some(epoch.wraps) && self.epoch_key().is_some() {
            return;
        }
        if let Some(session) = self.d.session.as_mut()
            && !session.wraps_asked
        {
            session.wraps_asked = true;
            self.ask(
                Request::Fetch(Fetch::Wraps(hearth_protocol::envelope::Nothing {})),
                Asked::FetchWraps,
            );
        }
    }

    /// A grant for this device.
    pub(super) fn take_grant(&mut self, grant: &Grant) {
        let account = self.account();
        let Some((id, epoch)) = self.d.account.epoch() else {
            return;
        };
        if grant.epoch != id || grant.device != self.d.me || self.epoch_key().is_some() {
            return;
        }
        let epoch = epoch.clone();
        if let Some(private) = self.d.keys.private(&grant.wrap.to)
            && let Ok(key) = EpochKey::unwrap(&account, &epoch, Some(&grant.device), private, &grant.wrap)
        {
            self.epoch_opened(key);
        }
    }

    /// Gives the running epoch's key to a member that has none, to its newest agreement key.
    pub(super) fn grant_to(&mut self, device: &DeviceId) -> Result<(), DeviceError> {
        let account = self.account();
        let Some(to) = self.agreement_of(device) else {
            return Ok(());
        };
        if self.d.account.member(device).is_none()
            || *device == self.d.me
            || self.d.granted.get(device) == Some(&to)
            || (!self.d.lost_keys.contains(device)
                && self
                    .d
                    .on_epoch
                    .get(device)
                    .is_some_and(|number| *number >= self.running()))
            || self.epoch_is_known_outside()
        {
            return Ok(());
        }
        // A peer on the local network empties what it keeps with every erasure, the wraps too: only the server's stay there.
        let at_server = self
            .d
            .session
            .as_ref()
            .is_some_and(|session| session.peer == Peer::Server);
        let wraps: Option<EpochWraps> = self.disk.get(space::WRAPS, ONLY)?.filter(|_| at_server);
        if wraps
            .as_ref()
            .and_then(|wraps| wraps.devices.get(device))
            .is_some_and(|wrap| wrap.to == to)
        {
            return Ok(());
        }
        let membership = match self.d.account.epoch() {
            Some((_, epoch)) => epoch.membership,
            None => return Ok(()),
        };
        let Some((id, key)) = self.epoch_key().map(|(id, key)| (id, key.clone())) else {
            return Ok(());
        };
        let grant = Grant {
            epoch: id,
            author: self.d.me,
            device: *device,
            wrap: key.wrap(&account, &membership, Some(device), &to, self.random)?,
        };
        self.d.granted.insert(*device, to);
        self.d.lost_keys.remove(device);
        let signed = self.d.signer.sign_statement(&account, grant);
        self.unsent(&AnyStatement::Grant(signed));
        Ok(())
    }

    /// Every member that can't open the running epoch gets it.
    pub(super) fn grant_all(&mut self) -> Result<(), DeviceError> {
        let members: Vec<DeviceId> = self.d.account.members().map(|(device, _)| *device).collect();
        for device in members {
            self.grant_to(&device)?;
        }
        Ok(())
    }

    /// Says that the running epoch is taken on, once its key and its table are here: what opened the ones before goes.
    pub(super) fn settle_epoch(&mut self) {
        let running = self.running();
        let Some((id, _)) = self.epoch_key() else {
            self.name_a_new_key();
            self.want_wraps();
            return;
        };
        if self.d.table_epoch != running {
            return;
        }
        if self.d.keys.epochs.iter().any(|key| key.number < running) {
            self.d.keys.epochs.retain(|key| key.number >= running);
            self.keychain = true;
        }
        if self
            .d
            .on_epoch
            .get(&self.d.me)
            .is_some_and(|number| *number >= running)
        {
            return;
        }
        self.acknowledge_epoch(id, running);
    }

    /// After a backup: the agreement key that the others know is lost, so that nobody can give this device the running
    /// epoch's key. It says again that the epochs before are over, which it makes true, and names a key that it has.
    fn name_a_new_key(&mut self) {
        let number = self.d.lost_ack;
        if number == 0 || number > self.running() || self.d.state.doubtful || !self.at_home() {
            return;
        }
        // The same number again: by that the others know that the key is another one. A higher one would say that this
        // device has the running epoch's key.
        let entry = self.d.epoch_entry(number).and_then(|at| usize::try_from(at).ok());
        let Some(entry) = entry.and_then(|at| self.d.history.get(at)) else {
            return;
        };
        let id = entry.id(&self.account());
        self.d.keys.epochs.clear();
        self.acknowledge_epoch(id, number);
    }

    fn acknowledge_epoch(&mut self, id: Hash, number: u64) {
        self.d.lost_ack = 0;
        self.d.keys.agreement.push(Secret::random(self.random));
        self.keychain = true;
        let account = self.account();
        let ack = EpochAck {
            epoch: id,
            number,
            device: self.d.me,
            agreement: self.d.keys.newest_agreement(),
            at: self.at(),
        };
        let signed = self.d.signer.sign_statement(&account, ack);
        self.keep_epoch_ack(&signed);
        self.unsent(&AnyStatement::EpochAck(signed));
    }

    /// The server has this device's acknowledgement: the agreement keys before it go.
    pub(super) fn epoch_ack_taken(&mut self, ack: &EpochAck) {
        let newest = self.d.keys.newest_agreement();
        if ack.device == self.d.me && ack.agreement == newest && self.d.keys.agreement.len() > 1 {
            self.d
                .keys
                .agreement
                .retain(|key| crate::hpke::public_key(key) == newest);
            self.keychain = true;
        }
    }
}
