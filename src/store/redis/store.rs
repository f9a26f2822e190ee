//! The store: its settings, and what is made of them.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    error::{ConfigError, Unavailable},
    key::Charge,
    observe::Figures,
    store::{
        BoxFuture, CostSupport, MaybeReady, Scopes, Settlement, Setup, Store, Verdict,
        redis::{
            Health, LeaseConfig, OnOutage,
            batcher::Batcher,
            connect::TlsConfig,
            counts::Counts,
            cross_slot::CrossSlotDecider,
            decider::Decider,
            fallback::Fallback,
            history_commands::HistoryCommands,
            layout::Layout,
            layouts::Layouts,
            lease_borrower::LeaseBorrower,
            lease_pool::LeasePool,
            recent_denials::RecentDenials,
            servers::{Servers, Topology},
            timer::Timer,
        },
    },
};

const DEADLINE: Duration = Duration::from_millis(50);
const DENIAL_CACHE_TTL: Duration = Duration::from_secs(1);
const MAX_BATCH: u8 = 32;
static SYSTEM_CLOCK: SystemClock = SystemClock::new();

/// A store on a Redis or Valkey server, shared by any number of processes.
///
/// ```no_run
/// use tower_quota::{Policy, RateLimiter, Rule, key, store::{OnOutage, RedisStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let on_outage = OnOutage::Local { share: 0.25 };
/// let store = RedisStore::new("redis://127.0.0.1:6379", on_outage).prefix("shop");
/// let calls = Rule::new("calls").every_request().key(key::header("x-account"));
/// let limiter = RateLimiter::builder()
///     .store(store)
///     .rule(calls.policy(Policy::per_minute(60)))
///     .build()?;
/// limiter.store().ping().await?; // if the service is not to start without it
/// let layer = limiter.layer();
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
///
/// Every decision is one call of a script, or shares one with other requests (a batch). Each server has a circuit breaker:
/// after three failures in a row requests fail open, fail closed or are decided locally, as [`OnOutage`] says, without
/// waiting for the server. See the [module docs](crate::store#redis) for operating it: clusters and hash slots, memory,
/// rights, and when more than N can be admitted.
#[derive(Clone)]
pub struct RedisStore {
    topology: Topology,
    tls: TlsConfig,
    on_outage: OnOutage,
    prefix: String,
    deadline: Duration,
    denial_cache_ttl: Duration,
    max_batch: u8,
    lease: Option<LeaseConfig>,
    key_secret: Vec<u8>,
    #[cfg(feature = "test-util")]
    virtual_time: Option<crate::clock::ManualClock>,
    /// `None` before the store belongs to a limiter.
    decider: Option<Arc<Decider>>,
}

impl RedisStore {
    /// Creates a store on the server at `url`, such as `redis://user:password@host:6379/0`, `rediss://host` (with TLS, by
    /// feature `redis-tls`) or `redis+unix:///run/redis.sock`. With `?protocol=resp3` it speaks RESP3.
    ///
    /// Nothing is connected before the first request. A mistake in the URL is an error when the limiter is built.
    pub fn new(url: impl Into<String>, on_outage: OnOutage) -> Self {
        Self::with_topology(Topology::Single(url.into()), on_outage)
    }

    /// Creates a store on the master of a service, which the sentinels at `urls` know.
    ///
    /// `service` is the name of the service, or a URL with the name in place of the host, for a password, a database or
    /// TLS: `rediss://user:password@mymaster/0`. After a failover the new master is found within a second or two.
    pub fn sentinel(
        urls: impl IntoIterator<Item = impl Into<String>>,
        service: impl Into<String>,
        on_outage: OnOutage,
    ) -> Self {
        let sentinels = urls.into_iter().map(Into::into).collect();
        Self::with_topology(Topology::Sentinel(sentinels, service.into()), on_outage)
    }

