//! Two devices meet: the codes, and the messages they leave each other.

use crate::base32::{self, digits_of, text_of};
use crate::codec::{Blob, DecodeError, Wire, wire_enum, wire_struct};
use crate::control::{ControlEntry, Text255};
use crate::hash::{hash, label};
use crate::id::{DeviceKeys, Hash, MailboxId, Signature};
use crate::limits::MAX_PAIRING_BYTES;

wire_struct! {
    /// What a new device shows for scanning.
    pub struct ScanCode {
        /// The layout: 1.
        pub version: u8,
        /// The new device's keys.
        pub device: DeviceKeys,
        /// One-time secret.
        pub secret: [u8; 16],
        /// The server to meet at; empty: on the local network.
        pub endpoint: Text255,
    }
}

wire_struct! {
    /// The first message of the new device.
    pub struct Introduction {
        /// The highest version it speaks.
        pub version: u16,
        /// Its keys.
        pub device: DeviceKeys,
        /// Commits to the nonce of its [`Reveal`].
        pub commitment: Hash,
    }
}

wire_struct! {
    /// The answer of the enrolled device.
    pub struct Offer {
        /// The version to speak.
        pub version: u16,
        /// Its own keys.
        pub device: DeviceKeys,
        /// The account's first entry.
        pub genesis: Box<ControlEntry>,
        /// The newest control entry's id.
        pub control: Hash,
        /// Id of a checkpoint of its own.
        pub checkpoint: Hash,
        /// Fresh random bytes.
        pub nonce: [u8; 16],
    }
}

wire_struct! {
    /// The new device opens its commitment and proves its key. Both show the short string from here on.
    pub struct Reveal {
        /// The nonce.
        pub nonce: [u8; 16],
        /// By its log key: see [`crate::control::device_proof_id`].
        pub proof: Signature,
    }
}

wire_struct! {
    /// The end of a pairing.
    pub struct Verdict {
        /// The id of the control entry that enrols the new device; none: refused.
        pub enrolled: Option<Hash>,
    }
}

wire_enum! {
    /// What the two devices say, before it is sealed under the pairing's key.
    pub enum PairingMessage {
        /// New → enrolled.
        1 => Introduction(Introduction),
        /// Enrolled → new.
        2 => Offer(Offer),
        /// New → enrolled.
        3 => Reveal(Reveal),
        /// Enrolled → new.
        4 => Verdict(Verdict),
    }
}

wire_enum! {
    /// What lies in a mailbox.
    pub enum MailboxMessage {
        /// A share of SPAKE2 (typed codes).
        1 => Spake([u8; 32]),
        /// A key confirmation of SPAKE2.
        2 => Confirm([u8; 32]),
        /// A sealed [`PairingMessage`].
        3 => Sealed(Blob<MAX_PAIRING_BYTES>),
    }
}

/// The transcript: what the two saw, in order.
pub fn transcript(introduction: &Introduction, offer: &Offer, nonce: &[u8; 16]) -> Hash {
    hash(
        label::PAIRING_TRANSCRIPT,
        &[&introduction.encode(), &offer.encode(), nonce],
    )
}

/// What the new device commits to before it sees the other's nonce: nobody can search for a short string that fits.
pub fn commitment(nonce: &[u8; 16]) -> Hash {
    hash(label::PAIRING_COMMIT, &[nonce])
}

/// The six digits that both devices show.
pub fn short_string(transcript: &Hash) -> String {
    let digest = hash(label::PAIRING_SAS, &[&transcript.0]);
    let mut first = [0; 8];
    first.copy_from_slice(&digest.0[..8]);
    format!("{:06}", u64::from_be_bytes(first) % 1_000_000)
}

/// Characters of a typed code without its dashes.
const TYPED_LENGTH: usize = 12;

/// What a new device shows for typing: where to meet, and a secret that is only ever used in SPAKE2.
#[derive(Clone, PartialEq, Eq)]
pub struct TypedCode {
    digits: [u8; TYPED_LENGTH],
}

impl std::fmt::Debug for TypedCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TypedCode")
    }
}

impl TypedCode {
    /// A code out of 11 random bytes, of which five bits each are used.
    pub fn new(random: [u8; 11]) -> Self {
        let mut digits = [0; TYPED_LENGTH];
        for (digit, byte) in digits.iter_mut().zip(random) {
            *digit = byte & 31;
        }
        digits[11] = check(&digits[..11]);
        Self { digits }
    }

    /// Reads what somebody typed: any case, dashes and spaces anywhere, O for 0, I and L for 1.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        let digits = digits_of(text)?;
        let digits: [u8; TYPED_LENGTH] = digits.try_into().map_err(|_| DecodeError::Truncated)?;
        if digits[11] == check(&digits[..11]) {
            Ok(Self { digits })
        } else {
            Err(DecodeError::NotCanonical)
        }
    }

    /// The mailbox, out of the first four characters alone.
    pub fn mailbox(&self) -> MailboxId {
        mailbox(&self.digits[..4])
    }

    /// The password for SPAKE2: all twelve characters.
    pub fn password(&self) -> &[u8] {
        &self.digits
    }
}

impl std::fmt::Display for TypedCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = text_of(&self.digits);
        write!(formatter, "{}-{}-{}", &text[..4], &text[4..8], &text[8..])
    }
}

impl ScanCode {
    /// The mailbox.
    pub fn mailbox(&self) -> MailboxId {
        mailbox(&self.secret)
    }

    /// As text, for a QR code's alphanumeric mode.
    pub fn to_text(&self) -> String {
        format!("HEARTH:{}", base32::encode(&self.encode()))
    }

    /// Reads [`ScanCode::to_text`], typed or scanned.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        if text.len() > 1_024 {
            return Err(DecodeError::TooLarge);
        }
        let text = text.trim();
        let (head, rest) = text.split_at_checked(7).ok_or(DecodeError::Truncated)?;
        if !head.eq_ignore_ascii_case("HEARTH:") {
            return Err(DecodeError::BadText);
        }
        Self::decode(&base32::decode(rest)?)
    }
}

fn mailbox(part: &[u8]) -> MailboxId {
    let digest = hash(label::PAIRING_MAILBOX, &[part]);
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    MailboxId(id)
}

fn check(digits: &[u8]) -> u8 {
    hash(label::PAIRING_CHECK, &[digits]).0[0] & 31
}
