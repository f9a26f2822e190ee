//! The contract between a limiter and its store, on one page for authors of stores.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    error::{ConfigError, Unavailable},
    history::Plan,
    key::Charge,
    policy::Policy,
    store::Verdict,
};

/// A store: keeps histories, and decides about all charges of a request in one atomic step.
///
/// [`MemoryStore`](super::MemoryStore) keeps them in this process, `RedisStore` on a server, and
/// [`AnyStore`](super::AnyStore) is one of these or a store of your own, chosen at run time.
///
/// # Writing a store
///
/// A *history* is the sliding-window log of one key in one [`Scope`]: the timestamps of the units that were charged to it.
/// A [`Charge`] names a history. A quota of N per W has room if fewer than N units are younger than W: a unit charged at
/// `t` counts while `now < t + W`, and no longer.
///
/// **All or nothing.** [`decide`](Self::decide) looks at the histories of all charges before it changes one of them. If every quota
/// of every charge has room then each history gets one unit with the timestamp of now, else none gets any; only the histories
/// whose policy [counts denied requests](Policy::counts_denied) get a unit in either case. No other decision about
/// one of these histories may come in between: hold a lock for all of them, or send them to a server in one script.
///
/// **Order.** The charges of a request are all different, and their order has no meaning for the answer. A store that
/// locks histories one by one sorts them first, or two requests can lock each other out. The answer, though, tells of the quotas in
/// the order of the charges and, for each charge, in the order of [`Policy::quotas`]: once per quota
/// [`Verdict::push_quota`], of an admission as of a denial.
///
/// **Now or later.** A store that can answer immediately writes into the empty `verdict` and returns
/// [`MaybeReady::Ready`]. Any other store leaves `verdict` alone and returns [`MaybeReady::Pending`] with a future of
/// the answer. That future borrows nothing: copy the charges into it. It may be polled on any thread and may be
/// started late, so a store must not hold a lock from the call until the first poll.
///
/// **Cancel safety.** A caller that hangs up drops the future. Dropping it does not undo a charge already sent, and must not leave
/// the store locked, half charged or with answers that the next request would take for its own. To charge nobody for
/// a decision that nobody has seen, decide in a task of its own and give the unit back there.
///
/// **Clocks.** All processes that share histories share one clock, best that of the server that keeps them. A store of one process
/// reads [`Setup::clock`]. Clocks step back: units from the future count as charged now, so that a clock that has
/// stepped back gives no unit away and locks nobody out for longer than a window.
///
/// **Failure.** A store that cannot decide returns [`Unavailable`], soon: every request waits for it. The caller of the
/// service reads that it may try again later (503, or `UNAVAILABLE` on gRPC). To fail open, answer
/// `Verdict::new(true)` instead.
///
/// **Memory.** Histories equal to a fresh one may be forgotten, and no others. [`Setup::max_keys`] is the user's bound.
///
/// The example `store.rs` is a store in 80 lines. The suite in `tower_quota::conformance` (feature `test-util`) tests a
/// store against all of this.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The future of an asynchronous decision. Dropping it does not undo a charge already sent.
    ///
    /// [`BoxFuture`] for a future without a name; `std::future::Pending<Result<Verdict, Unavailable>>` for a store that
    /// always answers immediately.
    type Future: Future<Output = Result<Verdict, Unavailable>> + Send + 'static;

    /// Opens the store for the histories of one limiter. Called once, before any other method.
    ///
    /// # Errors
    ///
    /// If the store cannot keep them, or if its own settings cannot be used.
    fn open(&mut self, setup: Setup) -> Result<(), ConfigError>;

    /// Admits all charges or none of them, and charges them if it admits them.
    ///
    /// Stores that can answer immediately write into the empty `verdict` and return [`MaybeReady::Ready`].
    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future>;

    /// Answers what [`decide`](Self::decide) would answer now, and charges nothing.
    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future>;

    /// Forgets the histories of these charges. The verdict admits if there was one, and tells of no quota.
    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future>;

    /// Returns the time since 1970, for callers that are told a timestamp and not a wait: by default that of the operating
    /// system. Stores in virtual time return theirs.
    fn since_1970(&self) -> Duration {
        SystemClock::new().since_1970()
    }

    /// Returns the secret that keys are hashed with. Stores that are shared return one that is the same for all processes
    /// that share them, or these would not find each other's histories. `None`, the default, for a secret that is
    /// drawn when the limiter is built.
    fn key_secret(&self) -> Option<[u8; 32]> {
        None
    }
}

/// An answer: there already, or in the future `F`.
///
/// What [`Store`] returns holds no answer in `Ready`, since that stands in the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the answer may have to be awaited"]
pub enum MaybeReady<F, T = ()> {
    /// The answer was there at once.
    Ready(T),
    /// The answer takes its time.
    Pending(F),
}

/// A boxed future of a decision, for stores whose own future has no name.
pub type BoxFuture = Pin<Box<dyn Future<Output = Result<Verdict, Unavailable>> + Send>>;

/// The settings of a limiter that its store works with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) scopes: Scopes,
    pub(crate) max_keys: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

/// All scopes of a limiter, numbered from zero.
#[derive(Clone, Debug, Default)]
pub struct Scopes(Arc<[Scope]>);

/// A scope: the histories of one policy, one for each key. A rule has one, or one per route.
#[derive(Debug)]
pub struct Scope {
    name: String,
    policy: Policy,
    plan: Plan,
}

impl<F> MaybeReady<F>
where
    F: Future<Output = Result<Verdict, Unavailable>> + Send + 'static,
{
    /// Boxes the future, for stores that ask others.
    #[inline]
    pub fn boxed(self) -> MaybeReady<BoxFuture> {
        match self {
            Self::Ready(()) => MaybeReady::Ready(()),
            Self::Pending(future) => MaybeReady::Pending(Box::pin(future)),
        }
    }
}

impl Setup {
    /// Returns the scopes that charges will name.
    #[must_use]
    pub const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the maximum number of histories to keep in this process.
    #[must_use]
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Returns the clock of this process. Stores that several processes share use one clock for all of them instead.
    #[must_use]
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl Scopes {
    pub(crate) fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self(scopes.into_iter().collect())
    }

    /// Returns the scope that a charge [names](Charge::scope).
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Scope> {
        self.0.get(number as usize)
    }

    /// Returns all of them, in the order of their numbers.
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

    /// Returns the rule's name, with the route behind it if that has histories of its own. It is unique, and the same
    /// in every process with the same rules.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the policy that each key is held to.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}
