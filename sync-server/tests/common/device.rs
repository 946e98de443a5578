//! A device, as far as a server can tell: it signs what it is told to, and seals nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hearth_protocol::codec::{List, Map, Set, Wire};
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlStatement, Epoch, EpochWraps, Genesis, RecoveryKeys,
    ServerIdentity, Wrap, genesis_approval_id, wraps_hash,
};
use hearth_protocol::envelope::{
    Batch, Covers, Envelope, Fields, HeaderVersion, Item, Kind, Nothing, Run, Sealed, next_link, position_id,
};
use hearth_protocol::erasure::{Erase, Receipt, erased_root};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, Statement, signed_bytes, verify};
use hearth_protocol::id::{
    AccountId, AgreementKey, DeviceKeys, Handle, Hash, InstanceToken, KeyRef, Link, LogId, Salt, ShortSalt,
    Signature, TimeMs, VerifyKey,
};
use hearth_protocol::message::{
    Applied, Fetch, Hello, ItemRange, OpenAccount, Priority, PushErase, Range, Reply, ReplyFrame, Request,
    RequestFrame, Stored, Welcome, session_id,
};
use hearth_protocol::registry::{Fixed, RegistryUpdate, Table};
use hearth_protocol::statement::{AnyStatement, LogOpen};
use hearth_protocol::vector::{Head, vector_digest};
use hearth_transport::{Connection, Event};
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::{Process, call, next};

const AT: TimeMs = TimeMs {
    ms: 1_750_000_000_000,
};

pub(crate) struct Device {
    seed: u8,
    server: VerifyKey,
    entries: Vec<ControlEntry>,
    registry: RegistryUpdate,
    wraps: EpochWraps,
    pub(crate) account: AccountId,
    log: LogId,
    pub(crate) head: Head,
    erases: u64,
    erased: Vec<Hash>,
    cursor: u64,
    instance: InstanceToken,
    session: Option<Session>,
}

struct Session {
    connection: Connection,
    asked: u32,
    /// What nobody asked for.
    replies: Vec<Reply>,
    batches: Vec<Batch>,
}

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn public(seed: u8) -> VerifyKey {
    VerifyKey(key(seed).public_key().as_ref().try_into().unwrap())
}

fn sign(seed: u8, id: &Hash) -> Signature {
    Signature(key(seed).sign(&signed_bytes(id)).as_ref().try_into().unwrap())
}

/// The log key has the seed, the transport key the one after it, the phrase the one after that.
fn keys(seed: u8) -> DeviceKeys {
    DeviceKeys {
        log: public(seed),
        transport: public(seed + 1),
        agreement: AgreementKey([seed; 32]),
    }
}

fn entry(account: &AccountId, seed: u8, number: u64, previous: Hash, action: Action) -> ControlEntry {
    let statement = ControlStatement {
        number,
        previous,
        author: keys(seed).device_id(),
        at: AT,
        action,
    };
    let mut entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    entry.signature = sign(seed, &entry.id(account));
    entry
}

