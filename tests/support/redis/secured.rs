//! Servers with certificates.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use redis_server::{Server, free_port};
use tower_quota::store::RedisStore;

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

pub fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // By default all certificates have one name, and then this looks as if it had signed itself.
    params.distinguished_name.push(DnType::CommonName, "an authority for tests");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn signed_by(authority: &Issuer<'_, KeyPair>, name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// What servers and clients show each other, by an authority that nobody else has heard of. Servers find theirs in files.
#[derive(Debug)]
pub struct Certificates {
    pub root: String,
    pub client: Identity,
    folder: PathBuf,
}

impl Certificates {
    /// For a server of this name or address.
    pub fn of(host: &str) -> Self {
        let authority = authority();
        let (server, client, root) = (signed_by(&authority, host), signed_by(&authority, "client"), authority.pem());
        let folder = std::env::temp_dir().join(format!("tower-quota-tls-{}-{}", std::process::id(), fastrand::u64(..)));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("server.crt", &server.certificate), ("server.key", &server.key), ("root.crt", &root)] {
            fs::write(folder.join(name), text).unwrap();
        }
        Self { root, client, folder }
    }

    /// What a server is started with that speaks TLS on this port, and asks clients for a certificate.
    pub fn options(&self, port: u16) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).to_str().unwrap().to_owned();
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.crt")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("root.crt")),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// A store that shows and believes them.
    pub fn on(&self, store: RedisStore) -> RedisStore {
        let Identity { certificate, key } = &self.client;
        store.root_certificate(self.root.as_str()).client_certificate(certificate.as_str(), key.as_str())
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A server that speaks TLS on another port, and asks clients for a certificate by the same authority.
#[derive(Debug)]
pub struct Secured {
    pub server: Server,
    pub port: u16,
    pub certificates: Certificates,
}

impl Secured {
    pub fn start() -> Self {
        let (certificates, port) = (Certificates::of("localhost"), free_port());
        let options = certificates.options(port);
        let server = Server::with(&options.iter().map(String::as_str).collect::<Vec<_>>());
        Self { server, port, certificates }
    }

    pub fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// By way of another port.
    pub fn url_at(port: u16) -> String {
        format!("rediss://localhost:{port}")
    }
}
