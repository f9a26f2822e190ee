//! The histories that keys without a place share.

use hashbrown::HashMap;

use crate::{
    clock::{Clock, Timestamp},
    history::Plan,
    store::{
        debt::{Debt, Shared},
        verdict::QuotaStates,
    },
};

/// Of how many keys that were let go it is remembered at least.
const FEWEST_LET_GO: usize = 256;

/// One shared history per scope, used while the table is full of live keys.
///
/// A key that is charged here may get a place of its own later. What was shared by then counts against it as well until it
/// has drained: the key may have been behind any unit of it. What others are charged after that cannot be the key's. So
/// crowding the table is neither a free pass nor an amnesty, nobody is kept out by those who come later, and newcomers stop
/// feeding the shared history as soon as there is room.
///
/// A key that has had a place until its history was equal to a fresh one was not behind what had been shared by then. So
/// that is remembered of keys which were let go, of as many as there are places; who is forgotten owes all of it.
///
/// A request that one rule counts under several new keys needs room for one unit and charges one for each: else it could
/// never pass where the limit is 1. No key gets more than its limit by that.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    shared: HashMap<u32, Shared>,
    /// What keys with places may owe, by the hash of key and scope.
    debts: HashMap<u64, Debt>,
    /// Of keys that were let go, how many units had been shared by then.
    let_go: HashMap<u64, u64>,
}

impl Overflow {
    /// The shared history of `scope`, if anything in it still counts.
    pub(super) fn live(&mut self, scope: u32, plan: &Plan, now: Timestamp) -> Option<&mut Shared> {
        self.shared.get_mut(&scope).filter(|shared| !shared.history.is_idle(plan, now))
    }

    /// The shared history of `scope`.
    pub(super) fn of(&mut self, scope: u32, plan: &Plan) -> &mut Shared {
        self.shared.entry(scope).or_insert_with(|| Shared::fresh(plan))
    }

    /// What a key may owe that has no place, or that got it just now.
    pub(super) fn debt_of_newcomer(&mut self, hash: u64, scope: u32, plan: &Plan, now: Timestamp) -> Debt {
        let since = self.let_go.get(&hash).copied().unwrap_or(0);
        self.of(scope, plan).debt_since(since, plan, now)
    }

    /// What a key with a place may owe.
    pub(super) fn debt_of(&self, hash: u64) -> Option<Debt> {
        self.debts.get(&hash).copied()
    }

    /// A key gets a place, with this debt.
    pub(super) fn take_on(&mut self, hash: u64, debt: Debt) {
        self.let_go.remove(&hash);
        self.debts.insert(hash, debt);
    }

    /// What a key has owed does not count any more.
    pub(super) fn settle(&mut self, hash: u64) {
        self.debts.remove(&hash);
    }

    /// Whether nothing counts any more of what a key owes.
    pub(super) fn is_settled(&mut self, hash: u64, scope: u32, plan: &Plan, now: Timestamp, clock: &dyn Clock) -> bool {
        let Some(debt) = self.debt_of(hash) else { return true };
        let Some(shared) = self.live(scope, plan, now) else { return true };
        let now = shared.agree(plan, now, clock);
        shared.owed(debt, plan, now).iter().all(|owed| owed.units() == 0)
    }

    /// A key loses its place, or is to begin afresh: it owes nothing of what has been shared until now. As many as there are
    /// places are remembered.
    pub(super) fn let_go(&mut self, hash: u64, scope: u32, places: usize) {
        self.debts.remove(&hash);
        let Some(units) = self.shared.get(&scope).map(Shared::units) else { return };
        if self.let_go.len() >= places.max(FEWEST_LET_GO) {
            self.let_go.clear();
        }
        self.let_go.insert(hash, units);
    }

    /// Records one unit of somebody without a place.
    pub(super) fn admit(&mut self, scope: u32, plan: &Plan, now: Timestamp, states: &mut QuotaStates) {
        self.of(scope, plan).admit(plan, now, states);
    }
}
