//! Sealed envelopes, the chain that orders them, and the holes that erased or compacted ones leave.

use crate::codec::{Blob, List, Wire, wire_enum, wire_struct};
use crate::hash::{BadSignature, context, hash, label, sha256, verify};
use crate::id::{AccountId, Handle, Hash, KeyRef, Link, LogId, ShortSalt, Signature, VerifyKey};
use crate::limits::{MAX_BATCH_ITEMS, MAX_BODY_BYTES};
use crate::vector::{FewPositions, Positions};

/// The first byte of every header.
pub const HEADER_VERSION: u8 = 1;

wire_struct! {
    /// Nothing.
    #[derive(Copy, Default)]
    pub struct Nothing {}
}

wire_struct! {
    /// What a snapshot stands for: made and read by [`Covers::new`] and [`Covers::upto`].
    #[derive(Default)]
    pub struct Covers {
        /// How far before the snapshot the last envelope is that it covers in its own log; 0: it covers none there.
        pub own: u64,
        /// Every envelope of the same handle in these other logs up to and including the number.
        pub others: Positions,
    }
}

impl Covers {
    /// What is covered, by log, for a snapshot at this place. What would be at or behind it is left out.
    pub fn new(upto: &Positions, log: &LogId, seq: u64) -> Self {
        let own = upto.get(log).and_then(|upto| seq.checked_sub(*upto));
        let others = upto.iter().filter(|(other, _)| other != log).copied();
        Self {
            own: own.unwrap_or_default(),
            // A part of a map is one.
            others: Positions::new(others).unwrap_or_default(),
        }
    }

    /// Up to which number a log is covered, by a snapshot at this place.
    pub fn upto(&self, in_log: &LogId, log: &LogId, seq: u64) -> Option<u64> {
        if in_log != log {
            return self.others.get(in_log).copied();
        }
        seq.checked_sub(self.own).filter(|upto| *upto < seq && *upto > 0)
    }

    /// All of it, for a snapshot at this place.
    pub fn all(&self, log: &LogId, seq: u64) -> Vec<(LogId, u64)> {
        let others = self.others.iter().filter(|(other, _)| other != log).copied();
        let own = self.upto(log, log, seq).map(|upto| (*log, upto));
        others.chain(own).collect()
    }
}

wire_enum! {
    /// What a sealed body is, as far as the server has to know.
    pub enum Kind {
        /// Changes of one document.
        1 => Changes(Nothing),
        /// A whole document, which stands for what it covers.
        2 => Snapshot(Covers),
        /// A piece of a media blob.
        3 => Chunk(Nothing),
    }
}

wire_struct! {
    /// A document key that this envelope brings in, sealed under the epoch's key.
    pub struct NewKey {
        /// The epoch.
        pub epoch: Hash,
        /// The key: 32 bytes and the tag.
        pub sealed: [u8; 48],
    }
}

wire_struct! {
    /// The header without what a stream says once.
    pub struct Fields {
        /// What the body is.
        pub kind: Kind,
        /// The document or blob.
        pub handle: Handle,
        /// The generation of the document's key: how many revocations its writer knew.
        pub generation: u32,
        /// Which key of that generation.
        pub key: KeyRef,
        /// The key itself, at its first use.
        pub new_key: Option<NewKey>,
        /// Erasures that the author learned of since its last envelope: log → number of that log's last erasure.
        pub erased: FewPositions,
        /// The last envelopes of this document by other logs that the author had merged since its own last one.
        pub depends: FewPositions,
        /// Salt of the envelope's key.
        pub salt: ShortSalt,
    }
}

wire_struct! {
    /// A header: everything about an envelope that is authenticated and sent in the clear.
    pub struct Header {
        /// [`HEADER_VERSION`].
        pub version: HeaderVersion,
        /// The log.
        pub log: LogId,
        /// The number in the log, from 1.
        pub seq: u64,
        /// The rest.
        pub fields: Fields,
    }
}

crate::codec::wire_code! {
    /// The version of a header's layout.
    pub enum HeaderVersion: u8 {
        /// The layout of this page.
        V1 = 1,
    }
}

