//! The identity that is counted.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use siphasher::sip128::Hash128;
#[cfg(feature = "redis")]
use smallvec::SmallVec;

use crate::key::KeyHasher;

/// Bytes of a part that are kept as they are: room for an address, a number, or an identifier of usual length.
pub(super) const MAX_VERBATIM: usize = 27;
/// Bytes of a keyed hash: its top byte is left out.
#[cfg(any(feature = "redis", test))]
pub(super) const HASH_BYTES: usize = 15;
/// In the place of the length of a key that is a hash.
const HASHED: u8 = 0xff;

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

/// One history to charge with one unit: the history of a key in a scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    pub(crate) scope: u32,
    pub(crate) key: Key,
}

/// A key in 28 bytes: one part as it is, or the keyed hash of a long one or of several.
// Packed so that a key and a history fit into one cache line; its fields are copied, never referred to.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
pub(crate) struct PackedKey {
    /// The part or the hash, then zeros.
    words: [u64; 3],
    /// The last three bytes of it, and then the length and one, or what else it is.
    rest: u32,
}

/// A key as text, as far as that can still be told.
#[cfg(feature = "redis")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Nothing: all requests without a key share it.
    Shared,
    /// One short part.
    Part(SmallVec<[u8; 32]>),
    /// A long part, or several.
    Hash(SmallVec<[u8; 32]>),
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

impl Charge {
    /// Returns a number that is the same for all keys with the same first part, to keep their histories in one place.
    #[must_use]
    pub const fn tenant(&self) -> u32 {
        self.key.tenant()
    }

    /// Returns the number of the scope among those of the [`Setup`](crate::store::Setup).
    #[must_use]
    pub const fn scope(&self) -> u32 {
        self.scope
    }

    /// Returns the key that is charged.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }
}

impl fmt::Debug for Charge {
    /// Without the tenant, which is made of the key: that is other people's identity.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("scope", &self.scope).field("key", &self.key).finish_non_exhaustive()
    }
}

impl PackedKey {
    /// The key of no part.
    pub(crate) const SHARED: Self = Self { words: [0; 3], rest: 0 };

    /// Becomes the key of one part. In place: what is read right after it was written has to be read in the same words,
    /// and a copy is not.
    pub(super) fn set_part(&mut self, part: &[u8], hasher: &KeyHasher) {
        if part.len() > MAX_VERBATIM {
            *self = Self::hashed(hasher.hash_part(part));
            return;
        }
        let (first, second) = part.split_at(part.len().min(16));
        let (first, second) = (word_of(first), word_of(second));
        self.words = [first as u64, (first >> 64) as u64, second as u64];
        self.rest = (second >> 64) as u32 | (part.len() as u32 + 1) << 24;
    }

    pub(super) fn joined(self, part: Self, hasher: &KeyHasher) -> Self {
        let mut bytes = [0; 64];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.to_words().into_iter().chain(part.to_words())) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self::hashed(hasher.hash_joined(&bytes))
    }

    /// Of the hash 120 bits remain.
    const fn hashed(hash: Hash128) -> Self {
        Self { words: [hash.h1, hash.h2 & (u64::MAX >> 8), 0], rest: (HASHED as u32) << 24 }
    }

    /// What it is made of, as far as that can still be told.
    #[cfg(feature = "redis")]
    pub(crate) fn text(self) -> Text {
        let part = |length| self.to_words().into_iter().flat_map(u64::to_le_bytes).take(length).collect();
        match self.length() {
            0 => Text::Shared,
            HASHED => Text::Hash(part(HASH_BYTES)),
            length => Text::Part(part(usize::from(length) - 1)),
        }
    }

    /// A number that differs for most keys, for no purpose where somebody could gain by making it the same.
    #[inline]
    pub(crate) const fn mixed(self) -> u64 {
        let [first, second, third, rest] = self.to_words();
        let word = first ^ second.rotate_left(21) ^ third.rotate_left(42) ^ rest;
        word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56
    }

    /// A number of the tenant whose key this is, as the first part of others.
    #[inline]
    pub(super) fn tenant(self, hasher: &KeyHasher) -> u32 {
        if hasher.hashes_tenants() { hasher.hash_tenant(&self.to_padded()) } else { self.fold_words() }
    }

    fn to_padded(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.to_words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// A number made of all of it.
    #[inline]
    const fn fold_words(self) -> u32 {
        let [first, second, third, rest] = self.to_words();
        let word = first ^ second ^ third ^ (rest << 32);
        (word ^ (word >> 32)) as u32
    }

    /// Returns all of it, on every machine in the same order.
    pub(super) fn to_bytes(self) -> [u8; 28] {
        let mut bytes = self.to_words().into_iter().flat_map(u64::to_le_bytes);
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }

    const fn length(self) -> u8 {
        (self.rest >> 24) as u8
    }

    #[inline]
    pub(super) const fn to_words(self) -> [u64; 4] {
        let [first, second, third] = self.words;
        [first, second, third, self.rest as u64]
    }
}

impl PartialEq for PackedKey {
    /// Without a branch or a call: a look-up nearly always compares equal keys.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differences = self.to_words().into_iter().zip(other.to_words()).map(|(ours, theirs)| ours ^ theirs);
        differences.fold(0, |all, difference| all | difference) == 0
    }
}

impl Eq for PackedKey {}

impl Hash for PackedKey {
    /// Word by word: a derived one would hash the lengths of arrays, and bytes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_words().into_iter().for_each(|word| state.write_u64(word));
    }
}

/// Up to 16 bytes as a number. Loads of a fixed length that overlap are several times faster than a copy of any length.
#[inline]
fn word_of(bytes: &[u8]) -> u128 {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            u128::from(first) | u128::from(last) << (8 * (bytes.len() - 8))
        }
        _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
    }
}

impl fmt::Debug for PackedKey {
    /// Keys are other people's identities: only their kind is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            0 => f.write_str("Key(shared)"),
            HASHED => f.write_str("Key(hashed)"),
            length => write!(f, "Key({} bytes)", length - 1),
        }
    }
}
