//! The state machine: sessions, the accounts in memory, and how an input becomes a transaction and outputs.

mod control;
mod data;
mod erasure;
mod fetch;
mod fork;
mod hello;
mod mailbox;
mod open;
mod operate;
mod push;
mod registry;
mod retention;
mod statement;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth_protocol::codec::Wire;
use hearth_protocol::control::Action;
use hearth_protocol::entropy::Entropy;
use hearth_protocol::envelope::Nothing;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, DeviceId, Hash, MailboxId, VerifyKey};
use hearth_protocol::limits::{ERASE_ACK_TIMEOUT_MS, MAX_BATCH_BYTES, MAX_MESSAGE_BYTES};
use hearth_protocol::message::{Refusal, Reply, ReplyFrame, Request, RequestFrame, server_id};
use hearth_protocol::statement::AnyStatement;

use crate::account::Loaded;
use crate::config::{Config, Role};
use crate::rate::{Allowance, Bucket};
use crate::rows::Rows;
use crate::session::{Input, Output, SessionId};
use crate::store::{SHARED, Space, Store, StoreError};
use mailbox::Mailbox;

pub use open::AdoptError;
pub use operate::AccountInfo;

/// What a session gets between two [`Input::Drained`], in bytes: beyond that everything waits in the store.
pub const CREDIT_BYTES: usize = 8 << 20;

/// How long whoever is told `StorageFailed` or `Busy` shall wait, in milliseconds.
const STORAGE_RETRY_MS: u64 = 30_000;

/// Serves the accounts of one store.
///
/// Feed it what happens on connections with [`step`](Self::step), carry out what comes back, and call
/// [`tick`](Self::tick) when [`wants_tick`](Self::wants_tick) says so. It reads no clock, draws no random bytes and does no
/// I/O but through the store; the same inputs give the same outputs.
///
/// # Durability
///
/// Each input is one transaction of the store. What an output says is in the store before `step` returns. When the store
/// fails, nothing of the input counts and every session of the account is closed with `StorageFailed`.
///
/// # Memory and backpressure
///
/// There are no queues. What a session still has to be told is a position per kind (control entry, erasure, statement,
/// registry, item of each log), and the store is read from there on. A session gets at most [`CREDIT_BYTES`] until
/// [`Input::Drained`] says that it has left; then the next piece follows. So a slow or dead connection costs its
/// positions, about 100 bytes and 16 for each log, and an account in memory its members and its logs' heads.
#[derive(Debug)]
pub struct Relay<S> {
    rows: Rows<S>,
    config: Config,
    key: VerifyKey,
    sessions: BTreeMap<SessionId, Session>,
    /// Which sessions belong to an account, whether it is in memory or not.
    present: BTreeMap<AccountId, BTreeSet<SessionId>>,
    accounts: BTreeMap<AccountId, Loaded>,
    mailboxes: BTreeMap<MailboxId, Mailbox>,
    opens: Bucket,
    allowances: BTreeMap<AccountId, Allowance>,
    /// Accounts whose rows don't make sense: nobody is served there until the relay begins anew.
    damaged: BTreeSet<AccountId>,
    /// Why the store couldn't be brought back to where it was.
    unusable: Option<StoreError>,
    receipts_owed: bool,
    /// No deadline and no mailbox's end is earlier than this; it may be later.
    soonest_ms: Option<u64>,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet: open an account, pair, or say `Hello`.
    Fresh,
    /// It came with the recovery phrase.
    Recovering(AccountId),
    /// A device of an account.
    Ready(AccountId, DeviceId),
}

#[derive(Debug)]
struct Session {
    transport_key: VerifyKey,
    exporter: [u8; 32],
    phase: Phase,
    last_request: u32,
    /// The number of the last control entry that the device has.
    control: u64,
    /// The number of the control log's head at its `Hello`, as the device had it.
    control_at_hello: u64,
    /// The cursor of the last erasure sent, and of the last one applied.
    erased_sent: u64,
    erased_applied: u64,
    gate: bool,
    /// When it is closed unless it says `Applied`.
    erase_deadline_ms: Option<u64>,
    /// The cursor of the last statement sent; how many were sent; the cursor after so many.
    statements_sent: u64,
    statements_count: u64,
    statement_marks: VecDeque<(u64, u64)>,
    table_sent: Hash,
    /// How far each log was sent, by number; `None` until the device's vector is known.
    sent: Option<BTreeMap<u32, u64>>,
    /// What is sent before everything else: the living items up to the frontier of a checkpoint, by log.
    before: Option<BTreeMap<u32, (u64, u64)>>,
    complete: bool,
    /// Where the last answer with ids of erasures ended: the next index, and the last id.
    ids_told: Option<(u64, Hash)>,
    credit: usize,
    /// Of a session that has nothing but the phrase: what it asks isn't the account's.
    recovery: Bucket,
    mailbox: Option<MailboxId>,
    mailboxes_made: u32,
}

