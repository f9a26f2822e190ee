//! One-time warnings about deployment mistakes that only requests can show, through `tracing` if that feature is on.
//!
//! A [`Warning`] names the rule that it is about, never the key whose request showed it.

use std::{
    fmt,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
};

/// A probable mistake in the deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A key needs the peer's address, and the request has none.
    PeerMissing,
    /// A key needs the client's address, and the request came through a proxy that is not trusted.
    ProxyUntrusted,
    /// A key needs a value of this type, and no request has carried one.
    ClaimMissing(&'static str),
    /// This many requests of the sample did not carry the key.
    KeyMissing(u32),
    /// A rule has governed no request of the sample.
    RuleIdle,
    /// A CORS preflight was refused.
    PreflightRefused,
}

/// The warnings about one rule that have been logged, as a set of bits. Each is logged once.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce(AtomicU8);

/// Counts how often something was looked for in vain, until it is found for the first time.
#[derive(Debug, Default)]
pub(crate) struct Sightings(AtomicU32);

/// The bit that is set as soon as it was found. The count stays below.
const SEEN: u32 = 1 << 31;
/// The misses that are reported: only after the first hundred, and then a hundred times, because a request reports one warning
/// only and may have a different one.
const IN_VAIN: std::ops::Range<u32> = 100..200;

impl Warning {
    /// Returns the code to search logs for.
    const fn code(self) -> &'static str {
        match self {
            Self::PeerMissing => "peer-missing",
            Self::ProxyUntrusted => "proxy-untrusted",
            Self::ClaimMissing(_) => "claim-missing",
            Self::KeyMissing(_) => "key-missing",
            Self::RuleIdle => "rule-idle",
            Self::PreflightRefused => "preflight-refused",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::PeerMissing => 1,
            Self::ProxyUntrusted => 1 << 1,
            Self::ClaimMissing(_) => 1 << 2,
            Self::KeyMissing(_) => 1 << 3,
            Self::RuleIdle => 1 << 4,
            Self::PreflightRefused => 1 << 5,
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
                "the rule has governed none of the first {SAMPLE} requests: if it should have, compare its methods and paths with \
                 those that come in, prefixes included{}",
                without_axum(
                    "; inside of a nested axum router the prefix is gone, unless the feature `axum` of tower-quota is on"
                )
            ),
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

/// The number of requests in a sample, of a rule or of a limiter.
pub(crate) const SAMPLE: u32 = 1000;

impl WarnOnce {
    /// Logs a warning about a rule, unless it was logged before.
    #[cold]
    pub(crate) fn warn(&self, warning: Warning, rule: &str, level: &str) {
        let is_new = |logged: u8| logged & warning.bit() == 0;
        if is_new(self.0.load(Ordering::Relaxed)) && is_new(self.0.fetch_or(warning.bit(), Ordering::Relaxed)) {
            log(warning, rule, level);
        }
    }
}

impl Clone for WarnOnce {
    /// A copy has logged none.
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

#[cfg(feature = "tracing")]
fn log(warning: Warning, rule: &str, level: &str) {
    let code = warning.code();
    tracing::warn!(target: "tower_quota", code, "rule {rule:?}, level {level:?}: {warning}");
}

#[cfg(not(feature = "tracing"))]
const fn log(warning: Warning, _: &str, _: &str) {
    let _ = warning.code();
}

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
