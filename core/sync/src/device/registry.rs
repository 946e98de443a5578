//! Document keys, the shards that hold them for everybody, and the table of the shards' keys.

use std::collections::BTreeSet;

use hearth_protocol::codec::{List, Set, Wire};
use hearth_protocol::envelope::Nothing;
use hearth_protocol::hash::{Signed, key_ref};
use hearth_protocol::id::{Handle, Hash, KeyRef, LogId};
use hearth_protocol::limits::MAX_MESSAGE_BYTES;
use hearth_protocol::limits::SHARDS;
use hearth_protocol::message::{RegistryPart, Request};
use hearth_protocol::registry::{RegistryUpdate, Shard, ShardIds, Table, shard_id};
use hearth_protocol::vector::Positions;

use super::disk::Disk;
use super::record::{BroughtIn, space};
use super::session::{Asked, genuine};
use super::turn::{ONLY, Turn};
use super::{Device, DeviceError, Notice};
use crate::keys::EpochKey;
use crate::registry::{
    KeyEntry, MAX_SHARD_KEYS, ShardKeys, open_shard, open_shard_keys, seal_shard, seal_shard_keys,
};
use crate::secret::Secret;

/// Keys that only envelopes carry are folded into the shards after this long, or with the next epoch.
const FOLD_AFTER_MS: u64 = 24 * 60 * 60 * 1_000;
/// Answers without any of the missing shards before the other side is said to keep them back: a server that was restored may
/// lack one until somebody has brought it.
const MAX_IDLE_SHARDS: u32 = 5;
/// After the first of them it is asked again this much later, then after twice that, …
const IDLE_SHARDS_MS: u64 = 2_000;
/// … but so often at least.
const LONGEST_IDLE_MS: u64 = 600_000;

fn record_key(handle: &Handle, generation: u32, reference: KeyRef) -> [u8; 28] {
    let mut key = [0; 28];
    key[..16].copy_from_slice(&handle.0);
    key[16..20].copy_from_slice(&generation.to_be_bytes());
    key[20..].copy_from_slice(&reference.0);
    key
}

/// What a key record says.
fn entry_of(key: &[u8], secret: &[u8; 32]) -> Option<KeyEntry> {
    let key: &[u8; 28] = key.try_into().ok()?;
    let (handle, rest) = key.split_first_chunk::<16>()?;
    let (generation, _) = rest.split_first_chunk::<4>()?;
    Some(KeyEntry::new(
        Handle(*handle),
        u32::from_be_bytes(*generation),
        &Secret::new(*secret),
    ))
}

pub(super) fn load(device: &mut Device, disk: &Disk<'_>) -> Result<(), DeviceError> {
    let account = device.account.id();
    for (_, shard) in disk.all::<Shard>(space::SHARD, &[])? {
        if let Some(id) = device.shards.get_mut(usize::from(shard.index)) {
            *id = shard_id(&account, &shard);
        }
    }
    if let Some(table) = disk.get::<Signed<Table>>(space::TABLE, ONLY)? {
        let id = table.id(&account);
        let table = table.statement;
        device.table_known = Some((table.number, id));
        if device
            .shards
            .iter()
            .zip(table.shards.iter())
            .all(|(have, want)| have == want)
        {
            device.table = id;
            device.table_epoch = table.epoch;
        }
    }
    // An epoch of one's own that was accepted just before a crash.
    if let Some((_, epoch)) = device.account.epoch()
        && device.keys.epoch(epoch.number).is_none()
        && let Some(key) = device.keys.proposed.clone()
        && key.number == epoch.number
        && key.commitment(&account) == epoch.commitment
    {
        device.keys.epochs.push(key);
        device.keys.proposed = None;
    }
    Ok(())
}

