//! The drill: "prove that your phrase works". Nothing is sent, and nothing is kept of what was typed.

use hearth_protocol::control::{Account, Action, ControlEntry, EpochWraps};

use super::{Phrase, PhraseError, list_word};
use crate::keys::{BadSeed, EpochKey};
use crate::secret::{DoesNotOpen, Random, random_bytes};

/// Why a drill fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrillError {
    /// What was typed is no phrase.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// A right phrase, of another account.
    #[error("this is the phrase of another account")]
    OtherAccount,
    /// A right phrase of this account, which a new one has replaced.
    #[error("this is an earlier phrase of this account: a new one has replaced it")]
    Replaced,
    /// The wraps aren't those of the running epoch: fetch them again.
    #[error("the wraps that this device has aren't those of the running epoch: sync, then try again")]
    WrapsStale,
    /// The phrase is right, and what is wrapped for it doesn't open: no recovery would work before the next epoch.
    #[error(
        "the phrase is right, but what was wrapped for it doesn't open: change the epoch, then try again"
    )]
    DoesNotOpen(#[from] DoesNotOpen),
    /// It can't happen with 32 bytes.
    #[error(transparent)]
    Seed(#[from] BadSeed),
}

/// What a drill has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drilled {
    /// The phrase is the account's, and opens the running epoch of this number.
    Opens(u64),
    /// The phrase is the account's; the account has no epoch yet.
    NoEpochYet,
}

/// Tries a typed phrase: its public keys against the control log's, then the running epoch's wrap for it.
///
/// `history` is the control log that `account` was replayed from; `wraps` those of the running epoch.
pub fn drill(
    typed: &str,
    account: &Account,
    history: &[ControlEntry],
    wraps: Option<&EpochWraps>,
) -> Result<Drilled, DrillError> {
    let phrase = Phrase::parse(typed)?;
    let public = phrase.public()?;
    if public != *account.recovery() {
        let earlier = history.iter().any(|entry| match &entry.statement.action {
            Action::Genesis(genesis) => genesis.recovery == public,
            Action::Phrase(next) => next.recovery == public,
            _ => false,
        });
        return Err(if earlier {
            DrillError::Replaced
        } else {
            DrillError::OtherAccount
        });
    }
    let Some((_, epoch)) = account.epoch() else {
        return Ok(Drilled::NoEpochYet);
    };
    let wraps = wraps.ok_or(DrillError::WrapsStale)?;
    if hearth_protocol::control::wraps_hash(&account.id(), wraps) != epoch.wraps {
        return Err(DrillError::WrapsStale);
    }
    EpochKey::unwrap(&account.id(), epoch, None, &phrase.agreement(), &wraps.recovery)?;
    Ok(Drilled::Opens(epoch.number))
}

/// Why a single word isn't the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// No such word, or no such place.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// A word of the list, but not this one.
    #[error("word {0} is another one")]
    Wrong(usize),
    /// The word stands at another place: the list was read from a wrong line.
    #[error("that is word {found}, and word {asked} was asked for")]
    OtherPlace {
        /// The place asked for.
        asked: usize,
        /// Where the word stands.
        found: usize,
    },
}

impl Phrase {
    /// Three different places, ascending, from 1: "word 3, 11 and 19?". Only while the phrase is being shown for the first
    /// time: a device doesn't keep it, so later only the whole [`drill`] is possible.
    pub fn ask(random: &mut dyn Random) -> [usize; 3] {
        // One of each third, so that they differ and none is near the next; 248 is a multiple of 8.
        let mut place = |first: usize| loop {
            let [byte] = random_bytes::<1>(random);
            if byte < 248 {
                return first + usize::from(byte % 8);
            }
        };
        [place(1), place(9), place(17)]
    }

    /// Checks the word that was typed for a place (from 1).
    pub fn answer(&self, place: usize, typed: &str) -> Result<(), WordError> {
        let typed = list_word(place, typed.trim())?;
        let words = self.words();
        let words: Vec<&str> = words.split(' ').collect();
        if place.checked_sub(1).and_then(|index| words.get(index)) == Some(&typed) {
            return Ok(());
        }
        Err(match words.iter().position(|word| *word == typed) {
            Some(found) => WordError::OtherPlace {
                asked: place,
                found: found + 1,
            },
            None => WordError::Wrong(place),
        })
    }
}
