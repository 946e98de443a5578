//! What whoever runs a relay decides.

use hearth_protocol::SUPPORTED_VERSIONS;
use hearth_protocol::id::{AccountId, Hash, Signature, VerifyKey};

/// The relay's own key: a server's identity, or the transport key of a device that serves on the local network. It proves
/// who speaks and opens nothing.
pub trait Signer {
    /// The public half.
    fn public(&self) -> VerifyKey;

    /// Ed25519 over [`hearth_protocol::hash::signed_bytes`] of the id.
    fn sign(&self, id: &Hash) -> Signature;
}

/// Who may open an account.
pub trait Admission {
    /// Whether this account may be opened. A code that isn't empty is used up by it: the relay refuses it to others.
    fn admits(&self, account: &AccountId, invitation: &str, now_ms: u64) -> bool;
}

/// Anybody may open an account.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anybody;

impl Admission for Anybody {
    fn admits(&self, _: &AccountId, _: &str, _: u64) -> bool {
        true
    }
}

/// Nobody may: a peer on the local network, or a server that is full.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Admission for Nobody {
    fn admits(&self, _: &AccountId, _: &str, _: u64) -> bool {
        false
    }
}

/// As what a relay serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A server: named in the control log, gives receipts for erasures.
    Server,
    /// A device that serves another one on the local network: for accounts that were put in with
    /// [`crate::Relay::adopt`]; gives no receipts.
    Peer,
}

/// What one account may use. Erasures, acknowledgements and control entries are exempt from the quota, and have limits of
/// their own that nobody honest meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of sealed bodies and shards of an account; 0: no limit.
    pub quota_bytes: u64,
    /// Requests of an account in a second, in the long run.
    pub requests_per_s: u32,
    /// Requests that may come at once.
    pub request_burst: u32,
    /// Bytes that an account may send in a second, in the long run.
    pub bytes_per_s: u64,
    /// Bytes that may come at once; at least 8 MiB, or else no batch of the largest size ever passes.
    pub byte_burst: u64,
    /// Items (envelopes and signed holes; 4 plain holes count as one) of an account in a second, in the long run: each
    /// costs a check of a signature, about 50 µs, and a plain hole its place.
    pub items_per_s: u32,
    /// Items that may come at once.
    pub item_burst: u32,
    /// What is exempt from the rates above (erasures, acknowledgements, vectors), of one device in a second, in the long
    /// run. A large erasure, and an answer that needs the erased set hashed anew, counts more than once.
    pub exempt_per_s: u32,
    /// The same at once.
    pub exempt_burst: u32,
    /// Bytes of it in a second, in the long run.
    pub exempt_bytes_per_s: u64,
    /// Bytes of it at once.
    pub exempt_byte_burst: u64,
    /// Bytes of erasures and acknowledgements that are kept of an account.
    pub erasure_bytes: u64,
    /// Items of one device that aren't folded away, over all its logs. What is left of one that is gone, a hole, takes 32
    /// to 150 bytes, and counts towards no quota.
    pub unfolded: u64,
    /// Bytes that an account may write in a day while only the store's reserve is left.
    pub reserve_bytes: u64,
    /// Control entries of one device in a day; revocations and recoveries come beside them.
    pub entries_per_day: u32,
    /// Accounts that may be opened in an hour.
    pub opens_per_hour: u32,
    /// Pairing mailboxes at a time, of all accounts: 256 KiB each at the most.
    pub mailboxes: usize,
    /// Accounts that stay in memory when none of their devices is connected.
    pub accounts_cached: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            quota_bytes: 0,
            requests_per_s: 200,
            request_burst: 2_000,
            bytes_per_s: 32 << 20,
            byte_burst: 256 << 20,
            items_per_s: 4_000,
            item_burst: 40_000,
            exempt_per_s: 100,
            exempt_burst: 20_000,
            exempt_bytes_per_s: 256 << 10,
            exempt_byte_burst: 128 << 20,
            erasure_bytes: 256 << 20,
            unfolded: 1 << 20,
            reserve_bytes: 8 << 20,
            entries_per_day: 256,
            opens_per_hour: 1_000,
            mailboxes: 1_024,
            accounts_cached: 1_024,
        }
    }
}

/// Everything a relay is given beside its store.
pub struct Config {
    /// Server or peer.
    pub role: Role,
    /// Its key.
    pub signer: Box<dyn Signer + Send>,
    /// Who may open accounts.
    pub admission: Box<dyn Admission + Send>,
    /// What an account may use.
    pub limits: Limits,
    /// How long the operator's backups are kept: a receipt says until when an erased body may still be in one.
    pub backups_kept_ms: u64,
    /// The protocol versions it speaks, ascending.
    pub versions: &'static [u16],
    /// Whether holes behind the newest checkpoint but one are folded away. Off until devices take what then comes out of
    /// its chain (`Batch::Detached`): a device that doesn't would miss all that was written before.
    pub folds: bool,
}

impl Config {
    /// A server that lets anybody in, keeps no backups and has the default limits.
    pub fn server(signer: Box<dyn Signer + Send>) -> Self {
        Self {
            role: Role::Server,
            signer,
            admission: Box::new(Anybody),
            limits: Limits::default(),
            backups_kept_ms: 0,
            versions: SUPPORTED_VERSIONS,
            folds: false,
        }
    }

    /// A device that serves on the local network. The key is its transport key.
    pub fn peer(signer: Box<dyn Signer + Send>) -> Self {
        Self {
            role: Role::Peer,
            admission: Box::new(Nobody),
            ..Self::server(signer)
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Config")
            .field("role", &self.role)
            .field("key", &self.signer.public())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
