//! A real matrix at work: the eight rows of Kore.ai's rate limits, behind axum, called over TCP.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! It shows four things: that each rule admits exactly its limit per key; that a rolling window holds around the edge of a
//! minute, where a fixed window lets twice the limit through; that an exhausted hourly quota refuses although the minute
//! has room; and that an account gets a higher limit, in the file or while requests go on, and keeps its history.
//!
//! The rules are those of `examples/kore/limits.toml`. The limiter runs on a manual clock, which this program moves, so an
//! hour passes at once and nothing depends on the speed of the machine. The program ends by itself, with an error if
//! anything is not as expected.

#[path = "kore/calls.rs"]
mod calls;
#[path = "kore/report.rs"]
mod report;
#[path = "kore/server.rs"]
mod server;

use std::{error::Error, process::ExitCode, time::Duration};

use reqwest::{Client, RequestBuilder};
use tokio::{net::TcpListener, task::JoinSet};
use tower_quota::{
    RateLimiter,
    clock::{Clock, ManualClock},
};

use calls::{Answer, Call, matrix, post};
use report::{HOUR_MESSAGE, MINUTE_MESSAGE, Report};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The number of clients that send at the same time.
const CLIENTS: usize = 8;

/// The server as its clients see it, and the clock it runs on.
struct Server {
    url: String,
    client: Client,
    limiter: RateLimiter,
    clock: ManualClock,
}

/// The limiter to compare with: 60 requests in each minute of the clock.
#[derive(Default)]
struct FixedWindow {
    minute: u64,
    used: usize,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let server = Server::start().await?;
    let mut report = Report::new();
    println!("Kore.ai's 164 APIs in eight rules, behind axum at {}.", server.url);
    println!("The limiter runs on a manual clock: time passes only where this program moves it.");

    report.heading("Each rule: a tenth more requests than its minute admits, from eight clients at once");
    rows(&server, &mut report).await?;
    report.heading("The edge of a minute: 60 requests one second before it, and 60 one second after it");
    edge(&server, &mut report).await?;
    report.heading("An hour: a bot that uses each minute to the full");
    hour(&server, &mut report).await?;
    report.heading("A higher limit: an account of the Contact Center in a tier of 600 a minute");
    tier(&server, &mut report).await?;
    Ok(report.conclude())
}

async fn rows(server: &Server, report: &mut Report) -> Result<()> {
    report.columns();
    for row in matrix() {
        let answers = server.send(&row.call, row.per_minute + row.per_minute / 10).await?;
        let other_key = server.send_one(&row.other_key).await?;
        let other_route = server.send_one(&row.other_route).await?;
        report.row(&row, &server.quotas(row.rule)?, &answers, &other_key, &other_route);
    }
    report.space();
    report.line("other key", "the same call for another bot, request, account or table: a limit of its own");
    report.line("other route", "another call of the same rule, with the first key: the limit is shared");
    report.line("each refusal says", MINUTE_MESSAGE);

    server.clock.advance(MINUTE - Duration::from_millis(1));
    let early = server.send_each().await?;
    server.clock.advance(Duration::from_millis(1));
    let punctual = server.send_each().await?;
    report.line("59.999 s later", &format!("{early} of 8 rules admit a request"));
    report.line("60 s later", &format!("{punctual} of 8 rules admit a request"));
    report.expect("rules that admit before Retry-After is over", early, 0);
    report.expect("rules that admit when it is over", punctual, 8);
    Ok(())
}

async fn edge(server: &Server, report: &mut Report) -> Result<()> {
    let (call, mut fixed_window) = (post("/api/public/bot/st-7/export"), FixedWindow::default());
    let begin = MINUTE * (server.minute() as u32 + 1);
    report.line("on the clock", "a rolling window (this crate)   a fixed window");
    let mut admitted = Vec::new();
    for (name, at) in [("0:59", begin + 59 * SECOND), ("1:01", begin + 61 * SECOND)] {
        server.clock.set(at);
        let both = (server.admitted(&call, 60).await?, fixed_window.admitted(server.minute(), 60));
        report.line(name, &comparison(both));
        admitted.push(both);
    }
    let sum = admitted.iter().fold((0, 0), |sum, both| (sum.0 + both.0, sum.1 + both.1));
    report.line("within two seconds", &comparison(sum));

    let refusal = server.send_one(&call).await?;
    server.clock.advance(SECOND * refusal.retry_after.unwrap_or_default() as u32);
    let later = server.admitted(&call, 60).await?;
    report.line("a refusal at 1:01 says", &format!("Retry-After: {}", refusal.wait()));
    report.line(&format!("{} s later", refusal.wait()), &format!("{later} of 60 admitted"));

    report.expect("admitted around the edge, here and by a fixed window", &*admitted, &[(60, 60), (0, 60)]);
    report.expect_refusal("the edge", &refusal, MINUTE_MESSAGE, 58);
    report.expect("admitted when the wait is over", later, 60);
    Ok(())
}

