//! The key header: the database key, wrapped. Nothing in it is secret, everything in it is authenticated.

use std::fs;
use std::io;
use std::path::Path;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    KdfCost, Keychain, Protection, ProtectionKind, Secret, from_hex, key_file, passphrase, random,
    random_secret, to_hex,
};
use crate::error::StoreError;
use crate::files::{self, Existing};

const FORMAT: &str = "hearth-key";
const VERSION: u32 = 1;
const CIPHER: &str = "xchacha20-poly1305";
/// Larger than any header; whatever is larger is something else.
const MAX_BYTES: u64 = 64 * 1024;

/// A wrapped database key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    format: String,
    version: u32,
    /// Names the database this header belongs to; no secret.
    database: String,
    protection: Wrapping,
    cipher: String,
    nonce: String,
    wrapped_key: String,
}

/// Where the wrapping key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Wrapping {
    Passphrase {
        kdf: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        salt: String,
    },
    Keychain {
        service: String,
        account: String,
    },
    KeyFile {},
}

/// What a header's protection needs from around it.
#[derive(Clone, Copy)]
pub(crate) struct HeaderPlace<'a> {
    /// The profile's folder, in which no key file may lie.
    pub(crate) dir: &'a Path,
    pub(crate) keychain: &'a dyn Keychain,
}

