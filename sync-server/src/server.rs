//! A running server.

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_relay::StoreError;
use hearth_transport::{Endpoint, Host, Identity, IdentityError, Listener, ServerAddress};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{CertificateFiles, Config};
use crate::folder::{Folder, FolderError};
use crate::machine::{self, Parts};
use crate::metrics::{self, Health};
use crate::store::DATABASE;

/// How long sessions may take to hear that the server ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long the relay may take to say how it is.
const HEALTH: Duration = Duration::from_secs(5);

/// Why a server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The database.
    #[error("the database {path}: {source}{}", cause(source))]
    Store {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The certificate that was given.
    #[error("{path}: {source}")]
    CertificateFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate that was given doesn't fit.
    #[error("{}: {source}", files.certificate.display())]
    Certificate {
        /// The files.
        files: CertificateFiles,
        /// Why.
        source: IdentityError,
    },
    /// The server's own certificate.
    #[error("the server's own certificate: {0}")]
    Identity(IdentityError),
    /// The sockets.
    #[error("the socket can't be used: {0}")]
    Socket(#[from] std::io::Error),
}

fn cause(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"))
}

/// A server served nobody any more, because of a defect: the log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server failed by a defect and has to be started again")]
pub struct Died;

/// A server that has its folder, its sockets and its database. It serves from [`Server::run`] on.
pub struct Server<S> {
    config: Config,
    address: ServerAddress,
    local: SocketAddr,
    listener: Listener,
    metrics: Option<TcpListener>,
    host: Arc<Host<machine::Server>>,
    shutdown: S,
    /// Kept until the end: the lock falls with it.
    _folder: Folder,
}

impl<S> std::fmt::Debug for Server<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Server({})", self.address)
    }
}

impl<S: Future<Output = ()>> Server<S> {
    /// Takes the data folder and the sockets. `shutdown` ends it. Needs a running tokio runtime.
    ///
    /// `config.listen` and `config.metrics` aren't looked at: the sockets are.
    pub fn bind(
        config: Config,
        socket: UdpSocket,
        metrics: Option<std::net::TcpListener>,
        shutdown: S,
    ) -> Result<Self, StartError> {
        let folder = Folder::take(&config.data)?;
        let key = folder.key()?;
        let identity = identity(&config, &key)?;
        let database = folder.path().join(DATABASE);
        let parts = Parts {
            database: database.clone(),
            key: key.clone(),
            config: config.clone(),
        };
        let machine = machine::Server::new(parts).map_err(|source| StartError::Store {
            path: database,
            source,
        })?;
        let listener = Listener::new(socket, &identity, config.limits.clone())?;
        let metrics = match metrics {
            Some(metrics) => {
                metrics.set_nonblocking(true)?;
                Some(TcpListener::from_std(metrics)?)
            }
            None => None,
        };
        let local = listener.address()?;
        let endpoint = config.endpoint.clone().unwrap_or_else(|| reachable(local));
        let address = ServerAddress {
            endpoint,
            key: key.public(),
        };
        let strangers = (config.limits.connections / 2).clamp(1, 4_096);
        let host = Arc::new(Host::with(machine, 1 << 30, strangers)?);
        Ok(Self {
            config,
            address,
            local,
            listener,
            metrics,
            host,
            shutdown,
            _folder: folder,
        })
    }

    /// What the operator gives to the first device.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Where it listens (UDP).
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Where metrics and health are (TCP).
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` is done, then tells every device that it may come back later. `reload` says when the
    /// certificate's files are to be read again.
    ///
    /// # Errors
    /// [`Died`]: start it again.
    pub async fn run(self, mut reload: mpsc::Receiver<()>) -> Result<(), Died> {
        let Self {
            config,
            mut listener,
            metrics,
            host,
            shutdown,
            ..
        } = self;
        let sources = metrics::Sources {
            listener: listener.counters(),
            host: host.counters(),
            ask: Arc::new({
                let host = Arc::clone(&host);
                move || {
                    let host = Arc::clone(&host);
                    Box::pin(async move { health(&host).await })
                }
            }),
        };
        let mut metrics =
            metrics.map(|metrics_listener| tokio::spawn(metrics::serve(metrics_listener, sources)));
        let mut sessions = JoinSet::new();
        let mut failed = false;
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                () = host.ended() => {
                    failed = true;
                    tracing::error!("the relay's thread has ended by a defect");
                    break;
                }
                connection = listener.accept() => {
                    let Some(connection) = connection else { break };
                    let host = Arc::clone(&host);
                    sessions.spawn(async move { host.serve(connection).await });
                }
                Some(_) = sessions.join_next() => {}
                Some(()) = reload.recv() => match config.certificate.as_ref().map(given).transpose() {
                    Ok(Some(new)) => {
                        match listener.replace_identity(&new, &config.limits) {
                            Ok(()) => tracing::info!("the certificate was read again"),
                            Err(error) => tracing::error!(%error, "the new certificate can't be used"),
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "the certificate stays as it was"),
                },
            }
        }
        tracing::info!(sessions = sessions.len(), "ending");
        listener.stop();
        host.stop().await;
        let all = async { while sessions.join_next().await.is_some() {} };
        tokio::time::timeout(FAREWELL, all).await.ok();
        listener.close().await;
        if let Some(metrics) = metrics.take() {
            metrics.abort();
        }
        tracing::info!("ended");
        if failed { Err(Died) } else { Ok(()) }
    }
}

async fn health(host: &Host<machine::Server>) -> Health {
    let asked = host.run(machine::Server::health);
    tokio::time::timeout(HEALTH, asked)
        .await
        .ok()
        .flatten()
        .unwrap_or_default()
}

fn identity(config: &Config, key: &crate::identity::ServerKey) -> Result<Identity, StartError> {
    match &config.certificate {
        Some(files) => given(files),
        None => Identity::from_seed(key.seed()).map_err(StartError::Identity),
    }
}

/// Reads a certificate that was given.
pub(crate) fn given(files: &CertificateFiles) -> Result<Identity, StartError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| StartError::CertificateFile {
            path: path.clone(),
            source,
        })
    };
    Identity::from_pem(&read(&files.certificate)?, &read(&files.private_key)?).map_err(|source| {
        StartError::Certificate {
            files: files.clone(),
            source,
        }
    })
}

/// Where devices find a server that wasn't told its name: good for trying out, on one machine.
pub(crate) fn reachable(local: SocketAddr) -> Endpoint {
    let host = if local.ip().is_unspecified() {
        "localhost".to_owned()
    } else {
        local.ip().to_string()
    };
    Endpoint {
        host,
        port: local.port(),
    }
}
