//! A real matrix at work: the eight rows of Kore.ai's rate limits, behind axum, called over TCP.
//!
//! `cargo run --example quickstart`
//!
//! The rules are those of `examples/kore/limits.toml`. The limiter runs on a clock that this program moves, so an hour
//! passes at once and nothing depends on the speed of the machine. It exits with an error if anything is not as it
//! should be.

#[path = "kore/server.rs"]
mod server;

use std::{error::Error, fmt::Debug, io::IsTerminal, process::ExitCode, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use tokio::{net::TcpListener, task::JoinSet};
use tower_quota::{RateLimiter, clock::ManualClock};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const MINUTE_MESSAGE: &str = "You've exceeded the per-minute rate limit. Please wait for sometime before retrying.";
const HOUR_MESSAGE: &str = "You've exceeded the hourly rate limit. Please wait for sometime before retrying.";

/// How many clients send at the same time.
const CLIENTS: usize = 8;

/// One row of the matrix: a call that spends its limit, and two to compare it with.
struct Row {
    rule: &'static str,
    per_minute: usize,
    call: Call,
    /// The same key on another route.
    other_route: Call,
    /// The same route with another key.
    other_key: Call,
}

struct Call {
    method: Method,
    path: &'static str,
    /// Who signs the token.
    app: &'static str,
    /// The header `accountId`.
    account: Option<&'static str>,
}

/// What came back.
struct Answer {
    status: u16,
    retry_after: Option<u64>,
    ratelimit: Option<String>,
    message: Option<String>,
}

/// The server as its clients see it, and the clock it runs on.
struct Server {
    url: String,
    client: Client,
    limiter: RateLimiter,
    clock: ManualClock,
}

/// Prints, and remembers what was not as it should be.
struct Report {
    in_colour: bool,
    failures: Vec<String>,
}

fn matrix() -> [Row; 8] {
    [
        Row {
            rule: "automation.bot",
            per_minute: 60,
            call: post("/api/public/bot/st-1/export"),
            other_route: get("/api/public/bot/st-1/changelogs"),
            other_key: post("/api/public/bot/st-2/export"),
        },
        Row {
            rule: "automation.request-id",
            per_minute: 60,
            call: get("/api/public/bot/st-1/testsuite/smoke/tr-1/status"),
            other_route: get("/api/public/stream/st-1/conversation/testsuite/smoke/tr-1/status"),
            other_key: get("/api/public/bot/st-1/testsuite/smoke/tr-2/status"),
        },
        Row {
            rule: "automation.admin",
            per_minute: 60,
            call: get("/api/public/bots"),
            other_route: post("/api/public/users"),
            other_key: get("/api/public/bots").signed_by("cs-globex"),
        },
        Row {
            rule: "automation.notification",
            per_minute: 600,
            call: post("/api/public/bot/st-1/notify"),
            other_route: get("/api/public/bot/st-1/notify/status/7"),
            other_key: post("/api/public/bot/st-2/notify"),
        },
        Row {
            rule: "automation.data",
            per_minute: 600,
            call: post("/api/public/tables/orders"),
            other_route: post("/api/public/tables/orders/query"),
            other_key: post("/api/public/tables/customers"),
        },
        Row {
            rule: "contact-center",
            per_minute: 60,
            call: post("/agentassist/api/v1/public/st-1/campaign").of("acme"),
            other_route: get("/agentassist/api/public/analytics/account/acme/queues"),
            other_key: post("/agentassist/api/v1/public/st-1/campaign").of("globex"),
        },
        Row {
            rule: "case-management",
            per_minute: 60,
            call: post("/caseManagement/api/public/analytics/st-1/getCases"),
            other_route: post("/caseManagement/api/public/analytics/st-1/updateTask/7"),
            other_key: post("/caseManagement/api/public/analytics/st-1/getCases").signed_by("cs-globex"),
        },
        Row {
            rule: "quality-ai",
            per_minute: 60,
            call: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/rawdata").of("acme"),
            other_route: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/scorereporting").of("acme"),
            other_key: post("/qualityai/api/v1/public/qualitymanagement/app/st-1/rawdata").of("globex"),
        },
    ]
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let server = Server::start().await?;
    let mut report = Report::new();
    println!("Kore.ai's 164 APIs in eight rules, behind axum at {}.", server.url);

    report.heading("A tenth more requests than the minute holds, eight at a time");
    rows(&server, &mut report).await?;
    report.heading("A bot that spends each minute to the full");
    hour(&server, &mut report).await?;
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

    server.clock.advance(Duration::from_millis(59_999));
    let early = server.send_each().await?;
    server.clock.advance(Duration::from_millis(1));
    let punctual = server.send_each().await?;
    report.line("59.999 s later", &format!("{early} of 8 rows admit a request"));
    report.line("60 s later", &format!("{punctual} of 8 rows do"));
    report.expect("rows that admit before Retry-After is over", early, 0);
    report.expect("rows that admit when it is over", punctual, 8);
    Ok(())
}

async fn hour(server: &Server, report: &mut Report) -> Result<()> {
    let call = post("/api/public/bot/st-9/export");
    let mut admitted = 0;
    for _ in 0..30 {
        admitted += server.send(&call, 60).await?.iter().filter(|answer| answer.is_admitted()).count();
        server.clock.advance(Duration::from_secs(60));
    }
    let refusal = server.send_one(&call).await?;
    let left = server.left("automation.bot", "st-9")?;
    server.clock.advance(Duration::from_secs(1800));
    let later = server.send_one(&call).await?;

    report.line("30 times 60 requests", &format!("{admitted} of 1800 admitted"));
    report.line("the next request", &format!("{}, Retry-After: {}", refusal.status, refusal.wait()));
    report.line("left", &left);
    report.line("RateLimit", refusal.ratelimit.as_deref().unwrap_or_default());
    report.quote("This refusal says", refusal.message.as_deref().unwrap_or_default());
    report.line("1800 s later", later.outcome());

    report.expect("admitted in thirty minutes", admitted, 1800);
    report.expect_refusal("the hour", &refusal, HOUR_MESSAGE, 1800);
    report.expect("left", &*left, "60 of 60 in the minute, 0 of 1800 in the hour");
    report.expect("status 1800 s later", later.status, 200);
    Ok(())
}

const fn get(path: &'static str) -> Call {
    Call { method: Method::GET, path, app: "cs-acme", account: None }
}

const fn post(path: &'static str) -> Call {
    Call { method: Method::POST, path, app: "cs-acme", account: None }
}

impl Call {
    fn signed_by(self, app: &'static str) -> Self {
        Self { app, ..self }
    }

    fn of(self, account: &'static str) -> Self {
        Self { account: Some(account), ..self }
    }
}

impl Answer {
    async fn to(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let header = |name| response.headers().get(name)?.to_str().ok().map(ToOwned::to_owned);
        let status = response.status().as_u16();
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
        let ratelimit = header("ratelimit");
        let problem: Option<serde_json::Value> = serde_json::from_str(&response.text().await?).ok();
        let message = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        Ok(Self { status, retry_after, ratelimit, message })
    }

    const fn is_admitted(&self) -> bool {
        self.status == 200
    }

    const fn outcome(&self) -> &'static str {
        if self.is_admitted() { "admitted" } else { "refused" }
    }

    /// The seconds of `Retry-After`.
    fn wait(&self) -> String {
        self.retry_after.map_or_else(|| "-".into(), |seconds| seconds.to_string())
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

    async fn send_one(&self, call: &Call) -> Result<Answer> {
        Answer::to(self.request(call)?).await
    }

    /// Sends each row's call once and counts the admitted ones.
    async fn send_each(&self) -> Result<usize> {
        let mut admitted = 0;
        for row in matrix() {
            admitted += usize::from(self.send_one(&row.call).await?.is_admitted());
        }
        Ok(admitted)
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder> {
        let request = self.client.request(call.method.clone(), format!("{}{}", self.url, call.path));
        let request = request.header("auth", server::token(call.app)?);
        Ok(match call.account {
            Some(account) => request.header("accountId", account),
            None => request,
        })
    }

    /// The quotas of a rule, in short.
    fn quotas(&self, rule: &str) -> Result<String> {
        let decision = self.limiter.rule(rule)?.peek("anybody");
        let quotas: Vec<_> = decision.quotas().map(|quota| format!("{}/{}", quota.limit(), quota.name())).collect();
        Ok(quotas.join(" ").replace("minute", "min").replace("hour", "h"))
    }

    /// What a key has left.
    fn left(&self, rule: &str, key: &str) -> Result<String> {
        let decision = self.limiter.rule(rule)?.peek(key);
        let quotas = decision.quotas();
        let left = quotas.map(|quota| format!("{} of {} in the {}", quota.remaining(), quota.limit(), quota.name()));
        Ok(left.collect::<Vec<_>>().join(", "))
    }
}

impl Report {
    fn new() -> Self {
        Self { in_colour: std::io::stdout().is_terminal(), failures: Vec::new() }
    }

    fn heading(&self, text: &str) {
        println!("\n{}\n", self.painted(text, "1"));
    }

    fn columns(&self) {
        let columns = format!(
            "{:<23}  {:<15}  {:>10}  {:>6}  {:>11}  {:<9}  other route",
            "rule", "quotas", "admitted", "status", "Retry-After", "other key"
        );
        println!("{}", self.painted(&columns, "2"));
    }

    /// One line of the table, and all that it claims.
    fn row(&mut self, row: &Row, quotas: &str, answers: &[Answer], other_key: &Answer, other_route: &Answer) {
        let (admitted, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_admitted());
        let failures = self.failures.len();
        self.expect(&format!("{}: admitted", row.rule), admitted.len(), row.per_minute);
        self.expect(&format!("{}: status of another key", row.rule), other_key.status, 200);
        for refusal in refused.iter().copied().chain([other_route]) {
            self.expect_refusal(row.rule, refusal, MINUTE_MESSAGE, 60);
        }
        let colour = if self.failures.len() == failures { "32" } else { "31" };

        let line = format!(
            "{quotas:<15}  {:>10}  {:>6}  {:>11}  {:<9}  {}",
            format!("{} of {}", admitted.len(), answers.len()),
            refused.first().map_or_else(|| "-".into(), |refusal| refusal.status.to_string()),
            refused.first().map_or_else(|| "-".into(), |refusal| refusal.wait()),
            other_key.outcome(),
            other_route.outcome(),
        );
        println!("{:<23}  {}", row.rule, self.painted(&line, colour));
        let message = refused.first().and_then(|refusal| refusal.message.as_deref()).unwrap_or("no message");
        println!("  {}", self.painted(message, "2"));
    }

    fn line(&self, label: &str, text: &str) {
        println!("{}  {text}", self.painted(&format!("{label:<20}"), "2"));
    }

    /// A sentence too long to stand beside its label.
    fn quote(&self, label: &str, text: &str) {
        println!("{}\n  \"{text}\"", self.painted(label, "2"));
    }

    fn expect_refusal(&mut self, what: &str, refusal: &Answer, message: &str, retry_after: u64) {
        self.expect(&format!("{what}: status"), refusal.status, 429);
        self.expect(&format!("{what}: message"), refusal.message.as_deref(), Some(message));
        self.expect(&format!("{what}: Retry-After"), refusal.retry_after, Some(retry_after));
    }

    fn expect<T: Copy + PartialEq + Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.failures.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }

    fn conclude(&self) -> ExitCode {
        println!();
        if self.failures.is_empty() {
            println!("{}", self.painted("All as it should be.", "32"));
            return ExitCode::SUCCESS;
        }
        for failure in &self.failures {
            println!("{}", self.painted(failure, "31"));
        }
        ExitCode::FAILURE
    }

    fn painted(&self, text: &str, style: &str) -> String {
        if self.in_colour { format!("\u{1b}[{style}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
