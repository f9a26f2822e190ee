//! Keys, charges, and the bytes of a key.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use siphasher::sip128::Hash128;
use smallvec::SmallVec;

use crate::{key::KeyHasher, policy::Enforcement};

/// Maximum length of a part that is kept as it is: room for an address, a number, or an identifier of usual length.
pub(super) const MAX_VERBATIM: usize = 27;
/// Bytes of a keyed hash, without its top byte.
pub(super) const HASH_BYTES: usize = 15;
/// Stands for the length of a key that is a hash.
const HASHED: u8 = 0xff;

/// A key: the identity that is counted. It has one or several parts, joined unambiguously in 28 bytes.
///
/// A part of up to 27 bytes is kept as it is; a longer one, and several together, are a keyed hash of 120 bits. So
/// every key takes the same space, whatever a client sends.
///
/// A key that was read from a request ([`RuleHandle::key_of`](crate::RuleHandle::key_of),
/// [`RateLimiter::matching`](crate::RateLimiter::matching)) can be passed to a check, since it is a
/// [`KeyParts`](crate::key::KeyParts). It is valid for the limiter that made it, and for those whose store has the same
/// [secret](crate::store::Store::key_secret).
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key::Key};
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
///
/// let key: Key = limiter.key(("acme", "orders"));
/// assert_ne!(key, limiter.key("acmeorders"));
/// assert!(limiter.rule("jobs")?.admit(key));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Key {
    /// The tenant, or zero if it is to be made of the packed key when somebody asks. It follows from the parts, so no two keys
    /// differ by it alone.
    tenant: u32,
    pub(super) packed: PackedKey,
}

/// A charge: it names a history, by a key in a scope, and the [units](Self::units) to record there. Stores get charges from a
/// limiter.
///
/// ```
/// use tower_quota::store::Charge;
///
/// /// Keeps the histories of one tenant in one place.
/// fn shard_of(charge: &Charge, shards: u32) -> u32 {
///     charge.tenant() % shards
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Charge {
    pub(crate) target: ChargeTarget,
    pub(crate) key: Key,
    pub(crate) enforcement: Enforcement,
    pub(crate) units: u64,
}

/// The half of a charge that is the same for all keys: the histories of a scope, and the plan that judges them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ChargeTarget {
    /// The number of the scope.
    pub(crate) scope: u32,
    /// The number of the shape that the scope's histories have for this plan.
    pub(crate) shape: u32,
    /// The number of the plan.
    pub(crate) plan: u32,
}

/// A key in 28 bytes: one part as it is, or the keyed hash of a long one or of several.
// Packed so that a key and a history fit into one cache line. Its fields are copied, never borrowed.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
pub(crate) struct PackedKey {
    /// The part or the hash, padded with zeros.
    words: [u64; 3],
    /// The last three bytes of the part, and above them its length plus one, or a marker.
    rest: u32,
}

/// The contents of a key, as far as they can still be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// No part: the key that all requests without one share.
    Shared,
    /// One short part.
    Part(SmallVec<[u8; 32]>),
    /// A long part, or several.
    Hash(SmallVec<[u8; 32]>),
}

impl Key {
    /// The key of all requests that carry none ([`OnMissing::Share`](crate::OnMissing::Share)). It has no part, and
    /// every key that an extractor reads has one.
    pub const SHARED: Self = Self { tenant: 0, packed: PackedKey::SHARED };

    /// Returns the bytes that a store keeps a history by: different for different keys, and the same on every machine,
    /// in every process whose store has the same [secret](crate::store::Store::key_secret).
    ///
    /// A part of up to 27 bytes is readable in them. Do not log them: they identify users.
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

    /// Restores the key of a history in a table, which does not need the tenant.
    pub(crate) const fn from_packed(packed: PackedKey) -> Self {
        Self { tenant: 0, packed }
    }

    /// Creates a key of one part.
    pub(super) fn new(part: PackedKey, hasher: &KeyHasher) -> Self {
        let tenant = if hasher.hashes_tenants() { hasher.hash_tenant(&part.to_padded()).max(1) } else { 0 };
        Self { tenant, packed: part }
    }

    /// Returns the key of these parts and one more. Its tenant is that of the first.
    pub(super) fn joined(self, part: PackedKey, hasher: &KeyHasher) -> Self {
        Self { tenant: self.tenant(), packed: self.packed.joined(part, hasher) }
    }

    pub(crate) const fn packed(self) -> PackedKey {
        self.packed
    }

    /// Returns a number that is the same for all keys with the same first part.
    pub(crate) const fn tenant(self) -> u32 {
        if self.tenant == 0 { self.packed.fold_words() } else { self.tenant }
    }

    /// Returns its contents, as far as they can still be told.
    pub(crate) fn text(self) -> Text {
        self.packed.text()
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
    /// Shows the kind of the key alone, because keys identify users.
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

    /// Returns the number of the scope among those of the [`Setup`](crate::store::Setup): the histories that it names.
    #[must_use]
    pub const fn scope(&self) -> u32 {
        self.target.scope
    }

    /// Returns the number of the policy, by which [`Scopes::policy`](crate::store::Scopes::policy) finds it: the limits that
    /// judge the history.
    #[must_use]
    pub const fn plan(&self) -> u32 {
        self.target.plan
    }

    /// Returns the key that is charged.
    #[must_use]
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Returns the enforcement of the rule: how a store decides about this charge. It is never [`Enforcement::Off`].
    #[must_use]
    pub const fn enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// Returns the units that the request costs: 1, unless the rule [says otherwise](crate::Rule::cost).
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }
}

