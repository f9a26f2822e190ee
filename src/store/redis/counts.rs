//! The counts of a store on a server, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    error::Unavailable,
    observe::{Figures, ServerFigures},
    store::{Verdict, redis::failure::Failure},
};

/// What has happened since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    known_denials: AtomicU64,
    failures: [AtomicU64; ServerFigures::REASONS.len()],
    outage_decisions: [AtomicU64; ServerFigures::OUTCOMES.len()],
    leased: [AtomicU64; ServerFigures::KINDS.len()],
}

/// What happens to leased units.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leased {
    Lent,
    Spent,
    Returned,
}

impl Counts {
    pub(super) fn count_known_denial(&self) {
        self.known_denials.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_leased(&self, kind: Leased, units: u64) {
        add(&self.leased, kind as usize, units);
    }

    /// Counts a decision that was made without the servers, and why.
    pub(super) fn count_outage(&self, failure: usize, decided: Result<&Verdict, &Unavailable>) {
        add(&self.failures, failure, 1);
        let outcome = match decided {
            Ok(verdict) if verdict.is_admitted() => 0,
            Ok(_) => 1,
            Err(_) => 2,
        };
        add(&self.outage_decisions, outcome, 1);
    }

    pub(super) fn figures(&self, is_out: bool) -> Figures {
        let read = |counts: &[AtomicU64; 3]| std::array::from_fn(|at| counts[at].load(Ordering::Relaxed));
        let servers = ServerFigures {
            failures: std::array::from_fn(|at| self.failures[at].load(Ordering::Relaxed)),
            outage_decisions: read(&self.outage_decisions),
            leased: read(&self.leased),
        };
        let known_denials = self.known_denials.load(Ordering::Relaxed);
        Figures { servers: Some(servers), ..Figures::default().with_known_denials(known_denials).with_outage(is_out) }
    }
}

impl Failure {
    /// Returns the number of the reason among those that are counted.
    pub(super) const fn number(&self) -> usize {
        match self {
            Self::Server(_) => 0,
            Self::Disconnected(..) => 1,
            Self::Timeout(_) => 2,
            Self::CircuitOpen(_) => 3,
            Self::Other(_) => 4,
        }
    }
}

fn add(counts: &[AtomicU64], at: usize, units: u64) {
    if let Some(count) = counts.get(at) {
        count.fetch_add(units, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_happened_is_in_the_figures() {
        let counts = Counts::default();
        counts.count_known_denial();
        counts.count_leased(Leased::Lent, 8);
        counts.count_leased(Leased::Spent, 1);
        counts.count_leased(Leased::Returned, 7);
        let failure = Failure::Timeout(std::time::Duration::ZERO);
        counts.count_outage(failure.number(), Ok(&Verdict::new(true)));
        counts.count_outage(Failure::CircuitOpen(None).number(), Err(&Unavailable::new("closed")));
        let figures = counts.figures(true);
        let servers = figures.servers.unwrap();
        assert_eq!((figures.known_denials(), figures.is_out()), (Some(1), true));
        assert_eq!((servers.failures, servers.outage_decisions), ([0, 0, 1, 1, 0], [1, 0, 1]));
        assert_eq!(servers.leased, [8, 1, 7]);
        assert_eq!(ServerFigures::REASONS[failure.number()], "timeout");
    }
}
