//! Two devices meet in a mailbox of the server, and their people compare six digits.

use std::time::Duration;

use hearth_protocol::codec::Wire;
use hearth_protocol::entropy::Entropy;
use hearth_protocol::id::MailboxId;
use hearth_protocol::limits::{PAIRING_TRIES, PAIRING_TTL_MS};
use hearth_protocol::message::{Reply, ReplyFrame, Request, RequestFrame, ToMailbox};
use hearth_protocol::pairing::{MailboxMessage, ScanCode, TypedCode};
use hearth_sync::device::{Device, Input, Keychain, Notice};
use hearth_sync::keys::SigningKey;
use hearth_sync::pairing::qr::{Paint, Qr};
use hearth_sync::pairing::{Admitted, Admitting, Code, Joined, Joining, Output, PairingError};
use hearth_sync::secret::Secret;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::{Engine, Result, lock};
use super::local::{self, Lobby};
use super::machine::{OsEntropy, device_error, time};
use super::run::{Command, Running};
use super::{PATIENCE, device_name, internal, parse_address, view, wait_notice};
use crate::error::EngineError;
use crate::net::{Connection, Endpoint, Event, Identity, LocalNetwork, Network, ServerAddress};
use crate::types::{DeviceInfo, PairAnswer, PairEvent, PairParams, SyncStatus};

/// The place of the code that is typed among the two; the other is scanned.
const TYPED: usize = 0;
/// How long a code may have nobody behind it. Whoever shows one has put its beginning into the mailbox before.
const NOBODY: Duration = Duration::from_secs(8);
/// Codes that are remembered as used; each is of no use ten minutes after it was shown anyway.
const USED_CODES: usize = 16;

/// A mailbox at a server, on a connection of its own that names nobody.
struct Mailbox {
    connection: Connection,
    /// Keeps the socket.
    network: Network,
    id: MailboxId,
    next: u32,
}

impl Mailbox {
    async fn open(endpoint: &Endpoint, id: MailboxId) -> Result<Self> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        OsEntropy.fill(&mut *seed);
        let identity = Identity::from_seed(&seed).map_err(internal)?;
        let network = Network::new().map_err(|error| EngineError::Network(error.to_string()))?;
        let connection = tokio::time::timeout(PATIENCE, network.connect(&identity, endpoint))
            .await
            .map_err(|_| EngineError::Network("the server doesn't answer".into()))?
            .map_err(|error| EngineError::Network(format!("the server can't be reached: {error}")))?;
        Ok(Self {
            connection,
            network,
            id,
            next: 1,
        })
    }

    /// Puts a message in; without one, only asks to be told of what comes.
    fn say(&mut self, message: Option<MailboxMessage>) -> Result<u32> {
        let id = self.next;
        self.next += 1;
        let request = Request::Mailbox(ToMailbox {
            mailbox: self.id,
            message,
        });
        self.connection
            .sender
            .frame(RequestFrame { id, request }.encode())
            .map_err(|_| broken())?;
        Ok(id)
    }

    /// What lies in it or has come, with the request that it answers. Safe to drop and to call again.
    async fn next(&mut self) -> Result<(u32, Vec<MailboxMessage>)> {
        loop {
            match self.connection.events.next().await {
                Event::Frame(bytes) => match ReplyFrame::decode(&bytes) {
                    Ok(ReplyFrame {
                        to,
                        reply: Reply::Mailbox(messages),
                    }) => return Ok((to, messages.into_inner())),
                    Ok(ReplyFrame {
                        reply: Reply::Refused(refusal),
                        ..
                    }) => return Err(EngineError::Network(view::refusal(refusal.code))),
                    _ => {}
                },
                Event::Batch(_) => {}
                Event::Closed(closed) => {
                    return Err(closed
                        .code
                        .map_or_else(broken, |code| EngineError::Network(view::refusal(code))));
                }
            }
        }
    }

    /// Waits until the server has what was said last.
    async fn flush(&mut self, last: u32) {
        let answered = async {
            while let Ok((to, _)) = self.next().await {
                if to == last {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), answered).await;
    }

    async fn close(self) {
        self.connection.sender.close(None);
        let _ = tokio::time::timeout(Duration::from_millis(500), self.network.idle()).await;
    }
}

