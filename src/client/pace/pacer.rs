//! Who waits, seen from outside.

use std::{sync::Arc, time::Duration};

use crate::{
    client::{
        Advice,
        pace::{place::Place, queues::Queues, status::LineStatus},
    },
    error::UnknownRule,
    key::Key,
};

/// Who waits behind a [`PaceLayer`](super::PaceLayer), for a progress bar or a metric; made by
/// [`PaceLayer::pacer`](super::PaceLayer::pacer). Clones look at the same.
#[derive(Clone, Debug)]
pub struct Pacer {
    queues: Arc<Queues>,
}

impl Pacer {
    pub(super) const fn new(queues: Arc<Queues>) -> Self {
        Self { queues }
    }

    /// How many calls wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queues.waiting().0
    }

    /// For how long the first of them has been waiting; none if none does.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        self.queues.waiting().1
    }

    /// How each key stands for which calls wait or are under way, or that is held back, in no order. Of other keys there
    /// is nothing to say, and nothing is kept.
    #[must_use]
    pub fn lines(&self) -> Vec<LineStatus> {
        self.queues.lines()
    }

    /// Holds back the calls of a key, on all routes of a rule, as if an answer had said so: for what a server says in
    /// other ways than in its answers, or in their bodies.
    ///
    /// The key is that of [`RateLimiter::key`](crate::RateLimiter::key). Advice never lets a call pass that the policy has
    /// no room for.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn advise(&self, rule: &str, key: Key, advice: &Advice) -> Result<(), UnknownRule> {
        let mut is_known = false;
        for (scope, limits) in (0..).zip(self.queues.limits()) {
            if limits.rule().eq_ignore_ascii_case(rule) {
                self.queues.heed(Place { scope, key }, advice);
                is_known = true;
            }
        }
        if is_known { Ok(()) } else { Err(UnknownRule::new(rule, &self.rules())) }
    }

    /// The names of the rules, each once: several scopes may be of one rule.
    fn rules(&self) -> Arc<[Box<str>]> {
        let mut names: Vec<Box<str>> = self.queues.limits().iter().map(|limits| (&**limits.rule()).into()).collect();
        names.dedup();
        names.into()
    }
}
