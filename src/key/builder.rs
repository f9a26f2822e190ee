//! A key and how it is put together from parts.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
};

use siphasher::sip128::{Hash128, SipHasher13};
#[cfg(feature = "redis")]
use smallvec::SmallVec;

/// Bytes of a part that are kept as they are: room for an address or a number.
const VERBATIM: usize = 15;
/// In the place of the length of a key that is a hash.
const HASHED: u8 = 0xff;

/// Who is counted: one or several parts, joined unambiguously, in 16 bytes.
///
/// A part of up to 15 bytes is kept as it is; a longer one, and several together, are a keyed hash of 120 bits. So every
/// key takes the same small place, and a limiter does not hold on to its clients' identities.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    words: [u64; 2],
}

/// Joins the parts of a key.
///
/// Several parts are hashed one by one and then together, so `("a", "bc")` and `("ab", "c")` differ, and so do one empty
/// part and none.
#[derive(Debug)]
pub struct KeyBuilder<'a> {
    key: Key,
    /// The key of the first part alone.
    first: Key,
    hasher: &'a KeyHasher,
}

/// What a key can be made from without a request: text, bytes, or several of them.
///
/// ```
/// # use tower_quota::{Policy, RateLimiter, Rule};
/// # let limiter = RateLimiter::builder()
/// #     .rule(Rule::new("tables").every_request().level("account+table", "").policy(Policy::per_minute(1)))
/// #     .build()?;
/// assert!(limiter.check("tables", ("acme", "orders"))?.is_admitted());
/// assert!(limiter.check("tables", ("acmeo", "rders"))?.is_admitted());
/// assert!(!limiter.check("tables", ("acme", "orders"))?.is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait KeyParts {
    /// Writes the parts.
    fn write(&self, key: &mut KeyBuilder<'_>);
}

/// The secrets of one limiter's key hashes, drawn at random when it is built: one for parts, one for joining them.
///
/// The hash is SipHash-1-3 with 128 bits of result: without the secrets nobody can make two keys collide.
pub(crate) struct KeyHasher {
    parts: SipHasher13,
    joined: SipHasher13,
}

impl Key {
    /// The key of all requests that carry none: it has no part, which no extracted key has.
    pub(crate) const SHARED: Self = Self { words: [0; 2] };

    fn of_part(part: &[u8], hasher: &KeyHasher) -> Self {
        let mut bytes = [0; 16];
        match bytes.get_mut(..part.len()) {
            Some(free) if part.len() <= VERBATIM => free.copy_from_slice(part),
            _ => return Self::hashed(hasher.parts.hash(part)),
        }
        bytes[VERBATIM] = part.len() as u8 + 1;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Self { words: [word(0), word(8)] }
    }

    fn joined(self, part: Self, hasher: &KeyHasher) -> Self {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.words.iter().chain(&part.words)) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self::hashed(hasher.joined.hash(&bytes))
    }

    /// The top byte tells a hash from a part kept as it is, so of the hash 120 bits remain.
    const fn hashed(hash: Hash128) -> Self {
        Self { words: [hash.h1, hash.h2 | (HASHED as u64) << 56] }
    }

    /// What it is made of, as far as that can still be told.
    #[cfg(feature = "redis")]
    pub(crate) fn text(self) -> Text {
        let bytes: SmallVec<[u8; 16]> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let part = |length: u8| bytes.iter().copied().take(length.into()).collect();
        match self.length() {
            0 => Text::Shared,
            HASHED => Text::Hash(part(VERBATIM as u8)),
            length => Text::Part(part(length - 1)),
        }
    }

    const fn length(self) -> u8 {
        (self.words[1] >> 56) as u8
    }
}

/// What a key is made of.
#[cfg(feature = "redis")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Nothing: all requests without a key share it.
    Shared,
    /// One short part.
    Part(SmallVec<[u8; 16]>),
    /// A long part, or several.
    Hash(SmallVec<[u8; 16]>),
}

impl fmt::Debug for Key {
    /// Keys are other people's identities: only their kind is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            0 => f.write_str("Key(shared)"),
            HASHED => f.write_str("Key(hashed)"),
            length => write!(f, "Key({} bytes)", length - 1),
        }
    }
}

impl<'a> KeyBuilder<'a> {
    pub(crate) const fn new(hasher: &'a KeyHasher) -> Self {
        Self { key: Key::SHARED, first: Key::SHARED, hasher }
    }

