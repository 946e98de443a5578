//! The server: what becomes of its process, its disk and its backups.

use hearth_protocol::control::ServerIdentity;
use hearth_protocol::hash::Signed;
use hearth_protocol::hash::Statement;
use hearth_protocol::id::{Hash, Signature, VerifyKey};
use hearth_relay::testing::Faulty;
use hearth_relay::{Config, MemoryStore, Relay, SessionId, Signer};
use hearth_sync::device::Peer;
use hearth_sync::keys::SigningKey;
use hearth_sync::secret::Secret;

use super::World;

/// What a server keeps: rows in memory, on a disk that can be full.
pub type ServerStore = Faulty<MemoryStore>;

pub(super) struct ServerKey(pub(super) SigningKey);

impl Signer for ServerKey {
    fn public(&self) -> VerifyKey {
        self.0.public()
    }
    fn sign(&self, id: &Hash) -> Signature {
        self.0.sign(id)
    }
}

pub(super) fn new_store() -> ServerStore {
    Faulty::new(MemoryStore::new())
}

impl World {
    /// The server's key, for a server that lies.
    pub fn server_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.server_seed).unwrap()
    }

    /// A statement as the server signs it.
    pub fn signed_by_server<T: Statement>(&self, statement: T) -> Signed<T> {
        self.server_key()
            .sign_statement(&self.device(0).account_id(), statement)
    }

    fn cut_all(&mut self) {
        let sessions: Vec<SessionId> = self.connections.keys().copied().collect();
        for session in sessions {
            self.drop_connection(session);
        }
    }

    /// The server's process ends and begins again, with this store; it doesn't say that it was another one before.
    pub fn put_store(&mut self, store: ServerStore) {
        self.cut_all();
        let config = Config::server(Box::new(ServerKey(self.server_key())));
        self.relays[0] = Relay::new(store, config).unwrap();
        self.log("server begins", &[]);
    }

    /// The server's store comes back from a backup, as its operator says.
    pub fn restore_server(&mut self, store: ServerStore) {
        self.put_store(store);
        self.relays[0].restored().unwrap();
        // Who has lost it too, and was the only one, can't bring it again.
        self.kept.clear();
        self.log("server restored", &[]);
    }

    /// A second server with the same key, that goes on from this store: whoever calls it sees another view.
    pub fn second_view(&mut self, store: ServerStore) -> usize {
        let config = Config::server(Box::new(ServerKey(self.server_key())));
        self.relays.push(Relay::new(store, config).unwrap());
        self.peers.push(Peer::Server);
        self.relays.len() - 1
    }

    /// Another server, with a key of its own and nothing on it, which devices call once the account has moved there: its place among the relays, and what a control log names.
    pub fn another_server(&mut self) -> (usize, ServerIdentity) {
        let key = SigningKey::from_seed(&Secret::random(&mut self.random)).unwrap();
        let server = ServerIdentity {
            key: key.public(),
            endpoint: format!("server:{}", self.relays.len() + 1).try_into().unwrap(),
        };
        let config = Config::server(Box::new(ServerKey(key)));
        self.relays.push(Relay::new(new_store(), config).unwrap());
        self.peers.push(Peer::Server);
        self.addresses.insert(server.key, self.relays.len() - 1);
        (self.relays.len() - 1, server)
    }

    /// Lets a node serve others on the local network: the relay to call.
    pub fn serve(&mut self, node: usize) -> usize {
        let device = self.device(node);
        let key = SigningKey::from_seed(&device.keychain().transport).unwrap();
        let (peer, history) = (Peer::Device(key.public()), device.control_log().to_vec());
        let mut relay = Relay::new(new_store(), Config::peer(Box::new(ServerKey(key)))).unwrap();
        relay.adopt(&history).unwrap();
        self.relays.push(relay);
        self.peers.push(peer);
        self.relays.len() - 1
    }

    /// A node's relay for the local network begins again with this store.
    pub fn put_peer_store(&mut self, relay: usize, node: usize, store: ServerStore) {
        self.cut_all();
        let device = self.device(node);
        let key = SigningKey::from_seed(&device.keychain().transport).unwrap();
        let history = device.control_log().to_vec();
        self.relays[relay] = Relay::new(store, Config::peer(Box::new(ServerKey(key)))).unwrap();
        self.relays[relay].adopt(&history).unwrap();
        self.log("peer begins", &[]);
    }

    /// What befalls the server by itself.
    pub(super) fn server_faults(&mut self) {
        if self.full_until != 0 && self.events >= self.full_until {
            self.full_until = 0;
            self.relays[0].store_mut().writes_left = None;
            self.log("server has room", &[]);
        }
        if self.full_until == 0 && self.random.once_in(self.faults.server_full) {
            self.full_until = self.events + 1 + self.random.below(40) as u64;
            self.relays[0].store_mut().writes_left = Some(self.random.below(30) as u64);
            self.log("server full", &[]);
        }
        if self.random.once_in(self.faults.server_crash) {
            let mut store = self.relays[0].store().clone();
            (store.writes_left, self.full_until) = (None, 0);
            self.put_store(store);
        }
    }

    /// All faults end, and the server's disk has room again.
    pub fn no_more_faults(&mut self) {
        self.faults = super::Faults::default();
        self.full_until = 0;
        self.relays[0].store_mut().writes_left = None;
    }
}
