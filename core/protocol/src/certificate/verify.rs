//! The checks, in the order of the specification. Nothing here reads a clock or keeps a secret.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CERTIFICATE_VERSION, CertificateError, DeviceReport, Part, ReceiptReport, Report, Residual, ServerReport,
    Standing,
};
use crate::codec::Wire;
use crate::control::{Account, Action, ControlEntry, Member, RevokeReason, ServerIdentity};
use crate::erasure::{CERTIFICATE_MAGIC, Certificate, CertificateBody, CertificateState, Erase};
use crate::id::{AccountId, DeviceId, Hash, LogId, TimeMs, VerifyKey};
use crate::limits::MAX_CERTIFICATE_BYTES;

/// Verifies a certificate file: the magic, the encoding, every signature, and what is missing.
///
/// It costs time linear in the file, two signature checks a part at the most, but for reunions (at most
/// [`MAX_UNITES`](crate::limits::MAX_UNITES)), each of which hashes what stands before it once more.
pub fn verify(bytes: &[u8]) -> Result<Report, CertificateError> {
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge);
    }
    let body = bytes
        .strip_prefix(CERTIFICATE_MAGIC.as_slice())
        .ok_or(CertificateError::NotACertificate)?;
    // The version comes first, so that a later layout is named as such and not as garbage.
    let version = u16::read(&mut crate::codec::Reader::new(body))?;
    if version != CERTIFICATE_VERSION {
        return Err(CertificateError::Version(version));
    }
    let certificate = Certificate::decode(body)?;
    let facts = Facts::of(&certificate.statement.control)?;
    let issuer = facts.member(&certificate.statement.issuer, Part::Certificate)?;
    if issuer.revoked.is_some() {
        return Err(CertificateError::NotEntitled(Part::Certificate));
    }
    certificate
        .verify(&facts.id, &issuer.keys.log)
        .map_err(|_| CertificateError::Signature(Part::Certificate))?;
    let report = report(&facts, &certificate.statement)?;
    if certificate.statement.state == CertificateState::Complete && !report.complete {
        return Err(CertificateError::ClaimsTooMuch);
    }
    Ok(report)
}

/// An epoch's change, by its place in the control log.
#[derive(Clone, Copy)]
struct Ending {
    /// The number of the entry.
    entry: u64,
    /// The epoch's number.
    epoch: u64,
}

/// What the control log says.
pub(super) struct Facts {
    pub(super) id: AccountId,
    account: Account,
    /// Every entry by its id.
    entries: BTreeSet<Hash>,
    /// Epochs by the ids of their entries.
    epochs: BTreeMap<Hash, u64>,
    /// Erasure → the first epoch that ends its keys.
    endings: BTreeMap<Hash, Ending>,
    /// Servers: the first entry that names each, and the last identity.
    servers: BTreeMap<VerifyKey, (u64, ServerIdentity)>,
    reasons: BTreeMap<DeviceId, RevokeReason>,
    losing: Vec<ControlEntry>,
}

impl Facts {
    /// Replays the control log.
    pub(super) fn of(control: &[ControlEntry]) -> Result<Self, CertificateError> {
        let refused = |index| move |source| CertificateError::Control { index, source };
        let first = control.first().ok_or(CertificateError::Control {
            index: 0,
            source: crate::control::ControlError::Genesis,
        })?;
        let account = Account::open(first).map_err(refused(0))?;
        let mut facts = Self {
            id: account.id(),
            entries: BTreeSet::new(),
            epochs: BTreeMap::new(),
            endings: BTreeMap::new(),
            servers: BTreeMap::new(),
            reasons: BTreeMap::new(),
            losing: Vec::new(),
            account,
        };
        facts.note(first);
        for (index, entry) in control.iter().enumerate().skip(1) {
            facts.account.append(entry, control).map_err(refused(index))?;
            facts.note(entry);
        }
        Ok(facts)
    }

    /// Keeps what an accepted entry says.
    fn note(&mut self, entry: &ControlEntry) {
        let number = entry.statement.number;
        let id = self.account.head();
        self.entries.insert(id);
        match &entry.statement.action {
            Action::Genesis(genesis) => self.serve(number, genesis.server.as_ref()),
            Action::ServerChange(change) => self.serve(number, change.server.as_ref()),
            Action::Epoch(epoch) => {
                self.epochs.insert(id, epoch.number);
                let ending = Ending {
                    entry: number,
                    epoch: epoch.number,
                };
                for erase in epoch.ends.iter() {
                    self.endings.entry(*erase).or_insert(ending);
                }
            }
            Action::Revoke(revoke) => {
                self.reasons.insert(revoke.target, revoke.reason);
            }
            Action::Unite(both) => {
                // Replayed a moment ago, so all of them decode.
                let decoded = both.losing.iter().map(|bytes| ControlEntry::decode(bytes));
                let losing: Vec<ControlEntry> = decoded.flatten().collect();
                // Whoever knew that branch ordered erasures on it.
                self.entries.extend(losing.iter().map(|entry| entry.id(&self.id)));
                self.losing.extend(losing);
            }
            Action::Enrol(_) | Action::Recover(_) | Action::Phrase(_) => {}
        }
    }

