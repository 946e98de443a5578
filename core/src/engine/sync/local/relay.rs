//! The relay that this device runs for the account's other devices, over rows of the encrypted profile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_protocol::control::ControlEntry;
use hearth_protocol::entropy::Entropy;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, Hash, Signature, VerifyKey};
use hearth_relay::store::Visit;
use hearth_relay::{
    Config, Input, MemoryStore, Output, Relay, SessionId, Signer, Space, Store as Rows, StoreError,
};
use hearth_store::{PeerLease, Store};
use hearth_sync::keys::SigningKey;
use hearth_sync::secret::Secret;

use super::super::super::store_thread::StoreThread;
use super::super::machine::{OsEntropy, time};
use crate::clock::Clock;
use crate::error::EngineError;
use crate::net::Machine;

/// A value of this length may be a hole that took a body's place; bodies are longer.
const HOLE_BYTES: usize = 200;

struct TransportKey(SigningKey);

impl Signer for TransportKey {
    fn public(&self) -> VerifyKey {
        self.0.public()
    }
    fn sign(&self, id: &Hash) -> Signature {
        self.0.sign(id)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Failed(Box::new(error))
}

/// The rows, while the database's thread lends them.
#[derive(Debug, Clone)]
struct Lent {
    store: Arc<Mutex<Option<Store>>>,
    lease: PeerLease,
    open: bool,
    /// A body went in this transaction.
    dug: bool,
    /// The rows went: an erasure emptied them.
    lost: Arc<AtomicBool>,
}

impl Lent {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, hearth_store::StoreError>,
    ) -> Result<T, StoreError> {
        let mut place = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let store = place.as_mut().ok_or(StoreError::NoTransaction)?;
        work(store).map_err(failed)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, hearth_store::StoreError>,
    ) -> Result<T, StoreError> {
        if self.open {
            self.with(work)
        } else {
            Err(StoreError::NoTransaction)
        }
    }

    /// Whether the rows are still this relay's: an erasure empties them.
    fn is_lent(&self) -> Result<bool, StoreError> {
        self.with(|store| store.peer_lent_to(&self.lease))
    }

    fn visit(
        &self,
        (account, space): (&AccountId, Space),
        from: &[u8],
        descending: bool,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.with(|store| {
            store.peer_scan(&account.0, space as u8, from, descending, &mut |key, value| {
                visit(key, value).is_continue()
            })
        })
    }
}

impl Rows for Lent {
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.open {
            return Err(StoreError::NoTransaction);
        }
        let lease = self.lease;
        let lent = self.with(|store| {
            store.peer_begin()?;
            store.peer_lent_to(&lease)
        })?;
        if !lent {
            self.with(Store::peer_rollback)?;
            self.lost.store(true, Ordering::Relaxed);
            return Err(StoreError::NoTransaction);
        }
        self.open = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.write(Store::peer_commit)?;
        self.open = false;
        if std::mem::take(&mut self.dug) && !self.with(Store::peer_settle)? {
            // The device's own erasure waits for the same log, and confirms nothing before.
            tracing::debug!("the log is read by another program: what went from the relay is still in it");
        }
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StoreError> {
        (self.open, self.dug) = (false, false);
        self.with(Store::peer_rollback)
    }

    fn get(&self, account: &AccountId, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|store| store.peer_get(&account.0, space as u8, key))
    }

    fn put(&mut self, account: &AccountId, space: Space, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if key.len() > hearth_relay::store::MAX_KEY_BYTES
            || value.len() > hearth_relay::store::MAX_VALUE_BYTES
        {
            return Err(StoreError::TooLarge);
        }
        self.dug |= space == Space::Items && value.len() < HOLE_BYTES;
        self.write(|store| store.peer_put(&account.0, space as u8, key, value))
    }

    fn delete(&mut self, account: &AccountId, space: Space, key: &[u8]) -> Result<(), StoreError> {
        self.dug |= space == Space::Items;
        self.write(|store| store.peer_delete(&account.0, space as u8, key))
    }

    fn scan(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.visit((account, space), from, false, visit)
    }

    fn scan_back(
        &self,
        account: &AccountId,
        space: Space,
        from: &[u8],
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.visit((account, space), from, true, visit)
    }

    fn purge(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.dug = true;
        self.write(|store| store.peer_purge(&account.0))
    }

    fn scrub(&mut self) -> Result<(), StoreError> {
        self.with(Store::peer_settle).map(|_| ())
    }
}