impl Device {
    /// A device with an account that isn't opened yet, for this server.
    pub(crate) fn new(seed: u8, server: &Process) -> Self {
        let recovery = RecoveryKeys {
            signing: public(seed + 2),
            agreement: AgreementKey([seed + 2; 32]),
        };
        let endpoint = server.address.endpoint.to_string().try_into().unwrap();
        let unapproved = Genesis {
            nonce: [seed; 16],
            device: keys(seed),
            recovery,
            server: Some(ServerIdentity {
                key: server.address.key,
                endpoint,
            }),
            approval: Signature([0; 64]),
        };
        let nothing = AccountId([0; 32]);
        let genesis = |genesis: Genesis| {
            let action = Action::Genesis(Box::new(genesis));
            entry(&nothing, seed, 0, Hash::ZERO, action)
        };
        let approval = sign(
            seed + 2,
            &genesis_approval_id(&genesis(unapproved.clone()).statement),
        );
        let genesis = genesis(Genesis {
            approval,
            ..unapproved
        });
        let account = genesis.opens().unwrap();
        let device = keys(seed).device_id();
        let table = Table {
            epoch: 1,
            number: 1,
            previous: Hash::ZERO,
            author: device,
            folded: Map::default(),
            shards: Fixed::from_fn(|_| Hash::ZERO),
            salt: Salt([3; 16]),
            sealed: Box::new([4; 256 * 32 + 16]),
        };
        let registry = RegistryUpdate {
            table: Signed {
                signature: sign(seed, &table.id(&account)),
                statement: table,
            },
            shards: List::default(),
        };
        let wrap = |to| Wrap {
            to,
            encapsulated: [1; 32],
            sealed: [2; 48],
        };
        let wraps = EpochWraps {
            devices: Map::new([(device, wrap(keys(seed).agreement))]).unwrap(),
            recovery: wrap(recovery.agreement),
        };
        let epoch = Epoch {
            number: 1,
            membership: Account::open(&genesis).unwrap().membership(),
            commitment: Hash([1; 32]),
            wraps: wraps_hash(&account, &wraps),
            table: registry.table.id(&account),
            ends: List::default(),
            min_version: 1,
        };
        let epoch = entry(
            &account,
            seed,
            1,
            genesis.id(&account),
            Action::Epoch(Box::new(epoch)),
        );
        let opening = LogOpen {
            device,
            nonce: [seed; 16],
        };
        Self {
            seed,
            server: server.address.key,
            entries: vec![genesis, epoch],
            registry,
            wraps,
            account,
            log: opening.log(&account),
            head: Head {
                seq: 0,
                link: Link(opening.id(&account).0),
            },
            erases: 0,
            erased: Vec::new(),
            cursor: 0,
            instance: InstanceToken([0; 16]),
            session: None,
        }
    }

    /// Opens the account and the log.
    pub(crate) async fn open(&mut self, address: SocketAddr, invitation: &str) -> Result<(), ErrorCode> {
        self.connect(address).await;
        let open = OpenAccount {
            invitation: invitation.to_owned().try_into().unwrap(),
            entries: self.entries.clone().try_into().unwrap(),
            wraps: Box::new(self.wraps.clone()),
            registry: Box::new(self.registry.clone()),
        };
        self.accepted(Request::Open(Box::new(open))).await?;
        self.hello().await?;
        let opening = LogOpen {
            device: keys(self.seed).device_id(),
            nonce: [self.seed; 16],
        };
        let opening = Signed {
            signature: sign(self.seed, &opening.id(&self.account)),
            statement: opening,
        };
        self.accepted(Request::Statement(Box::new(AnyStatement::LogOpen(opening))))
            .await
    }

    pub(crate) async fn connect(&mut self, address: SocketAddr) {
        let connection = call(address, self.seed + 1).await.unwrap();
        self.session = Some(Session {
            connection,
            asked: 0,
            replies: Vec::new(),
            batches: Vec::new(),
        });
    }

    /// Says hello, checks the server's proof, and keeps the token.
    pub(crate) async fn hello(&mut self) -> Result<Welcome, ErrorCode> {
        let vector = match self.head.seq {
            0 => BTreeMap::new(),
            _ => BTreeMap::from([(self.log, self.head)]),
        };
        let device = keys(self.seed).device_id();
        let hello = Hello {
            versions: Set::new([1]).unwrap(),
            account: self.account,
            device,
            instance: self.instance,
            log: Some(self.log),
            vector: vector_digest(&self.account, &Map::new(vector).unwrap()),
            control: self.entries[1].id(&self.account),
            control_number: 1,
            erased_cursor: self.cursor,
            erased_root: erased_root(self.erased.clone()),
            table: self.registry.table.id(&self.account),
        };
        let welcome = match self.ask(Request::Hello(Box::new(hello))).await? {
            Reply::Welcome(welcome) => *welcome,
            Reply::Refused(refusal) => return Err(refusal.code),
            other => panic!("{other:?}"),
        };
        let exporter = self.session.as_ref().unwrap().connection.exporter;
        let proof = session_id(&self.account, &device, &exporter);
        verify(&self.server, &proof, &welcome.proof).unwrap();
        self.instance = welcome.instance;
        Ok(welcome)
    }

