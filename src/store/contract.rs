//! The contract between a limiter and its store, on one page for authors of stores.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    clock::{Clock, SystemClock, Timestamp},
    error::{ConfigError, Unavailable},
    key::Charge,
    observe::{Figures, Observer},
    store::{
        scopes::Scopes,
        settlement::{CostSupport, Receipt, Settlement},
    },
};

/// A store: keeps histories, and decides about all charges of a request in one atomic step.
///
/// [`MemoryStore`](super::MemoryStore) keeps them in this process, `RedisStore` on a server, and
/// [`AnyStore`](super::AnyStore) is one of these or a store of your own, chosen at run time.
///
/// A store may stand in front of another one:
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use tower_quota::{
///     ConfigError, Policy, RateLimiter, Rule,
///     store::{Charge, MaybeReady, MemoryStore, Setup, Store, Verdict},
/// };
///
/// /// Counts the decisions of a store in memory.
/// #[derive(Debug, Default)]
/// struct CountingStore {
///     memory: MemoryStore,
///     decisions: AtomicU64,
/// }
///
/// impl Store for CountingStore {
///     type Future = <MemoryStore as Store>::Future;
///
///     fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
///         self.memory.open(setup)
///     }
///
///     fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         self.decisions.fetch_add(1, Ordering::Relaxed);
///         self.memory.decide(charges, verdict)
///     }
///
///     fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         self.memory.peek(charges, verdict)
///     }
///
///     fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         self.memory.reset(charges, verdict)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let calls = Rule::new("calls").no_requests().policy(Policy::per_minute(1));
/// let limiter = RateLimiter::builder().store(CountingStore::default()).rule(calls).build()?;
/// assert!(limiter.rule("calls")?.check_async("ann").await?.is_admitted());
/// assert_eq!(limiter.store().decisions.load(Ordering::Relaxed), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Writing a store
///
/// The example `store.rs` is a store in 80 lines, and the suite in `tower_quota::conformance` (feature `test-util`) tests
/// a store against all of the following.
///
/// A *history* is the sliding-window log of one key in one [`Scope`](super::Scope): the timestamps of the units charged to it. A
/// [`Charge`] names a history, and the [units](Charge::units) that the request costs there: one, unless the rule has
/// [costs](crate::Rule::cost). A quota of N per W has room for them if they and the units younger than W are at most N. A
/// unit charged at `t` counts while `now < t + W`, and no longer.
///
/// **All or nothing.** [`decide`](Self::decide) reads the histories of all charges before it changes any of them. If every
/// quota of every charge has room, each history gets its units with the timestamp of now. Otherwise none gets a unit, except
/// for histories whose policy [counts denied requests](crate::Policy::counts_denied), which get them in either case. No other
/// decision about one of these histories may come in between: hold a lock for all of them, or send them to a server in one
/// script.
///
/// **Costs** are optional: [`cost_support`](Self::cost_support) says what a store can do, and by default it can do nothing
/// but count requests. A charge that costs more than a limit is denied for good: the verdict reports
/// [`Duration::MAX`] as the time until that quota has room. A charge of no units records nothing, and is denied only if
/// more than N units are counted.
///
/// **Settlements.** Where the cost of a request is an [estimate](crate::Rule::reserve), the verdict reports
/// [where it was recorded](Verdict::set_receipt), and [`settle`](Self::settle) corrects it there. Units that were recorded in
/// a history that has been reset since, or before the clock stepped back, are not given back, and nobody else's ever are.
/// Units are owed whether there is room for them or not.
///
/// The suite tests costs and settlements as far as [`cost_support`](Self::cost_support) says that they are there: costs of zero,
/// in one rule and in several, above a limit and beyond 32 bits, and their waits; settlements down and up, after some or all
/// windows have passed, after a reset, after the clock stepped back, and from many tasks at once. The number that
/// [`Verdict::set_moved`] reports is for the operator, and not tested.
///
/// **Enforcement.** All of this is about charges that are [enforced](Charge::enforcement), as nearly all are. The others
/// never deny: they are left out when the request is admitted or denied, in the same step. A charge in
/// [shadow](crate::Enforcement::Shadow) gets its unit if the request is admitted and all its own quotas have room. A
/// [soft](crate::Enforcement::Soft) one gets it if the request is admitted, room or no room; so its history may hold more
/// units than the limit. [`Enforcement::is_charged`](crate::Enforcement::is_charged) has these rules in code. The verdict
/// reports the quotas of all charges, and [`Verdict::set_without_room`] names the unenforced charges that had no room. A store that does not look at the enforcement
/// denies requests by rules that were to be tried in shadow; so a store that cannot do this refuses to be opened, or says
/// so to its users. Rules that are off never reach a store.
///
/// **Order.** The charges of a request are all different, and their order does not influence the verdict. A store that
/// locks histories one by one sorts them first, to avoid deadlocks between requests. The verdict reports the quotas in the
/// order of the charges and, for each charge, in the order of [`Policy::quotas`](crate::Policy::quotas): one [`Verdict::push_quota`] per quota, of
/// an admission as of a denial.
///
/// **Now or later.** A store that can answer immediately writes into the empty `verdict` and returns
/// [`MaybeReady::Ready`]. Any other store leaves `verdict` alone and returns [`MaybeReady::Pending`] with a future of
/// the verdict. That future borrows nothing: copy the charges into it. It may be polled on any thread and may be
/// started late, so a store must not hold a lock from the call until the first poll.
///
/// **Cancel safety.** If the caller hangs up, the future is dropped. That does not undo a charge already sent, and must
/// leave the store neither locked, nor half charged, nor with a reply that the next request would take for its own. To
/// charge nobody for a decision that nobody has seen, decide in a spawned task and give the unit back there.
///
/// **Clocks.** All processes that share histories share one clock, best that of the server that keeps them. A store of one
/// process reads [`Setup::clock`]. Clocks step back: units from the future count as charged now, so that a step back
/// neither gives a unit away nor denies a key for longer than a window.
///
/// **Failure.** A store that cannot decide returns [`Unavailable`], soon, since every request waits for it. The client is
/// asked to try again later (503, or `UNAVAILABLE` on gRPC). To fail open, answer `Verdict::new(true)` instead.
///
/// **Memory.** A history equal to a new one may be forgotten, and no other. [`Setup::max_keys`] is the user's bound.
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

    /// Returns the verdict that [`decide`](Self::decide) would return now, and charges nothing.
    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future>;

    /// Forgets the histories of these charges. The verdict admits if there was any, and reports no quota.
    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future>;

    /// Returns what the store can do about costs. Defaults to nothing, so that rules with costs are refused.
    fn cost_support(&self) -> CostSupport {
        CostSupport::None
    }

    /// Corrects costs that were estimates, each at most once. The verdict admits, and reports with
    /// [`Verdict::set_moved`] the units that were given back, or recorded in addition.
    ///
    /// A settlement needs no other to be done with it, and nothing is sent again: an error means that some of them may have
    /// been done. Does nothing by default; called only if the store [supports settlements](CostSupport::Settlements).
    fn settle(&self, settlements: &[Settlement], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
        let _ = settlements;
        verdict.admitted = false;
        MaybeReady::Ready(())
    }

    /// Returns the figures of the store, for metrics: without waiting, and in a few instructions. None by default. Asked for ten
    /// times a second, while requests are decided and somebody observes them.
    fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Returns the time since 1970, for responses that state a timestamp and not a wait. Defaults to the time of the
    /// operating system. Stores in virtual time return theirs.
    fn since_1970(&self) -> Duration {
        SystemClock::new().since_1970()
    }

    /// Checks the scopes of rules that are about to replace those of the limiter, before anything is changed. Does nothing by
    /// default: the [scopes](Setup::scopes) of the store grow by themselves.
    ///
    /// # Errors
    ///
    /// If the store cannot keep their histories. Then the rules stay as they are.
    fn accept(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        let _ = scopes;
        Ok(())
    }

    /// Returns the secret that keys are hashed with. Defaults to `None`: a random secret is drawn when the limiter is built.
    ///
    /// All processes that share histories must use the same secret, or they would not find each other's.
    fn key_secret(&self) -> Option<[u8; 32]> {
        None
    }
}

