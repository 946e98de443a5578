//! Pairing: a new device ([`Joining`]) and an enrolled one ([`Admitting`]) meet in a mailbox, and two people who can be one
//! compare six digits. `PROTOCOL.md`, section 10, is the specification.
//!
//! Both sides are state machines: messages of the mailbox, the clock and entropy go in, what to send and to ask comes out.
//! A message that a machine has sent or taken already is ignored, so a mailbox may be read from its beginning again.

mod admitting;
mod joining;
pub mod qr;
mod spake2;
#[cfg(test)]
mod vectors;

pub use admitting::{Admitted, Admitting, Sponsor};
pub use joining::{Joined, Joining};

use std::collections::BTreeSet;

use hearth_protocol::codec::Wire;
use hearth_protocol::control::ControlError;
use hearth_protocol::hash::{context, label, sha256};
use hearth_protocol::id::{DeviceKeys, Hash};
use hearth_protocol::limits::{MAX_PAIRING_MESSAGES, PAIRING_TRIES, PAIRING_TTL_MS};
use hearth_protocol::pairing::{MailboxMessage, PairingMessage, ScanCode, TypedCode};
use zeroize::Zeroizing;

use crate::secret::{
    DoesNotOpen, Random, Secret, ZERO_NONCE, derive, expand, extract, open_bytes, random_bytes, seal_bytes,
};

/// Why a pairing ends, or a call doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// Ten minutes are over.
    #[error("the pairing code has expired: show a new one")]
    Expired,
    /// The code was used, or all tries were.
    #[error("the pairing code was used up: show a new one")]
    Used,
    /// Another pairing is going on.
    #[error("another pairing is going on: end it first")]
    Busy,
    /// A user said that the six digits differ: somebody stands between the devices.
    #[error("the digits differ: somebody may stand between the devices, so nothing was shared")]
    StringsDiffer,
    /// The enrolled device said no.
    #[error("the other device refused")]
    Refused,
    /// The new device's keys aren't those of the code that was scanned.
    #[error("the keys that arrived aren't those of the code: somebody stands between the devices")]
    OtherKeys,
    /// The new device's proof is wrong, or it opened another nonce than it had committed to.
    #[error("the new device didn't prove its key")]
    BadProof,
    /// This device speaks only versions older than the account allows: update this one.
    #[error("this device is too old for the account: update it")]
    ThisTooOld,
    /// The other device speaks only versions older than ours: update that one.
    #[error("the other device is too old: update it")]
    OtherTooOld,
    /// The code was made by a later version.
    #[error("the code is of a later version: update this device")]
    CodeTooNew,
    /// What the other device calls the account's first entry isn't one, or the log doesn't follow from it.
    #[error("the control log isn't the one that was paired with: {0}")]
    Control(#[from] ControlError),
    /// The log doesn't lead to the entry that was shown in pairing, or not to this device's enrolment.
    #[error("the control log doesn't hold this pairing")]
    NotEnrolled,
    /// A code for another mailbox: begin anew with it.
    #[error("this is the code of another pairing")]
    OtherCode,
    /// The call doesn't fit the state.
    #[error("nothing waits for this now")]
    NotNow,
}

/// What a side wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T> {
    /// Put this into the mailbox.
    Send(MailboxMessage),
    /// A try failed, this many are left: a wrong code, or somebody who guesses.
    TryFailed {
        /// Tries left. The new device has begun the next one; the enrolled one waits for the code to be typed again, unless
        /// more follows in the same list.
        left: u32,
    },
    /// Show these six digits, ask the user whether the other device shows the same, and call `confirm`.
    Compare(String),
    /// The end, without success. What stands before it in the list is sent all the same.
    Failed(PairingError),
    /// The end: what was agreed on.
    Done(T),
}

/// What a side begins with. `Debug` doesn't tell the code.
#[derive(Clone)]
pub enum Code {
    /// To be scanned.
    Scanned(ScanCode),
    /// To be typed.
    Typed(TypedCode),
}

impl std::fmt::Debug for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Scanned(_) => "Code::Scanned",
            Self::Typed(_) => "Code::Typed",
        })
    }
}

impl Code {
    /// A fresh code to scan, for this new device.
    pub fn to_scan(
        device: DeviceKeys,
        endpoint: hearth_protocol::control::Text255,
        random: &mut dyn Random,
    ) -> Self {
        Self::Scanned(ScanCode {
            version: SCAN_VERSION,
            device,
            secret: random_bytes(random),
            endpoint,
        })
    }

