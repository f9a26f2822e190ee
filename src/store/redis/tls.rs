//! Connections with TLS, where the feature `redis-tls` is on.

use redis::{Client, ConnectionInfo, RedisResult};

use crate::error::ConfigError;

/// Certificates other than those of the system.
#[derive(Clone, Default)]
pub(super) struct Tls {
    /// Who vouches for the server, in PEM.
    #[cfg(feature = "redis-tls")]
    pub(super) root: Option<Vec<u8>>,
    /// The certificate of the client and its key, in PEM.
    #[cfg(feature = "redis-tls")]
    pub(super) identity: Option<[Vec<u8>; 2]>,
}

#[cfg(feature = "redis-tls")]
impl Tls {
    /// A file without a certificate in it would have no server believed, and one without one of the client show none.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let identity = self.identity.as_ref().map(|[certificate, _]| certificate);
        for (field, pem) in [("redis root_certificate", self.root.as_ref()), ("redis client_certificate", identity)] {
            if pem.is_some_and(|pem| !has_certificate(pem)) {
                let reason = "it has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----";
                return Err(ConfigError::new(field, "\"…\"", reason));
            }
        }
        Ok(())
    }

    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        choose_cryptography();
        if self.root.is_none() && self.identity.is_none() {
            return Client::open(info);
        }
        let identity = |[client_cert, client_key]: [Vec<u8>; 2]| redis::ClientTlsConfig { client_cert, client_key };
        let certificates =
            redis::TlsCertificates { client_tls: self.identity.clone().map(identity), root_cert: self.root.clone() };
        Client::build_with_tls(info, certificates)
    }
}

#[cfg(feature = "redis-tls")]
fn has_certificate(pem: &[u8]) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    CertificateDer::pem_slice_iter(pem).next().is_some_and(|certificate| certificate.is_ok())
}

/// rustls panics where it has to choose between several and nobody has chosen for it.
#[cfg(feature = "redis-tls")]
fn choose_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been quicker, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(not(feature = "redis-tls"))]
#[expect(clippy::unused_self, reason = "its twin needs it")]
impl Tls {
    pub(super) const fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }
}
