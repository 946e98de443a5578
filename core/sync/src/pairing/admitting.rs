//! The enrolled device.

use hearth_protocol::control::{ControlEntry, Enrol, device_proof_id};
use hearth_protocol::hash::verify;
use hearth_protocol::id::{AccountId, DeviceKeys, Hash};
use hearth_protocol::pairing::{
    Introduction, MailboxMessage, Offer, PairingMessage, Reveal, TypedCode, Verdict, commitment,
    short_string, transcript,
};
use hearth_protocol::{PROTOCOL_VERSION, SUPPORTED_VERSIONS};

use super::spake2::{Agreed, Side, Start};
use super::{Channel, Code, CodeSecret, Output, PairingError, Window};
use crate::secret::{Random, random_bytes};

/// What the enrolled device tells about itself and its account.
#[derive(Debug, Clone)]
pub struct Sponsor {
    /// Its keys.
    pub device: DeviceKeys,
    /// The account's first entry.
    pub genesis: ControlEntry,
    /// The newest control entry.
    pub control: Hash,
    /// A checkpoint of its own, from which the new device begins.
    pub checkpoint: Hash,
    /// The account's lowest version.
    pub min_version: u16,
}

/// What a new device is enrolled with: append it to the control log, then say [`Admitting::enrolled`].
pub type Admitted = Enrol;

enum Stage {
    /// Typed: waits for the other's share.
    Share,
    Confirm(Agreed),
    /// A try failed: waits for the code to be typed again. The other side's new share may be there already.
    Retype(Option<[u8; 32]>),
    Introduction(Channel),
    Reveal {
        channel: Channel,
        introduction: Introduction,
        offer: Box<Offer>,
    },
    Compare {
        channel: Channel,
        enrol: Box<Enrol>,
    },
    Enrolling(Channel),
    Over,
}

/// An enrolled device that was given a code.
pub struct Admitting {
    window: Window,
    secret: CodeSecret,
    mailbox: hearth_protocol::id::MailboxId,
    /// Of a scanned code: the keys it holds.
    expected: Option<DeviceKeys>,
    sponsor: Sponsor,
    account: AccountId,
    stage: Stage,
}

impl std::fmt::Debug for Admitting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Admitting")
    }
}

type Outputs = Result<Vec<Output<Admitted>>, PairingError>;

impl Admitting {
    /// Begins with the code that the user scanned or typed. The new device speaks first.
    pub fn begin(code: &Code, sponsor: Sponsor, now_ms: u64) -> Result<Self, PairingError> {
        let account = sponsor.genesis.opens().ok_or(PairingError::Control(
            hearth_protocol::control::ControlError::Genesis,
        ))?;
        let secret = code.secret()?;
        let stage = match &secret {
            CodeSecret::Scanned(key) => Stage::Introduction(Channel { key: key.clone() }),
            CodeSecret::Typed(_) => Stage::Share,
        };
        Ok(Self {
            window: Window::open(now_ms),
            secret,
            mailbox: code.mailbox(),
            expected: match code {
                Code::Scanned(code) => Some(code.device),
                Code::Typed(_) => None,
            },
            sponsor,
            account,
            stage,
        })
    }

    /// Takes a message of the mailbox.
    pub fn receive(&mut self, message: &MailboxMessage, now_ms: u64, random: &mut dyn Random) -> Outputs {
        if !self.window.is_new(message) {
            return Ok(Vec::new());
        }
        self.window.check(now_ms)?;
        match self.step(message, random) {
            Ok(outputs) => Ok(self.window.note(outputs)),
            Err(why) => {
                self.stage = Stage::Over;
                Err(self.window.end(why))
            }
        }
    }

