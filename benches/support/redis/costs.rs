//! Requests that cost tokens, and what is given back of them: calls of the script as the store sends them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use redis::{Cmd, Value, aio::MultiplexedConnection, cmd};

use super::{
    rounds::Case,
    server::Server,
    subjects::{Answer, Ask},
};

pub(crate) const PAIR: &str = "60/minute, 1800/hour, one unit";
pub(crate) const THREE: &str = "requests, tokens per minute and day";

const GROUP: &str = "costs";
const START: u64 = 1_700_000_000_000_000;
const SECOND: u64 = 1_000_000;
const MINUTE: (u64, u64) = (90_000, 60 * SECOND);
const DAY: (u64, u64) = (100_000_000, 86_400 * SECOND);
/// Between two requests, so that about 300 are in a minute.
const STEP: u64 = 200_100;
/// Between two requests of a key that uses all of its hour.
const FULL_STEP: u64 = 2_001_000;

/// A history: its logs and what the script is told of each.
#[derive(Clone)]
struct History {
    logs: Vec<(String, Vec<u8>)>,
}

/// Decides about these histories in one step, each for so many units, at a time that goes on.
struct Decisions {
    script: String,
    charges: Vec<(History, u64)>,
    time: Arc<AtomicU64>,
    step: u64,
}

impl History {
    /// Of limits and windows in microseconds, the longest window first.
    fn exact(key: &str, quotas: &[(u64, u64)]) -> Self {
        let (most, window) = quotas[0];
        let tick = 4;
        let kept = 3 | most.next_power_of_two().trailing_zeros() << 2 | tick << 12;
        let hash = quotas.iter().fold(7, |hash: u64, (_, window)| hash.wrapping_mul(31) + window);
        let mut told = vec![b'T', quotas.len() as u8];
        told.extend(&hash.to_le_bytes()[..4]);
        told.extend([4, 0, quotas.len() as u8]);
        told.extend(numbers(&[(tick.into(), 2), (window / 500 + 1000, 6), (window, 7), (kept.into(), 3), (most, 6)]));
        told.extend(quotas.iter().flat_map(|(limit, window)| numbers(&[(*window, 7), (*limit, 6)])));
        Self { logs: vec![(key.to_owned(), told)] }
    }

    /// Of quotas that count cells, the shortest window first.
    fn with_costs(key: &str, quotas: &[(u64, u64)]) -> Self {
        const TICK: u64 = 100;
        let grain = |window: u64| window / 4096 / TICK * TICK;
        let longest = quotas.iter().map(|(_, window)| *window).max().unwrap_or(0);
        let kept = 3 | (quotas.len() as u64) << 7 | TICK << 12;
        let mut root = vec![b'T', 0, 0, 0, 0, 0, 4, 0, 0];
        root.extend(numbers(&[(TICK, 2), (longest / 400, 6), (0, 7), (kept, 3), (1, 6)]));
        root.extend(quotas.iter().flat_map(|(_, window)| numbers(&[(*window, 7), (grain(*window), 7)])));
        let mut logs = vec![(key.to_owned(), root)];
        for (limit, window) in quotas {
            let mut told = vec![b'T', 32, 0, 0, 0, 0, 9, 0, 1];
            told.extend(numbers(&[(TICK, 2), (window / 400, 6), (*window, 7), (TICK << 12, 3), (*limit, 6)]));
            told.extend(numbers(&[(*window, 7), (*limit, 6), (grain(*window), 7)]));
            logs.push((format!("{key}:{window}.{}", grain(*window)), told));
        }
        Self { logs }
    }
}

impl Decisions {
    fn call(&self, mode: u8, now: u64, stamp: u64) -> Cmd {
        let logs: Vec<_> = self.charges.iter().flat_map(|(history, _)| &history.logs).collect();
        let mut call = call_about(&self.script, &logs);
        call.arg(options(mode, now, stamp, logs.len()));
        if self.charges.iter().any(|(_, units)| *units != 1) {
            call.arg(numbers(&self.charges.iter().map(|(_, units)| (*units, 6)).collect::<Vec<_>>()));
        }
        call
    }

    fn next(&self) -> u64 {
        self.time.fetch_add(self.step, Ordering::Relaxed)
    }

    fn ask(self, server: &Server) -> Ask {
        let connection = server.connection();
        Arc::new(move |_| sent(&connection, vec![self.call(b'd', self.next(), 0)]))
    }

    /// Gives each unit back at once.
    fn ask_and_refund(self, server: &Server) -> Ask {
        let connection = server.connection();
        Arc::new(move |number| {
            let now = self.next();
            // Half of the units stay, so that the key stays full.
            let refund = (number % 2 == 0).then(|| self.call(b'r', now, now));
            sent(&connection, std::iter::once(self.call(b'd', now, 0)).chain(refund).collect())
        })
    }
}

