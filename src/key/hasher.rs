//! The keyed hashes of keys.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use siphasher::sip128::{Hash128, SipHasher13};

/// The secrets of one limiter's key hashes, drawn at random when it is built: one for parts, one for joining them.
///
/// The hash is SipHash-1-3 with 128 bits of result: without the secrets nobody can make two keys collide.
pub(crate) struct KeyHasher {
    parts: SipHasher13,
    joined: SipHasher13,
    /// Whether tenants decide where histories are: then nobody may choose the place by the text of a key.
    hashes_tenants: bool,
}

impl fmt::Debug for KeyHasher {
    /// A secret is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

impl KeyHasher {
    /// The same hashes wherever the secret is the same.
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

    /// The hash of the first part of a key.
    pub(super) fn hash_tenant(&self, first_part: &[u8; 32]) -> u32 {
        // Keys are joined from twice as many bytes, so this is never the hash of one.
        self.joined.hash(first_part).h1 as u32
    }

    /// The hash of one part.
    pub(super) fn hash_part(&self, part: &[u8]) -> Hash128 {
        self.parts.hash(part)
    }

    /// The hash of two keys that are joined.
    pub(super) fn hash_joined(&self, both: &[u8; 64]) -> Hash128 {
        self.joined.hash(both)
    }
}

impl Default for KeyHasher {
    /// The standard library is where the randomness comes from.
    fn default() -> Self {
        let random = RandomState::new();
        let secret =
            |number: u8| SipHasher13::new_with_keys(random.hash_one((number, 0)), random.hash_one((number, 1)));
        Self { parts: secret(0), joined: secret(1), hashes_tenants: false }
    }
}