    fn step(&mut self, message: &MailboxMessage, random: &mut dyn Random) -> Outputs {
        match (std::mem::replace(&mut self.stage, Stage::Over), message) {
            (Stage::Share, MailboxMessage::Spake(share)) => self.share(share, random),
            (Stage::Confirm(agreed), MailboxMessage::Confirm(theirs)) => {
                if !agreed.confirms(theirs) {
                    return self.failed(None);
                }
                self.stage = Stage::Introduction(Channel {
                    key: agreed.pairing_key(),
                });
                Ok(Vec::new())
            }
            // The new device begins its next try: it found our confirmation wrong, so the code was mistyped.
            (Stage::Confirm(_), MailboxMessage::Spake(share)) => self.failed(Some(*share)),
            (Stage::Retype(_), MailboxMessage::Spake(share)) => {
                self.stage = Stage::Retype(Some(*share));
                Ok(Vec::new())
            }
            (Stage::Introduction(channel), MailboxMessage::Sealed(bytes)) => match channel.open(0, bytes) {
                Ok(PairingMessage::Introduction(introduction)) => self.offer(channel, introduction, random),
                _ => self.failed(None),
            },
            (
                Stage::Reveal {
                    channel,
                    introduction,
                    offer,
                },
                MailboxMessage::Sealed(bytes),
            ) => match channel.open(2, bytes) {
                Ok(PairingMessage::Reveal(reveal)) => self.reveal(channel, &introduction, &offer, &reveal),
                _ => self.begun_again(channel, bytes, random),
            },
            (Stage::Compare { channel, enrol }, MailboxMessage::Sealed(bytes)) => {
                if channel.open(0, bytes).is_err() {
                    self.stage = Stage::Compare { channel, enrol };
                    return Ok(Vec::new());
                }
                self.begun_again(channel, bytes, random)
            }
            // The code was right already, so nobody has to type it again.
            (
                Stage::Introduction(_) | Stage::Reveal { .. } | Stage::Compare { .. },
                MailboxMessage::Spake(share),
            ) if matches!(self.secret, CodeSecret::Typed(_)) => {
                let left = self.window.fail()?;
                let mut outputs = vec![Output::TryFailed { left }];
                outputs.extend(self.share(share, random)?);
                Ok(outputs)
            }
            (stage, _) => {
                self.stage = stage;
                Ok(Vec::new())
            }
        }
    }

    /// What didn't open may be the introduction of the new device's next try.
    fn begun_again(&mut self, channel: Channel, bytes: &[u8], random: &mut dyn Random) -> Outputs {
        match channel.open(0, bytes) {
            Ok(PairingMessage::Introduction(introduction)) => {
                let left = self.window.fail()?;
                let mut outputs = vec![Output::TryFailed { left }];
                outputs.extend(self.offer(channel, introduction, random)?);
                Ok(outputs)
            }
            _ => self.failed(None),
        }
    }

    fn share(&mut self, share: &[u8; 32], random: &mut dyn Random) -> Outputs {
        let CodeSecret::Typed(password) = &self.secret else {
            return Err(PairingError::NotNow);
        };
        let start = Start::new(Side::B, password.clone(), random);
        match start.finish(share) {
            Ok(agreed) => {
                let outputs = vec![
                    Output::Send(MailboxMessage::Spake(start.share)),
                    Output::Send(MailboxMessage::Confirm(agreed.confirmation)),
                ];
                self.stage = Stage::Confirm(agreed);
                Ok(outputs)
            }
            Err(_) => self.failed(None),
        }
    }

    /// A failed try. A scanned code is simply listened to again; a typed one has to be typed again.
    fn failed(&mut self, share: Option<[u8; 32]>) -> Outputs {
        let left = self.window.fail()?;
        self.stage = match &self.secret {
            CodeSecret::Scanned(key) => Stage::Introduction(Channel { key: key.clone() }),
            CodeSecret::Typed(_) => Stage::Retype(share),
        };
        Ok(vec![Output::TryFailed { left }])
    }

