//! How devices of one account find each other on the local network without telling anybody else who they are.
//!
//! An announcement holds *tags*: the first 8 bytes of an HMAC over the quarter of an hour, under a key that only members
//! have (PROTOCOL.md, section 12). Who lacks the key sees random bytes that change every quarter of an hour. Beside them goes
//! a *mark*, which tells the members which of them it is. Neither proves anything: whoever is called proves its transport
//! key in the handshake.

use hearth_protocol::hash::{context, label};
use hearth_protocol::id::{AccountId, DeviceId, Hash, MailboxId};

use crate::secret::{Secret, derive, extract};

/// How long a tag stands, ms.
pub const STEP_MS: u64 = 15 * 60 * 1_000;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 8;
/// Signs of one announcement, at most; a reader passes over those beyond.
pub const MAX_SIGNS: usize = 32;

/// Eight bytes that mean something to whoever has the key.
pub type Tag = [u8; TAG_BYTES];

/// Which quarter of an hour it is.
pub fn step(now_ms: u64) -> u64 {
    now_ms / STEP_MS
}

fn cut(secret: &Secret) -> Tag {
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&secret.expose()[..TAG_BYTES]);
    tag
}

/// The tag of an account in a quarter of an hour, under one epoch's discovery key.
pub fn tag(key: &Secret, step: u64) -> Tag {
    cut(&extract(key.expose(), &[&step.to_be_bytes()]))
}

/// Tells members which of them announces itself.
pub fn mark(key: &Secret, step: u64, device: &DeviceId) -> Tag {
    cut(&extract(key.expose(), &[&step.to_be_bytes(), &device.0]))
}

/// The discovery key of a device that was let in and has no epoch's key yet: of its pairing's transcript, which it and the
/// members have. The account's server has it too, and could tell by it that such a device looks for the others.
pub fn joining_key(account: &AccountId, transcript: &Hash) -> Secret {
    let mut info = context(label::LAN);
    info.extend_from_slice(&account.0);
    derive(&Secret::new(transcript.0), &[], &info)
}

/// What a device that shows a pairing code announces: half of the mailbox's name.
pub fn mailbox_tag(mailbox: &MailboxId) -> Tag {
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&mailbox.0[..TAG_BYTES]);
    tag
}

/// What a device says under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// Which account.
    pub tag: Tag,
    /// Which member.
    pub mark: Tag,
}

/// What a device announces in this quarter of an hour, under each key that a member may still go by.
pub fn announce<'a>(keys: impl IntoIterator<Item = &'a Secret>, me: &DeviceId, now_ms: u64) -> Vec<Sign> {
    let step = step(now_ms);
    let keys = keys.into_iter().take(MAX_SIGNS);
    keys.map(|key| Sign {
        tag: tag(key, step),
        mark: mark(key, step, me),
    })
    .collect()
}

/// Who an announcement is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// This member.
    Member(DeviceId),
    /// Somebody of the account whom this device can't name: let in meanwhile, or under a key that isn't here.
    Somebody,
}

/// Whether an announcement is of the account, with one quarter of an hour of tolerance to either side. None: another's.
#[allow(
    clippy::needless_pass_by_value,
    reason = "a list that is gone through for every key"
)]
pub fn recognize<'a>(
    announced: &[Sign],
    keys: impl IntoIterator<Item = &'a Secret>,
    members: impl IntoIterator<Item = DeviceId> + Clone,
    now_ms: u64,
) -> Option<Found> {
    let now = step(now_ms);
    let mut found = None;
    for key in keys {
        for step in [now, now.wrapping_sub(1), now.wrapping_add(1)] {
            let ours = tag(key, step);
            let Some(sign) = announced.iter().take(MAX_SIGNS).find(|sign| sign.tag == ours) else {
                continue;
            };
            found = found.or(Some(Found::Somebody));
            let named = members
                .clone()
                .into_iter()
                .find(|device| mark(key, step, device) == sign.mark);
            if let Some(device) = named {
                return Some(Found::Member(device));
            }
        }
    }
    found
}

/// Who serves among members that see each other: the one with the lowest id. All who see the same choose the same.
pub fn serves(me: DeviceId, seen: impl IntoIterator<Item = DeviceId>) -> DeviceId {
    seen.into_iter().fold(me, DeviceId::min)
}
