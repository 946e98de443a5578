//! Who may open an account here: everybody, those with an invitation, or those on a list.
//!
//! An invitation carries its own proof, so that making one writes nothing: `expiry ‖ nonce ‖ the first 8 bytes of
//! HMAC-SHA256(key, expiry ‖ nonce)` in Crockford's base 32, the key derived from the server's seed. The relay remembers
//! which were used.

use std::collections::BTreeSet;

use hearth_protocol::base32;
use hearth_protocol::id::AccountId;
use ring::hmac;

use crate::identity::ServerKey;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const NONCE: usize = 6;
const PROOF: usize = 8;

/// The rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Everybody.
    Open,
    /// Whoever has an invitation of this server.
    Invitations,
    /// These accounts.
    List(BTreeSet<AccountId>),
}

/// The rule, and what checks invitations.
#[derive(Debug, Clone)]
pub struct Admission {
    rule: Rule,
    key: hmac::Key,
}

impl Admission {
    /// Of a server.
    pub fn new(rule: Rule, server: &ServerKey) -> Self {
        let outer = hmac::Key::new(hmac::HMAC_SHA256, server.seed());
        let inner = hmac::sign(&outer, b"hearth-sync-server invitations");
        Self {
            rule,
            key: hmac::Key::new(hmac::HMAC_SHA256, inner.as_ref()),
        }
    }

    /// A new invitation, good for so many days.
    pub fn invite(&self, now_ms: u64, days: u16) -> Result<String, getrandom::Error> {
        let expiry = u16::try_from(now_ms / DAY_MS + u64::from(days) + 1).unwrap_or(u16::MAX);
        let mut bytes = expiry.to_be_bytes().to_vec();
        bytes.resize(2 + NONCE, 0);
        getrandom::fill(&mut bytes[2..])?;
        let proof = hmac::sign(&self.key, &bytes);
        bytes.extend(&proof.as_ref()[..PROOF]);
        let digits = base32::encode(&bytes);
        let groups: Vec<&str> = (0..digits.len())
            .step_by(5)
            .map(|at| &digits[at..digits.len().min(at + 5)])
            .collect();
        Ok(groups.join("-"))
    }

    /// Whether this account may be opened with this invitation.
    pub fn admits(&self, account: &AccountId, invitation: &str, now_ms: u64) -> bool {
        match &self.rule {
            Rule::Open => true,
            Rule::Invitations => self.is_good(invitation, now_ms),
            Rule::List(accounts) => accounts.contains(account),
        }
    }

    fn is_good(&self, invitation: &str, now_ms: u64) -> bool {
        let Ok(bytes) = base32::decode(invitation) else {
            return false;
        };
        let Some((signed, proof)) = bytes.split_at_checked(2 + NONCE) else {
            return false;
        };
        if proof.len() != PROOF || u64::from(u16::from_be_bytes([signed[0], signed[1]])) < now_ms / DAY_MS {
            return false;
        }
        let expected = hmac::sign(&self.key, signed);
        // Compared whole, so that time tells nothing about where they differ.
        expected
            .as_ref()
            .iter()
            .zip(proof)
            .fold(0, |different, (a, b)| different | (a ^ b))
            == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(rule: Rule) -> Admission {
        let folder = tempfile::tempdir().unwrap();
        Admission::new(rule, &ServerKey::create(&folder.path().join("key")).unwrap())
    }

    #[test]
    fn an_invitation_is_good_at_its_server_until_it_ends() {
        let admission_a = admission(Rule::Invitations);
        let now = 20_000 * DAY_MS;
        let code = admission_a.invite(now, 7).unwrap();
        let account = AccountId([1; 32]);
        assert!(admission_a.admits(&account, &code, now));
        assert!(admission_a.admits(&account, &code.to_lowercase().replace('-', " "), now + 7 * DAY_MS));
        assert!(!admission_a.admits(&account, &code, now + 9 * DAY_MS));
        assert!(
            !admission(Rule::Invitations).admits(&account, &code, now),
            "of another server"
        );
        for at in 0..code.len() {
            let mut changed = code.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            let same = base32::decode(&changed) == base32::decode(&code);
            assert_eq!(admission_a.admits(&account, &changed, now), same, "{changed}");
        }
        for text in ["", "0", "é", &"Z".repeat(26)] {
            assert!(!admission_a.admits(&account, text, now), "{text}");
        }
    }

    #[test]
    fn the_other_rules_look_at_no_invitation() {
        let account = AccountId([1; 32]);
        assert!(admission(Rule::Open).admits(&account, "", 0));
        assert!(!admission(Rule::List(BTreeSet::new())).admits(&account, "", 0));
        assert!(admission(Rule::List(BTreeSet::from([account]))).admits(&account, "", 0));
    }
}
