//! The layer, which is the builder of its settings.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;

use crate::{
    client::{
        advice::Advice,
        answers::AdviceReader,
        pace::{
            error::PaceError,
            handle::PaceHandle,
            queued_call::{Attempted, QueuedCall},
            read_advice::{IgnoreAdvice, ReadHeaders, Settled},
            scheduler::Scheduler,
            settings::{ScopeLimits, Settings},
            view_of::ViewOf,
        },
    },
    clock::TokioClock,
    error::ConfigError,
    key::KeyExtractor,
    limiter::{HeldCharges, RateLimiter},
    policy::Policy,
    request::{Http, Plain, RequestKind},
    rule::{Rule, Settling},
    store::{MemoryStore, Store},
};

/// Makes calls wait until a policy has room for them.
///
/// All services that it makes share their queues, and so do its clones; a layer whose settings are changed has queues of
/// its own. `K` is the kind of requests, `T` the store of the limiter, and `A` the reader of advice. See the
/// [module docs](crate::client::pace) for all that it promises.
///
/// ```
/// use std::{convert::Infallible, time::Duration};
///
/// use http::{Request, Response};
/// use tokio::time::Instant;
/// use tower::{Layer, ServiceExt, service_fn};
/// use tower_quota::{Policy, client::PaceLayer, key};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
/// let layer = PaceLayer::new(key::host(), Policy::per_second(1))
///     .max_waiting(100)
///     .max_wait(Duration::from_secs(60));
/// let client = layer.layer(client);
///
/// let begin = Instant::now();
/// for _ in 0..3 {
///     let request = Request::get("https://api.example.com/").body(())?;
///     client.clone().oneshot(request).await?;
/// }
/// assert_eq!(begin.elapsed(), Duration::from_secs(2));
/// # Ok(())
/// # }
/// ```
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PaceLayer<K: RequestKind = Http, T = MemoryStore, A = ReadHeaders> {
    limiter: Result<RateLimiter<K, T>, Arc<ConfigError>>,
    scheduler: Arc<Scheduler>,
    reader: A,
}

impl PaceLayer {
    /// Creates a layer with one policy for every key that `extractor` reads, such as [`key::host()`](crate::key::host).
    ///
    /// It is for policies that are written out in code. If one holds a mistake (a limit or a window of zero, or
    /// [`count_denied`](Policy::count_denied), which would charge for waiting) then every call fails with
    /// [`PaceError::Misconfigured`]. With numbers from elsewhere use [`try_new`](Self::try_new).
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Self {
        Self::from_limiter(limiter_for(extractor, policy.into()).map_err(Arc::new), ReadHeaders::default())
    }

    /// Creates the same layer as [`new`](Self::new), and returns mistakes.
    ///
    /// # Errors
    ///
    /// If the extractor or the policy cannot be used.
    pub fn try_new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        let limiter = limiter_for(extractor, policy.into())?;
        reject_counting(&limiter)?;
        Ok(limiter.pace())
    }
}

impl<T> PaceLayer<Http, T> {
    /// Sets the reader of responses. Defaults to [`AdviceReader::new`].
    pub fn advice_reader(mut self, reader: AdviceReader) -> Self {
        self.reader = self.reader.with_advice_of(ReadHeaders::new(reader));
        self
    }

    /// Sets a closure that reads advice from the status and the header fields of responses, for a dialect of your own.
    pub fn read_advice_with(mut self, read: impl Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static) -> Self {
        self.reader = self.reader.with_advice_of(ReadHeaders::from_fn(read));
        self
    }

    /// Sets a closure that reads from the status and the header fields of a response what the call has cost in a unit that it
    /// [reserved](crate::Rule::reserve), if they say that. There may be one for each unit.
    ///
    /// Other calls are settled by the [`Reservation`](crate::Reservation) among the extensions of the request and of the response,
    /// or when its last clone is dropped: see [`Unsettled`](crate::Unsettled).
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use http::{Request, Response};
    /// use tower::{Layer, ServiceExt, service_fn};
    /// use tower_quota::{Policy, RateLimiter, Rule, clock::TokioClock, key};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = service_fn(async |_: Request<()>| {
    /// #     Ok::<_, Infallible>(Response::builder().header("x-tokens", "150").body(()).unwrap())
    /// # });
    /// let tokens = Rule::new("tokens")
    ///     .every_request()
    ///     .key(key::host())
    ///     .policy(Policy::per_minute(20_000))
    ///     .reserve("tokens", 2000);
    /// let limiter = RateLimiter::builder().rule(tokens).clock(TokioClock::new()).build()?;
    /// let used = |headers: &http::HeaderMap| headers.get("x-tokens")?.to_str().ok()?.parse().ok();
    /// let layer = limiter.pace().settled_by("tokens", move |_, headers| used(headers));
    ///
    /// layer.layer(client).oneshot(Request::get("https://api.example.com/").body(())?).await?;
    /// let left = limiter.rule("tokens")?.peek("api.example.com").quotas().next().map(|quota| quota.remaining());
    /// assert_eq!(left, Some(19_850));
    /// # Ok(())
    /// # }
    /// ```
    pub fn settled_by(
        mut self,
        unit: impl AsRef<str>,
        cost: impl Fn(StatusCode, &HeaderMap) -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        self.reader = self.reader.with_cost(unit.as_ref(), cost);
        self
    }
}

