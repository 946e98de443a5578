//! The server: the real relay over its real SQLite store, on a disk that fails.

use std::fs;

use hearth_faults::{Cut, Disk};
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{Handle, Hash, Signature, VerifyKey};
use hearth_relay::{Config, Input, Output, Relay, SessionId, Signer, StoreError};
use hearth_sync::keys::SigningKey;
use hearth_sync::secret::Secret;
use hearth_sync_server::SqliteStore;
use hearth_sync_server::store::DATABASE;
use tempfile::TempDir;

use super::random::Seeded;

struct ServerKey(SigningKey);

impl Signer for ServerKey {
    fn public(&self) -> VerifyKey {
        self.0.public()
    }
    fn sign(&self, id: &Hash) -> Signature {
        self.0.sign(id)
    }
}

pub struct Server {
    pub folder: TempDir,
    pub disk: Disk,
    relay: Option<Relay<SqliteStore>>,
    seed: Secret,
    pub image: Option<Vec<u8>>,
}

impl Server {
    pub fn new(random: &mut Seeded) -> Server {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let disk = Disk::of(&folder.path().join("data")).unwrap();
        Server {
            folder,
            disk,
            relay: None,
            seed: Secret::random(random),
            image: None,
        }
    }

    pub fn key(&self) -> VerifyKey {
        SigningKey::from_seed(&self.seed).unwrap().public()
    }

    fn open(&mut self) -> Result<&mut Relay<SqliteStore>, StoreError> {
        if self.relay.is_none() {
            let store = SqliteStore::open(&self.folder.path().join("data"), 0)?;
            let key = ServerKey(SigningKey::from_seed(&self.seed).unwrap());
            self.relay = Some(Relay::new(store, Config::server(Box::new(key)))?);
        }
        self.relay.as_mut().ok_or(StoreError::Damaged("no relay"))
    }

    pub fn is_up(&self) -> bool {
        self.relay.is_some()
    }

    /// Ends the process; what it wrote stays, or what a power cut leaves of it.
    pub fn end(&mut self, cut: Cut, random: &mut Seeded) {
        self.disk.kill();
        self.relay = None;
        self.disk
            .restart(cut, &mut |limit| random.number() % limit)
            .unwrap();
    }

    /// A group of one step, as the host makes it: nothing is said before it is durable. After an error nothing of it
    /// counts, and every session is over.
    pub fn step(
        &mut self,
        session: u64,
        input: Input<'_>,
        now_ms: u64,
        random: &mut Seeded,
    ) -> Result<Vec<Output>, StoreError> {
        self.group(
            |relay, random| relay.step(SessionId(session), input, now_ms, random),
            random,
        )
    }

    pub fn tick(&mut self, now_ms: u64, random: &mut Seeded) -> Result<Vec<Output>, StoreError> {
        let made = self.open().and_then(|relay| relay.tick(now_ms, random));
        if made.is_err() {
            self.relay = None;
        }
        made
    }

    fn group(
        &mut self,
        work: impl FnOnce(&mut Relay<SqliteStore>, &mut Seeded) -> Result<Vec<Output>, StoreError>,
        random: &mut Seeded,
    ) -> Result<Vec<Output>, StoreError> {
        let made = self.open().and_then(|relay| {
            relay.store_mut().begin_group()?;
            let outputs = work(relay, random)?;
            relay.store_mut().end_group()?;
            Ok(outputs)
        });
        if made.is_err() {
            self.relay = None;
        }
        made
    }

    pub fn wants_tick(&self) -> Option<u64> {
        self.relay.as_ref().and_then(Relay::wants_tick)
    }

    pub fn back_up(&mut self) {
        let target = self.folder.path().join("backup.db");
        _ = fs::remove_file(&target);
        SqliteStore::copy_to(&self.folder.path().join("data"), &target).unwrap();
        self.image = Some(fs::read(&target).unwrap());
    }

    /// The operator puts the backup back after the disk was lost.
    pub fn restore(&mut self) -> bool {
        let Some(image) = &self.image else { return false };
        self.relay = None;
        let data = self.folder.path().join("data");
        for suffix in ["-wal", "-shm"] {
            _ = fs::remove_file(data.join(format!("{DATABASE}{suffix}")));
        }
        fs::write(data.join(DATABASE), image).unwrap();
        self.disk.replaced();
        self.open().unwrap().restored().unwrap();
        true
    }

    /// Everything that is named by erasures here: handles and marks.
    pub fn erased(&mut self) -> Vec<Handle> {
        let relay = self.open().unwrap();
        let mut all = Vec::new();
        for account in relay.accounts().unwrap() {
            let (_, erasures) = relay.erasures(&account.account, 0).unwrap();
            all.extend(
                erasures
                    .iter()
                    .flat_map(|erase| erase.statement.handles.iter().copied()),
            );
        }
        all
    }

    pub fn check(&mut self) -> Vec<String> {
        self.open().unwrap().store().check().unwrap()
    }
}

/// Bytes that name a message in the trace.
pub fn digest(bytes: &[u8]) -> Hash {
    sha256(bytes)
}
