//! Making a policy.

use std::{any::Any, sync::Arc, time::Duration};

use crate::{
    client::{
        Answers,
        pace::PaceError,
        retry::{Backoff, Budget, RetryPolicy, terms::Terms},
    },
    error::ConfigError,
    http::RequestView,
};

/// Makes a [`RetryPolicy`]; made by [`RetryPolicy::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryPolicyBuilder {
    terms: Terms,
}

impl RetryPolicyBuilder {
    /// How many attempts a call has, the first one included; 4 by default.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { terms: Terms { attempts, ..self.terms } }
    }

    /// No wait for another attempt ends later than this after the first one began; three minutes by default. An answer that
    /// would need a longer one is handed back at once. An attempt that is under way is not cut off: for that there is
    /// `tower::timeout`.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { terms: Terms { deadline, ..self.terms } }
    }

    /// The longest wait that a server may state; 90 seconds by default, which is enough for any limit per minute. An answer
    /// that states a longer one is handed back.
    pub fn longest_wait(self, longest_wait: Duration) -> Self {
        Self { terms: Terms { longest_wait, ..self.terms } }
    }

    /// What is added to a stated wait, at most and at random; by default as much as the wait itself, within 2 and 5 seconds:
    /// so about one in twenty of those who were refused together return in the same tenth of a second, or fewer. It never
    /// passes the [deadline](Self::deadline), and one that is chosen here is no more than the wait itself.
    pub fn spread(self, spread: Duration) -> Self {
        Self { terms: Terms { spread: Some(spread), ..self.terms } }
    }

    /// The waits where none is stated; [`Backoff::full`] from 100 milliseconds to 10 seconds by default. A stated wait is
    /// not shorter than its base.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { terms: Terms { backoff, ..self.terms } }
    }

    /// What bounds the attempts of all calls together; [`Budget::default`] by default, one for each policy.
    pub fn budget(self, budget: Budget) -> Self {
        Self { terms: Terms { budget, ..self.terms } }
    }

    /// How answers are read; [`Answers::new`] by default.
    pub fn answers(self, answers: Answers) -> Self {
        Self { terms: Terms { answers, ..self.terms } }
    }

    /// Which requests may be executed twice, besides those whose method says so: with a key that tells the server, or
    /// gRPC calls that only read. None by default.
    pub fn idempotent(self, is_idempotent: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self { terms: Terms { is_idempotent: Arc::new(is_idempotent), ..self.terms } }
    }

    /// Which errors of the client, of type `E`, are worth another attempt; none by default. Around a pacing layer they are
    /// the [inner errors](PaceError::Inner) of its own.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    /// use tower_quota::client::RetryPolicy;
    ///
    /// let policy = RetryPolicy::builder().on_error(|error: &Error| error.kind() == ErrorKind::ConnectionRefused).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn on_error<E: 'static>(self, is_passing: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let is_passing = move |error: &dyn Any| error_of_client(error).is_some_and(&is_passing);
        Self { terms: Terms { is_passing: Arc::new(is_passing), ..self.terms } }
    }

    /// The policy.
    ///
    /// # Errors
    ///
    /// If there are no attempts, the deadline is zero, the backoff has no pause or a cap below its base, or the longest wait is not shorter than
    /// what [`Answers::longest`] says.
    pub fn build(self) -> Result<RetryPolicy, ConfigError> {
        self.terms.validate()?;
        Ok(RetryPolicy::of(self.terms))
    }
}

/// The client's error, which a pacing layer may have wrapped.
fn error_of_client<E: 'static>(error: &dyn Any) -> Option<&E> {
    let paced = || match error.downcast_ref() {
        Some(PaceError::Inner(inner)) => Some(inner),
        _ => None,
    };
    error.downcast_ref().or_else(paced)
}
