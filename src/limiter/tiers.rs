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
    observe::{Check, Observer},
    request::RequestKind,
    rule::Rule,
    warn::{WarnOnce, Warning},
};

/// Finds the tier of a key of one rule.
pub(crate) struct TierTable<K: RequestKind> {
    /// The keys that the names of the tiers have, as [`Rule::tier_from`] reads them.
    names: Box<[(Key, u16)]>,
    source: Option<Arc<dyn KeyExtractor<K>>>,
    overrides: HashMap<Key, u16>,
    patterns: Box<[(ParsedPattern, u16)]>,
    pushed: Arc<PushedTiers>,
    warned: WarnOnce,
    observer: Arc<Observer>,
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
        (pushed, observer): (Arc<PushedTiers>, &Arc<Observer>),
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
            warned: WarnOnce::default(),
            observer: Arc::clone(observer),
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
        if found.is_none() && self.warned.is_first(Check::UnknownTier) {
            self.observer.warn(&Warning::UnknownTier, Some((rule.name(), rule.level())));
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::{
        key,
        limiter::{AnswerSettings, Rules, Version},
        policy::Policy,
        request::{Http, RequestView},
        store::Scopes,
    };

    /// The table of one rule, and what it asks.
    struct Table {
        rules: Rules<Http>,
        table: TierTable<Http>,
        pushed: Arc<PushedTiers>,
        hasher: KeyHasher,
    }

    fn api() -> Rule {
        let per_minute = |limit| Policy::per_minute(limit);
        Rule::new("api")
            .every_request()
            .key(key::header("x-account"))
            .policy(per_minute(1))
            .tier("two", per_minute(2))
            .tier("three", per_minute(3))
            .unlimited_tier("four")
            .tier_from(key::header("x-plan"))
    }

    impl Table {
        fn new(rule: Rule) -> Self {
            let (hasher, pushed) = (KeyHasher::default(), Arc::<PushedTiers>::default());
            let rules = [rule];
            let settings = AnswerSettings::default();
            let made_by = (Version::default(), &Arc::default());
            let compiled = Rules::compile((&rules, &[]), settings, &Scopes::default(), made_by).unwrap();
            let of_rule = compiled.rulebook.rules().next().unwrap();
            let made_by = (Arc::clone(&pushed), &Arc::default());
            let table = TierTable::from_rule(&rules[0], of_rule, &hasher, made_by).unwrap().unwrap();
            Self { rules: compiled, table, pushed, hasher }
        }

        fn key(&self, parts: &[&str]) -> Key {
            let key = &mut KeyBuilder::for_target(ChargeTarget::default(), &self.hasher);
            parts.iter().for_each(|part| key.part(part));
            key.key()
        }

        /// Returns the name of the tier of a key, in a request for this plan.
        fn tier(&self, parts: &[&str], plan: Option<&str>) -> Option<&str> {
            let raw = RefCell::default();
            let key = &mut KeyBuilder::for_target(ChargeTarget::default(), &self.hasher);
            key.keep_parts(Some(&raw));
            parts.iter().for_each(|part| key.part(part));
            let request = plan.map(|plan| Request::get("/").header("x-plan", plan).body(()).unwrap());
            let view = request.as_ref().map(RequestView::new);
            let asking = Asking { key: key.key(), raw: Some(&raw), request: view.as_ref(), hasher: &self.hasher };
            let rule = self.rules.rulebook.rules().next().unwrap();
            rule.tier(self.table.tier_of(rule, &asking)).name()
        }
    }

    #[test]
    fn a_rule_without_tiers_has_no_table() {
        let rules = [Rule::<Http>::new("api").no_requests().policy(Policy::per_minute(1))];
        let settings = AnswerSettings::default();
        let made_by = (Version::default(), &Arc::default());
        let compiled = Rules::compile((&rules, &[]), settings, &Scopes::default(), made_by).unwrap();
        let rule = compiled.rulebook.rules().next().unwrap();
        let made_by = (Arc::default(), &Arc::default());
        assert!(TierTable::from_rule(&rules[0], rule, &KeyHasher::default(), made_by).unwrap().is_none());
    }

    #[test]
    fn what_was_set_at_run_time_is_before_a_key_before_a_pattern_before_the_request_before_the_rule() {
        let table = Table::new(api().tier_for("acme", "two").tier_for("acme*", "three"));
        assert!(table.table.has_patterns());
        assert_eq!(table.tier(&["globex"], None), None);
        assert_eq!(table.tier(&["globex"], Some("four")), Some("four"));
        assert_eq!(table.tier(&["acme-eu"], Some("four")), Some("three"));
        assert_eq!(table.tier(&["acme"], Some("four")), Some("two"));
        table.pushed.set(table.key(&["acme"]), Some("four"));
        assert_eq!(table.tier(&["acme"], Some("three")), Some("four"));
        table.pushed.set(table.key(&["acme"]), None);
        assert_eq!(table.tier(&["acme"], Some("three")), Some("two"));
    }

    #[test]
    fn the_longest_pattern_decides_whatever_the_order_and_one_part_counts_more_than_its_beginning() {
        let longest = Table::new(api().tier_for("a*", "two").tier_for("ab*", "three").tier_for("*", "four"));
        assert_eq!(
            ["abc", "ax", "x", ""].map(|key| longest.tier(&[key], None)),
            [Some("three"), Some("two"), Some("four"), Some("four")]
        );
        let parts = api().key((key::header("x-account"), key::header("x-table")));
        let parts = Table::new(parts.tier_for(("ab", "*"), "two").tier_for(("a*", "c*"), "three"));
        assert_eq!(parts.tier(&["ab", "c"], None), Some("two"), "three letters are given of either, and one end");
        assert_eq!(parts.tier(&["ax", "c"], None), Some("three"));
        assert_eq!(parts.tier(&["ab"], None), None, "as many parts as the pattern has");
    }

    #[test]
    fn a_name_that_the_rule_does_not_have_is_as_none() {
        let table = Table::new(api());
        assert_eq!(["Two", "two ", "", "five"].map(|plan| table.tier(&["acme"], Some(plan))), [None; 4]);
        assert!(!table.table.warned.is_first(Check::UnknownTier), "the operator is warned");
        // It was set while the rule had it, before a reload.
        table.pushed.set(table.key(&["acme"]), Some("five"));
        assert_eq!(table.tier(&["acme"], Some("two")), Some("two"));
    }

    #[test]
    fn tiers_that_are_replaced_are_gone() {
        let table = Table::new(api());
        let key = |name: &str| table.key(&[name]);
        table.pushed.set(key("acme"), Some("two"));
        table.pushed.replace(HashMap::from_iter([(key("globex"), Arc::from("three"))]));
        assert_eq!(["acme", "globex"].map(|name| table.tier(&[name], None)), [None, Some("three")]);
        table.pushed.replace(HashMap::new());
        assert!(!table.pushed.has_any.load(Ordering::Relaxed));
        assert_eq!(table.tier(&["globex"], None), None);
    }
}
