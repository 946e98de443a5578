//! Who is at each end: TLS 1.3 with keys instead of authorities.
//!
//! Both ends prove that they hold the key of the certificate they show, and nothing else is asked of it. A device's
//! certificate is self-signed with its transport key. A server's may be anything: what counts is `Welcome.proof`.

use std::sync::Arc;
use std::time::Duration;

use quinn::EndpointConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};

use crate::certificate;

/// At most one reset in this time: they go to whoever has a connection of an earlier process, and are smaller than what they
/// answer.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Why an identity can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not PEM, or nothing of the kind in it.
    #[error("{what}: {reason}")]
    Pem {
        /// Which of the two.
        what: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// A key that TLS can't use, or one that isn't the certificate's.
    #[error("the certificate and its key can't be used together: {0}")]
    Unusable(Error),
}

/// What one end shows in the handshake, and the private key behind it.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    /// Of the private key: what ends connections of an earlier process with the same one.
    reset: [u8; 40],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity")
    }
}

impl Identity {
    /// A self-signed certificate of an Ed25519 key: a device's transport key, or a server's own.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let rejected = |_| IdentityError::Unusable(Error::General("not an Ed25519 key".into()));
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(rejected)?;
        let certificate = CertificateDer::from(certificate::self_signed(&pair));
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate::pkcs8(seed)));
        Self::new(vec![certificate], key)
    }

    /// A certificate that the operator was given, as PEM: the chain, leaf first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let broken = |what| {
            move |error: rustls::pki_types::pem::Error| IdentityError::Pem {
                what,
                reason: error.to_string(),
            }
        };
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(broken("certificate"))?;
        if chain.is_empty() {
            let reason = "no certificate in it".to_owned();
            return Err(IdentityError::Pem {
                what: "certificate",
                reason,
            });
        }
        Self::new(
            chain,
            PrivateKeyDer::from_pem_slice(key).map_err(broken("private key"))?,
        )
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        let reset = reset_secret(key.secret_der());
        let certified = CertifiedKey::from_der(chain, key, &provider::default_provider())
            .map_err(IdentityError::Unusable)?;
        Ok(Self {
            certified: Arc::new(certified),
            reset,
        })
    }

    /// What QUIC's endpoint is made with. Its keys come from the identity's, so that a server that was killed and runs
    /// again can tell the devices at once that their connections are gone (RFC 9000, section 10.3), where they would wait
    /// for a minute else.
    pub(crate) fn endpoint(&self) -> EndpointConfig {
        let (reset, names) = self.reset.split_at(32);
        let key = hmac::Key::new(hmac::HMAC_SHA256, reset);
        let mut config = EndpointConfig::new(Arc::new(key));
        config.min_reset_interval(RESET_INTERVAL);
        let names = names
            .iter()
            .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(names)));
        config
    }

    /// The Ed25519 key of the certificate; none if it has one of another kind.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        key_of(self.certified.cert.first()?).ok().flatten()
    }
}

/// Two keys for QUIC's endpoint: HMAC-SHA256 of what they are for, under the private key's bytes.
fn reset_secret(key: &[u8]) -> [u8; 40] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut secret = [0; 40];
    secret[..32].copy_from_slice(hmac::sign(&key, b"hearth-sync/1 stateless reset").as_ref());
    secret[32..].copy_from_slice(&hmac::sign(&key, b"hearth-sync/1 connection ids").as_ref()[..8]);
    secret
}

/// The self-signed certificate of a seed and its key (PKCS #8), DER: what [`Identity::from_seed`] shows.
pub fn self_signed(seed: &[u8; 32]) -> Option<(Vec<u8>, Vec<u8>)> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    Some((certificate::self_signed(&pair), certificate::pkcs8(seed)))
}

/// The Ed25519 public key of a seed.
pub fn public_key(seed: &[u8; 32]) -> Option<[u8; 32]> {
    Ed25519KeyPair::from_seed_unchecked(seed)
        .ok()?
        .public_key()
        .as_ref()
        .try_into()
        .ok()
}

/// The key that a certificate is of, if it is an Ed25519 one.
pub(crate) fn key_of(certificate: &CertificateDer<'_>) -> Result<Option<[u8; 32]>, Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(certificate::ed25519_key(&spki))
}

/// The handshake of a device.
pub(crate) fn client(identity: &Identity) -> Result<QuicClientConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_cert_resolver(Arc::new(Own(identity.clone())));
    config.alpn_protocols = vec![hearth_protocol::ALPN.to_vec()];
    // Every connection proves its keys anew, and early data could be replayed.
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|_| Error::General("no initial cipher suite".into()))
}

/// The handshake of a server, or of a peer that serves.
pub(crate) fn server(identity: &Identity) -> Result<QuicServerConfig, Error> {
    let provider = Arc::new(provider::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AnyDevice(provider)))
        .with_cert_resolver(Arc::new(Own(identity.clone())));
    config.alpn_protocols = vec![hearth_protocol::ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|_| Error::General("no initial cipher suite".into()))
}

#[derive(Debug)]
struct Own(Identity);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.certified))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.certified))
    }
}

fn no_older_tls() -> Error {
    PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()
}

/// Any server that holds the key of its certificate.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_older_tls())
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Any device that holds the Ed25519 key of its certificate.
#[derive(Debug)]
struct AnyDevice(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyDevice {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match key_of(certificate)? {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(rustls::CertificateError::BadEncoding)),
        }
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_older_tls())
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
