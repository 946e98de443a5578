//! A connection: greeting, what is asked and answered, and what is to be done next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth_protocol::codec::{Set, Wire};
use hearth_protocol::control::ControlEntry;
use hearth_protocol::envelope::Nothing;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::hash::{Signed, verify};
use hearth_protocol::id::{DeviceId, Handle, Hash, InstanceToken, LogId, Signature, VerifyKey};
use hearth_protocol::message::{
    Ahead, Hello, OpenAccount, Reply, ReplyFrame, Request, RequestFrame, Stored, Welcome, server_id,
    session_id,
};
use hearth_protocol::registry::RegistryUpdate;
use hearth_protocol::statement::{AnyStatement, LogOpen};
use hearth_protocol::vector::{Positions, VersionVector, vector_digest};
use hearth_protocol::{PROTOCOL_VERSION, SUPPORTED_VERSIONS};

use super::bring::Bringing;
use super::record::{Server, space};
use super::start::Start;
use super::statement::SAY_AGAIN_MS;
use super::turn::{ONLY, Turn};
use super::{DeviceError, Notice, Peer};

/// Clocks that differ by more are shown.
const CLOCK_SKEW_MS: u64 = 24 * 60 * 60 * 1_000;

/// A server is believed so often that it was restored. Each time takes one of the device's logs.
const MOST_AFRESH: u64 = 16;

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Whoever answers is asked for the server's key.
    Proving,
    /// The account is being opened.
    Opening,
    /// `Hello` is out.
    Greeting,
    /// The control log isn't settled.
    Control,
    /// The erased sets differ.
    Gate,
    /// Everything passes.
    Open,
}