wire_struct! {
    /// An envelope without its place: what a batch holds.
    pub struct Sealed {
        /// The header's fields.
        pub fields: Fields,
        /// Ciphertext and tag.
        pub ciphertext: Blob<MAX_BODY_BYTES>,
        /// By the log key, over [`position_id`].
        pub signature: Signature,
    }
}

wire_struct! {
    /// An envelope with its place: what is stored.
    pub struct Envelope {
        /// The header's layout.
        pub version: HeaderVersion,
        /// The log.
        pub log: LogId,
        /// The number in the log, from 1.
        pub seq: u64,
        /// The rest.
        pub sealed: Sealed,
    }
}

wire_struct! {
    /// What is left of an envelope, with the proof that it was there, and that all before it was.
    #[derive(Copy)]
    pub struct SignedHole {
        /// The envelope's header hash.
        pub header_hash: Hash,
        /// The envelope's signature.
        pub signature: Signature,
    }
}

wire_enum! {
    /// One item of a log.
    pub enum Item {
        /// An envelope.
        1 => Envelope(Sealed),
        /// A hole: the header hash of what was erased or compacted. It proves nothing until something signed follows.
        2 => Hole(Hash),
        /// A hole with its signature: the last of a run has one.
        3 => SignedHole(SignedHole),
    }
}

wire_struct! {
    /// Successive items of one log.
    pub struct Run {
        /// The header's layout.
        pub version: HeaderVersion,
        /// The log.
        pub log: LogId,
        /// The number of the first item.
        pub first_seq: u64,
        /// The items.
        pub items: List<Item, MAX_BATCH_ITEMS>,
    }
}

wire_struct! {
    /// An envelope from before the point where history was folded, with the link that its header hash needs.
    pub struct Detached {
        /// The link before it.
        pub previous: Link,
        /// The envelope.
        pub envelope: Envelope,
    }
}

wire_enum! {
    /// The content of one unidirectional stream.
    pub enum Batch {
        /// A piece of a log.
        1 => Run(Run),
        /// Envelopes out of their chain.
        2 => Detached(List<Detached, MAX_BATCH_ITEMS>),
    }
}

impl Envelope {
    /// The header.
    pub fn header(&self) -> Header {
        Header {
            version: self.version,
            log: self.log,
            seq: self.seq,
            fields: self.sealed.fields.clone(),
        }
    }

    /// The header hash, given the link before.
    pub fn header_hash(&self, account: &AccountId, previous: &Link) -> Hash {
        header_hash(
            &associated_data(account, previous, &self.header()),
            &self.sealed.ciphertext,
        )
    }

    /// Checks the signature and gives the header hash.
    pub fn verify(
        &self,
        account: &AccountId,
        previous: &Link,
        log_key: &VerifyKey,
    ) -> Result<Hash, BadSignature> {
        let header_hash = self.header_hash(account, previous);
        let link = next_link(previous, &header_hash);
        let id = position_id(account, &self.log, self.seq, &link);
        verify(log_key, &id, &self.sealed.signature)?;
        Ok(header_hash)
    }
}

/// What a body's seal and signature cover beside the body: account and previous link are covered but not sent.
pub fn associated_data(account: &AccountId, previous: &Link, header: &Header) -> Vec<u8> {
    let mut bytes = context(label::ENVELOPE);
    bytes.extend_from_slice(&account.0);
    bytes.extend_from_slice(&previous.0);
    header.write(&mut bytes);
    bytes
}

/// The hash that stays when an envelope goes.
pub fn header_hash(associated_data: &[u8], ciphertext: &[u8]) -> Hash {
    let mut bytes = associated_data.to_vec();
    bytes.extend_from_slice(&sha256(ciphertext).0);
    sha256(&bytes)
}

/// What an envelope's signature is over: its place, and the link at it. So it holds for a hole too, and for everything
/// that stands before it in the log.
pub fn position_id(account: &AccountId, log: &LogId, seq: u64, link: &Link) -> Hash {
    hash(
        label::POSITION,
        &[&account.0, &log.0, &seq.to_be_bytes(), &link.0],
    )
}

/// The running hash of a log after one more item. Before the first it is the id of the log's opening.
pub fn next_link(previous: &Link, header_hash: &Hash) -> Link {
    Link(hash(label::LINK, &[&previous.0, &header_hash.0]).0)
}
