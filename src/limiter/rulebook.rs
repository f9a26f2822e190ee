//! The rules as decisions speak of them.

use std::ops::Range;

use hashbrown::HashMap;

use crate::{error::ConfigError, kind::RequestKind, limiter::GovernedBy, message::Template, rule::Rule};

/// Up to so many names are looked through one by one.
const FEW: usize = 4;

/// All rules by number and by name, and the texts made of them. It never changes.
#[derive(Debug)]
pub(crate) struct Rulebook {
    rules: Box<[GovernedBy]>,
    by_name: HashMap<String, usize>,
    template: Option<Template>,
}

impl Rulebook {
    /// Checks the names of the rules against each other. Each rule has its histories in some scopes.
    pub(super) fn build<K: RequestKind>(
        rules: &[Rule<K>],
        scopes: &[Range<u32>],
        template: Option<Template>,
    ) -> Result<Self, ConfigError> {
        check_names(rules)?;
        let governed = rules.iter().zip(scopes).map(|(rule, scopes)| {
            let governed = GovernedBy::new(rule, scopes.clone(), rules.len() > 1, template.as_ref());
            governed.map_err(|error| error.in_rule(rule.name()))
        });
        let rulebook = Self {
            rules: governed.collect::<Result<_, _>>()?,
            by_name: rules.iter().enumerate().map(|(number, rule)| (rule.name().to_owned(), number)).collect(),
            template,
        };
        rulebook.check_policy_names()?;
        Ok(rulebook)
    }

    pub(crate) fn rule(&self, number: usize) -> Option<&GovernedBy> {
        self.rules.get(number)
    }

    /// All of them, by number.
    #[cfg(feature = "client")]
    pub(crate) fn rules(&self) -> impl Iterator<Item = &GovernedBy> {
        self.rules.iter()
    }

    /// The rule of this name, as it is written or ignoring case.
    #[inline]
    pub(crate) fn number_of(&self, name: &str) -> Option<usize> {
        // A few comparisons take less than a hash.
        let exactly = match &*self.rules {
            few if few.len() <= FEW => few.iter().position(|rule| rule.name() == name),
            _ => self.by_name.get(name).copied(),
        };
        exactly.or_else(|| self.number_ignoring_case(name))
    }

    #[cold]
    fn number_ignoring_case(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.rules.iter().map(GovernedBy::name).collect()
    }

    pub(crate) const fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }

    /// Clients tell policies apart by their names, ignoring case.
    fn check_policy_names(&self) -> Result<(), ConfigError> {
        let mut seen = HashMap::new();
        for rule in &self.rules {
            for name in rule.policy_names() {
                if let Some(other) = seen.insert(name.to_ascii_lowercase(), rule.name()) {
                    let reason = format!("rule \"{other}\" has a quota of this name in header fields already");
                    return Err(ConfigError::new("quota name", format_args!("\"{name}\""), reason).in_rule(rule.name()));
                }
            }
        }
        Ok(())
    }
}

fn check_names<K: RequestKind>(rules: &[Rule<K>]) -> Result<(), ConfigError> {
    let mut seen = HashMap::new();
    for rule in rules {
        if let Some(other) = seen.insert(rule.name().to_ascii_lowercase(), rule.name()) {
            let reason = format!("rule \"{other}\" has this name already (names are compared ignoring case)");
            return Err(ConfigError::new("name", format_args!("\"{}\"", rule.name()), reason).in_rule(rule.name()));
        }
    }
    Ok(())
}
