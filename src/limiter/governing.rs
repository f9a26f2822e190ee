//! Which rules govern a request, and by which keys.

use http::StatusCode;
use smallvec::SmallVec;

use crate::{
    http::RequestView,
    key::{Key, KeyBuilder, KeyHasher},
    limiter::{GovernedBy, Rulebook},
    policy::Policy,
    rule::{OnMissing, Params, Spellings, Target},
    store::Charge,
};

/// The numbers of rules. A limiter has at most 65,536.
pub(crate) type RuleNumbers = SmallVec<[u16; 4]>;

/// What governs a request: charges to decide together, and the rule of each.
#[derive(Debug, Default)]
pub(crate) struct Governed {
    pub(crate) charges: SmallVec<[Charge; 2]>,
    pub(crate) rules: RuleNumbers,
}

/// A request that a rule turns away because it does not carry the key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    pub(crate) rule: usize,
    pub(crate) status: StatusCode,
}

/// A rule that governs a request, and whom it counts.
#[derive(Clone, Copy, Debug)]
pub struct Governing<'a> {
    rule: &'a GovernedBy,
    key: Option<Key>,
}

impl<'a> Governing<'a> {
    /// The rule's name.
    #[must_use]
    pub fn rule(&self) -> &'a str {
        self.rule.name()
    }

    /// The enforcement level.
    #[must_use]
    pub fn level(&self) -> &'a str {
        self.rule.level()
    }

    /// The key, as [`RateLimiter::key`](crate::RateLimiter::key) makes it; none if the request does not carry it.
    #[must_use]
    pub const fn key(&self) -> Option<Key> {
        self.key
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> &'a Policy {
        self.rule.policy()
    }
}

impl Rulebook {
    /// The charges of a request under the rules that are not `applied` yet, or the rule that turns it away.
    pub(crate) fn govern(
        &self,
        request: &RequestView<'_>,
        applied: &[u16],
        hasher: &KeyHasher,
    ) -> Result<Governed, Refused> {
        let mut governed = Governed::default();
        let mut refused = None;
        self.for_each_rule(request, applied, hasher, |number, scope, key| {
            let Some(rule) = self.rule(number) else { return };
            match (key, rule.on_missing()) {
                (Some(key), _) => governed.add(number, Charge { scope, key }),
                (None, OnMissing::Share) => governed.add(number, Charge { scope, key: Key::SHARED }),
                (None, OnMissing::Skip) => {}
                (None, OnMissing::Reject(status)) => drop(refused.get_or_insert(Refused { rule: number, status })),
            }
        });
        refused.map_or(Ok(governed), Err)
    }

    pub(crate) fn governing(&self, request: &RequestView<'_>, hasher: &KeyHasher) -> Vec<Governing<'_>> {
        let mut found = Vec::new();
        self.for_each_rule(request, &[], hasher, |number, _, key| {
            found.extend(self.rule(number).map(|rule| Governing { rule, key }));
        });
        found
    }

    /// Calls `visit` with the number, the scope and the key of every rule that governs the request, but those `applied`.
    fn for_each_rule(
        &self,
        request: &RequestView<'_>,
        applied: &[u16],
        hasher: &KeyHasher,
        mut visit: impl FnMut(usize, u32, Option<Key>),
    ) {
        let is_applied = |number: usize| applied.contains(&(number as u16));
        let mut is_matched = false;
        if !self.table().is_empty() {
            let path = Spellings::of(request.full_path());
            is_matched = self.table().visit(request.method(), &path, |target: &Target, params: Params<'_>| {
                if !is_applied(target.rule) {
                    let key = self.key_of(target.rule, target.group, &request.with_params(params), hasher);
                    visit(target.rule, target.scope, key);
                }
            });
        }
        let unmatched = self.unmatched().filter(|_| !is_matched);
        for number in self.every_request().iter().copied().chain(unmatched).filter(|number| !is_applied(*number)) {
            let scope = self.rule(number).map_or(0, |rule| rule.scopes().start);
            visit(number, scope, self.key_of(number, 0, request, hasher));
        }
    }

    fn key_of(&self, rule: usize, group: usize, request: &RequestView<'_>, hasher: &KeyHasher) -> Option<Key> {
        let mut key = KeyBuilder::new(hasher);
        self.rule(rule)?.extractor(group)?.extract(request, &mut key).ok()?;
        Some(key.key())
    }
}

impl Governed {
    /// Adds a charge, once: two readings of a path may lead to the same history.
    pub(super) fn add(&mut self, rule: usize, charge: Charge) {
        if !self.charges.contains(&charge) {
            self.charges.push(charge);
            self.rules.push(rule as u16);
        }
    }
}
