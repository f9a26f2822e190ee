//! Opens clients and connects them, with TLS where the URL asks for it.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, aio::MultiplexedConnection,
};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{error::ConfigError, store::redis::failure::explain};

/// Time limit for establishing a connection. A decision waits for one no longer than its own deadline.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for reading why a server closes connections at once.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(100);

/// Certificates to use in place of those of the system. Empty without feature `redis-tls`.
#[derive(Clone, Default)]
pub(super) struct TlsConfig {
    /// The certificate authority of the server, in PEM.
    #[cfg(feature = "redis-tls")]
    pub(super) root: Option<Vec<u8>>,
    /// The certificate of the client and its key, in PEM.
    #[cfg(feature = "redis-tls")]
    pub(super) identity: Option<[Vec<u8>; 2]>,
}

#[cfg(feature = "redis-tls")]
impl TlsConfig {
    /// Checks that each file has a certificate in it: an empty one would mean that no server is trusted, or that no
    /// client certificate is shown.
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

    /// Returns a client for the server at `info`. Nothing is connected yet.
    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        install_crypto_provider();
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

/// Installs `ring` if the process has chosen no provider: rustls panics if several are compiled in and none is chosen.
#[cfg(feature = "redis-tls")]
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed one meanwhile, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

#[cfg(not(feature = "redis-tls"))]
#[expect(clippy::unused_self, reason = "its twin needs it")]
impl TlsConfig {
    pub(super) const fn validate(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    pub(super) fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }
}

/// Connects.
///
/// # Errors
///
/// The reason, in words for an operator.
pub(super) async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    // Decisions have a deadline of their own in place of redis-rs' response timeout.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    match client.get_multiplexed_async_connection_with_config(&config).await {
        Ok(connection) => Ok(connection),
        Err(error) => Err(match farewell(client.get_connection_info().addr(), &error).await {
            Some(farewell) => farewell,
            None => explain(&error),
        }),
    }
}

/// Returns the error that a server sends before it closes a new connection, such as "max number of clients reached".
///
/// The client has often lost it: if its first command arrives after the close, the system discards what was received. So
/// this opens a connection that sends nothing.
async fn farewell(address: &ConnectionAddr, error: &RedisError) -> Option<String> {
    let ConnectionAddr::Tcp(host, port) = address else { return None };
    if !error.is_connection_dropped() || error.is_connection_refusal() {
        return None;
    }
    let read = async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
        let mut line = [0; 128];
        let length = stream.read(&mut line).await.ok()?;
        let text = std::str::from_utf8(line.get(..length)?).ok()?;
        let error = redis::parse_redis_value(text.as_bytes()).ok()?.extract_error().err()?;
        Some(explain(&error))
    };
    timeout(FAREWELL_TIMEOUT, read).await.ok().flatten()
}

/// Returns `info` with another host and port, and the same password, database and kind of connection.
pub(super) fn with_address(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(address)
}
