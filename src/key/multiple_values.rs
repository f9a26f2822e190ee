//! Which of several values counts.

use crate::key::{KeyBuilder, MissingKey};

/// Which value counts if a header field, a cookie or a query parameter stands in a request several times.
///
/// It should be the one that the service behind reads, or a client can choose its key: with one value that the service
/// reads and another that counts, it has as many histories as it can think of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MultipleValues {
    /// The first: what `HeaderMap::get` gives to handlers, and tonic's `MetadataMap::get`.
    First,
    /// The last: what axum's `Query` of a map gives to handlers, and the cookie jars of axum-extra.
    Last,
    /// All of them, as parts of one key.
    Joined,
    /// None: the key is missing.
    MissingKey,
}

impl MultipleValues {
    /// Adds those of the values that count to the key, as `read` has them. If it can make nothing of one of them then
    /// the key is missing.
    pub(super) fn add<V, T>(
        self,
        mut values: impl Iterator<Item = V>,
        read: impl Fn(V) -> Option<T>,
        key: &mut KeyBuilder<'_>,
    ) -> Result<(), MissingKey>
    where
        T: AsRef<[u8]>,
    {
        let mut add = |value| read(value).map(|part| key.part(part)).ok_or(MissingKey);
        let first = values.next().ok_or(MissingKey)?;
        match self {
            Self::First => add(first),
            Self::Last => add(values.last().unwrap_or(first)),
            Self::Joined => add(first).and_then(|()| values.try_for_each(add)),
            Self::MissingKey => values.next().map_or_else(|| add(first), |_| Err(MissingKey)),
        }
    }
}
