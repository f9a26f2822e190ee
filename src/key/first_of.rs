//! One place after another.

use std::{borrow::Cow, sync::Arc};

use crate::{
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, RouteParams},
    request::{Http, RequestKind},
};

/// Tries one extractor after another; made by [`first_of`].
#[derive(Clone, Debug)]
pub struct FirstOf<A> {
    alternatives: A,
}

/// MultipleValues extractors to try in order: a tuple or a list of them. Nothing else implements this.
pub trait Alternatives<K: RequestKind = Http>: sealed::Sealed<K> + Send + Sync + 'static {
    #[doc(hidden)]
    /// Calls `visit` with one after another until it returns true; says whether it did.
    fn any(&self, visit: &mut dyn FnMut(&dyn KeyExtractor<K>) -> bool) -> bool;
}

/// The key that the first of `alternatives` finds.
///
/// Where the key was found does not become part of it: the same account is one key whether it came in a header or in the
/// query. A client can choose among the places it controls, so put those it does not control first.
#[must_use]
pub const fn first_of<A>(alternatives: A) -> FirstOf<A> {
    FirstOf { alternatives }
}

impl<K: RequestKind, A: Alternatives<K>> KeyExtractor<K> for FirstOf<A> {
    fn extract(&self, request: K::View<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let before = key.key();
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

    fn validate(&self) -> Result<(), ConfigError> {
        let mut first = Ok(());
        self.alternatives.any(&mut |extractor| {
            first = extractor.validate();
            first.is_err()
        });
        first
    }

    /// One alternative that finds something is enough.
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
