//! A key and how it is put together from parts.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
};

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

/// Bytes of a key that are kept as they are: room for an address or a number.
const VERBATIM: usize = 15;
/// Bytes that are gathered before they are hashed: room for two identifiers.
const GATHERED: usize = 96;
/// In the place of the length of a key that is a hash.
const HASHED: u8 = 0xff;
/// A part this long or longer has its length in full behind this byte.
const LONG_PART: u8 = 0xff;

/// Who is counted: one or several parts, joined unambiguously, in 16 bytes.
///
/// Up to 15 bytes, the lengths of the parts included, are kept as they are. A longer key is its keyed 120-bit hash: so
/// every key takes the same small place, and a limiter does not hold on to its clients' identities.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    words: [u64; 2],
}

/// Joins the parts of a key.
///
/// Each part is written behind its length, so `("a", "bc")` and `("ab", "c")` differ, and so do one empty part and none.
#[derive(Debug)]
pub struct KeyBuilder<'a> {
    bytes: [u8; GATHERED],
    length: usize,
    hasher: &'a KeyHasher,
    /// The hash of what did not fit.
    long: Option<SipHasher13>,
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

/// The secret of one limiter's key hashes, drawn at random when it is built.
///
/// The hash is SipHash-1-3 with 128 bits of result: without the secret nobody can make two keys collide.
#[derive(Debug)]
pub(crate) struct KeyHasher {
    secret: SipHasher13,
}

impl Key {
    /// The key of all requests that carry none: it has no part, which no extracted key has.
    pub(crate) const SHARED: Self = Self { words: [0; 2] };

    fn verbatim(bytes: &[u8; GATHERED], length: usize) -> Self {
        let mut padded = [0; 16];
        padded[..VERBATIM].copy_from_slice(&bytes[..VERBATIM]);
        padded[VERBATIM] = length as u8;
        Self { words: [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| padded[at + byte]))) }
    }

    /// The top byte tells a hash from bytes kept as they are, so of the hash 120 bits remain.
    const fn hashed(hash: Hash128) -> Self {
        Self { words: [hash.h1, hash.h2 | (HASHED as u64) << 56] }
    }

    const fn length(self) -> u8 {
        (self.words[1] >> 56) as u8
    }
}

impl fmt::Debug for Key {
    /// Keys are other people's identities: only their kind is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length() {
            0 => f.write_str("Key(shared)"),
            HASHED => f.write_str("Key(hashed)"),
            length => write!(f, "Key({length} bytes)"),
        }
    }
}

impl<'a> KeyBuilder<'a> {
    pub(crate) const fn new(hasher: &'a KeyHasher) -> Self {
        Self { bytes: [0; GATHERED], length: 0, hasher, long: None }
    }

    /// Adds a part.
    pub fn part(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        match u8::try_from(part.len()) {
            Ok(length) if length < LONG_PART => self.write(&[length]),
            _ => {
                self.write(&[LONG_PART]);
                self.write(&part.len().to_le_bytes());
            }
        }
        self.write(part);
    }

    pub(crate) fn finish(&self) -> Key {
        match &self.long {
            None if self.length <= VERBATIM => Key::verbatim(&self.bytes, self.length),
            None => Key::hashed(self.hasher.secret.hash(self.gathered())),
            Some(hash) => Key::hashed(hash.finish128()),
        }
    }

    /// Where the key stands now, to [`return_to`](Self::return_to).
    pub(crate) fn mark(&self) -> (usize, Option<SipHasher13>) {
        (self.length, self.long)
    }

    /// Throws away what was added since.
    pub(crate) fn return_to(&mut self, mark: &(usize, Option<SipHasher13>)) {
        let (length, long) = mark;
        self.length = *length;
        self.bytes.iter_mut().skip(*length).for_each(|byte| *byte = 0);
        self.long = *long;
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.long {
            return hash.write(bytes);
        }
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(free) => {
                free.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => {
                let mut hash = self.hasher.secret;
                hash.write(self.gathered());
                hash.write(bytes);
                self.long = Some(hash);
            }
        }
    }

    fn gathered(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Default for KeyHasher {
    /// The standard library is where the randomness comes from.
    fn default() -> Self {
        let random = RandomState::new();
        Self { secret: SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)) }
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
        builder.finish()
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
        assert_eq!(format!("{:?}", key(&hasher, &[vec![203, 0, 113, 9]])), "Key(5 bytes)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 14]])), "Key(15 bytes)");
        assert_eq!(format!("{:?}", key(&hasher, &[vec![b'x'; 15]])), "Key(hashed)");
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
        assert_ne!(key(&hasher, &[bytes[1..15].to_vec()]), hashed);
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
