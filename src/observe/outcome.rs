//! The outcomes of requests, rules and settlements, and the words for them.

use std::fmt;

/// Defines an enum whose variants have a word each, which is also a label of metrics.
macro_rules! outcomes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of their numbers.
            #[cfg(any(test, feature = "metrics"))]
            pub(crate) const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// Returns the word for it, which metrics have as a label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

outcomes! {
    /// The outcome of a request: of all its rules together.
    RequestOutcome {
        /// All rules that are enforced had room.
        Admitted = "admitted",
        /// A rule had no room.
        Denied = "denied",
        /// The request costs more than a limit: it is denied however long its caller waits.
        NeverPossible = "never_possible",
        /// An exemption let the request pass, so no rule looked at it.
        Exempt = "exempt",
        /// No rule governs the request.
        Ungoverned = "ungoverned",
        /// The request does not carry the key of a rule that requires one.
        MissingKey = "missing_key",
        /// The store could not decide, and the limiter fails closed.
        Unavailable = "unavailable",
    }
}

outcomes! {
    /// The answer of one rule to a request, whatever the other rules answer.
    RuleOutcome {
        /// The rule has room. The request may be denied by another one.
        Admitted = "admitted",
        /// The rule has no room, and denies.
        Denied = "denied",
        /// The rule has no room, and is not enforced: it is in shadow, or soft.
        WouldDeny = "would_deny",
        /// The rule denies because of requests in flight alone, whose units may come back.
        Held = "held",
    }
}

outcomes! {
    /// The outcome of a reservation.
    SettledOutcome {
        /// It cost less than was reserved, and the rest was given back.
        Lower = "lower",
        /// It cost what was reserved.
        Equal = "equal",
        /// It cost more than was reserved, and the difference is owed.
        Higher = "higher",
        /// Nobody said what it cost, so [`Unsettled`](crate::Unsettled) decided.
        Unsettled = "unsettled",
        /// It cost less than was reserved, but its units had left all windows, or its history was reset.
        Late = "late",
        /// The store could not be asked, so the estimate stands.
        Lost = "lost",
    }
}

impl RuleOutcome {
    /// Returns the outcome of a request that no other rule governs, unless it is [never possible](RequestOutcome::NeverPossible).
    #[cfg(feature = "metrics")]
    pub(super) const fn of_only_rule(self) -> RequestOutcome {
        match self {
            Self::Admitted | Self::WouldDeny => RequestOutcome::Admitted,
            Self::Denied | Self::Held => RequestOutcome::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_outcomes_are_their_places_and_the_words_differ() {
        fn check(numbers: &[usize], words: &[&str]) {
            assert!(numbers.iter().enumerate().all(|(at, number)| at == *number), "{numbers:?}");
            assert!((1..words.len()).all(|at| !words[..at].contains(&words[at])), "{words:?}");
        }
        check(&RequestOutcome::ALL.map(|outcome| outcome as usize), &RequestOutcome::ALL.map(RequestOutcome::as_str));
        check(&RuleOutcome::ALL.map(|outcome| outcome as usize), &RuleOutcome::ALL.map(RuleOutcome::as_str));
        check(&SettledOutcome::ALL.map(|outcome| outcome as usize), &SettledOutcome::ALL.map(SettledOutcome::as_str));
    }
}
