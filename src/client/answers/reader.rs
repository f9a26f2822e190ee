//! The reader of responses.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response, StatusCode, header::AGE};

use crate::{
    client::{
        advice::{Advice, Allowance},
        answers::{
            classification::{Classification, RefusalRules},
            header_family::{RATE_LIMIT, SELF_DESCRIBING, X_RATE_LIMIT},
            number::{Number, numbers},
            rate_limit::read_limits,
            server_time::{Reset, ServerTime},
        },
    },
    grpc::{CallStatus, is_trailers_only},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// A status of no RFC: the servers of a model are overloaded.
const OVERLOADED: u16 = 529;
/// Shopify's status for a shop whose calls it takes for an attack.
const SECURITY_REJECTION: u16 = 430;

/// Reads the responses of servers into [`Advice`].
///
/// See the [module docs](crate::client::answers) for everything that is read, believed and ignored.
///
/// ```
/// use std::time::Duration;
///
/// use http::{Response, StatusCode};
/// use tower_quota::client::AdviceReader;
///
/// // A server that refuses with 420, and does not say for how long.
/// let enhance_your_calm = StatusCode::from_u16(420)?;
/// let reader = AdviceReader::new()
///     .with_refusal(enhance_your_calm)
///     .default_wait(Duration::from_secs(15));
///
/// let response = Response::builder().status(enhance_your_calm).body(())?;
/// let advice = reader.read_response(&response);
/// assert!(advice.is_refusal());
/// assert_eq!(advice.wait_time(), Some(Duration::from_secs(15)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a reader does nothing until it is given a response"]
pub struct AdviceReader {
    max_time: Duration,
    rate_limit_reset: Reset,
    /// `None` if nobody has said how to read it.
    x_rate_limit: Option<Reset>,
    refusals: RefusalRules,
    /// The wait of a refusal that states none.
    default_wait: Option<Duration>,
    bare_exhausted: bool,
    wall_clock: Arc<WallClock>,
}

type WallClock = dyn Fn() -> SystemTime + Send + Sync;

impl Default for AdviceReader {
    fn default() -> Self {
        Self::new()
    }
}

impl AdviceReader {
    /// Creates a reader of the self-describing dialects: `Retry-After`, `retry-after-ms`, the `RateLimit` fields of all
    /// drafts, those of the vendors in the [table](crate::client::answers#what-is-read), and gRPC's.
    pub fn new() -> Self {
        Self {
            max_time: DAY,
            rate_limit_reset: Reset::Guess,
            x_rate_limit: None,
            refusals: RefusalRules::default(),
            default_wait: None,
            bare_exhausted: false,
            wall_clock: Arc::new(SystemTime::now),
        }
    }

    /// Sets the longest time that is believed; longer ones are shortened to it. Defaults to one day.
    ///
    /// This guards against nonsense. The layers that act on an [`Advice`] have bounds of their own.
    pub fn max_time(self, max_time: Duration) -> Self {
        Self { max_time, ..self }
    }

    /// Reads `X-RateLimit-Remaining` and `-Reset`, and `X-Rate-Limit-…`, in all responses.
    ///
    /// By default they are read only in refusals that state no wait otherwise, and as [`Reset::Guess`]. Envoy's and
    /// Reddit's are [`Reset::Delta`], GitHub's are [`Reset::Epoch`].
    pub fn x_rate_limit(self, reset: Reset) -> Self {
        Self { x_rate_limit: Some(reset), ..self }
    }

    /// Sets the meaning of a number in `RateLimit-Reset`. Defaults to [`Reset::Guess`]: drafts 0 to 6 have seconds from
    /// now, and GitLab and Bluesky send seconds since 1970.
    pub fn rate_limit_reset(self, reset: Reset) -> Self {
        Self { rate_limit_reset: reset, ..self }
    }

    /// Takes responses with this status for refusals: of calls that were not executed because of a limit.
    ///
    /// 429 is one by default, and so are 503 and 529 with a stated wait.
    pub fn with_refusal(mut self, status: StatusCode) -> Self {
        self.refusals.add(status);
        self
    }

    /// Takes no response with this status for a refusal, whatever its fields say.
    pub fn without_refusal(mut self, status: StatusCode) -> Self {
        self.refusals.remove(status);
        self
    }

    /// Takes a 403 with nothing left or with a stated wait for a refusal.
    pub const fn forbidden_as_refusal(mut self) -> Self {
        self.refusals.add_forbidden();
        self
    }

    /// Takes a `RESOURCE_EXHAUSTED` that states no wait for a refusal, too. Defaults to `false`: messages that are too
    /// large end like this, and so does HTTP/2's ENHANCE_YOUR_CALM.
    pub fn exhausted_as_refusal(self, is_refusal: bool) -> Self {
        Self { bare_exhausted: is_refusal, ..self }
    }

    /// Sets the wait of refusals that state none. By default the layers that act on the advice choose one.
    pub fn default_wait(self, wait: Duration) -> Self {
        Self { default_wait: Some(wait), ..self }
    }

    /// Sets the clock that dates are relative to in responses without a `Date`. Defaults to the system's.
    pub fn wall_clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall_clock: Arc::new(now), ..self }
    }

    /// Reads the status and the header fields of a response. Trailers behind its body are for
    /// [`read_trailers`](Self::read_trailers).
    pub fn read_response<B>(&self, response: &Response<B>) -> Advice {
        self.read(response.status(), response.headers())
    }

    /// Reads a status and header fields.
    pub fn read(&self, status: StatusCode, headers: &HeaderMap) -> Advice {
        let server_time = ServerTime::from_headers(headers, self.max_time, || (self.wall_clock)());
        let classification = match CallStatus::from_trailers(headers).filter(|_| is_trailers_only(headers)) {
            Some(outcome) => Classification::from_grpc(&outcome, server_time.retry_after(headers), self.bare_exhausted),
            None => Classification::from_http(status, headers, &server_time, &self.refusals),
        };
        // A cached response says how it was then.
        let is_cached = numbers(headers, &AGE).any(|age| age > Number::ZERO);
        let limits = if is_cached { Vec::new() } else { self.limits(classification, headers, &server_time) };
        self.with_default_wait(classification.advise(&limits)).cap_wait(self.max_time)
    }

    /// Reads the trailers of a gRPC call.
    pub fn read_trailers(&self, trailers: &HeaderMap) -> Advice {
        match CallStatus::from_trailers(trailers) {
            Some(outcome) => {
                Classification::from_grpc(&outcome, None, self.bare_exhausted).advise(&[]).cap_wait(self.max_time)
            }
            None => Advice::none(),
        }
    }

    /// Returns the longest time that is believed.
    pub(in crate::client) const fn longest_believed(&self) -> Duration {
        self.max_time
    }

    /// Reads the limits that the header fields state, in all dialects.
    fn limits(&self, classification: Classification, headers: &HeaderMap, server_time: &ServerTime) -> Vec<Allowance> {
        let is_refusal = classification.is_refusal;
        let mut limits = read_limits(headers, server_time);
        limits.extend(RATE_LIMIT.read(headers, is_refusal, self.rate_limit_reset, server_time));
        for family in &SELF_DESCRIBING {
            limits.extend(family.read(headers, is_refusal, Reset::Guess, server_time));
        }
        let is_unexplained = is_refusal && classification.retry_after.is_none() && limits.is_empty();
        if let Some(reset) = self.x_rate_limit.or(is_unexplained.then_some(Reset::Guess)) {
            for family in &X_RATE_LIMIT {
                limits.extend(family.read(headers, is_refusal, reset, server_time));
            }
        }
        limits
    }

    fn with_default_wait(&self, advice: Advice) -> Advice {
        match self.default_wait {
            Some(wait) if advice.is_refusal() && advice.wait_time().is_none() => advice.wait(wait),
            _ => advice,
        }
    }
}

