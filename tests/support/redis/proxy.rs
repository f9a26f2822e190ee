//! Something between a client and a real server that tampers with the replies.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use redis_server::Server;

/// What becomes of replies. Requests always get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Through {
    /// They arrive as they are.
    Whole,
    /// They wait, until they may go on.
    Held,
    /// They arrive in pieces of one byte.
    Bytewise,
    /// So many bytes of the next reply arrive, then the connection ends.
    Cut(usize),
    /// These bytes arrive in their place.
    Replaced(&'static [u8]),
}

/// A way to a server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    through: watch::Sender<Through>,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (through, _) = watch::channel(Through::Whole);
        let connections = Arc::<AtomicUsize>::default();
        let (mode, counter, target) = (through.clone(), Arc::clone(&connections), server.address());
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connect(client, target.clone(), mode.subscribe()));
            }
        });
        Self { address, through, connections, task }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on.
    pub fn let_through(&self, through: Through) {
        self.through.send_replace(through);
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: TcpStream, target: String, through: watch::Receiver<Through>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = replies(from_server, to_client, through) => {}
    }
}

async fn replies(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut through: watch::Receiver<Through>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let Ok(through) = through.wait_for(|through| *through != Through::Held).await.map(|through| through.clone())
        else {
            return;
        };
        let reply = &buffer[..length];
        let written = match through {
            Through::Whole | Through::Held => to.write_all(reply).await,
            Through::Replaced(bytes) => to.write_all(bytes).await,
            Through::Cut(most) => {
                let _ = to.write_all(&reply[..most.min(length)]).await;
                return;
            }
            Through::Bytewise => bytewise(&mut to, reply).await,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn bytewise(to: &mut OwnedWriteHalf, reply: &[u8]) -> std::io::Result<()> {
    for byte in reply {
        to.write_all(&[*byte]).await?;
        to.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
