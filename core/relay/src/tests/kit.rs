//! Devices made by hand: they sign what they are told to, and seal nothing.

use std::collections::BTreeMap;

use hearth_protocol::codec::{List, Map, Wire};
use hearth_protocol::control::{
    Account, Action, ControlEntry, ControlStatement, Enrol, Epoch, EpochWraps, Genesis, RecoveryKeys, Revoke,
    RevokeReason, ServerIdentity, Wrap, device_proof_id, genesis_approval_id, wraps_hash,
};
use hearth_protocol::entropy::Entropy;
use hearth_protocol::envelope::{
    Batch, Covers, Envelope, Fields, HeaderVersion, Item, Kind, NewKey, Nothing, Run, Sealed, SignedHole,
    next_link, position_id,
};
use hearth_protocol::erasure::{Erase, EraseAck, erased_root};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, Statement, signed_bytes};
use hearth_protocol::id::{
    AccountId, AgreementKey, DeviceId, DeviceKeys, Handle, Hash, InstanceToken, KeyRef, Link, LogId, Salt,
    ShortSalt, Signature, TimeMs, VerifyKey,
};
use hearth_protocol::message::{
    Acked, Applied, Claim, Hello, OpenAccount, Priority, PushControl, PushErase, Refusal, Reply, ReplyFrame,
    Request, RequestFrame, Welcome, claim_id, session_id,
};
use hearth_protocol::registry::{Fixed, RegistryUpdate, Shard, Table, shard_id};
use hearth_protocol::statement::{AnyStatement, EpochAck, LogOpen};
use hearth_protocol::vector::{Head, Positions, VersionVector, vector_digest};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::testing::Faulty;
use crate::{Config, Input, MemoryStore, Output, Relay, SessionId, Signer};

pub(super) const SERVER: u8 = 200;
pub(super) const PHRASE: u8 = 90;
pub(super) const START_MS: u64 = 1_750_000_000_000;
pub(super) const EXPORTER: [u8; 32] = [77; 32];

pub(super) struct Key(Ed25519KeyPair);

pub(super) fn key(seed: u8) -> Key {
    Key(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
}

impl Signer for Key {
    fn public(&self) -> VerifyKey {
        VerifyKey(self.0.public_key().as_ref().try_into().unwrap())
    }
    fn sign(&self, id: &Hash) -> Signature {
        Signature(self.0.sign(&signed_bytes(id)).as_ref().try_into().unwrap())
    }
}

/// Bytes that count, so that a run comes back.
#[derive(Debug, Default)]
pub(super) struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            let digest = hearth_protocol::hash::sha256(&self.0.to_be_bytes());
            chunk.copy_from_slice(&digest.0[..chunk.len()]);
        }
    }
}

pub(super) fn keys(n: u8) -> DeviceKeys {
    DeviceKeys {
        log: key(n).public(),
        transport: key(n + 100).public(),
        agreement: AgreementKey([n; 32]),
    }
}

pub(super) fn id(n: u8) -> DeviceId {
    keys(n).device_id()
}

pub(super) fn at(ms: u64) -> TimeMs {
    TimeMs { ms }
}

/// What a session was sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Got {
    Reply(u32, Reply),
    Batch(Batch, Priority),
    Close(ErrorCode),
}

/// A device, as far as a relay can tell.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub n: u8,
    pub account: AccountId,
    pub nonce: [u8; 16],
    pub log: LogId,
    pub head: Head,
    pub erases: u64,
    pub instance: InstanceToken,
    pub vector: BTreeMap<LogId, Head>,
    pub control: (Hash, u64),
    pub erased: Vec<Hash>,
    pub erased_cursor: u64,
    pub table: Hash,
}

impl Device {
    pub(super) fn new(n: u8, account: AccountId) -> Self {
        let nonce = [n; 16];
        let open = LogOpen { device: id(n), nonce };
        Self {
            n,
            account,
            nonce,
            log: open.log(&account),
            head: Head {
                seq: 0,
                link: Link(open.id(&account).0),
            },
            erases: 0,
            instance: InstanceToken([0; 16]),
            vector: BTreeMap::new(),
            control: (Hash(account.0), 0),
            erased: Vec::new(),
            erased_cursor: 0,
            table: Hash::ZERO,
        }
    }

