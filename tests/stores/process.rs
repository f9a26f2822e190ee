//! A store in a process of its own, written with nothing but the public API: the process keeps lists of timestamps and
//! speaks lines of text over a socket. It passes the suite that every store passes.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tower_quota::{
    ConfigError, Policy, RateLimiter, Rule,
    clock::{Clock, ManualClock},
    conformance::Suite,
    key,
    store::{AnyStore, BoxFuture, Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
};

/// Set for the process that is to be the store.
const IS_STORE: &str = "TOWER_QUOTA_TEST_IS_STORE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_another_process_keeps_every_guarantee() {
    let process = Process::start();
    Suite::new(|clock| ProcessStore::new(&process, clock)).schedules(40).run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_another_process_keeps_every_guarantee_as_any_store() {
    let process = Process::start();
    let fresh = |clock| AnyStore::new(ProcessStore::new(&process, clock));
    Suite::new(fresh).seed(1000).schedules(20).run().await.unwrap();
}

#[tokio::test]
async fn two_limiters_share_histories_in_another_process_whatever_the_length_of_keys() {
    let (process, clock) = (Process::start(), ManualClock::new());
    let store = ProcessStore::new(&process, clock);
    let limiter = || {
        let rule =
            Rule::new("calls").every_request().key(key::constant("")).level("name").policy(Policy::per_minute(2));
        RateLimiter::builder().store(store.clone()).rule(rule).build().unwrap()
    };
    let (one, other) = (limiter(), limiter());
    for key in ["ann", "a name of more than twenty-seven bytes"] {
        assert!(one.rule("calls").unwrap().check_async(key).await.unwrap().is_admitted());
        assert!(other.rule("calls").unwrap().check_async(key).await.unwrap().is_admitted());
        assert!(!one.rule("calls").unwrap().check_async(key).await.unwrap().is_admitted());
    }
}

#[tokio::test]
async fn a_decision_that_is_dropped_leaves_the_store_in_step() {
    let (process, clock) = (Process::start(), ManualClock::new());
    let rule = Rule::new("calls").every_request().key(key::constant("")).level("name").policy(Policy::per_minute(2));
    let limiter = RateLimiter::builder().store(ProcessStore::new(&process, clock)).rule(rule).build().unwrap();
    let calls = limiter.rule("calls").unwrap();
    let mut dropped = Box::pin(calls.check_async("ann"));
    // The line is sent when the future is first polled, so it counts, whether the answer has come or not.
    let _ = futures_util::poll!(dropped.as_mut());
    drop(dropped);
    assert!(limiter.rule("calls").unwrap().check_async("bob").await.unwrap().is_admitted());
    assert!(limiter.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted());
    assert!(!limiter.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted());
}

#[tokio::test]
async fn a_store_whose_process_has_ended_is_unavailable() {
    let (process, clock) = (Process::start(), ManualClock::new());
    let rule = Rule::new("calls").every_request().key(key::constant("")).level("name").policy(Policy::per_minute(2));
    let limiter = RateLimiter::builder().store(ProcessStore::new(&process, clock)).rule(rule).build().unwrap();
    assert!(limiter.rule("calls").unwrap().check_async("ann").await.unwrap().is_admitted());
    process.end();
    assert!(matches!(limiter.rule("calls").unwrap().check_async("ann").await, Err(Unavailable { .. })));
}

/// The process of the store: this test, run by the others. The socket is its standard input.
#[test]
#[ignore = "the other tests start it, in a process of its own"]
fn serve() {
    if std::env::var_os(IS_STORE).is_none() {
        return;
    }
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let (mut answers, mut lists) = (socket.try_clone().unwrap(), Lists::default());
    for line in BufReader::new(socket).lines() {
        let answer = lists.answer(&line.unwrap());
        answers.write_all(answer.as_bytes()).unwrap();
    }
}

// ---- in the process of the store ----

/// The log of each history: when units were charged to it, in nanoseconds, oldest first.
#[derive(Default)]
struct Lists(HashMap<String, Vec<u128>>);

/// A history, as a line names it, and the limits that hold for it: `name counts-denied limit/window,limit/window`.
struct Entry<'a> {
    name: &'a str,
    counts_denied: bool,
    quotas: Vec<(usize, u128)>,
}

impl Lists {
    /// Answers `decide|peek|reset now entry entry...`.
    fn answer(&mut self, line: &str) -> String {
        let mut words = line.split(' ');
        let (verb, now) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        let entries: Vec<Entry<'_>> = words.map(Entry::parse).collect();
        if verb == "reset" {
            let found = entries.iter().filter(|entry| self.0.remove(entry.name).is_some()).count();
            return format!("{}\n", found > 0);
        }
        self.bring_to(now, &entries);
        let admitted =
            entries.iter().all(|entry| entry.quotas.iter().all(|quota| self.used(entry, *quota, now) < quota.0));
        if verb == "decide" {
            for entry in entries.iter().filter(|entry| admitted || entry.counts_denied) {
                self.0.entry(entry.name.to_owned()).or_default().push(now);
            }
        }
        let mut answer = admitted.to_string();
        for (entry, quota) in entries.iter().flat_map(|entry| entry.quotas.iter().map(move |quota| (entry, *quota))) {
            let (used, wait) = self.state(entry, quota, admitted, now);
            write!(answer, " {used}/{wait}").unwrap();
        }
        answer + "\n"
    }

