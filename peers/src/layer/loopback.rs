//! Requests per second through axum over loopback: what a layer means in practice.

use std::{io, net::SocketAddr, ops::Range, thread};

use axum::Router;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime,
    sync::oneshot,
};

use super::roster::Layered;
use crate::{
    arguments::Effort,
    bare::{API_KEY, key},
    clock::now,
    findings::Table,
    median::median,
};

const CONNECTIONS: usize = 8;

pub(super) fn table(effort: Effort) -> Table {
    let columns = ["of the bare service's", "per second"];
    let mut table = Table::new("loopback", "Requests per second through axum over loopback", "", columns)
        .bars_of(1, false, Some(1.0))
        .note(format!("{CONNECTIONS} connections that are kept, one thread for the server and one for its clients."))
        .note("Refusals are answered too. A shared machine's noise is often larger than a layer's cost.");
    let layers = Layered::all();
    let servers: Vec<Server> = layers.iter().map(|layer| Server::start((layer.on_axum)())).collect();
    let clients = runtime::Builder::new_current_thread().enable_all().build().expect("sockets are available");
    let mut rates = vec![Vec::new(); servers.len()];
    for round in 0..effort.rounds {
        for turn in 0..servers.len() {
            let at = (turn + round) % servers.len();
            rates[at].push(clients.block_on(rate(servers[at].address, effort.requests[1])));
        }
    }
    for (layer, rate) in layers.iter().zip(&rates) {
        let share = rate.iter().zip(&rates[0]).map(|(rate, bare)| rate / bare);
        table.row(layer.name, vec![Some(median(share)), Some(median(rate.iter().copied()))], "");
    }
    table
}

/// A server in a thread of its own. It ends with this value.
struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    fn start(router: Router) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("sockets are available");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let serving = axum::serve(listener, router).with_graceful_shutdown(async { drop(stopped.await) });
            runtime.block_on(async { serving.await })
        });
        Self { address, _stop: stop }
    }
}

/// Requests per second.
async fn rate(server: SocketAddr, requests: usize) -> f64 {
    let each = requests / CONNECTIONS;
    let started = now();
    let clients: Vec<_> =
        (0..CONNECTIONS).map(|client| tokio::spawn(client_of(server, client * each..(client + 1) * each))).collect();
    for client in clients {
        client.await.expect("a client does not fail").expect("the server answers");
    }
    (each * CONNECTIONS) as f64 / started.elapsed().as_secs_f64()
}

/// One connection, and one request after the other.
async fn client_of(server: SocketAddr, numbers: Range<usize>) -> io::Result<()> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1024);
    for number in numbers {
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{API_KEY}: {}\r\n\r\n", key(number));
        stream.write_all(request.as_bytes()).await?;
        buffer.clear();
        while !is_whole(&buffer) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    Ok(())
}

/// Whether a response is there with its body.
fn is_whole(response: &[u8]) -> bool {
    let Some(head) = response.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let fields = String::from_utf8_lossy(&response[..head]).to_ascii_lowercase();
    let length = fields.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    response.len() >= head + 4 + length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_whole_with_the_last_byte_of_its_body() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(is_whole(response));
        assert!((0..response.len()).all(|length| !is_whole(&response[..length])));
    }
}
