//! The identity that is counted.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use crate::key::PackedKey;
#[cfg(feature = "redis")]
use crate::key::Text;

/// The identity that is counted: one or several parts, joined unambiguously, in a small place of fixed size.
///
/// A part of up to 27 bytes is kept as it is; a longer one, and several together, are a keyed hash of 120 bits. So every
/// key takes the same small place, whatever a client sends.
///
/// A key that was read from a request ([`RuleHandle::key_of`](crate::RuleHandle::key_of),
/// [`RateLimiter::matching`](crate::RateLimiter::matching)) can be asked for: it is a [`KeyParts`](crate::key::KeyParts).
/// It belongs to the limiter that made it, and to those whose store has the same
/// [secret](crate::store::Store::key_secret).
#[derive(Clone, Copy)]
pub struct Key {
    /// The same for all keys with the same first part, so no key differs by it alone.
    pub(super) tenant: u32,
    pub(super) packed: PackedKey,
}

impl Key {
    /// The key of all requests that carry none ([`OnMissing::Share`](crate::OnMissing::Share)): it has no part, which no
    /// key that an extractor reads has.
    pub const SHARED: Self = Self { tenant: 0, packed: PackedKey::SHARED };

    /// Returns the bytes that a store keeps a history by: different for different keys, and the same on every machine, in
    /// every process whose store has the same [secret](crate::store::Store::key_secret).
    ///
    /// A part of up to 27 bytes can be read in them, and these are other people's identities: they belong into no log.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule};
    ///
    /// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
    /// let limiter = RateLimiter::builder().rule(jobs).build()?;
    ///
    /// let (acme, globex) = (limiter.key("acme"), limiter.key("globex"));
    /// assert_ne!(acme.to_bytes(), globex.to_bytes());
    /// assert!(acme.to_bytes().starts_with(b"acme"));
    /// assert_eq!(format!("{acme:?}"), "Key(4 bytes)");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_bytes(self) -> [u8; 28] {
        self.packed.to_bytes()
    }

    /// The key of a history in a table, where nobody asks for the tenant.
    pub(crate) const fn from_packed(packed: PackedKey) -> Self {
        Self { tenant: 0, packed }
    }

    pub(crate) const fn packed(self) -> PackedKey {
        self.packed
    }

    /// A number that is the same for all keys with the same first part.
    pub(crate) const fn tenant(self) -> u32 {
        self.tenant
    }

    /// What it is made of, as far as that can still be told.
    #[cfg(feature = "redis")]
    pub(crate) fn text(self) -> Text {
        self.packed.text()
    }

    /// A number that differs for most keys, for no purpose where somebody could gain by making it the same.
    #[inline]
    pub(crate) const fn mixed(self) -> u64 {
        self.packed.mixed()
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.packed == other.packed
    }
}

impl Eq for Key {}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.packed.hash(state);
    }
}

impl fmt::Debug for Key {
    /// Keys are other people's identities: only their kind is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packed.fmt(f)
    }
}