    pub(super) fn sign<T: Statement>(&self, statement: T) -> Signed<T> {
        Signed {
            signature: key(self.n).sign(&statement.id(&self.account)),
            statement,
        }
    }

    pub(super) fn log_open(&self) -> Request {
        Request::Statement(Box::new(AnyStatement::LogOpen(self.sign(LogOpen {
            device: id(self.n),
            nonce: self.nonce,
        }))))
    }

    pub(super) fn vector(&self) -> VersionVector {
        Map::new(self.vector.clone()).unwrap()
    }

    pub(super) fn hello(&self) -> Hello {
        Hello {
            versions: hearth_protocol::codec::Set::new([1]).unwrap(),
            account: self.account,
            device: id(self.n),
            instance: self.instance,
            log: Some(self.log),
            vector: vector_digest(&self.account, &self.vector()),
            control: self.control.0,
            control_number: self.control.1,
            erased_cursor: self.erased_cursor,
            erased_root: erased_root(self.erased.clone()),
            table: self.table,
        }
    }

    /// The next envelope of its log, and its header hash.
    pub(super) fn write(&mut self, fields: Fields, body: &[u8]) -> (Item, Hash) {
        let seq = self.head.seq + 1;
        let mut envelope = Envelope {
            version: HeaderVersion::V1,
            log: self.log,
            seq,
            sealed: Sealed {
                fields,
                ciphertext: body.to_vec().try_into().unwrap(),
                signature: Signature([0; 64]),
            },
        };
        let hash = envelope.header_hash(&self.account, &self.head.link);
        let link = next_link(&self.head.link, &hash);
        envelope.sealed.signature = key(self.n).sign(&position_id(&self.account, &self.log, seq, &link));
        self.head = Head { seq, link };
        self.vector.insert(self.log, self.head);
        (Item::Envelope(envelope.sealed), hash)
    }

    pub(super) fn run(&self, first_seq: u64, items: Vec<Item>) -> Vec<u8> {
        run(self.log, first_seq, items)
    }

    /// A batch of one small change.
    pub(super) fn change(&mut self, handle: u8, body: &[u8]) -> Vec<u8> {
        let (item, _) = self.write(fields(handle, Kind::Changes(Nothing {})), body);
        self.run(self.head.seq, vec![item])
    }

    pub(super) fn snapshot(&mut self, handle: u8, covers: &[(LogId, u64)]) -> Vec<u8> {
        let upto = Map::new(covers.iter().copied()).unwrap();
        let kind = Kind::Snapshot(Covers::new(&upto, &self.log, self.head.seq + 1));
        let (item, _) = self.write(fields(handle, kind), b"a snapshot");
        self.run(self.head.seq, vec![item])
    }

    pub(super) fn erase(&mut self, handles: &[u8]) -> Signed<Erase> {
        self.erases += 1;
        let erase = self.sign(Erase {
            log: self.log,
            number: self.erases,
            nonce: [self.erases as u8; 16],
            handles: hearth_protocol::codec::Set::new(handles.iter().map(|handle| Handle([*handle; 16])))
                .unwrap(),
            because: None,
            control: self.control.0,
            at: at(START_MS),
        });
        self.erased.push(erase.id(&self.account));
        erase
    }

    pub(super) fn erase_ack(&self, erase: Hash) -> Request {
        Request::Statement(Box::new(AnyStatement::EraseAck(self.sign(EraseAck {
            erase,
            device: id(self.n),
            journal: Hash([self.n; 32]),
            at: at(START_MS),
        }))))
    }

    pub(super) fn epoch_ack(&self, epoch: Hash, number: u64, agreement: u8) -> Request {
        Request::Statement(Box::new(AnyStatement::EpochAck(self.sign(EpochAck {
            epoch,
            number,
            device: id(self.n),
            agreement: AgreementKey([agreement; 32]),
            at: at(START_MS),
        }))))
    }
}