    /// Units from the future were charged now: the clock has stepped back.
    fn bring_to(&mut self, now: u128, entries: &[Entry<'_>]) {
        for entry in entries {
            for at in self.0.get_mut(entry.name).into_iter().flatten() {
                *at = now.min(*at);
            }
        }
    }

    fn used(&self, entry: &Entry<'_>, (_, window): (usize, u128), now: u128) -> usize {
        self.log(entry).iter().filter(|at| **at + window > now).count()
    }

    /// Returns the units that a quota counts, and the nanoseconds until that changes for the better.
    fn state(&self, entry: &Entry<'_>, quota: (usize, u128), admitted: bool, now: u128) -> (usize, u128) {
        let used = self.used(entry, quota, now).min(quota.0);
        let nth = if !admitted && used == quota.0 { quota.0 } else { used };
        let log = self.log(entry);
        let oldest = log.len().checked_sub(nth).and_then(|at| log.get(at));
        (used, oldest.map_or(0, |at| (at + quota.1).saturating_sub(now)))
    }

    fn log(&self, entry: &Entry<'_>) -> &[u128] {
        self.0.get(entry.name).map_or(&[], Vec::as_slice)
    }
}

impl<'a> Entry<'a> {
    fn parse(word: &'a str) -> Self {
        let [name, counts_denied, quotas] = word.split(';').collect::<Vec<_>>().try_into().unwrap();
        let quota = |text: &str| {
            let (limit, window) = text.split_once('/').unwrap();
            (limit.parse().unwrap(), window.parse().unwrap())
        };
        // That of a tier without limits has none.
        let quotas = quotas.split_terminator(',').map(quota).collect();
        Self { name, counts_denied: counts_denied.parse().unwrap(), quotas }
    }
}

// ---- in the process of the limiter ----

/// A running store and the socket to it, which any number of limiters share.
struct Process {
    socket: Arc<Socket>,
    child: Mutex<Child>,
    stores: AtomicUsize,
}

/// Sends lines, and gives the answers, which come in the same order, to those who wait for them.
#[derive(Debug)]
struct Socket(Mutex<(UnixStream, std::sync::mpsc::Sender<oneshot::Sender<String>>)>);

impl Process {
    fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serve =
            module_path!().split_once("::").map_or("serve".to_owned(), |(_, module)| format!("{module}::serve"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &serve, "--ignored", "--nocapture"]).env(IS_STORE, "yes");
        let child =
            command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        Self { socket: Arc::new(Socket::new(ours)), child: Mutex::new(child), stores: AtomicUsize::new(0) }
    }

    fn end(&self) {
        let mut child = self.child.lock();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.lock().kill();
        let _ = self.child.lock().wait();
    }
}

impl Socket {
    fn new(socket: UnixStream) -> Self {
        let (waiting, waiters) = std::sync::mpsc::channel::<oneshot::Sender<String>>();
        let answers = BufReader::new(socket.try_clone().unwrap()).lines();
        thread::spawn(move || {
            for (answer, waiter) in answers.map_while(Result::ok).zip(waiters) {
                let _ = waiter.send(answer);
            }
        });
        Self(Mutex::new((socket, waiting)))
    }

    /// Sends a line at once, so that a caller who hangs up cannot leave half of it.
    fn ask(&self, line: &str) -> oneshot::Receiver<String> {
        let (waiter, answer) = oneshot::channel();
        let (socket, waiting) = &mut *self.0.lock();
        if socket.write_all(line.as_bytes()).is_ok() {
            let _ = waiting.send(waiter);
        }
        answer
    }
}

/// A store whose histories are in a [`Process`].
#[derive(Clone, Debug)]
struct ProcessStore {
    socket: Arc<Socket>,
    /// Which histories of that process are its own.
    number: usize,
    /// In place of a clock of the process, for the suite has one that it moves.
    clock: ManualClock,
    setup: Option<Setup>,
}

impl ProcessStore {
    fn new(process: &Process, clock: ManualClock) -> Self {
        let number = process.stores.fetch_add(1, Ordering::Relaxed);
        Self { socket: Arc::clone(&process.socket), number, clock, setup: None }
    }

    fn ask(&self, verb: &str, charges: &[Charge]) -> MaybeReady<BoxFuture> {
        let Some(setup) = &self.setup else {
            return MaybeReady::Pending(Box::pin(async { Err(Unavailable::new("it is not open")) }));
        };
        let mut line = format!("{verb} {}", self.clock.now().as_nanos());
        for charge in charges {
            let scopes = setup.scopes();
            let Some((scope, policy)) = scopes.get(charge.scope()).zip(scopes.policy(charge.plan())) else { continue };
            let quotas = policy.quotas().map(|quota| format!("{}/{}", quota.limit(), quota.window().as_nanos()));
            let quotas = quotas.collect::<Vec<_>>().join(",");
            let key: String = charge.key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            write!(line, " {}/{}/{key};{};{quotas}", self.number, scope.name(), policy.counts_denied()).unwrap();
        }
        line.push('\n');
        let answer = self.socket.ask(&line);
        MaybeReady::Pending(Box::pin(async {
            let answer = answer.await.map_err(|_| Unavailable::new("the process of the store has ended"))?;
            read_verdict(&answer).ok_or_else(|| Unavailable::new("an answer that is none"))
        }))
    }
}

fn read_verdict(answer: &str) -> Option<Verdict> {
    let mut words = answer.split(' ');
    let mut verdict = Verdict::new(words.next()?.parse().ok()?);
    for word in words {
        let (used, wait) = word.split_once('/')?;
        verdict.push_quota(used.parse().ok()?, Duration::from_nanos(wait.parse().ok()?));
    }
    Some(verdict)
}

impl Store for ProcessStore {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.setup = Some(setup);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.ask("decide", charges)
    }

    fn peek(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.ask("peek", charges)
    }

    fn reset(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.ask("reset", charges)
    }

    fn key_secret(&self) -> Option<[u8; 32]> {
        Some(*b"the same for all of its limiters")
    }
}
