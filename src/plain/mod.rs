//! Rate limits for services that are not about HTTP: job runners, message handlers, clients of anything.
//!
//! Requests are of a type of your own, and so are responses and errors. Rules, policies, keys and the limiter are the same as
//! for HTTP, and the same code decides. Only routes do not exist here: a rule applies to
//! [every request](crate::Rule::every_request) or to [requests that meet a condition](crate::Rule::when).
//!
//! A closure answers refused requests with a response or with the service's error. It gets the request back, so the request can
//! be postponed.
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
//! enum Answer {
//!     Printed(u32),
//!     Postponed { tenant: String, seconds: u64 },
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let tenant = || key::field(|job: &Job| &job.tenant);
//! let limiter = RateLimiter::builder_for::<Job>()
//!     .rule(
//!         Rule::new("jobs")
//!             .every_request()
//!             .key(tenant())
//!             .policy(Policy::per_minute(60)),
//!     )
//!     .rule(
//!         Rule::new("long")
//!             .when(|job: &Job| job.pages > 99)
//!             .key(tenant())
//!             .policy(Policy::per_hour(1)),
//!     )
//!     .build()?;
//!
//! let printer = service_fn(async |job: Job| {
//!     Ok::<_, std::io::Error>(Answer::Printed(job.pages))
//! });
//! let mut printer = limiter
//!     .layer(|job: Job, refusal| {
//!         let seconds = refusal.retry_after().unwrap_or_default().as_secs();
//!         Ok(Answer::Postponed { tenant: job.tenant, seconds })
//!     })
//!     .layer(printer);
//!
//! let long = || Job { tenant: "acme".into(), pages: 300 };
//! assert_eq!(printer.ready().await?.call(long()).await?, Answer::Printed(300));
//! let answer = printer.ready().await?.call(long()).await?;
//! assert!(matches!(answer, Answer::Postponed { tenant, .. } if tenant == "acme"));
//!
//! let short = Job { tenant: "acme".into(), pages: 1 };
//! assert_eq!(printer.ready().await?.call(short).await?, Answer::Printed(1));
//! # Ok(())
//! # }
//! ```
//!
//! A limiter that is mounted twice charges twice, because a request of any type has no place where a layer could record its
//! charges.
//!
//! A [`Refusal`] is an error as well: with `|_, refusal| Err(refusal.into())` it becomes the service's error, if that is a boxed
//! error or can be made from a [`Refusal`].

mod enforcer;
mod future;
mod layer;
mod service;

pub use crate::request::Plain;
pub use enforcer::Refusal;
pub use future::ResponseFuture;
pub use layer::RateLimitLayer;
pub use service::RateLimit;
