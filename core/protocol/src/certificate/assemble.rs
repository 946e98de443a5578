//! Putting a certificate together out of everything that a device has.

use std::collections::{BTreeMap, BTreeSet};

use super::verify::{Facts, report};
use super::{CERTIFICATE_VERSION, CertificateError, Report};
use crate::codec::{TooLarge, Wire};
use crate::control::ControlEntry;
use crate::erasure::{
    CERTIFICATE_MAGIC, Certificate, CertificateBody, CertificateState, Erase, EraseAck, ServerReceipt,
};
use crate::hash::{Signed, Statement};
use crate::id::{DeviceId, Hash, Signature, TimeMs};
use crate::limits::MAX_CERTIFICATE_BYTES;
use crate::statement::{EpochAck, LogOpen};

/// What a device has. All lists but `control` may hold more than belongs in the certificate: it is left out.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The erasure that the certificate is about.
    pub subject: Hash,
    /// The whole control log, genesis first.
    pub control: Vec<ControlEntry>,
    /// Openings of logs.
    pub logs: Vec<Signed<LogOpen>>,
    /// Erasures: those that follow from the subject are found among them.
    pub erasures: Vec<Signed<Erase>>,
    /// Receipts.
    pub receipts: Vec<ServerReceipt>,
    /// Acknowledgements of erasures.
    pub acks: Vec<Signed<EraseAck>>,
    /// Acknowledgements of epochs.
    pub epoch_acks: Vec<Signed<EpochAck>>,
    /// The device that issues it: a member.
    pub issuer: DeviceId,
    /// When, by its clock.
    pub at: TimeMs,
}

/// Why there is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// The subject isn't among the erasures.
    #[error("the erasure isn't among the parts")]
    NoSubject,
    /// More than a certificate holds.
    #[error("a certificate can't hold as much: {0}")]
    TooLarge(#[from] TooLarge),
    /// A part doesn't hold.
    #[error(transparent)]
    Part(#[from] CertificateError),
}

/// The file's bytes and what it says. `sign` signs the certificate's id with the issuer's log key.
///
/// The state follows from the parts: complete if nothing is missing, else provisional.
pub fn assemble(
    parts: Parts,
    sign: impl FnOnce(&Hash) -> Signature,
) -> Result<(Vec<u8>, Report), AssembleError> {
    let facts = Facts::of(&parts.control)?;
    let owners: BTreeMap<_, _> = parts
        .logs
        .iter()
        .map(|open| (open.statement.log(&facts.id), open.statement.device))
        .collect();
    let counts = |erase: &Signed<Erase>| {
        let owner = owners.get(&erase.statement.log);
        owner.is_none_or(|device| facts.counts(device, &erase.statement))
    };
    let erasures = closure(&facts, &parts, counts)?;
    let ids: BTreeSet<Hash> = erasures
        .iter()
        .filter(|erase| counts(erase))
        .map(|erase| erase.id(&facts.id))
        .collect();
    let named: BTreeSet<_> = erasures.iter().map(|erase| erase.statement.log).collect();

    let logs: BTreeMap<_, _> = parts
        .logs
        .into_iter()
        .map(|open| (open.statement.log(&facts.id), open))
        .filter(|(log, _)| named.contains(log))
        .collect();
    let receipts: BTreeMap<_, _> = parts
        .receipts
        .into_iter()
        .filter(|given| ids.contains(&given.receipt.statement.erase) && facts.knows_server(&given.server))
        .map(|given| ((given.receipt.statement.erase, given.server), given))
        .collect();
    let acks: BTreeMap<_, _> = parts
        .acks
        .into_iter()
        .filter(|ack| ids.contains(&ack.statement.erase) && facts.knows_device(&ack.statement.device))
        .map(|ack| ((ack.statement.erase, ack.statement.device), ack))
        .collect();
    let first = ids.iter().filter_map(|erase| facts.ended_by(erase)).min();
    let mut epoch_acks: BTreeMap<DeviceId, Signed<EpochAck>> = BTreeMap::new();
    for ack in parts.epoch_acks {
        let said = &ack.statement;
        let useful = facts.knows_device(&said.device)
            && facts.epoch(&said.epoch) == Some(said.number)
            && first.is_some_and(|first| said.number >= first);
        let newer = epoch_acks
            .get(&said.device)
            .is_none_or(|known| known.statement.number < said.number);
        if useful && newer {
            epoch_acks.insert(said.device, ack);
        }
    }
    let mut body = CertificateBody {
        version: CERTIFICATE_VERSION,
        control: parts.control.try_into()?,
        logs: logs.into_values().collect::<Vec<_>>().try_into()?,
        erasures: erasures.try_into()?,
        receipts: receipts.into_values().collect::<Vec<_>>().try_into()?,
        acks: acks.into_values().collect::<Vec<_>>().try_into()?,
        epoch_acks: epoch_acks.into_values().collect::<Vec<_>>().try_into()?,
        state: CertificateState::Provisional,
        issuer: parts.issuer,
        at: parts.at,
    };
    if report(&facts, &body)?.complete {
        body.state = CertificateState::Complete;
    }
    let signature = sign(&body.id(&facts.id));
    let certificate = Certificate {
        statement: body,
        signature,
    };
    let mut bytes = CERTIFICATE_MAGIC.to_vec();
    certificate.write(&mut bytes);
    if bytes.len() > MAX_CERTIFICATE_BYTES {
        return Err(CertificateError::TooLarge.into());
    }
    // A wrong key, or an issuer that isn't a member, shows here and not at whoever gets the file.
    let report = super::verify(&bytes)?;
    Ok((bytes, report))
}

/// The subject, then everything that follows from it, each after what it names.
fn closure(
    facts: &Facts,
    parts: &Parts,
    counts: impl Fn(&Signed<Erase>) -> bool,
) -> Result<Vec<Signed<Erase>>, AssembleError> {
    let mut rest: BTreeMap<Hash, &Signed<Erase>> = parts
        .erasures
        .iter()
        .map(|erase| (erase.id(&facts.id), erase))
        .collect();
    let subject = rest.remove(&parts.subject).ok_or(AssembleError::NoSubject)?;
    let mut followers: BTreeMap<Hash, Vec<(Hash, &Signed<Erase>)>> = BTreeMap::new();
    for (id, erase) in rest {
        if let Some(before) = erase.statement.because {
            followers.entry(before).or_default().push((id, erase));
        }
    }
    let mut found = vec![(parts.subject, subject)];
    let mut next = 0;
    while let Some((id, _)) = found.get(next) {
        found.extend(followers.remove(id).unwrap_or_default());
        next += 1;
    }
    // From the end: what doesn't count stays only for one that issues it again.
    let mut named = BTreeSet::new();
    let mut kept: Vec<_> = found
        .into_iter()
        .rev()
        .filter(|(id, erase)| {
            let keep = counts(erase) || named.contains(id) || *id == parts.subject;
            if keep {
                named.extend(erase.statement.because);
            }
            keep
        })
        .map(|(_, erase)| erase.clone())
        .collect();
    kept.reverse();
    Ok(kept)
}