pub(crate) async fn cases(server: &Server, script: &str) -> Vec<Case> {
    let pair = || vec![(History::exact("costs-pair", &[(1800, 3600 * SECOND), (60, 60 * SECOND)]), 1)];
    let tokens = |key: &str| (History::with_costs(key, &[MINUTE, DAY]), 250);
    let time = Arc::new(AtomicU64::new(START));
    let decisions = |charges, step| Decisions { script: script.to_owned(), charges, time: Arc::clone(&time), step };
    let three = vec![(History::exact("costs-requests", &[(600, 60 * SECOND)]), 1), tokens("costs-three")];
    let mut cases = vec![
        Case::new(GROUP, PAIR, &decisions(pair(), FULL_STEP).ask(server)).prefilled(1900).await,
        Case::new(GROUP, "half of them given back", &decisions(pair(), FULL_STEP).ask_and_refund(server)),
    ];
    let of_tokens =
        Decisions { time: Arc::new(AtomicU64::new(START)), ..decisions(vec![tokens("costs-tokens")], STEP) };
    cases.push(Case::new(GROUP, "tokens per minute and day", &of_tokens.ask(server)).prefilled(1500).await);
    let of_three = Decisions { time: Arc::new(AtomicU64::new(START)), ..decisions(three, STEP) };
    cases.push(Case::new(GROUP, THREE, &of_three.ask(server)).prefilled(1500).await);
    cases.push(denied(server, script).await);
    for (name, later) in [("settled 10 admissions later", 10), ("settled 50 admissions later", 50)] {
        cases.push(settled(server, script, name, later).await);
    }
    cases
}

/// With 3000 admissions that have to leave before there is room.
async fn denied(server: &Server, script: &str) -> Case {
    let history = History::with_costs("costs-denied", &[MINUTE, DAY]);
    let time = Arc::new(AtomicU64::new(START));
    let of = |units, step| Decisions {
        script: script.to_owned(),
        charges: vec![(history.clone(), units)],
        time: Arc::clone(&time),
        step,
    };
    let fill = of(30, 15_000).ask(server);
    for number in 0..3000 {
        fill(number).await;
    }
    Case::new(GROUP, "denied, 3000 in the way", &of(90_000, 0).ask(server))
}

/// One unit of the same admission, again and again.
async fn settled(server: &Server, script: &str, name: &'static str, later: usize) -> Case {
    let history = History::with_costs(name, &[(1 << 40, MINUTE.1), (1 << 40, DAY.1)]);
    let time = Arc::new(AtomicU64::new(START));
    let charges = vec![(history.clone(), 1 << 24)];
    let fill = Decisions { script: script.to_owned(), charges, time, step: STEP };
    let mut receipts = Vec::new();
    for _ in 0..300 {
        let call = fill.call(b'd', fill.next(), 0);
        let replies: Vec<Vec<u8>> = server.ask(&mut call.clone()).await;
        let newest = |at: usize, header: &[u8]| number(header.get(at..at + 7).unwrap_or_default());
        receipts.push([56, 22].map(|at| replies.iter().skip(1).map(|header| newest(at, header)).max().unwrap_or(0)));
    }
    let [begun, recorded] = receipts[receipts.len() - 1 - later];
    let mut call = call_about(script, &history.logs.iter().collect::<Vec<_>>());
    call.arg(options(b's', fill.next(), 0, history.logs.len())).arg(numbers(&[(1, 6), (begun, 7), (recorded, 7)]));
    let connection = server.connection();
    Case::new(GROUP, name, &(Arc::new(move |_| sent(&connection, vec![call.clone()])) as Ask))
}

fn call_about(script: &str, logs: &[&(String, Vec<u8>)]) -> Cmd {
    let mut call = cmd("EVALSHA");
    call.arg(script).arg(logs.len());
    for (name, _) in logs {
        call.arg(name);
    }
    for (_, told) in logs {
        call.arg(told);
    }
    call
}

fn options(mode: u8, now: u64, stamp: u64, logs: usize) -> Vec<u8> {
    let mut options = vec![mode];
    options.extend(numbers(&[(now, 7), (stamp, 7), (1, 1), (logs as u64, 2)]));
    options
}

/// Sends calls one right after the other, so that no other comes between.
fn sent(connection: &MultiplexedConnection, calls: Vec<Cmd>) -> Answer {
    let mut connection = connection.clone();
    Box::pin(async move {
        let mut pipeline = redis::pipe();
        for call in calls {
            pipeline.add_command(call);
        }
        let replies: Vec<Value> = pipeline.query_async(&mut connection).await.expect("the server answers");
        replies.iter().any(is_admission)
    })
}

/// A log that admits, or units that were given back.
fn is_admission(reply: &Value) -> bool {
    match reply {
        Value::Array(replies) => replies.iter().any(is_admission),
        Value::BulkString(header) => header.get(6) == Some(&1),
        Value::Int(units) => *units > 0,
        _ => false,
    }
}

/// Numbers of so many bytes each, the lowest first.
fn numbers(all: &[(u64, usize)]) -> Vec<u8> {
    all.iter().flat_map(|(number, bytes)| number.to_le_bytes().into_iter().take(*bytes)).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