/// What a request was, until it is answered.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Open,
    Hello,
    Vector,
    Applied,
    Ack,
    /// An entry made here, by the number of its intent; 0: made without one.
    Issue {
        entry: Box<ControlEntry>,
        intent: u64,
        registry: Option<Box<RegistryUpdate>>,
    },
    /// An entry that the other side lacks.
    OldEntry,
    /// The branch of the control log that wins over the other side's.
    Branch,
    Erase(Hash),
    Registry(Box<RegistryUpdate>),
    /// A statement, by its number among the unsent ones; 0: not one of them.
    Statement(u64, Box<AnyStatement>),
    FetchControl,
    FetchErasures,
    FetchShards,
    FetchWraps,
    FetchErasureIds(u64),
    FetchErasure(Hash),
    /// The checkpoint to begin at; none: the newest.
    FetchCheckpoint(Option<Hash>),
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // Facts that don't depend on each other.
pub(super) struct Session {
    pub(super) peer: Peer,
    pub(super) exporter: [u8; 32],
    /// The key that proves the other side; none while only the control log will say it.
    pub(super) key: Option<VerifyKey>,
    /// Whoever answers has shown that it has the server's key, by TLS or asked for it: its refusals are believed.
    pub(super) proven: bool,
    pub(super) next: u32,
    pub(super) asked: BTreeMap<u32, Asked>,
    pub(super) stage: Stage,
    /// What `Hello` said: the other side goes by it, whatever has changed here since.
    pub(super) said_root: Hash,
    pub(super) said_vector: Hash,
    pub(super) said_table: Hash,
    /// The other side's table came, whether or not it could be read.
    pub(super) registry_seen: bool,
    pub(super) ahead: Option<Ahead>,
    /// A welcome whose proof can't be checked before the control log is here.
    pub(super) unproved: Option<Box<Welcome>>,
    /// The log that may be written, once the other side has told its head.
    pub(super) publishing: Option<LogId>,
    /// For each log that is sent: the number of the next item.
    pub(super) sending: BTreeMap<LogId, u64>,
    /// Bytes of a log that are sent and not confirmed, with the last number.
    pub(super) unconfirmed: BTreeMap<LogId, (u64, usize)>,
    /// Logs whose opening the other side has.
    pub(super) opened: BTreeSet<LogId>,
    /// No erasure is sent before, after one was refused.
    pub(super) erase_after: u64,
    /// Logs whose opening was said again because an erasure of theirs was refused.
    pub(super) reopened: BTreeSet<LogId>,
    /// Batches with runs of logs that aren't open yet.
    pub(super) held: VecDeque<(LogId, Vec<u8>)>,
    pub(super) held_bytes: usize,
    /// What the other side had taken as holes, said before the gate was open.
    pub(super) early: Option<Stored>,
    /// The erasures that the other side has beyond the cursor are still on their way.
    pub(super) erasures_due: bool,
    /// The root that `Applied` was last said with.
    pub(super) applied_root: Option<Hash>,
    pub(super) compared_ids: bool,
    pub(super) their_erasures: BTreeSet<Hash>,
    /// Numbers of unsent statements that are out.
    pub(super) saying: BTreeSet<u64>,
    /// The other side has sent all it had.
    pub(super) complete: bool,
    pub(super) vector_said: bool,
    /// What `Complete` has named: streams may still be on their way.
    pub(super) target: Option<VersionVector>,
    /// When what is missing of it is asked for; 0: nothing is.
    pub(super) missing_at: u64,
    /// Something that came early had no room, or something before it didn't come.
    pub(super) dropped: bool,
    /// When it may be asked for.
    pub(super) dropped_after: u64,
    /// Erasures whose confirmations were asked for.
    pub(super) confirmations_asked: bool,
    /// What is stored and not acknowledged yet.
    pub(super) unacked: BTreeMap<LogId, u64>,
    pub(super) ack_due: bool,
    /// How many statements came unasked.
    pub(super) statements: u64,
    /// How far the other side has each log that is sent.
    pub(super) confirmed: BTreeMap<LogId, u64>,
    pub(super) resent: u32,
    /// When batches that were turned away go again, and no others before; 0: none were.
    pub(super) resend_at: u64,
    /// When everything was last sent again.
    pub(super) resent_at: u64,
    /// The erased sets differed at the greeting.
    pub(super) gate_differs: bool,
    /// An erasure came while the gate was open.
    pub(super) applied_due: bool,
    pub(super) acked_at: u64,
    /// One change of control log or registry at a time.
    pub(super) issuing: bool,
    /// Not before: after a conflict or a refusal.
    pub(super) issue_after: u64,
    /// The registry isn't written before this time.
    pub(super) fold_after: u64,
    /// Nor asked for.
    pub(super) registry_after: u64,
    /// The other side's table, and the shards of it that are missing.
    pub(super) their_table: Hash,
    pub(super) shards_asked: usize,
    /// Answers one after the other that brought none of the shards that are missing.
    pub(super) shards_idle: u32,
    /// When they are asked for again; 0: they aren't.
    pub(super) shards_after: u64,
    pub(super) table_wanted: bool,
    pub(super) wraps_asked: bool,
    /// Statements that the other side refused, so that they aren't sent again and again.
    pub(super) refused: BTreeSet<u64>,
    /// When they are tried again, as what they are about may have come from another device meanwhile; 0: there are none.
    pub(super) refused_until: u64,
    /// How long after the next refusal that is.
    pub(super) refused_for: u64,
    /// Acknowledgements of erasures that the other side didn't know: each is said once more, after its erasure.
    pub(super) before_their_erasure: BTreeSet<u64>,
    /// The other branch of a forked control log, as far as it is here.
    pub(super) branch: Vec<ControlEntry>,
    /// Logs whose living envelopes the other side is brought out of their chains.
    pub(super) bringing: BTreeMap<LogId, Bringing>,
    /// The frontier that this device has vouched for in this session, once the other side has it.
    pub(super) vouched: Option<VersionVector>,
    pub(super) vouching: bool,
    /// Whether it begins at a checkpoint, and whether the newest was asked for.
    pub(super) start: Start,
    pub(super) start_tried: bool,
    /// Something of what lived there has come since its root was last looked at; and something had to be dropped.
    pub(super) start_came: bool,
    pub(super) start_dropped: bool,
    /// What waits was tried once more.
    pub(super) start_retried: bool,
    /// Everything was applied, and what the pairing had named was looked for.
    pub(super) join_checked: bool,
    /// The control logs differ, and the other one is being read.
    pub(super) fork_asked: bool,
    pub(super) published: bool,
    pub(super) up_to_date_said: bool,
    /// Documents of which the other side says that they are erased, with a log that has something of them, and until when
    /// their erasure may come.
    pub(super) unexplained: BTreeMap<Handle, (LogId, u64)>,
    /// Devices with the same vector and another live set, and until when an erasure that explains it may come.
    pub(super) other_lives: BTreeMap<DeviceId, u64>,
    /// When what heartbeats name and isn't here is looked at; 0: there is nothing.
    pub(super) vouched_at: u64,
    /// It was asked for.
    pub(super) vouched_asked: bool,
    /// When what the pairing had named is missed; 0: it wasn't looked for yet.
    pub(super) expected_at: u64,
    pub(super) missing_asked: bool,
}

