//! One rulebook, whose references are counted in several places.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::limiter::Rulebook;

/// Places to count in.
const STRIPES: usize = 16;

/// A rulebook for many threads.
///
/// Every decision holds a reference to the rulebook. Counted in one place, all threads would write to the same cache line
/// at every request; so there are several counts, and each thread keeps to one of them.
#[derive(Debug)]
pub(crate) struct ShardedRulebook([Arc<RulebookRef>; STRIPES]);

/// The rulebook, as it is referred to from one place. Its count has a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct RulebookRef(Arc<Rulebook>);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl ShardedRulebook {
    pub(super) fn new(rulebook: Rulebook) -> Self {
        let rulebook = Arc::new(rulebook);
        Self(std::array::from_fn(|_| Arc::new(RulebookRef(Arc::clone(&rulebook)))))
    }

    /// This thread's.
    pub(crate) fn local(&self) -> &Arc<RulebookRef> {
        let [first, ..] = &self.0;
        self.0.get(NUMBER.with(|number| *number)).unwrap_or(first)
    }
}

impl Deref for ShardedRulebook {
    type Target = Rulebook;

    #[inline]
    fn deref(&self) -> &Rulebook {
        let [first, ..] = &self.0;
        first
    }
}

impl RulebookRef {
    /// Whether both are of one limiter.
    pub(crate) fn is_of(&self, stripes: &ShardedRulebook) -> bool {
        std::ptr::eq::<Rulebook>(&**self, &**stripes)
    }
}

impl Deref for RulebookRef {
    type Target = Rulebook;

    #[inline]
    fn deref(&self) -> &Rulebook {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limiter::CompiledRules, policy::Policy, request::Http, rule::Rule};

    fn stripes() -> ShardedRulebook {
        let rule = Rule::<Http>::new("calls").no_requests().policy(Policy::per_minute(1));
        ShardedRulebook::new(CompiledRules::from_rules(&[rule], None).unwrap().rulebook)
    }

    #[test]
    fn every_thread_refers_to_the_same_rulebook() {
        let (ours, others) = (stripes(), stripes());
        std::thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                let mine = scope.spawn(|| Arc::clone(ours.local())).join().unwrap();
                assert!(mine.is_of(&ours));
                assert!(!mine.is_of(&others));
            }
        });
    }
}
