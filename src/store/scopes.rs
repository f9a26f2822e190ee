//! The plans of a limiter, by scope.

use std::sync::Arc;

use crate::history::Plan;

/// A scope is one policy's set of histories: that of a rule, or of one route of it. Scopes are numbered from zero.
#[derive(Clone, Debug)]
pub(crate) struct Scopes(Arc<[Arc<Plan>]>);

impl Scopes {
    pub(crate) fn new(plans: impl IntoIterator<Item = Arc<Plan>>) -> Self {
        Self(plans.into_iter().collect())
    }

    pub(crate) fn plan(&self, scope: u32) -> Option<&Plan> {
        self.0.get(scope as usize).map(|plan| &**plan)
    }
}
