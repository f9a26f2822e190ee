//! A server that says what it is told to say.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What is said to a command that is not part of getting to know each other.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// These bytes, and then the connection ends.
    Last(Vec<u8>),
    /// The beginning of a string that never ends: at most 64 MiB a second.
    Endless,
    /// Not a word, on a connection that stays.
    Nothing,
}

impl Reply {
    /// An error, without the minus: `OOM command not allowed`.
    pub fn error(text: &str) -> Self {
        Self::Bytes(format!("-{text}\r\n").into_bytes())
    }

    pub fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }
}

/// A server that knows how to begin a connection (`HELLO`, `AUTH`, `SELECT`, `CLIENT`, `PING`) and says to everything
/// else what it is told to.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    /// Commands that were not part of getting to know each other, and when they came.
    asked: Mutex<Vec<(Instant, Vec<Vec<u8>>)>>,
    connections: Mutex<Vec<Instant>>,
    hang_up: Notify,
}

impl Fake {
    pub async fn saying(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            reply: Mutex::new(reply),
            asked: Mutex::default(),
            connections: Mutex::default(),
            hang_up: Notify::new(),
        });
        let served = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                served.connections.lock().push(Instant::now());
                tokio::spawn(serve(stream, Arc::clone(&served)));
            }
        });
        Self { address, shared, task }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// From now on.
    pub fn say(&self, reply: Reply) {
        *self.shared.reply.lock() = reply;
    }

    /// Ends all connections that there are.
    pub fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }

    /// The commands that came, but for those that begin a connection, and when.
    pub fn asked(&self) -> Vec<(Instant, Vec<Vec<u8>>)> {
        self.shared.asked.lock().clone()
    }

    /// When connections were made.
    pub fn connections(&self) -> Vec<Instant> {
        self.shared.connections.lock().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let (mut buffer, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        while let Some((words, length)) = command(&buffer) {
            buffer.drain(..length);
            if answer(&mut stream, &shared, words).await.is_none() {
                return;
            }
        }
        tokio::select! {
            () = shared.hang_up.notified() => return,
            read = stream.read(&mut chunk) => match read {
                Ok(length @ 1..) => buffer.extend_from_slice(&chunk[..length]),
                _ => return,
            },
        }
    }
}

/// None if the connection ends with it.
async fn answer(stream: &mut TcpStream, shared: &Shared, words: Vec<Vec<u8>>) -> Option<()> {
    let greeting: &[u8] = match words[0].to_ascii_uppercase().as_slice() {
        b"HELLO" => b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
        b"AUTH" | b"SELECT" | b"CLIENT" => b"+OK\r\n",
        b"PING" => b"+PONG\r\n",
        _ => b"",
    };
    if !greeting.is_empty() {
        return stream.write_all(greeting).await.ok();
    }
    shared.asked.lock().push((Instant::now(), words));
    let reply = shared.reply.lock().clone();
    match reply {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await.ok(),
        Reply::Last(bytes) => {
            let _ = stream.write_all(&bytes).await;
            None
        }
        Reply::Nothing => Some(()),
        Reply::Endless => {
            stream.write_all(b"$536870912\r\n").await.ok()?;
            loop {
                stream.write_all(&[b'x'; 64 * 1024]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// The first whole command and its length in bytes.
fn command(buffer: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = number(buffer, 0, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, start) = number(buffer, at, b'$')?;
        at = start + length + 2;
        words.push(buffer.get(start..at)?[..length].to_vec());
    }
    Some((words, at))
}

/// The number that stands at `at`, and where its line ends.
fn number(buffer: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    let length = line.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(line[0], kind, "a command is a list of strings");
    Some((std::str::from_utf8(&line[1..length]).unwrap().parse().unwrap(), at + length + 2))
}
