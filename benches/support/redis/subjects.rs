//! What decides, and about what.

use std::{
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{Cmd, Script, Value, aio::ConnectionLike, cmd};
use tower_quota::{
    Policy, Quota, RateLimiter, Rule,
    clock::{Clock, ManualClock},
    http::Http,
    store::{OnOutage, RedisStore},
};

use super::{
    capture::{call_for, captured},
    server::Server,
};

/// Asks for decision number so and so, and says whether it was an admission.
pub(crate) type Ask = Arc<dyn Fn(u64) -> Answer + Send + Sync>;

pub(crate) type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What the store adds to a virtual time.
pub(crate) const VIRTUAL_START: Duration = Duration::from_secs(1000);

static FIXED_PAIR: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fixed_pair.lua")));
static TWO_SETS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("two_sets.lua")));
static ONE_SET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("one_set.lua")));

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    FixedPair,
    TwoSets,
    OneSet,
    Ours,
    /// With a call for each decision.
    OursOneByOne,
    OursTwoRules,
    /// The call that ours sends, without the crate.
    OursScript,
}

/// What is decided about.
#[derive(Clone)]
pub(crate) struct Situation {
    pub(crate) keys: Keys,
    /// Of two quotas.
    pub(crate) limits: [u64; 2],
    pub(crate) windows: [Duration; 2],
    /// If it is not the server's.
    pub(crate) time: Option<SteppedTime>,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// One, of this name.
    Hot(&'static str),
    /// Each ten times, then never again.
    Fresh,
    /// So many in turn.
    Many(u64),
}

/// A time that goes on by one step with every decision.
#[derive(Clone)]
pub(crate) struct SteppedTime {
    pub(crate) clock: ManualClock,
    pub(crate) step: Duration,
}

impl Subject {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FixedPair => "fixed window pair (inexact)",
            Self::TwoSets => "two sorted sets, the usual",
            Self::OneSet => "one sorted set, careful",
            Self::Ours => "tower-quota",
            Self::OursOneByOne => "tower-quota, one call each",
            Self::OursTwoRules => "tower-quota, two rules",
            Self::OursScript => "tower-quota, EVALSHA alone",
        }
    }

    /// What its keys begin with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::FixedPair => "fixed",
            Self::TwoSets => "sets",
            Self::OneSet => "set",
            Self::Ours => "ours",
            Self::OursOneByOne => "each",
            Self::OursTwoRules => "rules",
            Self::OursScript => "alone",
        }
    }

    pub(crate) async fn ask(self, server: &Server, situation: &Situation) -> Ask {
        match self {
            Self::FixedPair => reference(server, situation, self.prefix(), &FIXED_PAIR, &[":m", ":h"]).await,
            Self::TwoSets => reference(server, situation, self.prefix(), &TWO_SETS, &[":m", ":h"]).await,
            Self::OneSet => reference(server, situation, self.prefix(), &ONE_SET, &[""]).await,
            Self::Ours => ours(server, situation, self.prefix(), |store| store),
            Self::OursOneByOne => ours(server, situation, self.prefix(), |store| store.max_batch(1)),
            Self::OursTwoRules => ours_two_rules(server, situation, self.prefix()),
            Self::OursScript => ours_alone(server, situation, self.prefix()).await,
        }
    }
}

impl Situation {
    /// 60 per minute and 1800 per hour, by the server's time.
    pub(crate) const fn usual(keys: Keys) -> Self {
        let windows = [Duration::from_secs(60), Duration::from_secs(3600)];
        Self { keys, limits: [60, 1800], windows, time: None }
    }

    fn policy(&self) -> Policy {
        let [minute, hour] = [0, 1].map(|at| Quota::new(self.limits[at], self.windows[at]));
        // So that each unit is remembered, whatever the limits are.
        Policy::new(minute).and(hour).resolution(65_536)
    }
}

impl Keys {
    pub(crate) fn name(self, number: u64) -> String {
        match self {
            Self::Hot(name) => name.to_owned(),
            Self::Fresh => format!("new-{:07}", number / 10),
            Self::Many(keys) => format!("acct-{:07}", number * 7919 % keys),
        }
    }
}

impl SteppedTime {
    /// Moves on, and says what time that makes for a script.
    fn next(&self) -> u64 {
        self.clock.advance(self.step);
        (VIRTUAL_START + self.clock.now()).as_micros() as u64
    }
}

