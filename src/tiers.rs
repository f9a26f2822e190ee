//! Tiers that have to be looked up: in a database, or at another service.
//!
//! A request does not wait for the tier of its key: it is held to the tier that is known, and a late answer does no harm,
//! because the history stays when a key changes its tier. So [`Cached`] remembers the tiers that a function of yours looks
//! up, and refreshes them in the background.
//!
//! A layer that loads the account anyway needs nothing of this: it puts the tier among the request's extensions, and
//! [`Rule::tier_from`](crate::Rule::tier_from) reads it there.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};

use crate::{
    key::{KeyBuilder, KeyExtractor, MissingKey},
    request::RequestView,
    warn::warn,
};

/// After an error a tier is looked up again when this part of its lifetime has passed.
const RETRIES_PER_LIFETIME: u32 = 10;

/// Remembers the tiers that a function looks up.
///
/// * A tier that is known and fresh is used.
/// * One that is older than its lifetime is used too, and looked up again in the background, once for each key.
/// * A key that is not known is held to the rule's own policy until its tier is.
/// * After an error the tier that was known stays, and is looked up again later.
///
/// Lookups run in the tokio runtime of the request. At most `max_keys` keys are remembered; others push out some of them.
///
/// ```
/// use std::time::Duration;
///
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key, tiers};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let plans = tiers::Cached::new(10_000, Duration::from_secs(60), |account: String| async move {
///     // A query to your database.
///     Ok::<_, std::io::Error>((account == "acme").then(|| "pro".to_owned()))
/// });
/// let account = |request: &RequestView<'_>| {
///     Some(request.headers().get("x-account")?.to_str().ok()?.to_owned())
/// };
///
/// let api = Rule::new("api")
///     .every_request()
///     .key(key::header("x-account"))
///     .policy(Policy::per_minute(60))
///     .tier("pro", Policy::per_minute(600))
///     .tier_from(plans.by(account));
/// let limiter = RateLimiter::builder().rule(api).build()?;
///
/// let request = Request::get("/").header("x-account", "acme").body(())?;
/// let tier = || limiter.matching(&RequestView::new(&request))[0].tier().map(str::to_owned);
/// assert_eq!(tier(), None, "it is being looked up");
/// tokio::task::yield_now().await;
/// assert_eq!(tier().as_deref(), Some("pro"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cached {
    shared: Arc<Shared>,
}

/// Reads the tier of the account that a closure finds in a request; made by [`Cached::by`].
#[derive(Clone)]
pub struct CachedBy<F> {
    cached: Cached,
    account: F,
}

type Lookup = dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>> + Send + Sync;

struct Shared {
    lookup: Box<Lookup>,
    entries: Mutex<HashMap<String, Entry>>,
    max_keys: usize,
    lifetime: Duration,
}

/// The tier of one account.
#[derive(Clone, Debug)]
struct Entry {
    /// `None` if it has none, or is not known yet.
    tier: Option<Arc<str>>,
    fresh_until: Instant,
    is_refreshing: bool,
}

/// Ends a refresh, also if the lookup panics or the runtime ends.
struct Refresh {
    shared: Arc<Shared>,
    account: String,
}

impl Cached {
    /// Creates a cache of at most `max_keys` tiers, which are looked up again when they are older than `lifetime`.
    ///
    /// The function returns the name of an account's tier, or `None` for the rule's own policy.
    pub fn new<F, Fut, E>(max_keys: usize, lifetime: Duration, lookup: F) -> Self
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<String>, E>> + Send + 'static,
        E: fmt::Display,
    {
        let lookup = move |account| -> Pin<Box<dyn Future<Output = _> + Send>> {
            let looked_up = lookup(account);
            Box::pin(async move { looked_up.await.map_err(|error| error.to_string()) })
        };
        let (lookup, entries) = (Box::new(lookup), Mutex::default());
        Self { shared: Arc::new(Shared { lookup, entries, max_keys: max_keys.max(1), lifetime }) }
    }

    /// Returns an extractor for [`Rule::tier_from`](crate::Rule::tier_from): the tier of the account that the closure finds in
    /// the request.
    pub fn by<F>(&self, account: F) -> CachedBy<F>
    where
        F: Fn(&RequestView<'_>) -> Option<String> + Send + Sync + 'static,
    {
        CachedBy { cached: self.clone(), account }
    }

    /// Returns the tier of an account as far as it is known, and looks it up in the background if it is not fresh.
    ///
    /// Outside of a tokio runtime nothing is looked up.
    #[must_use]
    pub fn get(&self, account: &str) -> Option<Arc<str>> {
        let now = Instant::now();
        let mut entries = self.shared.entries.lock();
        let known = entries.get(account).cloned();
        if known.as_ref().is_some_and(|entry| entry.is_refreshing || now < entry.fresh_until) {
            return known?.tier;
        }
        let tier = known.and_then(|entry| entry.tier);
        if let Ok(runtime) = Handle::try_current() {
            self.shared.make_room(&mut entries, account);
            let entry = Entry { tier: tier.clone(), fresh_until: now, is_refreshing: true };
            entries.insert(account.to_owned(), entry);
            let refresh = Refresh { shared: Arc::clone(&self.shared), account: account.to_owned() };
            runtime.spawn(refresh.run());
        }
        tier
    }

    /// Forgets the tier of an account, which is looked up when it is asked for next: after it has bought another one, say.
    pub fn forget(&self, account: &str) {
        self.shared.entries.lock().remove(account);
    }

    /// Returns the number of accounts that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.entries.lock().len()
    }

    /// Returns `true` if no account is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    /// Drops an entry if there are as many as there may be: the stalest of a few.
    fn make_room(&self, entries: &mut HashMap<String, Entry>, account: &str) {
        if entries.len() < self.max_keys || entries.contains_key(account) {
            return;
        }
        let few = entries.iter().filter(|(_, entry)| !entry.is_refreshing).take(16);
        let stalest = few.min_by_key(|(_, entry)| entry.fresh_until).or_else(|| entries.iter().next());
        if let Some(account) = stalest.map(|(account, _)| account.clone()) {
            entries.remove(&account);
        }
    }
}

impl Refresh {
    async fn run(self) {
        let looked_up = (self.shared.lookup)(self.account.clone()).await;
        let (now, lifetime) = (Instant::now(), self.shared.lifetime);
        let mut entries = self.shared.entries.lock();
        let Some(entry) = entries.get_mut(&self.account) else { return };
        match looked_up {
            Ok(tier) => {
                entry.tier = tier.map(Into::into);
                entry.fresh_until = now + lifetime;
            }
            Err(error) => {
                entry.fresh_until = now + lifetime / RETRIES_PER_LIFETIME;
                drop(entries);
                warn(format_args!("the tier of an account could not be looked up: {error}"));
            }
        }
    }
}

impl Drop for Refresh {
    fn drop(&mut self) {
        if let Some(entry) = self.shared.entries.lock().get_mut(&self.account) {
            entry.is_refreshing = false;
        }
    }
}

impl<F> KeyExtractor for CachedBy<F>
where
    F: Fn(&RequestView<'_>) -> Option<String> + Send + Sync + 'static,
{
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let account = (self.account)(request).ok_or(MissingKey)?;
        key.part(&*self.cached.get(&account).ok_or(MissingKey)?);
        Ok(())
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("accounts", &self.len()).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for CachedBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cached.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::yield_now;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    /// A cache whose lookups are counted; the tier says which it was.
    fn counted(lookups: &Arc<AtomicUsize>) -> Cached {
        let lookups = Arc::clone(lookups);
        Cached::new(2, LIFETIME, move |account: String| {
            let number = lookups.fetch_add(1, Ordering::Relaxed);
            async move {
                match &*account {
                    "broken" => Err("no database"),
                    "panics" => panic!("a mistake in the lookup"),
                    _ => Ok(Some(format!("tier-{number}"))),
                }
            }
        })
    }

    async fn settled(cached: &Cached, account: &str) -> Option<Arc<str>> {
        let _ = cached.get(account);
        yield_now().await;
        yield_now().await;
        cached.get(account)
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_tier_is_none_until_it_was_looked_up_once() {
        let lookups = Arc::default();
        let cached = counted(&lookups);
        assert_eq!((cached.get("acme"), cached.get("acme")), (None, None));
        assert_eq!(settled(&cached, "acme").await.as_deref(), Some("tier-0"));
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stale_tier_is_used_while_it_is_looked_up_again() {
        let lookups = Arc::default();
        let cached = counted(&lookups);
        settled(&cached, "acme").await;
        tokio::time::advance(LIFETIME).await;
        assert_eq!(cached.get("acme").as_deref(), Some("tier-0"));
        assert_eq!(settled(&cached, "acme").await.as_deref(), Some("tier-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_error_or_a_panic_it_is_tried_again_later() {
        let lookups = Arc::default();
        let cached = counted(&lookups);
        assert_eq!(settled(&cached, "broken").await, None);
        assert_eq!(settled(&cached, "broken").await, None);
        assert_eq!(lookups.load(Ordering::Relaxed), 1, "not at once");
        tokio::time::advance(LIFETIME / RETRIES_PER_LIFETIME).await;
        settled(&cached, "broken").await;
        assert_eq!(lookups.load(Ordering::Relaxed), 2);
        settled(&cached, "panics").await;
        assert!(lookups.load(Ordering::Relaxed) > 2, "one that panicked does not stay in flight");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_accounts_are_remembered_than_there_may_be() {
        let cached = counted(&Arc::default());
        for account in ["a", "b", "c", "d"] {
            settled(&cached, account).await;
        }
        assert_eq!(cached.len(), 2);
        cached.forget("d");
        assert_eq!(cached.get("d"), None);
    }

    #[test]
    fn outside_of_a_runtime_nothing_is_looked_up() {
        let cached = counted(&Arc::default());
        assert_eq!(cached.get("acme"), None);
        assert!(cached.is_empty());
    }
}
