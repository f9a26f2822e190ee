//! The builder of a retry policy.

use std::{any::Any, sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};

use crate::{
    client::{
        advice::Advice,
        answers::AdviceReader,
        backoff::Backoff,
        retry::{
            budget::Budget,
            classifier::{RetryClassifier, error_of_client},
            config::RetryConfig,
            event::RetryEvent,
            policy::RetryPolicy,
        },
    },
    error::ConfigError,
    request::RequestView,
};

/// Builds a [`RetryPolicy`]. Made by [`RetryPolicy::builder`].
///
/// ```
/// use std::time::Duration;
///
/// use tower_quota::client::{
///     AdviceReader, RetryPolicy,
///     retry::{Backoff, Budget},
/// };
///
/// let policy = RetryPolicy::builder()
///     .max_attempts(6)
///     .max_elapsed(Duration::from_secs(30))
///     .backoff(Backoff::decorrelated(Duration::from_millis(50), Duration::from_secs(5)))
///     .budget(Budget::new(50, 20)?)
///     .advice_reader(AdviceReader::new().github())
///     .idempotent_if(|request| request.headers().contains_key("idempotency-key"))
///     .build()?;
/// assert_eq!(policy.budget().balance(), 20);
///
/// let error = RetryPolicy::builder().max_attempts(0).build().unwrap_err();
/// let message = "max_attempts 0: the first one counts, so there is at least 1";
/// assert_eq!(error.to_string(), message);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryPolicyBuilder {
    config: RetryConfig,
}

impl RetryPolicy {
    /// Creates a builder with the default configuration.
    pub fn builder() -> RetryPolicyBuilder {
        RetryPolicyBuilder::default()
    }
}

impl RetryPolicyBuilder {
    /// Sets the maximum number of attempts, including the first. Defaults to 4.
    pub fn max_attempts(self, attempts: u32) -> Self {
        Self { config: RetryConfig { max_attempts: attempts, ..self.config } }
    }

    /// Sets the maximum time from the first attempt to the beginning of the last one. Defaults to three minutes.
    ///
    /// A response whose wait would end later is handed back at once. An attempt in flight is not cut off: for that there is
    /// `tower::timeout`. The time begins when the first attempt reaches the client, so waiting in a
    /// [`PaceLayer`](crate::client::PaceLayer) inside does not count.
    pub fn max_elapsed(self, elapsed: Duration) -> Self {
        Self { config: RetryConfig { max_elapsed: elapsed, ..self.config } }
    }

    /// Sets the longest wait that a server may state. Defaults to 90 seconds, which is enough for any limit per minute. A
    /// response that states a longer one is handed back.
    pub fn max_stated_wait(self, wait: Duration) -> Self {
        Self { config: RetryConfig { max_stated_wait: wait, ..self.config } }
    }

    /// Sets the maximum jitter added to a stated wait, which is never more than the wait itself.
    ///
    /// By default it is as long as the wait, within 2 and 5 seconds: then about one in twenty of the clients that were
    /// refused together, or fewer, return in the same tenth of a second. It never passes
    /// [`max_elapsed`](Self::max_elapsed).
    pub fn max_jitter(self, jitter: Duration) -> Self {
        Self { config: RetryConfig { max_jitter: Some(jitter), ..self.config } }
    }

