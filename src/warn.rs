//! Warnings to the operator about mistakes in the deployment, which only requests can show.
//!
//! [`Warning`] has the texts. Who finds a mistake says which rule it is about, never whose request showed it, and sees to it
//! that this is said once. Through `tracing`, if that feature is on.

use std::{
    fmt,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
};

/// What is probably wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// A key wants the peer's address, and the request has none.
    PeerMissing,
    /// A key wants the client's address, and there is a proxy that is not trusted.
    ProxyUntrusted,
    /// A key wants a value of this type, and no request has carried one.
    ClaimMissing(&'static str),
    /// So many of the requests in a sample did not carry the key.
    KeyMissing(u32),
    /// A rule has governed none of the requests in a sample.
    RuleIdle,
    /// A browser was not allowed to ask.
    PreflightRefused,
}

/// The warnings that have been given.
#[derive(Debug, Default)]
pub(crate) struct Given(AtomicU8);

/// Whether something that is looked for has ever been seen.
#[derive(Debug, Default)]
pub(crate) struct Sightings(AtomicU32);

/// Above what is counted.
const SEEN: u32 = 1 << 31;
/// How often it is looked for in vain before that is told, and how often it is told then: others may have something to tell
/// of the same request.
const IN_VAIN: std::ops::Range<u32> = 100..200;

impl Warning {
    /// A name to search logs for.
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
                "a request came through a proxy in the own network, and no proxy is trusted: all clients behind the proxy \
                 share one history; trust the proxy with ClientIp::trust",
            ),
            Self::ClaimMissing(of) => write!(
                f,
                "no request has carried a `{of}` among its extensions so far: put the layer that sets it outside of the \
                 limiter, which is after it in a chain of Router::layer calls and before it in a ServiceBuilder; and look whether \
                 it sets this very type"
            ),
            Self::KeyMissing(times) => write!(
                f,
                "{times} of the first {SAMPLE} requests did not carry the key, and meet what on_missing says: look where clients \
                 send it, how it is spelled, and whether a layer in front takes it away"
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
                "a CORS preflight was refused, so a browser does not send what its page asked for: put the limiter inside of the \
                 layer that answers preflights, or call RateLimitLayer::limit_preflights(false) if it has to be outside",
            ),
        }
    }
}

const fn without_axum(text: &str) -> &str {
    if cfg!(feature = "axum") { "" } else { text }
}

/// How many requests are looked at, of a rule or of a limiter.
pub(crate) const SAMPLE: u32 = 1000;

impl Given {
    /// Gives a warning about a rule, unless it was given before.
    #[cold]
    pub(crate) fn give(&self, warning: Warning, rule: &str, level: &str) {
        let is_new = |given: u8| given & warning.bit() == 0;
        if is_new(self.0.load(Ordering::Relaxed)) && is_new(self.0.fetch_or(warning.bit(), Ordering::Relaxed)) {
            tell(warning, rule, level);
        }
    }
}

/// A copy has given none.
impl Clone for Given {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Sightings {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Notes that it was there.
    #[inline]
    pub(crate) fn seen(&self) {
        if self.0.load(Ordering::Relaxed) < SEEN {
            self.0.fetch_or(SEEN, Ordering::Relaxed);
        }
    }

    /// Notes that it was not there; says whether that is to be told.
    #[inline]
    pub(crate) fn missed(&self) -> bool {
        let times = self.0.load(Ordering::Relaxed);
        times < IN_VAIN.end && IN_VAIN.contains(&self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1))
    }
}

/// A copy has seen nothing.
impl Clone for Sightings {
    fn clone(&self) -> Self {
        Self::new()
    }
}

#[cfg(feature = "tracing")]
fn tell(warning: Warning, rule: &str, level: &str) {
    let code = warning.code();
    tracing::warn!(target: "tower_quota", code, "rule {rule:?}, level {level:?}: {warning}");
}

#[cfg(not(feature = "tracing"))]
const fn tell(warning: Warning, _: &str, _: &str) {
    let _ = warning.code();
}

/// Gives a warning in words of its own.
#[cfg(feature = "tracing")]
pub(crate) fn warn(text: impl fmt::Display) {
    tracing::warn!(target: "tower_quota", "{text}");
}

/// Tells what an operator may want to know.
#[cfg(all(feature = "tracing", feature = "redis"))]
pub(crate) fn info(text: impl fmt::Display) {
    tracing::info!(target: "tower_quota", "{text}");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn warn(_: impl fmt::Display) {}

#[cfg(all(not(feature = "tracing"), feature = "redis"))]
pub(crate) fn info(_: impl fmt::Display) {}

#[cfg(all(test, feature = "tracing"))]
pub(crate) mod heard {
    //! What is told while a test listens.

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

    /// The events of this thread, each with its level in front.
    pub(crate) fn heard_during(run: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
        let subscriber = subscriber.with_max_level(Level::TRACE).with_writer(move || writer.clone());
        with_default(subscriber.finish(), run);
        let text = String::from_utf8_lossy(&lines.0.lock()).into_owned();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}
