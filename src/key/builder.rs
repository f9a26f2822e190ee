//! A key and how it is put together from parts.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
};

use siphasher::sip128::{Hash128, SipHasher13};
#[cfg(feature = "redis")]
use smallvec::SmallVec;

use crate::{key::Charge, warn::Warning};

/// Bytes of a part that are kept as they are: room for an address, a number, or an identifier of usual length.
const VERBATIM: usize = 27;
/// Bytes of a keyed hash: its top byte is left out.
#[cfg(any(feature = "redis", test))]
const OF_HASH: usize = 15;
/// In the place of the length of a key that is a hash.
const HASHED: u8 = 0xff;

/// Who is counted: one or several parts, joined unambiguously, in 28 bytes.
///
/// A part of up to 27 bytes is kept as it is; a longer one, and several together, are a keyed hash of 120 bits. So every
/// key takes the same small place, whatever a client sends.
// Packed so that a key and a history fit into one cache line; its fields are copied, never referred to.
#[derive(Clone, Copy)]
#[repr(Rust, packed(4))]
pub struct Key {
    /// What it is made of, then zeros.
    words: [u64; 3],
    /// The last three bytes of it, and then the length and one, or what else it is.
    rest: u32,
}

/// Joins the parts of a key.
///
/// Several parts are hashed one by one and then together, so `("a", "bc")` and `("ab", "c")` differ, and so do one empty
/// part and none.
#[derive(Debug)]
pub struct KeyBuilder<'a> {
    charge: Charge,
    hasher: &'a KeyHasher,
    /// What the request shows of the deployment. A function, so that nearly always there is one word to leave empty.
    warning: Option<fn() -> Warning>,
}

/// What a key can be made from without a request: text, bytes, or several of them.
///
/// ```
/// # use tower_quota::{Policy, RateLimiter, Rule, key};
/// # let limiter = RateLimiter::builder()
/// #     .rule(Rule::new("tables").every_request().level("account+table", key::constant("")).policy(Policy::per_minute(1)))
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
    /// Whether tenants decide where histories are: then nobody may choose the place by the text of a key.
    hashes_tenants: bool,
}

impl Key {
    /// The key of all requests that carry none: it has no part, which no extracted key has.
    pub(crate) const SHARED: Self = Self { words: [0; 3], rest: 0 };
    /// The length of a key in bytes.
    const SIZE: usize = 28;

    /// Returns all of it as bytes: equal for equal keys, and for no others. To keep a key outside of this process, in a store of your
    /// own: another process has the same bytes if it has the same [secret](crate::store::Store::key_secret).
    ///
    /// They hold a text of up to 27 bytes as it is. That may be somebody's identity: write it to no log.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 28] {
        let mut bytes = [0; Self::SIZE];
        let mut at = 0;
        while at < Self::SIZE {
            let word = self.all()[at / 8];
            bytes[at] = word.to_le_bytes()[at % 8];
            at += 1;
        }
        bytes
    }

    /// Becomes the key of one part. In place: what is read right after it was written has to be read in the same words,
    /// and a copy is not.
    fn become_part(&mut self, part: &[u8], hasher: &KeyHasher) {
        if part.len() > VERBATIM {
            *self = Self::hashed(hasher.parts.hash(part));
            return;
        }
        let (first, second) = part.split_at(part.len().min(16));
        let (first, second) = (word_of(first), word_of(second));
        self.words = [first as u64, (first >> 64) as u64, second as u64];
        self.rest = (second >> 64) as u32 | (part.len() as u32 + 1) << 24;
    }

    fn joined(self, part: Self, hasher: &KeyHasher) -> Self {
        let mut bytes = [0; 64];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.all().into_iter().chain(part.all())) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self::hashed(hasher.joined.hash(&bytes))
    }

    /// Of the hash 120 bits remain.
    const fn hashed(hash: Hash128) -> Self {
        Self { words: [hash.h1, hash.h2 & (u64::MAX >> 8), 0], rest: (HASHED as u32) << 24 }
    }

    /// What it is made of, as far as that can still be told.
    #[cfg(feature = "redis")]
    pub(crate) fn text(self) -> Text {
        let part = |length| self.all().into_iter().flat_map(u64::to_le_bytes).take(length).collect();
        match self.length() {
            0 => Text::Shared,
            HASHED => Text::Hash(part(OF_HASH)),
            length => Text::Part(part(usize::from(length) - 1)),
        }
    }

    /// A number that differs for most keys, for no purpose where somebody could gain by making it the same.
    #[inline]
    pub(crate) const fn mixed(self) -> u64 {
        let [first, second, third, rest] = self.all();
        let word = first ^ second.rotate_left(21) ^ third.rotate_left(42) ^ rest;
        word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56
    }

    /// A number made of all of it.
    #[inline]
    const fn folded(self) -> u32 {
        let [first, second, third, rest] = self.all();
        let word = first ^ second ^ third ^ (rest << 32);
        (word ^ (word >> 32)) as u32
    }

    const fn length(self) -> u8 {
        (self.rest >> 24) as u8
    }

    #[inline]
    const fn all(self) -> [u64; 4] {
        let [first, second, third] = self.words;
        [first, second, third, self.rest as u64]
    }
}

impl PartialEq for Key {
    /// Without a branch or a call: a look-up nearly always compares equal keys.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let differences = self.all().into_iter().zip(other.all()).map(|(ours, theirs)| ours ^ theirs);
        differences.fold(0, |all, difference| all | difference) == 0
    }
}

