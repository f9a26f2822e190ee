//! The forms of keys: what is known of their parts before there is a request.

use std::{any::TypeId, borrow::Cow, fmt, sync::Arc};

use crate::key::{ParsedPattern, pattern::PartPattern};

/// More alternatives than these are not looked at.
const MOST_ALTERNATIVES: usize = 64;

/// The forms of the keys that an [extractor](crate::key::KeyExtractor) reads, as far as they are known without a request.
///
/// An [override](crate::Rule::tier_for) for a key that the rule cannot have is refused when the limiter is built: it would
/// never do anything, and mostly a part is missing or one too many.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let calls = Rule::new("calls").every_request().key(key::header("x-account")).policy(Policy::per_minute(60));
/// let calls = calls.tier("pro", Policy::per_minute(600)).tier_for(("acme", "orders"), "pro");
/// let error = RateLimiter::builder().rule(calls).build().unwrap_err();
/// assert_eq!(error.reason(), "keys of the rule have 1 part, and this has 2: write as many");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyForms {
    /// The parts of a key, for each form; `None` if any key is possible.
    alternatives: Option<Vec<Vec<PartForm>>>,
}

/// What is known of one part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PartForm {
    Text,
    Constant(Box<str>),
    Address,
}

impl KeyForms {
    /// Creates the forms of which nothing is known.
    #[must_use]
    pub const fn any() -> Self {
        Self { alternatives: None }
    }

    /// Creates the form of keys with this many parts, each of any text.
    #[must_use]
    pub fn texts(parts: usize) -> Self {
        Self::from_parts(vec![PartForm::Text; parts])
    }

    pub(super) fn constant(text: &str) -> Self {
        Self::from_parts(vec![PartForm::Constant(text.into())])
    }

    pub(super) fn address() -> Self {
        Self::from_parts(vec![PartForm::Address])
    }

    /// Creates the form of the values of a type that is known to be one part.
    pub(super) fn from_type<T: 'static + ?Sized>() -> Self {
        let known = [
            TypeId::of::<str>(),
            TypeId::of::<String>(),
            TypeId::of::<&'static str>(),
            TypeId::of::<Box<str>>(),
            TypeId::of::<Arc<str>>(),
            TypeId::of::<Cow<'static, str>>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<i64>(),
        ];
        if known.contains(&TypeId::of::<T>()) { Self::texts(1) } else { Self::any() }
    }

    fn from_parts(parts: Vec<PartForm>) -> Self {
        Self { alternatives: Some(vec![parts]) }
    }

    /// Returns the forms of keys that have the parts of both, as those of tuples.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (Some(firsts), Some(lasts)) = (self.alternatives, other.alternatives) else { return Self::any() };
        if firsts.len().saturating_mul(lasts.len()) > MOST_ALTERNATIVES {
            return Self::any();
        }
        let joined = firsts.iter().flat_map(|first| lasts.iter().map(|last| [first.clone(), last.clone()].concat()));
        Self { alternatives: Some(joined.collect()) }
    }

    /// Returns the forms of keys that are as one or as the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (Some(mut all), Some(others)) = (self.alternatives, other.alternatives) else { return Self::any() };
        others.into_iter().for_each(|form| {
            if !all.contains(&form) {
                all.push(form);
            }
        });
        Self { alternatives: Some(all) }
    }

    /// Returns `true` if a key may have one part alone.
    #[cfg(feature = "config")]
    pub(crate) fn has_single_parts(&self) -> bool {
        self.alternatives.as_ref().is_none_or(|all| all.iter().any(|form| form.len() == 1))
    }

    /// Returns why no key matches the pattern, if none can.
    pub(crate) fn refusal(&self, pattern: &ParsedPattern) -> Option<String> {
        let all = self.alternatives.as_ref()?;
        let parts = pattern.parts();
        let fits = |form: &&Vec<PartForm>| form.len() == parts.len();
        let is_possible = |form: &Vec<PartForm>| form.iter().zip(&parts).all(|(form, part)| form.may_match(part));
        if all.iter().filter(fits).any(is_possible) {
            return None;
        }
        let Some(form) = all.iter().find(fits) else { return Some(other_number(all, parts.len())) };
        let wrong = form.iter().zip(&parts).find(|(form, part)| !form.may_match(part));
        wrong.map(|(form, _)| format!("no key of the rule can be this one: {form}"))
    }
}

impl PartForm {
    fn may_match(&self, part: &PartPattern) -> bool {
        match self {
            Self::Text => true,
            Self::Constant(text) => part.matched(text.as_bytes()).is_some(),
            // Its bytes are those of the address. Only a pattern for any part says nothing about these.
            Self::Address => part.matched(b"").is_some(),
        }
    }
}

impl fmt::Display for PartForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a part is a text"),
            Self::Constant(text) => write!(f, "this part is always \"{text}\""),
            Self::Address => {
                f.write_str("this part is an address, not a text: set its tier at run time, with RateLimiter::set_tier")
            }
        }
    }
}

/// Returns the reason for refusing a key with as many parts as no key has.
fn other_number(all: &[Vec<PartForm>], parts: usize) -> String {
    let mut counts: Vec<usize> = all.iter().map(Vec::len).collect();
    counts.sort_unstable();
    counts.dedup();
    let texts: Vec<String> = counts.iter().map(usize::to_string).collect();
    let noun = if counts == [1] { "part" } else { "parts" };
    format!("keys of the rule have {} {noun}, and this has {parts}: write as many", texts.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(forms: &KeyForms, parts: &[&str]) -> Option<String> {
        forms.refusal(&ParsedPattern::parse(parts.iter().copied()).unwrap())
    }

    #[test]
    fn a_key_has_as_many_parts_as_some_form() {
        let forms = KeyForms::texts(1).or(KeyForms::texts(1).and(KeyForms::texts(2)));
        for parts in [&["a"][..], &["a*"], &["a", "b", "*"]] {
            assert_eq!(refusal(&forms, parts), None);
        }
        let reason = "keys of the rule have 1 or 3 parts, and this has 2: write as many";
        assert_eq!(refusal(&forms, &["a", "*"]).as_deref(), Some(reason));
    }

    #[test]
    fn of_what_is_unknown_nothing_is_refused() {
        for forms in [KeyForms::any(), KeyForms::texts(1).or(KeyForms::any()), KeyForms::any().and(KeyForms::texts(1))]
        {
            assert_eq!(refusal(&forms, &["a", "b", "c"]), None);
        }
        let many = (0..8).fold(KeyForms::texts(1), |forms, _| forms.clone().or(KeyForms::texts(2)).and(forms));
        assert_eq!(many, KeyForms::any());
    }

    #[test]
    fn a_constant_part_is_that_text_and_an_address_is_none() {
        let forms = KeyForms::constant("eu").and(KeyForms::texts(1));
        assert_eq!([["eu", "a"], ["e*", "a"], ["*", "*"]].map(|parts| refusal(&forms, &parts)), [None, None, None]);
        let reason = "no key of the rule can be this one: this part is always \"eu\"";
        assert_eq!(refusal(&forms, &["us", "a"]).as_deref(), Some(reason));
        assert_eq!(refusal(&forms, &["eu-*", "a"]).as_deref(), Some(reason));
        assert!(refusal(&KeyForms::address(), &["10.0.0.1"]).unwrap().contains("set_tier"));
        assert!(refusal(&KeyForms::address(), &["10.*"]).is_some());
        assert_eq!(refusal(&KeyForms::address(), &["*"]), None);
        assert_eq!(refusal(&KeyForms::address().or(KeyForms::texts(1)), &["10.0.0.1"]), None);
    }
}
