//! Ports to listen on.

use std::net::TcpListener;

/// A port that nobody listens on, below those that outgoing connections are given: else one of them might have it when
/// a server that was killed comes back.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
