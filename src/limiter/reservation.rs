//! The units that a request has reserved, and the handle that settles them.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Extensions;
use parking_lot::Mutex;
use smallvec::{SmallVec, smallvec};
use tokio::runtime::Handle;

use crate::{
    error::Unavailable,
    key::Charge,
    limiter::{Charges, HeldCharges, RuleTier, RulebookRef, Version, batch::Batch, batch_entry::BatchEntry},
    observe::{Stopwatch, in_drop},
    outcome::Outcome,
    rule::{Settling, Unsettled},
    store::{BoxFuture, MaybeReady, Receipt, Settlement, Verdict},
};

/// The units that a request has reserved, to say what it really cost.
///
/// It is among the extensions of every request that a limiter with [such rules](crate::Rule::reserve) lets through, and in
/// the [`Decision`](crate::Decision::reservation) of [`RuleHandle::check`](crate::RuleHandle::check). Clones share one state: the
/// first to settle counts, and later ones change nothing.
///
/// Like the record of what was charged, it belongs to this very request: a part of a batch that is given a copy of the extensions,
/// and passes a layer by itself, finds its own reservation there.
///
/// The response settles what nobody has settled: when its body has ended, was dropped, or failed, as
/// [`Unsettled`](crate::Unsettled) says. So does the last clone, where there is no response.
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// let tokens = Rule::new("tokens").no_requests().policy(Policy::per_minute(20_000)).reserve("tokens", 2000);
/// let limiter = RateLimiter::builder().rule(tokens).build()?;
/// let tokens = limiter.rule("tokens")?;
/// let remaining = |key| tokens.peek(key).quotas().next().map(|quota| quota.remaining());
///
/// let decision = tokens.check("ann");
/// assert_eq!(remaining("ann"), Some(18_000));
/// let reservation = decision.reservation().ok_or("the rule reserves")?;
/// reservation.settle("tokens", 150);
/// assert_eq!(remaining("ann"), Some(19_850));
/// reservation.settle("tokens", 9000);
/// assert_eq!(remaining("ann"), Some(19_850), "it is settled already");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Reservation {
    /// Those of the limiters that the request has passed, outermost first.
    ledgers: SmallVec<[Arc<Ledger>; 1]>,
    /// Concludes them when the last clone of this handle goes: one that was taken from the response.
    _guard: Option<Arc<TakenGuard>>,
}

/// What settles the reservations of one request if nobody else does: the response, or the handle that was
/// [taken](Reservation::take) from it.
#[derive(Debug)]
pub(crate) struct ReservationGuard(Option<Arc<Ledger>>);

/// The mark of a request whose reservation was recorded in its own extensions, and not in those that it is a copy of.
#[derive(Debug)]
struct RecordedHere(bool);

/// Concludes the ledgers that were taken from their responses.
#[derive(Debug)]
struct TakenGuard(SmallVec<[Arc<Ledger>; 1]>);

/// What one limiter has reserved for a request.
pub(super) struct Ledger {
    rulebook: Arc<RulebookRef>,
    pub(super) settler: Arc<dyn Settler>,
    /// The runtime that settles in a store that is not in this process: the ledger may be dropped anywhere.
    runtime: Option<Handle>,
    entries: Mutex<SmallVec<[Entry; 2]>>,
    is_taken: AtomicBool,
}

/// One charge that is to be settled.
#[derive(Debug)]
struct Entry {
    rule: RuleTier,
    parts: Parts,
    observed: Option<u64>,
    is_settled: bool,
}

/// Units that were recorded at different times, oldest first.
pub(super) type Parts = SmallVec<[Part; 1]>;

/// Units that were recorded at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    charge: Charge,
    receipt: Receipt,
    /// The nanosecond of the decision.
    at: u64,
}

/// A limiter, as reservations know it: whatever its store and its kind of requests are.
pub(crate) trait Settler: fmt::Debug + Send + Sync {
    /// Settles in the store.
    fn settle(&self, settlements: &[Settlement]) -> MaybeReady<BoxFuture, Verdict>;

    /// Decides about charges by the rules as they are now.
    fn decide_more(self: Arc<Self>, charges: HeldCharges) -> MaybeReady<DecidingMore, DecidedMore>;