impl Session {
    fn account(&self) -> Option<AccountId> {
        match self.phase {
            Phase::Fresh => None,
            Phase::Recovering(account) | Phase::Ready(account, _) => Some(account),
        }
    }

    fn device(&self) -> Option<DeviceId> {
        match self.phase {
            Phase::Ready(_, device) => Some(device),
            _ => None,
        }
    }
}

/// Why an input isn't carried out.
#[derive(Debug)]
enum Fault {
    /// Answered with `Refused`.
    Refuse(ErrorCode, u64),
    /// Answered with `Refused`, then the connection closes.
    Close(ErrorCode),
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self::Refuse(code, 0)
    }
}

/// What one call is given, and what comes of it.
struct Turn<'a> {
    now_ms: u64,
    entropy: &'a mut dyn Entropy,
    out: Vec<Output>,
}

impl Turn<'_> {
    fn reply(&mut self, to: SessionId, request: u32, reply: Reply) -> usize {
        let bytes = ReplyFrame { to: request, reply }.encode();
        let length = bytes.len();
        self.out.push(Output::Frame { to, bytes });
        length
    }

    fn refuse(&mut self, to: SessionId, request: u32, code: ErrorCode, retry_after_ms: u64) {
        let refusal = Refusal {
            code,
            retry_after_ms,
            versions: None,
        };
        self.reply(to, request, Reply::Refused(refusal));
    }
}

/// So many logs of a vector count as one more request.
const LOGS_A_REQUEST: u64 = 16;

/// Seconds of a day.
const DAY_S: u64 = 24 * 60 * 60;

/// Accounts whose allowances are remembered before those that a day has filled again are dropped.
const MAX_ALLOWANCES: usize = 65_536;

/// Requests in a second, and at once, of a session that has nothing but the phrase.
const RECOVERY_PER_S: u64 = 20;
const RECOVERY_BURST: u64 = 1_000;

fn limited(retry_after_ms: u64) -> Fault {
    Fault::Refuse(ErrorCode::RateLimited, retry_after_ms)
}

const ACCEPTED: Reply = Reply::Accepted(Nothing {});

impl<S: Store> Relay<S> {
    /// Serves what is in this store.
    pub fn new(store: S, config: Config) -> Result<Self, StoreError> {
        let rows = Rows { store, writes: 0 };
        let receipts_owed = !rows.keys(&SHARED, Space::Owed, &[], 1)?.is_empty();
        Ok(Self {
            rows,
            key: config.signer.public(),
            config,
            sessions: BTreeMap::new(),
            present: BTreeMap::new(),
            accounts: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            opens: Bucket::default(),
            allowances: BTreeMap::new(),
            damaged: BTreeSet::new(),
            unusable: None,
            receipts_owed,
            soonest_ms: None,
        })
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.rows.store
    }

