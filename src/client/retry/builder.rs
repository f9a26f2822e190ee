//! Making a policy.

use std::{any::Any, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};

use crate::{
    client::{
        Advice, Answers,
        retry::{
            Backoff, Budget, Repeat, RetryPolicy,
            judge::{Judge, error_of_client},
            terms::Terms,
        },
    },
    error::ConfigError,
    request::RequestView,
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

    /// No wait for another attempt ends later than this after the first one has reached the client; three minutes by default. An
    /// answer that would need a longer one is handed back at once. An attempt that is under way is not cut off: for that there
    /// is `tower::timeout`.
    ///
    /// The time in which the first attempt waits for its turn in a [`PaceLayer`](crate::client::PaceLayer) inside does not count.
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

    /// The waits after failures, and after refusals that state none unless [`refusal_backoff`](Self::refusal_backoff) is
    /// chosen too. A stated wait is not shorter than its base.
    ///
    /// By default [`Backoff::full`] from 100 milliseconds to 10 seconds after failures.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { terms: Terms { backoff: Some(backoff), ..self.terms } }
    }

    /// The waits after refusals that state none, which grow up to the cap: the longest silence towards a server that does
    /// not say how long it wants to be left alone.
    ///
    /// By default [`Backoff::decorrelated`] from a second to a minute, since most limits are per minute.
    pub fn refusal_backoff(self, backoff: Backoff) -> Self {
        Self { terms: Terms { refusal_backoff: Some(backoff), ..self.terms } }
    }

    /// What bounds the attempts of all calls together; [`Budget::default`] by default, one for each policy.
    pub fn budget(self, budget: Budget) -> Self {
        Self { terms: Terms { budget, ..self.terms } }
    }

    /// How answers are read; [`Answers::new`] by default.
    pub fn answers(self, answers: Answers) -> Self {
        self.judging(|judge| judge.answers = answers)
    }

    /// Reads the answers in place of [`Answers`], with the request at hand.
    ///
    /// Advice says whether a call was refused, for how long, and whether it is never to be made again. Which failures are worth
    /// another attempt is for the statuses to say ([`retry_statuses`](Self::retry_statuses)), whatever advice says of them.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_quota::{client::{Advice, Answers, RetryPolicy}, http::RequestView};
    ///
    /// let answers = Answers::new();
    /// let read = move |request: &RequestView<'_>, status: StatusCode, headers: &HeaderMap| {
    ///     let is_busy = status == StatusCode::CONFLICT && request.uri().path() == "/jobs";
    ///     if is_busy { Advice::none().refused() } else { answers.read(status, headers) }
    /// };
    /// let policy = RetryPolicy::builder().advised_by(read).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn advised_by(
        self,
        read: impl Fn(&RequestView<'_>, StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static,
    ) -> Self {
        self.judging(|judge| judge.read_fields = Some(Arc::new(read)))
    }

    /// Reads responses whose body, of type `B`, or whose extensions tell more than the fields: of a client that has read its
    /// answers already. Where it returns none the fields are read. As with [`advised_by`](Self::advised_by), what only failed is
    /// for the statuses to say.
    ///
    /// ```
    /// use http::Response;
    /// use tower_quota::{client::{Advice, RetryPolicy}, http::RequestView};
    ///
    /// let throttled = |_: &RequestView<'_>, response: &Response<String>| {
    ///     response.body().contains("THROTTLED").then(|| Advice::none().refused())
    /// };
    /// let policy = RetryPolicy::builder().advised_by_response(throttled).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn advised_by_response<B: 'static>(
        self,
        read: impl Fn(&RequestView<'_>, &Response<B>) -> Option<Advice> + Send + Sync + 'static,
    ) -> Self {
        let read = move |request: &RequestView<'_>, response: &dyn Any| read(request, response.downcast_ref()?);
        self.judging(|judge| judge.read_response = Some(Arc::new(read)))
    }

    /// Reads errors of the client, of type `E`, that are answers of the server: those of a client with an error for each
    /// status. An error has no status, so if it is said to have [failed](Advice::failed) then an idempotent call is made again.
    /// Where it returns none [`never_sent`](Self::never_sent) and [`on_error`](Self::on_error) are asked.
    pub fn advised_by_error<E: 'static>(
        self,
        read: impl Fn(&RequestView<'_>, &E) -> Option<Advice> + Send + Sync + 'static,
    ) -> Self {
        let read = move |request: &RequestView<'_>, error: &dyn Any| read(request, error_of_client(error)?);
        self.judging(|judge| judge.read_error = Some(Arc::new(read)))
    }

    /// Statuses of failures, after which a call is made again if it is idempotent, besides 502, 503 and 504.
    ///
    /// What was refused, and so is made again whatever its method, is for [`Answers::refusal`].
    pub fn retry_statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.judging(|judge| judge.failures.extend(statuses))
    }

    /// Statuses after which no call is made again, be it refused or failed.
    pub fn leave_out_statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.judging(|judge| judge.left_out.extend(statuses))
    }

    /// Which requests may be executed twice, besides those whose method says so: with a key that tells the server, or
    /// gRPC calls that only read. None by default.
    pub fn idempotent(self, is_idempotent: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.judging(|judge| judge.is_idempotent = Arc::new(is_idempotent))
    }

    /// Which errors of the client, of type `E`, are worth another attempt of an idempotent call; none by default. Around a
    /// pacing layer they are the [inner errors](crate::client::pace::PaceError::Inner) of its own.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    /// use tower_quota::client::RetryPolicy;
    ///
    /// let policy = RetryPolicy::builder().on_error(|error: &Error| error.kind() == ErrorKind::ConnectionReset).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn on_error<E: 'static>(self, is_passing: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let is_passing = move |error: &dyn Any| error_of_client(error).is_some_and(&is_passing);
        self.judging(|judge| judge.is_passing = Arc::new(is_passing))
    }

    /// Which errors of the client, of type `E`, say that the call was never sent; none by default. It is made again then,
    /// whatever its method.
    ///
    /// ```
    /// use hyper_util::client::legacy::Error;
    /// use tower_quota::client::RetryPolicy;
    ///
    /// let policy = RetryPolicy::builder().never_sent(Error::is_connect).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn never_sent<E: 'static>(self, is_unsent: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let is_unsent = move |error: &dyn Any| error_of_client(error).is_some_and(&is_unsent);
        self.judging(|judge| judge.is_unsent = Arc::new(is_unsent))
    }

    /// Tells of every call that is made again, before it waits for it: for counters and logs.
    pub fn on_retry(self, hook: impl Fn(&Repeat<'_>) + Send + Sync + 'static) -> Self {
        Self { terms: Terms { on_retry: Arc::new(hook), ..self.terms } }
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

    fn judging(mut self, change: impl FnOnce(&mut Judge)) -> Self {
        change(&mut self.terms.judge);
        self
    }
}
