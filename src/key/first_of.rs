//! Several extractors, tried in order.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, KeyForms, MissingKey, RouteParams},
    request::{Http, RequestKind},
};

/// Tries extractors in order; made by [`first_of`].
///
/// ```
/// use tower_quota::{http::Http, key::{self, KeyExtractor}};
///
/// let account = key::first_of([key::header("x-account-id"), key::header("x-api-key")]);
/// assert_eq!(KeyExtractor::<Http>::name(&account), "x-account-id");
/// ```
#[derive(Clone, Debug)]
pub struct FirstOf<A> {
    alternatives: A,
}

/// Several extractors to try in order: a tuple of up to six, an array, or a `Vec` of `Arc<dyn KeyExtractor>`. The trait
/// is sealed.
///
/// ```
/// use std::sync::Arc;
/// use tower_quota::key::{self, FirstOf, KeyExtractor};
///
/// type Extractors = Vec<Arc<dyn KeyExtractor>>;
///
/// /// Reads the account from the first of these fields that a request has.
/// fn account(names: &[&'static str]) -> FirstOf<Extractors> {
///     let one = |name: &&'static str| -> Arc<dyn KeyExtractor> {
///         Arc::new(key::header(*name))
///     };
///     key::first_of(names.iter().map(one).collect())
/// }
/// assert_eq!(account(&["x-account-id", "x-api-key"]).name(), "x-account-id");
/// ```
pub trait Alternatives<K: RequestKind = Http>: sealed::Sealed<K> + Send + Sync + 'static {
    #[doc(hidden)]
    /// Calls `visit` with one extractor after another until it returns true. Returns whether it did.
    fn any(&self, visit: &mut dyn FnMut(&dyn KeyExtractor<K>) -> bool) -> bool;
}

/// Counts by the key that the first of `alternatives` finds.
///
/// The place where the key was found does not become part of it: the same account is one key whether it came in a
/// header field or in the query. A client can choose among the places it controls, so put those it does not control
/// first.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let account = key::first_of((key::header("x-account-id"), key::query("accountId")));
/// let rule = Rule::new("calls").every_request().key(account);
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// for request in [
///     Request::get("/").header("x-account-id", "acme").body(())?,
///     Request::get("/?accountId=acme").body(())?,
/// ] {
///     let matching = limiter.matching(&RequestView::new(&request));
///     assert_eq!(matching[0].key(), Some(limiter.key("acme")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn first_of<A>(alternatives: A) -> FirstOf<A> {
    FirstOf { alternatives }
}

impl<K: RequestKind, A: Alternatives<K>> KeyExtractor<K> for FirstOf<A> {
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let before = key.mark();
        let found = self.alternatives.any(&mut |extractor| {
            key.return_to(before);
            extractor.extract(request, key).is_ok()
        });
        if found { Ok(()) } else { Err(MissingKey) }
    }

    fn name(&self) -> Cow<'_, str> {
        let mut first = None;
        self.alternatives.any(&mut |extractor| {
            first = Some(extractor.name().into_owned());
            true
        });
        first.map_or(Cow::Borrowed("key"), Cow::Owned)
    }

    fn forms(&self) -> KeyForms {
        let mut all: Option<KeyForms> = None;
        self.alternatives.any(&mut |extractor| {
            let forms = extractor.forms();
            all = Some(match all.take() {
                Some(others) => others.or(forms),
                None => forms,
            });
            false
        });
        all.unwrap_or_else(KeyForms::any)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let mut first = Ok(());
        self.alternatives.any(&mut |extractor| {
            first = extractor.validate();
            first.is_err()
        });
        first
    }

    /// Accepts the alternatives if at least one can find a key.
    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        let mut first = Ok(());
        let usable = self.alternatives.any(&mut |extractor| match extractor.validate_on(params) {
            Ok(()) => true,
            Err(error) => {
                if first.is_ok() {
                    first = Err(error);
                }
                false
            }
        });
        if usable { Ok(()) } else { first }
    }
}

mod sealed {
    pub trait Sealed<K> {}
}

impl<K: RequestKind> sealed::Sealed<K> for Vec<Arc<dyn KeyExtractor<K>>> {}

impl<K: RequestKind> Alternatives<K> for Vec<Arc<dyn KeyExtractor<K>>> {
    fn any(&self, visit: &mut dyn FnMut(&dyn KeyExtractor<K>) -> bool) -> bool {
        self.iter().any(|extractor| visit(extractor))
    }
}

impl<K: RequestKind, E: KeyExtractor<K>, const N: usize> sealed::Sealed<K> for [E; N] {}

impl<K: RequestKind, E: KeyExtractor<K>, const N: usize> Alternatives<K> for [E; N] {
    fn any(&self, visit: &mut dyn FnMut(&dyn KeyExtractor<K>) -> bool) -> bool {
        self.iter().any(|extractor| visit(extractor))
    }
}

macro_rules! alternatives_in_tuples {
    ($(($($part:ident),+))+) => {$(
        impl<K: RequestKind, $($part: KeyExtractor<K>),+> sealed::Sealed<K> for ($($part,)+) {}

        impl<K: RequestKind, $($part: KeyExtractor<K>),+> Alternatives<K> for ($($part,)+) {
            #[allow(non_snake_case, reason = "the alternatives are named after their types")]
            fn any(&self, visit: &mut dyn FnMut(&dyn KeyExtractor<K>) -> bool) -> bool {
                let ($($part,)+) = self;
                $(visit($part))||+
            }
        }
    )+};
}

alternatives_in_tuples! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }
