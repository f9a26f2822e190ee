//! The builder that joins the parts of a key.

use std::cell::RefCell;

use smallvec::SmallVec;

use crate::{
    key::{Charge, ChargeTarget, Key, KeyHasher, PackedKey, key::MAX_VERBATIM},
    policy::Enforcement,
    warn::Warning,
};

/// Joins the parts of a key, for [extractors](crate::key::KeyExtractor) and [values](crate::key::KeyParts) of your own.
///
/// Several parts are hashed one by one and then together, so `("a", "bc")` and `("ab", "c")` differ, and so do one
/// empty part and none.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key::{KeyBuilder, KeyParts}};
///
/// struct Account {
///     region: String,
///     number: u64,
/// }
///
/// impl KeyParts for Account {
///     fn write(&self, key: &mut KeyBuilder<'_>) {
///         key.part(&self.region);
///         self.number.write(key);
///     }
/// }
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
/// let account = Account { region: "eu".into(), number: 42 };
/// assert_eq!(limiter.key(account), limiter.key(("eu", 42)));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct KeyBuilder<'a> {
    charge: Charge,
    hasher: &'a KeyHasher,
    /// The mistake in the deployment that the request shows. A function pointer, so that nearly always one word is left
    /// empty.
    warning: Option<fn() -> Warning>,
    /// The parts as they were added, where somebody has to compare them with a pattern.
    raw: Option<&'a RefCell<RawParts>>,
}

/// The parts that a key has at some time, to return to them.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyMark {
    key: Key,
    raw_parts: usize,
}

/// The parts of a key as they were added.
pub(crate) type RawParts = SmallVec<[SmallVec<[u8; 64]>; 1]>;

impl<'a> KeyBuilder<'a> {
    #[cfg(test)]
    pub(crate) const fn new(hasher: &'a KeyHasher) -> Self {
        Self::for_target(ChargeTarget { scope: 0, shape: 0, plan: 0 }, hasher)
    }

    /// Creates the builder of a charge of this target, in the place where it will be read: moving a charge costs more
    /// than making it.
    pub(crate) const fn for_target(target: ChargeTarget, hasher: &'a KeyHasher) -> Self {
        Self::for_charge(target, Enforcement::On, 1, hasher)
    }

    /// Creates the builder of a charge of so many units.
    #[inline]
    pub(crate) const fn for_charge(
        target: ChargeTarget,
        enforcement: Enforcement,
        units: u64,
        hasher: &'a KeyHasher,
    ) -> Self {
        let charge = Charge { target, key: Key::SHARED, enforcement, units };
        Self { charge, hasher, warning: None, raw: None }
    }

    /// Aims the charge at another target.
    pub(crate) const fn set_target(&mut self, target: ChargeTarget) {
        self.charge.target = target;
    }

    /// Keeps the parts of this key there as well.
    #[inline]
    pub(crate) const fn keep_parts(&mut self, raw: Option<&'a RefCell<RawParts>>) {
        self.raw = raw;
    }

    /// Sets the warning about a mistake in the deployment that the request shows. The operator gets it once for each
    /// rule.
    pub(crate) fn warn(&mut self, warning: fn() -> Warning) {
        self.warning.get_or_insert(warning);
    }

    /// Returns the warning, if one was set.
    pub(crate) const fn warning(&self) -> Option<fn() -> Warning> {
        self.warning
    }

    /// Adds a part.
    #[inline]
    pub fn part(&mut self, part: impl AsRef<[u8]>) {
        let (part, key) = (part.as_ref(), &mut self.charge.key);
        let is_alone = key.packed.is_shared() && self.raw.is_none() && !self.hasher.hashes_tenants();
        if is_alone && part.len() <= MAX_VERBATIM {
            key.packed.set_verbatim(part);
        } else {
            self.part_of_any_kind(part);
        }
    }

    /// Adds a part that is not the only one, or long, or to be kept as well. Apart, so that the usual case stays short.
    #[inline(never)]
    fn part_of_any_kind(&mut self, part: &[u8]) {
        if let Some(raw) = self.raw {
            raw.borrow_mut().push(SmallVec::from_slice(part));
        }
        let (part, key) = (PackedKey::from_part(part, self.hasher), &mut self.charge.key);
        *key = if key.packed.is_shared() { Key::new(part, self.hasher) } else { key.joined(part, self.hasher) };
    }

    /// Adds a key that was made before: at the beginning with all its parts, behind others as one part.
    pub(crate) fn add(&mut self, other: Key) {
        let key = &mut self.charge.key;
        if key.packed.is_shared() {
            *key = other;
        } else if !other.packed.is_shared() {
            *key = key.joined(other.packed, self.hasher);
        }
    }

    /// Returns a charge of the key of the parts so far.
    pub(crate) const fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Returns the charge of the same key for another target.
    pub(crate) const fn charge_for(&self, target: ChargeTarget) -> Charge {
        Charge { target, ..self.charge }
    }

    /// Returns the key of the parts so far.
    pub(crate) const fn key(&self) -> Key {
        self.charge.key
    }

    /// Marks the parts so far.
    pub(super) fn mark(&self) -> KeyMark {
        KeyMark { key: self.key(), raw_parts: self.raw.map_or(0, |raw| raw.borrow().len()) }
    }

    /// Removes the parts that were added since they were marked.
    pub(super) fn return_to(&mut self, earlier: KeyMark) {
        self.charge.key = earlier.key;
        if let Some(raw) = self.raw {
            raw.borrow_mut().truncate(earlier.raw_parts);
        }
    }

    /// Removes all parts.
    pub(crate) fn clear(&mut self) {
        self.return_to(KeyMark { key: Key::SHARED, raw_parts: 0 });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::key::HASH_BYTES;

    fn key(hasher: &KeyHasher, parts: &[Vec<u8>]) -> Key {
        let mut builder = KeyBuilder::new(hasher);
        parts.iter().for_each(|part| builder.part(part));
        builder.key()
    }

    fn parts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn bytes(key: Key) -> Vec<u8> {
        key.to_bytes().to_vec()
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
        assert_eq!((size_of::<PackedKey>(), size_of::<Charge>()), (28, 56));
    }

    #[test]
    fn parts_of_every_length_are_kept_whole_and_apart() {
        let hasher = KeyHasher::default();
        let text: Vec<u8> = (1..=MAX_VERBATIM as u8).collect();
        let keys: Vec<Key> = (0..=MAX_VERBATIM).map(|length| key(&hasher, &[text[..length].to_vec()])).collect();
        for (length, one) in keys.iter().enumerate() {
            assert_eq!(bytes(*one)[..length], text[..length]);
            assert!(bytes(*one)[length..MAX_VERBATIM].iter().all(|byte| *byte == 0));
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
            builder.charge().tenant()
        };
        // These texts are equal when folded: their words differ in the same way.
        let texts = (0..500u32).map(|number| format!("{number:08x}{number:08x}"));
        let tenants: std::collections::HashSet<u32> = texts.map(|text| tenant(&text)).collect();
        assert_eq!(tenants.len(), 500);
        let mut both = KeyBuilder::new(&hasher);
        both.part("acme");
        both.part("orders");
        assert_eq!(both.charge().tenant(), tenant("acme"), "what follows the first part changes nothing");
    }

    #[test]
    fn a_short_key_that_spells_a_hash_is_not_one() {
        let hasher = KeyHasher::default();
        let hashed = key(&hasher, &[vec![7; 100]]);
        for length in [HASH_BYTES, MAX_VERBATIM, MAX_VERBATIM + 1] {
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
