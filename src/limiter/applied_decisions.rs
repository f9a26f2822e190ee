//! The decisions that a request has passed on its way in.

use http::Extensions;

use crate::limiter::{AppliedMarks, Decision, ShardedRulebook};

/// The decisions of other limiters that a request has passed, outermost first: the extension holds only the last one.
#[derive(Clone, Debug, Default)]
struct AppliedDecisions(Vec<Decision>);

/// What this limiter has charged the request already: it is mounted twice, and charges once.
pub(crate) fn applied(rulebook: &ShardedRulebook, extensions: &Extensions) -> AppliedMarks {
    let Some(last) = extensions.get::<Decision>() else { return AppliedMarks::new() };
    let earlier = extensions.get::<AppliedDecisions>().map_or(&[][..], |passed| &passed.0);
    let passed = earlier.iter().chain(std::iter::once(last));
    passed.flat_map(|decision| decision.charged_by(rulebook)).copied().collect()
}

/// Notes a decision in the request that it admits.
pub(crate) fn enter(extensions: &mut Extensions, decision: Decision) {
    if let Some(outer) = extensions.insert(decision) {
        extensions.get_or_insert_default::<AppliedDecisions>().0.push(outer);
    }
}
