//! What servers say about when to call again, read from their answers.
//!
//! Servers say it in many dialects. [`Answers`] reads those that name themselves, and of the others the ones that it is
//! told to believe, into one [`Advice`](super::Advice):
//!
//! ```
//! use std::time::Duration;
//!
//! use http::{Response, StatusCode};
//! use tower_quota::client::Answers;
//!
//! let answers = Answers::new();
//!
//! let refused = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).header("retry-after", "38").body(())?;
//! let advice = answers.of(&refused);
//! assert!(advice.is_refusal());
//! assert_eq!(advice.wait_time(), Some(Duration::from_secs(38)));
//!
//! let served = Response::builder().header("ratelimit", r#""minute";r=2;t=41"#).body(())?;
//! let advice = answers.of(&served);
//! assert!(!advice.is_refusal());
//! assert_eq!(advice.allowances()[0].remaining(), 2);
//! assert_eq!(advice.allowances()[0].within(), Duration::from_secs(41));
//! # Ok::<(), http::Error>(())
//! ```
//!
//! `X-RateLimit-Reset` may hold anything, so it is read only if it is said how, and a 403 is a refusal only of those who
//! are known for it:
//!
//! ```
//! # use std::time::Duration;
//! # use http::{Response, StatusCode};
//! use tower_quota::client::{Answers, answers::Reset};
//!
//! let refused = Response::builder()
//!     .status(StatusCode::FORBIDDEN)
//!     .header("date", "Thu, 15 Oct 2026 01:14:56 GMT")
//!     .header("x-ratelimit-remaining", "0")
//!     .header("x-ratelimit-reset", "1792026901")
//!     .body(())?;
//! let advice = Answers::new().github().of(&refused);
//! assert!(advice.is_refusal());
//! assert_eq!(advice.wait_time(), Some(Duration::from_secs(5)));
//!
//! let envoy = Answers::new().x_rate_limit(Reset::Delta).longest(Duration::from_secs(600));
//! assert_eq!(envoy.of(&refused).wait_time(), Some(Duration::from_secs(600)), "believed no further than that");
//! # Ok::<(), http::Error>(())
//! ```
//!
//! # What is read
//!
//! | field | read | says |
//! |---|---|---|
//! | `retry-after-ms` | in refusals, before the next | milliseconds |
//! | `Retry-After` (RFC 9110) | in refusals | seconds, or a date in any of the three forms |
//! | `RateLimit`, `RateLimit-Policy` (drafts 8 to 11, and the names that the editors have chosen since) | always | what is left, and within which time |
//! | `RateLimit` (draft 7); `RateLimit-Remaining`, `RateLimit-Reset` (drafts 0 to 6) | always | the same |
//! | `X-RateLimit-Remaining`, `-Reset`; `X-Rate-Limit-…` | if [asked](Answers::x_rate_limit) | the same |
//! | `grpc-status`, `grpc-retry-pushback-ms` (gRFC A6), `RetryInfo` | in gRPC's trailers, or a response that has only them | the wait, or that there is to be no retry |
//!
//! Refusals are 429, 503 with one of the first two fields, and where [GitHub](Answers::github) is spoken 403 with them or
//! with nothing left; in gRPC `RESOURCE_EXHAUSTED` and `UNAVAILABLE` with a stated wait, and `RESOURCE_EXHAUSTED` that is never
//! to be retried. `Retry-After` elsewhere is about
//! something else (a 202 is asking to be polled), and a bare `RESOURCE_EXHAUSTED` may be, too: see
//! [`Answers::exhausted_without_wait`].
//!
//! All other 5xx and all other ends of gRPC calls but `OK` are [failures](super::Advice::is_failure): they hold nothing back,
//! but show no room either. What gRPC says in trailers behind messages comes after the response, and is read only by who hands
//! it to [`Answers::read_trailers`]: a [`PaceLayer`](super::PaceLayer) and a [`RetryLayer`](super::RetryLayer) do not see it.
//!
//! # What wins
//!
//! In a refusal the first of these that is well-formed: `grpc-retry-pushback-ms`, `RetryInfo`, `retry-after-ms`,
//! `Retry-After`. Only without any of them is a limit with nothing left a wait; several such limits mean the longest.
//! Limits with something left are [allowances](super::Allowance), all of them, up to sixteen.
//!
//! # What is not believed
//!
//! A server can say anything, so nothing it says makes a call fail or lasts longer than [`Answers::longest`]:
//!
//! * What is malformed, negative, or of another type is ignored: `-1`, `+5`, `1.5` and nothing at all are no
//!   `Retry-After`. Numbers of any length are read, and capped. A date that has passed means no wait.
//! * Of several lines of `Retry-After` the longest well-formed one counts. A list of limits may have several lines; a
//!   malformed item of it is ignored, and a list that cannot be parsed is, whole.
//! * A pushback that is negative or no number means never to retry, as gRFC A6 wants it.
//! * Limits in an answer from a cache (with an `Age` above 0) are those of another time.
//! * A limit on something else than requests (`qu="content-bytes"`) counts only when nothing is left of it.

mod digits;
mod limit;
mod rate_limit;
mod reader;
mod reset;
mod retry_after;
mod three_fields;
mod timeline;
mod verdict;

pub use reader::Answers;
pub use reset::Reset;
