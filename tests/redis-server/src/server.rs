//! One real server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use redis::{Client, Connection, ConnectionLike, FromRedisValue, IntoConnectionInfo, RedisResult};

use crate::{
    eventually::{GUARD, eventually},
    port::free_port,
};

/// A `redis-server`, perhaps as a sentinel, with a folder, a Unix socket and a port of its own.
#[derive(Debug)]
pub struct Server {
    process: Mutex<Option<Child>>,
    folder: PathBuf,
    port: u16,
    options: Vec<String>,
    /// What a sentinel is to watch; it keeps what it learns in the same file.
    config: Option<String>,
}

impl Server {
    /// Says whether there is the program.
    pub fn is_installed() -> bool {
        Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok()
    }

    /// Starts an empty server and waits until it answers.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more options, as on its command line: `["--maxmemory", "2mb"]`.
    pub fn with(options: &[&str]) -> Self {
        Self::launched(|| Self::prepared(options, None))
    }

    /// A server that is not running, of which only the addresses are known.
    pub fn down() -> Self {
        Self::prepared(&[], None)
    }

    /// A sentinel with what stands in its file.
    pub fn sentinel(config: &str) -> Self {
        Self::launched(|| Self::prepared(&[], Some(config)))
    }

    fn launched(prepare: impl Fn() -> Self) -> Self {
        // Somebody else may take the port between the choice and the start.
        (0..20).map(|_| prepare()).find(Self::launch).expect("there is no free port")
    }

    fn prepared(options: &[&str], config: Option<&str>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Not in the target folder: the path of a Unix socket has at most 107 bytes.
        let folder = std::env::temp_dir().join(format!("tower-quota-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let config = config.map(str::to_owned);
        Self { process: Mutex::default(), folder, port: free_port(), options, config }
    }

    /// Starts the server on the same addresses again, empty.
    pub fn restart(&self) {
        self.kill();
        eventually("the port is free again", || self.launch().then_some(()));
    }

    /// Says whether it runs and answers; it does not if the port is taken.
    fn launch(&self) -> bool {
        let log = self.folder.join("log");
        let _ = fs::remove_file(&log);
        let mut command = Command::new("redis-server");
        if let Some(config) = &self.config {
            let file = self.folder.join("sentinel.conf");
            fs::write(&file, config).unwrap();
            command.arg(file).arg("--sentinel");
        }
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "no"])
            .args(["--unixsocket", self.socket().to_str().unwrap(), "--dir", self.folder.to_str().unwrap()])
            .args(["--save", "", "--appendonly", "no", "--enable-debug-command", "local", "--daemonize", "no"])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--logfile", log.to_str().unwrap()])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("redis-server cannot be started ({error}): install it, or run ./tests/run, which does")
        });
        *self.process.lock() = Some(child);
        eventually("the server answers", || {
            if self.process.lock().as_mut().unwrap().try_wait().unwrap().is_some() {
                let log = fs::read_to_string(&log).unwrap_or_default();
                assert!(log.contains("Address already in use"), "the server ended: {log}");
                return Some(false);
            }
            self.try_connection().is_some().then_some(true)
        })
    }

    /// Where it listens, for clients of TCP.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Where it listens, for clients of its Unix socket.
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Returns its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Returns the folder that is its own.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says whether it was started and not killed.
    pub fn is_running(&self) -> bool {
        self.process.lock().is_some()
    }

    /// What it was started with: `option("--cluster-port")`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().skip_while(|option| *option != name).nth(1).map(String::as_str)
    }

    /// Returns the number of its process.
    pub fn pid(&self) -> u32 {
        self.process.lock().as_ref().expect("the server was killed").id()
    }

    /// Stops it as it is: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal("STOP");
        eventually("the server is frozen", || (self.state() == 'T').then_some(()));
    }

    /// Lets it go on, with all that it was sent in the meantime.
    pub fn thaw(&self) {
        self.signal("CONT");
        eventually("the server goes on", || (self.state() != 'T').then_some(()));
    }

    /// Ends it at once, without a word to its clients.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// As `ps` says it: `S` asleep, `R` running, `T` stopped.
    fn state(&self) -> char {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }

    /// Bytes of memory that the process has.
    pub fn resident(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// A connection for what a test itself wants, with all rights.
    pub fn connection(&self) -> Connection {
        self.try_connection().expect("the server does not answer")
    }

    fn try_connection(&self) -> Option<Connection> {
        let password = self.option("--requirepass").map_or_else(String::new, |password| format!("?pass={password}"));
        let info = format!("{}{password}", self.unix_url()).into_connection_info().unwrap();
        let mut connection = Client::open(info).unwrap().get_connection_with_timeout(GUARD).ok()?;
        connection.set_read_timeout(Some(GUARD)).unwrap();
        connection.check_connection().then_some(connection)
    }

    /// What it answers to a command: `query("PTTL some-key")`. Words are separated by spaces.
    #[track_caller]
    pub fn query<T: FromRedisValue>(&self, command: &str) -> T {
        self.query_words(command.split(' '))
    }

    /// As [`query`](Self::query), of words that may have spaces in them.
    #[track_caller]
    pub fn query_words<T: FromRedisValue>(&self, words: impl IntoIterator<Item = impl AsRef<[u8]>>) -> T {
        self.try_query(words).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`query_words`](Self::query_words), where the answer may be an error.
    pub fn try_query<T: FromRedisValue>(&self, words: impl IntoIterator<Item = impl AsRef<[u8]>>) -> RedisResult<T> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command.query(&mut self.connection())
    }

    /// Runs a command that says no more than OK.
    #[track_caller]
    pub fn run(&self, command: &str) {
        let _: redis::Value = self.query(command);
    }

    /// Whether what it says to `command` contains `text`: `says("INFO replication", "master_link_status:up")`.
    pub fn says(&self, command: &str, text: &str) -> bool {
        self.query::<String>(command).contains(text)
    }

    /// A number from `INFO`, such as `total_commands_processed`.
    pub fn info(&self, section: &str, name: &str) -> u64 {
        let info: String = self.query(&format!("INFO {section}"));
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok()).unwrap_or(0)
    }

    /// How often a command was called since the start, or since `CONFIG RESETSTAT`: `calls_of("evalsha")`.
    pub fn calls_of(&self, command: &str) -> u64 {
        let info: String = self.query("INFO commandstats");
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
    }

    /// The keys of the first database.
    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.query("KEYS *")
    }

    /// Panics unless every key has an expiry, and one within `most`.
    #[track_caller]
    pub fn assert_all_expire_within(&self, most: Duration) {
        for key in self.keys() {
            let millis: i64 = self.query_words([b"PTTL".as_slice(), &key]);
            let name = String::from_utf8_lossy(&key);
            // -2: it has expired since.
            assert!(millis == -2 || (1..=most.as_millis() as i64).contains(&millis), "{name:?} has a PTTL of {millis}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
