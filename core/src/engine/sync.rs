//! Sync: this profile as one of several devices of an account.
//!
//! [`machine`] is `hearth-sync`'s device together with the store: one step, one transaction. [`run`] is the task that owns
//! it: the connection, the timers, what faces ask. [`local`] is the local network, without the server. [`pairing`] lets a
//! device in. A profile without an account has none of it, and pays nothing.
//!
//! The device's keys lie in the encrypted database, beside the journal that they belong to (see [`machine`]). The recovery
//! phrase is told once and kept nowhere.

mod change;
mod erase;
mod findings;
mod local;
mod local_run;
mod machine;
mod pairing;
mod recover;
mod run;
#[cfg(feature = "testing")]
pub mod testing;
mod view;

use std::sync::Mutex;
use std::time::Duration;

use hearth_protocol::control::{RevokeReason, ServerIdentity};
use hearth_protocol::id::{DeviceId, Hash, MailboxId};
use hearth_store::SettingsGroup;
use hearth_sync::device::{Device, Founding, Input, Keychain, Notice};
use hearth_sync::recovery::Phrase;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::profile::absolute;
use super::{Engine, Result, io_error, lock, settings};
use crate::error::EngineError;
use crate::net::{Identity, Network, ServerAddress, is_server};
use crate::types::{
    AccountCreateParams, AccountCreated, DeviceInfo, EngineEvent, ErasureInfo, PairAnswer, SyncState,
    SyncStatus,
};
use machine::{Machine, OsEntropy, device_error, time};
use run::{Command, Running};

/// How long an account without a server looks for its devices on the local network before a command ends without any.
const MEETING: Duration = Duration::from_secs(6);
/// How long a command waits for the server.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest name of a device, bytes.
const MAX_NAME_BYTES: usize = 64;

/// What the engine holds of sync.
#[derive(Default)]
pub(super) struct Sync {
    running: Mutex<Option<Running>>,
    /// The one pairing that goes on, and the way to answer it.
    desk: Mutex<Option<mpsc::Sender<PairAnswer>>>,
    /// Codes that have let a device in since the engine started, by their mailboxes: the last of them.
    used_codes: Mutex<Vec<MailboxId>>,
    /// Why the account's machine couldn't be started.
    broken: Mutex<Option<String>>,
    /// Making, joining and leaving an account: one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Where the devices' names are: an object from identifier to name, a group of settings of its own.
fn names_setting() -> String {
    SettingsGroup::new("devices").setting()
}

impl Engine {
    /// Starts to sync, if the profile has an account.
    pub(super) async fn start_sync(&self) {
        let loaded = self
            .inner
            .chats
            .store()
            .run_on_place(|place| {
                let store = place.as_mut().ok_or(EngineError::Stopped)?;
                Machine::load(store)
            })
            .await;
        let started = match loaded {
            Ok(None) => return,
            Ok(Some(machine)) => run::start(self, machine),
            Err(error) => Err(error),
        };
        match started {
            Ok(running) => *lock(&self.inner.sync.running) = Some(running),
            Err(error) => {
                tracing::error!(%error, "sync can't be started");
                *lock(&self.inner.sync.broken) = Some(error.to_string());
            }
        }
    }

    /// Ends syncing for now, as before the database is replaced.
    pub(super) async fn stop_sync(&self) {
        let running = lock(&self.inner.sync.running).take();
        if let Some(running) = running {
            let _ = running.ask(Command::Stop).await;
        }
    }

    fn running(&self) -> Result<Running> {
        if let Some(running) = &*lock(&self.inner.sync.running) {
            return Ok(running.clone());
        }
        match &*lock(&self.inner.sync.broken) {
            Some(problem) => Err(EngineError::Corrupt(format!("sync can't be started: {problem}"))),
            None => Err(EngineError::NotFound { what: "account" }),
        }
    }

