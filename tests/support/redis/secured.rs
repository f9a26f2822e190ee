//! A server with a certificate.

use std::{fs, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use redis_server::{Server, free_port};

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

/// A server that speaks TLS on another port, and asks clients for a certificate by the same authority.
#[derive(Debug)]
pub struct Secured {
    pub server: Server,
    pub port: u16,
    pub root: String,
    pub client: Identity,
}

impl Secured {
    pub fn start() -> Self {
        let authority = authority();
        let (server, client) = (signed_by(&authority, "localhost"), signed_by(&authority, "client"));
        let root = authority.pem();
        let folder = std::env::temp_dir().join(format!("tower-quota-tls-{}-{}", std::process::id(), fastrand::u64(..)));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = [file("server.crt", &server.certificate), file("server.key", &server.key), file("root.crt", &root)];
        let port = free_port();
        let server = Self::server(port, &files);
        fs::remove_dir_all(folder).unwrap();
        Self { server, port, root, client }
    }

    fn server(port: u16, [certificate, key, root]: &[PathBuf; 3]) -> Server {
        let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let (port, certificate, key, root) = (port.to_string(), path(certificate), path(key), path(root));
        let options = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        Server::with(&[&options[..], &["--tls-ca-cert-file", &root]].concat())
    }

    pub fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// By way of another port.
    pub fn url_at(port: u16) -> String {
        format!("rediss://localhost:{port}")
    }
}
