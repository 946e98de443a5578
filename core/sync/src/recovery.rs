//! The recovery phrase: 24 English words (BIP39) for 256 bits, and the two keys that follow from them.

mod drill;

pub use drill::{DrillError, Drilled, WordError, drill};

use bip39::{Language, Mnemonic};
use hearth_protocol::control::RecoveryKeys;
use hearth_protocol::hash::{context, label};
use zeroize::{Zeroize, Zeroizing};

use crate::hpke;
use crate::keys::{BadSeed, SigningKey};
use crate::secret::{Random, Secret, derive, random_bytes};

/// What was typed isn't a phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// Not 24 words.
    #[error("a phrase has 24 words, and these are {0}")]
    Count(usize),
    /// A word that no phrase has.
    #[error("word {place} is in no phrase{}", .nearest.map(|word| format!(": did you mean \u{201c}{word}\u{201d}?")).unwrap_or_default())]
    UnknownWord {
        /// Which, from 1.
        place: usize,
        /// The word of the list that looks most like it, if one does.
        nearest: Option<&'static str>,
    },
    /// The words don't fit together: one of them is wrong, or two are swapped.
    #[error("the words don't fit together: one is wrong, or two are swapped")]
    Checksum,
}

/// The word of the list that was typed: whole, or its first four letters, which tell all of them apart.
fn list_word(place: usize, typed: &str) -> Result<&'static str, PhraseError> {
    let typed = Zeroizing::new(typed.to_ascii_lowercase());
    let list = Language::English.word_list();
    let mut found = list
        .iter()
        .filter(|word| **word == typed.as_str() || (typed.len() == 4 && word.starts_with(typed.as_str())));
    found.next().copied().ok_or_else(|| PhraseError::UnknownWord {
        place,
        nearest: nearest(&typed),
    })
}

/// The word with the fewest slips between it and what was typed, if there are at most two.
fn nearest(typed: &str) -> Option<&'static str> {
    // No word has more than eight letters: what is much longer isn't a slip.
    if typed.len() > 12 {
        return None;
    }
    let list = Language::English.word_list().iter();
    let (slips, word) = list.map(|word| (slips(typed, word), *word)).min()?;
    (slips <= 2).then_some(word)
}

/// Letters to change, add, drop, or swap with their neighbour (optimal string alignment).
fn slips(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let width = other.len() + 1;
    let mut table = vec![0; (one.len() + 1) * width];
    for row in 0..=one.len() {
        for column in 0..width {
            let at = |row: usize, column: usize| table[row * width + column];
            let best = if row == 0 || column == 0 {
                row + column
            } else {
                let differ = usize::from(one[row - 1] != other[column - 1]);
                let mut best = (at(row - 1, column - 1) + differ)
                    .min(at(row - 1, column) + 1)
                    .min(at(row, column - 1) + 1);
                let swapped = row > 1
                    && column > 1
                    && one[row - 1] == other[column - 2]
                    && one[row - 2] == other[column - 1];
                if swapped {
                    best = best.min(at(row - 2, column - 2) + 1);
                }
                best
            };
            table[row * width + column] = best;
        }
    }
    table[table.len() - 1]
}

/// The secret behind a phrase.
#[derive(Clone, Debug)]
pub struct Phrase {
    entropy: Secret,
}

impl Phrase {
    /// A fresh one.
    pub fn random(random: &mut dyn Random) -> Self {
        Self {
            entropy: Secret::new(random_bytes(random)),
        }
    }

    /// The phrase of 256 given bits.
    pub fn from_entropy(entropy: Secret) -> Self {
        Self { entropy }
    }

    /// Reads what was typed: any case, any white space, words by their first four letters or whole.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let mut words = Vec::with_capacity(24);
        for (index, typed) in text.split_whitespace().enumerate() {
            words.push(list_word(index + 1, typed)?);
            if words.len() > 24 {
                break;
            }
        }
        if words.len() != 24 {
            return Err(PhraseError::Count(text.split_whitespace().count()));
        }
        let text = Zeroizing::new(words.join(" "));
        let mnemonic =
            Mnemonic::parse_in_normalized(Language::English, &text).map_err(|_| PhraseError::Checksum)?;
        let (mut bytes, length) = mnemonic.to_entropy_array();
        let entropy = bytes
            .get(..length)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.zeroize();
        entropy
            .map(|entropy| Self {
                entropy: Secret::new(entropy),
            })
            .ok_or(PhraseError::Checksum)
    }

    /// The 24 words.
    pub fn words(&self) -> Zeroizing<String> {
        let words = Mnemonic::from_entropy_in(Language::English, self.entropy.expose())
            .map(|mnemonic| mnemonic.words().collect::<Vec<_>>().join(" "));
        Zeroizing::new(words.unwrap_or_default())
    }

    /// The seed of the signing key.
    pub fn signing(&self) -> Result<SigningKey, BadSeed> {
        SigningKey::from_seed(&self.part("signing"))
    }

    /// The private key that every epoch key is wrapped to.
    pub fn agreement(&self) -> Secret {
        hpke::derive_private_key(self.part("agreement").expose())
    }

    /// The public half, for the control log.
    pub fn public(&self) -> Result<RecoveryKeys, BadSeed> {
        Ok(RecoveryKeys {
            signing: self.signing()?.public(),
            agreement: hpke::public_key(&self.agreement()),
        })
    }

    fn part(&self, which: &str) -> Secret {
        let mut info = context(label::RECOVERY);
        info.extend_from_slice(which.as_bytes());
        derive(&self.entropy, &[], &info)
    }
}
