//! The sets of histories of a limiter.

use std::sync::Arc;

use crate::{history::Plan, policy::Policy};

/// All scopes of a limiter, numbered from zero.
#[derive(Clone, Debug, Default)]
pub struct Scopes(Arc<[Scope]>);

/// One policy's set of histories, one for each key: that of a rule, or of one route of it.
#[derive(Debug)]
pub struct Scope {
    name: String,
    policy: Policy,
    plan: Plan,
}

impl Scopes {
    pub(crate) fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// The scope that a charge names.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Scope> {
        self.0.get(number as usize)
    }

    /// All of them, in the order of their numbers.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Scope> {
        self.0.iter()
    }

    #[inline]
    pub(crate) fn plan(&self, number: u32) -> Option<&Plan> {
        self.get(number).map(|scope| &scope.plan)
    }
}

impl Scope {
    pub(crate) fn new(name: String, policy: &Policy) -> Self {
        Self { name, policy: policy.clone(), plan: Plan::new(policy) }
    }

    /// The rule's name, with the route behind it if that has histories of its own. It is unique, and the same in every
    /// process with the same rules.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What each key may.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}
