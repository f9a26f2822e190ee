//! The tiers of rules: which policy is for a key.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hashbrown::HashMap;
use parking_lot::RwLock;

use crate::{
    error::ConfigError,
    key::{ChargeTarget, Key, KeyBuilder, KeyExtractor, KeyHasher, ParsedPattern, RawParts},
    limiter::CompiledRule,
    request::RequestKind,
    rule::Rule,
    warn::warn,
};

/// Finds the tier of a key of one rule.
pub(crate) struct TierTable<K: RequestKind> {
    /// The keys that the names of the tiers have, as [`Rule::tier_from`] reads them.
    names: Box<[(Key, u16)]>,
    source: Option<Arc<dyn KeyExtractor<K>>>,
    overrides: HashMap<Key, u16>,
    patterns: Box<[(ParsedPattern, u16)]>,
    pushed: Arc<PushedTiers>,
    has_warned: AtomicBool,
}

/// The tiers that were set at run time, by key. They are the same for all versions of a rule.
#[derive(Debug, Default)]
pub(crate) struct PushedTiers {
    tiers: RwLock<HashMap<Key, Arc<str>>>,
    has_any: AtomicBool,
}

/// A key of a request, with what else says which tier it is in.
pub(crate) struct Asking<'a, 'r, K: RequestKind> {
    pub(crate) key: Key,
    pub(crate) raw: Option<&'a RefCell<RawParts>>,
    /// The request, if there is one.
    pub(crate) request: Option<K::View<'r>>,
    pub(crate) hasher: &'a KeyHasher,
}

impl<K: RequestKind> TierTable<K> {
    /// Creates the table of a rule; `None` if it has no tiers.
    ///
    /// # Errors
    ///
    /// If an override cannot be read, or if two are for one key.
    pub(crate) fn from_rule(
        rule: &Rule<K>,
        compiled: &CompiledRule,
        hasher: &KeyHasher,
        pushed: Arc<PushedTiers>,
    ) -> Result<Option<Self>, ConfigError> {
        if compiled.tiers().len() == 1 {
            return Ok(None);
        }
        let key_of = |parts: &[Box<str>]| {
            let key = &mut KeyBuilder::for_target(ChargeTarget::default(), hasher);
            parts.iter().for_each(|part| key.part(part.as_bytes()));
            key.key()
        };
        let (mut overrides, mut patterns) = (HashMap::new(), Vec::new());
        for (pattern, tier) in rule.overrides() {
            let tier = compiled.tier_named(tier).unwrap_or(0);
            match pattern.parse()? {
                ParsedPattern::Exact(parts) => drop(overrides.insert(key_of(&parts), tier)),
                pattern @ ParsedPattern::Prefix(_) => patterns.push((pattern, tier)),
            }
        }
        let named = compiled.tiers().iter().enumerate();
        let names = named.filter_map(|(at, tier)| Some((key_of(&[tier.name()?.into()]), at as u16)));
        Ok(Some(Self {
            names: names.collect(),
            source: rule.tier_source().cloned(),
            overrides,
            patterns: patterns.into(),
            pushed,
            has_warned: AtomicBool::new(false),
        }))
    }

    /// Returns `true` if the parts of keys are needed as they are.
    pub(crate) const fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Returns the tier of a key: that which was set for it at run time, else that of an override for the key, of the longest
    /// pattern that it matches, or which the request names, else the rule's own policy.
    pub(crate) fn tier_of(&self, rule: &CompiledRule, asking: &Asking<'_, '_, K>) -> u16 {
        let pushed = self.pushed.get(asking.key).and_then(|tier| rule.tier_named(&tier));
        let overridden = || self.overrides.get(&asking.key).copied();
        let named = || self.named_by_request(rule, asking);
        pushed.or_else(overridden).or_else(|| self.by_pattern(&asking.raw?.borrow())).or_else(named).unwrap_or(0)
    }

    fn by_pattern(&self, raw: &RawParts) -> Option<u16> {
        let matches = self.patterns.iter().filter_map(|(pattern, tier)| {
            let length = pattern.matched(raw.iter().map(smallvec::SmallVec::as_slice))?;
            Some((length, *tier))
        });
        matches.max_by_key(|(length, _)| *length).map(|(_, tier)| tier)
    }

    fn named_by_request(&self, rule: &CompiledRule, asking: &Asking<'_, '_, K>) -> Option<u16> {
        let (source, request) = (self.source.as_ref()?, asking.request?);
        let key = &mut KeyBuilder::for_target(ChargeTarget::default(), asking.hasher);
        source.extract(request, key).ok()?;
        let found = self.names.iter().find(|(name, _)| *name == key.key()).map(|(_, tier)| *tier);
        if found.is_none() && !self.has_warned.swap(true, Ordering::Relaxed) {
            warn(format_args!(
                "rule \"{}\": a request names a tier that the rule does not have, and is held to the rule's own policy",
                rule.name()
            ));
        }
        found
    }
}

impl PushedTiers {
    fn get(&self, key: Key) -> Option<Arc<str>> {
        if !self.has_any.load(Ordering::Acquire) {
            return None;
        }
        self.tiers.read().get(&key).cloned()
    }

    /// Sets the tier of a key, or returns it to what the rule says.
    pub(crate) fn set(&self, key: Key, tier: Option<&str>) {
        let mut tiers = self.tiers.write();
        match tier {
            Some(tier) => drop(tiers.insert(key, tier.into())),
            None => drop(tiers.remove(&key)),
        }
        self.has_any.store(!tiers.is_empty(), Ordering::Release);
    }

    /// Replaces all of them.
    pub(crate) fn replace(&self, all: HashMap<Key, Arc<str>>) {
        let mut tiers = self.tiers.write();
        *tiers = all;
        self.has_any.store(!tiers.is_empty(), Ordering::Release);
    }
}

impl<K: RequestKind> std::fmt::Debug for TierTable<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TierTable").field("overrides", &self.overrides.len()).finish_non_exhaustive()
    }
}