impl Eq for Key {}

impl Hash for Key {
    /// Word by word: a derived one would hash the lengths of arrays, and bytes.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.all().into_iter().for_each(|word| state.write_u64(word));
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

/// What a key is made of.
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
    #[cfg(test)]
    pub(crate) const fn new(hasher: &'a KeyHasher) -> Self {
        Self::in_scope(0, hasher)
    }

    /// Builds the charge of a key in this scope, where it will be read: to move it costs more than to make it.
    pub(crate) const fn in_scope(scope: u32, hasher: &'a KeyHasher) -> Self {
        Self { charge: Charge { scope, tenant: 0, key: Key::SHARED }, hasher, warning: None }
    }

    /// Tells the operator, once for each rule, that the request shows a mistake in the deployment.
    pub(crate) fn warn(&mut self, warning: fn() -> Warning) {
        self.warning.get_or_insert(warning);
    }

    /// What there is to tell.
    pub(crate) const fn warning(&self) -> Option<fn() -> Warning> {
        self.warning
    }

    /// Adds a part.
    #[inline]
    pub fn part(&mut self, part: impl AsRef<[u8]>) {
        if self.charge.key == Key::SHARED {
            self.charge.key.become_part(part.as_ref(), self.hasher);
            self.charge.tenant = self.hasher.tenant(self.charge.key);
        } else {
            let mut other = Key::SHARED;
            other.become_part(part.as_ref(), self.hasher);
            self.charge.key = self.charge.key.joined(other, self.hasher);
        }
    }

    /// One unit of the key of the parts so far.
    pub(crate) const fn charge(&self) -> &Charge {
        &self.charge
    }

    /// The same in another scope.
    pub(crate) const fn charge_in(&self, scope: u32) -> Charge {
        Charge { scope, ..self.charge }
    }

    /// The key of the parts so far.
    pub(crate) const fn key(&self) -> Key {
        self.charge.key
    }

    /// Throws away the parts that were added since the key was `earlier`.
    pub(crate) fn return_to(&mut self, earlier: Key) {
        // Without parts there is no first one either; the next one becomes it.
        self.charge.key = earlier;
        if earlier == Key::SHARED {
            self.charge.tenant = 0;
        }
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
        Self { parts: half(0), joined: half(2), hashes_tenants: true }
    }

    /// A number of the first part of a key.
    #[inline]
    fn tenant(&self, key: Key) -> u32 {
        if !self.hashes_tenants {
            return key.folded();
        }
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(key.all()) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        // Keys are joined from twice as many bytes, so this is never the hash of one.
        self.joined.hash(&bytes).h1 as u32
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

impl<P: KeyParts + ?Sized> KeyParts for &P {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        (**self).write(key);
    }
}

impl KeyParts for str {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for String {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for [u8] {
    #[inline]
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

    fn bytes(key: Key) -> Vec<u8> {
        key.all().into_iter().flat_map(u64::to_le_bytes).collect()
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
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 27]])), "Key(27 bytes)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 28]])), "Key(hashed)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 16 * 1024]])), "Key(hashed)");
        assert_eq!(size_of::<Key>(), 28);
    }

    #[test]
    fn parts_of_every_length_are_kept_whole_and_apart() {
        let hasher = KeyHasher::default();
        let text: Vec<u8> = (1..=VERBATIM as u8).collect();
        let keys: Vec<Key> = (0..=VERBATIM).map(|length| key(&hasher, &[text[..length].to_vec()])).collect();
        for (length, one) in keys.iter().enumerate() {
            assert_eq!(bytes(*one)[..length], text[..length]);
            assert!(bytes(*one)[length..VERBATIM].iter().all(|byte| *byte == 0));
            assert_eq!(keys.iter().filter(|other| *other == one).count(), 1);
        }
    }

    #[test]
    fn hashes_of_long_keys_differ_between_limiters() {
        let long = parts(&["a value that is clearly longer than a key may be"]);
        assert_ne!(key(&KeyHasher::default(), &long), key(&KeyHasher::default(), &long));
    }

    #[test]
    fn nobody_chooses_by_the_text_of_a_key_with_which_others_it_is_kept() {
        let hasher = KeyHasher::with_secret([7; 32]);
        let tenant = |text: &str| {
            let mut builder = KeyBuilder::new(&hasher);
            builder.part(text);
            builder.charge().tenant
        };
        // Alike when folded, each of them: words that differ in the same way.
        let texts = (0..500u32).map(|number| format!("{number:08x}{number:08x}"));
        let tenants: std::collections::HashSet<u32> = texts.map(|text| tenant(&text)).collect();
        assert_eq!(tenants.len(), 500);
        let mut both = KeyBuilder::new(&hasher);
        both.part("acme");
        both.part("orders");
        assert_eq!(both.charge().tenant, tenant("acme"), "what follows the first part changes nothing");
    }

    #[test]
    fn a_short_key_that_spells_a_hash_is_not_one() {
        let hasher = KeyHasher::default();
        let hashed = key(&hasher, &[vec![7; 100]]);
        for length in [OF_HASH, VERBATIM, VERBATIM + 1] {
            assert_ne!(key(&hasher, &[bytes(hashed)[..length].to_vec()]), hashed);
        }
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
