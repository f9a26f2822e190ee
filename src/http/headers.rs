//! Which header fields tell of quotas.

/// Which header fields of responses tell of quotas. [`rate_limit`](Self::rate_limit) is the default.
///
/// `Retry-After` is none of them: every refusal that time will mend has it.
///
/// ```
/// use tower_quota::{Policy, RateLimitLayer, http::{Headers, LegacyReset}, key};
///
/// let layer = RateLimitLayer::new(key::peer_ip(), Policy::per_minute(60))?;
/// let both = layer.clone().headers(Headers::rate_limit().with_legacy(LegacyReset::Delta));
/// let old = layer.clone().headers(Headers::none().with_legacy(LegacyReset::Epoch));
/// let silent = layer.headers(Headers::none());
/// # let _ = (both, old, silent);
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "fields are chosen by giving this to `RateLimitLayer::headers`"]
pub struct Headers {
    draft: Reach,
    legacy: Option<LegacyReset>,
    in_trailers_only: bool,
}

/// Which responses have `RateLimit` and `RateLimit-Policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nowhere,
    Refusals,
    Everywhere,
}

/// What `X-RateLimit-Reset` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyReset {
    /// Seconds since 1970, as GitHub sends it.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
}

impl Headers {
    /// `RateLimit` and `RateLimit-Policy` (draft 11), on all responses but redirects, 401 and refusals of the inner service.
    pub const fn rate_limit() -> Self {
        Self::with_draft(Reach::Everywhere)
    }

    /// `RateLimit` and `RateLimit-Policy` on our own refusals alone.
    pub const fn on_refusals() -> Self {
        Self::with_draft(Reach::Refusals)
    }

    /// None: callers learn no more than when to come back.
    pub const fn none() -> Self {
        Self::with_draft(Reach::Nowhere)
    }

    /// Adds `X-RateLimit-Limit`, `-Remaining` and `-Reset`, which tell of one quota.
    pub const fn with_legacy(mut self, reset: LegacyReset) -> Self {
        self.legacy = Some(reset);
        self
    }

    /// Sends all these also in gRPC responses whose header fields are their trailers: in refusals, and in calls that fail at
    /// once in the inner service. The draft forbids its fields in trailers.
    ///
    /// A client may refuse more than 8 KiB of header fields. A refusal keeps below 7.5 without these.
    pub const fn in_trailers_only(mut self) -> Self {
        self.in_trailers_only = true;
        self
    }

    const fn with_draft(draft: Reach) -> Self {
        Self { draft, legacy: None, in_trailers_only: false }
    }

    /// Whether a response has `RateLimit` and `RateLimit-Policy`.
    pub(crate) const fn has_draft(self, is_admitted: bool) -> bool {
        match self.draft {
            Reach::Nowhere => false,
            Reach::Refusals => !is_admitted,
            Reach::Everywhere => true,
        }
    }

    /// What `X-RateLimit-Reset` says, if it is sent.
    pub(crate) const fn legacy(self) -> Option<LegacyReset> {
        self.legacy
    }

    /// Whether a response that is *Trailers-Only*, or is not, may have any.
    pub(crate) const fn go_into(self, is_trailers_only: bool) -> bool {
        !is_trailers_only || self.in_trailers_only
    }

    /// Whether an admitted response may have any.
    pub(crate) const fn tell_of_admissions(self) -> bool {
        self.has_draft(true) || self.legacy.is_some()
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::rate_limit()
    }
}
