//! Extracts a key from a value that an outer layer has attached to the request.

use std::{borrow::Cow, fmt, marker::PhantomData};

use crate::{
    key::{KeyBuilder, KeyExtractor, KeyForms, KeyParts, MissingKey},
    request::RequestView,
    warn::{Sightings, Warning},
};

/// Reads from a value in the request's extensions; made by [`claim`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor};
///
/// struct Claims {
///     account: String,
/// }
///
/// let account = key::claim(|claims: &Claims| &claims.account);
/// assert_eq!(account.name(), "claim");
/// ```
pub struct Claim<T, F> {
    read: F,
    marker: PhantomData<fn(&T)>,
    sightings: Sightings,
}

/// Counts by the key that `read` finds in the `T` among the request's extensions, such as the verified claims of an
/// authentication layer.
///
/// The key is missing if there is no `T`: because the request did not pass that layer, or this one is outside of it. If
/// a hundred requests have none, and no request ever had one, then that is a [warning](crate#warnings), once.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// #[derive(Clone)]
/// struct Claims {
///     account: String,
///     team: Option<u64>,
/// }
///
/// // A claim that may be absent is read by a closure.
/// let team = |request: &RequestView<'_>| request.extensions().get::<Claims>()?.team;
/// let rule = |name: &str| Rule::new(name).every_request().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder()
///     .rule(rule("accounts").key(key::claim(|claims: &Claims| &claims.account)))
///     .rule(rule("teams").key(team))
///     .build()?;
///
/// let claims = Claims { account: "acme".into(), team: None };
/// let request = Request::get("/").extension(claims).body(())?;
/// let governing = limiter.matching(&RequestView::new(&request));
/// assert_eq!(governing[0].key(), Some(limiter.key("acme")));
/// assert_eq!(governing[1].key(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const fn claim<T, R, F>(read: F) -> Claim<T, F>
where
    T: Send + Sync + 'static,
    R: KeyParts + ?Sized,
    F: Fn(&T) -> &R + Send + Sync + 'static,
{
    Claim { read, marker: PhantomData, sightings: Sightings::new() }
}

impl<T, R, F> KeyExtractor for Claim<T, F>
where
    T: Send + Sync + 'static,
    R: KeyParts + ?Sized + 'static,
    F: Fn(&T) -> &R + Send + Sync + 'static,
{
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let Some(value) = request.extensions().get::<T>() else {
            if self.sightings.missed() {
                key.warn(|| Warning::ClaimMissing(std::any::type_name::<T>()));
            }
            return Err(MissingKey);
        };
        self.sightings.found();
        (self.read)(value).write(key);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("claim")
    }

    fn forms(&self) -> KeyForms {
        KeyForms::from_type::<R>()
    }
}

impl<T, F: Clone> Clone for Claim<T, F> {
    fn clone(&self) -> Self {
        Self { read: self.read.clone(), marker: PhantomData, sightings: self.sightings.clone() }
    }
}

impl<T, F> fmt::Debug for Claim<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Claim<{}>", std::any::type_name::<T>())
    }
}
