//! The histories that keys without a place share.

use hashbrown::HashMap;

use crate::{
    clock::Moment,
    history::{History, Plan},
};

/// One shared history per scope, used while the table is full of live keys.
///
/// A key that is charged here may get a place of its own later. Until the shared history has drained it then counts
/// against the key as well: the key may have been behind any unit of it. So crowding the table is neither a free pass
/// nor an amnesty, and newcomers stop feeding the shared history as soon as there is room.
///
/// A request that one rule counts under several new keys needs room for one unit and charges one for each: else it could
/// never pass where the limit is 1. No key gets more than its limit by that.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    shared: HashMap<u32, History>,
}

impl Overflow {
    /// The shared history of `scope`, if anything in it still counts.
    pub(super) fn live(&mut self, scope: u32, plan: &Plan, now: Moment) -> Option<&mut History> {
        self.shared.get_mut(&scope).filter(|history| !history.is_fresh(plan, now))
    }

    /// The shared history of `scope`.
    pub(super) fn of(&mut self, scope: u32, plan: &Plan) -> &mut History {
        self.shared.entry(scope).or_insert_with(|| History::fresh(plan))
    }
}
