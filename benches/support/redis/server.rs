//! A server of our own.

use std::{
    env, fs,
    io::ErrorKind,
    num::NonZeroUsize,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};

/// What `/proc` counts processor time in: the same on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A `redis-server` on a Unix socket in a directory of its own. It ends with this value.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
    client: Client,
    connection: Option<MultiplexedConnection>,
    processors: usize,
    is_pinned: bool,
}

impl Server {
    /// Starts it, on a processor of its own if there are two.
    pub(crate) async fn start() -> Result<Self, String> {
        let directory = env::temp_dir().join(format!("tower-quota-bench-{}", process::id()));
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let socket = directory.join("redis.sock");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = process.map_err(|error| {
            let _ = fs::remove_dir_all(&directory);
            match error.kind() {
                ErrorKind::NotFound => {
                    "redis-server was not found: install it (apt-get install redis-server)".to_owned()
                }
                _ => format!("redis-server could not be started: {error}"),
            }
        })?;
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let is_pinned = processors > 1 && pin(process.id(), "0") && pin(process::id(), "1");
        let client = Client::open(format!("redis+unix://{}", socket.display())).map_err(|error| error.to_string())?;
        let mut server = Self { process, directory, client, connection: None, processors, is_pinned };
        for _ in 0..500 {
            if let Ok(connection) = server.try_connect().await {
                server.connection = Some(connection);
                return Ok(server);
            }
            if let Ok(Some(status)) = server.process.try_wait() {
                return Err(format!("redis-server has ended: {status}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("redis-server does not answer".to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("redis.sock").display())
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the server and this process have a processor each.
    pub(crate) const fn is_pinned(&self) -> bool {
        self.is_pinned
    }

    /// The connection that all references share.
    pub(crate) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone().expect("it is there since the start")
    }

    /// Sends a command that is not measured.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &mut Cmd) -> T {
        command.query_async(&mut self.connection()).await.expect("the server answers")
    }

    /// The value of a field of `INFO`.
    pub(crate) async fn info(&self, section: &str, field: &str) -> String {
        let info: String = self.ask(cmd("INFO").arg(section)).await;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.expect("the field is there").to_owned()
    }

    /// The processor time it has used: of its main thread, which does everything here, to the nanosecond if the kernel
    /// tells so.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()));
        let nanos = stat.ok().and_then(|stat| stat.split_whitespace().next()?.parse().ok()).filter(|nanos| *nanos > 0);
        nanos.map_or_else(|| self.cpu_ticks(), Duration::from_nanos)
    }

    /// The same in hundredths of a second, of all threads, in user and kernel mode.
    pub(crate) fn cpu_ticks(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("this is Linux");
        let (_, fields) = stat.rsplit_once(')').expect("its name is in parentheses");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number"));
        TICK * ticks.sum::<u32>()
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        // As the store does.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if self.is_pinned {
            pin(process::id(), &format!("0-{}", self.processors - 1));
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn pin(process: u32, processors: &str) -> bool {
    let mut command = Command::new("taskset");
    command.args(["-acp", processors, &process.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