impl PartialEq for Charge {
    /// Compares what is charged: the history, and the policy that judges it. How that is enforced and what it costs is no part
    /// of it.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && self.key == other.key
    }
}

impl Eq for Charge {}

impl Hash for Charge {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.hash(state);
        self.key.hash(state);
    }
}

impl fmt::Debug for Charge {
    /// Omits the tenant, which is made of the key and identifies a user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("scope", &self.scope()).field("key", &self.key).finish_non_exhaustive()
    }
}

impl PackedKey {
    /// The key without a part.
    pub(crate) const SHARED: Self = Self { words: [0; 3], rest: 0 };

    /// Creates the key of one part.
    pub(super) fn from_part(part: &[u8], hasher: &KeyHasher) -> Self {
        if part.len() > MAX_VERBATIM {
            return Self::hashed(hasher.hash_part(part));
        }
        let mut key = Self::SHARED;
        key.set_verbatim(part);
        key
    }

    /// Sets the key to one part of up to 27 bytes. Written in place: reading a copy with other widths than were stored defeats
    /// store forwarding.
    #[inline]
    pub(super) fn set_verbatim(&mut self, part: &[u8]) {
        let (words, end) = words_of(part);
        *self = Self { words, rest: end | (part.len() as u32 + 1) << 24 };
    }

    /// Returns `true` if it has no part.
    #[inline]
    pub(super) const fn is_shared(&self) -> bool {
        self.rest == 0
    }

    fn joined(self, part: Self, hasher: &KeyHasher) -> Self {
        let mut bytes = [0; 64];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.to_words().into_iter().chain(part.to_words())) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self::hashed(hasher.hash_joined(&bytes))
    }

    /// Keeps 120 bits of the hash.
    const fn hashed(hash: Hash128) -> Self {
        Self { words: [hash.h1, hash.h2 & (u64::MAX >> 8), 0], rest: (HASHED as u32) << 24 }
    }

    /// Returns its contents, as far as they can still be told.
    pub(crate) fn text(self) -> Text {
        let part = |length| self.to_words().into_iter().flat_map(u64::to_le_bytes).take(length).collect();
        match self.length() {
            0 => Text::Shared,
            HASHED => Text::Hash(part(HASH_BYTES)),
            length => Text::Part(part(usize::from(length) - 1)),
        }
    }

    fn to_padded(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.to_words()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Folds all words into one number, which is zero for the key without a part alone.
    const fn fold_words(self) -> u32 {
        let [first, second, third, rest] = self.to_words();
        let word = first ^ second ^ third ^ (rest << 32);
        match (word ^ (word >> 32)) as u32 {
            0 => self.length() as u32,
            folded => folded,
        }
    }

    /// Returns all bytes, on every machine in the same order.
    pub(super) fn to_bytes(self) -> [u8; 28] {
        let mut bytes = self.to_words().into_iter().flat_map(u64::to_le_bytes);
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }

    const fn length(self) -> u8 {
        (self.rest >> 24) as u8
    }

    #[inline]
    pub(crate) const fn to_words(self) -> [u64; 4] {
        let [first, second, third] = self.words;
        [first, second, third, self.rest as u64]
    }
}

impl PartialEq for PackedKey {
    /// Compares without a branch or a call: a look-up nearly always compares equal keys.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differences = self.to_words().into_iter().zip(other.to_words()).map(|(ours, theirs)| ours ^ theirs);
        differences.fold(0, |all, difference| all | difference) == 0
    }
}

impl Eq for PackedKey {}

impl Hash for PackedKey {
    /// Hashes word by word: a derived implementation would hash the lengths of arrays, and single bytes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_words().into_iter().for_each(|word| state.write_u64(word));
    }
}

/// Returns up to 27 bytes as three words, and the last three of them as another. Overlapping loads of a fixed length are several
/// times faster than a copy of variable length.
#[inline]
fn words_of(part: &[u8]) -> ([u64; 3], u32) {
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let Some((first, others)) = part.split_first_chunk() else { return ([word_of_few(part), 0, 0], 0) };
    let Some((second, others)) = others.split_first_chunk() else {
        return ([word(first), ending(part, others.len()), 0], 0);
    };
    let Some((third, others)) = others.split_first_chunk() else {
        return ([word(first), word(second), ending(part, others.len())], 0);
    };
    ([word(first), word(second), word(third)], ending(part, others.len()) as u32)
}

/// Returns the last `count` bytes, fewer than eight, of a text that is longer. What comes before them is shifted out.
#[inline]
fn ending(text: &[u8], count: usize) -> u64 {
    let last = text.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    last >> 8 >> (56 - 8 * count)
}

/// Returns fewer than eight bytes as a word.
#[inline]
fn word_of_few(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return u64::from(first) | u64::from(last) << (8 * (bytes.len() - 4));
    }
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

impl fmt::Debug for PackedKey {
    /// Shows the kind of the key alone, because keys identify users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            0 => f.write_str("Key(shared)"),
            HASHED => f.write_str("Key(hashed)"),
            length => write!(f, "Key({} bytes)", length - 1),
        }
    }
}
