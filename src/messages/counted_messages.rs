//! The rules whose messages are counted further out already.

use std::sync::Arc;

use http::Extensions;

use crate::limiter::{AppliedMarks, ChargeMarks, RulebookRef, ShardedRulebook};

/// What the messages of a request are charged to further out already: a limiter that is mounted twice counts them once.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedMessages(Vec<(Arc<RulebookRef>, ChargeMarks)>);

impl CountedMessages {
    /// Those of this limiter.
    pub(super) fn of(extensions: &Extensions, rulebook: &ShardedRulebook) -> AppliedMarks {
        let counted = extensions.get::<Self>().map_or(&[][..], |counted| &counted.0);
        counted.iter().filter(|(of, _)| of.is_of(rulebook)).flat_map(|(_, charged)| charged.iter()).copied().collect()
    }

    pub(super) fn note(extensions: &mut Extensions, rulebook: Arc<RulebookRef>, charged: ChargeMarks) {
        extensions.get_or_insert_default::<Self>().0.push((rulebook, charged));
    }
}