    /// Notes that a charge is reserved.
    fn hold(&self, charge: &Charge, at: u64);

    /// Notes that a reserved charge is settled.
    fn release(&self, charge: &Charge, at: u64);

    /// Returns the units that a key has reserved since this nanosecond.
    fn held_since(&self, charge: &Charge, since: u64) -> u64;
}

/// Further charges of a request, and the verdict on them.
#[derive(Debug)]
pub(crate) struct DecidedMore {
    pub(crate) held: HeldCharges,
    pub(crate) verdict: Verdict,
}

/// A verdict on further charges that has to be awaited.
pub(crate) type DecidingMore = Pin<Box<dyn Future<Output = Result<DecidedMore, Unavailable>> + Send>>;

impl Reservation {
    /// Says what the request really cost, in all rules that count this unit: those by user and by organisation at once.
    ///
    /// Units that the estimate was too high by are given back, in every window that still counts them. Units that it was too
    /// low by are owed: they count from now on, whether there is room for them or not. The first call counts. Later ones,
    /// and those of a unit that no rule of the request reserves, change nothing.
    ///
    /// With a store that is not in this process, this returns at once, and a task of the runtime in which the request was
    /// decided does it. If that fails, it is not tried again, and the estimate stays.
    pub fn settle(&self, unit: &str, units: u64) {
        let settled = self.ledgers.iter().map(|ledger| ledger.settle(|entry| ledger.told(entry, unit, units)));
        if settled.sum::<usize>() == 0 {
            self.check_unit(unit);
        }
    }

    /// Warns of a unit that no rule of the limiter reserves.
    #[cold]
    fn check_unit(&self, unit: &str) {
        let mut rules = self.ledgers.iter().flat_map(|ledger| ledger.rulebook.rules());
        if let Some(ledger) = self.ledgers.first()
            && !rules.any(|rule| rule.settling().is_some() && rule.unit() == unit)
        {
            ledger.rulebook.observation().note_unknown_unit(unit);
        }
    }

    /// Says what the request really cost, as [`settle`](Self::settle) does, and waits until the store has recorded it.
    ///
    /// # Errors
    ///
    /// If the store could not be asked. It may have recorded it all the same; it is not tried again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the estimate as it was. It is not settled again in any case.
    pub async fn settle_async(&self, unit: &str, units: u64) -> Result<(), Unavailable> {
        let (mut pending, mut found): (SmallVec<[_; 1]>, _) = (SmallVec::new(), 0);
        for ledger in &self.ledgers {
            let batch = ledger.batch(|entry| ledger.told(entry, unit, units));
            found += batch.len;
            if let Some(settled) = ledger.settle_batch(batch) {
                pending.push(settled);
            }
        }
        if found == 0 {
            self.check_unit(unit);
        }
        let mut all = Ok(());
        for settled in pending {
            all = all.and(settled.await.map(drop));
        }
        all
    }

    /// Notes what the request has cost so far, for [`Unsettled::Observed`]: in place of what was noted before. It changes
    /// nothing until the response has ended.
    pub fn observe(&self, unit: &str, units: u64) {
        self.update_observed(unit, |_| units);
    }

    /// Adds to what the request has cost so far, as [`observe`](Self::observe) notes it.
    pub fn observe_more(&self, unit: &str, units: u64) {
        self.update_observed(unit, |observed| observed.saturating_add(units));
    }

    /// Returns the units that are reserved and not settled; of several rules, the most. Zero once they are settled.
    #[must_use]
    pub fn reserved(&self, unit: &str) -> u64 {
        self.ledgers.iter().map(|ledger| ledger.reserved(unit)).max().unwrap_or(0)
    }

    /// Takes the reservation from the response: what nobody has settled by then is settled when the last clone of the handle
    /// that this returns is dropped, and no longer at the end of the response. For batches and queues. A second call returns a
    /// handle that settles nothing when it is dropped.
    #[must_use = "dropping it settles the reservation"]
    pub fn take(&self) -> Self {
        let is_first = |ledger: &&Arc<Ledger>| !ledger.is_taken.swap(true, Ordering::AcqRel);
        let taken = TakenGuard(self.ledgers.iter().filter(is_first).cloned().collect());
        Self { ledgers: self.ledgers.clone(), _guard: Some(Arc::new(taken)) }
    }