    /// Makes an account with this profile as its first device. What is here is uploaded from now on.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for a server's address that isn't one, or when there is an account;
    /// [`EngineError::Network`] when the server isn't reached, isn't the one of the address, or refuses. Nothing is made then.
    pub async fn create_account(&self, params: AccountCreateParams) -> Result<AccountCreated> {
        let _only = self.inner.sync.changing.lock().await;
        self.check_no_account()?;
        let name = device_name(params.name)?;
        let keys = Keychain::random(&mut OsEntropy);
        let server = match &params.server {
            Some(address) => Some(reach(address, &keys).await?),
            None => None,
        };
        let with_server = server.is_some();
        let phrase = Phrase::random(&mut OsEntropy);
        let founding = Founding {
            phrase: phrase.clone(),
            server,
            invitation: params.invitation.unwrap_or_default(),
        };
        let now_ms = self.now_ms();
        let (device, outputs) = Device::create(founding, keys, time(now_ms), &mut OsEntropy)
            .map_err(|error| device_error(&error))?;
        self.begin(device, outputs, &name).await?;
        let running = self.running()?;
        if with_server {
            let mut notices = running.notices();
            // Which comes first is what the server said to it.
            let answered = tokio::time::timeout(PATIENCE, async {
                loop {
                    let ready = |status: &SyncStatus| {
                        let refused = matches!(status.state, SyncState::Offline | SyncState::Connecting);
                        status.state == SyncState::Live || (refused && status.problem.is_some())
                    };
                    if let Ok((status, true)) = running.wait_for(PATIENCE, ready).await {
                        return match status.state {
                            SyncState::Live => Ok(()),
                            _ => Err(status.problem.unwrap_or_default()),
                        };
                    }
                    if notices.recv().await.is_err() {
                        return Ok(());
                    }
                }
            });
            if let Ok(Err(problem)) = answered.await {
                self.leave().await?;
                return Err(EngineError::Network(problem));
            }
        }
        let status = self.sync_status().await?;
        Ok(AccountCreated {
            phrase: phrase.words().to_string(),
            status,
        })
    }

    /// Tries a recovery phrase: whether it is the account's, and opens its running epoch, whose number comes back.
    /// Nothing is sent, and nothing kept of it.
    ///
    /// Errors: [`EngineError::InvalidRequest`] with what is wrong.
    pub async fn drill(&self, phrase: Zeroizing<String>) -> Result<u64> {
        let running = self.running()?;
        running.ask(|answer| Command::Drill(phrase, answer)).await?
    }

    /// How sync stands.
    pub async fn sync_status(&self) -> Result<SyncStatus> {
        match self.running() {
            Ok(running) => running.ask(Command::Status).await?,
            Err(EngineError::NotFound { .. }) => Ok(view::without_account()),
            Err(error) => Err(error),
        }
    }

    /// Waits until the first call since the start has reached the server, or hasn't, at most `limit`: then the status says
    /// how it stands. A program that has just opened the engine and looks at once would see "connecting".
    pub async fn sync_greeted(&self, limit: Duration) {
        let Ok(running) = self.running() else { return };
        let known =
            |status: &SyncStatus| !matches!(status.state, SyncState::Connecting | SyncState::CatchingUp);
        let _ = running.wait_for(limit, known).await;
    }

    /// Hands over what changed, calls the server, and waits until both have everything, at most `limit`.
    ///
    /// An account without a server has nothing to call: some seconds are given to meet a device on the local network, and
    /// meeting none is no error.
    ///
    /// Errors: [`EngineError::Network`] when that doesn't come to be.
    pub async fn sync_once(&self, limit: Duration) -> Result<SyncStatus> {
        let running = self.running()?;
        running.ask(Command::Nudge).await??;
        let done = |status: &SyncStatus| {
            let others = status
                .devices
                .iter()
                .any(|device| !device.this && !device.revoked);
            match status.state {
                SyncState::Revoked => true,
                // At its own relay it is settled before anybody was met.
                SyncState::NoServer => !others,
                SyncState::LocalNetwork => status.changed_here + status.unsealed == 0,
                _ => status.settled && status.changed_here == 0,
            }
        };
        let no_server = running.ask(Command::Status).await??.server.is_none();
        let limit = if no_server { limit.min(MEETING) } else { limit };
        match running.wait_for(limit, done).await? {
            (status, true) => Ok(status),
            (status, false) if status.state == SyncState::NoServer => Ok(status),
            (status, false) => Err(EngineError::Network(
                status
                    .problem
                    .or_else(|| status.waits.into_iter().next())
                    .unwrap_or_else(|| "it takes longer than expected; it goes on in the background".into()),
            )),
        }
    }

