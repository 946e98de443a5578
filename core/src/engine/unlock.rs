//! Which protection opens or makes a profile. Pure, but for asking the keychain when a profile is made.

use std::path::Path;

use hearth_store::{Protection, ProtectionKind, Store, StoreError};
use zeroize::Zeroizing;

use super::Engine;
use crate::error::{EngineError, needs};
use crate::options::Unlock;
use crate::types;

const KEYCHAIN_SERVICE: &str = "Hearth";

/// What opens an existing profile of this kind.
pub(crate) fn to_open(kind: ProtectionKind, unlock: &Unlock, home: &Path) -> Result<Protection, EngineError> {
    let locked = EngineError::Locked { needs: needs(kind) };
    match kind {
        ProtectionKind::Keychain => Ok(keychain(home)),
        ProtectionKind::Passphrase => unlock
            .passphrase
            .clone()
            .map(Protection::Passphrase)
            .ok_or(locked),
        ProtectionKind::KeyFile => unlock.key_file.clone().map(Protection::KeyFile).ok_or(locked),
    }
}

/// What may protect a new profile, in the order in which to try.
pub(crate) fn to_create(unlock: &Unlock, home: &Path) -> Result<Vec<Protection>, EngineError> {
    if let Some(kind) = unlock.create_as {
        return Ok(vec![to_open(to_store(kind), unlock, home)?]);
    }
    if let Some(passphrase) = &unlock.passphrase {
        return Ok(vec![Protection::Passphrase(passphrase.clone())]);
    }
    let keychain = unlock.keychain.then(|| keychain(home));
    let choices: Vec<_> = keychain
        .into_iter()
        .chain(unlock.key_file.clone().map(Protection::KeyFile))
        .collect();
    if choices.is_empty() {
        return Err(EngineError::Locked {
            needs: "a passphrase, the keychain or a key file",
        });
    }
    Ok(choices)
}

/// Opens the profile in `home`, or makes one; says what protects it.
pub(crate) fn open_or_create(home: &Path, unlock: &Unlock) -> Result<(Store, Protection), EngineError> {
    match Store::protection(home) {
        Ok(kind) => {
            let protection = to_open(kind, unlock, home)?;
            Ok((Store::open(home, &protection)?, protection))
        }
        Err(StoreError::NoProfile { .. }) => {
            let choices = to_create(unlock, home)?;
            let last = choices.len() - 1;
            for (index, protection) in choices.into_iter().enumerate() {
                match Store::create(home, &protection) {
                    Ok(store) => return Ok((store, protection)),
                    Err(StoreError::Keychain { reason }) if index < last => {
                        tracing::info!(%reason, "the keychain can't be used, taking the key file");
                    }
                    // Somebody made it in the meantime and has it open, or had.
                    Err(StoreError::AlreadyExists { .. }) if Store::protection(home).is_ok() => {
                        return Ok((Store::open(home, &protection)?, protection));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(EngineError::Internal("nothing protects the profile".into()))
        }
        Err(error) => Err(error.into()),
    }
}

impl Engine {
    /// Whether the key file at `path` opens the profile in `home`; false, too, for a profile that something else opens.
    pub fn key_file_opens(home: &Path, path: &Path) -> bool {
        Store::protection(home).is_ok_and(|kind| kind == ProtectionKind::KeyFile)
            && Store::check_protection(home, &Protection::KeyFile(path.to_owned())).is_ok()
    }

    /// Whether `passphrase` opens the profile in `home`, if a passphrase is what opens it; blocks while the key is
    /// derived. Works while another process owns the profile, whose engine would not ask for it again.
    ///
    /// Errors: [`EngineError::WrongKey`], and those of a profile that is not there or damaged.
    pub fn check_passphrase(home: &Path, passphrase: &Zeroizing<String>) -> Result<(), EngineError> {
        if Store::protection(home)? != ProtectionKind::Passphrase {
            return Ok(());
        }
        Ok(Store::check_protection(
            home,
            &Protection::Passphrase(passphrase.clone()),
        )?)
    }
}

/// The keychain entry of the profile in `home`.
pub(crate) fn keychain(home: &Path) -> Protection {
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    Protection::Keychain {
        service: KEYCHAIN_SERVICE.into(),
        account: home.to_string_lossy().into_owned(),
    }
}

pub(crate) fn to_store(kind: types::ProtectionKind) -> ProtectionKind {
    match kind {
        types::ProtectionKind::Keychain => ProtectionKind::Keychain,
        types::ProtectionKind::Passphrase => ProtectionKind::Passphrase,
        types::ProtectionKind::KeyFile => ProtectionKind::KeyFile,
    }
}

pub(crate) fn from_store(kind: ProtectionKind) -> types::ProtectionKind {
    match kind {
        ProtectionKind::Keychain => types::ProtectionKind::Keychain,
        ProtectionKind::Passphrase => types::ProtectionKind::Passphrase,
        ProtectionKind::KeyFile => types::ProtectionKind::KeyFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(unlock: &Unlock) -> Result<Vec<ProtectionKind>, String> {
        let choices = to_create(unlock, Path::new("/nowhere")).map_err(|error| error.to_string())?;
        Ok(choices.iter().map(Protection::kind).collect())
    }

    #[test]
    fn a_new_profile_takes_the_best_that_is_offered() {
        use ProtectionKind::{KeyFile, Keychain, Passphrase};
        let nothing = Unlock::default();
        assert_eq!(
            kinds(&nothing).unwrap_err(),
            "the profile is locked: it needs a passphrase, the keychain or a key file"
        );
        let all = Unlock {
            keychain: true,
            key_file: Some("key".into()),
            ..Unlock::with_passphrase("p")
        };
        assert_eq!(kinds(&all), Ok(vec![Passphrase]));
        let two = Unlock {
            passphrase: None,
            ..all.clone()
        };
        assert_eq!(kinds(&two), Ok(vec![Keychain, KeyFile]));
        let told = Unlock {
            create_as: Some(types::ProtectionKind::KeyFile),
            ..all
        };
        assert_eq!(kinds(&told), Ok(vec![KeyFile]));
    }

    #[test]
    fn an_existing_profile_asks_only_for_what_it_needs() {
        let unlock = Unlock::with_key_file("key");
        let home = Path::new("/nowhere");
        assert!(to_open(ProtectionKind::KeyFile, &unlock, home).is_ok());
        assert!(to_open(ProtectionKind::Keychain, &unlock, home).is_ok());
        let error = to_open(ProtectionKind::Passphrase, &unlock, home).unwrap_err();
        assert_eq!(error.to_string(), "the profile is locked: it needs a passphrase");
    }
}
