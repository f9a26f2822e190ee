//! The matrix of `examples/kore/limits.toml`, served until ctrl-c, to try by hand: it prints the `curl` commands.
//!
//! ```sh
//! cargo run --example kore
//! ```

#[path = "kore/server.rs"]
mod server;

use std::error::Error;

use tower_quota::clock::SystemClock;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = server::app(&server::limiter(SystemClock::new())?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", introduction(&format!("http://{}", listener.local_addr()?), &server::token("cs-acme")?));
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

fn introduction(server: &str, token: &str) -> String {
    let bot = format!("{server}/api/public/bot");
    let campaign = format!("{server}/agentassist/api/v1/public/st-1/campaign");
    let post = format!("curl -s -X POST -H 'auth: {token}'");
    format!(
        "Serving Kore.ai's 164 APIs at {server}, until ctrl-c.\n\
         \n\
         # One call, and what its bot has left:\n\
         {post} -i {bot}/st-1/export\n\
         \n\
         # Sixty-one calls of another bot; the last one is refused:\n\
         for i in $(seq 61); do {post} -o /dev/null -w '%{{http_code}}\\n' {bot}/st-2/export; done | uniq -c\n\
         \n\
         # Another API of the same row shares that bot's history:\n\
         {post} -i {bot}/st-2/publish\n\
         \n\
         # An account whose limit is 600 a minute and not 60; the last two calls are refused:\n\
         for i in $(seq 602); do {post} -H 'accountId: initech' -o /dev/null -w '%{{http_code}}\\n' {campaign}; done | uniq -c\n"
    )
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
