//! A server of one's own, for tests.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use redis::{Client, Connection, ConnectionAddr, IntoConnectionInfo};

/// A `redis-server` on a Unix socket in a directory of its own, which ends with this value.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    pub(super) fn start() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("tower-quota-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "socket", "--dir"])
            .arg(&directory)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need the program redis-server: install it, as with `apt install redis-server`");
        Self { process, directory }
    }

    /// A connection; waits until the server is ready for it.
    pub(super) fn connect(&self) -> Connection {
        let address = ConnectionAddr::Unix(self.directory.join("socket"));
        let client = Client::open(address.into_connection_info().unwrap()).unwrap();
        for _ in 0..500 {
            if let Ok(mut connection) = client.get_connection()
                && redis::cmd("PING").exec(&mut connection).is_ok()
            {
                return connection;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not answer within five seconds");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