/// What comes for a code; nothing for one that has ended.
async fn next(side: &mut Option<(Mailbox, Joining)>) -> Result<(u32, Vec<MailboxMessage>)> {
    match side {
        Some((mailbox, _)) => mailbox.next().await,
        None => std::future::pending().await,
    }
}

fn nobody() -> EngineError {
    EngineError::InvalidRequest(
        "nobody shows this code at the account's server: it has expired, its first characters are mistyped, or the new \
         device was given another server's address: show a new one"
            .into(),
    )
}

fn broken() -> EngineError {
    EngineError::Network("the connection to the server broke: begin the pairing again".into())
}

fn failed(error: PairingError) -> EngineError {
    EngineError::InvalidRequest(error.to_string())
}

/// The one pairing that goes on; its end clears the place.
struct Desk(Engine);

impl Drop for Desk {
    fn drop(&mut self) {
        *lock(&self.0.inner.sync.desk) = None;
    }
}

impl Engine {
    fn take_desk(&self) -> Result<(Desk, mpsc::Receiver<PairAnswer>)> {
        let mut desk = lock(&self.inner.sync.desk);
        if desk.as_ref().is_some_and(|other| !other.is_closed()) {
            return Err(failed(PairingError::Busy));
        }
        let (answers, from_person) = mpsc::channel(4);
        *desk = Some(answers);
        Ok((Desk(self.clone()), from_person))
    }

    /// A person's answer to the pairing that goes on.
    ///
    /// Errors: [`EngineError::InvalidRequest`] when there is none.
    pub async fn answer_pairing(&self, answer: PairAnswer) -> Result<()> {
        let desk = lock(&self.inner.sync.desk).clone();
        let none = || EngineError::InvalidRequest("no pairing waits for an answer".into());
        desk.ok_or_else(none)?.send(answer).await.map_err(|_| none())
    }

    /// Lets this profile into an account: shows a code, which a device of the account scans or types.
    ///
    /// Errors: [`EngineError::Network`], [`EngineError::InvalidRequest`] for what a pairing ends with; nothing is kept then.
    pub async fn pair(
        &self,
        params: PairParams,
        events: mpsc::Sender<PairEvent>,
        cancel: CancellationToken,
    ) -> Result<SyncStatus> {
        let _only = self.inner.sync.changing.lock().await;
        self.check_no_account()?;
        let (_desk, mut answers) = self.take_desk()?;
        let name = device_name(params.name)?;
        let address = params.server.as_deref().map(parse_address).transpose()?;
        let keys = Keychain::random(&mut OsEntropy);
        let public = keys.public().map_err(internal)?;
        let place = address.as_ref().map(|address| address.endpoint.to_string());
        let place = place.unwrap_or_default().try_into().map_err(internal)?;
        let typed = Code::to_type(&mut OsEntropy);
        let scan = Code::to_scan(public, place, &mut OsEntropy);
        let now_ms = self.now_ms();
        // Without a server this device has the mailboxes itself, and the other one looks for them on the local network.
        let lobby = match &address {
            Some(_) => None,
            None => Some(self.open_lobby(&[typed.mailbox(), scan.mailbox()])?),
        };
        let endpoint = match (&address, &lobby) {
            (Some(address), _) => address.endpoint.clone(),
            (None, Some(lobby)) => lobby.endpoint.clone(),
            (None, None) => return Err(internal("no place to pair in")),
        };
        let mut sides = Vec::new();
        for code in [&typed, &scan] {
            let mut mailbox = Mailbox::open(&endpoint, code.mailbox()).await?;
            let (joining, outputs) =
                Joining::begin(code, public, time(now_ms), &mut OsEntropy).map_err(failed)?;
            for output in outputs {
                if let Output::Send(message) = output {
                    mailbox.say(Some(message))?;
                }
            }
            sides.push((mailbox, joining));
        }
        tell_code(&events, &typed, &scan, now_ms).await?;
        let signer = keys.signing().map_err(internal)?;
        let limit = Duration::from_millis(PAIRING_TTL_MS);
        let joined = tokio::select! {
            joined = self.join(sides, &signer, &events, &mut answers) => joined?,
            () = cancel.cancelled() => return Err(EngineError::Cancelled),
            () = self.stopping() => return Err(EngineError::Stopped),
            () = tokio::time::sleep(limit) => return Err(failed(PairingError::Expired)),
        };
        let server = match &joined.genesis.statement.action {
            hearth_protocol::control::Action::Genesis(genesis) => genesis.server.clone(),
            _ => None,
        };
        let other = |address: &ServerAddress| server.as_ref().is_none_or(|server| server.key != address.key);
        if address.as_ref().is_some_and(other) {
            return Err(EngineError::InvalidRequest(
                "the account's server isn't the one of the address that was given: look at it again on the other device"
                    .into(),
            ));
        }
        let joining = hearth_sync::device::Joining {
            genesis: joined.genesis,
            control: joined.control,
            checkpoint: joined.checkpoint,
            transcript: joined.transcript,
        };
        let (device, outputs) = Device::join(joining, keys, time(self.now_ms()), &mut OsEntropy)
            .map_err(|error| device_error(&error))?;
        self.begin(device, outputs, &name).await?;
        let running = self.running()?;
        let (status, _) = running.wait_for(PATIENCE, |status| status.reached).await?;
        Ok(status)
    }