/// A limiter with two rules of the same policy, which asks the server every time unless it is told otherwise.
pub(crate) fn limiter(
    server: &Server,
    situation: &Situation,
    prefix: &str,
    change: impl Fn(RedisStore) -> RedisStore,
) -> RateLimiter<Http, RedisStore> {
    let store = RedisStore::new(server.url(), OnOutage::Closed).prefix(prefix).deadline(Duration::from_secs(10));
    let store = change(store.denial_cache_ttl(Duration::ZERO));
    let store = match &situation.time {
        // The decisions of one call have one time, and here each has its own.
        Some(time) => store.max_batch(1).virtual_time(time.clock.clone()),
        None => store,
    };
    let rule = |name: &str| Rule::new(name).no_requests().policy(situation.policy());
    let limiter = RateLimiter::builder().rule(rule("calls")).rule(rule("tables")).store(store).build();
    limiter.expect("the policy is sound")
}

pub(crate) fn ours(
    server: &Server,
    situation: &Situation,
    prefix: &str,
    change: impl Fn(RedisStore) -> RedisStore,
) -> Ask {
    let limiter = limiter(server, situation, prefix, change);
    let calls = limiter.rule("calls").expect("it has that name");
    let situation = situation.clone();
    Arc::new(move |number| {
        let (calls, key) = (calls.clone(), situation.keys.name(number));
        situation.time.as_ref().map(SteppedTime::next);
        Box::pin(async move { calls.check_async(key).await.expect("the server answers").is_admitted() })
    })
}

fn ours_two_rules(server: &Server, situation: &Situation, prefix: &str) -> Ask {
    let limiter = limiter(server, situation, prefix, |store| store);
    let situation = situation.clone();
    Arc::new(move |number| {
        let (limiter, key) = (limiter.clone(), situation.keys.name(number));
        situation.time.as_ref().map(SteppedTime::next);
        Box::pin(async move {
            let decision = limiter.check_all_async([("calls", &key), ("tables", &key)]).await;
            decision.expect("the server answers").is_admitted()
        })
    })
}

async fn ours_alone(server: &Server, situation: &Situation, prefix: &'static str) -> Ask {
    let captured = captured(server.client(), &ours(server, situation, "captured", |store| store)).await;
    let (connection, keys) = (server.connection(), situation.keys);
    Arc::new(move |number| {
        let call = call_for(&captured, &format!("{prefix}:{{0011aabb}}:calls:{}", keys.name(number)));
        let mut connection = connection.clone();
        Box::pin(async move {
            match connection.req_packed_command(&call).await.expect("the server answers") {
                Value::BulkString(header) => header.get(6) == Some(&1),
                other => unreachable!("not a reply of the script: {other:?}"),
            }
        })
    })
}

/// A script that replies with a number, which is below 0 for a denial.
async fn reference(
    server: &Server,
    situation: &Situation,
    prefix: &'static str,
    script: &'static Script,
    suffixes: &'static [&'static str],
) -> Ask {
    script.load_async(&mut server.connection()).await.expect("the script is sound");
    let (connection, situation) = (server.connection(), situation.clone());
    Arc::new(move |number| {
        let mut call = cmd("EVALSHA");
        call.arg(script.get_hash()).arg(suffixes.len());
        let key = situation.keys.name(number);
        for suffix in suffixes {
            call.arg(format!("{prefix}:{{{key}}}:calls{suffix}"));
        }
        for (limit, window) in situation.limits.iter().zip(&situation.windows) {
            call.arg(limit).arg(window.as_millis() as u64);
        }
        // As long as a name has to be that no other process gives.
        call.arg(format!("{number:016x}"));
        if let Some(time) = &situation.time {
            call.arg(time.next());
        }
        let mut connection = connection.clone();
        Box::pin(async move {
            match connection.req_packed_command(&call).await.expect("the server answers") {
                Value::Int(left) => left >= 0,
                other => unreachable!("not a reply of the script: {other:?}"),
            }
        })
    })
}

/// A command of which only the cost matters.
pub(crate) fn command(server: &Server, command: Cmd) -> Ask {
    let (connection, command) = (server.connection(), Arc::new(command));
    Arc::new(move |_| {
        let (mut connection, command) = (connection.clone(), Arc::clone(&command));
        Box::pin(async move {
            command.query_async::<Value>(&mut connection).await.expect("the server answers");
            true
        })
    })
}