    /// A fresh code to type.
    pub fn to_type(random: &mut dyn Random) -> Self {
        Self::Typed(TypedCode::new(random_bytes(random)))
    }

    /// Where the two devices meet.
    pub fn mailbox(&self) -> hearth_protocol::id::MailboxId {
        match self {
            Self::Scanned(code) => code.mailbox(),
            Self::Typed(code) => code.mailbox(),
        }
    }

    fn secret(&self) -> Result<CodeSecret, PairingError> {
        match self {
            Self::Scanned(code) if code.version == SCAN_VERSION => Ok(CodeSecret::Scanned(scan_key(code))),
            Self::Scanned(_) => Err(PairingError::CodeTooNew),
            Self::Typed(code) => Ok(CodeSecret::Typed(spake2::password(code))),
        }
    }
}

/// The layout of a code to scan.
const SCAN_VERSION: u8 = 1;

/// What is kept of a code: wiped when it goes.
enum CodeSecret {
    Scanned(Secret),
    Typed(spake2::Password),
}

/// The pairing's key of a scanned code.
fn scan_key(code: &ScanCode) -> Secret {
    let mut info = context(label::PAIRING_KEY);
    code.device.write(&mut info);
    let mut key = Zeroizing::new([0; 32]);
    expand(&extract(&[], &[&code.secret]), &[&info], key.as_mut_slice());
    Secret::new(*key)
}

/// The sealed messages of one try.
struct Channel {
    key: Secret,
}

impl Channel {
    fn key(&self, salt: &[u8], place: u8) -> Secret {
        let mut info = context(label::PAIRING_KEY);
        info.push(place);
        derive(&self.key, salt, &info)
    }

    /// Seals the message of this place in the try, from 0.
    fn seal(&self, place: u8, message: &PairingMessage, random: &mut dyn Random) -> MailboxMessage {
        let salt: [u8; 16] = random_bytes(random);
        let sealed = seal_bytes(&self.key(&salt, place), ZERO_NONCE, &[], message.encode());
        // A genesis has at most a few hundred bytes, so every message fits.
        let bytes = [salt.as_slice(), &sealed].concat();
        MailboxMessage::Sealed(bytes.try_into().unwrap_or_default())
    }

    fn open(&self, place: u8, bytes: &[u8]) -> Result<PairingMessage, DoesNotOpen> {
        let (salt, sealed) = bytes.split_at_checked(16).ok_or(DoesNotOpen)?;
        let plain = open_bytes(&self.key(salt, place), ZERO_NONCE, &[], sealed)?;
        PairingMessage::decode(&plain).map_err(|_| DoesNotOpen)
    }
}

/// Time, tries, and the messages of a pairing that were seen.
struct Window {
    began_ms: u64,
    tries_left: u32,
    over: bool,
    seen: BTreeSet<Hash>,
}

impl Window {
    fn open(now_ms: u64) -> Self {
        Self {
            began_ms: now_ms,
            tries_left: PAIRING_TRIES,
            over: false,
            seen: BTreeSet::new(),
        }
    }

    /// A clock that jumps by more than the window, in whatever direction, closes it.
    fn expired(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.began_ms) >= PAIRING_TTL_MS
    }

    fn check(&mut self, now_ms: u64) -> Result<(), PairingError> {
        // No mailbox holds as many: whoever sends them wants memory.
        self.over |= self.seen.len() > 4 * MAX_PAIRING_MESSAGES;
        if self.over {
            return Err(PairingError::Used);
        }
        if self.expired(now_ms) {
            return Err(self.end(PairingError::Expired));
        }
        Ok(())
    }

    fn end(&mut self, why: PairingError) -> PairingError {
        self.over = true;
        why
    }

    /// Counts a failed try, and gives how many are left.
    fn fail(&mut self) -> Result<u32, PairingError> {
        self.tries_left = self.tries_left.saturating_sub(1);
        match self.tries_left {
            0 => Err(self.end(PairingError::Used)),
            left => Ok(left),
        }
    }

    /// Whether this message is new: sent or taken ones aren't.
    fn is_new(&mut self, message: &MailboxMessage) -> bool {
        self.seen.len() > 4 * MAX_PAIRING_MESSAGES || self.seen.insert(sha256(&message.encode()))
    }

    /// Marks what is sent.
    fn note<T>(&mut self, outputs: Vec<Output<T>>) -> Vec<Output<T>> {
        for output in &outputs {
            if let Output::Send(message) = output {
                self.is_new(message);
            }
        }
        outputs
    }
}
