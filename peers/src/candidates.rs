//! Who decides, in the sections about cost.

use crate::{
    adapters::{
        axum_gcra, floor, governor, limitador, ours, rate_net, skp, throttle_kit, tokio_rate_limit, tower_rate_tier,
    },
    rounds::{Case, Step},
    subject::{HOUR, Limit, MINUTE, Pace, Setup, Subject},
};

/// A library, or one of the algorithms that it has.
#[derive(Clone, Copy)]
pub(crate) struct Candidate {
    /// With one limit, and with a minute and an hour.
    pub(crate) names: [&'static str; 2],
    pub(crate) package: &'static str,
    pub(crate) new: fn(&Setup) -> Box<dyn Subject>,
    /// Whether one limiter takes both limits; otherwise a pair is two, asked one after the other.
    pub(crate) has_pairs: bool,
    /// Whether a million keys are too much for it.
    pub(crate) is_heavy: bool,
}

/// Limits of one, and of both.
pub(crate) const LIMITS: [&[Limit]; 2] = [&[MINUTE], &[MINUTE, HOUR]];

/// What the name of a pair ends with.
pub(crate) const PAIR: &str = "minute + hour";

macro_rules! candidate {
    ($name:literal, $package:literal, $new:expr) => {
        Candidate {
            names: [$name, concat!($name, ", minute + hour")],
            package: $package,
            new: $new,
            has_pairs: false,
            is_heavy: false,
        }
    };
}

/// governor is what all are compared with.
pub(crate) const CANDIDATES: [Candidate; 10] = [
    candidate!("governor", "governor", governor::subject),
    Candidate { has_pairs: true, ..candidate!("tower-quota (exact)", "tower-quota", ours::subject) },
    candidate!("rate-net, log (exact)", "rate-net", rate_net::log),
    candidate!("throttle-kit, log (exact)", "throttle-kit", throttle_kit::log),
    candidate!("rate-net, token bucket", "rate-net", rate_net::token_bucket),
    candidate!("axum_gcra, core", "axum_gcra", axum_gcra::subject),
    candidate!("tower-rate-tier, core", "tower-rate-tier", tower_rate_tier::subject),
    candidate!("throttle-kit, GCRA", "throttle-kit", throttle_kit::gcra),
    candidate!("tokio-rate-limit", "tokio-rate-limit", tokio_rate_limit::subject),
    Candidate { has_pairs: true, is_heavy: true, ..candidate!("limitador", "limitador", limitador::subject) },
];

/// This crate, when more is asked than the others answer.
pub(crate) const TOLD: Candidate =
    Candidate { has_pairs: true, ..candidate!("tower-quota (exact), what remains", "tower-quota", ours::told) };

/// skp-ratelimit is slow enough to be left out of what takes long.
pub(crate) const SKP: Candidate = candidate!("skp-ratelimit, GCRA", "skp-ratelimit", skp::gcra);

/// What cannot be spared. It limits nothing, and so has no pair.
pub(crate) const FLOOR: Candidate = Candidate {
    names: ["floor: hash, look up, add one", ""],
    package: "hashbrown",
    new: floor::subject,
    has_pairs: false,
    is_heavy: false,
};

impl Candidate {
    /// To be measured with keys that it knows.
    pub(crate) fn case(self, limits: usize, pace: Pace) -> Case {
        let setup = Setup::new(LIMITS[limits], pace);
        Case::new(self.names[limits], move |keys| -> Step {
            let subject = (self.new)(&setup);
            for key in keys {
                subject.decide(key);
            }
            Box::new(move |key: &String| subject.decide(key))
        })
    }
}
