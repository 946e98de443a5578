//! An account back with nothing but the phrase and its server.

use hearth_protocol::error::ErrorCode;
use hearth_sync::device::{Device, Found, Keychain, Output, Recovery, Step as RecoveryStep};
use hearth_sync::recovery::Phrase;
use zeroize::Zeroizing;

use super::super::{Engine, Result};
use super::machine::{OsEntropy, device_error, time};
use super::{PATIENCE, device_name, internal, parse_address, view};
use crate::error::EngineError;
use crate::net::{Connection, Event, Identity, Network, is_server};
use crate::types::{FindParams, FoundAccount, RecoverParams, Recovered, SyncState};

impl Engine {
    /// Gets an account back: this profile becomes a device of it, by the phrase alone. What the server has arrives then.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for what isn't a phrase, a phrase of no account of this server, and when
    /// there is an account; [`EngineError::Network`]. Nothing is kept then.
    pub async fn recover_account(&self, params: RecoverParams) -> Result<Recovered> {
        let _only = self.inner.sync.changing.lock().await;
        self.check_no_account()?;
        let name = device_name(params.name)?;
        let keys = Keychain::random(&mut OsEntropy);
        let (phrase, mut connection, _network) = call(&params.server, params.phrase, &keys).await?;
        let found = tokio::time::timeout(
            PATIENCE * 3,
            self.walk(&mut connection, phrase, keys, Some(params.keep_devices)),
        );
        let found = found
            .await
            .unwrap_or_else(|_| Err(EngineError::Network("the server takes too long".into())));
        connection.sender.close(None);
        let Walked::In(device, outputs, head_at_ms) = found? else {
            return Err(EngineError::Internal("a recovery stopped half-way".into()));
        };
        self.begin(*device, outputs, &name).await?;
        let running = self.running()?;
        let (status, _) = running
            .wait_for(PATIENCE, |status| status.state == SyncState::Live)
            .await?;
        Ok(Recovered {
            status,
            head_at_ms: i64::try_from(head_at_ms).unwrap_or(i64::MAX),
        })
    }

    /// Looks what a recovery phrase opens at a server; nothing changes by it.
    ///
    /// Errors: as [`Engine::recover_account`].
    pub async fn find_account(&self, params: FindParams) -> Result<FoundAccount> {
        let keys = Keychain::random(&mut OsEntropy);
        let (phrase, mut connection, _network) = call(&params.server, params.phrase, &keys).await?;
        let found = tokio::time::timeout(PATIENCE * 3, self.walk(&mut connection, phrase, keys, None)).await;
        connection.sender.close(None);
        match found {
            Ok(Ok(Walked::Found(found))) => Ok(FoundAccount {
                account: found.account.to_string(),
                head_at_ms: i64::try_from(found.head_at_ms).unwrap_or(i64::MAX),
                devices: found.devices.iter().map(ToString::to_string).collect(),
            }),
            Ok(Ok(Walked::In(..))) => Err(EngineError::Internal("a recovery went too far".into())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Network("the server takes too long".into())),
        }
    }

    /// Goes the way of a recovery; without `keep_devices` only up to what there is.
    async fn walk(
        &self,
        connection: &mut Connection,
        phrase: Phrase,
        keys: Keychain,
        keep_devices: Option<bool>,
    ) -> Result<Walked> {
        let (mut recovery, mut steps) =
            Recovery::new(phrase, keys, connection.exporter).map_err(|error| device_error(&error))?;
        let mut head_at_ms = 0;
        loop {
            let mut next = Vec::new();
            for step in steps {
                match step {
                    RecoveryStep::Send(bytes) => connection
                        .sender
                        .frame(bytes)
                        .map_err(|_| EngineError::Network("the connection to the server broke".into()))?,
                    RecoveryStep::Found(found) => {
                        let Some(keep_devices) = keep_devices else {
                            return Ok(Walked::Found(found));
                        };
                        head_at_ms = found.head_at_ms;
                        let keep = if keep_devices { found.devices } else { Vec::new() };
                        let now = time(self.now_ms());
                        next.extend(recovery.keep(&keep, now).map_err(|error| device_error(&error))?);
                    }
                    RecoveryStep::Done { device, outputs } => {
                        return Ok(Walked::In(device, outputs, head_at_ms));
                    }
                    RecoveryStep::Refused(code) => return Err(refused(code)),
                    RecoveryStep::FalseServer => {
                        return Err(EngineError::Network(
                            "what the server shows of the account doesn't hold: nothing was believed".into(),
                        ));
                    }
                }
            }
            if !next.is_empty() {
                steps = next;
                continue;
            }
            steps = match connection.events.next().await {
                Event::Frame(bytes) => recovery
                    .frame(&bytes, time(self.now_ms()), &mut OsEntropy)
                    .map_err(|error| device_error(&error))?,
                Event::Batch(_) => Vec::new(),
                // The end may overtake the refusal that it goes with.
                Event::Closed(closed) => {
                    return Err(closed
                        .code
                        .map_or_else(|| EngineError::Network(closed.detail), refused));
                }
            };
        }
    }
}

/// What a server's refusal means to somebody who has nothing but the phrase.
fn refused(code: ErrorCode) -> EngineError {
    match code {
        ErrorCode::UnknownAccount => {
            EngineError::InvalidRequest("this server has no account with this phrase".into())
        }
        ErrorCode::Moved => EngineError::InvalidRequest(
            "the account has left this server: give the address of its new one".into(),
        ),
        code => EngineError::Network(view::refusal(code)),
    }
}

/// How far a recovery went.
enum Walked {
    /// What the phrase opens.
    Found(Found),
    /// This profile is a device of it; with the time of the head that was found.
    In(Box<Device>, Vec<Output>, u64),
}

/// Reads the phrase and calls the server, which must be the one of its address. The network keeps the socket.
async fn call(server: &str, phrase: String, keys: &Keychain) -> Result<(Phrase, Connection, Network)> {
    let address = parse_address(server)?;
    let typed = Zeroizing::new(phrase);
    let phrase = Phrase::parse(&typed).map_err(|error| EngineError::InvalidRequest(error.to_string()))?;
    let identity = Identity::from_seed(keys.transport.expose()).map_err(internal)?;
    let network = Network::new().map_err(|error| EngineError::Network(error.to_string()))?;
    let mut connection = tokio::time::timeout(PATIENCE, network.connect(&identity, &address.endpoint))
        .await
        .map_err(|_| EngineError::Network("the server doesn't answer".into()))?
        .map_err(|error| EngineError::Network(format!("the server can't be reached: {error}")))?;
    if !is_server(&mut connection, &address.key).await {
        connection.sender.close(None);
        return Err(EngineError::Network(
            "whoever answers at this address has another key than the address says; ask the server's operator for it \
             (`hearth-sync-server fingerprint`)"
                .into(),
        ));
    }
    Ok((phrase, connection, network))
}
