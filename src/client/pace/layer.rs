//! The layer.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use tower_layer::Layer;

use crate::{
    client::{
        Advice, Answers,
        pace::{
            limits::Limits,
            pacer::Pacer,
            queues::Queues,
            reader::{Headers, Unread},
            service::Pace,
            settings::Settings,
        },
    },
    clock::TokioClock,
    error::ConfigError,
    key::KeyExtractor,
    limiter::RateLimiter,
    policy::Policy,
    request::{Http, Plain, RequestKind},
    rule::Rule,
    store::{MemoryStore, Store},
};

/// Makes calls wait until a policy has room for them.
///
/// See the [module docs](crate::client::pace) for its use. All services it makes share their queues, and so do its clones;
/// one whose settings are changed has queues of its own. `K` is the kind of requests, `T` the store of the limiter, and `A`
/// what reads advice from answers.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PaceLayer<K: RequestKind = Http, T = MemoryStore, A = Headers> {
    limiter: Result<RateLimiter<K, T>, Arc<ConfigError>>,
    queues: Arc<Queues>,
    reader: A,
}

impl PaceLayer {
    /// One policy for every key that `extractor` reads, such as [`key::host()`](crate::key::host).
    ///
    /// For a policy written out in code. If it holds a mistake (a limit or a window of zero, or
    /// [`count_denied`](Policy::count_denied), which would charge for waiting) then every call fails with
    /// [`PaceError::Misconfigured`](super::PaceError::Misconfigured). With numbers from elsewhere use
    /// [`try_new`](Self::try_new).
    pub fn new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Self {
        Self::of(limiter_of(extractor, policy.into()).map_err(Arc::new), Headers::default())
    }

    /// As [`new`](Self::new), with mistakes returned.
    ///
    /// # Errors
    ///
    /// If the extractor or the policy cannot be used.
    pub fn try_new(extractor: impl KeyExtractor, policy: impl Into<Policy>) -> Result<Self, ConfigError> {
        let limiter = limiter_of(extractor, policy.into())?;
        refuse_counting(&limiter)?;
        Ok(limiter.pace())
    }
}

impl<T> PaceLayer<Http, T> {
    /// Believes these dialects in answers; by default those of [`Answers::new`](crate::client::Answers::new).
    pub fn answers(mut self, answers: Answers) -> Self {
        self.reader = Headers::answers(answers);
        self
    }

    /// Reads advice from the status and the header fields of answers like this, in a dialect of your own.
    pub fn advised_by(mut self, read: impl Fn(StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static) -> Self {
        self.reader = Headers::read_by(read);
        self
    }
}

impl<R: 'static, T, A> PaceLayer<Plain<R>, T, A> {
    /// Reads advice from answers and errors like this; by default none is.
    pub fn advised_by<F, B, E>(self, read: F) -> PaceLayer<Plain<R>, T, F>
    where
        F: Fn(&Result<B, E>) -> Advice + Clone + Send + Sync + 'static,
    {
        PaceLayer { limiter: self.limiter, queues: self.queues, reader: read }
    }
}

impl<K: RequestKind, T, A> PaceLayer<K, T, A> {
    /// At most so many calls wait for each key; 1024 by default. Further ones fail at once, with
    /// [`PaceError::QueueFull`](super::PaceError::QueueFull). With 0 no call waits.
    pub fn max_waiting(self, calls: usize) -> Self {
        self.with(|settings| settings.max_waiting = calls)
    }