pub(super) fn run(log: LogId, first_seq: u64, items: Vec<Item>) -> Vec<u8> {
    Batch::Run(Run {
        version: HeaderVersion::V1,
        log,
        first_seq,
        items: items.try_into().unwrap(),
    })
    .encode()
}

pub(super) fn fields(handle: u8, kind: Kind) -> Fields {
    Fields {
        kind,
        handle: Handle([handle; 16]),
        generation: 0,
        key: KeyRef([handle; 8]),
        new_key: None,
        erased: Map::default(),
        depends: Map::default(),
        salt: ShortSalt([handle; 8]),
    }
}

pub(super) fn new_key(epoch: Hash) -> NewKey {
    NewKey {
        epoch,
        sealed: [5; 48],
    }
}

/// The last item of a device's log, as a hole.
pub(super) fn signed_hole(device: &Device, header_hash: Hash) -> Item {
    let Head { seq, link } = device.head;
    Item::SignedHole(SignedHole {
        header_hash,
        signature: key(device.n).sign(&position_id(&device.account, &device.log, seq, &link)),
    })
}

/// The first word of somebody who has nothing but a phrase, whose key this is.
pub(super) fn recovering(seed: u8) -> Request {
    let phrase = key(seed).public();
    Request::Claim(Claim {
        versions: hearth_protocol::codec::Set::new([1]).unwrap(),
        phrase,
        proof: key(seed).sign(&claim_id(&phrase, &EXPORTER)),
    })
}

pub(super) fn sign_entry(mut entry: ControlEntry, account: &AccountId, seed: u8) -> ControlEntry {
    entry.signature = key(seed).sign(&entry.id(account));
    entry
}

pub(super) fn wraps_for(members: &[(DeviceId, AgreementKey)], recovery: u8) -> EpochWraps {
    let wrap = |to: AgreementKey| Wrap {
        to,
        encapsulated: [1; 32],
        sealed: [2; 48],
    };
    EpochWraps {
        devices: Map::new(members.iter().map(|(device, to)| (*device, wrap(*to)))).unwrap(),
        recovery: wrap(AgreementKey([recovery; 32])),
    }
}

pub(super) fn shard(index: u8, byte: u8) -> Shard {
    Shard {
        index,
        salt: Salt([byte; 16]),
        sealed: vec![byte; 80].try_into().unwrap(),
    }
}

/// A table by device `n` that holds these shards and nothing else.
pub(super) fn table(
    account: &AccountId,
    n: u8,
    epoch: u64,
    number: u64,
    previous: Hash,
    folded: &[(LogId, u64)],
    shards: Vec<Shard>,
) -> RegistryUpdate {
    let statement = Table {
        epoch,
        number,
        previous,
        author: id(n),
        folded: Map::new(folded.iter().copied()).unwrap(),
        shards: Fixed::from_fn(|index| {
            shards
                .iter()
                .find(|shard| usize::from(shard.index) == index)
                .map_or(Hash::ZERO, |shard| shard_id(account, shard))
        }),
        salt: Salt([3; 16]),
        sealed: Box::new([4; 256 * 32 + 16]),
    };
    RegistryUpdate {
        table: Signed {
            signature: key(n).sign(&statement.id(account)),
            statement,
        },
        shards: shards.try_into().unwrap(),
    }
}

/// A relay, the account's control log, and what everybody was sent.
pub(super) struct World {
    pub relay: Relay<Faulty<MemoryStore>>,
    pub now: u64,
    pub entropy: Counting,
    pub account: AccountId,
    pub state: Account,
    pub entries: Vec<ControlEntry>,
    pub table: RegistryUpdate,
    pub inbox: BTreeMap<SessionId, Vec<Got>>,
    asked: BTreeMap<SessionId, u32>,
    next: u64,
}

