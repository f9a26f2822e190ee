//! The choice of header fields that describe quotas.

/// The header fields of responses that describe quotas. [`rate_limit`](Self::rate_limit) is the default.
///
/// `Retry-After` is not among them: every refusal that is temporary has it.
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
#[must_use = "header fields are chosen by passing this to `RateLimitLayer::headers`"]
pub struct Headers {
    draft: DraftFields,
    legacy: Option<LegacyReset>,
    in_trailers_only: bool,
}

/// The responses that have `RateLimit` and `RateLimit-Policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DraftFields {
    Never,
    OnRefusals,
    Always,
}

/// The form of `X-RateLimit-Reset`.
///
/// ```
/// use tower_quota::{Policy, RateLimitLayer, http::{Headers, LegacyReset}, key};
///
/// let headers = Headers::rate_limit().with_legacy(LegacyReset::Epoch);
/// assert_ne!(headers, Headers::rate_limit().with_legacy(LegacyReset::Delta));
/// let policy = Policy::per_minute(60);
/// let layer = RateLimitLayer::new(key::peer_ip(), policy)?.headers(headers);
/// # let _ = layer;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegacyReset {
    /// Seconds since 1970, as GitHub sends it.
    Epoch,
    /// Seconds from now, as Envoy sends it.
    Delta,
}

impl Headers {
    /// Sends `RateLimit` and `RateLimit-Policy` (draft 11) on all responses except redirects, 401 and refusals of the inner
    /// service.
    pub const fn rate_limit() -> Self {
        Self::with_draft(DraftFields::Always)
    }

    /// Sends `RateLimit` and `RateLimit-Policy` on our own refusals only.
    pub const fn on_refusals() -> Self {
        Self::with_draft(DraftFields::OnRefusals)
    }

    /// Sends none: callers learn nothing but when to come back, from `Retry-After`.
    pub const fn none() -> Self {
        Self::with_draft(DraftFields::Never)
    }

    /// Adds `X-RateLimit-Limit`, `-Remaining` and `-Reset`, which describe one quota.
    pub const fn with_legacy(mut self, reset: LegacyReset) -> Self {
        self.legacy = Some(reset);
        self
    }

    /// Sends the fields also in gRPC responses whose header fields are their trailers (*Trailers-Only*): in refusals, and in
    /// calls that fail at once in the inner service. Off by default, because the draft forbids its fields in trailers.
    ///
    /// Clients may reject more than 8 KiB of header fields. A refusal stays below 7.5 KiB without these.
    pub const fn in_trailers_only(mut self) -> Self {
        self.in_trailers_only = true;
        self
    }

    /// Sends `RateLimit` and `RateLimit-Policy` as `other` does, and everything else as before.
    #[cfg(feature = "config")]
    pub(crate) const fn with_draft_of(mut self, other: Self) -> Self {
        self.draft = other.draft;
        self
    }

    /// Sends the legacy fields in this form, or none.
    #[cfg(feature = "config")]
    pub(crate) const fn with_legacy_or_none(mut self, reset: Option<LegacyReset>) -> Self {
        self.legacy = reset;
        self
    }

    /// Sends the fields in *Trailers-Only* responses, or does not.
    #[cfg(feature = "config")]
    pub(crate) const fn sent_in_trailers_only(mut self, sent: bool) -> Self {
        self.in_trailers_only = sent;
        self
    }

    const fn with_draft(draft: DraftFields) -> Self {
        Self { draft, legacy: None, in_trailers_only: false }
    }

    /// Returns whether a response has `RateLimit` and `RateLimit-Policy`.
    pub(crate) const fn has_draft(self, is_admitted: bool) -> bool {
        match self.draft {
            DraftFields::Never => false,
            DraftFields::OnRefusals => !is_admitted,
            DraftFields::Always => true,
        }
    }

    /// Returns the form of `X-RateLimit-Reset`, if it is sent.
    pub(crate) const fn legacy(self) -> Option<LegacyReset> {
        self.legacy
    }

    /// Returns whether a response that is *Trailers-Only*, or is not, may have any.
    pub(crate) const fn may_be_sent(self, is_trailers_only: bool) -> bool {
        !is_trailers_only || self.in_trailers_only
    }

    /// Returns whether an admitted response may have any.
    pub(crate) const fn show_admissions(self) -> bool {
        self.has_draft(true) || self.legacy.is_some()
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::rate_limit()
    }
}