    fn serve(&mut self, number: u64, server: Option<&ServerIdentity>) {
        if let Some(server) = server {
            let known = self.servers.entry(server.key);
            known.or_insert((number, server.clone())).1 = server.clone();
        }
    }

    /// A device that was ever enrolled.
    fn member(&self, device: &DeviceId, part: Part) -> Result<&Member, CertificateError> {
        self.account
            .devices()
            .get(device)
            .ok_or(CertificateError::UnknownAuthor(part))
    }

    /// The number of the epoch that this entry begins.
    pub(super) fn epoch(&self, entry: &Hash) -> Option<u64> {
        self.epochs.get(entry).copied()
    }

    /// The number of the epoch that ends an erasure's keys.
    pub(super) fn ended_by(&self, erase: &Hash) -> Option<u64> {
        self.endings.get(erase).map(|ending| ending.epoch)
    }

    /// Whether an erasure of this device's log counts.
    pub(super) fn counts(&self, device: &DeviceId, erase: &Erase) -> bool {
        self.account.accepts_erasure(device, &erase.log, erase.number)
    }

    pub(super) fn knows_device(&self, device: &DeviceId) -> bool {
        self.account.devices().contains_key(device)
    }

    pub(super) fn knows_server(&self, server: &VerifyKey) -> bool {
        self.servers.contains_key(server)
    }
}

/// Checks every part of a certificate against the control log, and says what is missing. The issuer's own signature is
/// the caller's.
pub(super) fn report(facts: &Facts, body: &CertificateBody) -> Result<Report, CertificateError> {
    let logs = check_logs(facts, body)?;
    let erasures = check_erasures(facts, body, &logs)?;
    let receipts = check_receipts(facts, body, &erasures)?;
    let acks = check_acks(facts, body, &erasures)?;
    let epoch_acks = check_epoch_acks(facts, body, &erasures)?;

    let devices: Vec<DeviceReport> = facts
        .account
        .devices()
        .iter()
        .map(|(device, member)| device_report(facts, *device, member, &erasures, &acks, &epoch_acks))
        .collect();
    let servers: Vec<ServerReport> = facts
        .servers
        .iter()
        .map(|(key, (since, identity))| {
            let asked = |erase: &&Hash| {
                facts
                    .endings
                    .get(*erase)
                    .is_none_or(|ending| *since <= ending.entry)
            };
            ServerReport {
                server: *key,
                endpoint: identity.endpoint.to_string(),
                receipts: erasures
                    .iter()
                    .filter_map(|erase| receipts.get(&(*key, *erase)).copied())
                    .collect(),
                missing: erasures
                    .iter()
                    .filter(asked)
                    .filter(|erase| !receipts.contains_key(&(*key, **erase)))
                    .copied()
                    .collect(),
            }
        })
        .collect();
    let unended: Vec<Hash> = erasures
        .iter()
        .filter(|erase| !facts.endings.contains_key(*erase))
        .copied()
        .collect();
    let complete = unended.is_empty()
        && devices.iter().all(|device| device.standing != Standing::Missing)
        && servers.iter().all(|server| server.missing.is_empty());
    let subject = body.erasures.first().ok_or(CertificateError::Empty)?;
    Ok(Report {
        account: facts.id,
        subject: subject.id(&facts.id),
        author: logs
            .get(&subject.statement.log)
            .map_or(body.issuer, |(_, device)| *device),
        place: (subject.statement.log, subject.statement.number),
        ordered: subject.statement.at,
        handles: body
            .erasures
            .iter()
            .map(|erase| erase.statement.handles.len())
            .sum(),
        complete,
        unended,
        residuals: residuals(facts, &devices, &servers),
        erasures,
        devices,
        servers,
        issuer: body.issuer,
        issued: body.at,
        control_number: facts.account.number(),
        control_head: facts.account.head(),
    })
}

/// Log → its place in the list, and its device.
type Logs = BTreeMap<LogId, (usize, DeviceId)>;

