//! The store.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    error::{ConfigError, Unavailable},
    history::Plan,
    key::Charge,
    store::{
        BoxFuture, MaybeReady, Scope, Setup, Store, Verdict,
        redis::{
            Health, LeaseConfig, OnOutage, batcher::Batcher, decider::Decider, fallback::Fallback,
            histories::Histories, layout::Layout, lease_pool::LeasePool, lender::Lender, recent_denials::RecentDenials,
            reservation::Reserver, routes::Routes, target::Topology, timepiece::Timepiece, tls::Tls,
        },
    },
};

const DEADLINE: Duration = Duration::from_millis(50);
const REMEMBERED: Duration = Duration::from_secs(1);
const REQUESTS_IN_A_CALL: u8 = 32;
static SYSTEM_CLOCK: SystemClock = SystemClock::new();

/// Histories on a Redis or Valkey server, shared by any number of processes.
///
/// ```no_run
/// use tower_quota::{Policy, RateLimiter, Rule, key, store::{OnOutage, RedisStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379", OnOutage::Local { share: 0.25 }).prefix("shop");
/// let limiter = RateLimiter::builder()
///     .store(store)
///     .rule(Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(60)))
///     .build()?;
/// limiter.store().ping().await?; // if the service is not to start without it
/// let layer = limiter.layer();
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
///
/// See the [module docs](crate::store#redis) for what an operator has to know.
#[derive(Clone)]
pub struct RedisStore {
    topology: Topology,
    tls: Tls,
    on_outage: OnOutage,
    prefix: String,
    deadline: Duration,
    remembered: Duration,
    max_batch: u8,
    lease: Option<LeaseConfig>,
    key_secret: Vec<u8>,
    #[cfg(feature = "test-util")]
    virtual_time: Option<crate::clock::ManualClock>,
    decider: Option<Arc<Decider>>,
}

impl RedisStore {
    /// A store on the server at `url`, such as `redis://user:password@host:6379/0`, `rediss://host` (with TLS, which the
    /// feature `redis-tls` brings) or `redis+unix:///run/redis.sock`. With `?protocol=resp3` it speaks RESP3.
    ///
    /// Nothing is connected before the first request. A mistake in the URL is found when the limiter is built.
    pub fn new(url: impl Into<String>, on_outage: OnOutage) -> Self {
        Self::at(Topology::Single(url.into()), on_outage)
    }

    /// A store on the master of the service that the sentinels at `urls` know.
    ///
    /// `service` is its name, or a URL with that in the place of the host if there is more to say:
    /// `rediss://user:password@mymaster/0`. After a failover the new master is found within a second or two.
    pub fn sentinel(
        urls: impl IntoIterator<Item = impl Into<String>>,
        service: impl Into<String>,
        on_outage: OnOutage,
    ) -> Self {
        Self::at(Topology::Sentinel(urls.into_iter().map(Into::into).collect(), service.into()), on_outage)
    }

