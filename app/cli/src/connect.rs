//! Reaching the engine: one that runs, one that is started in the background, or one in this process.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hearth_api::methods::Empty;
use hearth_api::methods::engine::GetStatus;
use hearth_api::types::{ModelProfile, ProtectionKind};
use hearth_api::{ApiError, Client, ErrorCode};
use hearth_core::net::LocalNetwork;
use hearth_core::{Engine, EngineOptions, Unlock};
use sha2::{Digest, Sha256};

use crate::args::{Global, Size};
use crate::failure::Failure;
use crate::output::Output;
use crate::secret::{self, Passphrase};

mod spawn;

pub(crate) use spawn::Started;

/// How long another process may hold the profile without letting us attach.
const BUSY_PATIENCE: Duration = Duration::from_secs(15);
/// How long a short command stays for what it changed to reach the sync server; a later engine sends it otherwise.
const SYNC_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a command that asks how sync stands waits for the first call to the server.
const GREETING: Duration = Duration::from_secs(3);
const BUSY_POLL: Duration = Duration::from_millis(50);

/// How a command wants its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// Attach to a running engine, else open one in this process: for short commands.
    Brief,
    /// Attach to a running engine, else start one in the background: for answers, so that the model stays loaded.
    Lasting,
}

/// What opens the profile, and where it is. Clones are cheap.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) home: PathBuf,
    pub(crate) size: Option<Size>,
    /// The key file to use or make, when no passphrase or keychain opens the profile.
    pub(crate) key_file: PathBuf,
    key_file_given: bool,
    keychain: bool,
    passphrase: Option<Passphrase>,
    in_process: bool,
    /// Where model files are kept, when not in the home folder.
    models: Option<PathBuf>,
}

/// A way to the engine for one command.
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The profile with everything that opened it.
    pub(crate) profile: Profile,
    engine: Option<Engine>,
}

impl Profile {
    /// Reads options and environment. The home folder is made (mode 0700) when absent.
    pub(crate) fn find(global: &Global, output: &Output) -> Result<Self, Failure> {
        let home = match &global.home {
            Some(home) => std::path::absolute(home).map_err(|error| Failure::file(home, &error))?,
            None => default_home()?,
        };
        make_private(&home, output)?;
        let home = home
            .canonicalize()
            .map_err(|error| Failure::file(&home, &error))?;
        let key_file = match &global.key_file {
            Some(path) => std::path::absolute(path).map_err(|error| Failure::file(path, &error))?,
            None => find_key_file(&home)?,
        };
        if let (None, Some(folder)) = (&global.key_file, key_file.parent()) {
            make_private(folder, output)?;
        }
        let keychain =
            !std::env::var("HEARTH_KEYCHAIN").is_ok_and(|value| matches!(value.as_str(), "off" | "0" | "no"));
        Ok(Self {
            size: global.profile,
            key_file,
            key_file_given: global.key_file.is_some(),
            keychain,
            passphrase: secret::given(global)?,
            in_process: global.in_process,
            models: models_folder()?,
            home,
        })
    }

    /// Whether the home folder holds a profile already.
    pub(crate) fn exists(&self) -> bool {
        self.home.join("hearth.key").exists() || self.home.join("hearth.db").exists()
    }

    /// Reaches the engine; asks for the passphrase where one is needed and a person is there.
    pub(crate) async fn connect(&self, want: Want, output: &Output) -> Result<Session, Failure> {
        let new = !self.exists();
        let session = self
            .asking(output, async |profile| profile.reach(want).await)
            .await?;
        if new {
            self.tell_protection(&session.client, output).await;
        }
        Ok(session)
    }

    /// Reaches the engine again with what opened it before.
    pub(crate) async fn connect_again(&self) -> Result<Client, ApiError> {
        match self.reach(Want::Lasting).await {
            Ok(session) => Ok(session.client),
            Err(Failure::Api(error)) => Err(*error),
            Err(_) => Err(ApiError::new(
                ErrorCode::Disconnected,
                "the engine can't be reached",
            )),
        }
    }

    /// Opens an engine in this process; asks for the passphrase where one is needed and a person is there.
    pub(crate) async fn open_asking(&self, output: &Output) -> Result<Engine, Failure> {
        let new = !self.exists();
        let engine = self.asking(output, async |profile| profile.open().await).await?;
        if new {
            self.tell_protection(&Client::in_process(engine.clone()), output)
                .await;
        }
        Ok(engine)
    }