    /// No call waits longer than this; by default they wait for as long as it takes.
    ///
    /// Of a call that would have to wait longer it is mostly known when it comes, and then it fails at once with
    /// [`PaceError::TooLong`](super::PaceError::TooLong). Only the waiting counts: a call under way is left alone.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.with(|settings| settings.max_wait = Some(wait))
    }

    /// No answer holds calls back for longer than this; 10 minutes by default.
    ///
    /// It is for servers that make a mistake or mean no good. After that time one call goes ahead, and is told again.
    pub fn max_hold(self, hold: Duration) -> Self {
        self.with(|settings| settings.max_hold = hold)
    }

    /// How long calls are held back after a refusal that does not say for how long, or says zero; a second by default.
    pub fn back_off(self, wait: Duration) -> Self {
        self.with(|settings| settings.back_off = wait)
    }

    /// What is added to the pause after a refusal, at most and at random, so that those who were refused together do not
    /// return together: a tenth of it, and no more than this. A second by default.
    pub fn spread(self, spread: Duration) -> Self {
        self.with(|settings| settings.spread = spread)
    }

    /// Finds the limit of a server that does not tell: after a refusal the pace of the key drops, and rises again by and by
    /// up to the policy. Off by default.
    ///
    /// See [the module docs](crate::client::pace#a-limit-that-is-not-known).
    pub fn adaptive(self) -> Self {
        self.with(|settings| settings.is_adaptive = true)
    }

    /// Who waits. Ask once the settings are made.
    #[must_use]
    pub fn pacer(&self) -> Pacer {
        Pacer::new(Arc::clone(&self.queues))
    }

    /// The limiter behind this layer; none if it was not built right.
    #[must_use]
    pub fn limiter(&self) -> Option<&RateLimiter<K, T>> {
        self.limiter.as_ref().ok()
    }

    pub(super) const fn try_limiter(&self) -> Result<&RateLimiter<K, T>, &Arc<ConfigError>> {
        self.limiter.as_ref()
    }

    pub(super) const fn queues(&self) -> &Arc<Queues> {
        &self.queues
    }

    pub(super) const fn reader(&self) -> &A {
        &self.reader
    }

    fn of(limiter: Result<RateLimiter<K, T>, Arc<ConfigError>>, reader: A) -> Self {
        let limiter = limiter.and_then(|limiter| match refuse_counting(&limiter) {
            Ok(()) => Ok(limiter),
            Err(mistake) => Err(Arc::new(mistake)),
        });
        let queues = queues_for(limiter.as_ref().ok(), Settings::default());
        Self { limiter, queues, reader }
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = *self.queues.settings();
        change(&mut settings);
        self.queues = queues_for(self.limiter(), settings);
        self
    }
}

impl<T: Store> RateLimiter<Http, T> {
    /// A layer for callers, which makes calls wait until the rules have room for them.
    ///
    /// No rule's policy may [count denied](Policy::count_denied) requests, which would charge for waiting: then every call
    /// fails with [`PaceError::Misconfigured`](crate::client::pace::PaceError::Misconfigured).
    pub fn pace(&self) -> PaceLayer<Http, T> {
        PaceLayer::of(Ok(self.clone()), Headers::default())
    }
}

impl<R: 'static, T: Store> RateLimiter<Plain<R>, T> {
    /// A layer for callers, which makes calls wait until the rules have room for them.
    ///
    /// No rule's policy may [count denied](Policy::count_denied) requests, which would charge for waiting: then every call
    /// fails with [`PaceError::Misconfigured`](crate::client::pace::PaceError::Misconfigured).
    pub fn pace(&self) -> PaceLayer<Plain<R>, T, Unread> {
        PaceLayer::of(Ok(self.clone()), Unread)
    }
}

fn limiter_of(extractor: impl KeyExtractor, policy: Policy) -> Result<RateLimiter, ConfigError> {
    let rule = Rule::new("default").every_request().key(extractor).policy(policy);
    RateLimiter::builder().rule(rule).clock(TokioClock::new()).build()
}

/// A call that waits asks again and again, and is denied until it goes.
fn refuse_counting<K: RequestKind, T>(limiter: &RateLimiter<K, T>) -> Result<(), ConfigError> {
    match limiter.rulebook().rules().find(|rule| rule.policy().counts_denied()) {
        Some(rule) => {
            let reason = "a call that is paced is denied until it goes, and would be charged for its waiting";
            Err(ConfigError::new("count_denied", true, reason).in_rule(rule.name()))
        }
        None => Ok(()),
    }
}

fn queues_for<K: RequestKind, T>(limiter: Option<&RateLimiter<K, T>>, settings: Settings) -> Arc<Queues> {
    Arc::new(Queues::new(settings, limiter.map(Limits::of).unwrap_or_default()))
}

impl<K: RequestKind, T, A: Clone> Clone for PaceLayer<K, T, A> {
    fn clone(&self) -> Self {
        Self { limiter: self.limiter.clone(), queues: Arc::clone(&self.queues), reader: self.reader.clone() }
    }
}

impl<K: RequestKind, T: fmt::Debug, A> fmt::Debug for PaceLayer<K, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaceLayer")
            .field("limiter", &self.limiter)
            .field("settings", self.queues.settings())
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

impl<S, K: RequestKind, T, A: Clone> Layer<S> for PaceLayer<K, T, A> {
    type Service = Pace<S, Self>;

    fn layer(&self, inner: S) -> Pace<S, Self> {
        Pace::new(inner, self.clone())
    }
}
