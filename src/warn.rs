//! One-time warnings about deployment mistakes that only requests can show: in the log, the metrics, the hook and a list.
//!
//! A [`Warning`] is found by a [`Check`]. It names the rule that it is about, never the key whose request showed it.

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// A check for mistakes in the deployment, each with a code. The [module](crate::observe#warnings) explains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// `proxy-untrusted`: a request came through a proxy in a private network, and no proxy is trusted.
    ProxyUntrusted,
    /// `peer-missing`: a key needs the peer's address, and the request has none.
    PeerMissing,
    /// `one-peer`: one address in a private network is the peer of nearly all requests.
    OnePeer,
    /// `counted-twice`: a request was charged again that is a copy of one which this limiter has charged.
    CountedTwice,
    /// `rule-idle`: a rule has governed no request.
    RuleIdle,
    /// `key-missing`: requests do not carry the key of a rule.
    KeyMissing,
    /// `claim-missing`: no request carries the claim that a key is read from.
    ClaimMissing,
    /// `never-possible`: many requests cost more than a limit.
    NeverPossible,
    /// `unsettled`: most reservations end unsettled.
    Unsettled,
    /// `above-estimate`: many requests cost more than they have reserved.
    AboveEstimate,
    /// `table-full`: all histories are live, and new keys share one.
    TableFull,
    /// `many-limiters`: limiters are built all the time.
    ManyLimiters,
    /// `clock-stepped-back`: the clock was set back.
    ClockSteppedBack,
    /// `redis-evicts`: a server of the store evicts keys.
    RedisEvicts,
    /// `unknown-tier`: a request names a tier that the rule does not have.
    UnknownTier,
    /// `unknown-unit`: a settlement is in a unit that no rule counts.
    UnknownUnit,
    /// `preflight-refused`: a CORS preflight was refused.
    PreflightRefused,
    /// `quota-idle`: a quota never denies, because another one has no room before it.
    QuotaIdle,
}

/// A probable mistake in the deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A key needs the peer's address, and the request has none.
    PeerMissing,
    /// A key needs the client's address, and the request came through a proxy that is not trusted.
    ProxyUntrusted,
    /// One private address is the peer of nearly all requests of the sample.
    OnePeer,
    /// A copy of a request was charged again.
    CountedTwice,
    /// A key needs a value of this type, and no request has carried one.
    ClaimMissing(&'static str),
    /// This many requests of the sample did not carry the key.
    KeyMissing(u32),
    /// A rule has governed no request of the sample.
    RuleIdle,
    /// So many of so many requests cost more than a limit.
    NeverPossible(u32, u32),
    /// So many of so many reservations ended unsettled.
    Unsettled(u32, u32),
    /// So many of so many reservations were settled above the estimate.
    AboveEstimate(u32, u32),
    /// All histories are live.
    TableFull,
    /// So many limiters were built in a few seconds.
    ManyLimiters(u32),
    /// The clock was set back.
    ClockSteppedBack,
    /// A server evicts keys by this policy, and has evicted so many.
    #[cfg(feature = "redis")]
    RedisEvicts(String, u64),
    /// A request names a tier that the rule does not have.
    UnknownTier,
    /// A settlement is in a unit that no rule of the limiter reserves.
    UnknownUnit(String),
    /// A CORS preflight was refused.
    PreflightRefused,
    /// The first quota never denies, because the second one has no room before it.
    QuotaIdle(String, String),
}

/// The warnings about one rule that were given, as a set of bits. Each is given once.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce(AtomicU32);

/// Looks whether one private address is the peer of nearly all requests of a sample.
#[derive(Debug)]
pub(crate) struct OnePeer {
    requests: AtomicU32,
    /// The address that most requests had so far (by the vote of Boyer and Moore), its lead, and how often it was seen since it leads.
    leader: Mutex<Option<(IpAddr, u32, u32)>>,
}

/// Counts the limiters that this process builds in a short time.
#[derive(Debug)]
pub(crate) struct ManyLimiters(Mutex<Option<(Instant, u32)>>);

/// How many of how many were of a sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) some: u32,
    pub(crate) all: u32,
    pub(crate) is_too_much: bool,
}

/// Counts how many of the first ones are of some sort, and finds out once that they are too many.
#[derive(Debug)]
pub(crate) struct Share {
    of: u32,
    percent: u32,
    all: AtomicU32,
    some: AtomicU32,
}

/// Counts how often something was looked for in vain, until it is found for the first time.
#[derive(Debug, Default)]
pub(crate) struct Sightings(AtomicU32);

/// The bit that is set as soon as it was found. The count stays below.
const SEEN: u32 = 1 << 31;
/// The misses that are reported: only after the first hundred, and then a hundred times, because a request reports one warning
/// only and may have a different one.
const IN_VAIN: std::ops::Range<u32> = 100..200;

