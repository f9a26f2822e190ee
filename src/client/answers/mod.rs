//! Reads from the responses of servers when to call them again.
//!
//! Servers say it in many dialects. An [`AdviceReader`] reads the self-describing ones, and of the others those that it is
//! told to believe, into one [`Advice`](super::Advice):
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Response, StatusCode};
//! use tower_quota::client::AdviceReader;
//!
//! let reader = AdviceReader::new();
//!
//! let refused = Response::builder()
//!     .status(StatusCode::TOO_MANY_REQUESTS)
//!     .header("retry-after", "38")
//!     .body(())?;
//! let advice = reader.read_response(&refused);
//! assert!(advice.is_refusal());
//! assert_eq!(advice.wait_time(), Some(Duration::from_secs(38)));
//!
//! let served = Response::builder().header("ratelimit", r#""minute";r=2;t=41"#).body(())?;
//! let advice = reader.read_response(&served);
//! assert!(!advice.is_refusal());
//! assert_eq!(advice.allowances()[0].remaining(), 2);
//! assert_eq!(advice.allowances()[0].within(), Duration::from_secs(41));
//! # Ok::<(), http::Error>(())
//! ```
//!
//! `X-RateLimit-Reset` may hold anything, so except in refusals it is read only where its meaning is given. A 403 is a
//! refusal only of servers that are known for it:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Response, StatusCode};
//! use tower_quota::client::{AdviceReader, answers::Reset};
//!
//! let refused = Response::builder()
//!     .status(StatusCode::FORBIDDEN)
//!     .header("date", "Thu, 15 Oct 2026 01:14:56 GMT")
//!     .header("x-ratelimit-remaining", "0")
//!     .header("x-ratelimit-reset", "1792026901")
//!     .body(())?;
//! let advice = AdviceReader::new().github().read_response(&refused);
//! assert!(advice.is_refusal());
//! assert_eq!(advice.wait_time(), Some(Duration::from_secs(5)));
//!
//! // As seconds from now it would be 56 years, which is not believed.
//! let ten_minutes = Duration::from_secs(600);
//! let envoy = AdviceReader::new().x_rate_limit(Reset::Delta).max_time(ten_minutes);
//! assert_eq!(envoy.read_response(&refused).wait_time(), Some(ten_minutes));
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # What is read
//!
//! | field | read | says |
//! |---|---|---|
//! | `retry-after-ms`, `x-ms-retry-after-ms` | in refusals, before the next | milliseconds |
//! | `Retry-After` (RFC 9110), `X-Retry-After` | in refusals | seconds, or a time |
//! | `RateLimit`, `RateLimit-Policy` (drafts 8 to 11, and the names that the editors have chosen since) | always | the remaining number, and within which time |
//! | `RateLimit` (draft 7); `RateLimit-Remaining`, `RateLimit-Reset` (drafts 0 to 6) | always | the same |
//! | `anthropic-ratelimit-…`, `x-ratelimit-…-requests` and `-tokens`, `X-RateLimit-Reset-After`, `X-HubSpot-RateLimit-…` | always | the same |
//! | `X-RateLimit-Remaining`, `-Reset`; `X-Rate-Limit-…` | in refusals that say nothing else; always if [asked](AdviceReader::x_rate_limit) | the same |
//! | `x-should-retry`, `stripe-should-retry` | if the status is no success | `false`: that there is to be no retry |
//! | `x-amzn-errortype` | if the status is an error | that the call was throttled |
//! | `grpc-status`, `grpc-retry-pushback-ms` (gRFC A6), `RetryInfo` | in gRPC's trailers, or a response that has only them | the wait, or that there is to be no retry |
//!
//! Refusals are 429; 503 and 529 with one of the first two rows; for [GitHub](AdviceReader::github) a 403 with one of
//! them or with nothing left; and the [statuses that you name](AdviceReader::with_refusal). In gRPC they are
//! `RESOURCE_EXHAUSTED` and `UNAVAILABLE` with a stated wait, and `RESOURCE_EXHAUSTED` that is never to be retried.
//! `Retry-After` elsewhere has another meaning (a 202 is asking to be polled), and so may a bare `RESOURCE_EXHAUSTED`:
//! see
//! [`AdviceReader::exhausted_as_refusal`].
//!
//! All other 5xx, and all other ends of gRPC calls but `OK`, are [failures](super::Advice::is_failure): they neither delay
//! calls nor prove capacity. gRPC's trailers behind messages come after the response, and are read only if you hand them to
//! [`AdviceReader::read_trailers`]: a [`PaceLayer`](super::PaceLayer) and a [`RetryLayer`](super::RetryLayer) do not see them.
//!
//! # How times and numbers are written
//!
//! A time is seconds (`30`; a fraction is rounded up to the next), a duration (`6m0s`, `20ms`, `28m37.92s`), an HTTP date
//! in any of its three forms, a near miss of one, or an ISO 8601 timestamp. A number from a thousand million on is not a
//! number of seconds, which would be 31 years, but a timestamp in seconds, milliseconds or microseconds since 1970,
//! unless [`Reset`] says otherwise. Remaining numbers are rounded down. Where a proxy has joined several values (`30,
//! 30`; `991, 98`) the longest time and the least remainder count.
//!
//! # What servers say
//!
//! The rows follow the documentation of each server, and tests read each of them.
//!
//! | server | says | preset | for pacing | for retrying |
//! |---|---|---|---|---|
//! | OpenAI | 429, `retry-after-ms`, `x-ratelimit-remaining-requests`, `-reset-requests: 6m0s`, the same of tokens; `x-should-retry: false`; 503 | [`openai`](AdviceReader::openai) | calls left; tokens once none is left | the milliseconds; never if it says so |
//! | Azure OpenAI | the same, `x-ms-retry-after-ms` | [`azure_openai`](AdviceReader::azure_openai) | the same | the same |
//! | Anthropic | 429, `retry-after`, `anthropic-ratelimit-requests-reset` in ISO 8601, the same of tokens; 529 | [`anthropic`](AdviceReader::anthropic) | the same | the seconds; 529 too |
//! | Gemini | 429 with `retryDelay` in the body; `RetryInfo` over gRPC | | | read the body yourself: [`read_response_with`](super::retry::RetryPolicyBuilder::read_response_with) |
//! | GitHub | 403 or 429, `x-ratelimit-reset` as a timestamp, `retry-after` for secondary limits | [`github`](AdviceReader::github) | calls left | the wait, or a minute |
//! | Shopify REST | 429, `Retry-After: 2.0`; 430 | [`shopify`](AdviceReader::shopify) | the wait | the same |
//! | Shopify GraphQL | 200 with `THROTTLED` in the body | | | read the body yourself |
//! | Slack, Notion, Kubernetes | 429, `Retry-After` | | the wait | the same |
//! | Discord | 429, `Retry-After`, `X-RateLimit-Reset-After: 0.343`, `X-RateLimit-Bucket` | [`discord`](AdviceReader::discord) | calls left in the bucket, to the millisecond | the wait |
//! | RulebookRef | 429, `RulebookRef-Should-Retry` | | | never if it says so |
//! | Atlassian | 429, `Retry-After`, `X-RateLimit-Reset` in ISO 8601 | [`atlassian`](AdviceReader::atlassian) | calls left | the wait |
//! | Reddit | 429, `X-Ratelimit-Remaining: 598.0`, `-Reset` in seconds | [`reddit`](AdviceReader::reddit) | calls left | the wait |
//! | Bluesky, GitLab | `RateLimit-Remaining`, `RateLimit-Reset` as a timestamp | | calls left | the wait |
//! | HubSpot | 429; `X-HubSpot-RateLimit-Remaining`, `-Interval-Milliseconds` | [`hubspot`](AdviceReader::hubspot) | calls left | ten seconds |
//! | Zendesk | 429, `Retry-After`, `ratelimit-remaining`, `ratelimit-reset` in seconds | | calls left | the wait |
//! | Salesforce | 403, `Sforce-Limit-Info: api-usage=18/5000` for a day | [`salesforce`](AdviceReader::salesforce) | | that it is a refusal |
//! | AWS | 400, 429 or 503, `x-amzn-errortype: ThrottlingException` | | | that it is a refusal; S3 says it in the body |
//! | Docker Hub | 429, `RateLimit-Remaining: 76;w=21600`, `X-Retry-After` as a timestamp | [`docker_hub`](AdviceReader::docker_hub) | pulls left within the window | the wait |
//! | Envoy | 429, `X-RateLimit-Reset` in seconds | [`x_rate_limit(Delta)`](AdviceReader::x_rate_limit) | calls left | the wait |
//! | Kore.ai | 429 with the sentence in the body | | | a backoff, and the policy of the matrix for pacing |
//! | this crate's layer | 429, `Retry-After`, `RateLimit`; in gRPC `RetryInfo` and pushback | | calls left | the wait |
//!
//! A bucket that refills continuously has room before the time that it states: a client that keeps to what is said is
//! slower than it might be when the bucket is nearly empty, and never refused.
//!
//! # What wins
//!
//! In a refusal the first of these that is well-formed: `grpc-retry-pushback-ms`, `RetryInfo`, `retry-after-ms`,
//! `x-ms-retry-after-ms`, `Retry-After`, `X-Retry-After`. Only without any of them is a limit with nothing left a wait;
//! several such limits mean the longest. Limits with something left are [allowances](super::Allowance), all of them, up
//! to sixteen of one field.
//!
//! # What is not believed
//!
//! A server can say anything, so nothing it says makes a call fail or lasts longer than [`AdviceReader::max_time`]:
//!
//! * Values that are malformed, negative, or of another type are ignored: `-1`, `+5`, `1e3`, `5 seconds` and the empty
//!   value are no `Retry-After`. Numbers of any length are read, and capped. A date that has passed means no wait.
//! * A list of limits may have several lines; a malformed item of it is ignored, and a list that cannot be parsed is
//!   ignored whole.
//! * A pushback that is negative or no number means never to retry, as gRFC A6 wants it.
//! * Limits in a response from a cache (with an `Age` above 0) are those of another time.
//! * A limit on something else than requests (`qu="content-bytes"`, tokens) counts only when nothing is left of it.

mod classification;
mod header_family;
mod number;
mod rate_limit;
mod reader;
mod server_time;
mod time_format;

pub use reader::AdviceReader;
pub use server_time::Reset;
