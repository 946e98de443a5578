//! Who the server is: an Ed25519 key that is made at the first start and never leaves the data folder.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hearth_protocol::base32;
use hearth_protocol::id::VerifyKey;
use hearth_transport::tls;

/// The file below the data folder.
pub const KEY_FILE: &str = "server.key";

/// The first word of the file.
const MARK: &str = "hearth-server-key-1";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a key file.
    #[error(
        "{0} is not a server key: restore it from your copy; a new key would be a new server to every device"
    )]
    Broken(PathBuf),
    /// Others than the owner may read it.
    #[error("{0} can be read by others: chmod 600 it")]
    Open(PathBuf),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// The server's key.
#[derive(Clone)]
pub struct ServerKey {
    seed: [u8; 32],
    public: VerifyKey,
}

impl std::fmt::Debug for ServerKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ServerKey({:?})", self.public)
    }
}

impl ServerKey {
    /// Reads the key of a data folder.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let broken = || KeyError::Broken(path.to_owned());
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(failed)?;
        only_for_the_owner(path)
            .map_err(failed)?
            .then_some(())
            .ok_or_else(|| KeyError::Open(path.to_owned()))?;
        let digits = text.trim().strip_prefix(MARK).ok_or_else(broken)?;
        let seed = base32::decode(digits)
            .map_err(|_| broken())?
            .try_into()
            .map_err(|_| broken())?;
        Self::of(seed).ok_or_else(broken)
    }

    /// Makes a key and writes it, for the owner alone. There must be none yet.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        let key = Self::of(seed).ok_or_else(|| KeyError::Broken(path.to_owned()))?;
        key.write(path)?;
        Ok(key)
    }

    /// Writes it, for the owner alone, to a file that doesn't exist yet.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let text = format!("{MARK} {}\n", base32::encode(&self.seed));
        let write = || -> io::Result<()> {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            // So that the name is as durable as the content.
            path.parent()
                .map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
        };
        write().map_err(|source| KeyError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// What devices pin.
    pub fn public(&self) -> VerifyKey {
        self.public
    }

    /// The private half.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    fn of(seed: [u8; 32]) -> Option<Self> {
        Some(Self {
            seed,
            public: VerifyKey(tls::public_key(&seed)?),
        })
    }
}

#[cfg(unix)]
fn only_for_the_owner(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let others = path.metadata()?.permissions().mode() & 0o077;
    Ok(others == 0)
}

#[cfg(not(unix))]
fn only_for_the_owner(_: &Path) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        let key = ServerKey::create(&path).unwrap();
        assert_eq!(ServerKey::read(&path).unwrap().public(), key.public());
        assert!(matches!(ServerKey::create(&path), Err(KeyError::File { .. })));
        assert_eq!(format!("{key:?}").len(), "ServerKey()".len() + 12);
    }

    #[test]
    fn a_key_file_that_is_cut_or_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        ServerKey::create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert!(matches!(ServerKey::read(&path), Err(KeyError::Broken(_))));
        fs::write(&path, &text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(ServerKey::read(&path), Err(KeyError::Open(_))));
        }
    }
}