    fn local_network(&self) -> Result<LocalNetwork> {
        if self.settings().local_network == Some(false) {
            return Err(EngineError::Unsupported(
                "the local network isn't used: see the setting local_network".into(),
            ));
        }
        Ok(self.inner.options.local_network.clone())
    }

    fn open_lobby(&self, mailboxes: &[MailboxId]) -> Result<Lobby> {
        let seed = Secret::random(&mut OsEntropy);
        let clock = std::sync::Arc::clone(&self.inner.options.clock);
        Lobby::open(&self.local_network()?, clock, &seed, mailboxes)
    }

    /// Both codes' pairings at once: which of them the other device takes up is its choice. One that a stranger spoils ends by
    /// itself, and so does the one that comes second to be compared: a person compares one.
    async fn join(
        &self,
        sides: Vec<(Mailbox, Joining)>,
        signer: &SigningKey,
        events: &mpsc::Sender<PairEvent>,
        answers: &mut mpsc::Receiver<PairAnswer>,
    ) -> Result<Joined> {
        let mut sides: Vec<Option<(Mailbox, Joining)>> = sides.into_iter().map(Some).collect();
        let mut comparing: Option<(usize, String)> = None;
        let mut last = internal("two codes");
        loop {
            if sides.iter().all(Option::is_none) {
                return Err(last);
            }
            let (which, came) = {
                let [first, second] = &mut sides[..] else {
                    return Err(last);
                };
                tokio::select! {
                    came = next(first) => (0, came.map(|(_, messages)| messages)),
                    came = next(second) => (1, came.map(|(_, messages)| messages)),
                    answer = answers.recv() => {
                        let (Some((which, shown)), Some(PairAnswer { same: Some(same), digits, .. })) =
                            (&comparing, answer)
                        else {
                            continue;
                        };
                        let side = if *which == 0 { first } else { second };
                        let (Some((_, joining)), true) = (side, digits.is_none_or(|digits| digits == *shown)) else {
                            continue;
                        };
                        let outputs = joining.confirm(same, time(self.now_ms())).map_err(failed)?;
                        if let Some(joined) = done(outputs) {
                            return Ok(joined);
                        }
                        let _ = events.send(PairEvent::Waiting).await;
                        continue;
                    }
                }
            };
            let heard = match (came, sides.get_mut(which).and_then(Option::as_mut)) {
                (Ok(messages), Some(side)) => self.hear(side, &messages, signer),
                (Err(error), _) => Err(error),
                (_, None) => continue,
            };
            let outputs = match heard {
                Ok(outputs) => outputs,
                Err(error) => {
                    // What a person has begun to compare ends with its reason; else the other code is still good.
                    if comparing.as_ref().is_some_and(|(place, _)| *place == which) {
                        return Err(error);
                    }
                    if which == TYPED {
                        let _ = events.send(PairEvent::TryFailed { left: 0 }).await;
                    }
                    last = error;
                    if let Some((mut mailbox, _)) = sides[which].take() {
                        // What the other device is to know of the end.
                        mailbox.flush(mailbox.next - 1).await;
                        mailbox.close().await;
                    }
                    continue;
                }
            };
            for output in outputs {
                match output {
                    Output::Compare(digits) => {
                        if comparing.as_ref().is_some_and(|(place, _)| *place != which) {
                            sides[which] = None;
                            break;
                        }
                        comparing = Some((which, digits.clone()));
                        let _ = events.send(PairEvent::Compare { digits }).await;
                    }
                    Output::TryFailed { left } => {
                        let _ = events.send(PairEvent::TryFailed { left }).await;
                    }
                    Output::Done(joined) => return Ok(joined),
                    Output::Send(_) | Output::Failed(_) => {}
                }
            }
        }
    }