impl Turn<'_> {
    /// A document key that is known.
    pub(super) fn document_key(
        &self,
        handle: &Handle,
        generation: u32,
        reference: KeyRef,
    ) -> Result<Option<Secret>, DeviceError> {
        let key = record_key(handle, generation, reference);
        Ok(self.disk.get::<[u8; 32]>(space::KEY, &key)?.map(Secret::new))
    }

    /// The key to write a document with now: the lowest of its generation that a member made, or none yet.
    pub(super) fn writing_key(&self, handle: &Handle) -> Result<Option<Secret>, DeviceError> {
        let generation = self.d.account.generation();
        let prefix = [handle.as_ref(), &generation.to_be_bytes()].concat();
        // Whoever was shut out may have put keys of this generation into the registry: reading with them does no harm.
        let space = if generation == 0 {
            space::KEY
        } else {
            space::WRITES
        };
        let page = self.disk.page(space, &prefix, None, 1)?;
        let key = match page.first() {
            Some((key, _)) => self.disk.bytes(space::KEY, key)?,
            None => None,
        };
        match &key {
            Some(value) => {
                let key =
                    <[u8; 32]>::decode(value).map_err(|error| DeviceError::Record(space::KEY, error))?;
                Ok(Some(Secret::new(key)))
            }
            None => Ok(None),
        }
    }

    /// Keeps a document key, and marks its shard as lacking it.
    pub(super) fn add_key(
        &mut self,
        handle: &Handle,
        generation: u32,
        reference: KeyRef,
        key: &Secret,
    ) -> Result<(), DeviceError> {
        let record = record_key(handle, generation, reference);
        if !self.disk.has(space::KEY, &record)? {
            self.disk.put(space::KEY, &record, key.expose());
            self.mark_dirty(handle.0[0]);
        }
        Ok(())
    }

    /// From here on this device may write with a key: it, or a member, made it for this generation.
    pub(super) fn write_with(&mut self, handle: &Handle, generation: u32, reference: KeyRef) {
        if generation > 0 && generation == self.d.account.generation() {
            let record = record_key(handle, generation, reference);
            self.disk.put(space::WRITES, &record, &Nothing {});
        }
    }

    /// Others have a key that was made here once they have this envelope.
    pub(super) fn brought_in(
        &mut self,
        handle: &Handle,
        generation: u32,
        reference: KeyRef,
        (log, seq): (LogId, u64),
    ) -> Result<(), DeviceError> {
        let record = record_key(handle, generation, reference);
        let known: Option<BroughtIn> = self.disk.get(space::FRESH, &record)?;
        // The first one counts: else whoever writes without a pause would bring it in for ever.
        if known.is_none_or(|known| known.log != log || known.seq == 0) {
            self.disk.put(space::FRESH, &record, &BroughtIn { log, seq });
        }
        Ok(())
    }

    /// Whether others may not have a key of this device yet.
    pub(super) fn is_fresh(
        &self,
        handle: &Handle,
        generation: u32,
        reference: KeyRef,
    ) -> Result<bool, DeviceError> {
        self.disk
            .has(space::FRESH, &record_key(handle, generation, reference))
    }

    /// The account's server has a log up to here; what was taken as a hole brings in nothing.
    pub(super) fn brought_up_to(
        &mut self,
        log: &LogId,
        upto: u64,
        holes: &BTreeSet<u64>,
    ) -> Result<(), DeviceError> {
        for (key, known) in self.disk.all::<BroughtIn>(space::FRESH, &[])? {
            if known.log != *log || known.seq == 0 || known.seq > upto {
                continue;
            }
            if holes.contains(&known.seq) {
                self.disk
                    .put(space::FRESH, &key, &BroughtIn { log: *log, seq: 0 });
            } else {
                self.disk.delete(space::FRESH, &key);
            }
        }
        Ok(())
    }

    pub(super) fn mark_dirty(&mut self, shard: u8) {
        let dirty = &mut self.d.state.dirty;
        if !dirty.contains(&shard)
            && let Ok(more) = Set::new(dirty.iter().copied().chain([shard]))
        {
            *dirty = more;
        }
        if self.d.state.dirty_since == 0 {
            self.d.state.dirty_since = self.now.max(2);
        }
    }

    fn mark_clean(&mut self, shard: u8) {
        let dirty = &mut self.d.state.dirty;
        if dirty.contains(&shard)
            && let Ok(fewer) = Set::new(dirty.iter().copied().filter(|other| *other != shard))
        {
            *dirty = fewer;
        }
        if self.d.state.dirty.is_empty() {
            self.d.state.dirty_since = 0;
        }
    }

    /// The keys that belong in a shard, as many as it holds.
    fn entries(&self, shard: u8) -> Result<Vec<KeyEntry>, DeviceError> {
        let mut entries = Vec::new();
        self.disk.each(space::KEY, &[shard], |key, secret: [u8; 32]| {
            // A member can bring in more than a shard holds: everybody leaves out the same, the last of them.
            if entries.len() < MAX_SHARD_KEYS {
                entries.extend(entry_of(key, &secret));
            }
            Ok(())
        })?;
        Ok(entries)
    }

    fn table_record(&self) -> Result<Option<Signed<Table>>, DeviceError> {
        self.disk.get(space::TABLE, ONLY)
    }

    fn shard_keys(&self, table: &Table) -> Option<Box<ShardKeys>> {
        let key = self.d.keys.epoch(table.epoch)?;
        let account = self.account();
        open_shard_keys(
            &account,
            key,
            table.number,
            &table.previous,
            &table.salt,
            &table.sealed,
        )
        .ok()
    }

    /// A table that follows the newest known, under this epoch's key, with the shards that have to be written again.
    pub(super) fn make_table(&mut self, epoch: &EpochKey) -> Result<RegistryUpdate, DeviceError> {
        let account = self.account();
        let known = self.table_record()?;
        let old = known
            .as_ref()
            .and_then(|table| Some((table.statement.shards.clone(), self.shard_keys(&table.statement)?)));
        let mut ids = vec![Hash::ZERO; SHARDS];
        let mut keys: Vec<Secret> = (0..SHARDS).map(|_| Secret::new([0; 32])).collect();
        let mut written = Vec::new();
        for index in 0..=u8::MAX {
            let place = usize::from(index);
            if let (Some((shards, secrets)), false) = (&old, self.d.state.dirty.contains(&index)) {
                ids[place] = shards[place];
                keys[place] = secrets[place].clone();
                continue;
            }
            let entries = self.entries(index)?;
            if entries.is_empty() {
                continue;
            }
            let (shard, key) = seal_shard(&account, index, entries, self.random)?;
            ids[place] = shard_id(&account, &shard);
            keys[place] = key;
            written.push(shard);
        }
        let (number, previous) = self
            .d
            .table_known
            .map_or((1, Hash::ZERO), |(number, id)| (number.saturating_add(1), id));
        let keys: Box<ShardKeys> = keys.try_into().map_err(|_| DeviceError::Missing(space::TABLE))?;
        let (salt, sealed) = seal_shard_keys(&account, epoch, number, &previous, &keys, self.random)?;
        let applied = self.d.logs.iter().map(|(log, state)| (*log, state.applied.seq));
        let table = Table {
            epoch: epoch.number,
            number,
            previous,
            author: self.d.me,
            folded: Positions::new(applied.filter(|(_, seq)| *seq > 0))?,
            shards: ShardIds::from_fn(|place| ids[place]),
            salt,
            sealed,
        };
        Ok(RegistryUpdate {
            table: self.d.signer.sign_statement(&account, table),
            shards: List::try_from(written)?,
        })
    }

    /// A table of one's own that was taken.
    pub(super) fn adopt_update(&mut self, update: &RegistryUpdate) -> Result<(), DeviceError> {
        self.take_table(&update.table, &update.shards)
    }

    /// Everything of the registry, for a server that has nothing.
    pub(super) fn whole_registry(&self) -> Result<Option<RegistryUpdate>, DeviceError> {
        let Some(table) = self.table_record()? else {
            return Ok(None);
        };
        let shards: Vec<Shard> = self
            .disk
            .all(space::SHARD, &[])?
            .into_iter()
            .map(|(_, shard)| shard)
            .collect();
        Ok(Some(RegistryUpdate {
            table,
            shards: List::try_from(shards)?,
        }))
    }

    pub(super) fn registry_part(&mut self, part: &RegistryPart) -> Result<(), DeviceError> {
        let account = self.account();
        let id = part.table.id(&account);
        let (mut another, mut unasked) = (false, true);
        if let Some(session) = self.session() {
            session.registry_seen = true;
            another = session.their_table != id;
            unasked = session.shards_asked == 0;
            session.shards_asked = 0;
            session.their_table = id;
            session.table_wanted = false;
        }
        let before = self.missing_shards(&part.table.statement);
        self.take_table(&part.table, &part.shards)?;
        let after = self.missing_shards(&part.table.statement);
        // What didn't fit is asked for again, as long as something comes.
        let known = self.d.table_known.is_some_and(|(_, known)| known == id);
        let nothing_came = !another && after.len() >= before.len();
        let now = self.now;
        let Some(session) = self.session() else {
            return Ok(());
        };
        if !nothing_came {
            (session.shards_idle, session.shards_after) = (0, 0);
        }
        if !known || after.is_empty() || self.shard_keys(&part.table.statement).is_none() {
            return Ok(());
        }
        // One answer after the other; and what comes unasked meanwhile says nothing.
        let waits = self.session().is_some_and(|session| session.shards_after > now);
        if waits || self.is_asked(|asked| matches!(asked, Asked::FetchShards)) {
            return Ok(());
        }
        if !nothing_came || unasked {
            return self.ask_shards(&after);
        }
        let Some(session) = self.session() else {
            return Ok(());
        };
        session.shards_idle = session.shards_idle.saturating_add(1);
        let idle = session.shards_idle;
        let pause = IDLE_SHARDS_MS.saturating_mul(1 << (idle - 1).min(16));
        let at = now.saturating_add(pause.min(LONGEST_IDLE_MS));
        session.shards_after = at;
        self.wake_at(at);
        if idle == MAX_IDLE_SHARDS {
            self.notice(Notice::Tampered);
        }
        Ok(())
    }

    /// Asks again for the shards that the other side didn't have.
    fn ask_idle_shards(&mut self) -> Result<(), DeviceError> {
        let now = self.now;
        let Some(session) = self.session().filter(|session| session.shards_after != 0) else {
            return Ok(());
        };
        let at = session.shards_after;
        if now < at {
            self.wake_at(at);
            return Ok(());
        }
        session.shards_after = 0;
        if self.is_asked(|asked| matches!(asked, Asked::FetchShards)) {
            return Ok(());
        }
        let missing = match self.table_record()? {
            Some(table) => self.missing_shards(&table.statement),
            None => Vec::new(),
        };
        if missing.is_empty() {
            return Ok(());
        }
        self.ask_shards(&missing)
    }

    fn missing_shards(&self, table: &Table) -> Vec<u8> {
        (0..=u8::MAX)
            .filter(|index| {
                let place = usize::from(*index);
                table.shards[place] != Hash::ZERO && self.d.shards.get(place) != Some(&table.shards[place])
            })
            .collect()
    }

    /// Takes a table, and what came of its shards: keys are only ever added.
    fn take_table(&mut self, signed: &Signed<Table>, shards: &[Shard]) -> Result<(), DeviceError> {
        let account = self.account();
        let table = &signed.statement;
        let author = self
            .d
            .account
            .devices()
            .get(&table.author)
            .map(|member| member.keys.log);
        if !genuine(signed, &account, author.as_ref()) {
            self.notice(Notice::Tampered);
            return Ok(());
        }
        let id = signed.id(&account);
        if self.d.table == id {
            return Ok(());
        }
        // Whatever the other side has is what the next one follows, even if it was rolled back.
        self.d.table_known = Some((table.number, id));
        self.disk.put(space::TABLE, ONLY, signed);
        let Some(keys) = self.shard_keys(table) else {
            if self.epoch_key().is_some() {
                // Rolled back behind an epoch, or of a branch that lost: what is here is written again.
                for index in 0..=u8::MAX {
                    if !self.entries(index)?.is_empty() {
                        self.mark_dirty(index);
                    }
                }
                self.d.state.dirty_since = 1;
                let opens = table.epoch < self.running();
                (self.d.table, self.d.table_epoch) = (id, if opens { table.epoch } else { 0 });
            }
            return Ok(());
        };
        // Whoever was shut out, and still has the epoch's key, can have signed it since.
        let known = match self.d.account.shut_out_in(&table.author) {
            Some(ended) => ended.saturating_sub(1),
            None => self.d.account.generation(),
        };
        for shard in shards {
            let place = usize::from(shard.index);
            let fits = shard_id(&account, shard) == table.shards[place];
            let opened = keys
                .get(place)
                .and_then(|key| open_shard(&account, shard, key).ok());
            match opened {
                Some(entries) if fits => self.merge(shard, &entries, known)?,
                // An older or a newer one than the table's.
                _ if !fits => {}
                _ => self.notice(Notice::Tampered),
            }
        }
        for index in 0..=u8::MAX {
            let place = usize::from(index);
            if table.shards[place] == Hash::ZERO && self.d.shards[place] != Hash::ZERO {
                self.d.shards[place] = Hash::ZERO;
                self.disk.delete(space::SHARD, &[index]);
            }
            if table.shards[place] == Hash::ZERO {
                if self.entries(index)?.is_empty() {
                    self.mark_clean(index);
                } else {
                    self.mark_dirty(index);
                }
            }
        }
        if self.missing_shards(table).is_empty() {
            self.d.table = id;
            self.d.table_epoch = table.epoch;
            if let Some(session) = self.session() {
                session.their_table = id;
            }
            self.settle_epoch();
        }
        Ok(())
    }

    /// Takes the keys of a shard, of generations that its author can have known.
    fn merge(&mut self, shard: &Shard, entries: &[KeyEntry], known: u32) -> Result<(), DeviceError> {
        let account = self.account();
        let mut whole = true;
        for entry in entries {
            let (handle, generation, key) = (entry.handle(), entry.generation(), entry.key());
            if self.is_erased(&handle)? || generation > known {
                whole = false;
                continue;
            }
            let reference = key_ref(&account, &handle, generation, key.expose());
            let record = record_key(&handle, generation, reference);
            self.disk.delete(space::FRESH, &record);
            if !self.disk.has(space::KEY, &record)? {
                self.disk.put(space::KEY, &record, key.expose());
                self.d.aside_stale = true;
            }
        }
        whole &= self.entries(shard.index)?.len() == entries.len();
        if whole {
            self.mark_clean(shard.index);
        } else {
            self.mark_dirty(shard.index);
        }
        self.d.shards[usize::from(shard.index)] = shard_id(&account, shard);
        self.disk.put(space::SHARD, &[shard.index], shard);
        Ok(())
    }

    /// Whether the other side's table is the one that is read here.
    pub(super) fn table_current(&self) -> bool {
        self.d.session.as_ref().is_some_and(|session| {
            !session.table_wanted
                && session.shards_asked == 0
                && (session.ahead.is_none() || session.their_table == self.d.table)
        }) && self.d.table_known.is_none_or(|(_, id)| id == self.d.table)
    }

    /// Asks for the other side's table, when it couldn't be read as it came.
    pub(super) fn want_registry(&mut self) -> Result<(), DeviceError> {
        self.want_wraps();
        self.ask_idle_shards()?;
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        if !session.table_wanted || session.shards_asked > 0 || session.issuing {
            return Ok(());
        }
        if session.registry_after > self.now {
            let at = session.registry_after;
            self.wake_at(at);
            return Ok(());
        }
        let comes = session
            .ahead
            .as_ref()
            .is_some_and(|ahead| ahead.table != session.said_table);
        if comes && !session.registry_seen {
            // It is sent unasked.
            return Ok(());
        }
        if self.epoch_key().is_none() {
            return Ok(());
        }
        if let Some(session) = self.session() {
            session.table_wanted = false;
        }
        self.ask_shards(&[])
    }

    /// Brings the table to whoever serves and has none: a peer on the local network that serves for the first time, or that
    /// has emptied its store. Without one there no key could be written there, and no epoch begun.
    pub(super) fn bring_table(&mut self) -> Result<(), DeviceError> {
        let (table, running) = (self.d.table, self.running());
        let Some(session) = self.d.session.as_ref() else {
            return Ok(());
        };
        let none = session
            .ahead
            .as_ref()
            .is_some_and(|ahead| ahead.table == Hash::ZERO)
            && session.their_table == Hash::ZERO;
        let waits = session.issuing || session.issue_after > self.now || session.table_wanted;
        if !none || waits || table == Hash::ZERO || self.d.table_epoch != running {
            return Ok(());
        }
        let Some(whole) = self.whole_registry()?.filter(|whole| {
            whole.table.id(&self.account()) == table && whole.table.statement.epoch == running
        }) else {
            return Ok(());
        };
        // The shards of many documents don't fit into one message: it takes the table with some of them.
        let mut parts = vec![Vec::new()];
        let mut bytes = 0;
        for shard in whole.shards.iter() {
            bytes += shard.sealed.len() + 64;
            if bytes > MAX_MESSAGE_BYTES / 2 {
                parts.push(Vec::new());
                bytes = shard.sealed.len();
            }
            if let Some(part) = parts.last_mut() {
                part.push(shard.clone());
            }
        }
        if let Some(session) = self.session() {
            session.issuing = true;
            session.their_table = table;
        }
        for part in parts {
            let update = RegistryUpdate {
                table: whole.table.clone(),
                shards: List::try_from(part)?,
            };
            self.ask(
                Request::Registry(Box::new(update.clone())),
                Asked::Registry(Box::new(update)),
            );
        }
        Ok(())
    }

    /// Writes again what the shards lack, or have too much of.
    pub(super) fn fold(&mut self) -> Result<(), DeviceError> {
        let since = self.d.state.dirty_since;
        if since == 0 || self.epoch_is_known_outside() {
            return Ok(());
        }
        let due = since.saturating_add(FOLD_AFTER_MS);
        // A time to come was written by a clock that was ahead.
        if since > 1 && since <= self.now && self.now < due {
            self.wake_at(due);
            return Ok(());
        }
        let after = self.d.session.as_ref().map_or(0, |session| session.fold_after);
        if after > self.now {
            self.wake_at(after);
            return Ok(());
        }
        let waits = self
            .d
            .session
            .as_ref()
            .is_none_or(|session| session.issuing || session.issue_after > self.now);
        let Some((_, key)) = self.epoch_key() else {
            return Ok(());
        };
        // What is wanted at once isn't held up by what waits: two devices could wait for each other's keys.
        if waits || !self.table_current() || since > 1 && !self.all_applied() {
            return Ok(());
        }
        let key = key.clone();
        let update = self.make_table(&key)?;
        if let Some(session) = self.session() {
            session.issuing = true;
        }
        self.ask(
            Request::Registry(Box::new(update.clone())),
            Asked::Registry(Box::new(update)),
        );
        Ok(())
    }
}
