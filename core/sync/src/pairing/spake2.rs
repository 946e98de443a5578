//! SPAKE2 (RFC 9382) with edwards25519, SHA-256, HKDF-SHA256 and HMAC-SHA256: two sides that know the same few characters
//! agree on a key, and whoever doesn't know them has one guess a run.
//!
//! Written out because no maintained crate follows the RFC: those at hand have other constants and another transcript.
//! The RFC has vectors for P-256 only; its key schedule doesn't depend on the group and is tested with them, and the rest
//! with vectors of a second implementation (`vectors/check.py`).

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use hearth_protocol::hash::{context, label};
use hearth_protocol::id::MailboxId;
use hearth_protocol::pairing::TypedCode;
use ring::{digest, hmac};
use zeroize::Zeroizing;

use crate::secret::{Random, Secret, expand, extract};

/// RFC 9382, section 6.
const M: [u8; 32] = [
    0xd0, 0x48, 0x03, 0x2c, 0x6e, 0xa0, 0xb6, 0xd6, 0x97, 0xdd, 0xc2, 0xe8, 0x6b, 0xda, 0x85, 0xa3, 0x3a,
    0xda, 0xc9, 0x20, 0xf1, 0xbf, 0x18, 0xe1, 0xb0, 0xc6, 0xd1, 0x66, 0xa5, 0xce, 0xcd, 0xaf,
];
/// RFC 9382, section 6.
const N: [u8; 32] = [
    0xd3, 0xbf, 0xb5, 0x18, 0xf4, 0x4f, 0x34, 0x30, 0xf2, 0x9d, 0x0c, 0x92, 0xaf, 0x50, 0x38, 0x65, 0xa1,
    0xed, 0x32, 0x81, 0xdc, 0x69, 0xb3, 0x5d, 0xd8, 0x68, 0xba, 0x85, 0xf8, 0x86, 0xc4, 0xab,
];

/// Which part a side takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// The new device.
    A,
    /// The enrolled device.
    B,
}

/// The other side's share isn't a point that one may compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadShare;

/// The secret number of a code.
pub(crate) type Password = Zeroizing<Scalar>;

/// The secret number `w` of the twelve values of a code.
pub(crate) fn password(code: &TypedCode) -> Password {
    of_values(code.password(), &code.mailbox())
}

fn of_values(values: &[u8], mailbox: &MailboxId) -> Password {
    let mut wide = Zeroizing::new([0; 64]);
    let label = context(label::PAIRING_KEY);
    expand(
        &extract(&[], &[values]),
        &[&label, &mailbox.0],
        wide.as_mut_slice(),
    );
    Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide))
}

/// A side that has made its share.
pub(crate) struct Start {
    side: Side,
    password: Password,
    secret: Zeroizing<Scalar>,
    /// To be sent.
    pub(crate) share: [u8; 32],
}

/// What both sides have once the shares are exchanged, if both know the code.
pub(crate) struct Agreed {
    key: Zeroizing<[u8; 16]>,
    transcript: Zeroizing<Vec<u8>>,
    theirs: Secret,
    /// To be sent: it proves that this side knows the code.
    pub(crate) confirmation: [u8; 32],
}

/// The blinding point of a side.
fn blind(side: Side) -> Option<EdwardsPoint> {
    CompressedEdwardsY(match side {
        Side::A => M,
        Side::B => N,
    })
    .decompress()
}

impl Start {
    pub(crate) fn new(side: Side, password: Password, random: &mut dyn Random) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        random.fill(wide.as_mut_slice());
        let secret = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide));
        // The constants decompress: a test looks at it.
        let masked = blind(side).map(|point| point * *password + EdwardsPoint::mul_base(&secret));
        Self {
            side,
            password,
            secret,
            share: masked.map_or([0; 32], |point| point.compress().to_bytes()),
        }
    }

    /// Takes the other side's share.
    pub(crate) fn finish(&self, other: &[u8; 32]) -> Result<Agreed, BadShare> {
        let encoded = CompressedEdwardsY(*other);
        let point = encoded.decompress().ok_or(BadShare)?;
        // Another spelling of the point would be another transcript: refused, so that there is one.
        if point.compress() != encoded {
            return Err(BadShare);
        }
        let (their_side, first, second) = match self.side {
            Side::A => (Side::B, &self.share, other),
            Side::B => (Side::A, other, &self.share),
        };
        let unmasked = point - blind(their_side).ok_or(BadShare)? * *self.password;
        let shared = (unmasked * *self.secret).mul_by_cofactor();
        if shared.is_identity() {
            return Err(BadShare);
        }
        let shared = Zeroizing::new(shared.compress().to_bytes());
        let mut number = Zeroizing::new(self.password.to_bytes());
        number.reverse();
        let mut transcript = Zeroizing::new(Vec::with_capacity(6 * 8 + 4 * 32));
        let parts: [&[u8]; 6] = [&[], &[], first, second, shared.as_slice(), number.as_slice()];
        for part in parts {
            transcript.extend_from_slice(&(part.len() as u64).to_le_bytes());
            transcript.extend_from_slice(part);
        }
        Ok(schedule(self.side, transcript))
    }
}

