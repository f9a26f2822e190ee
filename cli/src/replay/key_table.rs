//! The keys of all rules, as many as the limiter keeps histories of.

use hashbrown::HashMap;
use tower_quota::key::Key;

use crate::replay::{KeyStats, RuleStats};

/// The name of what keys share while the table is full.
const OTHERS: &str = "(more keys than max_keys)";

/// A history: a key in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HistoryId {
    pub(crate) scope: u32,
    pub(crate) key: Key,
}

/// The keys that are told apart. Those that are like new ones are forgotten when there is no room.
#[derive(Debug)]
pub(crate) struct KeyTable {
    ids: HashMap<(HistoryId, u32), u32>,
    keys: Vec<KeyStats>,
    /// What newcomers of each rule share while there is no room.
    others: HashMap<usize, u32>,
    max_keys: usize,
    /// The requests since it was looked for keys to forget.
    requests: usize,
    /// Keys have been forgotten, so one that comes back is counted twice.
    pub(crate) has_forgotten: bool,
    /// The requests of keys that had no room.
    pub(crate) overflowed: u64,
}

impl KeyTable {
    pub(crate) fn new(max_keys: usize) -> Self {
        let (ids, others) = (HashMap::new(), HashMap::new());
        // As long as it is empty, a look for keys to forget is of no use.
        let (requests, has_forgotten, overflowed) = (max_keys, false, 0);
        Self { ids, keys: Vec::new(), others, max_keys, requests, has_forgotten, overflowed }
    }

    /// Returns the key of a rule; a new one gets its name by `name`, and is counted.
    #[inline]
    pub(crate) fn get(
        &mut self,
        id: HistoryId,
        (rule, now): (usize, i64),
        rules: &mut [RuleStats],
        name: impl FnOnce() -> String,
    ) -> &mut KeyStats {
        self.requests += 1;
        let known = self.ids.get(&(id, rule as u32)).copied();
        let at = known.unwrap_or_else(|| self.insert(id, (rule, now), rules, name));
        &mut self.keys[at as usize]
    }

    fn insert(
        &mut self,
        id: HistoryId,
        (rule, now): (usize, i64),
        rules: &mut [RuleStats],
        name: impl FnOnce() -> String,
    ) -> u32 {
        if self.ids.len() >= self.max_keys && !self.forget(now, rules) {
            self.overflowed += 1;
            return self.shared(rule, rules);
        }
        rules[rule].keys += 1;
        let at = self.keys.len() as u32;
        self.keys.push(KeyStats::new(&name(), rule, rules[rule].trials.len()));
        self.ids.insert((id, rule as u32), at);
        at
    }

    fn shared(&mut self, rule: usize, rules: &[RuleStats]) -> u32 {
        *self.others.entry(rule).or_insert_with(|| {
            self.keys.push(KeyStats::new(OTHERS, rule, rules[rule].trials.len()));
            self.keys.len() as u32 - 1
        })
    }

    /// Forgets the keys that are like new ones, but for the heaviest. Returns `true` if there is room now.
    ///
    /// It looks at all of them, so it does that once in as many requests as there are keys.
    #[cold]
    fn forget(&mut self, now: i64, rules: &mut [RuleStats]) -> bool {
        if self.requests < self.max_keys {
            return false;
        }
        self.requests = 0;
        let heaviest = self.heaviest_pressures(rules);
        let keys = &mut self.keys;
        let forgotten: Vec<bool> = keys
            .iter_mut()
            .map(|key| {
                let trials = &rules[key.rule].trials;
                &*key.name != OTHERS && key.pressure(trials) < heaviest[key.rule] && key.is_forgettable(now, trials)
            })
            .collect();
        self.remove(&forgotten);
        self.ids.len() < self.max_keys
    }