    /// Sends an envelope of a handle without waiting.
    pub(crate) fn send(&mut self, handle: u8, body: &[u8]) {
        let bytes = self.write(handle, body);
        self.session
            .as_ref()
            .unwrap()
            .connection
            .sender
            .batch(bytes, Priority::Live)
            .unwrap();
    }

    /// The next envelope of the log, as a batch.
    pub(crate) fn write(&mut self, handle: u8, body: &[u8]) -> Vec<u8> {
        self.write_as(Kind::Changes(Nothing {}), handle, body)
    }

    /// A snapshot of a handle that covers all of this log so far, as a batch.
    pub(crate) fn snapshot(&mut self, handle: u8, body: &[u8]) -> Vec<u8> {
        let covers = Covers {
            own: 1,
            others: Map::default(),
        };
        self.write_as(Kind::Snapshot(covers), handle, body)
    }

    fn write_as(&mut self, kind: Kind, handle: u8, body: &[u8]) -> Vec<u8> {
        let seq = self.head.seq + 1;
        let fields = Fields {
            kind,
            handle: Handle([handle; 16]),
            generation: 0,
            key: KeyRef([handle; 8]),
            new_key: None,
            erased: Map::default(),
            depends: Map::default(),
            salt: ShortSalt([handle; 8]),
        };
        let sealed = Sealed {
            fields,
            ciphertext: body.to_vec().try_into().unwrap(),
            signature: Signature([0; 64]),
        };
        let mut envelope = Envelope {
            version: HeaderVersion::V1,
            log: self.log,
            seq,
            sealed,
        };
        let hash = envelope.header_hash(&self.account, &self.head.link);
        let link = next_link(&self.head.link, &hash);
        envelope.sealed.signature = sign(self.seed, &position_id(&self.account, &self.log, seq, &link));
        self.head = Head { seq, link };
        let items = vec![Item::Envelope(envelope.sealed)].try_into().unwrap();
        Batch::Run(Run {
            version: HeaderVersion::V1,
            log: self.log,
            first_seq: seq,
            items,
        })
        .encode()
    }

    /// Sends a batch again.
    pub(crate) fn resend(&mut self, batch: Vec<u8>) {
        self.session
            .as_ref()
            .unwrap()
            .connection
            .sender
            .batch(batch, Priority::Live)
            .unwrap();
    }

    /// Waits until everything up to a number is stored; `None`: the connection ended before.
    pub(crate) async fn stored(&mut self, seq: u64) -> Option<Stored> {
        loop {
            match self.reply().await? {
                Reply::Stored(stored) if stored.seq >= seq => return Some(stored),
                Reply::Refused(refusal) => panic!("{refusal:?}"),
                _ => {}
            }
        }
    }

    /// Why what was sent isn't taken.
    pub(crate) async fn refused(&mut self) -> ErrorCode {
        loop {
            match self.reply().await.expect("a refusal") {
                Reply::Refused(refusal) => return refusal.code,
                Reply::Stored(stored) if !stored.holed.is_empty() => return stored.holed[0].code,
                _ => {}
            }
        }
    }