impl<R: 'static, T, A> PaceLayer<Plain<R>, T, A> {
    /// Sets a closure that reads advice from responses and errors. By default none is read.
    pub fn read_advice_with<F, B, E>(self, read: F) -> PaceLayer<Plain<R>, T, F>
    where
        F: Fn(&Result<B, E>) -> Advice + Clone + Send + Sync + 'static,
    {
        PaceLayer { limiter: self.limiter, scheduler: self.scheduler, reader: read }
    }

    /// Sets a closure that reads from a response or an error what the call has cost in a unit that it
    /// [reserved](crate::Rule::reserve), if it says that. There may be one for each unit. Call it after
    /// [`read_advice_with`](Self::read_advice_with).
    ///
    /// Other calls are settled when they are over, as [`Unsettled`](crate::Unsettled) says.
    pub fn settled_by<F, B, E>(self, unit: impl AsRef<str>, cost: F) -> PaceLayer<Plain<R>, T, Settled<A, F>>
    where
        F: Fn(&Result<B, E>) -> Option<u64> + Clone + Send + Sync + 'static,
    {
        let reader = Settled::new(self.reader, unit.as_ref(), cost);
        PaceLayer { limiter: self.limiter, scheduler: self.scheduler, reader }
    }
}

impl<K: RequestKind, T, A> PaceLayer<K, T, A> {
    /// Sets the maximum number of calls that wait for each key. Defaults to 1024. Further ones fail at once, with
    /// [`PaceError::QueueFull`]. With 0 no call waits.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.with_settings(|settings| settings.max_waiting = calls)
    }

    /// Sets the maximum wait of a call. By default calls wait for as long as it takes.
    ///
    /// Usually it is known up front that a call would have to wait longer, and then it fails at once with
    /// [`PaceError::TooLong`]. Only the waiting counts: a call in flight is left alone.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.with_settings(|settings| settings.max_wait = Some(wait))
    }

    /// Sets the maximum time for which a response holds calls back. Defaults to 10 minutes.
    ///
    /// It guards against misconfigured or hostile servers. After that time one call goes ahead, and gets new advice.
    pub fn max_hold(self, hold: Duration) -> Self {
        self.with_settings(|settings| settings.max_hold = hold)
    }

    /// Sets the pause after a refusal that states no wait, or zero. Defaults to one second.
    pub fn default_wait(self, wait: Duration) -> Self {
        self.with_settings(|settings| settings.default_wait = wait)
    }

    /// Sets the maximum jitter added to the pause after a refusal, so that clients that were refused together do not return
    /// together. It is at most a tenth of the pause besides. Defaults to one second.
    pub fn max_jitter(self, jitter: Duration) -> Self {
        self.with_settings(|settings| settings.max_jitter = jitter)
    }

    /// Discovers the limit of a server that does not tell: the rate of a key drops after a refusal, and rises again up to
    /// the policy's. Off by default.
    ///
    /// See [the module docs](crate::client::pace#a-limit-that-is-not-known).
    pub fn adaptive(self) -> Self {
        self.with_settings(|settings| settings.is_adaptive = true)
    }

    /// Returns a handle on the queues. Call it after the settings are made, which create new queues.
    #[must_use]
    pub fn handle(&self) -> PaceHandle {
        PaceHandle::new(Arc::clone(&self.scheduler))
    }

    /// Returns the limiter behind this layer, or `None` if it was built with a mistake.
    #[must_use]
    pub fn limiter(&self) -> Option<&RateLimiter<K, T>> {
        self.limiter.as_ref().ok()
    }

    #[cfg(test)]
    pub(super) const fn scheduler(&self) -> &Arc<Scheduler> {
        &self.scheduler
    }

    /// Returns the reader of advice.
    pub(super) const fn reader(&self) -> &A {
        &self.reader
    }

    fn from_limiter(limiter: Result<RateLimiter<K, T>, Arc<ConfigError>>, reader: A) -> Self {
        let limiter = limiter.and_then(|limiter| match reject_counting(&limiter) {
            Ok(()) => Ok(limiter),
            Err(mistake) => Err(Arc::new(mistake)),
        });
        let scheduler = scheduler_for(limiter.as_ref().ok(), Settings::default());
        Self { limiter, scheduler, reader }
    }

    fn with_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = *self.scheduler.settings();
        change(&mut settings);
        self.scheduler = scheduler_for(self.limiter(), settings);
        self
    }

    fn try_limiter<E>(&self) -> Result<&RateLimiter<K, T>, PaceError<E>> {
        self.limiter.as_ref().map_err(|mistake| PaceError::Misconfigured(Arc::clone(mistake)))
    }
}