/// The first entry of the account that this nonce tells from others.
pub(super) fn genesis(nonce: [u8; 16]) -> ControlEntry {
    let mut statement = ControlStatement {
        number: 0,
        previous: Hash::ZERO,
        author: id(1),
        at: at(START_MS),
        action: Action::Genesis(Box::new(Genesis {
            nonce,
            device: keys(1),
            recovery: RecoveryKeys {
                signing: key(PHRASE).public(),
                agreement: AgreementKey([PHRASE; 32]),
            },
            server: Some(ServerIdentity {
                key: key(SERVER).public(),
                endpoint: "sync.example:4433".to_owned().try_into().unwrap(),
            }),
            approval: Signature([0; 64]),
        })),
    };
    let approval = key(PHRASE).sign(&genesis_approval_id(&statement));
    if let Action::Genesis(genesis) = &mut statement.action {
        genesis.approval = approval;
    }
    let entry = ControlEntry {
        statement,
        signature: Signature([0; 64]),
    };
    sign_entry(entry, &AccountId([0; 32]), 1)
}

impl World {
    /// A server without accounts; the account that will be opened is thought up.
    pub(super) fn empty(configure: impl FnOnce(&mut Config)) -> Self {
        Self::empty_of([7; 16], configure)
    }

    fn empty_of(nonce: [u8; 16], configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::server(Box::new(key(SERVER)));
        config.folds = true;
        config.backups_kept_ms = 1_000;
        configure(&mut config);
        let first = genesis(nonce);
        let state = Account::open(&first).unwrap();
        let account = state.id();
        let mut world = Self {
            relay: Relay::new(Faulty::new(MemoryStore::new()), config).unwrap(),
            now: START_MS,
            entropy: Counting::default(),
            account,
            state,
            entries: vec![first],
            table: table(&account, 1, 1, 1, Hash::ZERO, &[], vec![shard(9, 1)]),
            inbox: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: 0,
        };
        let (entry, _) = world.epoch(1, &world.table.clone());
        world.state.append(&entry, &world.entries).unwrap();
        world.entries.push(entry);
        world
    }