    /// The store, to put several steps into one transaction of its own. What accounts hold in memory must stay true: if
    /// that transaction fails, drop this relay and make a new one.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.rows.store
    }

    /// Ends the relay and gives the store back.
    pub fn into_store(self) -> S {
        self.rows.store
    }

    /// What it was given. Admission and limits may be exchanged while it runs.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Takes what happened on one connection. `now_ms` is milliseconds since 1970; only waiting depends on it. Fails only
    /// when the store can't even roll back: then stop using it. Rows that make no sense end the account they are of:
    /// its sessions are closed with `StorageFailed`, and nobody else's.
    pub fn step(
        &mut self,
        session: SessionId,
        input: Input<'_>,
        now_ms: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Output>, StoreError> {
        let mut turn = Turn {
            now_ms,
            entropy,
            out: Vec::new(),
        };
        match input {
            Input::Connected {
                transport_key,
                exporter,
            } => self.connected(session, transport_key, exporter),
            Input::Closed => self.forget(session),
            Input::Drained => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.credit = CREDIT_BYTES;
                }
                let account = self.sessions.get(&session).and_then(Session::account);
                let pushed = self.push_to(session, &mut turn);
                self.contain(account, pushed, &mut turn);
            }
            Input::Frame(bytes) => self.frame(session, bytes, &mut turn)?,
            Input::Batch(bytes) => self.batch(session, bytes, &mut turn)?,
        }
        Ok(turn.out)
    }

    fn connected(&mut self, session: SessionId, transport_key: [u8; 32], exporter: [u8; 32]) {
        self.forget(session);
        self.sessions.insert(
            session,
            Session {
                transport_key: VerifyKey(transport_key),
                exporter,
                phase: Phase::Fresh,
                last_request: 0,
                control: 0,
                control_at_hello: 0,
                erased_sent: 0,
                erased_applied: 0,
                gate: false,
                erase_deadline_ms: None,
                statements_sent: 0,
                statements_count: 0,
                statement_marks: VecDeque::new(),
                table_sent: Hash::ZERO,
                sent: None,
                before: None,
                complete: false,
                ids_told: None,
                credit: CREDIT_BYTES,
                recovery: Bucket::default(),
                mailbox: None,
                mailboxes_made: 0,
            },
        );
    }

    /// Drops a session. The account stays in memory while there is room for it.
    fn forget(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(account) = session.account()
            && let Some(present) = self.present.get_mut(&account)
        {
            present.remove(&id);
            if present.is_empty() {
                self.present.remove(&account);
                if self.accounts.len() > self.config.limits.accounts_cached {
                    self.accounts.remove(&account);
                }
            }
        }
    }

    fn close(&mut self, to: SessionId, code: ErrorCode, turn: &mut Turn<'_>) {
        if self.sessions.contains_key(&to) {
            self.forget(to);
            turn.out.push(Output::Close { to, code });
        }
    }

    fn frame(&mut self, id: SessionId, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Ok(());
        };
        if bytes.len() > MAX_MESSAGE_BYTES {
            self.close(id, ErrorCode::TooLarge, turn);
            return Ok(());
        }
        let Ok(frame) = RequestFrame::decode(bytes) else {
            self.close(id, ErrorCode::Malformed, turn);
            return Ok(());
        };
        if let (0, Request::Prove(_), Phase::Fresh) = (frame.id, &frame.request, session.phase) {
            let proof = self.config.signer.sign(&server_id(&session.exporter));
            turn.reply(id, 0, Reply::Proof(proof));
            return Ok(());
        }
        if session.last_request.checked_add(1) != Some(frame.id) {
            self.close(id, ErrorCode::OutOfTurn, turn);
            return Ok(());
        }
        session.last_request = frame.id;
        let outcome = self.transaction(id, turn, |relay, turn| {
            relay.charge(id, &frame.request, bytes.len(), turn.now_ms)?;
            relay.request(id, frame.id, frame.request, turn)
        });
        self.settle(id, frame.id, outcome, turn);
        self.unusable.take().map_or(Ok(()), Err)
    }

    fn batch(&mut self, id: SessionId, bytes: &[u8], turn: &mut Turn<'_>) -> Result<(), StoreError> {
        if !self.sessions.contains_key(&id) {
            return Ok(());
        }
        if bytes.len() > MAX_BATCH_BYTES {
            self.close(id, ErrorCode::TooLarge, turn);
            return Ok(());
        }
        let outcome = self.transaction(id, turn, |relay, turn| relay.take_batch(id, bytes, turn));
        self.settle(id, 0, outcome, turn);
        self.unusable.take().map_or(Ok(()), Err)
    }

    /// Runs something as one transaction. What a refused input has written, and what it has put out, is dropped.
    fn transaction(
        &mut self,
        id: SessionId,
        turn: &mut Turn<'_>,
        work: impl FnOnce(&mut Self, &mut Turn<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let account = self.sessions.get(&id).and_then(Session::account);
        let said = turn.out.len();
        self.rows.begin()?;
        let outcome = work(self, turn).and_then(|()| {
            if self.rows.writes == 0 {
                self.rows.store.rollback()?;
            } else {
                self.rows.store.commit()?;
            }
            Ok(())
        });
        if outcome.is_err() {
            if let Err(error) = self.rows.store.rollback() {
                self.unusable = Some(error);
            }
            turn.out.truncate(said);
            // What the account holds in memory may be ahead of the store now.
            if self.rows.writes > 0
                && let Some(account) = account
            {
                self.accounts.remove(&account);
            }
        }
        outcome
    }

    /// Answers what went wrong, then sends everybody what is new.
    fn settle(&mut self, id: SessionId, request: u32, outcome: Result<(), Fault>, turn: &mut Turn<'_>) {
        let account = self.sessions.get(&id).and_then(Session::account);
        match outcome {
            Ok(()) => {}
            Err(Fault::Refuse(code, retry_after_ms)) => turn.refuse(id, request, code, retry_after_ms),
            Err(Fault::Close(code)) => {
                turn.refuse(id, request, code, 0);
                self.close(id, code, turn);
            }
            Err(Fault::Store(error)) => {
                turn.out.clear();
                turn.refuse(id, request, ErrorCode::StorageFailed, STORAGE_RETRY_MS);
                self.contain(account, Err(error), turn);
                self.close(id, ErrorCode::StorageFailed, turn);
                return;
            }
        }
        if let Some(account) = account.or_else(|| self.sessions.get(&id).and_then(Session::account)) {
            let pushed = self.push(&account, turn);
            self.contain(Some(account), pushed, turn);
        }
    }

    /// A store that fails ends the sessions of the account it failed at. Where it is damaged, it stays so: the account
    /// isn't served again, all others are.
    fn contain(&mut self, account: Option<AccountId>, outcome: Result<(), StoreError>, turn: &mut Turn<'_>) {
        let (Err(error), Some(account)) = (outcome, account) else {
            return;
        };
        if let StoreError::Damaged(_) = error {
            self.damaged.insert(account);
        }
        self.accounts.remove(&account);
        for session in self.present.get(&account).cloned().unwrap_or_default() {
            self.close(session, ErrorCode::StorageFailed, turn);
        }
    }

    /// Takes a request off the allowance of its device or account, and refuses what would use up the store's reserve.
    fn charge(&mut self, id: SessionId, request: &Request, bytes: usize, now_ms: u64) -> Result<(), Fault> {
        let bytes = bytes as u64;
        let (account, device) = match self.session(id)?.phase {
            Phase::Fresh => return Ok(()),
            Phase::Recovering(account) => {
                let bucket = &mut self.session(id)?.recovery;
                bucket
                    .take(1, RECOVERY_PER_S, RECOVERY_BURST, now_ms)
                    .map_err(limited)?;
                return match request {
                    Request::Control(_) => self.spend_reserve(&account, bytes, now_ms),
                    _ => Ok(()),
                };
            }
            Phase::Ready(account, device) => (account, device),
        };
        let cost = match request {
            Request::Hello(_) | Request::Goodbye(_) => return Ok(()),
            Request::Applied(_) => Some(1),
            // Each log that is named is looked up, and what snapshots in it cover; of a vector all are gone through.
            Request::Ack(acked) => Some(1 + acked.upto.len() as u64),
            Request::Vector(vector) => Some(1 + vector.len() as u64 / LOGS_A_REQUEST),
            Request::Erase(push) => Some(1 + push.erase.statement.handles.len() as u64 / 64),
            Request::Statement(statement) => match **statement {
                AnyStatement::EraseAck(_) | AnyStatement::EpochAck(_) => Some(1),
                _ => None,
            },
            Request::Control(push) => match push.entry.statement.action {
                Action::Revoke(_) | Action::Recover(_) => Some(1),
                _ => None,
            },
            _ => None,
        };
        if let Some(cost) = cost {
            self.allow_exempt(&account, &device, cost, bytes, now_ms)?;
        } else {
            // Of a branch every signature is checked.
            let items = match request {
                Request::Branch(push) => push.entries.len() as u64,
                _ => 0,
            };
            self.allow(&account, 1, bytes, items, now_ms)?;
        }
        match request {
            // What they keep is counted, and an erasure goes on without its registry.
            Request::Erase(push) => {
                let bytes = 64 + 64 * push.erase.statement.handles.len() as u64;
                self.spend_reserve(&account, bytes, now_ms)
            }
            Request::Control(_) | Request::Branch(_) | Request::Vector(_) | Request::Ack(_) => {
                self.spend_reserve(&account, bytes, now_ms)
            }
            Request::Statement(_) if cost.is_some() => self.spend_reserve(&account, bytes, now_ms),
            Request::Statement(_) | Request::Registry(_) if self.rows.store.only_reserve_left() => {
                Err(Fault::Refuse(ErrorCode::StorageFailed, STORAGE_RETRY_MS))
            }
            _ => Ok(()),
        }
    }

    fn allowance(&mut self, account: &AccountId, now_ms: u64) -> &mut Allowance {
        if self.allowances.len() >= MAX_ALLOWANCES && !self.allowances.contains_key(account) {
            // After a day every bucket is full again.
            self.allowances
                .retain(|_, allowance| now_ms.saturating_sub(allowance.used_ms) < DAY_S * 1_000);
        }
        let allowance = self.allowances.entry(*account).or_default();
        allowance.used_ms = now_ms;
        allowance
    }

    /// While only the reserve is left, each account has a little of it a day.
    fn spend_reserve(&mut self, account: &AccountId, bytes: u64, now_ms: u64) -> Result<(), Fault> {
        if !self.rows.store.only_reserve_left() {
            return Ok(());
        }
        let limit = self.config.limits.reserve_bytes;
        self.allowance(account, now_ms)
            .reserve
            .take(bytes, limit / DAY_S, limit, now_ms)
            .map_err(|retry_after_ms| Fault::Refuse(ErrorCode::StorageFailed, retry_after_ms))
    }

    /// Takes something off the account's allowance.
    fn allow(
        &mut self,
        account: &AccountId,
        requests: u64,
        bytes: u64,
        items: u64,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let limits = self.config.limits;
        let allowance = self.allowance(account, now_ms);
        allowance
            .requests
            .take(
                requests,
                u64::from(limits.requests_per_s),
                u64::from(limits.request_burst),
                now_ms,
            )
            .map_err(limited)?;
        allowance
            .bytes
            .take(bytes, limits.bytes_per_s, limits.byte_burst, now_ms)
            .map_err(limited)?;
        allowance
            .items
            .take(
                items,
                u64::from(limits.items_per_s),
                u64::from(limits.item_burst),
                now_ms,
            )
            .map_err(limited)
    }

    /// Takes something exempt off its device's allowance. `cost`: as how many requests it counts.
    fn allow_exempt(
        &mut self,
        account: &AccountId,
        device: &DeviceId,
        cost: u64,
        bytes: u64,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let limits = self.config.limits;
        let own = self
            .allowance(account, now_ms)
            .devices
            .entry(*device)
            .or_default();
        let (per_s, burst) = (limits.exempt_per_s, limits.exempt_burst);
        own.exempt
            .take(cost, u64::from(per_s), u64::from(burst), now_ms)
            .map_err(limited)?;
        own.exempt_bytes
            .take(bytes, limits.exempt_bytes_per_s, limits.exempt_byte_burst, now_ms)
            .map_err(limited)
    }

    fn request(
        &mut self,
        id: SessionId,
        number: u32,
        request: Request,
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let out_of_turn = Fault::Close(ErrorCode::OutOfTurn);
        let phase = self.sessions.get(&id).map(|session| session.phase);
        let Some(phase) = phase else { return Ok(()) };
        match (request, phase) {
            (Request::Hello(hello), Phase::Fresh | Phase::Recovering(_)) => {
                self.hello(id, number, &hello, turn)
            }
            (Request::Claim(claim), Phase::Fresh) => self.claimed(id, number, &claim, turn),
            (Request::Open(open), Phase::Fresh) => self.open(id, number, &open, turn),
            (Request::Mailbox(message), _) => self.mail(id, number, message, turn),
            (Request::Goodbye(_), _) => {
                self.forget(id);
                Ok(())
            }
            (_, Phase::Fresh) => Err(out_of_turn),
            (request, Phase::Recovering(account)) => match request {
                Request::Vector(_) => self.tell_vector(id, number, &account, turn),
                Request::Control(push) => self.take_control(id, number, &account, *push, turn),
                Request::Fetch(fetch) => self.fetch_recovering(id, number, &account, &fetch, turn),
                _ => Err(out_of_turn),
            },
            (request, Phase::Ready(account, device)) => {
                self.refuse_if_moved(&account, &request)?;
                match request {
                    Request::Vector(vector) => self.take_vector(id, number, &account, &device, vector, turn),
                    Request::Applied(applied) => self.applied(id, number, &account, &applied, turn),
                    Request::Ack(acked) => self.take_ack(id, number, &account, &device, &acked, turn),
                    Request::Control(push) => self.take_control(id, number, &account, *push, turn),
                    Request::Branch(push) => self.take_branch(id, number, (&account, &device), *push, turn),
                    Request::Erase(push) => self.take_erase(id, number, &account, *push, turn),
                    Request::Registry(update) => self.take_registry(id, number, &account, &update, turn),
                    Request::Statement(statement) => {
                        self.take_statement(id, number, &account, &statement, turn)
                    }
                    Request::Fetch(fetch) => self.fetch(id, number, &account, &device, &fetch, turn),
                    _ => Err(out_of_turn),
                }
            }
        }
    }

    fn refuse_if_moved(&mut self, account: &AccountId, request: &Request) -> Result<(), Fault> {
        let role = self.config.role;
        let key = self.key;
        let loaded = self.loaded(account)?;
        if !loaded.moved(role, &key) {
            return Ok(());
        }
        match request {
            Request::Vector(_)
            | Request::Fetch(_)
            | Request::Erase(_)
            | Request::Applied(_)
            | Request::Ack(_) => Ok(()),
            Request::Statement(statement)
                if matches!(**statement, AnyStatement::EraseAck(_) | AnyStatement::EpochAck(_)) =>
            {
                Ok(())
            }
            _ => Err(ErrorCode::Moved.into()),
        }
    }

    /// Reads an account into memory, and says whether there is one.
    fn load(&mut self, account: &AccountId) -> Result<bool, StoreError> {
        if self.accounts.contains_key(account) {
            return Ok(true);
        }
        if self.damaged.contains(account) {
            return Err(StoreError::Damaged("found earlier"));
        }
        match Loaded::read(&self.rows, account)? {
            Some(loaded) => {
                self.accounts.insert(*account, loaded);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// An account that is there.
    fn loaded(&mut self, account: &AccountId) -> Result<&mut Loaded, StoreError> {
        self.load(account)?;
        self.accounts
            .get_mut(account)
            .ok_or(StoreError::Damaged("an account is missing"))
    }

    fn session(&mut self, id: SessionId) -> Result<&mut Session, Fault> {
        self.sessions
            .get_mut(&id)
            .ok_or(Fault::Close(ErrorCode::OutOfTurn))
    }

    /// When [`tick`](Self::tick) may have something to do, in milliseconds since 1970; 0: now.
    pub fn wants_tick(&self) -> Option<u64> {
        if self.receipts_owed {
            return Some(0);
        }
        self.soonest_ms
    }

    /// Something ends at this time.
    fn remind(&mut self, at_ms: u64) {
        self.soonest_ms = Some(self.soonest_ms.map_or(at_ms, |soonest| soonest.min(at_ms)));
    }

    /// Does what waits for time: closes who doesn't acknowledge an erasure, ends mailboxes, and scrubs the store and signs
    /// the receipts that are owed. Call it with no transaction of your own open. It may take as long as the store's scrub.
    pub fn tick(&mut self, now_ms: u64, entropy: &mut dyn Entropy) -> Result<Vec<Output>, StoreError> {
        let mut turn = Turn {
            now_ms,
            entropy,
            out: Vec::new(),
        };
        self.mailboxes.retain(|_, mailbox| !mailbox.is_over(now_ms));
        let late: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.erase_deadline_ms.is_some_and(|at| at <= now_ms))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            turn.refuse(id, 0, ErrorCode::EraseNotAcknowledged, 0);
            self.close(id, ErrorCode::EraseNotAcknowledged, &mut turn);
        }
        let deadlines = self
            .sessions
            .values()
            .filter_map(|session| session.erase_deadline_ms);
        let mailboxes = self.mailboxes.values().map(Mailbox::ends_ms);
        self.soonest_ms = deadlines.chain(mailboxes).min();
        if self.receipts_owed {
            self.give_receipts(&mut turn)?;
        }
        Ok(turn.out)
    }

    /// When somebody who was told of an erasure now has to have acknowledged it.
    fn deadline(now_ms: u64) -> u64 {
        now_ms.saturating_add(ERASE_ACK_TIMEOUT_MS)
    }

    fn is_server(&self) -> bool {
        self.config.role == Role::Server
    }
}
