//! Asking the server, within a deadline, or doing without it.

use std::{pin::Pin, sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind, Value, cmd};
use tokio::{runtime::Handle, time::Instant};

use crate::{
    history::Plan,
    store::{
        Charge, Scopes, Unavailable, Verdict,
        redis::{
            breaker::{Attempt, Breaker},
            denials::Denials,
            link::{Failure, Link},
            log::Logs,
            names::name,
            outage::Outcome,
            script::{Charged, Mode, Script},
        },
    },
};

/// Everything that a decision needs.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) link: Link,
    pub(super) outcome: Outcome,
    pub(super) scopes: Scopes,
    /// Of each scope.
    pub(super) logs: Vec<Logs>,
    pub(super) prefix: String,
    pub(super) deadline: Duration,
    pub(super) denials: Denials,
    pub(super) breaker: Arc<Breaker>,
    /// Whether histories may be on different servers.
    pub(super) is_cluster: bool,
    #[cfg(feature = "test-util")]
    pub(super) virtual_time: Option<crate::clock::ManualClock>,
}

/// A decision on its way.
pub(super) type Deciding = Pin<Box<dyn Future<Output = Result<Verdict, Unavailable>> + Send>>;

impl Asker {
    /// The answer if it is known or nobody is to be asked, else a question on its way.
    pub(super) fn decide(self: &Arc<Self>, charges: &[Charge], verdict: &mut Verdict) -> Option<Deciding> {
        if let Some(known) = self.denials.get(charges) {
            *verdict = known;
            return None;
        }
        let Some(attempt) = self.breaker.attempt() else {
            return self.do_without(charges, verdict);
        };
        let (this, charges) = (Arc::clone(self), charges.to_vec());
        Some(Box::pin(async move { this.decide_there(&charges, attempt).await }))
    }

    /// What would be decided now.
    pub(super) async fn peek(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let attempt = self.breaker.attempt().ok_or_else(left_alone)?;
        let reply = self.decided(charges, Mode::Peek).await;
        self.conclude(reply, attempt)
    }

    /// Forgets histories; admits if there was one.
    pub(super) async fn reset(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let mut found = false;
        for charge in charges {
            let attempt = self.breaker.attempt().ok_or_else(left_alone)?;
            let mut forget = cmd("DEL");
            for (logs, key) in self.named(std::slice::from_ref(charge)) {
                for log in logs.iter() {
                    forget.arg([key.as_bytes(), log.suffix().as_bytes()].concat());
                }
            }
            let forgotten = self.in_time(self.link.send(&forget)).await;
            found |= self.conclude(forgotten, attempt)? != Value::Int(0);
        }
        self.denials.clear();
        Ok(Verdict::new(found))
    }

    /// Whether the server answers, whatever the breaker thinks.
    pub(super) async fn ping(&self) -> Result<(), Unavailable> {
        self.in_time(self.link.send(&cmd("PING"))).await.map(drop).map_err(Failure::into_unavailable)
    }

    /// The verdict of the script about charges that are on one server.
    pub(super) async fn evaluate(&self, charges: &[Charge], mode: Mode) -> Result<Verdict, Failure> {
        let named = self.named(charges);
        let charged: Vec<_> = named.iter().map(|(logs, key)| Charged { logs, key: key.as_bytes() }).collect();
        let reply = self.in_time(self.call(&charged, mode)).await?;
        if let Mode::Refund(_) = mode {
            return Ok(Verdict::new(true));
        }
        Script::verdict(&charged, reply).map_err(Failure::Refused)
    }

    async fn decided(&self, charges: &[Charge], mode: Mode) -> Result<Verdict, Failure> {
        if self.is_cluster { self.decide_together(charges, mode).await } else { self.evaluate(charges, mode).await }
    }

    fn do_without(&self, charges: &[Charge], verdict: &mut Verdict) -> Option<Deciding> {
        match self.outcome.decide(charges, LEFT_ALONE) {
            Ok(decided) => {
                *verdict = decided;
                None
            }
            Err(unavailable) => Some(Box::pin(std::future::ready(Err(unavailable)))),
        }
    }

    async fn decide_there(&self, charges: &[Charge], attempt: Attempt) -> Result<Verdict, Unavailable> {
        let asked = Instant::now();
        let reply = self.decided(charges, Mode::Decide).await;
        match self.conclude(reply, attempt) {
            Ok(verdict) => {
                self.take_note(charges, &verdict, asked);
                Ok(verdict)
            }
            Err(unavailable) => self.outcome.decide(charges, unavailable.reason()),
        }
    }

    fn take_note(&self, charges: &[Charge], verdict: &Verdict, asked: Instant) {
        if verdict.admitted {
            return self.outcome.note_admitted(charges);
        }
        let plans = || charges.iter().filter_map(|charge| self.scopes.plan(charge.scope));
        // Denials that count are to be counted.
        if !plans().any(Plan::counts_denied) {
            let windows = plans().flat_map(Plan::windows);
            let exhausted = windows.zip(&verdict.states).filter(|(window, state)| state.used >= window.limit);
            let wait = exhausted.map(|(_, state)| verdict.now.until(state.changes_at)).max().unwrap_or_default();
            self.denials.remember(charges, verdict, asked, wait);
        }
    }

    fn named(&self, charges: &[Charge]) -> Vec<(&Logs, String)> {
        let named = charges.iter().filter_map(|charge| {
            let (scope, logs) = (self.scopes.get(charge.scope)?, self.logs.get(charge.scope as usize)?);
            Some((logs, name(&self.prefix, scope, charge)))
        });
        named.collect()
    }

    /// A script that the server does not know has not run, so it may be sent again in full.
    async fn call(&self, charged: &[Charged<'_>], mode: Mode) -> Result<Value, Failure> {
        let script = self.script();
        match self.link.send(&script.call(charged, mode)).await {
            Err(Failure::Refused(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.link.send(&script.call_in_full(charged, mode)).await
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

    async fn in_time<T>(&self, reply: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        if Handle::try_current().is_err() {
            return Err(Failure::Lost("there is no tokio runtime here".to_owned()));
        }
        let late = |_| Failure::Lost(format!("no answer within {}", humantime::format_duration(self.deadline)));
        tokio::time::timeout(self.deadline, reply).await.map_err(late)?
    }

    /// What an answer, or its absence, says about the server.
    fn conclude<T>(&self, reply: Result<T, Failure>, attempt: Attempt) -> Result<T, Unavailable> {
        let failure = match reply {
            Ok(value) => {
                attempt.succeed();
                return Ok(value);
            }
            Err(failure) => failure,
        };
        match &failure {
            Failure::Refused(error) if is_about_the_key(error) => attempt.succeed(),
            // The connection may be what is broken, or busy with a reply that never ends.
            _ if attempt.fail() => self.link.discard(),
            _ => {}
        }
        Err(failure.into_unavailable())
    }
}

/// Zero would be the server's own time.
#[cfg(feature = "test-util")]
const VIRTUAL_START: u64 = 1_000_000_000;

const LEFT_ALONE: &str = "the server has not answered several times, and is tried once a second";

fn left_alone() -> Unavailable {
    Unavailable::new(LEFT_ALONE)
}

/// Whether the server is in order, and only what is kept under the key is not.
fn is_about_the_key(error: &RedisError) -> bool {
    Script::is_corrupt(error) || error.code() == Some("WRONGTYPE")
}