    /// An account with device 1, which is not connected.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(configure: impl FnOnce(&mut Config)) -> Self {
        Self::empty(configure).opened()
    }

    /// The same with another account.
    pub(super) fn of(nonce: [u8; 16]) -> Self {
        Self::empty_of(nonce, |_| {}).opened()
    }

    fn opened(mut self) -> Self {
        let world = &mut self;
        let session = world.connect(1);
        let open = world.opening("");
        assert_eq!(world.ask(session, open), [Got::Reply(1, accepted())]);
        world.close(session);
        self
    }

    pub(super) fn opening(&self, invitation: &str) -> Request {
        let members: Vec<_> = self
            .state
            .members()
            .map(|(device, member)| (*device, member.keys.agreement))
            .collect();
        Request::Open(Box::new(OpenAccount {
            invitation: invitation.to_owned().try_into().unwrap(),
            entries: self.entries.clone().try_into().unwrap(),
            wraps: Box::new(wraps_for(&members, PHRASE)),
            registry: Box::new(self.table.clone()),
        }))
    }

    pub(super) fn entry(&self, author: u8, action: Action) -> ControlEntry {
        let entry = ControlEntry {
            statement: ControlStatement {
                number: self.state.number() + 1,
                previous: self.state.head(),
                author: id(author),
                at: at(self.now),
                action,
            },
            signature: Signature([0; 64]),
        };
        sign_entry(entry, &self.account, author)
    }

    /// The next epoch by a device, wrapped to everybody's first agreement key.
    pub(super) fn epoch(&self, author: u8, table: &RegistryUpdate) -> (ControlEntry, EpochWraps) {
        let members: Vec<_> = self
            .state
            .members()
            .map(|(device, member)| (*device, member.keys.agreement))
            .collect();
        self.epoch_to(author, table, &members)
    }

    pub(super) fn epoch_to(
        &self,
        author: u8,
        table: &RegistryUpdate,
        members: &[(DeviceId, AgreementKey)],
    ) -> (ControlEntry, EpochWraps) {
        let wraps = wraps_for(members, PHRASE);
        let epoch = Epoch {
            number: self.state.epoch().map_or(0, |(_, epoch)| epoch.number) + 1,
            membership: self.state.membership(),
            commitment: Hash([1; 32]),
            wraps: wraps_hash(&self.account, &wraps),
            table: table.table.id(&self.account),
            ends: List::default(),
            min_version: 1,
        };
        (self.entry(author, Action::Epoch(Box::new(epoch))), wraps)
    }

    pub(super) fn enrolment(&self, by: u8, new: u8) -> ControlEntry {
        let transcript = Hash([new; 32]);
        let proof = key(new).sign(&device_proof_id(&self.account, &keys(new), &transcript));
        self.entry(
            by,
            Action::Enrol(Box::new(Enrol {
                device: keys(new),
                proof,
                transcript,
            })),
        )
    }

    pub(super) fn revocation(
        &self,
        by: u8,
        target: u8,
        cut: VersionVector,
        erasures: &[(LogId, u64)],
    ) -> ControlEntry {
        self.entry(
            by,
            Action::Revoke(Box::new(Revoke {
                target: id(target),
                reason: RevokeReason::Lost,
                cut,
                erasures: Map::new(erasures.iter().copied()).unwrap(),
            })),
        )
    }

    /// Sends an entry, and keeps it if it was accepted.
    pub(super) fn push_entry(&mut self, session: SessionId, entry: ControlEntry) -> Result<(), ErrorCode> {
        let request = Request::Control(Box::new(PushControl {
            entry: entry.clone(),
            wraps: None,
            registry: None,
        }));
        self.accept(session, request)?;
        self.state.append(&entry, &self.entries).unwrap();
        self.entries.push(entry);
        Ok(())
    }

    /// Enrols device `new` by the session of an enrolled one, without closing anything.
    pub(super) fn enrol(&mut self, session: SessionId, by: u8, new: u8) {
        let entry = self.enrolment(by, new);
        self.push_entry(session, entry).unwrap();
    }

    pub(super) fn device(&self, n: u8) -> Device {
        Device::new(n, self.account)
    }

    pub(super) fn connect(&mut self, n: u8) -> SessionId {
        self.next += 1;
        let session = SessionId(self.next);
        self.input(
            session,
            Input::Connected {
                transport_key: keys(n).transport.0,
                exporter: EXPORTER,
            },
        );
        session
    }

    pub(super) fn input(&mut self, session: SessionId, input: Input<'_>) {
        let outputs = self
            .relay
            .step(session, input, self.now, &mut self.entropy)
            .unwrap();
        self.route(outputs);
    }

    pub(super) fn route(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let (to, got) = match output {
                Output::Frame { to, bytes } => {
                    let frame = ReplyFrame::decode(&bytes).unwrap();
                    (to, Got::Reply(frame.to, frame.reply))
                }
                Output::Batch { to, bytes, priority } => {
                    assert!(bytes.len() <= hearth_protocol::limits::MAX_BATCH_BYTES);
                    (to, Got::Batch(Batch::decode(&bytes).unwrap(), priority))
                }
                Output::Close { to, code } => (to, Got::Close(code)),
            };
            self.inbox.entry(to).or_default().push(got);
        }
    }

    pub(super) fn close(&mut self, session: SessionId) {
        self.input(session, Input::Closed);
        self.inbox.remove(&session);
    }

    pub(super) fn tick(&mut self) {
        let outputs = self.relay.tick(self.now, &mut self.entropy).unwrap();
        self.route(outputs);
    }

    /// What a session was sent since the last look.
    pub(super) fn look(&mut self, session: SessionId) -> Vec<Got> {
        self.inbox.remove(&session).unwrap_or_default()
    }

    pub(super) fn ask(&mut self, session: SessionId, request: Request) -> Vec<Got> {
        let id = self.asked.entry(session).or_default();
        *id += 1;
        let frame = RequestFrame { id: *id, request }.encode();
        self.input(session, Input::Frame(&frame));
        self.look(session)
    }

    /// The number of a session's last request.
    pub(super) fn last(&self, session: SessionId) -> u32 {
        self.asked.get(&session).copied().unwrap_or(0)
    }

    /// Asks, and looks only at whether it was accepted.
    pub(super) fn accept(&mut self, session: SessionId, request: Request) -> Result<(), ErrorCode> {
        let got = self.ask(session, request);
        let number = self.last(session);
        for got in got {
            match got {
                Got::Reply(to, Reply::Accepted(_)) if to == number => return Ok(()),
                Got::Reply(to, Reply::Refused(refusal)) if to == number => return Err(refusal.code),
                _ => {}
            }
        }
        panic!("no answer");
    }

    /// Sends a batch and looks at what came of it.
    pub(super) fn batch(&mut self, session: SessionId, batch: &[u8]) -> Vec<Got> {
        self.input(session, Input::Batch(batch));
        self.look(session)
    }

    /// A device says `Hello`; its token and what the relay told it are kept.
    pub(super) fn hello(&mut self, session: SessionId, device: &mut Device) -> (Welcome, Vec<Got>) {
        let got = self.ask(session, Request::Hello(Box::new(device.hello())));
        let mut rest = got.into_iter();
        let Some(Got::Reply(_, Reply::Welcome(welcome))) = rest.next() else {
            panic!("no welcome");
        };
        let proof = session_id(&device.account, &id(device.n), &EXPORTER);
        hearth_protocol::hash::verify(&key(SERVER).public(), &proof, &welcome.proof).unwrap();
        device.instance = welcome.instance;
        if let Some(ahead) = &welcome.ahead {
            device.control = (ahead.control, ahead.control_number);
            device.table = ahead.table;
        }
        (*welcome, rest.collect())
    }

    /// A device that is online, with its log open and everything it was sent looked at.
    pub(super) fn online(&mut self, device: &mut Device) -> SessionId {
        let session = self.connect(device.n);
        self.hello(session, device);
        if device.head.seq == 0 {
            let open = device.log_open();
            self.accept(session, open).unwrap();
        }
        session
    }

    pub(super) fn apply(&mut self, session: SessionId, device: &mut Device) -> Result<(), ErrorCode> {
        let cursor = self.relay.erasures(&self.account, 0).unwrap().0;
        device.erased_cursor = cursor;
        let applied = Applied {
            erased_cursor: cursor,
            erased_root: erased_root(device.erased.clone()),
        };
        self.accept(session, Request::Applied(applied))
    }
}

