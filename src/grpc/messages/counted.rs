//! The rules whose messages are counted further out already.

use std::sync::Arc;

use http::Extensions;

use crate::limiter::{RuleNumbers, Stripe, Stripes};

/// The rules whose messages are counted further out already: a limiter that is mounted twice counts them once.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted(Vec<(Arc<Stripe>, RuleNumbers)>);

impl Counted {
    /// Those of this limiter.
    pub(super) fn of(extensions: &Extensions, rulebook: &Stripes) -> RuleNumbers {
        let counted = extensions.get::<Self>().map_or(&[][..], |counted| &counted.0);
        counted.iter().filter(|(of, _)| of.is_of(rulebook)).flat_map(|(_, rules)| rules).copied().collect()
    }

    pub(super) fn note(extensions: &mut Extensions, rulebook: Arc<Stripe>, rules: RuleNumbers) {
        extensions.get_or_insert_default::<Self>().0.push((rulebook, rules));
    }
}