impl<K: RequestKind, T: Store, A> PaceLayer<K, T, A> {
    /// Makes a queued call of a request, or `None` if no rule governs it.
    pub(super) fn queued_call<R, E>(&self, request: &R) -> Result<Option<QueuedCall>, PaceError<E>>
    where
        K: ViewOf<R>,
    {
        let limiter = self.try_limiter()?;
        let governed = K::with_view(request, |view| limiter.charges_of(view, |_| true, |_| SmallVec::new()));
        let governed = governed.map_err(|rejected| PaceError::KeyMissing { level: rejected.names().1.to_owned() })?;
        check_possible(&governed)?;
        Ok((!governed.charges.charges.is_empty()).then(|| QueuedCall::new(&self.scheduler, governed)))
    }

    /// Returns `None` if the call has to wait, which it begins with when it is polled.
    pub(super) fn attempt_at_once(&self, call: &QueuedCall) -> Option<Attempted> {
        call.attempt_at_once(self.limiter()?)
    }

    /// Asks whether a call may go now. It waits in the queues from now on if it may not.
    pub(super) fn attempt<E>(&self, call: &mut QueuedCall) -> Result<Attempted, PaceError<E>> {
        call.attempt(self.try_limiter()?)
    }
}

impl<T: Store> RateLimiter<Http, T> {
    /// Creates a client-side layer, which makes calls wait until the rules have room for them.
    ///
    /// No rule's policy may [count denied](Policy::count_denied) requests, which would charge for waiting, and no rule may
    /// [count some outcomes](Rule::count_only) alone: then every call fails with [`PaceError::Misconfigured`].
    ///
    /// [`PaceError::Misconfigured`]: crate::client::pace::PaceError::Misconfigured
    pub fn pace(&self) -> PaceLayer<Http, T> {
        PaceLayer::from_limiter(Ok(self.clone()), ReadHeaders::default())
    }
}

impl<R: 'static, T: Store> RateLimiter<Plain<R>, T> {
    /// Creates a client-side layer, which makes calls wait until the rules have room for them.
    ///
    /// No rule's policy may [count denied](Policy::count_denied) requests, which would charge for waiting, and no rule may
    /// [count some outcomes](Rule::count_only) alone: then every call fails with [`PaceError::Misconfigured`].
    ///
    /// [`PaceError::Misconfigured`]: crate::client::pace::PaceError::Misconfigured
    pub fn pace(&self) -> PaceLayer<Plain<R>, T, IgnoreAdvice> {
        PaceLayer::from_limiter(Ok(self.clone()), IgnoreAdvice)
    }
}

fn limiter_for(extractor: impl KeyExtractor, policy: Policy) -> Result<RateLimiter, ConfigError> {
    let rule = Rule::new("default").every_request().key(extractor).policy(policy);
    RateLimiter::builder().rule(rule).clock(TokioClock::new()).build()
}

/// Rejects policies that count denied requests, for a waiting call asks again and again and is denied until it goes; and rules that
/// count some outcomes, for what comes of a call is known only to its caller.
fn reject_counting<K: RequestKind, T>(limiter: &RateLimiter<K, T>) -> Result<(), ConfigError> {
    for rule in limiter.rules().rulebook.rules() {
        if rule.policy().counts_denied() {
            let reason = "a call that is paced is denied until it goes, and would be charged for its waiting";
            return Err(ConfigError::new("count_denied", true, reason).in_rule(rule.name()));
        }
        if matches!(rule.settling(), Some(Settling::ByOutcome(_))) {
            let reason =
                "a call that is paced counts, whatever comes of it: leave it out, or write .reserve(..) and settle it";
            return Err(ConfigError::new("count_only", "", reason).in_rule(rule.name()));
        }
    }
    Ok(())
}

/// Refuses a call that costs more than some quota admits, which would hold up all those behind it.
fn check_possible<E>(held: &HeldCharges) -> Result<(), PaceError<E>> {
    if !held.rulebook.has_costs() {
        return Ok(());
    }
    let enforced =
        held.charges.charges.iter().zip(&held.charges.rules).filter(|(_, used)| used.enforcement.is_enforced());
    for (charge, used) in enforced {
        let rule = held.rulebook.rule(used.rule);
        if let Some(quota) = rule.tier(used.tier).policy().quotas().find(|quota| quota.limit() < charge.units()) {
            let (cost, limit) = (charge.units(), quota.limit());
            return Err(PaceError::NeverPossible {
                rule: rule.name().to_owned(),
                unit: rule.unit().to_owned(),
                cost,
                limit,
            });
        }
    }
    Ok(())
}

fn scheduler_for<K: RequestKind, T>(limiter: Option<&RateLimiter<K, T>>, settings: Settings) -> Arc<Scheduler> {
    Arc::new(Scheduler::new(settings, limiter.map(ScopeLimits::from_limiter).unwrap_or_default()))
}

impl<K: RequestKind, T, A: Clone> Clone for PaceLayer<K, T, A> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), scheduler: Arc::clone(&self.scheduler), reader: self.reader.clone() }
    }
}

impl<K: RequestKind, T: fmt::Debug, A> fmt::Debug for PaceLayer<K, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaceLayer")
            .field("limiter", &self.limiter)
            .field("settings", self.scheduler.settings())
            .field("scheduler", &self.scheduler)
            .finish_non_exhaustive()
    }
}