    /// Takes what has come for one code, answers it, and gives what a person has to see.
    fn hear(
        &self,
        (mailbox, joining): &mut (Mailbox, Joining),
        messages: &[MailboxMessage],
        signer: &SigningKey,
    ) -> Result<Vec<Output<Joined>>> {
        let mut rest = Vec::new();
        for message in messages {
            let outputs = joining
                .receive(message, signer, time(self.now_ms()), &mut OsEntropy)
                .map_err(failed)?;
            for output in outputs {
                match output {
                    Output::Send(message) => _ = mailbox.say(Some(message))?,
                    Output::Failed(why) => return Err(failed(why)),
                    output => rest.push(output),
                }
            }
        }
        Ok(rest)
    }

    /// Lets another device into this account: `code` is what it shows, typed or scanned.
    ///
    /// Errors: as [`Engine::pair`]; [`EngineError::Network`] when the server can't be asked.
    pub async fn approve(
        &self,
        code: String,
        events: mpsc::Sender<PairEvent>,
        cancel: CancellationToken,
    ) -> Result<DeviceInfo> {
        let running = self.running()?;
        let (_desk, mut answers) = self.take_desk()?;
        let code = parse_code(&code)?;
        if lock(&self.inner.sync.used_codes).contains(&code.mailbox()) {
            return Err(failed(PairingError::Used));
        }
        self.online(&running).await?;
        let status = running.ask(Command::Status).await??;
        let endpoint: Endpoint = if let Some(server) = status.server {
            server.parse().map_err(|_| internal("the server's address"))?
        } else {
            let network = self.local_network()?;
            let mailbox = code.mailbox();
            let found = local::find_lobby(&network, &mailbox);
            tokio::time::timeout(PATIENCE, found).await.map_err(|_| {
                EngineError::Network(
                    "no device with this code is on the local network: is it the right code, and are both in the same \
                     network?"
                        .into(),
                )
            })?
        };
        let sponsor = running.ask(Command::Sponsor).await??;
        let now = time(self.now_ms());
        let mut admitting = Admitting::begin(&code, sponsor, now).map_err(failed)?;
        let mut mailbox = Mailbox::open(&endpoint, code.mailbox()).await?;
        mailbox.say(None)?;
        let limit = Duration::from_millis(PAIRING_TTL_MS);
        let admitted = tokio::select! {
            admitted = self.admit(&mut admitting, &mut mailbox, &events, &mut answers) => admitted?,
            () = cancel.cancelled() => return Err(EngineError::Cancelled),
            () = self.stopping() => return Err(EngineError::Stopped),
            () = tokio::time::sleep(limit) => return Err(failed(PairingError::Expired)),
        };
        let enrolled = enrol(&running, &admitted).await;
        let entry = enrolled.as_ref().ok().copied();
        let mut last = 0;
        for output in admitting.enrolled(entry, &mut OsEntropy).map_err(failed)? {
            if let Output::Send(message) = output {
                last = mailbox.say(Some(message))?;
            }
        }
        mailbox.flush(last).await;
        mailbox.close().await;
        enrolled?;
        {
            let mut used = lock(&self.inner.sync.used_codes);
            let places = used.len().saturating_sub(USED_CODES - 1);
            used.drain(..places);
            used.push(code.mailbox());
        }
        let device = admitted.device.device_id().to_string();
        let status = running.ask(Command::Status).await??;
        status
            .devices
            .into_iter()
            .find(|other| other.device == device)
            .ok_or(EngineError::NotFound { what: "device" })
    }

