//! A server of our own.

use std::{
    fs,
    num::NonZeroUsize,
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, aio::MultiplexedConnection, cmd};

/// What `/proc` counts processor time in: the same on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// A `redis-server` that is asked through a Unix socket. It ends with this value.
pub(crate) struct Server {
    process: redis_server::Server,
    client: Client,
    connection: MultiplexedConnection,
    processors: usize,
    is_pinned: bool,
}

impl Server {
    /// Starts it, on a processor of its own if there are two.
    pub(crate) async fn start() -> Result<Self, String> {
        if !redis_server::Server::is_installed() {
            return Err("redis-server was not found: install it (apt-get install redis-server)".to_owned());
        }
        let process = redis_server::Server::start();
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let is_pinned = processors > 1 && pin(process.pid(), "0") && pin(process::id(), "1");
        let client = Client::open(process.unix_url()).map_err(|error| error.to_string())?;
        // As the store does.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| format!("redis-server does not answer: {error}"))?;
        Ok(Self { process, client, connection, processors, is_pinned })
    }

    pub(crate) fn url(&self) -> String {
        self.process.unix_url()
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
        self.connection.clone()
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
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.process.pid()));
        let nanos = stat.ok().and_then(|stat| stat.split_whitespace().next()?.parse().ok()).filter(|nanos| *nanos > 0);
        nanos.map_or_else(|| self.cpu_ticks(), Duration::from_nanos)
    }

    /// The same in hundredths of a second, of all threads, in user and kernel mode.
    pub(crate) fn cpu_ticks(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).expect("this is Linux");
        let (_, fields) = stat.rsplit_once(')').expect("its name is in parentheses");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u32>().expect("a number"));
        TICK * ticks.sum::<u32>()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_pinned {
            pin(process::id(), &format!("0-{}", self.processors - 1));
        }
    }
}

fn pin(process: u32, processors: &str) -> bool {
    let mut command = Command::new("taskset");
    command.args(["-acp", processors, &process.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
