//! The histories on the servers, and what can be asked of them.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use redis::{RedisResult, Value, cmd};

use crate::{
    clock::Timestamp,
    history::Plan,
    key::Charge,
    policy::Policy,
    store::{
        Scopes, Verdict,
        redis::{
            failure::Failure,
            layout::Layout,
            names::{name, slot_of_tenant, trial_name},
            node::{Command, Deadline, Node},
            routes::Routes,
            script::{Charged, Mode, Reply, Request, Script},
            slots::slot_of,
            timepiece::Timepiece,
        },
    },
};

/// The histories on the servers: their names, the script that decides about them, and whom to send it to.
#[derive(Debug)]
pub(super) struct Histories {
    pub(super) routes: Routes,
    pub(super) scopes: Scopes,
    /// Of each scope.
    pub(super) logs: Vec<Layout>,
    pub(super) prefix: String,
    pub(super) deadline: Duration,
    pub(super) timepiece: Timepiece,
}

/// The logs of some charges, and the keys that their names begin with.
type Named<'a> = Box<[(&'a Layout, String)]>;

impl Histories {
    /// What the script says about so many units of several requests, in one call. After one whose history could not be read
    /// none was decided: there may be fewer replies than requests.
    pub(super) async fn decide(
        &self,
        requests: &[(&[Charge], u8)],
        mode: Mode,
        deadline: Deadline,
    ) -> Result<Vec<RedisResult<Reply>>, Failure> {
        let named: Vec<_> = requests.iter().map(|(charges, _)| self.named(charges)).collect();
        let charged: Vec<_> = named.iter().map(charged).collect();
        let asked = charged.iter().zip(requests).map(|(charges, (_, units))| Request { charges, units: *units });
        let asked: Vec<_> = asked.collect();
        let answer = self.call(&asked, mode, deadline).await?;
        Script::replies(&asked, answer).map_err(Failure::Refused)
    }

    /// What would be decided about charges in one slot.
    pub(super) async fn peek(&self, charges: &[Charge], deadline: Deadline) -> Result<Verdict, Failure> {
        let reply = self.decide(&[(charges, 1)], Mode::Peek, deadline).await.and_then(the_only_one)?;
        Ok(reply.verdict)
    }

    /// Gives back so many units of each charge that were admitted at that moment.
    pub(super) async fn refund(
        &self,
        charges: &[Charge],
        admitted_at: Timestamp,
        units: u8,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let charges: Vec<Charge> = charges.iter().copied().filter(|charge| !self.counts_denied(&[*charge])).collect();
        let refund = async |charges: &[Charge]| {
            let named = self.named(charges);
            let charges = &*charged(&named);
            self.call(&[Request { charges, units }], Mode::Refund(admitted_at), deadline).await.map(drop)
        };
        match charges.as_slice() {
            [] => Ok(()),
            charges => match refund(charges).await {
                // While a slot moves, only one key at a time is sure to be somewhere.
                Err(failure) if failure.is_try_again() && charges.len() > 1 => {
                    try_join_all(charges.chunks(1).map(refund)).await.map(drop)
                }
                refunded => refunded,
            },
        }
    }

    /// Forgets the history of a charge. Says whether there was anything.
    pub(super) async fn delete(&self, charge: Charge, deadline: Deadline) -> Result<bool, Failure> {
        let mut found = false;
        for (logs, key) in &self.named(&[charge]) {
            let mut forget = cmd("DEL");
            for log in logs.iter() {
                forget.arg([key.as_bytes(), log.suffix().as_bytes()].concat());
            }
            let command = Command { short: forget, full: None, is_divisible: false };
            found |= self.routes.ask(slot_of(key.as_bytes()), &command, deadline).await? != Value::Int(0);
        }
        Ok(found)
    }

    /// Whether every master decides and writes: by a history of nobody, which expires.
    pub(super) async fn try_all(&self) -> Result<(), Failure> {
        let masters = self.routes.masters().await?;
        try_join_all(masters.iter().map(|(node, slot)| self.try_one(node, *slot))).await.map(drop)
    }

    /// Whether a denial is charged anywhere there too.
    pub(super) fn counts_denied(&self, charges: &[Charge]) -> bool {
        charges.iter().filter_map(|charge| self.scopes.plan(charge.scope)).any(Plan::counts_denied)
    }

    /// Where in a cluster the histories of these charges are, if they are all in one place.
    pub(super) fn slot(&self, charges: &[Charge]) -> u16 {
        let is_cluster = self.routes.is_cluster();
        charges.first().filter(|_| is_cluster).map_or(0, |charge| slot_of_tenant(charge.tenant()))
    }

    async fn try_one(&self, node: &Arc<Node>, slot: u16) -> Result<(), Failure> {
        let logs = Layout::new(&Plan::new(&Policy::per_second(1)));
        let key = trial_name(&self.prefix, self.routes.is_cluster().then_some(slot));
        let charges = &[Charged { logs: &logs, key: key.as_bytes() }];
        let (script, requests) = (self.timepiece.script(), &[Request { charges, units: 1 }]);
        let send = async |short| node.try_hard(&Command { short, full: None, is_divisible: false }).await;
        // In full, since it may not be known; and by its name, since that is how decisions are asked for.
        let answer = send(script.call_in_full(requests, Mode::Decide)).await?;
        let admitted_at = Script::reply(charges, answer).map_err(Failure::Refused)?.verdict.now;
        send(script.call(requests, Mode::Refund(admitted_at))).await?;
        node.let_try();
        Ok(())
    }

    fn named(&self, charges: &[Charge]) -> Named<'_> {
        let named = charges.iter().filter_map(|charge| {
            let (scope, logs) = (self.scopes.get(charge.scope)?, self.logs.get(charge.scope as usize)?);
            Some((logs, name(&self.prefix, scope, charge)))
        });
        named.collect()
    }

    async fn call(&self, requests: &[Request<'_>], mode: Mode, deadline: Deadline) -> Result<Value, Failure> {
        let script = self.timepiece.script();
        let full = || script.call_in_full(requests, mode);
        let charges = requests.iter().map(|request| request.charges.len()).sum::<usize>();
        let short = script.call(requests, mode);
        let command = Command { short, full: Some(&full), is_divisible: charges > 1 };
        let key = requests.first().and_then(|request| request.charges.first());
        let slot = key.filter(|_| self.routes.is_cluster()).map_or(0, |charged| slot_of(charged.key));
        self.routes.ask(slot, &command, deadline).await
    }
}

pub(super) fn the_only_one(replies: Vec<RedisResult<Reply>>) -> Result<Reply, Failure> {
    let reply = replies.into_iter().next().ok_or_else(|| Failure::impossible("the server left a request out"))?;
    reply.map_err(Failure::Refused)
}

fn charged<'a>(named: &'a Named<'_>) -> Vec<Charged<'a>> {
    named.iter().map(|(logs, key)| Charged { logs, key: key.as_bytes() }).collect()
}