    /// Sets the backoff after failures, and after refusals that state no wait unless
    /// [`refusal_backoff`](Self::refusal_backoff) is set too. A stated wait is not shorter than its base.
    ///
    /// Defaults to [`Backoff::full`] from 100 milliseconds to 10 seconds after failures.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { config: RetryConfig { backoff: Some(backoff), ..self.config } }
    }

    /// Sets the backoff after refusals that state no wait. Its cap is the longest silence towards a server that does not
    /// say how long it wants to be left alone.
    ///
    /// Defaults to [`Backoff::decorrelated`] from a second to a minute, since most limits are per minute.
    pub fn refusal_backoff(self, backoff: Backoff) -> Self {
        Self { config: RetryConfig { refusal_backoff: Some(backoff), ..self.config } }
    }

    /// Sets the retry budget, which bounds the retries of all calls together. Defaults to [`Budget::default`], one for each
    /// policy.
    pub fn budget(self, budget: Budget) -> Self {
        Self { config: RetryConfig { budget, ..self.config } }
    }

    /// Sets the reader of responses. Defaults to [`AdviceReader::new`].
    pub fn advice_reader(self, reader: AdviceReader) -> Self {
        self.with_classifier(|classifier| classifier.reader = reader)
    }

    /// Sets a closure that reads responses in place of the [`AdviceReader`], with the request at hand.
    ///
    /// The advice tells if a call was refused, for how long, and if it is never to be retried. Failures that are worth
    /// another attempt are up to the statuses ([`retry_statuses`](Self::retry_statuses)), whatever advice says of them.
    ///
    /// ```
    /// use http::{HeaderMap, StatusCode};
    /// use tower_quota::{
    ///     client::{Advice, AdviceReader, RetryPolicy},
    ///     http::RequestView,
    /// };
    ///
    /// let reader = AdviceReader::new();
    /// let read = move |request: &RequestView<'_>, status: StatusCode, headers: &HeaderMap| {
    ///     match (status, request.uri().path()) {
    ///         (StatusCode::CONFLICT, "/jobs") => Advice::none().refused(),
    ///         _ => reader.read(status, headers),
    ///     }
    /// };
    /// let policy = RetryPolicy::builder().read_advice_with(read).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn read_advice_with(
        self,
        read: impl Fn(&RequestView<'_>, StatusCode, &HeaderMap) -> Advice + Send + Sync + 'static,
    ) -> Self {
        self.with_classifier(|classifier| classifier.read_advice = Some(Arc::new(read)))
    }

    /// Sets a closure that reads responses whose body, of type `B`, or whose extensions tell more than the header fields:
    /// of a client that has read them already. If it returns `None` the fields are read. As with
    /// [`read_advice_with`](Self::read_advice_with), mere failures are up to the statuses.
    ///
    /// ```
    /// use http::Response;
    /// use tower_quota::{
    ///     client::{Advice, RetryPolicy},
    ///     http::RequestView,
    /// };
    ///
    /// let throttled = |_: &RequestView<'_>, response: &Response<String>| {
    ///     response.body().contains("THROTTLED").then(|| Advice::none().refused())
    /// };
    /// let policy = RetryPolicy::builder().read_response_with(throttled).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn read_response_with<B: 'static>(
        self,
        read: impl Fn(&RequestView<'_>, &Response<B>) -> Option<Advice> + Send + Sync + 'static,
    ) -> Self {
        let read = move |request: &RequestView<'_>, response: &dyn Any| read(request, response.downcast_ref()?);
        self.with_classifier(|classifier| classifier.read_response = Some(Arc::new(read)))
    }

    /// Sets a closure that reads errors of the client, of type `E`, that are responses of the server: those of a client
    /// with an error for each status. An error has no status, so if the advice says that it [failed](Advice::failed) then
    /// an idempotent call is retried. If it returns `None` then [`unsent_if`](Self::unsent_if) and
    /// [`retry_errors_if`](Self::retry_errors_if) decide.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower_quota::{
    ///     client::{Advice, RetryPolicy},
    ///     http::RequestView,
    /// };
    ///
    /// enum ApiError {
    ///     RateLimited { seconds: u64 },
    ///     NotFound,
    /// }
    ///
    /// let limited = |_: &RequestView<'_>, error: &ApiError| match error {
    ///     ApiError::RateLimited { seconds } => {
    ///         Some(Advice::none().refused().wait(Duration::from_secs(*seconds)))
    ///     }
    ///     ApiError::NotFound => None,
    /// };
    /// let policy = RetryPolicy::builder().read_error_with(limited).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn read_error_with<E: 'static>(
        self,
        read: impl Fn(&RequestView<'_>, &E) -> Option<Advice> + Send + Sync + 'static,
    ) -> Self {
        let read = move |request: &RequestView<'_>, error: &dyn Any| read(request, error_of_client(error)?);
        self.with_classifier(|classifier| classifier.read_error = Some(Arc::new(read)))
    }

    /// Adds statuses of failures, after which idempotent calls are retried. 502, 503 and 504 are there by default.
    ///
    /// Refused calls are retried whatever their method: add their statuses to [`AdviceReader::with_refusal`].
    pub fn retry_statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_classifier(|classifier| classifier.failures.extend(statuses))
    }

    /// Adds statuses after which no call is retried, refused or failed.
    pub fn never_retry_statuses(self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.with_classifier(|classifier| classifier.never_retried.extend(statuses))
    }

    /// Sets a predicate for requests that may be executed twice, besides those whose method says so: with a key that
    /// tells the server, or gRPC calls that only read. By default there are none.
    pub fn idempotent_if(self, is_idempotent: impl Fn(&RequestView<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.with_classifier(|classifier| classifier.is_idempotent = Arc::new(is_idempotent))
    }

    /// Sets a predicate for errors of the client, of type `E`, after which idempotent calls are retried. By default there
    /// are none. Around a pacing layer they are the [inner errors](crate::client::pace::PaceError::Inner) of its own.
    ///
    /// ```
    /// use std::io::{Error, ErrorKind};
    ///
    /// use tower_quota::client::RetryPolicy;
    ///
    /// let is_reset = |error: &Error| error.kind() == ErrorKind::ConnectionReset;
    /// let policy = RetryPolicy::builder().retry_errors_if(is_reset).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn retry_errors_if<E: 'static>(self, is_transient: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let is_transient = move |error: &dyn Any| error_of_client(error).is_some_and(&is_transient);
        self.with_classifier(|classifier| classifier.is_transient = Arc::new(is_transient))
    }

    /// Sets a predicate for errors of the client, of type `E`, that mean that the call was not sent. It is retried then,
    /// whatever its method. By default there are none.
    ///
    /// ```
    /// use hyper_util::client::legacy::Error;
    /// use tower_quota::client::RetryPolicy;
    ///
    /// let policy = RetryPolicy::builder().unsent_if(Error::is_connect).build()?;
    /// # let _ = policy;
    /// # Ok::<(), tower_quota::ConfigError>(())
    /// ```
    pub fn unsent_if<E: 'static>(self, is_unsent: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        let is_unsent = move |error: &dyn Any| error_of_client(error).is_some_and(&is_unsent);
        self.with_classifier(|classifier| classifier.is_unsent = Arc::new(is_unsent))
    }

    /// Sets a closure that sees each retry before its wait: for counters and logs.
    pub fn inspect_retry(self, inspect: impl Fn(&RetryEvent<'_>) + Send + Sync + 'static) -> Self {
        Self { config: RetryConfig { inspect: Arc::new(inspect), ..self.config } }
    }

    /// Builds the policy.
    ///
    /// # Errors
    ///
    /// If `max_attempts` or `max_elapsed` is zero, a backoff has a base of zero or a cap below its base, or
    /// `max_stated_wait` is not shorter than [`AdviceReader::max_time`].
    pub fn build(self) -> Result<RetryPolicy, ConfigError> {
        self.config.validate()?;
        Ok(RetryPolicy::from_config(self.config))
    }

    fn with_classifier(mut self, change: impl FnOnce(&mut RetryClassifier)) -> Self {
        change(&mut self.config.classifier);
        self
    }
}
