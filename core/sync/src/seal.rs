//! Sealing and opening envelopes.

mod padding;

use hearth_protocol::codec::TooLarge;
use hearth_protocol::envelope::{
    Envelope, Fields, Header, HeaderVersion, Kind, NewKey, Sealed, associated_data, header_hash, next_link,
    position_id,
};
use hearth_protocol::hash::{BadSignature, context, key_ref, label, sha256, verify};
use hearth_protocol::id::{AccountId, Handle, Hash, KeyRef, Link, LogId, ShortSalt, VerifyKey};
use hearth_protocol::vector::FewPositions;

pub(crate) use padding::{pad, unpad};

use crate::keys::{EpochKey, SigningKey};
use crate::secret::{
    DoesNotOpen, Random, Secret, ZERO_NONCE, derive, open_bytes, open_secret, random_bytes, seal_bytes,
    seal_secret,
};

/// What an envelope is made of.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The device's own log.
    pub log: LogId,
    /// The number after the log's head.
    pub seq: u64,
    /// The link of the log's head.
    pub previous: &'a Link,
    /// What the content is.
    pub kind: Kind,
    /// The document.
    pub handle: Handle,
    /// The generation of its key.
    pub generation: u32,
    /// Its key.
    pub key: &'a Secret,
    /// At the key's first use: the running epoch's entry, and its key.
    pub bring_in: Option<(Hash, &'a EpochKey)>,
    /// Erasures learned of since the log's last envelope.
    pub erased: FewPositions,
    /// What the author had merged of this document since its last envelope of it.
    pub depends: FewPositions,
    /// The content, as [`crate::content::Content`] encodes it.
    pub content: &'a [u8],
}

/// An envelope can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It isn't by this log's key, or not for this place.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The key is another one than the header names.
    #[error("this is not the document key that the envelope names")]
    OtherKey,
    /// The body doesn't open, although its author signed it.
    #[error(transparent)]
    Body(#[from] DoesNotOpen),
    /// The body is padded in another way than the protocol says.
    #[error("the padding of the body is not canonical")]
    Padding,
}

/// Seals and signs. Done at upload: number, link, generation and epoch are those of this moment. What was signed for a
/// place is the only thing that may ever be signed for it: keep the envelope on disk before it is sent.
///
/// Gives the header hash too, from which the log's next link follows.
pub fn seal(
    draft: &Draft<'_>,
    signer: &SigningKey,
    random: &mut dyn Random,
) -> Result<(Envelope, Hash), TooLarge> {
    let salt = ShortSalt(random_bytes(random));
    let key = key_ref(draft.account, &draft.handle, draft.generation, draft.key.expose());
    let new_key = draft.bring_in.as_ref().map(|(epoch, epoch_key)| {
        let info = key_wrap_info(
            draft.account,
            epoch,
            &draft.log,
            draft.seq,
            &draft.handle,
            draft.generation,
            key,
        );
        let wrapping = derive(&epoch_key.key, &salt.0, &info);
        NewKey {
            epoch: *epoch,
            sealed: seal_secret(&wrapping, &info, draft.key),
        }
    });
    let header = Header {
        version: HeaderVersion::V1,
        log: draft.log,
        seq: draft.seq,
        fields: Fields {
            kind: draft.kind.clone(),
            handle: draft.handle,
            generation: draft.generation,
            key,
            new_key,
            erased: draft.erased.clone(),
            depends: draft.depends.clone(),
            salt,
        },
    };
    let data = associated_data(draft.account, draft.previous, &header);
    let ciphertext = seal_bytes(
        &body_key(draft.key, salt, &data),
        ZERO_NONCE,
        &data,
        pad(draft.content),
    );
    let header_hash = header_hash(&data, &ciphertext);
    let link = next_link(draft.previous, &header_hash);
    let signature = signer.sign(&position_id(draft.account, &draft.log, draft.seq, &link));
    let sealed = Sealed {
        fields: header.fields,
        ciphertext: ciphertext.try_into()?,
        signature,
    };
    Ok((
        Envelope {
            version: header.version,
            log: draft.log,
            seq: draft.seq,
            sealed,
        },
        header_hash,
    ))
}

/// Checks the signature, opens the body, takes the padding off: the header hash and the content.
pub fn open(
    account: &AccountId,
    previous: &Link,
    log_key: &VerifyKey,
    envelope: &Envelope,
    key: &Secret,
) -> Result<(Hash, Vec<u8>), OpenError> {
    let fields = &envelope.sealed.fields;
    let data = associated_data(account, previous, &envelope.header());
    let header_hash = header_hash(&data, &envelope.sealed.ciphertext);
    let link = next_link(previous, &header_hash);
    let id = position_id(account, &envelope.log, envelope.seq, &link);
    verify(log_key, &id, &envelope.sealed.signature)?;
    if key_ref(account, &fields.handle, fields.generation, key.expose()) != fields.key {
        return Err(OpenError::OtherKey);
    }
    let body = open_bytes(
        &body_key(key, fields.salt, &data),
        ZERO_NONCE,
        &data,
        &envelope.sealed.ciphertext,
    )?;
    Ok((header_hash, unpad(body).ok_or(OpenError::Padding)?))
}

/// The document key that an envelope brings in; `epoch` is the key of the epoch that it names. Check the signature first.
pub fn new_document_key(
    account: &AccountId,
    envelope: &Envelope,
    epoch: &EpochKey,
) -> Result<Option<Secret>, OpenError> {
    let fields = &envelope.sealed.fields;
    let Some(new_key) = &fields.new_key else {
        return Ok(None);
    };
    let info = key_wrap_info(
        account,
        &new_key.epoch,
        &envelope.log,
        envelope.seq,
        &fields.handle,
        fields.generation,
        fields.key,
    );
    let key = open_secret(&derive(&epoch.key, &fields.salt.0, &info), &info, &new_key.sealed)?;
    if key_ref(account, &fields.handle, fields.generation, key.expose()) == fields.key {
        Ok(Some(key))
    } else {
        Err(OpenError::OtherKey)
    }
}

fn body_key(document_key: &Secret, salt: ShortSalt, associated_data: &[u8]) -> Secret {
    let mut info = context(label::ENVELOPE_KEY);
    info.extend_from_slice(&sha256(associated_data).0);
    derive(document_key, &salt.0, &info)
}

fn key_wrap_info(
    account: &AccountId,
    epoch: &Hash,
    log: &LogId,
    seq: u64,
    handle: &Handle,
    generation: u32,
    key: KeyRef,
) -> Vec<u8> {
    let mut info = context(label::KEY_WRAP);
    info.extend_from_slice(&account.0);
    info.extend_from_slice(&epoch.0);
    info.extend_from_slice(&log.0);
    info.extend_from_slice(&seq.to_be_bytes());
    info.extend_from_slice(&handle.0);
    info.extend_from_slice(&generation.to_be_bytes());
    info.extend_from_slice(&key.0);
    info
}
