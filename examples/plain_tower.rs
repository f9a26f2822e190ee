//! Limits for a service without HTTP: a printer whose jobs are limited per tenant, and long jobs more tightly.
//!
//! ```sh
//! cargo run --example plain_tower
//! ```
//!
//! It prints the jobs and the refusals, and ends by itself.

use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_quota::{Policy, RateLimiter, Rule, key, plain::Refusal};

struct Job {
    tenant: &'static str,
    pages: u32,
}

async fn print(job: Job) -> Result<String, BoxError> {
    Ok(format!("{} pages for {}", job.pages, job.tenant))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let tenant = || key::field(|job: &Job| job.tenant);
    let limiter = RateLimiter::builder_for::<Job>()
        .rule(
            Rule::new("jobs")
                .every_request()
                .key(tenant())
                .level("tenant")
                .policy(Policy::per_minute(3).and_per_hour(100)),
        )
        .rule(
            Rule::new("long")
                .when(|job: &Job| job.pages > 99)
                .key(tenant())
                .level("tenant")
                .policy(Policy::per_hour(1)),
        )
        .build()?;
    let mut printer =
        ServiceBuilder::new().layer(limiter.layer(|_: Job, refusal| Err(refusal.into()))).service(service_fn(print));

    for (tenant, pages) in [("acme", 300), ("acme", 300), ("acme", 1), ("acme", 1), ("acme", 1), ("globex", 300)] {
        match printer.ready().await?.call(Job { tenant, pages }).await {
            Ok(printed) => println!("{printed}"),
            Err(error) => {
                let refusal = error.downcast::<Refusal>()?;
                println!("{refusal} ({tenant}: {:.0?})", refusal.retry_after().unwrap_or_default());
            }
        }
    }
    Ok(())
}
