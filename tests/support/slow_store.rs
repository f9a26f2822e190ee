//! A store that takes its time, as those on a server do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tower_quota::{
    ConfigError,
    store::{BoxFuture, Charge, CostSupport, MaybeReady, MemoryStore, Settlement, Setup, Store, Unavailable, Verdict},
};

/// Decides after a while, or not at all.
#[derive(Debug, Default)]
pub struct SlowStore {
    latency: Duration,
    memory: Arc<MemoryStore>,
    /// What was charged, and when.
    pub admissions: Arc<Mutex<Vec<(Instant, Charge)>>>,
    pub asked: Arc<AtomicUsize>,
    pub is_down: Arc<AtomicBool>,
}

impl SlowStore {
    pub fn new(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    /// Lets `decide` do its work when the time has come.
    fn later<F>(
        &self,
        decide: impl FnOnce(&MemoryStore, &mut Verdict) -> MaybeReady<F> + Send + 'static,
    ) -> MaybeReady<BoxFuture> {
        let (latency, memory, is_down) = (self.latency, Arc::clone(&self.memory), Arc::clone(&self.is_down));
        MaybeReady::Pending(Box::pin(async move {
            sleep(latency).await;
            let mut verdict = Verdict::default();
            assert!(matches!(decide(&memory, &mut verdict), MaybeReady::Ready(())));
            if is_down.load(Ordering::Relaxed) { Err(Unavailable::new("it is down")) } else { Ok(verdict) }
        }))
    }
}

impl Store for SlowStore {
    type Future = BoxFuture;

    fn open(&mut self, setup: Setup) -> Result<(), ConfigError> {
        let mut memory = MemoryStore::default();
        memory.open(setup)?;
        self.memory = Arc::new(memory);
        Ok(())
    }

    fn decide(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (charges, admissions) = (charges.to_vec(), Arc::clone(&self.admissions));
        self.later(move |memory, verdict| {
            let pending = Store::decide(memory, &charges, verdict);
            if verdict.is_admitted() {
                admissions.lock().extend(charges.into_iter().map(|charge| (Instant::now(), charge)));
            }
            pending
        })
    }

    fn peek(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let charges = charges.to_vec();
        self.later(move |memory, verdict| Store::peek(memory, &charges, verdict))
    }

    fn reset(&self, charges: &[Charge], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let charges = charges.to_vec();
        self.later(move |memory, verdict| Store::reset(memory, &charges, verdict))
    }

    fn cost_support(&self) -> CostSupport {
        self.memory.cost_support()
    }

    fn settle(&self, settlements: &[Settlement], _: &mut Verdict) -> MaybeReady<BoxFuture> {
        let settlements = settlements.to_vec();
        self.later(move |memory, verdict| Store::settle(memory, &settlements, verdict))
    }
}
