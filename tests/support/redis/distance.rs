//! A way to a server that is far away.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// Passes everything on in its order, half a round trip later, as much as there is.
#[derive(Debug)]
pub struct Distance {
    address: SocketAddr,
    micros: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Distance {
    /// To a server at a host and port, which may be down.
    pub async fn to(target: impl Into<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, micros, target) = (listener.local_addr().unwrap(), Arc::<AtomicU64>::default(), target.into());
        let half = Arc::clone(&micros);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connect(client, target.clone(), Arc::clone(&half)));
            }
        });
        Self { address, micros, task }
    }

    /// From now on, for all that is sent after that.
    pub fn set_round_trip(&self, round_trip: Duration) {
        self.micros.store(round_trip.as_micros() as u64 / 2, Ordering::Relaxed);
    }

    pub const fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for Distance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: TcpStream, target: String, half: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(carry(from_client, to_server, Arc::clone(&half)), carry(from_server, to_client, half));
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, half: Arc<AtomicU64>) {
    let (send, mut sent) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let arrives = Instant::now() + Duration::from_micros(half.load(Ordering::Relaxed));
            if send.send((arrives, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((arrives, bytes)) = sent.recv().await {
            tokio::time::sleep_until(arrives.into()).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
