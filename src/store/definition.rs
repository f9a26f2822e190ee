//! What a store does.

use std::{fmt, time::Duration};

use crate::{
    clock::{Clock, SystemClock},
    error::{ConfigError, Unavailable},
    key::Charge,
    store::{Setup, Verdict},
};

/// Keeps histories, and decides about all charges of a request in one atomic step.
///
/// [`MemoryStore`](super::MemoryStore) keeps them in this process. A store of your own keeps the crate's promises if each
/// decision is atomic, and if the clock is the same for all who share the store.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// A decision that takes its time. Dropping it may leave the request charged.
    type Deciding: Future<Output = Result<Verdict, Unavailable>> + Send + 'static;

    /// Learns, before it is asked anything, which histories a limiter has.
    ///
    /// # Errors
    ///
    /// If the store cannot keep them.
    fn open(&mut self, setup: Setup) -> Result<(), ConfigError>;

    /// Admits all charges or none of them, and charges them if it admits them. They are all different.
    ///
    /// Who knows the answer at once writes it to `verdict`, which is empty, and returns nothing.
    fn decide(&self, charges: &[Charge], verdict: &mut Verdict) -> Option<Self::Deciding>;

    /// As [`decide`](Self::decide), and charges nothing.
    fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> Option<Self::Deciding>;

    /// Forgets the histories of these charges. The verdict admits if there was one.
    fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> Option<Self::Deciding>;

    /// Time since 1970, for callers that are told a moment and not a wait. That of the operating system, unless the store lives
    /// in virtual time.
    fn since_1970(&self) -> Duration {
        SystemClock::new().since_1970()
    }

    /// What keys are hashed with, if the store is shared: it must be the same for all who share it. None for a secret that
    /// is drawn when the limiter is built.
    fn key_secret(&self) -> Option<[u8; 32]> {
        None
    }
}
