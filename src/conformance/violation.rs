//! The guarantees of a store, and the violation of a guarantee.

use std::fmt;

/// A guarantee of a store, in the order of the [crate's documentation](crate#guarantees).
///
/// ```
/// use tower_quota::conformance::Guarantee;
///
/// assert_eq!(Guarantee::NeverMoreThanN.to_string(), "P1, never more than N");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Guarantee {
    /// P1: at most N units in any interval of the window's length.
    NeverMoreThanN,
    /// P2: a request is denied only if some quota has no room.
    NeverDeniedWithRoom,
    /// P3: a request is admitted by all quotas, rules and keys or charged to none.
    AllOrNothing,
    /// P4: a request is admitted after the stated wait, and the wait is no longer than necessary.
    TrueWait,
    /// P5: a denial costs nothing, unless the policy counts denied requests.
    FreeDenial,
    /// P6: nothing live is forgotten.
    NothingForgotten,
    /// P11: a settlement gives back or owes what it says, in the history that it was charged to, and moves no unit of another
    /// request.
    ExactSettlement,
    /// The contract of [`Store`](crate::store::Store): it decides, peeks without charging, and resets.
    Contract,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NeverMoreThanN => "P1, never more than N",
            Self::NeverDeniedWithRoom => "P2, never denied with room",
            Self::AllOrNothing => "P3, all or nothing",
            Self::TrueWait => "P4, the wait is true",
            Self::FreeDenial => "P5, a denial costs nothing",
            Self::NothingForgotten => "P6, nothing live is forgotten",
            Self::ExactSettlement => "P11, a settlement moves its own units alone",
            Self::Contract => "the contract of Store",
        })
    }
}

/// The violation of a guarantee, and how it was found.
///
/// ```
/// use std::future::Pending;
///
/// use tower_quota::{
///     ConfigError,
///     conformance::{Guarantee, Suite},
///     store::{Charge, MaybeReady, Setup, Store, Unavailable, Verdict},
/// };
///
/// /// Admits every request, and reports no quota.
/// #[derive(Debug)]
/// struct AdmitAll;
///
/// impl Store for AdmitAll {
///     type Future = Pending<Result<Verdict, Unavailable>>;
///
///     fn open(&mut self, _: Setup) -> Result<(), ConfigError> {
///         Ok(())
///     }
///
///     fn decide(&self, _: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         *verdict = Verdict::new(true);
///         MaybeReady::Ready(())
///     }
///
///     fn peek(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         self.decide(charges, verdict)
///     }
///
///     fn reset(&self, charges: &[Charge], verdict: &mut Verdict) -> MaybeReady<Self::Future> {
///         self.decide(charges, verdict)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let violation = Suite::new(|_clock| AdmitAll).run().await.unwrap_err();
/// assert_eq!(violation.guarantee(), Guarantee::Contract);
/// assert_eq!(violation.details(), "peeking: 0 quotas were reported instead of 1");
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{guarantee}: {details}")]
pub struct Violation {
    guarantee: Guarantee,
    details: Box<str>,
}

impl Violation {
    pub(super) fn new(guarantee: Guarantee, details: impl Into<String>) -> Self {
        Self { guarantee, details: details.into().into() }
    }

    /// Returns the broken guarantee.
    #[must_use]
    pub const fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    /// Returns the request and the verdict, with the scenario or the seed of the random schedule.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// Adds the scenario or the schedule in which the violation was found.
    pub(super) fn during(self, scenario: impl fmt::Display) -> Self {
        Self { details: format!("{scenario}: {}", self.details).into(), ..self }
    }
}

/// Returns a violation of `guarantee` unless it `holds`.
pub(super) fn ensure(holds: bool, guarantee: Guarantee, details: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new(guarantee, details())) }
}