async fn hour(server: &Server, report: &mut Report) -> Result<()> {
    let call = post("/api/public/bot/st-9/export");
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += server.admitted(&call, 60).await?;
        server.clock.advance(MINUTE);
    }
    let refusal = server.send_one(&call).await?;
    let left = server.left("automation.bot", "st-9")?;
    server.clock.advance(30 * MINUTE);
    let later = server.send_one(&call).await?;

    report.line("60 requests, 30 times", &format!("{admitted} of 1800 admitted, in 30 minutes"));
    report.line("the next request", &format!("{}, Retry-After: {}", refusal.status, refusal.wait()));
    report.line("its message", refusal.message.as_deref().unwrap_or_default());
    report.line("its field RateLimit", refusal.ratelimit.as_deref().unwrap_or_default());
    report.line("left", &left);
    report.line("30 minutes later", later.outcome());

    report.expect("admitted in thirty minutes", admitted, 1800);
    report.expect_refusal("the hour", &refusal, HOUR_MESSAGE, 1800);
    report.expect("left", &*left, "60 of 60 in the minute, 0 of 1800 in the hour");
    report.expect("status 30 minutes later", later.status, 200);
    Ok(())
}

async fn tier(server: &Server, report: &mut Report) -> Result<()> {
    let call = |account| post("/agentassist/api/v1/public/st-1/campaign").on_account(account);
    let by_file = server.admitted(&call("initech"), 660).await?;
    let before = server.admitted(&call("hooli"), 66).await?;
    server.limiter.set_tier("contact-center", "hooli", Some("custom"))?;
    let more = server.admitted(&call("hooli"), 660).await?;
    server.limiter.set_tier("contact-center", "hooli", None)?;
    let after = server.admitted(&call("hooli"), 66).await?;

    report.line("initech", &format!("{by_file} of 660 admitted: limits.toml says so"));
    report.line("hooli", &format!("{before} of 66 admitted"));
    report.line("support gives it more", &format!("{more} of 660 admitted: 60 were used"));
    report.line("and takes it back", &format!("{after} of 66 admitted, until a minute has passed"));

    report.expect("admitted in the tier of the file", by_file, 600);
    report.expect("admitted before, in and after the tier at run time", [before, more, after], [60, 540, 0]);
    Ok(())
}

/// Returns one line of the comparison: what the rolling and the fixed window admit.
fn comparison((rolling, fixed): (usize, usize)) -> String {
    format!("{rolling:<3} admitted                    {fixed:<3} admitted")
}

impl FixedWindow {
    /// Returns how many of `requests` in this minute are admitted.
    fn admitted(&mut self, minute: u64, requests: usize) -> usize {
        if self.minute != minute {
            *self = Self { minute, used: 0 };
        }
        let admitted = requests.min(60 - self.used);
        self.used += admitted;
        admitted
    }
}

impl Server {
    async fn start() -> Result<Self> {
        let clock = ManualClock::new();
        let limiter = server::limiter(clock.clone())?;
        let app = server::app(&limiter);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, client: Client::builder().no_proxy().build()?, limiter, clock })
    }

    /// Sends a call many times, from several clients at once.
    async fn send(&self, call: &Call, times: usize) -> Result<Vec<Answer>> {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let request = self.request(call)?;
            clients.spawn(async move {
                let mut answers = Vec::new();
                for _ in (client..times).step_by(CLIENTS) {
                    let request = request.try_clone().ok_or("the request cannot be sent twice")?;
                    answers.push(Answer::to(request).await?);
                }
                Result::Ok(answers)
            });
        }
        let answers = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends a call many times, and returns how many times it is admitted.
    async fn admitted(&self, call: &Call, times: usize) -> Result<usize> {
        Ok(self.send(call, times).await?.iter().filter(|answer| answer.is_admitted()).count())
    }

    async fn send_one(&self, call: &Call) -> Result<Answer> {
        Answer::to(self.request(call)?).await
    }

    /// Sends each row's call once, and returns how many are admitted.
    async fn send_each(&self) -> Result<usize> {
        let mut admitted = 0;
        for row in matrix() {
            admitted += usize::from(self.send_one(&row.call).await?.is_admitted());
        }
        Ok(admitted)
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder> {
        call.request(&self.client, &self.url)
    }

    /// Returns the minute that the clock shows.
    fn minute(&self) -> u64 {
        self.clock.now().as_secs() / 60
    }

    /// Returns the quotas of a rule, in short.
    fn quotas(&self, rule: &str) -> Result<String> {
        let decision = self.limiter.rule(rule)?.peek("anybody");
        let quotas: Vec<_> = decision.quotas().map(|quota| format!("{}/{}", quota.limit(), quota.name())).collect();
        Ok(quotas.join(" ").replace("minute", "min").replace("hour", "h"))
    }

    /// Returns how much a key has left.
    fn left(&self, rule: &str, key: &str) -> Result<String> {
        let decision = self.limiter.rule(rule)?.peek(key);
        let quotas = decision.quotas();
        let left = quotas.map(|quota| format!("{} of {} in the {}", quota.remaining(), quota.limit(), quota.name()));
        Ok(left.collect::<Vec<_>>().join(", "))
    }
}
