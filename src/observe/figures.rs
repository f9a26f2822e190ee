//! The figures of a store, as it reports them.

/// The figures of a store, for metrics: see [`Store::figures`](crate::store::Store::figures). Counts are those since the store
/// was opened.
///
/// ```
/// use tower_quota::observe::Figures;
///
/// let figures = Figures::default().with_keys(3, 1000);
/// assert_eq!(figures.keys(), Some((3, 1000)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    pub(crate) keys: Option<(u64, u64)>,
    pub(crate) overflow_decisions: u64,
    pub(crate) known_denials: Option<u64>,
    pub(crate) is_out: bool,
    /// `None` if there are no servers, or they do not say so much.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics tell"))]
    pub(crate) servers: Option<ServerFigures>,
    /// Whether there are servers that may be out.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "only metrics tell"))]
    pub(crate) has_servers: bool,
}

/// What has happened on the way to the servers of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerFigures {
    /// By [`REASONS`](Self::REASONS).
    pub(crate) failures: [u64; Self::REASONS.len()],
    /// By [`OUTCOMES`](Self::OUTCOMES).
    pub(crate) outage_decisions: [u64; Self::OUTCOMES.len()],
    /// By [`KINDS`](Self::KINDS).
    pub(crate) leased: [u64; Self::KINDS.len()],
}

impl ServerFigures {
    /// The reasons of failures.
    pub(crate) const REASONS: [&str; 5] = ["server", "disconnected", "timeout", "breaker", "other"];
    /// The outcomes of decisions without the servers.
    pub(crate) const OUTCOMES: [&str; 3] = ["admitted", "denied", "unavailable"];
    /// What happens to leased units.
    pub(crate) const KINDS: [&str; 3] = ["lent", "spent", "returned"];
}

impl Figures {
    /// Sets the number of histories in this process, and the maximum.
    #[must_use]
    pub const fn with_keys(mut self, keys: u64, most: u64) -> Self {
        self.keys = Some((keys, most));
        self
    }

    /// Sets the number of decisions that were made by a history which new keys share, because all histories were live.
    #[must_use]
    pub const fn with_overflow_decisions(mut self, decisions: u64) -> Self {
        self.overflow_decisions = decisions;
        self
    }

    /// Sets the number of denials that were repeated without asking a server.
    #[must_use]
    pub const fn with_known_denials(mut self, denials: u64) -> Self {
        self.known_denials = Some(denials);
        self
    }

    /// Sets whether a server of the store is out.
    #[must_use]
    pub const fn with_outage(mut self, is_out: bool) -> Self {
        (self.is_out, self.has_servers) = (is_out, true);
        self
    }

    /// Returns the number of histories in this process, and the maximum; `None` if they are elsewhere.
    #[must_use]
    pub const fn keys(&self) -> Option<(u64, u64)> {
        self.keys
    }

    /// Returns the number of decisions by shared histories.
    #[must_use]
    pub const fn overflow_decisions(&self) -> u64 {
        self.overflow_decisions
    }

    /// Returns the number of denials that were repeated without asking a server.
    #[must_use]
    pub const fn known_denials(&self) -> Option<u64> {
        self.known_denials
    }

    /// Returns `true` if a server of the store is out.
    #[must_use]
    pub const fn is_out(&self) -> bool {
        self.is_out
    }
}