pub(super) fn accepted() -> Reply {
    Reply::Accepted(Nothing {})
}

pub(super) fn refused(to: u32, code: ErrorCode) -> Got {
    Got::Reply(
        to,
        Reply::Refused(Refusal {
            code,
            retry_after_ms: 0,
            versions: None,
        }),
    )
}

pub(super) fn ack(upto: &[(LogId, u64)], statements: u64) -> Request {
    let upto: Positions = Map::new(upto.iter().copied()).unwrap();
    Request::Ack(Acked { upto, statements })
}

pub(super) fn push_erase(erase: Signed<Erase>) -> Request {
    Request::Erase(Box::new(PushErase {
        erase,
        registry: None,
    }))
}

/// The items of all batches, with log and number.
pub(super) fn items(got: &[Got]) -> Vec<(LogId, u64, Item)> {
    let mut found = Vec::new();
    for got in got {
        match got {
            Got::Batch(Batch::Run(run), _) => {
                for (place, item) in run.items.iter().enumerate() {
                    found.push((run.log, run.first_seq + place as u64, item.clone()));
                }
            }
            Got::Batch(Batch::Detached(list), _) => {
                for detached in list.iter() {
                    let envelope = &detached.envelope;
                    found.push((
                        envelope.log,
                        envelope.seq,
                        Item::Envelope(envelope.sealed.clone()),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

pub(super) fn closed(got: &[Got]) -> Option<ErrorCode> {
    got.iter().find_map(|got| match got {
        Got::Close(code) => Some(*code),
        _ => None,
    })
}

pub(super) fn refusals(got: &[Got]) -> Vec<ErrorCode> {
    got.iter()
        .filter_map(|got| match got {
            Got::Reply(_, Reply::Refused(refusal)) => Some(refusal.code),
            _ => None,
        })
        .collect()
}