/// A result: ready now, or pending in the future `F`.
///
/// The methods of [`Store`] write a result that is ready into the verdict, so `Ready` holds nothing.
///
/// ```
/// use tower_quota::store::{BoxFuture, MaybeReady, Verdict};
///
/// fn answer(verdict: &mut Verdict, is_cached: bool) -> MaybeReady<BoxFuture> {
///     if is_cached {
///         *verdict = Verdict::new(false);
///         return MaybeReady::Ready(());
///     }
///     MaybeReady::Pending(Box::pin(async { Ok(Verdict::new(true)) }))
/// }
///
/// let mut verdict = Verdict::new(true);
/// assert!(matches!(answer(&mut verdict, true), MaybeReady::Ready(())));
/// assert!(!verdict.is_admitted());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the answer may have to be awaited"]
pub enum MaybeReady<F, T = ()> {
    /// The result is ready.
    Ready(T),
    /// The result has to be awaited.
    Pending(F),
}

/// A boxed future of a decision, for stores whose own future has no name.
pub type BoxFuture = Pin<Box<dyn Future<Output = Result<Verdict, Unavailable>> + Send>>;

/// The settings of a limiter that its store works with.
///
/// ```
/// use tower_quota::{ConfigError, store::Setup};
///
/// /// Checks what a server with room for `max_keys` histories can keep.
/// fn check(setup: &Setup, max_keys: usize) -> Result<(), ConfigError> {
///     if setup.max_keys() > max_keys {
///         return Err(ConfigError::new("max_keys", setup.max_keys(), "the server has room for fewer"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) scopes: Scopes,
    pub(crate) max_keys: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// Gets the warnings of stores in this crate.
    pub(crate) observer: Arc<Observer>,
}