    /// Erases a handle, and waits for the receipt, whose signature is checked.
    pub(crate) async fn erase(&mut self, handle: u8) -> Receipt {
        self.erases += 1;
        let erase = Erase {
            log: self.log,
            number: self.erases,
            nonce: [self.erases as u8; 16],
            handles: Set::new([Handle([handle; 16])]).unwrap(),
            because: None,
            control: self.entries[1].id(&self.account),
            at: AT,
        };
        let id = erase.id(&self.account);
        let erase = Signed {
            signature: sign(self.seed, &id),
            statement: erase,
        };
        let push = PushErase {
            erase,
            registry: None,
        };
        self.accepted(Request::Erase(Box::new(push))).await.unwrap();
        self.erased.push(id);
        self.cursor += 1;
        loop {
            match self.reply().await.expect("a receipt") {
                Reply::Receipt(receipt) => {
                    receipt.verify(&self.account, &self.server).unwrap();
                    assert_eq!(receipt.statement.erase, id);
                    return receipt.statement;
                }
                Reply::Refused(refusal) => panic!("{refusal:?}"),
                _ => {}
            }
        }
    }

    /// What erased everything here has been applied.
    pub(crate) async fn applied(&mut self) -> Result<(), ErrorCode> {
        let applied = Applied {
            erased_cursor: self.cursor,
            erased_root: erased_root(self.erased.clone()),
        };
        self.accepted(Request::Applied(applied)).await
    }

    /// The bodies of the log from a number on; none for a hole.
    pub(crate) async fn fetch(&mut self, from: u64) -> Vec<Option<Vec<u8>>> {
        let range = ItemRange {
            log: self.log,
            range: Range { from, count: 4_096 },
        };
        self.accepted(Request::Fetch(Fetch::Items(vec![range].try_into().unwrap())))
            .await
            .unwrap();
        let session = self.session.as_mut().unwrap();
        while session.batches.is_empty() {
            session.wait().await.unwrap();
        }
        let mut bodies = Vec::new();
        for batch in session.batches.drain(..) {
            let Batch::Run(run) = batch else {
                panic!("not a run")
            };
            bodies.extend(run.items.iter().map(|item| match item {
                Item::Envelope(sealed) => Some(sealed.ciphertext.to_vec()),
                _ => None,
            }));
        }
        bodies
    }

    /// How the connection ends.
    pub(crate) async fn closed(&mut self) -> Option<ErrorCode> {
        super::closed(&mut self.session.as_mut().unwrap().connection)
            .await
            .code
    }

    async fn reply(&mut self) -> Option<Reply> {
        let session = self.session.as_mut().unwrap();
        while session.replies.is_empty() {
            session.wait().await?;
        }
        Some(session.replies.remove(0))
    }

    async fn accepted(&mut self, request: Request) -> Result<(), ErrorCode> {
        match self.ask(request).await? {
            Reply::Accepted(_) => Ok(()),
            Reply::Refused(refusal) => Err(refusal.code),
            other => panic!("{other:?}"),
        }
    }

    /// The answer; an error if the connection ends before.
    async fn ask(&mut self, request: Request) -> Result<Reply, ErrorCode> {
        let session = self.session.as_mut().unwrap();
        session.asked += 1;
        let id = session.asked;
        // If it is closed already, the reason is to be had below.
        session
            .connection
            .sender
            .frame(RequestFrame { id, request }.encode())
            .ok();
        loop {
            match session.wait().await {
                Some(Some(answer)) if answer.to == id => return Ok(answer.reply),
                Some(_) => {}
                None => {
                    return Err(super::closed(&mut session.connection)
                        .await
                        .code
                        .unwrap_or(ErrorCode::Busy));
                }
            }
        }
    }
}

impl Session {
    /// Takes one thing in: gives a reply that was asked for, keeps the rest; `None` at the end.
    async fn wait(&mut self) -> Option<Option<ReplyFrame>> {
        match next(&mut self.connection).await {
            Event::Frame(bytes) => {
                let frame = ReplyFrame::decode(&bytes).unwrap();
                if frame.to == 0 {
                    self.replies.push(frame.reply);
                    Some(None)
                } else {
                    Some(Some(frame))
                }
            }
            Event::Batch(bytes) => {
                self.batches.push(Batch::decode(&bytes).unwrap());
                Some(None)
            }
            Event::Closed(_) => None,
        }
    }
}
