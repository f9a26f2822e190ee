//! Commands on the histories that the servers keep: decide, peek, refund, delete, ping.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join, try_join_all};
use redis::{RedisResult, Value};

use crate::{
    clock::Timestamp,
    history::Plan,
    key::Charge,
    policy::{Enforcement, Policy},
    store::{
        Receipt, Scopes, Verdict,
        redis::{
            failure::Failure,
            key_name::{hash_slot, hash_slot_of_tenant, key_name, probe_key_name},
            layout::Layout,
            layouts::{Layouts, PlanLayout},
            node::{Command, Node},
            script::{Charged, Mode, Recorded, Reply, Request, Script, Settled},
            servers::Servers,
            timer::{Deadline, Timer},
        },
    },
};

/// Sends commands on histories: knows their names and layouts, the script, and the servers.
#[derive(Debug)]
pub(super) struct HistoryCommands {
    pub(super) servers: Servers,
    pub(super) scopes: Scopes,
    pub(super) layouts: Layouts,
    pub(super) prefix: String,
    pub(super) deadline: Duration,
    pub(super) timer: Timer,
}

/// The layouts of some charges, with the keys that the names of their strings begin with, and how they are enforced and what
/// they cost.
type NamedLayouts = Box<[(Arc<PlanLayout>, String, Enforcement, u64)]>;

impl HistoryCommands {
    /// Runs the script on several requests, each for so many units, in one call.
    ///
    /// The script stops at a request whose history it cannot read, so there may be fewer replies than requests.
    pub(super) async fn decide(
        &self,
        requests: &[(&[Charge], u8)],
        mode: Mode,
        deadline: Deadline,
    ) -> Result<Vec<RedisResult<Reply>>, Failure> {
        let named: Vec<_> = requests.iter().map(|(charges, _)| self.named(charges)).collect();
        let charged: Vec<_> = named.iter().map(charged).collect();
        let requests = charged.iter().zip(requests).map(|(charges, (_, units))| Request { charges, units: *units });
        let requests: Vec<_> = requests.collect();
        let reply = self.call(&requests, mode, deadline).await?;
        let mut replies = Script::replies(&requests, reply).map_err(Failure::Server)?;
        if mode == Mode::Decide {
            replies.iter_mut().filter_map(|reply| reply.as_mut().ok()).for_each(Reply::note_receipts);
        }
        Ok(replies)
    }

    /// Returns what would be decided about charges in one slot.
    pub(super) async fn peek(&self, charges: &[Charge], deadline: Deadline) -> Result<Verdict, Failure> {
        let reply = self.decide(&[(charges, 1)], Mode::Peek, deadline).await.and_then(single_reply)?;
        Ok(reply.verdict)
    }

    /// Gives back so many units of each charge that were admitted at that moment.
    pub(super) async fn refund(
        &self,
        charges: &[(Charge, Option<Receipt>)],
        admitted_at: Timestamp,
        units: u8,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let refunded = charges.iter().copied().filter(|(charge, _)| !self.counts_denied(&[*charge]));
        let (costs, charges): (Vec<_>, Vec<_>) = refunded.partition(|(charge, _)| self.has_costs(&[*charge]));
        let charges: Vec<Charge> = charges.into_iter().map(|(charge, _)| charge).collect();
        // What was recorded with a cost goes back from there. A charge of nothing has no receipt.
        let costs = costs.into_iter().filter_map(|(charge, receipt)| {
            let total = charge.units.saturating_mul(u64::from(units));
            Some((charge, total, Some(Recorded::from_receipt(receipt?))))
        });
        let costs: Vec<_> = costs.collect();
        let settled = async { self.settle(&costs, deadline).await.map(drop) };
        let (settled, refunded) = join(settled, self.refund_units(&charges, admitted_at, units, deadline)).await;
        settled.and(refunded)
    }