fn check_logs(facts: &Facts, body: &CertificateBody) -> Result<Logs, CertificateError> {
    let mut logs = BTreeMap::new();
    for (index, open) in body.logs.iter().enumerate() {
        let part = Part::Log(index);
        let member = facts.member(&open.statement.device, part)?;
        open.verify(&facts.id, &member.keys.log)
            .map_err(|_| CertificateError::Signature(part))?;
        let log = open.statement.log(&facts.id);
        if logs.insert(log, (index, open.statement.device)).is_some() {
            return Err(CertificateError::Repeated(part));
        }
    }
    Ok(logs)
}

fn check_erasures(facts: &Facts, body: &CertificateBody, logs: &Logs) -> Result<Vec<Hash>, CertificateError> {
    let mut ids: Vec<Hash> = Vec::with_capacity(body.erasures.len());
    let mut known = BTreeSet::new();
    let mut named = BTreeSet::new();
    let mut places = BTreeSet::new();
    let mut followed = BTreeSet::new();
    let mut links = Vec::new();
    for (index, erase) in body.erasures.iter().enumerate() {
        let part = Part::Erasure(index);
        let said = &erase.statement;
        let (_, device) = logs.get(&said.log).ok_or(CertificateError::UnknownAuthor(part))?;
        let member = facts.member(device, part)?;
        erase
            .verify(&facts.id, &member.keys.log)
            .map_err(|_| CertificateError::Signature(part))?;
        let counts = facts.counts(device, said);
        if index == 0 && !counts {
            return Err(CertificateError::NotEntitled(part));
        }
        if !facts.entries.contains(&said.control) {
            return Err(CertificateError::BeyondControl(part));
        }
        let follows = said.because.is_some_and(|before| known.contains(&before));
        if index > 0 && !follows {
            return Err(CertificateError::Stray(part));
        }
        let id = erase.id(&facts.id);
        if !known.insert(id) || !places.insert((said.log, said.number)) {
            return Err(CertificateError::Repeated(part));
        }
        named.insert(said.log);
        followed.extend(said.because);
        if counts {
            ids.push(id);
        } else {
            links.push((index, id));
        }
    }
    // What doesn't count, because its author was revoked, is there only for one that issues it again.
    if let Some((index, _)) = links.iter().find(|(_, id)| !followed.contains(id)) {
        return Err(CertificateError::NotEntitled(Part::Erasure(*index)));
    }
    if ids.is_empty() {
        return Err(CertificateError::Empty);
    }
    match logs.iter().find(|(log, _)| !named.contains(log)) {
        Some((_, (index, _))) => Err(CertificateError::Stray(Part::Log(*index))),
        None => Ok(ids),
    }
}

type Receipts = BTreeMap<(VerifyKey, Hash), ReceiptReport>;

fn check_receipts(
    facts: &Facts,
    body: &CertificateBody,
    erasures: &[Hash],
) -> Result<Receipts, CertificateError> {
    let mut receipts = BTreeMap::new();
    let known: BTreeSet<&Hash> = erasures.iter().collect();
    for (index, given) in body.receipts.iter().enumerate() {
        let part = Part::Receipt(index);
        let said = &given.receipt.statement;
        if !facts.servers.contains_key(&given.server) {
            return Err(CertificateError::UnknownAuthor(part));
        }
        given
            .receipt
            .verify(&facts.id, &given.server)
            .map_err(|_| CertificateError::Signature(part))?;
        if !known.contains(&said.erase) {
            return Err(CertificateError::Stray(part));
        }
        let kept = ReceiptReport {
            erase: said.erase,
            bodies: said.bodies,
            bytes: said.bytes,
            at: said.at,
            backups_until: said.backups_until,
        };
        if receipts.insert((given.server, said.erase), kept).is_some() {
            return Err(CertificateError::Repeated(part));
        }
    }
    Ok(receipts)
}

type Acks = BTreeMap<(DeviceId, Hash), TimeMs>;

fn check_acks(facts: &Facts, body: &CertificateBody, erasures: &[Hash]) -> Result<Acks, CertificateError> {
    let mut acks = BTreeMap::new();
    let known: BTreeSet<&Hash> = erasures.iter().collect();
    for (index, ack) in body.acks.iter().enumerate() {
        let part = Part::Ack(index);
        let said = &ack.statement;
        let member = facts.member(&said.device, part)?;
        ack.verify(&facts.id, &member.keys.log)
            .map_err(|_| CertificateError::Signature(part))?;
        if !known.contains(&said.erase) {
            return Err(CertificateError::Stray(part));
        }
        if acks.insert((said.device, said.erase), said.at).is_some() {
            return Err(CertificateError::Repeated(part));
        }
    }
    Ok(acks)
}