    /// A store on the cluster that the nodes at `urls` are of; the others are found by them.
    ///
    /// Histories whose keys have the same first part are on the same node, and decided in one atomic step. For a request
    /// with others see the [module docs](crate::store#cluster).
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>, on_outage: OnOutage) -> Self {
        Self::at(Topology::Cluster(urls.into_iter().map(Into::into).collect()), on_outage)
    }

    fn at(topology: Topology, on_outage: OnOutage) -> Self {
        Self {
            topology,
            tls: Tls::default(),
            on_outage,
            prefix: "quota".to_owned(),
            deadline: DEADLINE,
            remembered: REMEMBERED,
            max_batch: REQUESTS_IN_A_CALL,
            lease: None,
            key_secret: Vec::new(),
            #[cfg(feature = "test-util")]
            virtual_time: None,
            decider: None,
        }
    }

    /// Begins the names of keys on the server with this, and a `:`; `quota` by default. Limiters that share histories have
    /// the same prefix and rules of the same names. It has no braces.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// The longest that a decision may take; 50 ms by default. After that the request meets [`OnOutage`].
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Answers for at most this long from memory that a key is exhausted, without asking the server; one second by default,
    /// zero never.
    ///
    /// Nothing is lost by it: a key that is exhausted stays so for a known time, unless another process resets it or gives back
    /// units of it; that is noticed this much later, and until then the wait that is told is the old one. Policies that [count denials](crate::Policy::count_denied) always ask.
    #[must_use]
    pub const fn denial_cache_ttl(mut self, at_most: Duration) -> Self {
        self.remembered = at_most;
        self
    }

    /// Asks about at most so many requests in one call, 32 by default; with 1 every request has a call of its own.
    ///
    /// Requests that come in the same turn of the scheduler share one; none waits longer than that turn, or a millisecond.
    /// That costs the server less, and each request is decided as if it had been asked about alone. On a cluster those share a call
    /// that share a slot.
    #[must_use]
    pub const fn max_batch(mut self, most: u8) -> Self {
        self.max_batch = most;
        self
    }

    /// Takes several units at once for keys that are asked about very often, and spends them without the server. Off by
    /// default: see [`LeaseConfig`] for the price.
    #[must_use]
    pub fn lease(self, lease: LeaseConfig) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// What long keys are hashed with, which has to be the same in all processes. Without a secret of your own somebody
    /// could look for two keys with the same hash.
    #[must_use]
    pub fn key_secret(self, secret: impl AsRef<[u8]>) -> Self {
        Self { key_secret: secret.as_ref().to_vec(), ..self }
    }

    /// Believes a server that shows a certificate by this authority, in PEM, and not those that the system trusts. For
    /// `rediss://`; a mistake in it is found when the limiter is built.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.root = Some(pem.into());
        self
    }

    /// Shows this certificate to the server, with its key, both in PEM.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some([certificate.into(), key.into()]);
        self
    }

    /// Takes the time from this clock and not from the server: for tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn virtual_time(self, clock: crate::clock::ManualClock) -> Self {
        Self { virtual_time: Some(clock), ..self }
    }

    /// Whether the server can be reached and will decide: waits until it is connected, for at most 5 s, and has it decide
    /// once and write, about a key of nobody that expires within seconds. Of a cluster every master is asked, and whether all slots
    /// are served.
    ///
    /// # Errors
    ///
    /// If not, with what is wrong: nobody listens, the password is wrong, a right is missing, it is a replica, and so on.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        self.decider().ok_or_else(not_opened)?.ping().await
    }

    /// How it stands with the servers, as far as is known without asking them. None before the store belongs to a limiter.
    ///
    /// With feature `tracing`, every change is an event too, and what is not as it should be a warning.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.decider().map(|decider| decider.health())
    }

    /// Gives back what is left of all [leases](Self::lease), at once: for a process that is about to end. What cannot be given
    /// back counts until it expires.
    pub async fn return_leases(&self) {
        if let Some(decider) = self.decider() {
            decider.lender.give_all_back().await;
        }
    }

    const fn decider(&self) -> Option<&Arc<Decider>> {
        self.decider.as_ref()
    }
}

impl RedisStore {
    fn decider_of(&self, setup: &Setup) -> Result<Decider, ConfigError> {
        let timepiece = self.timepiece();
        let routes = Routes::new(&self.topology, &self.tls, &timepiece)?;
        let fallback = Arc::new(Fallback::new(self.on_outage, setup)?);
        // A reservation in several slots is given back within a deadline, and another one for the call.
        let doubtful_for = if routes.is_cluster() { self.deadline } else { Duration::ZERO };
        let denials = Arc::new(RecentDenials::new(self.remembered, doubtful_for));
        let scopes = setup.scopes.clone();
        let pool = LeasePool::new(self.lease.as_ref(), &scopes, self.deadline);
        let histories = Arc::new(Histories {
            routes,
            logs: scopes.iter().map(|scope| self.logs_of(scope)).collect(),
            scopes,
            prefix: self.prefix.clone(),
            deadline: self.deadline,
            timepiece,
        });
        let batcher = Batcher::new(Arc::clone(&histories), Arc::clone(&denials), self.max_batch);
        let batcher = Arc::new(batcher);
        let lender = Lender { histories: Arc::clone(&histories), denials: Arc::clone(&denials), pool };
        let reserver = Reserver {
            histories: Arc::clone(&histories),
            batcher: Arc::clone(&batcher),
            denials: Arc::clone(&denials),
            fallback: Arc::clone(&fallback),
        };
        let (lender, reserver) = (Arc::new(lender), Arc::new(reserver));
        Ok(Decider { histories, denials, lender, batcher, reserver, fallback })
    }