    async fn refund_units(
        &self,
        charges: &[Charge],
        admitted_at: Timestamp,
        units: u8,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let refund = async |charges: &[Charge]| {
            let named = self.named(charges);
            let charges = &*charged(&named);
            self.call(&[Request { charges, units }], Mode::Refund(admitted_at), deadline).await.map(drop)
        };
        match charges {
            [] => Ok(()),
            charges => match refund(charges).await {
                // While a slot moves, only commands with one key are sure to find it.
                Err(failure) if failure.is_try_again() && charges.len() > 1 => {
                    try_join_all(charges.chunks(1).map(refund)).await.map(drop)
                }
                refunded => refunded,
            },
        }
    }

    /// Settles charges in one slot, each by so many units: they are given back where they were recorded, or are owed from now
    /// on. Returns how many units that made. Settles none after one whose history it cannot read.
    ///
    /// A settlement is not sent again if it may have been done.
    pub(super) async fn settle(
        &self,
        settlements: &[(Charge, u64, Option<Recorded>)],
        deadline: Deadline,
    ) -> Result<Vec<RedisResult<u64>>, Failure> {
        match self.settle_together(settlements, deadline).await {
            // While a slot moves, only commands with one key are sure to find it; this one was not executed.
            Err(failure) if failure.is_try_again() && settlements.len() > 1 => {
                let one_by_one = settlements.chunks(1).map(|settlement| self.settle_together(settlement, deadline));
                Ok(try_join_all(one_by_one).await?.into_iter().flatten().collect())
            }
            settled => settled,
        }
    }

    async fn settle_together(
        &self,
        settlements: &[(Charge, u64, Option<Recorded>)],
        deadline: Deadline,
    ) -> Result<Vec<RedisResult<u64>>, Failure> {
        let named = settlements.iter().map(|(charge, ..)| self.named(&[*charge]));
        let named: Vec<_> = named.collect();
        let parts = named.iter().flatten().zip(settlements);
        let settled: Vec<_> = parts
            .map(|((plan, key, ..), (_, units, recorded))| Settled {
                logs: &plan.layout,
                key: key.as_bytes(),
                units: *units,
                recorded: *recorded,
            })
            .collect();
        if settled.len() < settlements.len() {
            return Err(Failure::other("a charge of another limiter"));
        }
        let Some(first) = settled.first() else { return Ok(Vec::new()) };
        let script = self.timer.script();
        let full = || script.settle_in_full(&settled);
        let command = Command { short: script.settle(&settled), full: Some(&full), is_divisible: settled.len() > 1 };
        let slot = if self.servers.is_cluster() { hash_slot(first.key) } else { 0 };
        Script::settled(self.servers.call(slot, &command, deadline).await?).map_err(Failure::Server)
    }

    /// Deletes the history of a charge, in the layouts of all processes. Returns whether there was one.
    pub(super) async fn delete(&self, charge: Charge, deadline: Deadline) -> Result<bool, Failure> {
        let named = self.named(&[charge]);
        let charges = &*charged(&named);
        if charges.is_empty() {
            return Ok(false);
        }
        let answer = self.call(&[Request { charges, units: 1 }], Mode::Forget, deadline).await?;
        Ok(answer != Value::Int(0))
    }

    /// Checks that every master decides and writes, with a history that belongs to no rule and expires.
    pub(super) async fn ping(&self) -> Result<(), Failure> {
        let masters = self.servers.masters().await?;
        try_join_all(masters.iter().map(|(node, slot)| self.ping_node(node, *slot))).await.map(drop)
    }

    /// Returns whether any of the charges counts denials, too.
    pub(super) fn counts_denied(&self, charges: &[Charge]) -> bool {
        charges.iter().filter_map(|charge| self.scopes.plan(charge)).any(Plan::counts_denied)
    }

    /// Returns whether requests have costs under the rule of any of the charges.
    pub(super) fn has_costs(&self, charges: &[Charge]) -> bool {
        charges.iter().filter_map(|charge| self.scopes.plan(charge)).any(Plan::has_costs)
    }

