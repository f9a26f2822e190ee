//! Two server processes that share one limit on a Redis server, and go on with a local share of it when that server is gone.
//!
//! ```sh
//! cargo run --example redis # needs redis-server on the path
//! ```
//!
//! It starts the processes itself, on free ports, and ends by itself.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::{Router, routing::get};
use tower_quota::{
    Policy, RateLimiter, Rule, key,
    store::{OnOutage, RedisStore},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A child process, killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves as one of the two processes: ten requests a minute for both together, and half of that for each without Redis.
async fn serve(address: &str, redis: &str) -> Result<()> {
    let store = RedisStore::new(redis, OnOutage::Local { share: 0.5 });
    let rule = Rule::new("calls").every_request().key(key::header("x-account")).level("account");
    let limiter = RateLimiter::builder().store(store).rule(rule.policy(Policy::per_minute(10))).build()?;
    let app = Router::new().route("/", get(async || "hello\n")).layer(limiter.layer());
    axum::serve(tokio::net::TcpListener::bind(address).await?, app).await?;
    Ok(())
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn start_redis(address: &str) -> Result<Running> {
    let (_, port) = address.rsplit_once(':').ok_or("no port")?;
    let mut redis = Command::new("redis-server");
    redis.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).stdout(Stdio::null());
    redis.spawn().map(Running).map_err(|error| format!("redis-server: {error}: install it first").into())
}

fn start_server(address: &str, redis: &str) -> Result<Running> {
    let itself = std::env::current_exe()?;
    Ok(Running(Command::new(itself).args(["serve", address, &format!("redis://{redis}")]).spawn()?))
}

/// Sends requests to the servers in turn. Returns how many were served, and the last refusal.
async fn send(account: &str, servers: &[String], requests: usize) -> Result<(usize, Option<String>)> {
    let (client, mut served, mut refusal) = (reqwest::Client::builder().no_proxy().build()?, 0, None);
    for server in servers.iter().cycle().take(requests) {
        let answer = client.get(format!("http://{server}/")).header("x-account", account).send().await?;
        if answer.status().is_success() {
            served += 1;
        } else {
            refusal = Some(format!("{}: {}", answer.status(), answer.text().await?));
        }
    }
    Ok((served, refusal))
}

async fn until_served(address: &str) -> Result<()> {
    while reqwest::get(format!("http://{address}/")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    if let [_, serve_them, address, redis] = &std::env::args().collect::<Vec<_>>()[..]
        && serve_them == "serve"
    {
        return serve(address, redis).await;
    }
    let redis_address = free_address()?;
    let servers = [free_address()?, free_address()?];
    let redis = start_redis(&redis_address)?;
    let _running = [start_server(&servers[0], &redis_address)?, start_server(&servers[1], &redis_address)?];
    for server in &servers {
        until_served(server).await?;
    }

    let (served, refusal) = send("ann", &servers, 15).await?;
    println!("with Redis: {served} of 15 served by both processes together\n  {}", refusal.unwrap_or_default());

    drop(redis);
    let (served, refusal) = send("bob", &servers, 15).await?;
    println!(
        "without Redis: {served} of 15 served, half of the limit by each process\n  {}",
        refusal.unwrap_or_default()
    );

    let _redis = start_redis(&redis_address)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (served, _) = send("cat", &servers, 15).await?;
    println!("with Redis again: {served} of 15 served");
    Ok(())
}