impl Check {
    /// All of them, in the order of their numbers.
    #[cfg(test)]
    const ALL: [Self; 18] = [
        Self::ProxyUntrusted,
        Self::PeerMissing,
        Self::OnePeer,
        Self::CountedTwice,
        Self::RuleIdle,
        Self::KeyMissing,
        Self::ClaimMissing,
        Self::NeverPossible,
        Self::Unsettled,
        Self::AboveEstimate,
        Self::TableFull,
        Self::ManyLimiters,
        Self::ClockSteppedBack,
        Self::RedisEvicts,
        Self::UnknownTier,
        Self::UnknownUnit,
        Self::PreflightRefused,
        Self::QuotaIdle,
    ];

    /// Returns the code: to search logs for, the label of metrics, and the anchor in [the documentation](crate::observe#warnings).
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::ProxyUntrusted => "proxy-untrusted",
            Self::PeerMissing => "peer-missing",
            Self::OnePeer => "one-peer",
            Self::CountedTwice => "counted-twice",
            Self::RuleIdle => "rule-idle",
            Self::KeyMissing => "key-missing",
            Self::ClaimMissing => "claim-missing",
            Self::NeverPossible => "never-possible",
            Self::Unsettled => "unsettled",
            Self::AboveEstimate => "above-estimate",
            Self::TableFull => "table-full",
            Self::ManyLimiters => "many-limiters",
            Self::ClockSteppedBack => "clock-stepped-back",
            Self::RedisEvicts => "redis-evicts",
            Self::UnknownTier => "unknown-tier",
            Self::UnknownUnit => "unknown-unit",
            Self::PreflightRefused => "preflight-refused",
            Self::QuotaIdle => "quota-idle",
        }
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Warning {
    /// Returns the check that finds it.
    pub(crate) const fn check(&self) -> Check {
        match self {
            Self::PeerMissing => Check::PeerMissing,
            Self::ProxyUntrusted => Check::ProxyUntrusted,
            Self::OnePeer => Check::OnePeer,
            Self::CountedTwice => Check::CountedTwice,
            Self::ClaimMissing(_) => Check::ClaimMissing,
            Self::KeyMissing(_) => Check::KeyMissing,
            Self::RuleIdle => Check::RuleIdle,
            Self::NeverPossible(..) => Check::NeverPossible,
            Self::Unsettled(..) => Check::Unsettled,
            Self::AboveEstimate(..) => Check::AboveEstimate,
            Self::TableFull => Check::TableFull,
            Self::ManyLimiters(_) => Check::ManyLimiters,
            Self::ClockSteppedBack => Check::ClockSteppedBack,
            #[cfg(feature = "redis")]
            Self::RedisEvicts(..) => Check::RedisEvicts,
            Self::UnknownTier => Check::UnknownTier,
            Self::UnknownUnit(_) => Check::UnknownUnit,
            Self::PreflightRefused => Check::PreflightRefused,
            Self::QuotaIdle(..) => Check::QuotaIdle,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerMissing => write!(
                f,
                "a request has no peer address, so its client is unknown: attach http::PeerAddr to the requests, or with axum \
                 serve into_make_service_with_connect_info::<SocketAddr>(){}",
                without_axum(" and turn the feature `axum` of tower-quota on, without which that is not read")
            ),
            Self::ProxyUntrusted => f.write_str(
                "a request came through a proxy in a private network, and no proxy is trusted: all clients behind the proxy \
                 share one history; trust the proxy with ClientIp::trust",
            ),
            Self::ClaimMissing(claim) => write!(
                f,
                "no request has carried a `{claim}` among its extensions so far: put the layer that sets it outside of the \
                 limiter, which is after it in a chain of Router::layer calls and before it in a ServiceBuilder; and check that \
                 it sets exactly this type"
            ),
            Self::KeyMissing(times) => write!(
                f,
                "{times} of the first {SAMPLE} requests did not carry the key, and were treated as on_missing says: check where \
                 clients send it, how it is spelled, and whether a layer in front removes it"
            ),
            Self::RuleIdle => write!(
                f,
                "the rule has governed none of the first {WHOLE_SAMPLE} requests: if it should have, compare its methods and paths with \
                 those that come in, prefixes included{}",
                without_axum(
                    "; inside of a nested axum router the prefix is gone, unless the feature `axum` of tower-quota is on"
                )
            ),
            Self::OnePeer => f.write_str(
                "one address in a private network is the peer of nearly all requests, so all clients behind it share one history: if it \
                 is a proxy, count by key::client_ip and trust it",
            ),
            Self::CountedTwice => f.write_str(
                "a request was charged again that is a copy of one which this limiter had charged: a layer in between passes on a \
                 copy, or retries; if these are the parts of a batch, turn this check off",
            ),
            Self::NeverPossible(some, all) => write!(
                f,
                "{some} of the first {all} requests cost more than a limit, so no wait helps them: raise the limit, split the \
                 requests, or look at how their cost is found"
            ),
            Self::Unsettled(some, all) => write!(
                f,
                "{some} of the first {all} reservations ended unsettled: does the handler call Reservation::settle or observe, and in \
                 this unit?"
            ),
            Self::AboveEstimate(some, all) => write!(
                f,
                "{some} of the first {all} reservations were settled above their estimate, so more than the limit may pass: raise the \
                 estimate to what a request can cost at most"
            ),
            Self::TableFull => f.write_str(
                "all histories are live, so new keys share one history per rule: raise max_keys, or look for a client that makes up keys",
            ),
            Self::ManyLimiters(count) => write!(
                f,
                "{count} limiters were built within ten seconds: each has histories of its own, so build one, keep it, and clone it \
                 for each connection or request"
            ),
            Self::ClockSteppedBack => f.write_str(
                "the clock was set back, and units that were in the future count from now on: denials may last for up to a window longer",
            ),
            #[cfg(feature = "redis")]
            Self::RedisEvicts(policy, evicted) => write!(
                f,
                "a server evicts keys (maxmemory-policy {policy}, {evicted} evicted so far), and a history that is evicted forgets what it \
                 has counted: set maxmemory-policy noeviction, or give rate limits a server of their own"
            ),
            Self::UnknownTier => {
                f.write_str("a request names a tier that the rule does not have, and is held to the rule's own policy")
            }
            Self::UnknownUnit(unit) => write!(
                f,
                "a settlement is in the unit {unit:?}, which no rule of the limiter reserves: it has changed nothing; check how it is \
                 spelled"
            ),
            Self::QuotaIdle(idle, other) => {
                write!(f, "{idle} never denies, because {other} has no room before it: leave one out")
            }
            Self::PreflightRefused => f.write_str(
                "a CORS preflight was refused, so the browser does not send the request that its page made: put the limiter inside of the \
                 layer that answers preflights, or call RateLimitLayer::limit_preflights(false) if it has to be outside",
            ),
        }
    }
}