    /// Removes keys, and moves the others together.
    fn remove(&mut self, forgotten: &[bool]) {
        let (mut places, mut kept) = (Vec::with_capacity(forgotten.len()), 0);
        for is_forgotten in forgotten {
            places.push(kept);
            kept += u32::from(!is_forgotten);
        }
        self.has_forgotten |= (kept as usize) < forgotten.len();
        self.ids.retain(|_, at| !forgotten[*at as usize]);
        self.ids.values_mut().chain(self.others.values_mut()).for_each(|at| *at = places[*at as usize]);
        let mut forgotten = forgotten.iter();
        self.keys.retain(|_| forgotten.next().is_some_and(|is_forgotten| !is_forgotten));
    }

    /// Returns, for each rule, the pressure of its tenth key.
    fn heaviest_pressures(&self, rules: &[RuleStats]) -> Vec<f64> {
        let mut pressures = vec![Vec::new(); rules.len()];
        self.keys.iter().for_each(|key| pressures[key.rule].push(key.pressure(&rules[key.rule].trials)));
        let tenth = |pressures: &mut Vec<f64>| {
            pressures.sort_unstable_by(|one, other| other.total_cmp(one));
            pressures.get(9).copied().unwrap_or_default()
        };
        pressures.iter_mut().map(tenth).collect()
    }

    /// Returns the keys of a rule.
    pub(crate) fn of_rule(&self, rule: usize) -> impl Iterator<Item = &KeyStats> {
        self.keys.iter().filter(move |key| key.rule == rule)
    }
}

#[cfg(test)]
mod tests {
    use tower_quota::{Policy, RateLimiter, Rule};

    use super::*;

    fn rules() -> Vec<RuleStats> {
        vec![RuleStats::for_tests(5, 1_000)]
    }

    fn id(key: u64) -> HistoryId {
        let rule = Rule::new("a").no_requests().policy(Policy::per_minute(1));
        let limiter: RateLimiter = RateLimiter::builder().rule(rule).build().unwrap();
        HistoryId { scope: 0, key: limiter.key(key) }
    }

    fn note(table: &mut KeyTable, rules: &mut [RuleStats], key: u64, now: i64) -> String {
        let stats = table.get(id(key), (0, now), rules, || key.to_string());
        stats.note(now, 1, false);
        let (name, trials) = (stats.name.to_string(), &mut stats.trials);
        rules[0].trials[0].note(&mut trials[0], 1, now);
        name
    }

    #[test]
    fn a_key_is_the_same_at_its_next_request() {
        let (mut table, mut rules) = (KeyTable::new(10), rules());
        for now in 0..3 {
            assert_eq!(note(&mut table, &mut rules, 7, now), "7");
        }
        assert_eq!((rules[0].keys, table.of_rule(0).next().unwrap().requests), (1, 3));
    }

    #[test]
    fn newcomers_share_what_is_counted_while_all_keys_still_count() {
        let (mut table, mut rules) = (KeyTable::new(20), rules());
        (0..20).for_each(|key| drop(note(&mut table, &mut rules, key, 0)));
        assert_eq!(note(&mut table, &mut rules, 20, 999), OTHERS);
        assert_eq!(note(&mut table, &mut rules, 3, 999), "3");
        assert_eq!((table.overflowed, table.has_forgotten, rules[0].keys), (1, false, 20));
    }

    #[test]
    fn keys_that_are_like_new_ones_make_room_but_for_the_heaviest() {
        let (mut table, mut rules) = (KeyTable::new(20), rules());
        for key in 0..20 {
            (0..=key).for_each(|_| drop(note(&mut table, &mut rules, key, 0)));
        }
        assert_eq!(note(&mut table, &mut rules, 20, 5_000), "20");
        assert!(table.has_forgotten && table.overflowed == 0);
        let kept: Vec<u64> = table.of_rule(0).map(|key| key.name.parse().unwrap()).collect();
        assert_eq!(kept, (10..=20).collect::<Vec<_>>());
        assert_eq!(note(&mut table, &mut rules, 15, 5_000), "15");
        assert_eq!(table.of_rule(0).find(|key| &*key.name == "15").unwrap().requests, 17);
    }
}