    /// Creates a store on a cluster. The nodes at `urls` are seeds, by which the others are found.
    ///
    /// Histories whose keys have the same first part are in the same hash slot, and are decided in one atomic step. For
    /// requests with charges in several slots see the [module docs](crate::store#cluster).
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>, on_outage: OnOutage) -> Self {
        Self::with_topology(Topology::Cluster(urls.into_iter().map(Into::into).collect()), on_outage)
    }

    fn with_topology(topology: Topology, on_outage: OnOutage) -> Self {
        Self {
            topology,
            tls: TlsConfig::default(),
            on_outage,
            prefix: "quota".to_owned(),
            deadline: DEADLINE,
            denial_cache_ttl: DENIAL_CACHE_TTL,
            max_batch: MAX_BATCH,
            lease: None,
            key_secret: Vec::new(),
            #[cfg(feature = "test-util")]
            virtual_time: None,
            decider: None,
        }
    }

    /// Sets the first part of the names of all keys on the server, which a `:` follows. Defaults to `quota`.
    ///
    /// Limiters that share histories have the same prefix, and rules of the same names. A prefix has no braces.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets the longest time that a decision may take. Defaults to 50 ms. After that the request meets [`OnOutage`].
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how long a denial is remembered at most, and answered without asking the server. Defaults to one second; zero
    /// turns it off.
    ///
    /// It admits no less: an exhausted key stays so for a known time, unless another process resets it or gives back
    /// units of it. That is noticed this much later, and until then the wait that callers see is the old one. Policies
    /// that [count denials](crate::Policy::count_denied) always ask.
    #[must_use]
    pub const fn denial_cache_ttl(mut self, ttl: Duration) -> Self {
        self.denial_cache_ttl = ttl;
        self
    }

    /// Sets the maximum batch size: the number of requests that share one call of the script. Defaults to 32; with 1 every
    /// request has a call of its own.
    ///
    /// Requests that come in the same turn of the scheduler share a batch; none waits longer than that turn, or a
    /// millisecond. This costs the server less, and each request is decided as if it had come alone. On a cluster the
    /// requests of one hash slot share a batch.
    #[must_use]
    pub const fn max_batch(mut self, requests: u8) -> Self {
        self.max_batch = requests;
        self
    }

    /// Sets leases: a process takes several units of very busy keys at once, and spends them without the server. Off by
    /// default; see [`LeaseConfig`] for the price.
    #[must_use]
    pub fn lease(self, lease: LeaseConfig) -> Self {
        Self { lease: Some(lease), ..self }
    }

    /// Sets the secret that long keys are hashed with, the same in all processes. Defaults to an empty one, with which a
    /// client could search for two keys with the same hash.
    #[must_use]
    pub fn key_secret(self, secret: impl AsRef<[u8]>) -> Self {
        Self { key_secret: secret.as_ref().to_vec(), ..self }
    }

    /// Sets the certificate authority of the server, in PEM, in place of those that the system trusts. For `rediss://`
    /// URLs; a mistake in it is an error when the limiter is built.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.root = Some(pem.into());
        self
    }

    /// Sets the certificate that the client shows to the server, and its private key, both in PEM.
    #[cfg(feature = "redis-tls")]
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.tls.identity = Some([certificate.into(), key.into()]);
        self
    }

    /// Takes the time from this clock in place of the server's: for tests.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn virtual_time(self, clock: crate::clock::ManualClock) -> Self {
        Self { virtual_time: Some(clock), ..self }
    }

    /// Checks that the server can be reached and decides.
    ///
    /// It waits for the connection, for at most 5 s, and has the server decide and write once, about a key that belongs to
    /// no rule and expires within seconds. On a cluster it asks every master, and checks that all hash slots are served.
    ///
    /// # Errors
    ///
    /// The reason in words for an operator: the connection is refused, the password is wrong, a right is missing, the
    /// server is a replica, and so on.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        self.decider().ok_or_else(not_opened)?.ping().await
    }

    /// Returns the state of the connections and circuit breakers, without asking the servers; `None` before the store
    /// belongs to a limiter.
    ///
    /// With feature `tracing` every change is an event as well, and a change for the worse is a warning.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        self.decider().map(|decider| decider.health())
    }

    /// Returns the unspent units of all [leases](Self::lease) to the server at once: for a process that is about to end.
    ///
    /// Units that cannot be returned count until they leave the window; so do units on their way if the future is dropped.
    pub async fn return_leases(&self) {
        if let Some(decider) = self.decider() {
            decider.leases.give_all_back().await;
        }
    }

    const fn decider(&self) -> Option<&Arc<Decider>> {
        self.decider.as_ref()
    }
}

