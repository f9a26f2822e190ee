//! A store without room, for limits that no test can use up.

use std::future::Pending;

use tower_quota::{
    ConfigError,
    store::{Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
};

/// Denies every request, since all units of every quota are used.
#[derive(Debug, Default)]
pub struct FullStore {
    setup: Option<Setup>,
}

impl Store for FullStore {
    type Future = Pending<Result<Verdict, Unavailable>>;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.setup = Some(setup);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let scopes = self.setup.as_ref().expect("a limiter opens its store").scopes();
        *verdict = Verdict::new(false);
        for quota in charges.iter().flat_map(|charge| scopes.policy(charge.plan()).unwrap().quotas()) {
            verdict.push_quota(quota.limit(), quota.window());
        }
        MaybeReady::Ready(())
    }

    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        self.decide(charges, verdict)
    }

    fn reset(&self, _: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        *verdict = Verdict::new(false);
        MaybeReady::Ready(())
    }
}