    /// Leaves what is reserved as it is: there is nobody who could settle it, and nothing to report.
    pub(crate) fn keep(&self) {
        self.ledgers.iter().for_each(|ledger| drop(ledger.batch(|entry| Some((entry.reserved(), true)))));
    }

    /// Puts the reservations of a request into its extensions, beside those of limiters further out. A part of a batch that was
    /// given the extensions of the whole settles its own alone.
    pub(crate) fn record_in(&self, extensions: &mut Extensions) {
        if extensions.get::<RecordedHere>().is_some_and(|mark| !mark.0) {
            extensions.remove::<Self>();
        }
        let recorded = extensions.get_or_insert_default::<Self>();
        if !self.ledgers.is_empty() {
            recorded.ledgers.extend(self.ledgers.iter().cloned());
            extensions.insert(RecordedHere(true));
        }
    }

    /// Creates the reservation of one limiter: an empty one if nothing of it is to be settled.
    pub(super) fn new(ledger: Ledger) -> Self {
        let is_empty = ledger.entries.lock().is_empty();
        let ledgers = if is_empty { SmallVec::new() } else { smallvec![Arc::new(ledger)] };
        Self { ledgers, _guard: None }
    }

    /// Returns what settles the reservation of this limiter if nobody else does; `None` if it is empty.
    pub(crate) fn guard(&self) -> Option<ReservationGuard> {
        self.ledgers.first().cloned().map(|ledger| ReservationGuard(Some(ledger)))
    }

    fn update_observed(&self, unit: &str, update: impl Fn(u64) -> u64) {
        for ledger in &self.ledgers {
            for entry in ledger.entries.lock().iter_mut().filter(|entry| ledger.unit(entry) == unit) {
                entry.observed = Some(update(entry.observed.unwrap_or(0)));
            }
        }
    }

    /// Returns the charges of further units in each ledger that has reserved some.
    pub(super) fn further_charges(&self, unit: &str, units: u64) -> impl Iterator<Item = (&Ledger, HeldCharges)> {
        let ledgers = self.ledgers.iter().map(move |ledger| (&**ledger, ledger.further_charges(unit, units)));
        ledgers.filter(|(_, held)| !held.charges.charges.is_empty())
    }
}

impl ReservationGuard {
    /// Settles what nobody has settled by the end of a response.
    pub(crate) fn conclude(mut self, outcome: Option<&Outcome<'_>>) {
        if let Some(ledger) = &self.0
            && !ledger.is_taken.load(Ordering::Acquire)
        {
            ledger.conclude(outcome);
        }
        self.0 = None;
    }

    /// Returns `true` if some of it is settled by the outcome of the request.
    pub(crate) fn is_by_outcome(&self) -> bool {
        self.0.as_ref().is_some_and(|ledger| ledger.is_by_outcome())
    }
}

impl Drop for ReservationGuard {
    fn drop(&mut self) {
        if let Some(ledger) = self.0.take()
            && !ledger.is_taken.load(Ordering::Acquire)
        {
            ledger.conclude(None);
        }
    }
}

impl Clone for RecordedHere {
    /// Returns the mark of a copy.
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Drop for TakenGuard {
    fn drop(&mut self) {
        self.0.iter().for_each(|ledger| ledger.conclude(None));
    }
}

impl Ledger {
    /// Creates the ledger of an admitted request: the charges that have a receipt, and their rules.
    pub(super) fn new(
        rulebook: Arc<RulebookRef>,
        settler: Arc<dyn Settler>,
        charges: &[Charge],
        rules: &[RuleTier],
        verdict: &Verdict,
    ) -> Self {
        let recorded = charges.iter().zip(rules).enumerate().filter_map(|(at, (charge, rule))| {
            // A store may have a receipt for charges that stay as they are.
            rulebook.rule(rule.rule).settling()?;
            let part = Part { charge: *charge, receipt: verdict.receipt(at)?, at: verdict.now.nanos() };
            settler.hold(charge, part.at);
            Some(Entry { rule: *rule, parts: smallvec![part], observed: None, is_settled: false })
        });
        let entries = Mutex::new(recorded.collect());
        Self { rulebook, settler, runtime: Handle::try_current().ok(), entries, is_taken: AtomicBool::new(false) }
    }

