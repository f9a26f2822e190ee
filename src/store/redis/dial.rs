//! Connects to one server.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, aio::MultiplexedConnection};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::store::redis::failure::explained;

/// Time in which a connection has to be established. A decision waits for one no longer than its own deadline.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time that a server which hangs up at once has for saying why.
const GREETING: Duration = Duration::from_millis(100);

/// Connects, or says in words for the operator why not.
pub(super) async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    // Answers have a deadline of our own.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    match client.get_multiplexed_async_connection_with_config(&config).await {
        Ok(connection) => Ok(connection),
        Err(error) => Err(match farewell(client.get_connection_info().addr(), &error).await {
            Some(farewell) => farewell,
            None => explained(&error),
        }),
    }
}

/// What a server says that hangs up at once. It has said so before the client's first word, but where that arrives after
/// the end, the system throws both away.
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
        Some(explained(&error))
    };
    timeout(GREETING, read).await.ok().flatten()
}

/// The same server as at `info`, at another host and port.
pub(super) fn moved_to(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(address)
}