impl Header {
    /// Wraps `database_key`. Creates the key file or keychain entry when there is none.
    pub(crate) fn wrap(
        database_key: &Secret,
        database: &str,
        protection: &Protection,
        cost: KdfCost,
        place: HeaderPlace<'_>,
    ) -> Result<Header, StoreError> {
        let (wrapping, wrapping_key) = match protection {
            Protection::Passphrase(words) => {
                let salt = random::<16>()?;
                let key = passphrase::stretch(words, &salt, cost)?;
                let wrapping = Wrapping::Passphrase {
                    kdf: "argon2id".into(),
                    memory_kib: cost.memory_kib,
                    passes: cost.passes,
                    lanes: cost.lanes,
                    salt: to_hex(&salt).to_string(),
                };
                (wrapping, key)
            }
            Protection::Keychain { service, account } => {
                // Named after the database, so that no profile ever takes or removes another one's entry.
                let account = format!("{account}#{database}");
                let key = if let Some(secret) = place.keychain.get(service, &account)? {
                    keychain_key(&secret)?
                } else {
                    let key = random_secret()?;
                    place
                        .keychain
                        .set(service, &account, to_hex(&key[..]).as_bytes())?;
                    key
                };
                (
                    Wrapping::Keychain {
                        service: service.clone(),
                        account,
                    },
                    key,
                )
            }
            Protection::KeyFile(path) => (Wrapping::KeyFile {}, key_file::read_or_create(path, place.dir)?),
        };
        let nonce = random::<24>()?;
        let mut header = Header {
            format: FORMAT.into(),
            version: VERSION,
            database: database.into(),
            protection: wrapping,
            cipher: CIPHER.into(),
            nonce: to_hex(&nonce).to_string(),
            wrapped_key: String::new(),
        };
        let payload = Payload {
            msg: &database_key[..],
            aad: &header.authenticated()?,
        };
        let sealed = XChaCha20Poly1305::new((&*wrapping_key).into())
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| StoreError::Invalid("the key could not be wrapped".into()))?;
        header.wrapped_key = to_hex(&sealed).to_string();
        Ok(header)
    }

    /// The database key.
    ///
    /// # Errors
    /// [`StoreError::WrongKey`], [`StoreError::WrongProtection`]; [`StoreError::Corrupt`] naming `path`.
    pub(crate) fn unwrap(
        &self,
        protection: &Protection,
        path: &Path,
        place: HeaderPlace<'_>,
    ) -> Result<Secret, StoreError> {
        let damaged = |what: &str| StoreError::corrupt(path, format!("its {what} is not valid"));
        let wrapping_key = match (&self.protection, protection) {
            (
                Wrapping::Passphrase {
                    kdf,
                    memory_kib,
                    passes,
                    lanes,
                    salt,
                },
                Protection::Passphrase(words),
            ) => {
                let salt = from_hex::<16>(salt).ok_or_else(|| damaged("salt"))?;
                if kdf != "argon2id" || words.is_empty() {
                    return Err(if words.is_empty() {
                        StoreError::WrongKey
                    } else {
                        damaged("key derivation")
                    });
                }
                let cost = KdfCost {
                    memory_kib: *memory_kib,
                    passes: *passes,
                    lanes: *lanes,
                };
                passphrase::stretch(words, &salt[..], cost)
                    .map_err(|error| StoreError::corrupt(path, error.to_string()))?
            }
            // The entry is the header's: the offered names only say that the keychain is meant.
            (Wrapping::Keychain { service, account }, Protection::Keychain { .. }) => {
                let secret = place
                    .keychain
                    .get(service, account)?
                    .ok_or_else(|| StoreError::Keychain {
                        reason: format!(
                            "it has no entry {account:?} of {service:?}, which opens this profile"
                        ),
                    })?;
                keychain_key(&secret)?
            }
            (Wrapping::KeyFile {}, Protection::KeyFile(key_path)) => key_file::read(key_path, place.dir)?,
            _ => {
                return Err(StoreError::WrongProtection {
                    expected: self.kind(),
                });
            }
        };
        let nonce = from_hex::<24>(&self.nonce).ok_or_else(|| damaged("nonce"))?;
        let sealed = from_hex::<48>(&self.wrapped_key).ok_or_else(|| damaged("wrapped key"))?;
        let payload = Payload {
            msg: &sealed[..],
            aad: &self.authenticated()?,
        };
        let opened = XChaCha20Poly1305::new((&*wrapping_key).into())
            .decrypt(XNonce::from_slice(&nonce[..]), payload)
            .map(Zeroizing::new)
            .map_err(|_| StoreError::WrongKey)?;
        let mut key = Secret::default();
        key.copy_from_slice(&opened);
        Ok(key)
    }

    /// Everything that the wrapping binds: this header's JSON with an empty wrapped key.
    fn authenticated(&self) -> Result<Vec<u8>, StoreError> {
        let bare = Header {
            wrapped_key: String::new(),
            ..self.clone()
        };
        serde_json::to_vec(&bare).map_err(|error| StoreError::Invalid(error.to_string()))
    }

    pub(crate) fn kind(&self) -> ProtectionKind {
        match self.protection {
            Wrapping::Passphrase { .. } => ProtectionKind::Passphrase,
            Wrapping::Keychain { .. } => ProtectionKind::Keychain,
            Wrapping::KeyFile {} => ProtectionKind::KeyFile,
        }
    }

    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Removes what this header keeps in the keychain, if anything and unless `successor` uses it too.
    pub(crate) fn forget_keychain_entry(
        &self,
        successor: Option<&Header>,
        keychain: &dyn Keychain,
    ) -> Result<(), StoreError> {
        match &self.protection {
            Wrapping::Keychain { service, account }
                if successor.is_none_or(|next| next.protection != self.protection) =>
            {
                keychain.remove(service, account)
            }
            _ => Ok(()),
        }
    }

    /// The header in the JSON text `bytes` of the file at `path`.
    pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Header, StoreError> {
        #[derive(Deserialize)]
        struct Lead {
            format: String,
            version: u32,
        }
        let damaged = |detail: String| StoreError::corrupt(path, detail);
        let lead: Lead = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if lead.format != FORMAT {
            return Err(damaged("it is not a key header".into()));
        }
        if lead.version > VERSION {
            return Err(StoreError::NewerSchema {
                found: lead.version,
                supported: VERSION,
            });
        }
        let header: Header = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if header.cipher != CIPHER || from_hex::<16>(&header.database).is_none() {
            return Err(damaged("its cipher or database id is not known".into()));
        }
        Ok(header)
    }

    /// The header as a JSON text.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, StoreError> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|error| StoreError::Invalid(error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }

    /// The header in the file at `path`; `None` when there is no such file.
    pub(crate) fn read(path: &Path) -> Result<Option<Header>, StoreError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        if metadata.len() > MAX_BYTES {
            return Err(StoreError::corrupt(path, "it is too large to be a key header"));
        }
        let bytes = fs::read(path).map_err(|error| StoreError::io("read", path, error))?;
        Header::parse(&bytes, path).map(Some)
    }

    /// Writes the header to `path` atomically and durably.
    pub(crate) fn write(&self, path: &Path, existing: Existing) -> Result<(), StoreError> {
        files::write_private(path, &self.to_json()?, existing)
    }
}

fn keychain_key(secret: &[u8]) -> Result<Secret, StoreError> {
    std::str::from_utf8(secret)
        .ok()
        .and_then(from_hex::<32>)
        .ok_or_else(|| StoreError::Keychain {
            reason: "its entry for this profile is damaged".into(),
        })
}