    /// Adds a part.
    pub fn part(&mut self, part: impl AsRef<[u8]>) {
        let part = Key::of_part(part.as_ref(), self.hasher);
        if self.key == Key::SHARED {
            (self.key, self.first) = (part, part);
        } else {
            self.key = self.key.joined(part, self.hasher);
        }
    }

    /// A number that is the same for all keys with the same first part.
    pub(crate) const fn tenant(&self) -> u32 {
        let word = self.first.words[0] ^ self.first.words[1];
        (word ^ (word >> 32)) as u32
    }

    /// The key of the parts so far.
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// Throws away the parts that were added since the key was `earlier`.
    pub(crate) const fn return_to(&mut self, earlier: Key) {
        // Without parts there is no first one either; the next one becomes it.
        self.key = earlier;
    }
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
        Self { parts: half(0), joined: half(2) }
    }
}

impl Default for KeyHasher {
    /// The standard library is where the randomness comes from.
    fn default() -> Self {
        let random = RandomState::new();
        let secret =
            |number: u8| SipHasher13::new_with_keys(random.hash_one((number, 0)), random.hash_one((number, 1)));
        Self { parts: secret(0), joined: secret(1) }
    }
}

impl<P: KeyParts + ?Sized> KeyParts for &P {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        (**self).write(key);
    }
}

impl KeyParts for str {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for String {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for [u8] {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl<P: KeyParts, const N: usize> KeyParts for [P; N] {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        self.iter().for_each(|part| part.write(key));
    }
}

macro_rules! key_parts_of_tuples {
    ($(($($part:ident),+))+) => {$(
        impl<$($part: KeyParts),+> KeyParts for ($($part,)+) {
            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn write(&self, key: &mut KeyBuilder<'_>) {
                let ($($part,)+) = self;
                $($part.write(key);)+
            }
        }
    )+};
}

key_parts_of_tuples! { (A, B) (A, B, C) (A, B, C, D) }

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(hasher: &KeyHasher, parts: &[Vec<u8>]) -> Key {
        let mut builder = KeyBuilder::new(hasher);
        parts.iter().for_each(|part| builder.part(part));
        builder.key()
    }

    fn parts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let hasher = KeyHasher::default();
        let key = |texts: &[&str]| key(&hasher, &parts(texts));
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(key(&["a", "b"]), key(&["a\u{1}b"]));
        assert_ne!(key(&["a\0", "b"]), key(&["a", "\0b"]));
        assert_ne!(key(&["{a}"]), key(&["{a", "}"]));
        assert_ne!(key(&[""]), key(&[]));
        assert_ne!(key(&["", ""]), key(&[""]));
        assert_eq!(key(&[]), Key::SHARED);
    }

    #[test]
    fn an_address_is_kept_as_it_is_and_longer_keys_are_hashed() {
        let hasher = KeyHasher::default();
        assert_eq!(format!("{:?}", key(&hasher, &[vec![203, 0, 113, 9]])), "Key(4 bytes)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 15]])), "Key(15 bytes)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 16]])), "Key(hashed)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 16 * 1024]])), "Key(hashed)");
        assert_eq!(size_of::<Key>(), 16);
    }

    #[test]
    fn hashes_of_long_keys_differ_between_limiters() {
        let long = parts(&["a value that is clearly longer than a key may be"]);
        assert_ne!(key(&KeyHasher::default(), &long), key(&KeyHasher::default(), &long));
    }

    #[test]
    fn a_short_key_that_spells_a_hash_is_not_one() {
        let hasher = KeyHasher::default();
        let hashed = key(&hasher, &[vec![7; 100]]);
        let bytes: Vec<u8> = hashed.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_ne!(key(&hasher, &[bytes[..15].to_vec()]), hashed);
        assert_ne!(key(&hasher, &[bytes]), hashed);
    }

    proptest! {
        #[test]
        fn different_parts_never_make_the_same_key(
            one in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
            other in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4),
        ) {
            let hasher = KeyHasher::default();
            prop_assert_eq!(key(&hasher, &one) == key(&hasher, &other), one == other);
        }

        #[test]
        fn moving_the_boundary_between_parts_makes_another_key(text in "[a-z{}:|]{2,80}", at in 1usize..79) {
            prop_assume!(at < text.len());
            let hasher = KeyHasher::default();
            let (left, right) = text.split_at(at);
            prop_assert_ne!(key(&hasher, &parts(&[left, right])), key(&hasher, &parts(&[&text])));
        }
    }
}
