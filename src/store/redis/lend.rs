//! Taking units from the server to spend them here.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::RedisResult;
use tokio::{sync::watch, time::sleep_until};

use crate::store::{
    Charge, Unavailable, Verdict,
    redis::{
        ask::{Asker, LEFT_ALONE},
        leases::{Loan, Next, Taken},
        link::Failure,
        script::{Mode, Reply},
    },
};

impl Asker {
    /// Waits until there are units for a request, or none on the server either.
    pub(super) async fn borrow_unit(self: &Arc<Self>, charges: &[Charge], next: Next) -> Result<Verdict, Unavailable> {
        // Whoever asks the server has the same deadline, so this one ends first only where others were quicker.
        let borrowed = self.in_time(async { Ok(self.borrow_in_turns(charges, next).await) });
        match borrowed.await {
            Ok(decided) => decided,
            Err(failure) => self.outcome.decide(charges, failure.into_unavailable().reason()),
        }
    }

    async fn borrow_in_turns(self: &Arc<Self>, charges: &[Charge], mut next: Next) -> Result<Verdict, Unavailable> {
        loop {
            let taken = match next {
                Next::Lent(verdict) => {
                    self.outcome.note_admitted(charges);
                    return Ok(verdict);
                }
                Next::Ask => return self.ask_for_one(charges).await,
                Next::Take(units, tell) => {
                    let told = tell.subscribe();
                    tokio::spawn(Arc::clone(self).take_units(charges.to_vec(), units, tell));
                    told
                }
                Next::Wait(told) => told,
            };
            match end_of(taken).await {
                Taken::Denied(verdict) => return Ok(verdict),
                Taken::Failed(reason) => return self.outcome.decide(charges, &reason),
                Taken::Lent | Taken::NotYet => next = self.next_loan(charges),
            }
        }
    }

    async fn ask_for_one(self: &Arc<Self>, charges: &[Charge]) -> Result<Verdict, Unavailable> {
        match self.breaker.attempt() {
            Some(attempt) => self.decide_there(charges, attempt).await,
            None => self.outcome.decide(charges, LEFT_ALONE),
        }
    }

    /// Asks the server for units, tells those who wait, and gives back what is left of them when they may not be spent
    /// any more.
    async fn take_units(self: Arc<Self>, charges: Vec<Charge>, units: u8, tell: watch::Sender<Taken>) {
        let (taken, loan) = match self.lent(&charges, units).await {
            Ok((verdict, None)) => (Taken::Denied(verdict), None),
            Ok((_, loan)) => (Taken::Lent, loan),
            Err(unavailable) => (Taken::Failed(unavailable.reason().into()), None),
        };
        self.leases.taken(&charges);
        tell.send_replace(taken);
        drop(tell);
        if let Some(loan) = loan {
            sleep_until(loan.ends()).await;
            self.return_loan(&charges, &loan).await;
        }
    }

    /// The verdict, and what was lent if it is an admission.
    async fn lent(&self, charges: &[Charge], units: u8) -> Result<(Verdict, Option<Arc<Loan>>), Unavailable> {
        let attempt = self.breaker.attempt().ok_or_else(|| Unavailable::new(LEFT_ALONE))?;
        let question = self.question();
        let replies = self.evaluate_all(&[(charges, units)], Mode::Decide).await;
        let reply = self.conclude(replies.and_then(the_only_one), attempt)?;
        if reply.units == 0 {
            self.take_note(charges, &reply.verdict, question);
            return Ok((reply.verdict, None));
        }
        let loan =
            self.leases.lend(charges, reply.units, reply.verdict.clone(), question.asked, || self.is_current(question));
        Ok((reply.verdict, Some(loan)))
    }

    async fn return_loan(&self, charges: &[Charge], loan: &Loan) {
        let left = loan.take_back();
        if left > 0 {
            // If the server cannot be reached it keeps them: too much is counted then, never too little.
            drop(self.refund(charges, loan.lent_at(), left as u8).await);
        }
    }

    /// Gives back all that is lent, all of it at the same time.
    pub(super) async fn give_all_back(&self) {
        let loans = self.leases.take_back();
        join_all(loans.iter().map(|(charges, loan)| self.return_loan(charges, loan))).await;
    }
}

/// What those who wait are told in the end.
async fn end_of(mut taken: watch::Receiver<Taken>) -> Taken {
    match taken.wait_for(|taken| !matches!(taken, Taken::NotYet)).await {
        Ok(taken) => taken.clone(),
        Err(_) => Taken::Failed("the runtime of the task that asks has ended".into()),
    }
}

fn the_only_one(replies: Vec<RedisResult<Reply>>) -> Result<Reply, Failure> {
    let reply = replies.into_iter().next().ok_or_else(|| Failure::Lost("no reply".to_owned()))?;
    reply.map_err(Failure::Refused)
}