/// What is lent goes back, whatever happens in between.
struct Loan<'a> {
    place: &'a mut Option<Store>,
    slot: Arc<Mutex<Option<Store>>>,
}

impl<'a> Loan<'a> {
    fn new(place: &'a mut Option<Store>, slot: Arc<Mutex<Option<Store>>>) -> Self {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = place.take();
        Self { place, slot }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut store = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(store) = &mut store {
            // After a panic one may be open.
            store.peer_rollback().ok();
        }
        *self.place = store;
    }
}

/// The relay, each of whose steps happens on the database's thread.
pub(super) struct PeerMachine {
    store: StoreThread,
    runtime: tokio::runtime::Handle,
    clock: Arc<dyn Clock>,
    seed: Secret,
    /// The account, as far as this device knew it when it began to serve.
    history: Vec<ControlEntry>,
    relay: Option<Relay<Lent>>,
    slot: Arc<Mutex<Option<Store>>>,
    lost: Arc<AtomicBool>,
    sessions: BTreeSet<SessionId>,
}

impl PeerMachine {
    pub(super) fn new(
        store: StoreThread,
        clock: Arc<dyn Clock>,
        seed: Secret,
        history: Vec<ControlEntry>,
    ) -> Self {
        Self {
            store,
            runtime: tokio::runtime::Handle::current(),
            clock,
            seed,
            history,
            relay: None,
            slot: Arc::default(),
            lost: Arc::default(),
            sessions: BTreeSet::new(),
        }
    }