/// The answer to all charges of a request: admitted or denied, and the state of each quota.
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::store::Verdict;
///
/// let mut verdict = Verdict::new(false);
/// verdict.push_quota(60, Duration::from_secs(5)); // Exhausted, with room in five seconds.
/// verdict.push_quota(300, Duration::from_secs(3540)); // Its oldest unit leaves within the hour.
/// assert!(!verdict.is_admitted());
/// ```
#[derive(Debug, Default)]
pub struct Verdict {
    pub(crate) admitted: bool,
    /// Nothing was decided, because a charge is of older rules than its history: the caller asks again by the newer rules.
    pub(crate) is_stale: bool,
    /// Level of detail that the caller needs. Per-quota detail is most of the cost.
    pub(crate) detail: Detail,
    /// Time of the decision.
    pub(crate) now: Timestamp,
    /// One entry per quota, in the order of the charges and of the quotas in their plans; empty if the caller needs none.
    pub(crate) states: QuotaStates,
    /// What few verdicts have to say. Nearly always that is nothing, so this is one word.
    pub(crate) notes: Option<Box<Notes>>,
}

/// What few verdicts have to say: about rules that are not enforced, and about costs that are settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The indices of the charges without room among those that are not enforced.
    without_room: SmallVec<[u32; 4]>,
    /// The receipts of charges that may be settled, with their indices.
    receipts: SmallVec<[(u32, Receipt); 4]>,
    /// The units that each settlement has moved, with its index.
    moved: SmallVec<[(u32, u64); 4]>,
}

/// The level of detail of a verdict: the cases in which it reports the state of each quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Always.
    #[default]
    Full,
    /// If the request is denied.
    OnDenial,
    /// Never.
    None,
}

/// The state of one quota in a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaState {
    /// Units counted, including this request's if it was admitted.
    pub(crate) used: u64,
    /// Time at which the quota has room again or, if it has room, at which the oldest counted unit leaves. In nanoseconds
    /// since the clock's origin; zero if no unit is counted, and [`NEVER`](Self::NEVER) if it never has room for the cost.
    pub(crate) changes_at: u64,
}

pub(crate) type QuotaStates = SmallVec<[QuotaState; 4]>;

impl QuotaState {
    /// The time at which a quota has room for a cost above its limit.
    pub(crate) const NEVER: u64 = u64::MAX;

    /// Returns the states of so many quotas of which no unit is counted.
    #[inline]
    pub(crate) fn blank(count: usize) -> QuotaStates {
        const BLANK: QuotaState = QuotaState { used: 0, changes_at: 0 };
        const FEW: [QuotaState; 4] = [BLANK; 4];
        if count <= FEW.len() {
            QuotaStates::from_buf_and_len(FEW, count)
        } else {
            QuotaStates::from_elem(BLANK, count)
        }
    }
}

