//! The relay with what it must not have of its own: a store, a clock, randomness, and an operator.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use hearth_protocol::entropy::Entropy;
use hearth_protocol::hash::signed_bytes;
use hearth_protocol::id::{AccountId, Hash, Signature, VerifyKey};
use hearth_relay::{Input, Output, Relay, SessionId, Signer, Store, StoreError};
use hearth_transport::Machine;
use ring::signature::Ed25519KeyPair;

use crate::admission::Admission;
use crate::config::Config;
use crate::identity::ServerKey;
use crate::metrics::Health;
use crate::store::SqliteStore;

/// Milliseconds since 1970-01-01 UTC, by this machine's clock.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// The operating system's randomness. A system that has none can't go on.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
    }
}

impl hearth_relay::Admission for Admission {
    fn admits(&self, account: &AccountId, invitation: &str, now_ms: u64) -> bool {
        Self::admits(self, account, invitation, now_ms)
    }
}

struct KeySigner {
    pair: Ed25519KeyPair,
    public: VerifyKey,
}

impl Signer for KeySigner {
    fn public(&self) -> VerifyKey {
        self.public
    }

    fn sign(&self, id: &Hash) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(&signed_bytes(id)).as_ref());
        Signature(bytes)
    }
}

/// What a relay is made of, so that it can be made again.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The database's file.
    pub database: PathBuf,
    /// The server's key.
    pub key: ServerKey,
    /// Settings.
    pub config: Config,
}

impl Parts {
    /// A relay over the database as it is.
    pub fn relay(&self) -> Result<Relay<SqliteStore>, StoreError> {
        let store = SqliteStore::open_file(&self.database, self.config.reserve_bytes)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(self.key.seed())
            .map_err(|_| StoreError::Damaged("the server's key is no Ed25519 key"))?;
        let signer = KeySigner {
            pair,
            public: self.key.public(),
        };
        let mut config = hearth_relay::Config::server(Box::new(signer));
        config.admission = Box::new(Admission::new(self.config.accounts.clone(), &self.key));
        config.limits = self.config.account_limits;
        config.backups_kept_ms = self.config.backups_kept.as_millis() as u64;
        Relay::new(store, config)
    }
}

/// What the host drives.
pub(crate) struct Server {
    parts: Parts,
    /// None after a failure that the database hasn't recovered from yet.
    relay: Option<Relay<SqliteStore>>,
    /// A step has failed: nothing of its group counts.
    broken: bool,
    /// Receipts wait until then.
    scrub_again_ms: u64,
    /// An account was deleted, and its bytes may still be in the log of changes. At the start nobody knows.
    purged: bool,
    /// The newest backup, and the accounts that have yet to be told of it.
    backup: Option<(u64, Vec<AccountId>)>,
}

/// An operator who makes no backups here for so long makes them in another way, or none: then there is none to wait for.
const WITHOUT_BACKUP_MS: u64 = 7 * 24 * 3_600_000;
/// Accounts that are told of a backup at a time: what they covered is deleted, while everybody waits.
const ACCOUNTS_AT_ONCE: usize = 8;
/// How long receipts wait when somebody else reads the database.
const SCRUB_AGAIN_MS: u64 = 1_000;

impl Server {
    pub(crate) fn new(parts: Parts) -> Result<Self, StoreError> {
        let relay = Some(parts.relay()?);
        Ok(Self {
            parts,
            relay,
            broken: false,
            scrub_again_ms: 0,
            purged: true,
            backup: None,
        })
    }

    pub(crate) fn health(&mut self) -> Health {
        let Ok(relay) = self.relay() else {
            return Health {
                alive: true,
                ..Health::default()
            };
        };
        let store = relay.store();
        Health {
            alive: true,
            ready: !store.reserve().only_reserve_left(),
            accounts: store.account_count().unwrap_or(0),
            database_bytes: store.file_bytes(),
            free_bytes: store.reserve().free_bytes(),
        }
    }