impl RedisStore {
    /// Finds the mistakes that can be seen without the rules and without the URLs.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.deadline.is_zero() {
            return Err(ConfigError::new("deadline", "0s", "a decision takes some time"));
        }
        if self.prefix.contains(['{', '}']) {
            let reason = "a prefix has no braces: as a hash tag they would decide the hash slot of all keys";
            return Err(ConfigError::new("prefix", format_args!("{:?}", self.prefix), reason));
        }
        if self.max_batch == 0 {
            return Err(ConfigError::new("max_batch", 0, "a batch has at least one request"));
        }
        Ok(())
    }

    fn build_decider(&self, setup: &Setup) -> Result<Decider, ConfigError> {
        let (timer, counts) = (self.timer(), Arc::new(Counts::default()));
        let servers = Servers::new(&self.topology, &self.tls, &timer, &setup.observer)?;
        let fallback = Arc::new(Fallback::new(self.on_outage, setup, Arc::clone(&counts))?);
        // A reservation in several slots is rolled back within a deadline.
        let confirm_after = if servers.is_cluster() { self.deadline } else { Duration::ZERO };
        let denials = Arc::new(RecentDenials::new(self.denial_cache_ttl, confirm_after));
        let scopes = setup.scopes.clone();
        let pool = LeasePool::new(self.lease.as_ref(), self.deadline);
        let commands = Arc::new(HistoryCommands {
            servers,
            layouts: Layouts::new(scopes.clone(), self.lease.clone()),
            scopes,
            prefix: self.prefix.clone(),
            deadline: self.deadline,
            timer,
        });
        let batcher = Arc::new(Batcher::new(Arc::clone(&commands), Arc::clone(&denials), self.max_batch));
        let leases = LeaseBorrower {
            commands: Arc::clone(&commands),
            denials: Arc::clone(&denials),
            pool,
            counts: Arc::clone(&counts),
        };
        let cross_slot = CrossSlotDecider {
            commands: Arc::clone(&commands),
            batcher: Arc::clone(&batcher),
            denials: Arc::clone(&denials),
            fallback: Arc::clone(&fallback),
        };
        let (leases, cross_slot) = (Arc::new(leases), Arc::new(cross_slot));
        Ok(Decider { commands, denials, leases, batcher, cross_slot, fallback, counts })
    }

    #[cfg(feature = "test-util")]
    fn timer(&self) -> Timer {
        Timer::new(self.virtual_time.clone())
    }

    #[cfg(not(feature = "test-util"))]
    #[expect(clippy::unused_self, reason = "its twin needs it")]
    fn timer(&self) -> Timer {
        Timer::default()
    }
}

fn not_opened() -> Unavailable {
    Unavailable::new("the store has not been given to a limiter")
}

#[cfg(feature = "test-util")]
impl RedisStore {
    fn wall_clock(&self) -> &dyn Clock {
        self.virtual_time.as_ref().map_or(&SYSTEM_CLOCK, |clock| clock as &dyn Clock)
    }
}

#[cfg(not(feature = "test-util"))]
impl RedisStore {
    const fn wall_clock(&self) -> &dyn Clock {
        &SYSTEM_CLOCK
    }
}

impl Store for RedisStore {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        self.validate()?;
        self.lease.as_ref().map_or(Ok(()), |lease| lease.validate(&setup.scopes))?;
        self.accept(&setup.scopes)?;
        self.decider = Some(Arc::new(self.build_decider(&setup)?));
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

    fn cost_support(&self) -> CostSupport {
        CostSupport::Settlements
    }

    fn settle(&self, settlements: &[Settlement], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let (decider, settlements) = (self.decider().cloned(), settlements.to_vec());
        MaybeReady::Pending(Box::pin(async move { decider.ok_or_else(not_opened)?.settle(&settlements).await }))
    }

    fn figures(&self) -> Figures {
        self.decider().map_or_else(Figures::default, |decider| decider.counts.figures(!decider.health().is_healthy()))
    }

    fn since_1970(&self) -> Duration {
        self.wall_clock().since_1970()
    }

    fn accept(&self, scopes: &Scopes) -> Result<(), ConfigError> {
        Layout::validate(scopes)?;
        self.lease.as_ref().map_or(Ok(()), |lease| lease.validate_scopes(scopes))
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

/// Without the URLs, which may have a password, and without the secret.
impl fmt::Debug for RedisStore {
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

    fn error(store: RedisStore) -> ConfigError {
        let rule = Rule::new("calls").every_request().key(key::constant("all")).policy(Policy::per_minute(1));
        RateLimiter::builder().store(store).rule(rule).build().map(drop).unwrap_err()
    }

    #[test]
    fn a_prefix_that_would_gather_all_keys_on_one_node_is_an_error() {
        let error = error(RedisStore::new("redis://localhost", OnOutage::Open).prefix("{shop}"));
        assert_eq!((error.field(), error.value()), ("prefix", "\"{shop}\""));
    }

    #[test]
    fn a_deadline_of_zero_is_an_error() {
        let error = error(RedisStore::new("redis://localhost", OnOutage::Open).deadline(Duration::ZERO));
        assert_eq!((error.field(), error.value()), ("deadline", "0s"));
    }
}