const fn without_axum(text: &str) -> &str {
    if cfg!(feature = "axum") { "" } else { text }
}

/// The number of requests in a sample of a rule.
pub(crate) const SAMPLE: u32 = 1000;
/// The number of requests in the sample of a limiter.
pub(crate) const WHOLE_SAMPLE: u32 = 10_000;

impl WarnOnce {
    /// Returns `true` if the warning was not given before.
    #[cold]
    pub(crate) fn is_first(&self, check: Check) -> bool {
        let is_new = |given: u32| given & check.bit() == 0;
        is_new(self.0.load(Ordering::Relaxed)) && is_new(self.0.fetch_or(check.bit(), Ordering::Relaxed))
    }
}

impl OnePeer {
    /// The percentage of requests that is nearly all of them.
    const NEARLY_ALL: u32 = 95;

    pub(crate) const fn new() -> Self {
        Self { requests: AtomicU32::new(0), leader: Mutex::new(None) }
    }

    /// Counts a request from a peer, which may be in a private network. Returns `true` once, at the end of the sample, if one private
    /// address was the peer of nearly all.
    #[inline]
    pub(crate) fn is_found(&self, peer: IpAddr, is_private: bool) -> bool {
        self.requests.load(Ordering::Relaxed) < SAMPLE && self.count(peer, is_private)
    }

    #[cold]
    fn count(&self, peer: IpAddr, is_private: bool) -> bool {
        let mut leader = self.leader.lock();
        let at = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if is_private {
            *leader = match *leader {
                Some((address, lead, seen)) if address == peer => Some((address, lead + 1, seen + 1)),
                Some((_, 0, _)) | None => Some((peer, 1, 1)),
                Some((address, lead, seen)) => Some((address, lead - 1, seen)),
            };
        }
        at == SAMPLE && leader.is_some_and(|(_, _, seen)| seen * 100 > SAMPLE * Self::NEARLY_ALL)
    }
}

impl ManyLimiters {
    /// More than this many within [`Self::WITHIN`] are too many.
    const MOST: u32 = 100;
    const WITHIN: Duration = Duration::from_secs(10);

    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts a limiter that was built now. Returns how many there were, if they are too many.
    pub(crate) fn note(&self, now: Instant) -> Option<u32> {
        let mut counted = self.0.lock();
        let (since, count) = match *counted {
            Some((since, count)) if now.saturating_duration_since(since) < Self::WITHIN => (since, count + 1),
            _ => (now, 1),
        };
        *counted = Some((since, count));
        (count == Self::MOST + 1).then_some(count)
    }
}