    fn relay(&mut self) -> Result<&mut Relay<SqliteStore>, StoreError> {
        if self.relay.is_none() {
            self.relay = Some(self.parts.relay()?);
        }
        self.relay.as_mut().ok_or(StoreError::Damaged("no relay"))
    }

    /// What the operator asked for on the database's side door.
    fn operate(&mut self) -> Result<Vec<Output>, StoreError> {
        let mut outputs = Vec::new();
        for account in self.relay()?.store().requested_purges()? {
            let relay = self.relay()?;
            match relay.purge(&account, now_ms(), &mut SystemEntropy) {
                Ok((known, closing)) => {
                    outputs.extend(closing);
                    relay.store().purge_done(&account)?;
                    if known {
                        self.purged = true;
                        tracing::info!("an account was purged");
                    }
                }
                // It is tried again; what else is to be done doesn't wait for it.
                Err(error) => tracing::error!(%error, "an account can't be purged"),
            }
        }
        // If somebody reads just now, it is tried again: whoever asked for it may be gone.
        if self.purged && self.relay()?.store_mut().scrub().is_ok() {
            self.purged = false;
        }
        self.look_for_backup()?;
        Ok(outputs)
    }

    /// Lets go what accounts with one device keep until there is a backup.
    fn look_for_backup(&mut self) -> Result<(), StoreError> {
        if self.backup.is_none() {
            let now = now_ms();
            let store = self.relay()?.store();
            match store.newest_backup()? {
                Some((begun_ms, false)) => {
                    self.backup = Some((begun_ms, store.account_ids()?));
                }
                // A clock that was set back counts as an old backup.
                Some((begun_ms, true)) if now.abs_diff(begun_ms) < WITHOUT_BACKUP_MS => {}
                Some(_) => store.backup_begun(now)?,
                None => {
                    store.backup_begun(now)?;
                    store.backup_told(now)?;
                }
            }
        }
        let Some((begun_ms, accounts)) = &mut self.backup else {
            return Ok(());
        };
        let begun_ms = *begun_ms;
        let told = accounts.split_off(accounts.len().saturating_sub(ACCOUNTS_AT_ONCE));
        if told.is_empty() {
            self.backup = None;
            return self.relay()?.store().backup_told(begun_ms);
        }
        for account in told {
            self.relay()?.backup_made(&account, begun_ms)?;
        }
        Ok(())
    }
}

impl Machine for Server {
    fn begin(&mut self) -> Result<(), StoreError> {
        let begun = self.relay()?.store_mut().begin_group();
        if begun.is_err() {
            // All sessions are closed: the relay mustn't remember them.
            self.relay = None;
        }
        begun
    }

    fn step(&mut self, session: SessionId, input: Input<'_>) -> Result<Vec<Output>, StoreError> {
        let stepped = self.relay()?.step(session, input, now_ms(), &mut SystemEntropy);
        self.broken |= stepped.is_err();
        stepped
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let committed = if std::mem::take(&mut self.broken) {
            Err(StoreError::Damaged("a step failed"))
        } else {
            self.relay()?.store_mut().end_group()
        };
        if committed.is_err() {
            // The relay may remember what the database doesn't. An open transaction falls with the connection.
            self.relay = None;
        }
        committed
    }

    fn tick(&mut self, urgently: bool) -> Result<Vec<Output>, StoreError> {
        let now = now_ms();
        let scrub_again_ms = self.scrub_again_ms;
        let relay = self.relay()?;
        let wanted = relay.wants_tick().filter(|at| *at <= now);
        // Receipts are owed. They wait while somebody reads, such as a backup; all else that waits is in no hurry then.
        let busy = wanted == Some(0)
            && (now < scrub_again_ms
                || (relay.store_mut().scrub().is_err() && relay.store().scrub_was_busy()));
        let mut outputs = Vec::new();
        if busy {
            if now >= scrub_again_ms {
                self.scrub_again_ms = now + SCRUB_AGAIN_MS;
            }
        } else if wanted.is_some() {
            outputs = relay.tick(now, &mut SystemEntropy)?;
        }
        if !urgently {
            outputs.extend(self.operate()?);
        }
        Ok(outputs)
    }
}