/// Device → the number of the epoch that it has taken on.
type EpochAcks = BTreeMap<DeviceId, u64>;

fn check_epoch_acks(
    facts: &Facts,
    body: &CertificateBody,
    erasures: &[Hash],
) -> Result<EpochAcks, CertificateError> {
    let first = erasures.iter().filter_map(|erase| facts.ended_by(erase)).min();
    let mut acks = BTreeMap::new();
    for (index, ack) in body.epoch_acks.iter().enumerate() {
        let part = Part::EpochAck(index);
        let said = &ack.statement;
        let member = facts.member(&said.device, part)?;
        ack.verify(&facts.id, &member.keys.log)
            .map_err(|_| CertificateError::Signature(part))?;
        if facts.epoch(&said.epoch) != Some(said.number) {
            return Err(CertificateError::BeyondControl(part));
        }
        // An epoch from before the erasures ended confirms nothing.
        if first.is_none_or(|first| said.number < first) {
            return Err(CertificateError::Stray(part));
        }
        if acks.insert(said.device, said.number).is_some() {
            return Err(CertificateError::Repeated(part));
        }
    }
    Ok(acks)
}

fn device_report(
    facts: &Facts,
    device: DeviceId,
    member: &Member,
    erasures: &[Hash],
    acks: &Acks,
    epoch_acks: &EpochAcks,
) -> DeviceReport {
    let asked = |erase: &&Hash| {
        facts
            .endings
            .get(*erase)
            .is_none_or(|ending| member.enrolled < ending.entry)
    };
    let unacknowledged: Vec<Hash> = erasures
        .iter()
        .filter(asked)
        .filter(|erase| !acks.contains_key(&(device, **erase)))
        .copied()
        .collect();
    // The last of the epochs that end what this device may have held.
    let last = erasures
        .iter()
        .filter(asked)
        .filter_map(|erase| facts.ended_by(erase))
        .max();
    let asked_anything = erasures.iter().any(|erase| asked(&erase));
    let keys_unconfirmed = match last {
        Some(last) => epoch_acks.get(&device).is_none_or(|number| *number < last),
        None => asked_anything,
    };
    let confirmed = unacknowledged.is_empty() && !keys_unconfirmed;
    let standing = match (asked_anything, member.revoked.is_some(), confirmed) {
        (false, _, _) => Standing::NeverHeld,
        (true, false, true) => Standing::Confirmed,
        (true, false, false) => Standing::Missing,
        (true, true, true) => Standing::RevokedConfirmed,
        (true, true, false) => Standing::RevokedUnconfirmed,
    };
    DeviceReport {
        device,
        standing,
        reason: facts
            .reasons
            .get(&device)
            .copied()
            .filter(|_| member.revoked.is_some()),
        unacknowledged,
        keys_unconfirmed,
        at: erasures
            .iter()
            .filter_map(|erase| acks.get(&(device, *erase)).copied())
            .max(),
    }
}

fn residuals(facts: &Facts, devices: &[DeviceReport], servers: &[ServerReport]) -> Vec<Residual> {
    let mut residuals: Vec<Residual> = devices
        .iter()
        .filter(|device| device.standing == Standing::RevokedUnconfirmed)
        .map(|device| Residual::RevokedDevice(device.device))
        .collect();
    let mut named = BTreeSet::new();
    for entry in &facts.losing {
        let residual = match &entry.statement.action {
            Action::Enrol(enrol) if !facts.knows_device(&enrol.device.device_id()) => {
                let device = enrol.device.device_id();
                named
                    .insert(device.0)
                    .then_some(Residual::LosingBranchDevice(device))
            }
            Action::ServerChange(change) => change
                .server
                .as_ref()
                .filter(|server| !facts.knows_server(&server.key) && named.insert(server.key.0))
                .map(|server| Residual::LosingBranchServer(server.key)),
            _ => None,
        };
        residuals.extend(residual);
    }
    residuals.push(Residual::Phrase);
    residuals.push(Residual::DeviceBackups);
    for server in servers {
        let until = server.receipts.iter().map(|receipt| receipt.backups_until).max();
        residuals.extend(until.map(|until| Residual::ServerBackups(server.server, until)));
    }
    if !servers.is_empty() {
        residuals.push(Residual::ServersWord);
    }
    residuals.push(Residual::Branch(facts.account.head(), facts.account.number()));
    residuals.push(Residual::Times);
    residuals
}