/// RFC 9382, section 4: the key, and both confirmations.
fn schedule(side: Side, transcript: Zeroizing<Vec<u8>>) -> Agreed {
    let digest = digest::digest(&digest::SHA256, &transcript);
    let mut halves = Zeroizing::new([0; 32]);
    halves.copy_from_slice(digest.as_ref());
    let (encryption, authentication) = halves.split_at(16);
    let mut keys = Zeroizing::new([0; 32]);
    expand(
        &extract(&[], &[authentication]),
        &[b"ConfirmationKeys"],
        keys.as_mut_slice(),
    );
    let (of_a, of_b) = keys.split_at(16);
    let (mine, theirs) = match side {
        Side::A => (of_a, of_b),
        Side::B => (of_b, of_a),
    };
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(encryption);
    let mut their_key = [0; 32];
    their_key[..16].copy_from_slice(theirs);
    Agreed {
        key,
        confirmation: *extract(mine, &[&transcript]).expose(),
        theirs: Secret::new(their_key),
        transcript,
    }
}

impl Agreed {
    /// Whether the other side's confirmation is right, in constant time.
    pub(crate) fn confirms(&self, confirmation: &[u8; 32]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.theirs.expose()[..16]);
        hmac::verify(&key, &self.transcript, confirmation).is_ok()
    }

    /// The pairing's key. Only after the other side has confirmed.
    pub(crate) fn pairing_key(&self) -> Secret {
        let mut key = Zeroizing::new([0; 32]);
        let label = context(label::PAIRING_KEY);
        expand(
            &extract(&[], &[self.key.as_slice()]),
            &[&label],
            key.as_mut_slice(),
        );
        Secret::new(*key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Counting, hex, unhex};

    /// RFC 9382, appendix B, first vector: the transcript, and what follows from it in whatever group.
    #[test]
    fn the_key_schedule_of_the_rfc() {
        let transcript = "06000000000000007365727665720600000000000000636c69656e74410000000000000004a56fa807caaa53a4d28dbb98\
             53b9815c61a411118a6fe516a8798434751470f9010153ac33d0d5f2047ffdb1a3e42c9b4e6be662766e1eeb4116988ede5f\
             912c41000000000000000406557e482bd03097ad0cbaa5df82115460d951e3451962f1eaf4367a420676d09857ccbc522686\
             c83d1852abfa8ed6e4a1155cf8f1543ceca528afb591a1e0b741000000000000000412af7e89717850671913e6b469ace67b\
             d90a4df8ce45c2af19010175e37eed69f75897996d539356e2fa6a406d528501f907e04d97515fbe83db277b715d33252000\
             0000000000002ee57912099d31560b3a44b1184b9b4866e904c49d12ac5042c97dca461b1a5f"
            .replace(' ', "");
        let transcript = Zeroizing::new(unhex(&transcript));
        let a = schedule(Side::A, transcript.clone());
        let b = schedule(Side::B, transcript);
        assert_eq!(hex(a.key.as_slice()), "0e0672dc86f8e45565d338b0540abe69");
        assert_eq!(
            hex(a.confirmation),
            "58ad4aa88e0b60d5061eb6b5dd93e80d9c4f00d127c65b3b35b1b5281fee38f0"
        );
        assert_eq!(
            hex(b.confirmation),
            "d3e2e547f1ae04f2dbdbf0fc4b79f8ecff2dff314b5d32fe9fcef2fb26dc459b"
        );
        assert!(a.confirms(&b.confirmation) && b.confirms(&a.confirmation));
        assert!(!a.confirms(&a.confirmation) && !b.confirms(&b.confirmation));
    }

    #[test]
    fn the_constants_are_points_of_the_large_group() {
        for side in [Side::A, Side::B] {
            let point = blind(side).unwrap();
            assert!(point.is_torsion_free() && !point.is_small_order());
        }
        assert_ne!(M, N);
    }

    fn start(side: Side, code: [u8; 11], random: &mut Counting) -> Start {
        Start::new(side, password(&TypedCode::new(code)), random)
    }

    #[test]
    fn only_the_same_code_agrees() {
        let mut random = Counting::default();
        let (a, b) = (
            start(Side::A, [1; 11], &mut random),
            start(Side::B, [1; 11], &mut random),
        );
        let (at_a, at_b) = (a.finish(&b.share).unwrap(), b.finish(&a.share).unwrap());
        assert!(at_a.confirms(&at_b.confirmation) && at_b.confirms(&at_a.confirmation));
        assert_eq!(at_a.pairing_key().expose(), at_b.pairing_key().expose());

        let other = start(Side::B, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2], &mut random);
        let (at_a, at_other) = (a.finish(&other.share).unwrap(), other.finish(&a.share).unwrap());
        assert!(!at_a.confirms(&at_other.confirmation) && !at_other.confirms(&at_a.confirmation));
        assert_ne!(at_a.pairing_key().expose(), at_other.pairing_key().expose());
    }

    #[test]
    fn shares_that_nobody_should_compute_with_are_refused() {
        let a = start(Side::A, [1; 11], &mut Counting::default());
        // What is no point; a point spelled above the prime; the identity with a sign.
        let above_the_prime = {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xee;
            bytes[31] = 0x7f;
            bytes
        };
        let mut signed_identity = [0; 32];
        (signed_identity[0], signed_identity[31]) = (1, 0x80);
        for bad in [[2; 32], above_the_prime, signed_identity] {
            assert_eq!(a.finish(&bad).map(|_| ()), Err(BadShare));
        }
        // The other side's blinding alone gives everybody the identity.
        let masked = (blind(Side::B).unwrap() * *a.password).compress().to_bytes();
        assert_eq!(a.finish(&masked).map(|_| ()), Err(BadShare));
    }
}
