//! The reader.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Response, StatusCode, header::AGE};

use crate::{
    client::{
        Advice,
        answers::{
            Reset,
            digits::number,
            limit::{self, Limit},
            rate_limit,
            retry_after::stated_wait,
            three_fields::{Family, RATE_LIMIT, X_RATE_LIMIT},
            timeline::Timeline,
            verdict::Verdict,
        },
    },
    grpc::{Outcome, is_trailers_only},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What GitHub asks for where it does not say how long.
const MINUTE: Duration = Duration::from_secs(60);

/// Reads the answers of servers into [`Advice`].
///
/// See the [module docs](crate::client::answers) for its use and for what is read, believed and ignored.
#[derive(Clone)]
#[must_use = "it reads nothing until it is asked to"]
pub struct Answers {
    longest: Duration,
    rate_limit_reset: Reset,
    x_rate_limit: Option<Reset>,
    is_github: bool,
    bare_exhausted: bool,
    wall_clock: Arc<WallClock>,
}

type WallClock = dyn Fn() -> SystemTime + Send + Sync;

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

impl Answers {
    /// Reads what needs no telling: `Retry-After`, `retry-after-ms`, the `RateLimit` fields of all drafts, and gRPC's.
    pub fn new() -> Self {
        Self {
            longest: DAY,
            rate_limit_reset: Reset::Delta,
            x_rate_limit: None,
            is_github: false,
            bare_exhausted: false,
            wall_clock: Arc::new(SystemTime::now),
        }
    }

    /// The longest time that is believed; whatever is longer is taken for this. One day by default.
    ///
    /// Those who act on an [`Advice`] have limits of their own; this one is for what cannot be meant.
    pub fn longest(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Reads `X-RateLimit-Remaining` and `-Reset`, and `X-Rate-Limit-…`, with what is known of the latter; not read by
    /// default. Envoy's are [`Reset::Delta`].
    pub fn x_rate_limit(self, reset: Reset) -> Self {
        Self { x_rate_limit: Some(reset), ..self }
    }

    /// What `RateLimit-Reset` says; [`Reset::Delta`] by default, as drafts 0 to 6 have it. GitLab's is [`Reset::Epoch`].
    pub fn rate_limit_reset(self, reset: Reset) -> Self {
        Self { rate_limit_reset: reset, ..self }
    }

    /// Reads `X-RateLimit-Reset` as [`Reset::Epoch`], takes a 403 with nothing left or with a `Retry-After` for a refusal,
    /// and a 429 that states no wait for one of a minute: GitHub's documentation asks for these.
    pub fn github(self) -> Self {
        Self { is_github: true, ..self }.x_rate_limit(Reset::Epoch)
    }

    /// Takes a `RESOURCE_EXHAUSTED` that states no wait for a refusal, too. Off by default: messages that are too large
    /// end so, and so does HTTP/2's ENHANCE_YOUR_CALM.
    pub fn exhausted_without_wait(self, is_refusal: bool) -> Self {
        Self { bare_exhausted: is_refusal, ..self }
    }

    /// What dates are relative to when an answer has no `Date`; the system's clock by default.
    pub fn wall_clock(self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { wall_clock: Arc::new(now), ..self }
    }

    /// What a response advises. Its body is left alone: what gRPC says in trailers behind it is for
    /// [`read_trailers`](Self::read_trailers).
    pub fn of<B>(&self, response: &Response<B>) -> Advice {
        self.read(response.status(), response.headers())
    }

    /// What the status and the header fields of a response advise.
    pub fn read(&self, status: StatusCode, headers: &HeaderMap) -> Advice {
        let timeline = self.timeline(headers);
        let verdict = match Outcome::of(headers).filter(|_| is_trailers_only(headers)) {
            Some(outcome) => Verdict::of_call(&outcome, stated_wait(headers, &timeline), self.bare_exhausted),
            None => Verdict::of_http(status, headers, &timeline, self.is_github),
        };
        // What a cache has kept says how it was then.
        let is_cached = number(headers, &AGE).is_some_and(|age| age > 0);
        let limits = if is_cached { Vec::new() } else { self.limits(verdict, headers, &timeline) };
        let advice = limit::advise(verdict.advice(), &limits, verdict.stated);
        let is_silent = advice.wait_time().is_none() && status == StatusCode::TOO_MANY_REQUESTS;
        let advice = if self.is_github && is_silent { advice.wait(MINUTE) } else { advice };
        advice.wait_at_most(self.longest)
    }

    /// What the trailers of a gRPC call advise.
    pub fn read_trailers(&self, trailers: &HeaderMap) -> Advice {
        let outcome = Outcome::of(trailers);
        let verdict = outcome.map(|outcome| Verdict::of_call(&outcome, None, self.bare_exhausted)).unwrap_or_default();
        limit::advise(verdict.advice(), &[], verdict.stated).wait_at_most(self.longest)
    }

    /// The longest time that is believed.
    pub(in crate::client) const fn longest_believed(&self) -> Duration {
        self.longest
    }

    fn timeline(&self, headers: &HeaderMap) -> Timeline {
        Timeline::of(headers, self.longest, || (self.wall_clock)())
    }

    /// What the header fields say about limits, in all dialects that are read.
    fn limits(&self, verdict: Verdict, headers: &HeaderMap, timeline: &Timeline) -> Vec<Limit> {
        let mut limits = rate_limit::limits(headers, timeline);
        let mut add = |family: &Family, reset| {
            limits.extend(family.limit(headers, verdict.is_refusal, reset, timeline));
        };
        add(&RATE_LIMIT, self.rate_limit_reset);
        if let Some(reset) = self.x_rate_limit {
            X_RATE_LIMIT.iter().for_each(|family| add(family, reset));
        }
        limits
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("longest", &self.longest)
            .field("rate_limit_reset", &self.rate_limit_reset)
            .field("x_rate_limit", &self.x_rate_limit)
            .field("is_github", &self.is_github)
            .field("bare_exhausted", &self.bare_exhausted)
            .finish_non_exhaustive()
    }
}