    #[cfg(feature = "test-util")]
    fn timepiece(&self) -> Timepiece {
        Timepiece::new(self.virtual_time.clone())
    }

    #[cfg(not(feature = "test-util"))]
    #[expect(clippy::unused_self, reason = "its twin needs it")]
    fn timepiece(&self) -> Timepiece {
        Timepiece::default()
    }

    /// The logs of a scope on the server. What is lent counts for longer.
    fn logs_of(&self, scope: &Scope) -> Layout {
        let plan = match self.lease.as_ref().filter(|lease| lease.covers(scope)) {
            Some(lease) => Plan::new(&lease.lengthened(scope.policy())),
            None => Plan::new(scope.policy()),
        };
        Layout::new(&plan)
    }
}

fn not_opened() -> Unavailable {
    Unavailable::new("the store has not been given to a limiter")
}

#[cfg(feature = "test-util")]
impl RedisStore {
    fn calendar(&self) -> &dyn Clock {
        self.virtual_time.as_ref().map_or(&SYSTEM_CLOCK, |clock| clock as &dyn Clock)
    }
}

#[cfg(not(feature = "test-util"))]
impl RedisStore {
    const fn calendar(&self) -> &dyn Clock {
        &SYSTEM_CLOCK
    }
}

impl Store for RedisStore {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "0s", "a decision takes some time"));
        }
        if self.prefix.contains(['{', '}']) {
            let reason = "a prefix has no braces: they would decide where in a cluster a key is";
            return Err(ConfigError::new("prefix", format_args!("{:?}", self.prefix), reason));
        }
        if self.max_batch == 0 {
            return Err(ConfigError::new("max_batch", 0, "a call is about at least one request"));
        }
        self.lease.as_ref().map_or(Ok(()), |lease| lease.validate(&setup.scopes))?;
        self.decider = Some(Arc::new(self.decider_of(&setup)?));
        Ok(())
    }

    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<BoxFuture> {
        match self.decider() {
            Some(decider) => decider.decide(charges, verdict),
            None => MaybeReady::Pending(Box::pin(std::future::ready(Err(not_opened())))),
        }
    }

    fn peek(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let (decider, charges) = (self.decider().cloned(), charges.to_vec());
        MaybeReady::Pending(Box::pin(async move { decider.ok_or_else(not_opened)?.peek(&charges).await }))
    }

    fn reset(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let (decider, charges) = (self.decider().cloned(), charges.to_vec());
        MaybeReady::Pending(Box::pin(async move { decider.ok_or_else(not_opened)?.reset(&charges).await }))
    }

    fn since_1970(&self) -> Duration {
        self.calendar().since_1970()
    }

    fn key_secret(&self) -> Option<[u8; 32]> {
        use siphasher::sip128::{Hasher128, SipHasher13};
        let half = |number: u64| {
            let mut hasher = SipHasher13::new_with_keys(number, 0x746f_7765_722d_7175);
            std::hash::Hasher::write(&mut hasher, &self.key_secret);
            hasher.finish128().as_bytes()
        };
        let (first, second) = (half(0), half(1));
        Some(std::array::from_fn(|at| if at < 16 { first[at] } else { second[at - 16] }))
    }
}

impl fmt::Debug for RedisStore {
    /// Neither the URL, which may hold a password, nor the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("on_outage", &self.on_outage)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key, limiter::RateLimiter, policy::Policy, rule::Rule};

    fn mistake(store: RedisStore) -> ConfigError {
        let rule = Rule::new("calls").every_request().key(key::constant("all")).policy(Policy::per_minute(1));
        RateLimiter::builder().store(store).rule(rule).build().map(drop).unwrap_err()
    }

    #[test]
    fn a_prefix_that_would_gather_all_keys_on_one_node_is_refused() {
        let error = mistake(RedisStore::new("redis://localhost", OnOutage::Open).prefix("{shop}"));
        assert_eq!((error.field(), error.value()), ("prefix", "\"{shop}\""));
    }

    #[test]
    fn a_deadline_of_no_time_is_refused() {
        let error = mistake(RedisStore::new("redis://localhost", OnOutage::Open).deadline(Duration::ZERO));
        assert_eq!((error.field(), error.value()), ("deadline", "0s"));
    }
}