    fn unit(&self, entry: &Entry) -> &str {
        self.rulebook.rule(entry.rule.rule).unit()
    }

    fn settling(&self, rule: RuleTier) -> Option<&Settling> {
        self.rulebook.rule(rule.rule).settling()
    }

    fn is_by_outcome(&self) -> bool {
        self.entries.lock().iter().any(|entry| matches!(self.settling(entry.rule), Some(Settling::ByOutcome(_))))
    }

    fn reserved(&self, unit: &str) -> u64 {
        let entries = self.entries.lock();
        let open = entries.iter().filter(|entry| !entry.is_settled && self.unit(entry) == unit);
        open.map(Entry::reserved).max().unwrap_or(0)
    }

    /// Returns the cost of an entry that somebody has told, if it is in this unit.
    fn told(&self, entry: &Entry, unit: &str, units: u64) -> Option<(u64, bool)> {
        (self.unit(entry) == unit).then_some((units, true))
    }

    /// Settles the entries for which `cost` returns what they cost, and whether anybody said so. Returns how many there are.
    fn settle(&self, cost: impl Fn(&Entry) -> Option<(u64, bool)>) -> usize {
        let batch = self.batch(cost);
        let len = batch.len;
        if len > 0
            && let Some(settled) = self.settle_batch(batch)
            && let Some(runtime) = &self.runtime
        {
            drop(runtime.spawn(settled));
        }
        len
    }

    /// Settles a batch in the store, and reports it if somebody wants to know. Returns what has to be awaited, if anything has.
    fn settle_batch(&self, batch: Batch) -> Option<impl Future<Output = Result<Verdict, Unavailable>> + Send + use<>> {
        let settled = match &*batch.settlements {
            [] => MaybeReady::Ready(Verdict::new(true)),
            settlements => self.settler.settle(settlements),
        };
        match settled {
            MaybeReady::Ready(verdict) => {
                if !batch.entries.is_empty() {
                    batch.report(&self.rulebook, Ok(&verdict));
                }
                None
            }
            MaybeReady::Pending(settled) => {
                let (rulebook, began) = (Arc::clone(&self.rulebook), Stopwatch::start());
                Some(async move {
                    let settled = settled.await;
                    rulebook.observation().observer.note_duration("settle", began);
                    batch.report(&rulebook, settled.as_ref());
                    settled
                })
            }
        }
    }

    /// Marks the entries as settled for which `cost` returns what they cost. Returns the settlements that are to be made.
    fn batch(&self, cost: impl Fn(&Entry) -> Option<(u64, bool)>) -> Batch {
        let mut batch = Batch::default();
        let is_followed = self.rulebook.observation().is_following_settlements();
        for entry in self.entries.lock().iter_mut().filter(|entry| !entry.is_settled) {
            if let Some((units, is_told)) = cost(entry) {
                entry.settle(units, &mut batch.settlements);
                entry.parts.iter().for_each(|part| self.settler.release(&part.charge, part.at));
                batch.len += 1;
                if is_followed {
                    batch.entries.extend(entry.told((units, is_told), batch.settlements.len()));
                }
            }
        }
        batch
    }

    /// Settles what nobody has settled, by the outcome of the request if it has one.
    fn conclude(&self, outcome: Option<&Outcome<'_>>) {
        let free = self.free_by_outcome(outcome);
        let cost = |entry: &Entry| match self.settling(entry.rule) {
            Some(Settling::ByOutcome(_)) if free.contains(&entry.rule) => (0, true),
            Some(Settling::ByOutcome(_)) => (entry.reserved(), true),
            Some(Settling::Reserved(Unsettled::Observed)) if entry.observed.is_some() => {
                (entry.observed.unwrap_or_default(), true)
            }
            Some(Settling::Reserved(Unsettled::Release)) => (0, false),
            _ => (entry.reserved(), false),
        };
        in_drop(|| {
            self.settle(|entry| Some(cost(entry)));
        });
    }