impl Session {
    /// Whether a log's opening is on its way.
    pub(super) fn is_reopening(&self, open: &Signed<LogOpen>) -> bool {
        self.asked.values().any(|asked| {
            matches!(asked, Asked::Statement(0, statement)
                if matches!(&**statement, AnyStatement::LogOpen(other) if other == open))
        })
    }
}

impl Turn<'_> {
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.d.session.as_mut()
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.d.session.as_ref().map(|session| session.stage)
    }

    /// Whether the other side is the account's home: its server, or any peer of an account that has none.
    pub(super) fn at_home(&self) -> bool {
        self.d
            .session
            .as_ref()
            .is_some_and(|session| session.peer == Peer::Server || self.d.account.server().is_none())
    }

    pub(super) fn at_server(&self) -> bool {
        self.d
            .session
            .as_ref()
            .is_some_and(|session| session.peer == Peer::Server)
    }

    pub(super) fn connected(&mut self, exporter: [u8; 32], peer: Peer) -> Result<(), DeviceError> {
        let key = match peer {
            Peer::Server => self.d.account.server().map(|server| server.key),
            Peer::Device(key) => Some(key),
        };
        // What the last connection didn't answer is open again, and the server may have lost what it had taken.
        self.d.granted.clear();
        for known in self.d.erased.all.values_mut() {
            known.asked = false;
        }
        let joining = self.d.state.expected.is_some() && self.d.account.member(&self.d.me).is_none();
        self.d.session = Some(Session {
            peer,
            exporter,
            key: if joining { None } else { key },
            proven: matches!(peer, Peer::Device(_)),
            next: 1,
            asked: BTreeMap::new(),
            stage: Stage::Greeting,
            said_root: Hash::ZERO,
            said_vector: Hash::ZERO,
            said_table: Hash::ZERO,
            registry_seen: false,
            ahead: None,
            unproved: None,
            publishing: None,
            sending: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
            opened: BTreeSet::new(),
            erase_after: 0,
            reopened: BTreeSet::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            early: None,
            erasures_due: false,
            applied_root: None,
            compared_ids: false,
            their_erasures: BTreeSet::new(),
            saying: BTreeSet::new(),
            complete: false,
            vector_said: false,
            target: None,
            missing_at: 0,
            dropped: false,
            dropped_after: 0,
            confirmations_asked: false,
            unacked: BTreeMap::new(),
            ack_due: false,
            statements: 0,
            confirmed: BTreeMap::new(),
            resent: 0,
            resend_at: 0,
            resent_at: 0,
            gate_differs: false,
            applied_due: false,
            acked_at: 0,
            issuing: false,
            issue_after: 0,
            fold_after: 0,
            registry_after: 0,
            their_table: Hash::ZERO,
            shards_asked: 0,
            shards_idle: 0,
            shards_after: 0,
            table_wanted: false,
            wraps_asked: false,
            refused: BTreeSet::new(),
            refused_until: 0,
            refused_for: SAY_AGAIN_MS,
            before_their_erasure: BTreeSet::new(),
            branch: Vec::new(),
            bringing: BTreeMap::new(),
            vouched: None,
            vouching: false,
            start: Start::No,
            start_tried: false,
            start_came: false,
            start_dropped: false,
            start_retried: false,
            join_checked: false,
            fork_asked: false,
            published: false,
            up_to_date_said: false,
            unexplained: BTreeMap::new(),
            other_lives: BTreeMap::new(),
            vouched_at: 0,
            vouched_asked: false,
            expected_at: 0,
            missing_asked: false,
        });
        if self.d.state.revoked {
            self.notice(Notice::Revoked);
            self.end(None);
        } else if peer == Peer::Server && !joining && (!self.d.state.opened || self.d.asks_first) {
            self.ask_who_it_is();
        } else {
            self.hello()?;
        }
        Ok(())
    }

    /// Before the account goes to somebody, and before a refusal that has consequences is believed.
    fn ask_who_it_is(&mut self) {
        if let Some(session) = self.session() {
            session.stage = Stage::Proving;
        }
        let request = Request::Prove(Nothing {});
        self.sends
            .push(super::Output::Send(RequestFrame { id: 0, request }.encode()));
    }

    /// The answer: the account's server goes on, anybody else gets nothing.
    fn it_is(&mut self, proof: &Signature) -> Result<(), DeviceError> {
        let Some(session) = self.session() else {
            return Ok(());
        };
        let id = server_id(&session.exporter);
        session.proven = session.key.is_some_and(|key| verify(&key, &id, proof).is_ok());
        if !session.proven {
            self.notice(Notice::FalseServer);
            self.end(None);
            return Ok(());
        }
        self.d.asks_first = false;
        if self.d.state.opened {
            self.hello()
        } else {
            self.open_account()
        }
    }

    fn open_account(&mut self) -> Result<(), DeviceError> {
        let (Some(wraps), Some(registry)) = (self.disk.get(space::WRAPS, ONLY)?, self.whole_registry()?)
        else {
            return Ok(());
        };
        let entries: Vec<ControlEntry> = self
            .d
            .history
            .iter()
            .take(hearth_protocol::limits::MAX_CONTROL_ENTRIES)
            .cloned()
            .collect();
        let open = OpenAccount {
            invitation: self.d.state.invitation.clone(),
            entries: entries.try_into()?,
            wraps: Box::new(wraps),
            registry: Box::new(registry),
        };
        if let Some(session) = self.session() {
            session.stage = Stage::Opening;
        }
        self.ask(Request::Open(Box::new(open)), Asked::Open);
        Ok(())
    }

    pub(super) fn server_record(&self) -> Result<Server, DeviceError> {
        let key = self.d.session.as_ref().and_then(|session| session.key);
        let known = match key {
            Some(key) => self.disk.get(space::SERVER, &key.0)?,
            None => None,
        };
        Ok(known.unwrap_or(Server {
            instance: InstanceToken([0; 16]),
            cursor: 0,
            torn: Positions::default(),
        }))
    }

    /// Changes what is remembered of the other side.
    pub(super) fn remember_server(&mut self, change: impl FnOnce(&mut Server)) -> Result<(), DeviceError> {
        let mut record = self.server_record()?;
        change(&mut record);
        if let Some(key) = self.d.session.as_ref().and_then(|session| session.key) {
            self.disk.put(space::SERVER, &key.0, &record);
        }
        Ok(())
    }

    pub(super) fn cursor(&self) -> Result<u64, DeviceError> {
        Ok(self.server_record()?.cursor)
    }

    pub(super) fn hello(&mut self) -> Result<(), DeviceError> {
        let record = self.server_record()?;
        let account = self.account();
        // A digest that nobody knows: nothing is sent before the checkpoint is asked for.
        let starts = self.start_with().is_some() && self.at_home();
        let vector = if starts {
            Hash::ZERO
        } else {
            vector_digest(&account, &self.vector()?)
        };
        let hello = Hello {
            versions: Set::new(SUPPORTED_VERSIONS.iter().copied())?,
            account,
            device: self.d.me,
            instance: record.instance,
            log: self.d.state.log,
            vector,
            control: self.d.account.head(),
            control_number: self.d.account.number(),
            erased_cursor: record.cursor,
            erased_root: self.d.erased.root(),
            table: self.d.table,
        };
        if let Some(session) = self.session() {
            session.stage = Stage::Greeting;
            session.said_root = hello.erased_root;
            session.said_vector = hello.vector;
            session.said_table = hello.table;
            session.start = if starts { Start::Wanted } else { Start::No };
        }
        self.ask(Request::Hello(Box::new(hello)), Asked::Hello);
        Ok(())
    }

    pub(super) fn frame(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        if self.d.session.is_none() {
            return Ok(());
        }
        let Ok(ReplyFrame { to, reply }) = ReplyFrame::decode(bytes) else {
            self.end(Some(ErrorCode::Malformed));
            return Ok(());
        };
        let asked = match self.session().and_then(|session| session.asked.remove(&to)) {
            Some(asked) => Some(asked),
            None if to == 0 => None,
            // An answer to nothing that was asked, or a second one.
            None => return Ok(()),
        };
        // An erasure's receipt comes before its acknowledgements.
        if let (Some(Asked::FetchErasure(id)), Reply::Receipt(_)) = (&asked, &reply)
            && let Some(session) = self.session()
        {
            session.asked.insert(to, Asked::FetchErasure(*id));
        }
        if self.stage() < Some(Stage::Control)
            && !matches!(
                (&asked, &reply),
                (Some(Asked::Hello), Reply::Welcome(_))
                    | (Some(Asked::Open), Reply::Accepted(_))
                    | (_, Reply::Refused(_))
                    // Whoever was shut out is turned away with the entries that say so: they carry their own proof.
                    | (None, Reply::Control(_) | Reply::Proof(_))
            )
        {
            // Nothing is listened to before the proof.
            return Ok(());
        }
        self.reply(asked, reply)
    }

    fn reply(&mut self, asked: Option<Asked>, reply: Reply) -> Result<(), DeviceError> {
        match (asked, reply) {
            (Some(Asked::Open), Reply::Accepted(_)) => {
                self.d.state.opened = true;
                self.hello()
            }
            (Some(Asked::Hello), Reply::Welcome(welcome)) => self.welcome(*welcome),
            (None, Reply::Proof(proof)) if self.stage() == Some(Stage::Proving) => self.it_is(&proof),
            (Some(asked), Reply::Accepted(_)) => self.accepted(asked),
            (asked, Reply::Refused(refusal)) => self.refused(asked, &refusal),
            (_, Reply::Control(part)) => self.control_part(&part),
            (_, Reply::Wraps(wraps)) => {
                self.take_wraps(&wraps);
                Ok(())
            }
            // Of devices that the other branch let in, perhaps: not counted, so they come again.
            (_, Reply::Statements(_))
                if self.d.session.as_ref().is_some_and(|session| session.fork_asked) =>
            {
                Ok(())
            }
            (Some(Asked::FetchCheckpoint(asked)), Reply::Statements(list)) => {
                self.start_answered(asked, list.into_inner())
            }
            (asked, Reply::Statements(list)) => {
                if let (None, Some(session)) = (&asked, self.session()) {
                    session.statements += list.len() as u64;
                }
                for statement in list.into_inner() {
                    self.hear(statement)?;
                }
                if let Some(Asked::FetchErasure(id)) = asked
                    && self.at_home()
                {
                    self.d.confirmations_told.insert(id);
                }
                if let Some(session) = self.session() {
                    session.ack_due = true;
                }
                self.release_held()
            }
            // Nothing of the data is believed before the control log is settled and the gate is open.
            (asked, Reply::Erasures(part)) if self.stage() >= Some(Stage::Gate) => {
                let next = part.more.then_some(part.cursor.saturating_add(1));
                self.erasures(&part)?;
                // What is pushed goes on by itself; what was asked for doesn't.
                if let (Some(Asked::FetchErasures), Some(from)) = (asked, next) {
                    self.ask_erasures(from);
                }
                Ok(())
            }
            (Some(Asked::FetchErasureIds(from)), Reply::ErasureIds(ids)) => self.erasure_ids(from, &ids),
            (_, Reply::Registry(part)) if self.stage() == Some(Stage::Open) => self.registry_part(&part),
            // Right behind the greeting, too: what was taken as holes and isn't acknowledged yet.
            (_, Reply::Stored(stored)) => self.stored(&stored),
            (_, Reply::Receipt(receipt)) => {
                self.receipt(&receipt);
                Ok(())
            }
            (_, Reply::Complete(complete)) if self.stage() == Some(Stage::Open) => {
                self.completed(complete.vector)
            }
            _ => Ok(()),
        }
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<(), DeviceError> {
        if welcome.version != PROTOCOL_VERSION || welcome.version < self.d.account.min_version() {
            self.end(Some(ErrorCode::VersionTooOld));
            return Ok(());
        }
        let Some(session) = self.session() else {
            return Ok(());
        };
        if session.key.is_none() {
            // Only the control log will say whose key it is.
            session.ahead.clone_from(&welcome.ahead);
            session.stage = Stage::Control;
            session.unproved = Some(Box::new(welcome));
            return Ok(());
        }
        self.proved(welcome)
    }

    /// Takes a welcome if its proof is right.
    pub(super) fn proved(&mut self, welcome: Welcome) -> Result<(), DeviceError> {
        let (account, me) = (self.account(), self.d.me);
        let Some(session) = self.session() else {
            return Ok(());
        };
        let id = session_id(&account, &me, &session.exporter);
        let right = session
            .key
            .is_some_and(|key| verify(&key, &id, &welcome.proof).is_ok());
        let a_member = match session.peer {
            Peer::Server => true,
            Peer::Device(key) => self
                .d
                .account
                .members()
                .any(|(_, member)| member.keys.transport == key),
        };
        if !right || !a_member {
            self.notice(Notice::FalseServer);
            self.end(None);
            return Ok(());
        }
        let skew =
            i64::try_from(self.now).unwrap_or(i64::MAX) - i64::try_from(welcome.at.ms).unwrap_or(i64::MAX);
        if skew.unsigned_abs() > CLOCK_SKEW_MS {
            self.notice(Notice::ClockSkew(skew));
        }
        self.remember_server(|record| record.instance = welcome.instance)?;
        let behind = self.cursor()?;
        let lost = self.has_lost(&welcome, behind)?;
        let safe = self.own_log().map(|(log, state)| (log, state.safe));
        self.check_own(welcome.own)?;
        if welcome.afresh && self.at_home() && !self.d.state.doubtful && self.d.state.log.is_some() {
            if self.d.state.afresh < MOST_AFRESH {
                self.d.state.afresh += 1;
                // A head doesn't say what was taken as a hole, and of a log that ends here nothing else will.
                if let Some((log, safe)) = safe
                    && let Some(state) = self.d.logs.get_mut(&log)
                {
                    state.safe = safe;
                    self.put_log(&log);
                }
                // Whoever came before may have filled it up, so that nothing tells what it has lost.
                self.forget_vouchers()?;
                self.say_again()?;
                return self.restored();
            }
            // No honest server is restored so often: somebody has to look at it.
            self.d.state.doubtful = true;
            self.notice(Notice::RestoredOrCopied);
        }
        if lost {
            self.forget_vouchers()?;
            self.say_again()?;
        }
        self.d.removed = false;
        self.try_room(welcome.used_bytes, welcome.quota_bytes);
        let Some(session) = self.session() else {
            return Ok(());
        };
        let root = session.said_root;
        session.stage = session.stage.max(Stage::Control);
        session.ahead = welcome.ahead;
        match &session.ahead {
            None => session.complete = true,
            Some(ahead) => {
                session.their_table = ahead.table;
                session.gate_differs = ahead.erased_root != root;
                session.erasures_due = ahead.erased_root != root && ahead.erased_cursor > behind;
            }
        }
        if session
            .ahead
            .as_ref()
            .is_some_and(|ahead| ahead.erased_cursor < behind)
        {
            // It was restored: count from its beginning.
            self.remember_server(|record| record.cursor = 0)?;
        }
        Ok(())
    }

    /// Whether the account's server has less than it once confirmed: it was restored from a backup.
    fn has_lost(&self, welcome: &Welcome, cursor: u64) -> Result<bool, DeviceError> {
        let own = self
            .own_log()
            .is_some_and(|(_, state)| state.safe > 0 && welcome.own.is_none_or(|head| head.seq < state.safe));
        let behind = welcome.ahead.as_ref().is_some_and(|ahead| {
            ahead.control_number < self.d.account.number() || ahead.erased_cursor < cursor
        });
        // It never had the own log, or lost it, though it isn't on its way: it comes from a backup, or the account moved here.
        let unopened = match self.own_log() {
            Some((log, _)) if welcome.own.is_none() => !self.opening_waits(&log)?,
            _ => false,
        };
        Ok(self.at_home() && (own || behind || unopened))
    }
}

/// A signed thing by a key, if it is right.
pub(super) fn genuine<T: hearth_protocol::hash::Statement>(
    signed: &Signed<T>,
    account: &hearth_protocol::id::AccountId,
    key: Option<&VerifyKey>,
) -> bool {
    key.is_some_and(|key| signed.verify(account, key).is_ok())
}
