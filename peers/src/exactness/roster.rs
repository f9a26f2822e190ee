//! Who is tried, and in what time.

use crate::{
    adapters::{
        axum_gcra, axum_governor, governor, limitador, ours, rate_net, skp, throttle_kit, tokio_rate_limit,
        tower_governor, tower_limit, tower_rate_tier, tower_resilience,
    },
    subject::Limit,
    timed::Timed,
};

/// A limiter that is tried.
pub(super) struct Tried {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    pub(super) time: Time,
    /// Nothing if the library cannot be told this limit.
    pub(super) new: fn(Limit) -> Option<Timed>,
}

/// What its time was.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    /// A clock that the library lets be replaced.
    Injected,
    /// Given with each question.
    Given,
    /// Tokio's clock, paused and moved on.
    Paused,
    /// The system's, with windows scaled down.
    Real,
}

impl Time {
    pub(super) const fn is_real(self) -> bool {
        matches!(self, Self::Real)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Injected => "injected clock",
            Self::Given => "time given by the caller",
            Self::Paused => "tokio's paused time",
            Self::Real => "real time, scaled down",
        }
    }
}

const fn tried(name: &'static str, package: &'static str, time: Time, new: fn(Limit) -> Option<Timed>) -> Tried {
    Tried { name, package, time, new }
}

pub(super) const ROSTER: [Tried; 19] = [
    tried("tower-quota", "tower-quota", Time::Injected, |limit| Some(ours::timed(limit))),
    tried("rate-net, log", "rate-net", Time::Injected, |limit| Some(rate_net::timed_log(limit))),
    tried("tower-resilience, log", "tower-resilience-ratelimiter", Time::Paused, |limit| {
        Some(tower_resilience::timed_log(limit))
    }),
    tried("throttle-kit, log", "throttle-kit", Time::Real, |limit| Some(throttle_kit::timed_log(limit))),
    tried("skp-ratelimit, log", "skp-ratelimit", Time::Real, |limit| Some(skp::timed_log(limit))),
    tried("governor", "governor", Time::Injected, |limit| Some(governor::timed(limit))),
    tried("tower_governor", "tower_governor", Time::Real, |limit| Some(tower_governor::timed(limit))),
    tried("axum-governor", "axum-governor", Time::Real, |limit| Some(axum_governor::timed(limit))),
    tried("axum_gcra", "axum_gcra", Time::Given, |limit| Some(axum_gcra::timed(limit))),
    tried("tower-rate-tier", "tower-rate-tier", Time::Injected, |limit| Some(tower_rate_tier::timed(limit))),
    tried("throttle-kit, GCRA", "throttle-kit", Time::Real, |limit| Some(throttle_kit::timed_gcra(limit))),
    tried("skp-ratelimit, GCRA", "skp-ratelimit", Time::Real, |limit| Some(skp::timed_gcra(limit))),
    tried("rate-net, token bucket", "rate-net", Time::Injected, |limit| Some(rate_net::timed_token_bucket(limit))),
    tried("tokio-rate-limit", "tokio-rate-limit", Time::Paused, tokio_rate_limit::timed),
    tried("rate-net, counter", "rate-net", Time::Injected, |limit| Some(rate_net::timed_counter(limit))),
    tried("tower-resilience, counter", "tower-resilience-ratelimiter", Time::Paused, |limit| {
        Some(tower_resilience::timed_counter(limit))
    }),
    tried("tower-resilience, fixed", "tower-resilience-ratelimiter", Time::Paused, |limit| {
        Some(tower_resilience::timed_fixed(limit))
    }),
    tried("limitador", "limitador", Time::Real, |limit| Some(limitador::timed(limit))),
    tried("tower RateLimit", "tower", Time::Paused, |limit| Some(tower_limit::timed(limit))),
];
