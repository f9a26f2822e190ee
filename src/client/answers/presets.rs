//! What is known of single vendors beyond what the fields say themselves.

use std::time::Duration;

use http::StatusCode;

use crate::client::answers::{Answers, Reset};

/// Not a status of any RFC: the servers of a model are overloaded.
const OVERLOADED: u16 = 529;
/// Shopify's for a shop whose calls it takes for an attack.
const SECURITY_REJECTION: u16 = 430;

impl Answers {
    /// GitHub: `X-RateLimit-Reset` is a time, a 403 with nothing left or with a `Retry-After` is a refusal, and a refusal that
    /// states no wait is one of a minute, as its documentation asks.
    pub fn github(self) -> Self {
        self.x_rate_limit(Reset::Epoch).forbidden_refusal().unstated_wait(Duration::from_secs(60))
    }

    /// OpenAI: a 503 is a refusal even if it states no wait, since the call was not begun.
    pub fn openai(self) -> Self {
        self.refusal(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Azure OpenAI: as [OpenAI](Self::openai), whose fields it sends, with `x-ms-retry-after-ms` besides.
    pub fn azure_openai(self) -> Self {
        self.openai()
    }

    /// Anthropic: a 529 is a refusal even if it states no wait: its servers are overloaded, and did not begin the call.
    pub fn anthropic(self) -> Self {
        self.refusal_if_valid(OVERLOADED)
    }

    /// Shopify's REST interface: 430 is a refusal, and one that states no wait is of two seconds, in which a full bucket loses
    /// four calls.
    pub fn shopify(self) -> Self {
        self.refusal_if_valid(SECURITY_REJECTION).unstated_wait(Duration::from_secs(2))
    }

    /// Discord: what is left counts until `X-RateLimit-Reset-After`, to the millisecond; the time in `X-RateLimit-Reset` is not
    /// read, since it says the same less exactly.
    ///
    /// Its limits are those of a bucket, which several routes may share: make the key of pacing that of the bucket.
    pub fn discord(self) -> Self {
        self.unstated_wait(Duration::from_secs(1))
    }

    /// Docker Hub: `X-RateLimit-Reset` and `X-Retry-After` are times, and `RateLimit-Remaining` names its window.
    pub fn docker_hub(self) -> Self {
        self.x_rate_limit(Reset::Epoch)
    }

    /// Atlassian: `X-RateLimit-Reset` is a time of ISO 8601.
    pub fn atlassian(self) -> Self {
        self.x_rate_limit(Reset::Guess)
    }

    /// Reddit: `X-Ratelimit-Reset` is in seconds, and what remains has a fraction.
    pub fn reddit(self) -> Self {
        self.x_rate_limit(Reset::Delta)
    }

    /// HubSpot: a refusal states no wait, and its shorter window is ten seconds.
    pub fn hubspot(self) -> Self {
        self.unstated_wait(Duration::from_secs(10))
    }

    /// Salesforce: a 403 is a refusal if `Sforce-Limit-Info` says that all calls of the day are used.
    pub const fn salesforce(self) -> Self {
        self.forbidden_refusal()
    }

    fn refusal_if_valid(self, status: u16) -> Self {
        match StatusCode::from_u16(status) {
            Ok(status) => self.refusal(status),
            Err(_) => self,
        }
    }
}
