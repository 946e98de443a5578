//! An account back with nothing but the phrase and its server.

use hearth_sync::device::{Device, Keychain, Output, Recovery, Step as RecoveryStep};
use hearth_sync::recovery::Phrase;
use zeroize::Zeroizing;

use super::super::{Engine, Result};
use super::machine::{OsEntropy, device_error, time};
use super::{PATIENCE, device_name, internal, parse_address, view};
use crate::error::EngineError;
use crate::net::{Connection, Event, Identity, Network, is_server};
use crate::types::{RecoverParams, Recovered, SyncState};

impl Engine {
    /// Gets an account back: this profile becomes a device of it, by the phrase alone. What the server has arrives then.
    ///
    /// Errors: [`EngineError::InvalidRequest`] for what isn't a phrase, a phrase of no account of this server, and when
    /// there is an account; [`EngineError::Network`]. Nothing is kept then.
    pub async fn recover_account(&self, params: RecoverParams) -> Result<Recovered> {
        let _only = self.inner.sync.changing.lock().await;
        self.check_no_account()?;
        let name = device_name(params.name)?;
        let address = parse_address(&params.server)?;
        let typed = Zeroizing::new(params.phrase);
        let phrase = Phrase::parse(&typed).map_err(|error| EngineError::InvalidRequest(error.to_string()))?;
        let keys = Keychain::random(&mut OsEntropy);
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
        let found = tokio::time::timeout(
            PATIENCE * 3,
            self.find_account(&mut connection, phrase, keys, params.keep_devices),
        );
        let found = found
            .await
            .unwrap_or_else(|_| Err(EngineError::Network("the server takes too long".into())));
        connection.sender.close(None);
        let (device, outputs, head_at_ms) = found?;
        self.begin(device, outputs, &name).await?;
        let running = self.running()?;
        let (status, _) = running
            .wait_for(PATIENCE, |status| status.state == SyncState::Live)
            .await?;
        Ok(Recovered {
            status,
            head_at_ms: i64::try_from(head_at_ms).unwrap_or(i64::MAX),
        })
    }

    async fn find_account(
        &self,
        connection: &mut Connection,
        phrase: Phrase,
        keys: Keychain,
        keep_devices: bool,
    ) -> Result<(Device, Vec<Output>, u64)> {
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
                        head_at_ms = found.head_at_ms;
                        let keep = if keep_devices { found.devices } else { Vec::new() };
                        let now = time(self.now_ms());
                        next.extend(recovery.keep(&keep, now).map_err(|error| device_error(&error))?);
                    }
                    RecoveryStep::Done { device, outputs } => return Ok((*device, outputs, head_at_ms)),
                    RecoveryStep::Refused(hearth_protocol::error::ErrorCode::UnknownAccount) => {
                        return Err(EngineError::InvalidRequest(
                            "this server has no account with this phrase".into(),
                        ));
                    }
                    RecoveryStep::Refused(code) => return Err(EngineError::Network(view::refusal(code))),
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
                Event::Closed(closed) => {
                    return Err(EngineError::Network(
                        closed.code.map_or(closed.detail, view::refusal),
                    ));
                }
            };
        }
    }
}
