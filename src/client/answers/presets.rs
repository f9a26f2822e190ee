//! Presets for the servers of single vendors.

use std::time::Duration;

use http::StatusCode;

use crate::client::answers::{reader::AdviceReader, server_time::Reset};

/// A status of no RFC: the servers of a model are overloaded.
const OVERLOADED: u16 = 529;
/// Shopify's status for a shop whose calls it takes for an attack.
const SECURITY_REJECTION: u16 = 430;

impl AdviceReader {
    /// Reads GitHub's responses: `X-RateLimit-Reset` is a timestamp, a 403 with nothing left or with a `Retry-After` is a
    /// refusal, and a refusal that states no wait is one of a minute, as its documentation asks.
    pub fn github(self) -> Self {
        self.x_rate_limit(Reset::Epoch).forbidden_as_refusal().default_wait(Duration::from_secs(60))
    }

    /// Reads OpenAI's responses: a 503 is a refusal even if it states no wait, since the call was not begun.
    pub fn openai(self) -> Self {
        self.with_refusal(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Reads Azure OpenAI's responses: those of [OpenAI](Self::openai), with `x-ms-retry-after-ms` besides.
    pub fn azure_openai(self) -> Self {
        self.openai()
    }

    /// Reads Anthropic's responses: a 529 is a refusal even if it states no wait. The servers are overloaded, and did not
    /// begin the call.
    pub fn anthropic(self) -> Self {
        self.with_refusal_code(OVERLOADED)
    }

    /// Reads the responses of Shopify's REST interface: 430 is a refusal, and one that states no wait is of two seconds, in
    /// which a full bucket loses four calls.
    pub fn shopify(self) -> Self {
        self.with_refusal_code(SECURITY_REJECTION).default_wait(Duration::from_secs(2))
    }

    /// Reads Discord's responses: the remaining calls count until `X-RateLimit-Reset-After`, to the millisecond. The
    /// timestamp in `X-RateLimit-Reset` is not read, since it says the same less exactly.
    ///
    /// MultipleValues routes may share one of its buckets, so let the key of pacing be that of the bucket.
    pub fn discord(self) -> Self {
        self.default_wait(Duration::from_secs(1))
    }

    /// Reads Docker Hub's responses: `X-RateLimit-Reset` and `X-Retry-After` are timestamps, and `RateLimit-Remaining`
    /// names its window.
    pub fn docker_hub(self) -> Self {
        self.x_rate_limit(Reset::Epoch)
    }

    /// Reads Atlassian's responses: `X-RateLimit-Reset` is an ISO 8601 timestamp.
    pub fn atlassian(self) -> Self {
        self.x_rate_limit(Reset::Guess)
    }

    /// Reads Reddit's responses: `X-Ratelimit-Reset` is in seconds, and the remaining number has a fraction.
    pub fn reddit(self) -> Self {
        self.x_rate_limit(Reset::Delta)
    }

    /// Reads HubSpot's responses: a refusal states no wait, and the shorter window is ten seconds.
    pub fn hubspot(self) -> Self {
        self.default_wait(Duration::from_secs(10))
    }

    /// Reads Salesforce's responses: a 403 is a refusal if `Sforce-Limit-Info` says that all calls of the day are used.
    pub const fn salesforce(self) -> Self {
        self.forbidden_as_refusal()
    }

    fn with_refusal_code(self, status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => self.with_refusal(status),
            Err(_) => self,
        }
    }
}