    /// The code, typed once more after [`Output::TryFailed`].
    pub fn retype(&mut self, code: &TypedCode, now_ms: u64, random: &mut dyn Random) -> Outputs {
        self.window.check(now_ms)?;
        if code.mailbox() != self.mailbox {
            return Err(PairingError::OtherCode);
        }
        let Stage::Retype(share) = self.stage else {
            return Err(PairingError::NotNow);
        };
        self.secret = CodeSecret::Typed(super::spake2::password(code));
        self.stage = Stage::Share;
        match share {
            Some(share) => {
                let outputs = self.share(&share, random);
                outputs.map(|outputs| self.window.note(outputs))
            }
            None => Ok(Vec::new()),
        }
    }

    fn offer(&mut self, channel: Channel, introduction: Introduction, random: &mut dyn Random) -> Outputs {
        if self.expected.is_some_and(|keys| keys != introduction.device) {
            return Err(PairingError::OtherKeys);
        }
        let version = introduction.version.min(PROTOCOL_VERSION);
        let lowest = SUPPORTED_VERSIONS.first().copied().unwrap_or(PROTOCOL_VERSION);
        let lowest = lowest.max(self.sponsor.min_version);
        let offer = Box::new(Offer {
            version: version.max(lowest),
            device: self.sponsor.device,
            genesis: Box::new(self.sponsor.genesis.clone()),
            control: self.sponsor.control,
            checkpoint: self.sponsor.checkpoint,
            nonce: random_bytes(random),
        });
        let message = channel.seal(1, &PairingMessage::Offer((*offer).clone()), random);
        let mut outputs = vec![Output::Send(message)];
        if version < lowest {
            // The offer tells the new device; our user is told here.
            self.window.end(PairingError::OtherTooOld);
            outputs.push(Output::Failed(PairingError::OtherTooOld));
            return Ok(outputs);
        }
        self.stage = Stage::Reveal {
            channel,
            introduction,
            offer,
        };
        Ok(outputs)
    }

    fn reveal(
        &mut self,
        channel: Channel,
        introduction: &Introduction,
        offer: &Offer,
        reveal: &Reveal,
    ) -> Outputs {
        if commitment(&reveal.nonce) != introduction.commitment {
            return Err(PairingError::BadProof);
        }
        let transcript = transcript(introduction, offer, &reveal.nonce);
        let proof = device_proof_id(&self.account, &introduction.device, &transcript);
        verify(&introduction.device.log, &proof, &reveal.proof).map_err(|_| PairingError::BadProof)?;
        self.stage = Stage::Compare {
            channel,
            enrol: Box::new(Enrol {
                device: introduction.device,
                proof: reveal.proof,
                transcript,
            }),
        };
        Ok(vec![Output::Compare(short_string(&transcript))])
    }

    /// What the user said to the six digits: after yes, the enrolment comes out; after no, the refusal is sent.
    pub fn confirm(&mut self, same: bool, now_ms: u64, random: &mut dyn Random) -> Outputs {
        self.window.check(now_ms)?;
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Compare { channel, enrol } if same => {
                self.stage = Stage::Enrolling(channel);
                Ok(vec![Output::Done(*enrol)])
            }
            Stage::Compare { channel, .. } => {
                let refusal = PairingMessage::Verdict(Verdict { enrolled: None });
                let message = channel.seal(3, &refusal, random);
                self.window.over = true;
                Ok(vec![
                    Output::Send(message),
                    Output::Failed(PairingError::StringsDiffer),
                ])
            }
            stage => {
                self.stage = stage;
                Err(PairingError::NotNow)
            }
        }
    }

    /// The enrolment stands in the control log as this entry; none: it couldn't be made. The last message comes out.
    ///
    /// The time doesn't count any more: what was confirmed in time is carried out.
    pub fn enrolled(&mut self, entry: Option<Hash>, random: &mut dyn Random) -> Outputs {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Enrolling(channel) => {
                let verdict = PairingMessage::Verdict(Verdict { enrolled: entry });
                self.window.over = true;
                Ok(vec![Output::Send(channel.seal(3, &verdict, random))])
            }
            stage => {
                self.stage = stage;
                Err(PairingError::NotNow)
            }
        }
    }
}