    /// At the end of a short command: what it changed goes out, if that takes but a moment.
    pub async fn sync_before_leaving(&self, limit: Duration) {
        let Ok(running) = self.running() else { return };
        let Ok(Ok(status)) = running.ask(Command::Status).await else {
            return;
        };
        if status.changed_here + status.unsealed + status.unconfirmed + status.unsent > 0 {
            let _ = self.sync_once(limit).await;
        }
    }

    /// The answer to "restored or copied?": this device, or the server, was restored from a backup. It goes on in a new log.
    /// Where the server's operator had removed the account, it is brought there again.
    pub async fn sync_restored(&self) -> Result<SyncStatus> {
        let running = self.running()?;
        // What the server says of the account decides what it means.
        self.sync_greeted(PATIENCE).await;
        running.step(Input::Restored).await?;
        running.ask(Command::Nudge).await??;
        self.sync_status().await
    }

    /// Drops what was found ([`SyncStatus::findings`]): the person has looked at it. What goes on is found again.
    pub async fn dismiss_findings(&self) -> Result<SyncStatus> {
        self.running()?.ask(Command::Dismiss).await??;
        self.sync_status().await
    }

    /// Calls a device something.
    ///
    /// Errors: [`EngineError::NotFound`] for a device that the account doesn't have.
    pub async fn rename_device(&self, device: String, name: String) -> Result<SyncStatus> {
        let name = device_name(Some(name))?;
        let device = self.find_device(&device).await?;
        self.keep_name(&device, &name).await?;
        self.tell(EngineEvent::SettingsChanged);
        self.tell(EngineEvent::DevicesChanged);
        self.sync_status().await
    }

    /// Shuts a device out: it gets nothing more, and the keys are changed at once.
    ///
    /// Errors: [`EngineError::NotFound`]; [`EngineError::Network`] when the server can't be asked, which it has to be;
    /// [`EngineError::InvalidRequest`] for this device.
    pub async fn revoke_device(&self, device: String, lost: bool) -> Result<SyncStatus> {
        let running = self.running()?;
        let device = self.find_device(&device).await?;
        let target = parse_hash(&device).map(|hash| DeviceId(hash.0))?;
        self.online(&running).await?;
        let mut notices = running.notices();
        let reason = if lost {
            RevokeReason::Lost
        } else {
            RevokeReason::Retired
        };
        running.step(Input::Revoke { target, reason }).await?;
        let said = wait_notice(&mut notices, |notice| match notice {
            Notice::ShutOut(device) if *device == target => Some(Ok(())),
            Notice::Dropped => Some(Err(EngineError::Network(
                "the account changed meanwhile: look at the devices and try again".into(),
            ))),
            _ => None,
        });
        said.await??;
        self.sync_status().await
    }

    /// Changes the account's keys now: what was erased before can't be opened with any key that is left, as soon as every
    /// device has taken the new one on.
    ///
    /// Errors: [`EngineError::Network`] when the server can't be asked.
    pub async fn rotate_keys(&self) -> Result<SyncStatus> {
        let running = self.running()?;
        self.online(&running).await?;
        let before = running.ask(Command::Status).await??.epoch;
        running.step(Input::Rotate).await?;
        match running.wait_for(PATIENCE, |status| status.epoch > before).await? {
            (status, true) => Ok(status),
            (status, false) => {
                Err(EngineError::Network(status.problem.unwrap_or_else(|| {
                    "the server hasn't confirmed the new keys yet".into()
                })))
            }
        }
    }

    /// The account's devices, those shut out too.
    pub async fn list_devices(&self) -> Result<Vec<DeviceInfo>> {
        self.running()?;
        Ok(self.sync_status().await?.devices)
    }

    /// The erasures that every device owes, the oldest first.
    pub async fn list_erasures(&self) -> Result<Vec<ErasureInfo>> {
        self.running()?;
        Ok(self.sync_status().await?.erasures)
    }

