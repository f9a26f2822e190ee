//! When requests come. Times are in windows, so that one schedule serves all limits.

use fastrand::Rng;

use crate::arguments::Effort;

/// Requests at certain times.
#[derive(Clone, Debug)]
pub(super) struct Schedule(Vec<Burst>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// In windows.
    pub(super) at: f64,
    /// In limits; at least one request comes.
    pub(super) limits: f64,
}

/// Where the first burst falls within a window, and how far apart bursts are.
const PHASES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 0.999];
const GAPS: [f64; 6] = [0.05, 0.25, 0.5, 0.9, 0.99, 0.999];
/// The same where threads have to wake up in time.
const REAL_PHASES: [f64; 3] = [0.0, 0.5, 0.97];
const REAL_GAPS: [f64; 3] = [0.05, 0.5, 0.97];

impl Schedule {
    /// Those that are made to find a weakness, and random ones.
    pub(super) fn all(is_real: bool, effort: Effort) -> Vec<Self> {
        let (phases, gaps): (&[f64], &[f64]) = if is_real { (&REAL_PHASES, &REAL_GAPS) } else { (&PHASES, &GAPS) };
        let random = effort.random_schedules / if is_real { 10 } else { 1 };
        let knocking = phases.iter().map(|phase| Self::knocking(*phase));
        let bursts = phases.iter().flat_map(|phase| gaps.iter().map(|gap| Self::bursts(*phase, *gap)));
        knocking.chain(bursts).chain((0..random).map(|seed| Self::random(seed as u64))).collect()
    }

    /// One request opens a window; later a full burst, and then a request as often as a greedy client can.
    fn knocking(from: f64) -> Self {
        let opening = Burst { at: 0.0, limits: 0.0 };
        let knocks = (1..400).map(|knock| Burst { at: from + f64::from(knock) / 160.0, limits: 0.0125 });
        Self([opening, Burst { at: from, limits: 1.5 }].into_iter().chain(knocks).collect())
    }

    /// One request opens a window; later bursts of twice the limit, evenly apart.
    fn bursts(from: f64, gap: f64) -> Self {
        let opening = Burst { at: 0.0, limits: 0.0 };
        let bursts = (0..4).map(|burst| Burst { at: from + gap * f64::from(burst), limits: 2.0 });
        Self([opening].into_iter().chain(bursts).collect())
    }

    /// Bursts of all sizes at random times, for four windows.
    fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut bursts: Vec<Burst> =
            (0..rng.usize(4..60)).map(|_| Burst { at: 4.0 * rng.f64(), limits: 1.2 * rng.f64().powi(3) }).collect();
        bursts.sort_by(|one, other| one.at.total_cmp(&other.at));
        Self(bursts)
    }

    pub(super) fn bursts_in_order(&self) -> &[Burst] {
        &self.0
    }
}
