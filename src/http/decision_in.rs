//! Where a decision is left.

/// Among whose extensions the [`Decision`](crate::Decision) of an admitted request is put. Each of them costs up to three
/// small allocations. Refusals carry theirs in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecisionIn {
    /// The request's: for the handler and the layers further in.
    #[default]
    Request,
    /// The response's: for the layers further out.
    ///
    /// Nobody further in knows of this layer then: where the same limiter is
    /// [mounted twice](crate::RateLimitLayer#mounted-twice), each request is charged twice.
    Response,
    /// The request's and the response's.
    Both,
    /// Nobody's. As with [`Response`](Self::Response), a limiter that is mounted twice charges twice.
    Neither,
}

impl DecisionIn {
    pub(crate) const fn request(self) -> bool {
        matches!(self, Self::Request | Self::Both)
    }

    pub(crate) const fn response(self) -> bool {
        matches!(self, Self::Response | Self::Both)
    }
}
