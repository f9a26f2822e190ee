//! Paced calls that wait for their turn, as metrics see them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    limiter::{HeldCharges, RuleTiers, RulebookRef},
    observe::in_drop,
};

/// A call that waits. When it is dropped, the wait has ended.
#[derive(Debug)]
pub(crate) struct Waiting {
    rulebook: Arc<RulebookRef>,
    rules: RuleTiers,
    since: Instant,
}

impl Waiting {
    /// Begins the wait of a call with these charges; `None` if nobody observes it.
    pub(crate) fn begin(held: &HeldCharges) -> Option<Self> {
        let (rulebook, rules) = (Arc::clone(&held.rulebook), held.charges.rules.clone());
        rulebook.observation().is_observed().then(|| {
            rules.iter().for_each(|used| rulebook.observation().begin_wait(*used));
            Self { rulebook, rules, since: Instant::now() }
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        in_drop(|| self.rules.iter().for_each(|used| self.rulebook.observation().end_wait(*used, waited)));
    }
}
