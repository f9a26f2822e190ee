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
            family::{Family, RATE_LIMIT, SELF_NAMED, X_RATE_LIMIT},
            limit::{self, Limit},
            number::{Number, numbers},
            rate_limit,
            refusals::Refusals,
            retry_after::stated_wait,
            timeline::Timeline,
            verdict::Verdict,
        },
    },
    grpc::{Outcome, is_trailers_only},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads the answers of servers into [`Advice`].
///
/// See the [module docs](crate::client::answers) for its use and for what is read, believed and ignored.
#[derive(Clone)]
#[must_use = "it reads nothing until it is asked to"]
pub struct Answers {
    longest: Duration,
    rate_limit_reset: Reset,
    /// Nobody has said how to read it if this is none.
    x_rate_limit: Option<Reset>,
    refusals: Refusals,
    /// The wait of a refusal that states none.
    unstated: Option<Duration>,
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
            rate_limit_reset: Reset::Guess,
            x_rate_limit: None,
            refusals: Refusals::default(),
            unstated: None,
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

    /// Reads `X-RateLimit-Remaining` and `-Reset`, and `X-Rate-Limit-…`, in all answers, with what is known of the latter.
    ///
    /// Unless this is said they are read only in refusals that state no wait otherwise, and as [`Reset::Guess`]. Envoy's and
    /// Reddit's are [`Reset::Delta`], GitHub's are [`Reset::Epoch`].
    pub fn x_rate_limit(self, reset: Reset) -> Self {
        Self { x_rate_limit: Some(reset), ..self }
    }

    /// What a number in `RateLimit-Reset` means; [`Reset::Guess`] by default: drafts 0 to 6 have seconds from now, and GitLab
    /// and Bluesky send seconds since 1970.
    pub fn rate_limit_reset(self, reset: Reset) -> Self {
        Self { rate_limit_reset: reset, ..self }
    }

    /// Takes this status for a refusal too: for that of a call that was not executed because of a limit.
    ///
    /// 429 is one, and 503 and 529 are with a stated wait.
    pub fn refusal(mut self, status: StatusCode) -> Self {
        self.refusals.add(status);
        self
    }

    /// Takes this status for no refusal, whatever else is said.
    pub fn no_refusal(mut self, status: StatusCode) -> Self {
        self.refusals.leave_out(status);
        self
    }

    /// The wait of refusals that state none. Without this it is for those who act on the advice to choose one.
    pub fn unstated_wait(self, wait: Duration) -> Self {
        Self { unstated: Some(wait), ..self }
    }

    /// Takes a 403 with nothing left or with a stated wait for a refusal.
    pub const fn forbidden_refusal(mut self) -> Self {
        self.refusals.add_forbidden();
        self
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
            None => Verdict::of_http(status, headers, &timeline, &self.refusals),
        };
        // What a cache has kept says how it was then.
        let is_cached = numbers(headers, &AGE).any(|age| age > Number::ZERO);
        let limits = if is_cached { Vec::new() } else { self.limits(verdict, headers, &timeline) };
        let advice = limit::advise(verdict.advice(), &limits, verdict.stated);
        let unstated = self.unstated.filter(|_| advice.is_refusal() && advice.wait_time().is_none());
        let advice = unstated.into_iter().fold(advice, Advice::wait);
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
        SELF_NAMED.iter().for_each(|family| add(family, Reset::Guess));
        let is_unexplained = verdict.is_refusal && verdict.stated.is_none() && limits.is_empty();
        if let Some(reset) = self.x_rate_limit.or(is_unexplained.then_some(Reset::Guess)) {
            let families = X_RATE_LIMIT.iter();
            limits.extend(families.filter_map(|family| family.limit(headers, verdict.is_refusal, reset, timeline)));
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
            .field("refusals", &self.refusals)
            .field("unstated", &self.unstated)
            .field("bare_exhausted", &self.bare_exhausted)
            .finish_non_exhaustive()
    }
}
