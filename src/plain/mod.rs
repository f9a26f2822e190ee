//! Services that are not about HTTP: job runners, message handlers, clients of anything.
//!
//! The requests are of a type of your own, and so are the responses and errors. Rules, policies, keys and the limiter are
//! the same as everywhere, and the same code decides; only routes make no sense here, so a rule is for
//! [every request](crate::Rule::every_request) or for [those that fulfil a condition](crate::Rule::when).
//!
//! What a refused caller gets is up to a closure: a response, or the service's error. The closure is given the request
//! back, so that it can be put off.
//!
//! ```
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_quota::{Policy, RateLimiter, Rule, key};
//!
//! struct Job {
//!     tenant: String,
//!     pages: u32,
//! }
//!
//! #[derive(Debug, PartialEq)]
//! enum CallStatus {
//!     Printed(u32),
//!     PutOff { tenant: String, seconds: u64 },
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let tenant = || key::field(|job: &Job| &job.tenant);
//! let limiter = RateLimiter::builder_for::<Job>()
//!     .rule(Rule::new("jobs").every_request().key(tenant()).policy(Policy::per_minute(60)))
//!     .rule(Rule::new("long").when(|job: &Job| job.pages > 99).key(tenant()).policy(Policy::per_hour(1)))
//!     .build()?;
//!
//! let printer = service_fn(async |job: Job| Ok::<_, std::io::Error>(CallStatus::Printed(job.pages)));
//! let mut printer = limiter
//!     .layer(|job: Job, refusal| {
//!         let seconds = refusal.retry_after().unwrap_or_default().as_secs();
//!         Ok(CallStatus::PutOff { tenant: job.tenant, seconds })
//!     })
//!     .layer(printer);
//!
//! let long = || Job { tenant: "acme".into(), pages: 300 };
//! assert_eq!(printer.ready().await?.call(long()).await?, CallStatus::Printed(300));
//! assert!(matches!(printer.ready().await?.call(long()).await?, CallStatus::PutOff { tenant, .. } if tenant == "acme"));
//!
//! let short = Job { tenant: "acme".into(), pages: 1 };
//! assert_eq!(printer.ready().await?.call(short).await?, CallStatus::Printed(1));
//! # Ok(())
//! # }
//! ```
//!
//! A limiter that is mounted twice charges twice: there is no place in a request of any type where a layer could leave word.
//!
//! Refusals are errors as well: with `|_, refusal| Err(refusal.into())` they become the service's, if that is a boxed
//! error or made from [`Refusal`].

mod enforcement;
mod future;
mod layer;
mod refusal;
mod service;

pub use crate::request::Plain;
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use refusal::Refusal;
pub use service::RateLimit;
