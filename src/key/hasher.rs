//! The keyed hashes of keys.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use siphasher::sip128::{Hash128, SipHasher13};

/// The secrets of one limiter's key hashes, one for parts and one for joining them. They are drawn at random when it is
/// built, unless its store has a secret.
///
/// The hash is SipHash-1-3 with 128 bits of result: without the secrets nobody can construct two keys that collide.
pub(crate) struct KeyHasher {
    parts: SipHasher13,
    joined: SipHasher13,
    /// True if tenants decide where histories are kept: then no client may choose the place by the text of its key.
    hashes_tenants: bool,
}

impl fmt::Debug for KeyHasher {
    /// Shows no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

impl KeyHasher {
    /// Creates the hasher of a secret. Equal secrets give equal hashes.
    pub(crate) fn with_secret(secret: [u8; 32]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| secret[8 * at + byte]));
        let half = |at: usize| SipHasher13::new_with_keys(word(at), word(at + 1));
        Self { parts: half(0), joined: half(2), hashes_tenants: true }
    }

    /// Returns true if tenants decide where histories are.
    #[inline]
    pub(super) const fn hashes_tenants(&self) -> bool {
        self.hashes_tenants
    }

    /// Returns the hash of the first part of a key.
    pub(super) fn hash_tenant(&self, first_part: &[u8; 32]) -> u32 {
        // Joined keys hash twice as many bytes, so this is never the hash of one.
        self.joined.hash(first_part).h1 as u32
    }

    /// Returns the hash of one part.
    pub(super) fn hash_part(&self, part: &[u8]) -> Hash128 {
        self.parts.hash(part)
    }

    /// Returns the hash of two keys that are joined.
    pub(super) fn hash_joined(&self, both: &[u8; 64]) -> Hash128 {
        self.joined.hash(both)
    }
}

impl Default for KeyHasher {
    /// Draws the secrets from the standard library's source of randomness.
    fn default() -> Self {
        let random = RandomState::new();
        let secret =
            |number: u8| SipHasher13::new_with_keys(random.hash_one((number, 0)), random.hash_one((number, 1)));
        Self { parts: secret(0), joined: secret(1), hashes_tenants: false }
    }
}