    /// Begins anew: the rows went, or the account has grown elsewhere. Who is connected calls again.
    pub(super) fn renew(&mut self, history: Option<Vec<ControlEntry>>) {
        if let Some(history) = history {
            self.history = history;
        }
        self.lost.store(true, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        time(self.clock.now_ms())
    }

    /// Ends what was begun over rows that are gone.
    fn close_lost(&mut self, outputs: &mut Vec<Output>) {
        if self.lost.swap(false, Ordering::Relaxed) {
            self.relay = None;
            outputs.extend(
                std::mem::take(&mut self.sessions)
                    .into_iter()
                    .map(|to| Output::Close {
                        to,
                        code: ErrorCode::Busy,
                    }),
            );
        }
    }

    /// Work on the relay. None: its rows went, and nothing was done.
    fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Relay<Lent>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let relay = self.relay.take();
        let (slot, lost) = (Arc::clone(&self.slot), Arc::clone(&self.lost));
        let (seed, history) = (self.seed.clone(), self.history.clone());
        let worked = self.runtime.block_on(self.store.run_on_place(move |place| {
            let loan = Loan::new(place, Arc::clone(&slot));
            let mut relay = match relay {
                Some(relay) => relay,
                None => begin(&slot, &lost, &seed, &history)?,
            };
            let result = match relay.store().is_lent() {
                Ok(true) => work(&mut relay).map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            };
            drop(loan);
            Ok((relay, result))
        }));
        let (relay, result) = worked.map_err(failed)?;
        self.relay = Some(relay);
        if matches!(result, Ok(None)) {
            self.lost.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// A relay over the rows, with the account in it.
fn begin(
    slot: &Arc<Mutex<Option<Store>>>,
    lost: &Arc<AtomicBool>,
    seed: &Secret,
    history: &[ControlEntry],
) -> Result<Relay<Lent>, EngineError> {
    let internal = |error: &dyn std::fmt::Display| EngineError::Internal(format!("the local relay: {error}"));
    let mut again = false;
    loop {
        let mut lease = [0; 16];
        OsEntropy.fill(&mut lease);
        let lent = Lent {
            store: Arc::clone(slot),
            lease,
            open: false,
            dug: false,
            lost: Arc::clone(lost),
        };
        lent.with(|store| store.peer_lend(&lease))
            .map_err(|error| internal(&error))?;
        let key = SigningKey::from_seed(seed).map_err(|error| internal(&error))?;
        let mut relay = Relay::new(lent.clone(), Config::peer(Box::new(TransportKey(key))))
            .map_err(|error| internal(&error))?;
        match relay.adopt(history) {
            Ok(()) => return Ok(relay),
            // It holds another branch of the account, which lost, or rows that make no sense: the devices bring it again.
            Err(_) if !again => {
                lent.with(Store::peer_forget).map_err(|error| internal(&error))?;
                again = true;
            }
            Err(error) => return Err(internal(&error)),
        }
    }
}

/// An input that owns its bytes.
enum Owned {
    Connected([u8; 32], [u8; 32]),
    Frame(Vec<u8>),
    Batch(Vec<u8>),
    Drained,
    Closed,
}

impl Machine for PeerMachine {
    // Each step is a transaction of its own: a handful of devices don't need groups.
    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn step(&mut self, session: SessionId, input: Input<'_>) -> Result<Vec<Output>, StoreError> {
        let mut closed = Vec::new();
        self.close_lost(&mut closed);
        let owned = match input {
            Input::Connected {
                transport_key,
                exporter,
            } => {
                self.sessions.insert(session);
                Owned::Connected(transport_key, exporter)
            }
            Input::Frame(bytes) => Owned::Frame(bytes.to_vec()),
            Input::Batch(bytes) => Owned::Batch(bytes.to_vec()),
            Input::Drained => Owned::Drained,
            Input::Closed => {
                self.sessions.remove(&session);
                Owned::Closed
            }
        };
        if !self.sessions.contains(&session) && !matches!(owned, Owned::Closed) {
            return Ok(closed);
        }
        let now_ms = self.now_ms();
        let stepped = self.with(move |relay| {
            let input = match &owned {
                Owned::Connected(transport_key, exporter) => Input::Connected {
                    transport_key: *transport_key,
                    exporter: *exporter,
                },
                Owned::Frame(bytes) => Input::Frame(bytes),
                Owned::Batch(bytes) => Input::Batch(bytes),
                Owned::Drained => Input::Drained,
                Owned::Closed => Input::Closed,
            };
            relay.step(session, input, now_ms, &mut OsEntropy)
        })?;
        let mut outputs = stepped.unwrap_or_default();
        for output in &outputs {
            if let Output::Close { to, .. } = output {
                self.sessions.remove(to);
            }
        }
        self.close_lost(&mut outputs);
        closed.append(&mut outputs);
        Ok(closed)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn tick(&mut self, urgently: bool) -> Result<Vec<Output>, StoreError> {
        let mut outputs = Vec::new();
        self.close_lost(&mut outputs);
        let now_ms = self.now_ms();
        let due = self
            .relay
            .as_ref()
            .and_then(Relay::wants_tick)
            .is_some_and(|at| at <= now_ms);
        if due && !urgently {
            let ticked = self.with(move |relay| relay.tick(now_ms, &mut OsEntropy))?;
            outputs.extend(ticked.into_iter().flatten());
            self.close_lost(&mut outputs);
        }
        Ok(outputs)
    }
}

/// A relay that knows no account and keeps nothing: a place for two devices to pair in.
pub(super) struct MailboxMachine {
    relay: Relay<MemoryStore>,
    clock: Arc<dyn Clock>,
}

impl MailboxMachine {
    pub(super) fn new(clock: Arc<dyn Clock>, seed: &Secret) -> Result<Self, EngineError> {
        let internal = |error: String| EngineError::Internal(error);
        let key = SigningKey::from_seed(seed).map_err(|error| internal(error.to_string()))?;
        let relay = Relay::new(MemoryStore::new(), Config::peer(Box::new(TransportKey(key))))
            .map_err(|error| internal(error.to_string()))?;
        Ok(Self { relay, clock })
    }
}

impl Machine for MailboxMachine {
    fn begin(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn step(&mut self, session: SessionId, input: Input<'_>) -> Result<Vec<Output>, StoreError> {
        let now_ms = time(self.clock.now_ms());
        self.relay.step(session, input, now_ms, &mut OsEntropy)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn tick(&mut self, _: bool) -> Result<Vec<Output>, StoreError> {
        let now_ms = time(self.clock.now_ms());
        self.relay.tick(now_ms, &mut OsEntropy)
    }
}

#[cfg(test)]
mod tests;
