//! Calling the script, within a deadline.

use std::sync::Arc;

use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};
use tokio::runtime::Handle;

use crate::{
    clock::Moment,
    store::{
        Charge, Verdict,
        redis::{
            ask::Asker,
            link::Failure,
            log::Logs,
            names::name,
            script::{Charged, Mode, Reply, Request, Script},
        },
    },
};

/// The logs of some charges, and the keys that their names begin with.
pub(super) type Named<'a> = Box<[(&'a Logs, String)]>;

impl Asker {
    /// What the script says about charges that are on one server. Decisions may share a call with others.
    pub(super) async fn evaluate(self: &Arc<Self>, charges: &[Charge], mode: Mode) -> Result<Verdict, Failure> {
        if mode == Mode::Decide && self.turn.is_shared() {
            return self.decide_in_turn(charges).await;
        }
        let mut replies = self.evaluate_all(&[(charges, 1)], mode).await?.into_iter();
        let reply = replies.next().ok_or_else(|| Failure::Lost("no reply".to_owned()))?;
        reply.map(|reply| reply.verdict).map_err(Failure::Refused)
    }

    /// What the script says about so many units of several requests, in one call. After one whose history could not be read
    /// none was decided: there may be fewer replies than requests.
    pub(super) async fn evaluate_all(
        &self,
        requests: &[(&[Charge], u8)],
        mode: Mode,
    ) -> Result<Vec<RedisResult<Reply>>, Failure> {
        let named: Vec<_> = requests.iter().map(|(charges, _)| self.named(charges)).collect();
        let charged: Vec<_> = named.iter().map(charged).collect();
        let asked = charged.iter().zip(requests).map(|(charges, (_, units))| Request { charges, units: *units });
        let asked: Vec<_> = asked.collect();
        let answer = self.in_time(self.call(&asked, mode)).await?;
        Script::replies(&asked, answer).map_err(Failure::Refused)
    }

    /// Gives back so many units of each charge that were admitted at that moment.
    pub(super) async fn refund(&self, charges: &[Charge], admitted_at: Moment, units: u8) -> Result<(), Failure> {
        let named = self.named(charges);
        let charges = &*charged(&named);
        self.in_time(self.call(&[Request { charges, units }], Mode::Refund(admitted_at))).await.map(drop)
    }

    pub(super) fn named(&self, charges: &[Charge]) -> Named<'_> {
        let named = charges.iter().filter_map(|charge| {
            let (scope, logs) = (self.scopes.get(charge.scope)?, self.logs.get(charge.scope as usize)?);
            Some((logs, name(&self.prefix, scope, charge)))
        });
        named.collect()
    }

    pub(super) async fn in_time<T>(&self, reply: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if Handle::try_current().is_err() {
            return Err(Failure::Lost("there is no tokio runtime here".to_owned()));
        }
        let late = |_| Failure::Lost(format!("no answer within {}", humantime::format_duration(self.deadline)));
        tokio::time::timeout(self.deadline, reply).await.map_err(late)?
    }

    /// A script that the server does not know has not run, so it may be sent again in full.
    async fn call(&self, requests: &[Request<'_>], mode: Mode) -> Result<Value, Failure> {
        let script = self.script();
        match self.link.send(&script.call(requests, mode)).await {
            Err(Failure::Refused(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.link.send(&script.call_in_full(requests, mode)).await
            }
            reply => reply,
        }
    }

    #[cfg(feature = "test-util")]
    fn script(&self) -> Script {
        use crate::clock::Clock;
        let micros = |clock: &crate::clock::ManualClock| u64::try_from(clock.now().as_micros()).unwrap_or(u64::MAX);
        self.virtual_time.as_ref().map_or_else(Script::new, |clock| Script::at(VIRTUAL_START + micros(clock)))
    }

    #[cfg(not(feature = "test-util"))]
    const fn script(&self) -> Script {
        Script::new()
    }
}

/// Zero would be the server's own time.
#[cfg(feature = "test-util")]
const VIRTUAL_START: u64 = 1_000_000_000;

fn charged<'a>(named: &'a Named<'_>) -> Vec<Charged<'a>> {
    named.iter().map(|(logs, key)| Charged { logs, key: key.as_bytes() }).collect()
}