    /// Tries with what was given, then with what a person types.
    async fn asking<T>(
        &self,
        output: &Output,
        attempt: impl AsyncFn(Profile) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut profile = self.clone();
        let mut tries_left = 3;
        loop {
            let failure = match attempt(profile.clone()).await {
                Err(failure) => failure,
                done => return done,
            };
            let typed = profile.passphrase.is_some() && self.passphrase.is_none();
            let asks = match failure.code() {
                Some(ErrorCode::Locked) => !typed && needs_passphrase(&failure),
                Some(ErrorCode::WrongKey) => typed && tries_left > 0,
                _ => false,
            };
            if !asks || !output.notes_terminal || output.json {
                return Err(failure);
            }
            if typed {
                output.note("That passphrase is wrong.");
            }
            tries_left -= 1;
            profile.passphrase = Some(secret::ask(output, "Passphrase")?);
        }
    }

    /// Opens an engine in this process.
    pub(crate) async fn open(&self) -> Result<Engine, Failure> {
        let mut options = EngineOptions::new(&self.home, self.unlock());
        options.model_profile = self.size.map(|size| match size {
            Size::Small => ModelProfile::Small,
            Size::Standard => ModelProfile::Standard,
            Size::Large => ModelProfile::Large,
        });
        if let Some(models) = &self.models {
            options.models_dir.clone_from(models);
        }
        // Hidden: for tests on machines where no multicast passes.
        if let Some(folder) = std::env::var_os("HEARTH_TEST_LAN_FOLDER") {
            options.local_network = LocalNetwork::Folder(folder.into());
        }
        Ok(Engine::open(options).await?)
    }

    /// The same profile with the passphrase that another process passed on.
    pub(crate) fn with_passphrase(mut self, passphrase: Option<Passphrase>) -> Self {
        self.passphrase = passphrase.or(self.passphrase);
        self
    }

    /// Removes the key file that was made for this profile, if there is one; a file that was named with an option may
    /// open other profiles too and stays.
    pub(crate) fn remove_own_key_file(&self) -> Result<(), Failure> {
        if self.key_file_given || self.key_file != default_key_file(&self.home)? {
            return Ok(());
        }
        match std::fs::remove_file(&self.key_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file(&self.key_file, &error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn passphrase(&self) -> Option<&Passphrase> {
        self.passphrase.as_ref()
    }

    fn unlock(&self) -> Unlock {
        let create_as = if self.passphrase.is_some() {
            Some(ProtectionKind::Passphrase)
        } else if self.key_file_given {
            Some(ProtectionKind::KeyFile)
        } else {
            None
        };
        let key_file = Some(self.key_file.clone());
        Unlock {
            passphrase: self.passphrase.clone(),
            key_file,
            keychain: self.keychain,
            create_as,
        }
    }

    /// Attaches, starts or opens; waits while another process holds the profile for a moment.
    async fn reach(&self, want: Want) -> Result<Session, Failure> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            match self.reach_once(want).await {
                Err(error) if error.code() == Some(ErrorCode::ProfileInUse) && Instant::now() < deadline => {
                    tokio::time::sleep(BUSY_POLL).await;
                }
                reached => return reached,
            }
        }
    }

    async fn reach_once(&self, want: Want) -> Result<Session, Failure> {
        if !self.in_process {
            if let Some(client) = Client::attach(&self.home).await {
                self.check_passphrase()?;
                return Ok(self.session(client, None));
            }
            if want == Want::Lasting {
                spawn::engine(self).await?;
                let client = Client::attach(&self.home).await.ok_or_else(|| {
                    ApiError::new(
                        ErrorCode::Disconnected,
                        "the engine was started and can't be reached",
                    )
                })?;
                return Ok(self.session(client, None));
            }
        }
        let engine = self.open().await?;
        Ok(self.session(Client::in_process(engine.clone()), Some(engine)))
    }

    /// A running engine has the profile open and doesn't ask; a wrong passphrase is refused all the same.
    fn check_passphrase(&self) -> Result<(), Failure> {
        match &self.passphrase {
            Some(passphrase) => Ok(Engine::check_passphrase(&self.home, passphrase)?),
            None => Ok(()),
        }
    }

    fn session(&self, client: Client, engine: Option<Engine>) -> Session {
        Session {
            client,
            profile: self.clone(),
            engine,
        }
    }

    /// Said once, when a profile is made: where it is and what opens it.
    async fn tell_protection(&self, client: &Client, output: &Output) {
        let Ok(status) = client.call::<GetStatus>(Empty {}).await else {
            return;
        };
        let opens = match status.database.protection {
            ProtectionKind::Keychain => "Its key is in this system's keychain.".to_owned(),
            ProtectionKind::Passphrase => {
                "Your passphrase opens it. Nobody can recover a lost one.".to_owned()
            }
            ProtectionKind::KeyFile => format!(
                "Its key is in {}; whoever has both can read your chats. Keep a copy of the key, or use a passphrase: hearth profile change-passphrase",
                self.key_file.display()
            ),
        };
        output.note(&format!(
            "Made a new encrypted profile in {}. {opens}",
            self.home.display()
        ));
    }
}

impl Session {
    /// Where the engine has just been opened in this process: gives its first call to the sync server a moment.
    pub(crate) async fn greeted(&self) {
        if let Some(engine) = &self.engine {
            engine.sync_greeted(GREETING).await;
        }
    }