/// Presets for the servers of single vendors.
impl AdviceReader {
    /// Reads GitHub's responses: `X-RateLimit-Reset` is a timestamp, a 403 with nothing left or with a `Retry-After` is a
    /// refusal, and a refusal that states no wait is one of a minute, as its documentation asks.
    pub fn github(self) -> Self {
        self.x_rate_limit(Reset::Epoch).forbidden_as_refusal().default_wait(Duration::from_secs(60))
    }

    /// Reads OpenAI's responses: a 503 is a refusal even if it states no wait, since the call was not begun.
    pub fn openai(self) -> Self {
        self.with_refusal(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Reads Azure OpenAI's responses: those of [OpenAI](Self::openai), with `x-ms-retry-after-ms` besides.
    pub fn azure_openai(self) -> Self {
        self.openai()
    }

    /// Reads Anthropic's responses: a 529 is a refusal even if it states no wait. The servers are overloaded, and did not
    /// begin the call.
    pub fn anthropic(self) -> Self {
        self.with_refusal_code(OVERLOADED)
    }

    /// Reads the responses of Shopify's REST interface: 430 is a refusal, and one that states no wait is of two seconds, in
    /// which a full bucket loses four calls.
    pub fn shopify(self) -> Self {
        self.with_refusal_code(SECURITY_REJECTION).default_wait(Duration::from_secs(2))
    }

    /// Reads Discord's responses: the remaining calls count until `X-RateLimit-Reset-After`, to the millisecond. The
    /// timestamp in `X-RateLimit-Reset` is not read, since it says the same less exactly.
    ///
    /// Several routes may share one of its buckets, so let the key of pacing be that of the bucket.
    pub fn discord(self) -> Self {
        self.default_wait(Duration::from_secs(1))
    }

    /// Reads Docker Hub's responses: `X-RateLimit-Reset` and `X-Retry-After` are timestamps, and `RateLimit-Remaining`
    /// names its window.
    pub fn docker_hub(self) -> Self {
        self.x_rate_limit(Reset::Epoch)
    }

    /// Reads Atlassian's responses: `X-RateLimit-Reset` is an ISO 8601 timestamp.
    pub fn atlassian(self) -> Self {
        self.x_rate_limit(Reset::Guess)
    }

    /// Reads Reddit's responses: `X-Ratelimit-Reset` is in seconds, and the remaining number has a fraction.
    pub fn reddit(self) -> Self {
        self.x_rate_limit(Reset::Delta)
    }

    /// Reads HubSpot's responses: a refusal states no wait, and the shorter window is ten seconds.
    pub fn hubspot(self) -> Self {
        self.default_wait(Duration::from_secs(10))
    }

    /// Reads Salesforce's responses: a 403 is a refusal if `Sforce-Limit-Info` says that all calls of the day are used.
    pub const fn salesforce(self) -> Self {
        self.forbidden_as_refusal()
    }

    fn with_refusal_code(self, status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => self.with_refusal(status),
            Err(_) => self,
        }
    }
}

impl fmt::Debug for AdviceReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdviceReader")
            .field("max_time", &self.max_time)
            .field("rate_limit_reset", &self.rate_limit_reset)
            .field("x_rate_limit", &self.x_rate_limit)
            .field("refusals", &self.refusals)
            .field("default_wait", &self.default_wait)
            .field("bare_exhausted", &self.bare_exhausted)
            .finish_non_exhaustive()
    }
}
