//! Asking the server, within a deadline, or doing without it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{RedisError, Value, cmd};
use tokio::time::Instant;

use crate::store::{
    Charge, Scopes, Unavailable, Verdict,
    redis::{
        breaker::{Attempt, Breaker},
        denials::Denials,
        leases::{Leases, Next},
        link::{Failure, Link},
        log::Logs,
        outage::Outcome,
        script::{Mode, Script},
        turn::Turn,
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
    pub(super) turn: Turn,
    pub(super) leases: Leases,
    /// How often something was reset here.
    pub(super) resets: AtomicU64,
    /// Whether histories may be on different servers.
    pub(super) is_cluster: bool,
    #[cfg(feature = "test-util")]
    pub(super) virtual_time: Option<crate::clock::ManualClock>,
}

/// When something was asked, and how often something had been reset by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) asked: Instant,
    resets: u64,
}

/// A decision on its way.
pub(super) type Deciding = Pin<Box<dyn Future<Output = Result<Verdict, Unavailable>> + Send>>;

impl Asker {
    /// The answer if it is known or nobody is to be asked, else a question on its way.
    pub(super) fn decide(self: &Arc<Self>, charges: &[Charge], verdict: &mut Verdict) -> Option<Deciding> {
        if charges.is_empty() {
            *verdict = Verdict::new(true);
            return None;
        }
        if let Some(known) = self.denials.get(charges) {
            *verdict = known;
            return None;
        }
        match self.next_loan(charges) {
            Next::Lent(lent) => {
                self.outcome.note_admitted(charges);
                *verdict = lent;
                return None;
            }
            Next::Ask => {}
            next => {
                let (this, charges) = (Arc::clone(self), charges.to_vec());
                return Some(Box::pin(async move { this.borrow_unit(&charges, next).await }));
            }
        }
        let Some(attempt) = self.breaker.attempt() else {
            return self.do_without(charges, verdict);
        };
        let (this, charges) = (Arc::clone(self), charges.to_vec());
        Some(Box::pin(async move { this.decide_there(&charges, attempt).await }))
    }

    /// What would be decided now.
    pub(super) async fn peek(self: &Arc<Self>, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let attempt = self.breaker.attempt().ok_or_else(left_alone)?;
        let reply = self.decided(charges, Mode::Peek).await;
        self.conclude(reply, attempt)
    }

    /// Whether there is a unit for a request, or somebody has to ask. What is lent in one call is in one slot.
    pub(super) fn next_loan(&self, charges: &[Charge]) -> Next {
        let is_one_tenant = charges.windows(2).all(|pair| matches!(pair, [one, other] if one.tenant == other.tenant));
        if self.is_cluster && !is_one_tenant {
            return Next::Ask;
        }
        self.leases.next(charges, Instant::now())
    }

    /// Forgets histories; admits if there was one.
    pub(super) async fn reset(&self, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        let found = self.delete(charges).await;
        // What was asked before is not to be remembered afterwards, whether all of it is gone or only a part.
        self.resets.fetch_add(1, Ordering::Release);
        self.denials.clear();
        self.leases.clear();
        charges.iter().for_each(|charge| self.outcome.forget(charge));
        found.map(Verdict::new)
    }

    /// Says whether there was anything.
    async fn delete(&self, charges: &[Charge]) -> Result<bool, Unavailable> {
        let mut found = false;
        for charge in charges {
            let attempt = self.breaker.attempt().ok_or_else(left_alone)?;
            let mut forget = cmd("DEL");
            for (logs, key) in &self.named(std::slice::from_ref(charge)) {
                for log in logs.iter() {
                    forget.arg([key.as_bytes(), log.suffix().as_bytes()].concat());
                }
            }
            let forgotten = self.in_time(self.link.send(&forget)).await;
            found |= self.conclude(forgotten, attempt)? != Value::Int(0);
        }
        Ok(found)
    }

    /// Whether the server answers, whatever the breaker thinks.
    pub(super) async fn ping(&self) -> Result<(), Unavailable> {
        self.in_time(self.link.send(&cmd("PING"))).await.map(drop).map_err(Failure::into_unavailable)
    }

    async fn decided(self: &Arc<Self>, charges: &[Charge], mode: Mode) -> Result<Verdict, Failure> {
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

    /// The answer of the server, or what is to happen without it.
    pub(super) async fn decide_there(
        self: &Arc<Self>,
        charges: &[Charge],
        attempt: Attempt,
    ) -> Result<Verdict, Unavailable> {
        let question = self.question();
        let reply = self.decided(charges, Mode::Decide).await;
        match self.conclude(reply, attempt) {
            Ok(verdict) => {
                self.take_note(charges, &verdict, question);
                Ok(verdict)
            }
            Err(unavailable) => self.outcome.decide(charges, unavailable.reason()),
        }
    }

    /// Remembers what the server said, for the next question and for an outage.
    pub(super) fn take_note(&self, charges: &[Charge], verdict: &Verdict, question: Question) {
        if verdict.admitted {
            return self.outcome.note_admitted(charges);
        }
        // Denials that count are to be counted.
        if !self.counts_denied(charges) {
            let changes = verdict.states.iter().filter(|state| state.used > 0);
            let wait = changes.map(|state| verdict.now.until(state.changes_at)).min().unwrap_or_default();
            self.denials.remember(charges, verdict, question.asked, wait, || self.is_current(question));
        }
    }

    /// A question that is about to be asked.
    pub(super) fn question(&self) -> Question {
        Question { asked: Instant::now(), resets: self.resets.load(Ordering::Acquire) }
    }

    /// Whether nothing was reset since it was asked.
    pub(super) fn is_current(&self, question: Question) -> bool {
        self.resets.load(Ordering::Acquire) == question.resets
    }

    /// What an answer, or its absence, says about the server.
    pub(super) fn conclude<T>(&self, reply: Result<T, Failure>, attempt: Attempt) -> Result<T, Unavailable> {
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

pub(super) const LEFT_ALONE: &str = "the server has not answered several times, and is tried once a second";

fn left_alone() -> Unavailable {
    Unavailable::new(LEFT_ALONE)
}

/// Whether the server is in order, and only what is kept under the key is not.
fn is_about_the_key(error: &RedisError) -> bool {
    Script::is_corrupt(error) || error.code() == Some("WRONGTYPE")
}