impl Clone for OnePeer {
    /// A copy has seen nobody.
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Share {
    /// Creates a share of the first `of`, which is too much above so many percent.
    pub(crate) const fn new(of: u32, percent: u32) -> Self {
        Self { of, percent, all: AtomicU32::new(0), some: AtomicU32::new(0) }
    }

    /// Counts one more. Returns what was counted when all are, which is once.
    pub(crate) fn note(&self, is_one: bool) -> Option<Shared> {
        if self.all.load(Ordering::Relaxed) >= self.of {
            return None;
        }
        let some = self.some.fetch_add(u32::from(is_one), Ordering::Relaxed) + u32::from(is_one);
        let all = self.all.fetch_add(1, Ordering::Relaxed) + 1;
        (all == self.of).then_some(Shared { some, all, is_too_much: some * 100 > all * self.percent })
    }
}

impl Clone for WarnOnce {
    /// A copy has given none.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Sightings {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Records that it was found.
    #[inline]
    pub(crate) fn found(&self) {
        if self.0.load(Ordering::Relaxed) < SEEN {
            self.0.fetch_or(SEEN, Ordering::Relaxed);
        }
    }

    /// Records that it was not found, and returns `true` if that is worth a warning.
    #[inline]
    pub(crate) fn missed(&self) -> bool {
        let times = self.0.load(Ordering::Relaxed);
        times < IN_VAIN.end && IN_VAIN.contains(&self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }
}

impl Clone for Sightings {
    /// A copy has found nothing.
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// Logs a warning about a rule, or about the limiter.
#[cfg(feature = "tracing")]
pub(crate) fn log(warning: &Warning, about: Option<(&str, &str)>) {
    let code = warning.check().code();
    let docs = format_args!("https://docs.rs/tower-quota/latest/tower_quota/observe/#{code}");
    match about {
        Some((rule, "")) => tracing::warn!(target: "tower_quota", code, %docs, "rule {rule:?}: {warning}"),
        Some((rule, level)) => {
            tracing::warn!(target: "tower_quota", code, %docs, "rule {rule:?}, level {level:?}: {warning}");
        }
        None => tracing::warn!(target: "tower_quota", code, %docs, "{warning}"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) const fn log(_: &Warning, _: Option<(&str, &str)>) {}

/// Logs a warning.
#[cfg(feature = "tracing")]
pub(crate) fn warn(text: impl fmt::Display) {
    tracing::warn!(target: "tower_quota", "{text}");
}

/// Logs information for the operator.
#[cfg(all(feature = "tracing", feature = "redis"))]
pub(crate) fn info(text: impl fmt::Display) {
    tracing::info!(target: "tower_quota", "{text}");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn warn(_: impl fmt::Display) {}

#[cfg(all(not(feature = "tracing"), feature = "redis"))]
pub(crate) fn info(_: impl fmt::Display) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_number_a_code_and_a_chapter_in_the_documentation() {
        let docs = include_str!("../docs/running.md");
        for (at, check) in Check::ALL.into_iter().enumerate() {
            assert_eq!(check as usize, at);
            assert!(docs.contains(&format!("\n### {}\n", check.code())), "{check:?}");
        }
        assert_eq!(docs.matches("\n### ").count(), Check::ALL.len());
    }

    #[test]
    fn a_share_is_too_much_once_and_only_when_all_are_counted() {
        let share = Share::new(10, 50);
        assert!((0..9).all(|at| share.note(at < 6).is_none()));
        assert_eq!(share.note(false), Some(Shared { some: 6, all: 10, is_too_much: true }));
        assert!((0..20).all(|_| share.note(true).is_none()));
        let share = Share::new(10, 50);
        let shared: Vec<_> = (0..20).filter_map(|at| share.note(at < 5)).collect();
        assert_eq!(shared, [Shared { some: 5, all: 10, is_too_much: false }]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a point in time to begin with")]
    fn limiters_are_too_many_only_within_ten_seconds() {
        let (limiters, now) = (ManyLimiters::new(), Instant::now());
        assert!((0..100).all(|_| limiters.note(now).is_none()));
        assert_eq!(limiters.note(now + Duration::from_secs(9)), Some(101));
        assert!(limiters.note(now + Duration::from_secs(9)).is_none());
        assert!((0..300).all(|at| limiters.note(now + Duration::from_millis(10_000 + 150 * at)).is_none()));
    }
}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod capture {
    //! Captures what is logged, for tests.

    use std::{io, sync::Arc};

    use parking_lot::Mutex;
    use tracing::{Level, subscriber::with_default};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what this thread logs while `run` runs: one text for each event, which begins with its level.
    pub(crate) fn logged_during(run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
        let subscriber = subscriber.with_max_level(Level::TRACE).with_writer(move || writer.clone());
        with_default(subscriber.finish(), run);
        let text = String::from_utf8_lossy(&lines.0.lock()).into_owned();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}