    /// Returns the units that a request costs a history.
    pub(super) fn cost(&self, charge: &Charge) -> u64 {
        if self.has_costs(&[*charge]) { charge.units } else { 1 }
    }

    /// Returns whether other plans judge the history of a charge, too.
    pub(super) fn has_siblings(&self, charge: &Charge) -> bool {
        self.scopes.plan(charge).is_some_and(Plan::has_siblings)
    }

    /// Returns whether the charges are in several hash slots, which no single call can decide about.
    pub(super) fn spans_slots(&self, charges: &[Charge]) -> bool {
        let is_one_tenant =
            charges.windows(2).all(|pair| matches!(pair, [one, other] if one.tenant() == other.tenant()));
        self.servers.is_cluster() && !is_one_tenant
    }

    /// Returns the failure of charges in one slot if they would not be asked about, because a circuit breaker is open.
    pub(super) fn circuit_open(&self, charges: &[Charge]) -> Option<Failure> {
        let first = charges.first().filter(|_| self.servers.is_cluster());
        self.servers.circuit_open(first.map_or(0, |charge| hash_slot_of_tenant(charge.tenant())))
    }

    async fn ping_node(&self, node: &Arc<Node>, slot: u16) -> Result<(), Failure> {
        let layout = Layout::new(&Plan::new(&Policy::per_second(1)));
        let key = probe_key_name(&self.prefix, self.servers.is_cluster().then_some(slot));
        let charges = &[Charged { logs: &layout, key: key.as_bytes(), enforcement: Enforcement::On, units: 1 }];
        let (script, requests) = (self.timer.script(), &[Request { charges, units: 1 }]);
        let send = async |short| node.call_unguarded(&Command { short, full: None, is_divisible: false }).await;
        // EVAL first, since the script may be unknown; then EVALSHA, which decisions need as well.
        let reply = send(script.call_in_full(requests, Mode::Decide)).await?;
        let admitted_at = Script::reply(charges, reply).map_err(Failure::Server)?.verdict.now;
        send(script.call(requests, Mode::Refund(admitted_at))).await?;
        node.allow_probe();
        Ok(())
    }

    fn named(&self, charges: &[Charge]) -> NamedLayouts {
        let named = charges.iter().filter_map(|charge| {
            let (scope, plan) = (self.scopes.get(charge.scope())?, self.layouts.get(charge)?);
            let units = if plan.layout.has_costs() { charge.units } else { 1 };
            Some((plan, key_name(&self.prefix, scope, charge), charge.enforcement, units))
        });
        named.collect()
    }

    async fn call(&self, requests: &[Request<'_>], mode: Mode, deadline: Deadline) -> Result<Value, Failure> {
        let script = self.timer.script();
        let full = || script.call_in_full(requests, mode);
        let charges = requests.iter().map(|request| request.charges.len()).sum::<usize>();
        let short = script.call(requests, mode);
        let command = Command { short, full: Some(&full), is_divisible: charges > 1 };
        let first = requests.first().and_then(|request| request.charges.first());
        let slot = first.filter(|_| self.servers.is_cluster()).map_or(0, |charged| hash_slot(charged.key));
        self.servers.call(slot, &command, deadline).await
    }
}

/// Returns the reply to a call about one request.
pub(super) fn single_reply(replies: Vec<RedisResult<Reply>>) -> Result<Reply, Failure> {
    let reply = replies.into_iter().next().ok_or_else(|| Failure::other("the server left a request out"))?;
    reply.map_err(Failure::Server)
}

fn charged(named: &NamedLayouts) -> Vec<Charged<'_>> {
    let charged = named.iter().map(|(plan, key, enforcement, units)| Charged {
        logs: &plan.layout,
        key: key.as_bytes(),
        enforcement: *enforcement,
        units: *units,
    });
    charged.collect()
}