    /// Writes the certificate of an erasure, complete or provisional, to a file that isn't there yet; says its size.
    ///
    /// Errors: [`EngineError::NotFound`], [`EngineError::Io`].
    pub async fn certificate(&self, erasure: String, path: std::path::PathBuf) -> Result<(u64, bool)> {
        let path = absolute(path)?;
        let running = self.running()?;
        let erase = parse_hash(&erasure)?;
        let (bytes, complete) = running
            .ask(|answer| Command::Certificate(erase, answer))
            .await??
            .ok_or(EngineError::NotFound { what: "erasure" })?;
        let length = bytes.len() as u64;
        let writing = tokio::task::spawn_blocking(move || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|source| io_error(&path, source))?;
            let written = std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all());
            written.map_err(|source| {
                // Half a certificate is none, and would stand in the way of the next try.
                let _ = std::fs::remove_file(&path);
                io_error(&path, source)
            })
        });
        writing.await.map_err(internal)??;
        Ok((length, complete))
    }

    fn check_no_account(&self) -> Result<()> {
        match self.running() {
            Err(EngineError::NotFound { .. }) => Ok(()),
            Ok(_) => Err(EngineError::InvalidRequest(
                "this profile belongs to an account already; for another one, use another profile (--home DIR)".into(),
            )),
            Err(error) => Err(error),
        }
    }

    /// Keeps a new device, names it, and starts to sync.
    async fn begin(
        &self,
        device: Device,
        outputs: Vec<hearth_sync::device::Output>,
        name: &str,
    ) -> Result<()> {
        let now_ms = self.now_ms();
        let id = device.id().to_string();
        let machine = self
            .inner
            .chats
            .store()
            .run_on_place(move |place| {
                let store = place.as_mut().ok_or(EngineError::Stopped)?;
                Machine::begin(store, device, outputs, now_ms)
            })
            .await?;
        self.keep_name(&id, name).await?;
        let running = run::start(self, machine)?;
        *lock(&self.inner.sync.running) = Some(running);
        self.tell(EngineEvent::DevicesChanged);
        Ok(())
    }

    /// Ends the account on this device; memories and chats stay.
    async fn leave(&self) -> Result<()> {
        self.stop_sync().await;
        let names = names_setting();
        self.inner
            .chats
            .store()
            .run(move |store| {
                store.end_sync()?;
                store.set_setting(&names, &json!({}))
            })
            .await
    }

    async fn keep_name(&self, device: &str, name: &str) -> Result<()> {
        let (device, name, setting) = (device.to_owned(), name.to_owned(), names_setting());
        self.inner
            .chats
            .store()
            .run(move |store| {
                let mut names = match store.get_setting(&setting)? {
                    Some(Value::Object(names)) => names,
                    _ => serde_json::Map::new(),
                };
                names.insert(device, Value::String(name));
                store.set_setting(&setting, &Value::Object(names))
            })
            .await
    }

    /// A device by its identifier, the beginning of it, or its name.
    async fn find_device(&self, wanted: &str) -> Result<String> {
        self.running()?;
        let status = self.sync_status().await?;
        find_device(&status.devices, wanted)
    }

    /// Waits until the server has been greeted.
    async fn online(&self, running: &Running) -> Result<()> {
        running.ask(Command::Nudge).await??;
        let (status, live) = running
            .wait_for(PATIENCE, |status| {
                status.reached || status.state == SyncState::Revoked
            })
            .await?;
        match status.state {
            _ if live && status.reached => Ok(()),
            SyncState::NoServer => Err(EngineError::Unsupported(
                "this account has no server, and the local network isn't used: see the setting local_network"
                    .into(),
            )),
            SyncState::Revoked => Err(EngineError::InvalidRequest(
                "this device was shut out of the account: another one has to do it".into(),
            )),
            _ => Err(EngineError::Network(
                status
                    .problem
                    .unwrap_or_else(|| "the server can't be reached".into()),
            )),
        }
    }

    async fn reload_settings(&self) {
        let stored = self
            .inner
            .chats
            .store()
            .run(|store| store.get_setting(settings::STORE_KEY))
            .await;
        if let Ok(stored) = stored {
            *self
                .inner
                .settings
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = settings::from_stored(stored);
            self.tell(EngineEvent::SettingsChanged);
        }
    }
}

/// Waits for a notice, at most [`PATIENCE`].
async fn wait_notice<T>(
    notices: &mut tokio::sync::broadcast::Receiver<Notice>,
    wanted: impl Fn(&Notice) -> Option<T>,
) -> Result<T> {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            match notices.recv().await {
                Ok(notice) => {
                    if let Some(found) = wanted(&notice) {
                        return Ok(found);
                    }
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return Err(EngineError::Stopped),
            }
        }
    });
    found.await.unwrap_or_else(|_| {
        Err(EngineError::Network(
            "the server hasn't confirmed it in time".into(),
        ))
    })
}

