//! A handle on the queues of a pacing layer.

use std::{sync::Arc, time::Duration};

use crate::{
    client::{
        advice::Advice,
        pace::{queue::QueueKey, scheduler::Scheduler, settings::ScopeLimits, status::QueueStatus},
    },
    error::UnknownRule,
    key::Key,
};

/// A handle on the queues of a [`PaceLayer`](super::PaceLayer), for progress bars, metrics, and advice from elsewhere.
/// Clones share the queues.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::{Policy, client::{Advice, PaceLayer}, key};
///
/// let layer = PaceLayer::new(key::host(), Policy::per_minute(60));
/// let handle = layer.handle();
/// assert_eq!(handle.waiting(), 0);
///
/// // The server's status page says that it is down for half a minute.
/// let key = layer.limiter().unwrap().key("api.example.com");
/// let advice = Advice::none().wait(Duration::from_secs(30));
/// handle.advise("default", key, &advice)?;
/// assert!(handle.queues()[0].forecast() > Duration::from_secs(29));
/// # Ok::<(), tower_quota::UnknownRule>(())
/// ```
#[derive(Clone, Debug)]
pub struct PaceHandle {
    scheduler: Arc<Scheduler>,
}

impl PaceHandle {
    pub(super) const fn new(scheduler: Arc<Scheduler>) -> Self {
        Self { scheduler }
    }

    /// Returns the number of calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.scheduler.waiting().0
    }

    /// Returns for how long the first of them has been waiting, or `None` if no call waits.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        self.scheduler.waiting().1
    }

    /// Returns the status of each key that is held back, or of which calls wait or are in flight, in no order. Of other
    /// keys nothing is kept.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueStatus> {
        self.scheduler.statuses()
    }

    /// Holds back the calls of a key, on all routes of a rule, as if a response had said so. Use it for what a server says
    /// elsewhere, or in the bodies of its responses.
    ///
    /// The key is that of [`RateLimiter::key`](crate::RateLimiter::key). Advice never admits a call that the policy has
    /// no room for.
    ///
    /// # Errors
    ///
    /// If no rule has this name.
    pub fn advise(&self, rule: &str, key: Key, advice: &Advice) -> Result<(), UnknownRule> {
        let mut is_known = false;
        for (scope, limits) in (0..).zip(self.scheduler.limits()) {
            if limits.rule().eq_ignore_ascii_case(rule) {
                self.scheduler.heed(QueueKey { scope, key }, advice);
                is_known = true;
            }
        }
        if is_known { Ok(()) } else { Err(UnknownRule::new(rule, &self.rule_names())) }
    }

    /// Returns the names of the rules, each once: several scopes may belong to one rule.
    fn rule_names(&self) -> Arc<[Box<str>]> {
        let rules = self.scheduler.limits().iter().map(ScopeLimits::rule);
        let mut names: Vec<Box<str>> = rules.map(|rule| Box::from(&**rule)).collect();
        names.dedup();
        names.into()
    }
}
