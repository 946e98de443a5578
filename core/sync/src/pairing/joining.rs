//! The new device.

use hearth_protocol::control::{Account, Action, ControlEntry, device_proof_id};
use hearth_protocol::id::{AccountId, DeviceKeys, Hash};
use hearth_protocol::pairing::{
    Introduction, MailboxMessage, Offer, PairingMessage, Reveal, commitment, short_string, transcript,
};
use hearth_protocol::{PROTOCOL_VERSION, SUPPORTED_VERSIONS};

use super::spake2::{Agreed, Side, Start};
use super::{Channel, Code, CodeSecret, Output, PairingError, Window};
use crate::keys::SigningKey;
use crate::secret::{Random, random_bytes};

/// What the new device has learnt, once both sides agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The account.
    pub account: AccountId,
    /// Its first entry.
    pub genesis: ControlEntry,
    /// The newest control entry at the enrolled device.
    pub control: Hash,
    /// The entry that enrols this device.
    pub enrolled: Hash,
    /// The checkpoint to begin from.
    pub checkpoint: Hash,
    /// The device that let this one in.
    pub sponsor: DeviceKeys,
    /// This device's keys.
    pub device: DeviceKeys,
    /// What both sides compared.
    pub transcript: Hash,
    /// The version to speak.
    pub version: u16,
}

impl Joined {
    /// Checks a control log that was fetched: from the genesis that was paired with, over the entry that was shown, to
    /// this device's own enrolment, of this very pairing, by the device that let it in.
    pub fn check(&self, entries: &[ControlEntry]) -> Result<Account, PairingError> {
        if entries.first() != Some(&self.genesis) {
            return Err(PairingError::NotEnrolled);
        }
        let account = Account::replay(entries)?;
        let place = |id: &Hash| entries.iter().position(|entry| entry.id(&self.account) == *id);
        let (shown, enrolled) = (place(&self.control), place(&self.enrolled));
        let entry = enrolled.and_then(|index| entries.get(index));
        let mine = entry.is_some_and(|entry| match &entry.statement.action {
            Action::Enrol(enrol) => {
                enrol.device == self.device
                    && enrol.transcript == self.transcript
                    && entry.statement.author == self.sponsor.device_id()
            }
            _ => false,
        });
        if mine && shown.is_some() && shown < enrolled && account.id() == self.account {
            Ok(account)
        } else {
            Err(PairingError::NotEnrolled)
        }
    }
}

enum Stage {
    Share(Start),
    Confirm(Agreed),
    Offer {
        channel: Channel,
        introduction: Introduction,
        nonce: [u8; 16],
    },
    Compare {
        channel: Channel,
        /// Whole but for `enrolled`.
        joined: Box<Joined>,
        equal: bool,
        enrolled: Option<Hash>,
    },
    Over,
}

/// A new device that shows a code.
pub struct Joining {
    window: Window,
    secret: CodeSecret,
    device: DeviceKeys,
    stage: Stage,
}

impl std::fmt::Debug for Joining {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Joining")
    }
}

type Outputs = Result<Vec<Output<Joined>>, PairingError>;