/// The device with this identifier, with one that begins so, or with this name. Every device may name the others: no name
/// stands before an identifier.
fn find_device(devices: &[DeviceInfo], wanted: &str) -> Result<String> {
    let start = wanted.to_lowercase();
    let only = |fits: &dyn Fn(&DeviceInfo) -> bool| {
        let mut found = devices.iter().filter(|device| fits(device));
        (found.next(), found.next())
    };
    if let (Some(device), _) = only(&|device| device.device == start) {
        return Ok(device.device.clone());
    }
    // So many digits are no name by chance.
    let begins = |device: &DeviceInfo| device.device.starts_with(&start);
    if start.len() >= 8
        && let (Some(device), None) = only(&begins)
    {
        return Ok(device.device.clone());
    }
    match only(&|device| device.name == wanted || (!start.is_empty() && begins(device))) {
        (Some(device), None) => Ok(device.device.clone()),
        (None, _) => Err(EngineError::NotFound { what: "device" }),
        (Some(_), Some(_)) => Err(EngineError::InvalidRequest(format!(
            "several devices are called {wanted:?}: give the identifier, as `hearth devices list` shows it"
        ))),
    }
}

/// Calls the server of an address, and makes sure that it is that one.
async fn reach(address: &str, keys: &Keychain) -> Result<ServerIdentity> {
    let address = parse_address(address)?;
    let network = Network::new().map_err(|error| EngineError::Network(error.to_string()))?;
    let identity = Identity::from_seed(keys.transport.expose()).map_err(internal)?;
    let mut connection = tokio::time::timeout(PATIENCE, network.connect(&identity, &address.endpoint))
        .await
        .map_err(|_| EngineError::Network("the server doesn't answer".into()))?
        .map_err(|error| EngineError::Network(format!("the server can't be reached: {error}")))?;
    let sure = is_server(&mut connection, &address.key).await;
    connection.sender.close(None);
    if !sure {
        return Err(EngineError::Network(
            "whoever answers at this address has another key than the address says; ask the server's operator for it \
             (`hearth-sync-server fingerprint`)"
                .into(),
        ));
    }
    Ok(ServerIdentity {
        key: address.key,
        endpoint: address.endpoint.to_string().try_into().map_err(internal)?,
    })
}

fn parse_address(text: &str) -> Result<ServerAddress> {
    text.parse()
        .map_err(|error| EngineError::InvalidRequest(format!("the server's address: {error}")))
}

fn parse_hash(text: &str) -> Result<Hash> {
    let invalid = || EngineError::InvalidRequest("an identifier here has 64 hexadecimal digits".into());
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return Err(invalid());
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|_| invalid())?;
    }
    Ok(Hash(bytes))
}

/// A name for a device: what was given, or the machine's.
fn device_name(given: Option<String>) -> Result<String> {
    let name = given
        .map(|name| name.trim().to_owned())
        .or_else(|| sysinfo::System::host_name().ok())
        .unwrap_or_else(|| "unnamed".into());
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(EngineError::InvalidRequest(format!(
            "a device's name has 1 to {MAX_NAME_BYTES} bytes, without control characters"
        )));
    }
    Ok(name)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn internal(error: impl std::fmt::Display) -> EngineError {
    EngineError::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_before_an_identifier() {
        let device = |digit: &str, name: &str| DeviceInfo {
            device: digit.repeat(64),
            name: name.into(),
            this: false,
            revoked: false,
            last_seen_ms: None,
            last_verified_ms: None,
            epoch: 1,
            open_erasures: 0,
        };
        // The one to be shut out has called the other one by its own identifier.
        let thief = "a".repeat(64);
        let devices = [device("a", "phone"), device("b", &thief), device("c", "phone")];
        assert_eq!(find_device(&devices, &thief).unwrap(), thief);
        assert_eq!(find_device(&devices, &thief[..8]).unwrap(), thief);
        assert_eq!(find_device(&devices, "C").unwrap(), "c".repeat(64));
        assert!(matches!(
            find_device(&devices, "phone"),
            Err(EngineError::InvalidRequest(_))
        ));
        assert!(matches!(
            find_device(&devices, ""),
            Err(EngineError::NotFound { .. })
        ));
        assert!(matches!(
            find_device(&devices, "tablet"),
            Err(EngineError::NotFound { .. })
        ));
    }
}
