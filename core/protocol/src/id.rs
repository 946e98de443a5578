//! Names: of accounts, devices, logs and documents; keys that verify or receive; hashes; times.

use crate::codec::wire_struct;

/// A newtype of `N` bytes.
macro_rules! bytes_type {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// How many bytes there are.
            pub const LENGTH: usize = $length;

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.iter().take(6).try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl $crate::codec::Wire for $name {
            const MIN_BYTES: usize = $length;
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                <[u8; $length] as $crate::codec::Wire>::read(reader).map(Self)
            }
        }

        #[cfg(any(test, feature = "samples"))]
        impl $crate::codec::Sampled for $name {
            fn sample(source: &mut $crate::codec::Sample<'_>) -> Self {
                Self($crate::codec::Sampled::sample(source))
            }
        }
    };
}

bytes_type! {
    /// A SHA-256 hash under one of the labels of [`crate::hash::label`].
    Hash, 32
}
bytes_type! {
    /// An account: the id of its genesis statement.
    AccountId, 32
}
bytes_type! {
    /// A device: the hash of its log key and its transport key.
    DeviceId, 32
}
bytes_type! {
    /// A log: one incarnation of a device. The first 16 bytes of a hash over account, device and a random nonce.
    LogId, 16
}
bytes_type! {
    /// A document or a media blob: 16 random bytes that say nothing about it.
    Handle, 16
}
bytes_type! {
    /// Names one document key of a handle and generation: the first 8 bytes of a hash of it.
    KeyRef, 8
}
bytes_type! {
    /// The running hash of a log: see [`crate::envelope::next_link`].
    Link, 32
}
bytes_type! {
    /// An Ed25519 public key.
    VerifyKey, 32
}
bytes_type! {
    /// An X25519 public key.
    AgreementKey, 32
}
bytes_type! {
    /// An Ed25519 signature.
    Signature, 64
}
bytes_type! {
    /// 8 fresh random bytes, the salt of an envelope's key: see [`Salt`]. The derivation names account, log, number and
    /// previous link.
    ShortSalt, 8
}
bytes_type! {
    /// 16 fresh random bytes, the salt of a key that is used once. The derivation names the place too, so the salt only
    /// has to tell apart two sealings for one place (a restored or copied device).
    Salt, 16
}
bytes_type! {
    /// A server's token for one running instance of a device; a copy of the device is told by it.
    InstanceToken, 16
}
bytes_type! {
    /// A place at a server where two devices that pair leave each other messages.
    MailboxId, 16
}

impl Hash {
    /// Stands for "nothing yet": no hash has this value.
    pub const ZERO: Self = Self([0; 32]);
}

wire_struct! {
    /// Milliseconds since the Unix epoch, as the writer's clock had it: a claim, never evidence.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct TimeMs {
        /// Milliseconds.
        pub ms: u64,
    }
}

wire_struct! {
    /// The lasting public keys of a device, and its first agreement key.
    #[derive(Copy)]
    pub struct DeviceKeys {
        /// Signs envelopes, statements and control entries.
        pub log: VerifyKey,
        /// Identifies the device in TLS.
        pub transport: VerifyKey,
        /// Receives epoch keys until the first `EpochAck` names the next one.
        pub agreement: AgreementKey,
    }
}