impl<F> MaybeReady<F>
where
    F: Future<Output = Result<Verdict, Unavailable>> + Send + 'static,
{
    /// Boxes the future, for stores in front of others.
    #[inline]
    pub fn boxed(self) -> MaybeReady<BoxFuture> {
        match self {
            Self::Ready(()) => MaybeReady::Ready(()),
            Self::Pending(future) => MaybeReady::Pending(Box::pin(future)),
        }
    }
}

impl Setup {
    /// Returns the scopes that charges [refer to](Charge::scope).
    #[must_use]
    pub const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Returns the maximum number of histories to keep in this process.
    #[must_use]
    pub const fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Returns the clock of this process. Stores shared by several processes use one clock for all of them instead.
    #[must_use]
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

impl Verdict {
    /// Creates a verdict that reports no quota yet.
    #[must_use]
    pub fn new(admitted: bool) -> Self {
        Self { admitted, ..Self::default() }
    }

    /// Creates an empty verdict that asks for this much detail.
    #[inline]
    pub(crate) fn with_detail(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// Appends the state of the next quota, in the order of the charges and of the quotas in their policies.
    ///
    /// `used` is the number of units that the quota counts, including this request's if it was admitted. `changes_after`
    /// is the time until the quota has room again or, if it has room, until the oldest of these units leaves. Both are zero
    /// if no unit is counted. It is [`Duration::MAX`] if the request costs more than the limit.
    pub fn push_quota(&mut self, used: u64, changes_after: Duration) {
        let never = changes_after == Duration::MAX;
        let changes_at = match used {
            _ if never => QuotaState::NEVER,
            0 => 0,
            _ => self.now.saturating_add(changes_after).nanos(),
        };
        self.states.push(QuotaState { used, changes_at });
    }

    /// Notes that a charge had no room which does not deny: one in [shadow](crate::Enforcement::Shadow), or a
    /// [soft](crate::Enforcement::Soft) one. `charge` is its index among the charges of the request.
    pub fn set_without_room(&mut self, charge: usize) {
        if let Ok(charge) = u32::try_from(charge) {
            self.notes.get_or_insert_default().without_room.push(charge);
        }
    }

    /// Notes where the units of a charge were recorded that may be [settled](Store::settle). `charge` is its index among the
    /// charges of the request.
    pub fn set_receipt(&mut self, charge: usize, receipt: Receipt) {
        if let Ok(charge) = u32::try_from(charge) {
            self.notes.get_or_insert_default().receipts.push((charge, receipt));
        }
    }

    /// Notes how many units a settlement has given back, or has recorded in addition. `settlement` is its index.
    pub fn set_moved(&mut self, settlement: usize, units: u64) {
        if let Ok(settlement) = u32::try_from(settlement) {
            self.notes.get_or_insert_default().moved.push((settlement, units));
        }
    }

    /// Returns `true` if this charge had no room and does not deny.
    pub(crate) fn is_without_room(&self, charge: usize) -> bool {
        let without_room = self.notes.as_ref().map(|notes| &notes.without_room);
        without_room.is_some_and(|charges| charges.iter().any(|other| *other as usize == charge))
    }

    /// Returns `true` if some charge had no room and does not deny.
    #[inline]
    pub(crate) fn has_without_room(&self) -> bool {
        self.notes.as_ref().is_some_and(|notes| !notes.without_room.is_empty())
    }

    /// Returns the receipt of a charge, if it was recorded and may be settled.
    pub(crate) fn receipt(&self, charge: usize) -> Option<Receipt> {
        let receipts = &self.notes.as_ref()?.receipts;
        receipts.iter().find(|(other, _)| *other as usize == charge).map(|(_, receipt)| *receipt)
    }

    /// Returns the units that a settlement has moved.
    pub(crate) fn moved(&self, settlement: usize) -> u64 {
        let moved = self.notes.as_ref().map(|notes| &notes.moved);
        let of_it = moved.and_then(|moved| moved.iter().find(|(other, _)| *other as usize == settlement));
        of_it.map_or(0, |(_, units)| *units)
    }

    /// Returns `true` if the request is admitted.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.admitted
    }
}

impl Clone for Verdict {
    /// Copies all states at once: a derived `clone` would go from quota to quota.
    fn clone(&self) -> Self {
        Self { states: SmallVec::from_slice(&self.states), notes: self.notes.clone(), ..*self }
    }
}
