//! Connections with TLS, where the feature `redis-tls` is on.

use redis::{Client, RedisResult, cluster::ClusterClientBuilder};

/// Certificates other than those of the system.
#[derive(Clone, Default)]
pub(super) struct Tls {
    /// Who vouches for the server, in PEM.
    pub(super) root: Option<Vec<u8>>,
    /// The certificate of the client and its key, in PEM.
    pub(super) identity: Option<[Vec<u8>; 2]>,
}

impl Tls {
    pub(super) const fn is_custom(&self) -> bool {
        self.root.is_some() || self.identity.is_some()
    }
}

#[cfg(feature = "redis-tls")]
impl Tls {
    pub(super) fn client(&self, url: &str) -> RedisResult<Client> {
        choose_cryptography();
        if self.is_custom() { Client::build_with_tls(url, self.certificates()) } else { Client::open(url) }
    }

    pub(super) fn of_cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        choose_cryptography();
        if self.is_custom() { builder.certs(self.certificates()) } else { builder }
    }

    fn certificates(&self) -> redis::TlsCertificates {
        let identity = |[client_cert, client_key]: [Vec<u8>; 2]| redis::ClientTlsConfig { client_cert, client_key };
        redis::TlsCertificates { client_tls: self.identity.clone().map(identity), root_cert: self.root.clone() }
    }
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
impl Tls {
    #[expect(clippy::unused_self, reason = "its twin needs it")]
    pub(super) fn client(&self, url: &str) -> RedisResult<Client> {
        Client::open(url)
    }

    #[expect(clippy::unused_self, reason = "its twin needs it")]
    pub(super) const fn of_cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }
}