    async fn admit(
        &self,
        admitting: &mut Admitting,
        mailbox: &mut Mailbox,
        events: &mpsc::Sender<PairEvent>,
        answers: &mut mpsc::Receiver<PairAnswer>,
    ) -> Result<Admitted> {
        let (mut shown, mut tries) = (None, PAIRING_TRIES);
        let mut somebody = false;
        let begun = tokio::time::Instant::now();
        loop {
            let outputs = tokio::select! {
                () = tokio::time::sleep_until(begun + NOBODY), if !somebody => return Err(nobody()),
                came = mailbox.next() => {
                    let mut outputs = Vec::new();
                    for message in came?.1 {
                        somebody = true;
                        let now = time(self.now_ms());
                        outputs.extend(admitting.receive(&message, now, &mut OsEntropy).map_err(failed)?);
                    }
                    outputs
                }
                Some(answer) = answers.recv() => {
                    let now = time(self.now_ms());
                    match answer {
                        PairAnswer { same: Some(same), digits, .. } => {
                            if digits.is_some() && digits != shown {
                                continue;
                            }
                            admitting.confirm(same, now, &mut OsEntropy).map_err(failed)?
                        }
                        PairAnswer { code: Some(code), .. } => {
                            let Ok(code) = TypedCode::parse(&code) else {
                                // A slip that its check character shows costs no try.
                                let _ = events.send(PairEvent::TryFailed { left: tries }).await;
                                continue;
                            };
                            admitting.retype(&code, now, &mut OsEntropy).map_err(failed)?
                        }
                        _ => continue,
                    }
                }
            };
            let mut last = 0;
            for output in outputs {
                match output {
                    Output::Send(message) => last = mailbox.say(Some(message))?,
                    Output::Compare(digits) => {
                        shown = Some(digits.clone());
                        let _ = events.send(PairEvent::Compare { digits }).await;
                    }
                    Output::TryFailed { left } => {
                        tries = left;
                        let _ = events.send(PairEvent::TryFailed { left }).await;
                    }
                    Output::Failed(why) => {
                        mailbox.flush(last).await;
                        return Err(failed(why));
                    }
                    Output::Done(admitted) => return Ok(admitted),
                }
            }
        }
    }
}

/// Has the enrolment made, and gives its entry.
async fn enrol(running: &Running, admitted: &Admitted) -> Result<hearth_protocol::id::Hash> {
    let wanted = admitted.device.device_id();
    let mut notices = running.notices();
    running
        .step(Input::Enrol {
            keys: admitted.device,
            proof: admitted.proof,
            transcript: admitted.transcript,
        })
        .await?;
    let enrolled = wait_notice(&mut notices, |notice| match notice {
        Notice::Enrolled { device, entry } if *device == wanted => Some(*entry),
        _ => None,
    })
    .await;
    if enrolled.is_err() {
        // The other device is told that it isn't let in: then it must not be later.
        running.step(Input::Withdraw { device: wanted }).await?;
    }
    enrolled
}

fn done(outputs: Vec<Output<Joined>>) -> Option<Joined> {
    outputs.into_iter().find_map(|output| match output {
        Output::Done(joined) => Some(joined),
        _ => None,
    })
}

async fn tell_code(events: &mpsc::Sender<PairEvent>, typed: &Code, scan: &Code, now_ms: i64) -> Result<()> {
    let (Code::Typed(typed), Code::Scanned(scan)) = (typed, scan) else {
        return Err(internal("two codes"));
    };
    let scan = scan.to_text();
    let drawn = Qr::new(&scan).map_err(internal)?;
    let event = PairEvent::Code {
        typed: typed.to_string(),
        scan,
        qr: drawn.terminal(Paint::DarkBackground),
        svg: drawn.svg(),
        expires_at_ms: now_ms.saturating_add_unsigned(PAIRING_TTL_MS),
    };
    events.send(event).await.map_err(|_| EngineError::Cancelled)
}

fn parse_code(text: &str) -> Result<Code> {
    let text = text.trim();
    if text.to_ascii_uppercase().starts_with("HEARTH:") {
        return ScanCode::parse(text).map(Code::Scanned).map_err(|_| mistyped());
    }
    TypedCode::parse(text).map(Code::Typed).map_err(|_| mistyped())
}

fn mistyped() -> EngineError {
    EngineError::InvalidRequest(
        "this is no pairing code: 12 characters as XXXX-XXXX-XXXX, or the text of the QR code; look for a slip".into(),
    )
}