impl Joining {
    /// Begins with a fresh code, which is shown to the user. What comes out goes into the code's mailbox.
    pub fn begin(
        code: &Code,
        device: DeviceKeys,
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Result<(Self, Vec<Output<Joined>>), PairingError> {
        let mut this = Self {
            window: Window::open(now_ms),
            secret: code.secret()?,
            device,
            stage: Stage::Over,
        };
        let outputs = this.start(random);
        let outputs = this.window.note(outputs);
        Ok((this, outputs))
    }

    /// The first message of a try.
    fn start(&mut self, random: &mut dyn Random) -> Vec<Output<Joined>> {
        match &self.secret {
            CodeSecret::Typed(password) => {
                let start = Start::new(Side::A, password.clone(), random);
                let share = start.share;
                self.stage = Stage::Share(start);
                vec![Output::Send(MailboxMessage::Spake(share))]
            }
            CodeSecret::Scanned(key) => {
                let channel = Channel { key: key.clone() };
                vec![self.introduce(channel, random)]
            }
        }
    }

    fn introduce(&mut self, channel: Channel, random: &mut dyn Random) -> Output<Joined> {
        let nonce = random_bytes(random);
        let introduction = Introduction {
            version: PROTOCOL_VERSION,
            device: self.device,
            commitment: commitment(&nonce),
        };
        let message = channel.seal(0, &PairingMessage::Introduction(introduction.clone()), random);
        self.stage = Stage::Offer {
            channel,
            introduction,
            nonce,
        };
        Output::Send(message)
    }

    /// Takes a message of the mailbox. `signer` is this device's log key.
    pub fn receive(
        &mut self,
        message: &MailboxMessage,
        signer: &SigningKey,
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Outputs {
        if !self.window.is_new(message) {
            return Ok(Vec::new());
        }
        self.window.check(now_ms)?;
        let outputs = self.step(message, signer, random);
        match outputs {
            Ok(outputs) => Ok(self.window.note(outputs)),
            Err(why) => {
                self.stage = Stage::Over;
                Err(self.window.end(why))
            }
        }
    }

    fn step(&mut self, message: &MailboxMessage, signer: &SigningKey, random: &mut dyn Random) -> Outputs {
        match (std::mem::replace(&mut self.stage, Stage::Over), message) {
            (Stage::Share(start), MailboxMessage::Spake(share)) => match start.finish(share) {
                Ok(agreed) => {
                    self.stage = Stage::Confirm(agreed);
                    Ok(Vec::new())
                }
                Err(_) => Ok(self.next_try(random)),
            },
            (Stage::Confirm(agreed), MailboxMessage::Confirm(theirs)) => {
                if !agreed.confirms(theirs) {
                    return Ok(self.next_try(random));
                }
                let channel = Channel {
                    key: agreed.pairing_key(),
                };
                let mine = Output::Send(MailboxMessage::Confirm(agreed.confirmation));
                Ok(vec![mine, self.introduce(channel, random)])
            }
            (
                Stage::Offer {
                    channel,
                    introduction,
                    nonce,
                },
                MailboxMessage::Sealed(bytes),
            ) => match channel.open(1, bytes) {
                Ok(PairingMessage::Offer(offer)) => {
                    self.take_offer(channel, &introduction, nonce, offer, signer, random)
                }
                _ => Ok(self.next_try(random)),
            },
            (
                Stage::Compare {
                    channel,
                    joined,
                    equal,
                    enrolled: None,
                },
                MailboxMessage::Sealed(bytes),
            ) => match channel.open(3, bytes) {
                Ok(PairingMessage::Verdict(verdict)) => {
                    let enrolled = Some(verdict.enrolled.ok_or(PairingError::Refused)?);
                    self.stage = Stage::Compare {
                        channel,
                        joined,
                        equal,
                        enrolled,
                    };
                    Ok(self.conclude())
                }
                // It was sealed under a key that only the two have, or it is garbage: nothing to learn by guessing.
                _ => Ok(self.next_try(random)),
            },
            (stage, _) => {
                self.stage = stage;
                Ok(Vec::new())
            }
        }
    }

    fn take_offer(
        &mut self,
        channel: Channel,
        introduction: &Introduction,
        nonce: [u8; 16],
        offer: Offer,
        signer: &SigningKey,
        random: &mut dyn Random,
    ) -> Outputs {
        if !SUPPORTED_VERSIONS.contains(&offer.version) {
            return Err(if offer.version > PROTOCOL_VERSION {
                PairingError::ThisTooOld
            } else {
                PairingError::OtherTooOld
            });
        }
        let account = Account::open(&offer.genesis)?.id();
        let transcript = transcript(introduction, &offer, &nonce);
        let proof = signer.sign(&device_proof_id(&account, &self.device, &transcript));
        let reveal = channel.seal(2, &PairingMessage::Reveal(Reveal { nonce, proof }), random);
        self.stage = Stage::Compare {
            channel,
            joined: Box::new(Joined {
                account,
                genesis: *offer.genesis,
                control: offer.control,
                enrolled: Hash::ZERO,
                checkpoint: offer.checkpoint,
                sponsor: offer.device,
                device: self.device,
                transcript,
                version: offer.version,
            }),
            equal: false,
            enrolled: None,
        };
        Ok(vec![
            Output::Send(reveal),
            Output::Compare(short_string(&transcript)),
        ])
    }

    /// What the user said to the six digits. Only after yes, and the other side's, is anything trusted.
    pub fn confirm(&mut self, same: bool, now_ms: u64) -> Outputs {
        self.window.check(now_ms)?;
        match &mut self.stage {
            Stage::Compare { equal, .. } if same => {
                *equal = true;
                Ok(self.conclude())
            }
            Stage::Compare { .. } => {
                self.stage = Stage::Over;
                Err(self.window.end(PairingError::StringsDiffer))
            }
            _ => Err(PairingError::NotNow),
        }
    }

    fn conclude(&mut self) -> Vec<Output<Joined>> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Compare {
                joined,
                equal: true,
                enrolled: Some(enrolled),
                ..
            } => {
                self.window.over = true;
                vec![Output::Done(Joined { enrolled, ..*joined })]
            }
            stage => {
                self.stage = stage;
                Vec::new()
            }
        }
    }

    fn next_try(&mut self, random: &mut dyn Random) -> Vec<Output<Joined>> {
        match self.window.fail() {
            Ok(left) => {
                let mut outputs = vec![Output::TryFailed { left }];
                outputs.extend(self.start(random));
                outputs
            }
            Err(why) => {
                // The other side knows of a failed try by the beginning of the next one: of this one nothing comes.
                let mut outputs = self.start(random);
                self.stage = Stage::Over;
                outputs.push(Output::Failed(why));
                outputs
            }
        }
    }
}