    /// Returns the rules that do not count this outcome. Their closures are called while nothing is locked.
    fn free_by_outcome(&self, outcome: Option<&Outcome<'_>>) -> SmallVec<[RuleTier; 2]> {
        let Some(outcome) = outcome else { return SmallVec::new() };
        let open = self.entries.lock().iter().filter(|entry| !entry.is_settled).map(|entry| entry.rule).collect();
        let mut rules: SmallVec<[RuleTier; 2]> = open;
        let counts = |rule: RuleTier| match self.settling(rule) {
            Some(Settling::ByOutcome(counts)) => counts(outcome),
            _ => true,
        };
        rules.retain(|rule| !counts(*rule));
        rules
    }

    fn further_charges(&self, unit: &str, units: u64) -> HeldCharges {
        let mut charges = Charges::default();
        for entry in self.entries.lock().iter().filter(|entry| !entry.is_settled && self.unit(entry) == unit) {
            if let Some(part) = entry.parts.first() {
                charges.add(entry.rule, &Charge { units, ..part.charge });
            }
        }
        // Of no version: the rules as they are now decide.
        HeldCharges { charges, rulebook: Arc::clone(&self.rulebook), version: Version::default(), switched: 0 }
    }

    /// Adds further units that were admitted to the entries of the same histories. Returns what was added.
    pub(super) fn extend(&self, decided: &DecidedMore) -> Parts {
        let (charges, verdict) = (&decided.held.charges.charges, &decided.verdict);
        let mut added = SmallVec::new();
        let mut entries = self.entries.lock();
        for (at, charge) in charges.iter().enumerate() {
            // If it was settled meanwhile, the further units are kept, as those of any other request.
            let same = entries.iter_mut().find(|entry| !entry.is_settled && entry.holds(charge));
            if let (Some(entry), Some(receipt)) = (same, verdict.receipt(at)) {
                let part = Part { charge: *charge, receipt, at: verdict.now.nanos() };
                self.settler.hold(charge, part.at);
                entry.parts.push(part);
                added.push(part);
            }
        }
        added
    }

    /// Gives back what was [added](Self::extend), as far as it is not settled with the rest.
    pub(super) fn retract(&self, added: &[Part]) {
        let mut settlements = Vec::new();
        for part in added {
            let mut entries = self.entries.lock();
            let open = entries.iter_mut().find(|entry| !entry.is_settled && entry.holds(&part.charge));
            let Some(entry) = open else { continue };
            if let Some(at) = entry.parts.iter().rposition(|other| other == part) {
                entry.parts.remove(at);
                self.settler.release(&part.charge, part.at);
                settlements.push(Settlement::new(part.charge, part.receipt, 0));
            }
        }
        self.send(&settlements);
    }

    /// Settles in the store; in a task, if the answer has to be awaited.
    fn send(&self, settlements: &[Settlement]) {
        if !settlements.is_empty()
            && let MaybeReady::Pending(settled) = self.settler.settle(settlements)
            && let Some(runtime) = &self.runtime
        {
            drop(runtime.spawn(settled));
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.conclude(None);
    }
}

impl Entry {
    fn holds(&self, charge: &Charge) -> bool {
        let is_same = |part: &Part| part.charge.scope() == charge.scope() && part.charge.key() == charge.key();
        self.parts.first().is_some_and(is_same)
    }

    fn reserved(&self) -> u64 {
        self.parts.iter().map(|part| part.charge.units()).fold(0, u64::saturating_add)
    }

    /// Returns what is told of it: what it cost, and whether anybody said so. `end` is the index behind its last settlement.
    #[cold]
    fn told(&self, (units, is_told): (u64, bool), end: usize) -> Option<BatchEntry> {
        let key = self.parts.first()?.charge.key();
        Some(BatchEntry { rule: self.rule, key, reserved: self.reserved(), units, is_told, end })
    }

    /// Spreads what it cost over its parts, oldest first; the last one gets what is beyond all of them.
    fn settle(&mut self, units: u64, settlements: &mut Vec<Settlement>) {
        self.is_settled = true;
        let (mut left, last) = (units, self.parts.len().saturating_sub(1));
        for (at, Part { charge, receipt, .. }) in self.parts.iter().enumerate() {
            let own = if at == last { left } else { left.min(charge.units()) };
            left = left.saturating_sub(own);
            if own != charge.units() {
                settlements.push(Settlement::new(*charge, *receipt, own));
            }
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("entries", &self.entries).finish_non_exhaustive()
    }
}