    /// Ends an engine of this process; leaves others running.
    pub(crate) async fn close(self) {
        if let Some(engine) = self.engine {
            engine.sync_before_leaving(SYNC_PATIENCE).await;
            engine.stop().await;
        }
    }
}

/// A profile can also be locked because its key file isn't there; no passphrase helps then.
fn needs_passphrase(failure: &Failure) -> bool {
    let Failure::Api(error) = failure else {
        return false;
    };
    let needs = error
        .details
        .as_ref()
        .and_then(|details| details["needs"].as_str());
    needs.is_some_and(|needs| needs.contains("passphrase"))
}

/// `HEARTH_MODELS`: one folder of models for several profiles.
fn models_folder() -> Result<Option<PathBuf>, Failure> {
    let named = std::env::var_os("HEARTH_MODELS")
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    named
        .map(|path| std::path::absolute(&path).map_err(|error| Failure::file(&path, &error)))
        .transpose()
}

fn default_home() -> Result<PathBuf, Failure> {
    directories::ProjectDirs::from("", "", "hearth")
        .map(|folders| folders.data_dir().to_owned())
        .ok_or_else(|| {
            Failure::usage("This user has no home folder. Say where with --home DIR or HEARTH_HOME.")
        })
}

/// The key file of a profile that was not told which: its own, else whichever of the folder opens it, as that of a home
/// folder that was moved or copied does.
fn find_key_file(home: &Path) -> Result<PathBuf, Failure> {
    let own = default_key_file(home)?;
    if own.exists() || !home.join("hearth.key").exists() {
        return Ok(own);
    }
    let others = own.parent().and_then(|folder| folder.read_dir().ok());
    let found = others
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "key") && Engine::key_file_opens(home, path));
    Ok(found.unwrap_or(own))
}

/// `<configuration>/hearth/keys/<hash of the home folder's path>.key`: apart from the database it opens.
fn default_key_file(home: &Path) -> Result<PathBuf, Failure> {
    let folders = directories::ProjectDirs::from("", "", "hearth").ok_or_else(|| {
        Failure::usage("This user has no home folder. Say where the key is with --key-file FILE.")
    })?;
    let hash = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let start = hash
        .iter()
        .take(8)
        .fold(0_u64, |start, byte| start << 8 | u64::from(*byte));
    Ok(folders
        .config_dir()
        .join("keys")
        .join(format!("{start:016x}.key")))
}

fn make_private(folder: &Path, output: &Output) -> Result<(), Failure> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(folder)
        .and_then(|()| narrow_empty(folder, output))
        .map_err(|error| Failure::file(folder, &error))
}

/// An empty folder that was there before becomes its owner's alone. One that holds anything is left as it is, since
/// it may serve other purposes too: only a folder that others can write to is told of.
fn narrow_empty(folder: &Path, output: &Output) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = folder.metadata()?.permissions().mode();
        let others = mode & 0o077;
        if others == 0 {
            return Ok(());
        }
        if folder.read_dir()?.next().is_none() {
            return std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
        }
        if others & 0o022 != 0 {
            output.note(&format!(
                "Others can write to {0}. To close it: chmod 700 {0}",
                folder.display()
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = (folder, output);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[cfg(unix)]
    #[test]
    fn a_folder_made_or_found_empty_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, output) = (tempfile::tempdir().unwrap(), crate::output::Output::new(true));
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let open = |path: &std::path::Path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let made = dir.path().join("a").join("b");
        super::make_private(&made, &output).unwrap();
        assert_eq!((mode(&made), mode(&dir.path().join("a"))), (0o700, 0o700));
        open(&made);
        super::make_private(&made, &output).unwrap();
        assert_eq!(mode(&made), 0o700, "empty");
        std::fs::write(made.join("file"), "").unwrap();
        open(&made);
        super::make_private(&made, &output).unwrap();
        assert_eq!(mode(&made), 0o755, "somebody uses it");
    }
}
