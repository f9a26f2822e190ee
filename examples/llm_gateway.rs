//! A gateway of a language model: requests and tokens per key, tokens per organisation, and answers that stream.
//!
//! ```sh
//! cargo run --example llm_gateway
//! ```
//!
//! How many tokens an answer has is known when it has ended. So each request *reserves* what it may cost at most, the handler
//! notes what it has cost so far, and the end of the response settles it, however that comes: the rest of the estimate is
//! given back, and tokens beyond the estimate are owed. All rules of a request are decided in one atomic step.
//!
//! Real clients call the gateway over TCP. One hangs up in the middle, one has an answer that is much longer than its estimate,
//! and thirty come at once. The limiter runs on a manual clock, which this program moves, and so does the model, which
//! writes only as far as this program lets it. The example ends by itself, with an error if a figure is wrong.

use std::{convert::Infallible, error::Error, fmt::Debug, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use futures_util::{Stream, stream};
use reqwest::Client;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tower_quota::{
    ConfigError, Policy, RateLimiter, Reservation, Rule, Unsettled, clock::ManualClock, http::RequestView, key,
};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const SECOND: Duration = Duration::from_secs(1);

/// Who calls. A real gateway looks up the API key.
#[derive(Clone)]
struct Account {
    key: String,
    organisation: &'static str,
}

/// What a request asks for. A real gateway reads it from the body, and counts the tokens of the prompt.
#[derive(Clone, Copy)]
struct Prompt {
    tokens: u64,
    /// The longest answer that the caller wants.
    max_tokens: u64,
    /// The length of the answer that the model is going to write. Some models do not stop in time.
    answer_tokens: u64,
}

/// The model, which writes one chunk for each permit.
#[derive(Clone)]
struct Model {
    permits: Arc<Semaphore>,
    /// Is told of each answer that nobody writes any more.
    ended: mpsc::UnboundedSender<()>,
}

/// An answer that is being written.
struct Answer {
    model: Model,
    reservation: Reservation,
    prompt: Prompt,
    written: u64,
}

const CHUNK: u64 = 100;

fn rule(name: &str) -> Rule {
    Rule::new(name).routes(["POST /chat"])
}

/// Returns the most that a request may cost.
fn estimate(request: &RequestView<'_>) -> u64 {
    request.extensions().get::<Prompt>().map_or(2000, |prompt| prompt.tokens + prompt.max_tokens)
}

fn limiter(clock: ManualClock) -> Result<RateLimiter, ConfigError> {
    let by_key = || key::claim(|account: &Account| &account.key);
    let by_organisation = key::claim(|account: &Account| account.organisation);
    let requests = rule("requests").key(by_key()).level("key").policy(Policy::per_minute(60));
    let tokens = rule("tokens").key(by_key()).level("key").policy(Policy::per_minute(20_000).and_per_day(100_000));
    let shared = rule("shared").key(by_organisation).level("organisation").policy(Policy::per_minute(50_000));
    RateLimiter::builder()
        .rule(requests)
        .rule(tokens.reserve("tokens", estimate).unsettled(Unsettled::Observed))
        .rule(shared.reserve("tokens", estimate).unsettled(Unsettled::Observed))
        .clock(clock)
        .build()
}

/// Puts the account and the prompt where the limiter and the handler read them.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let (Some(account), Some(prompt)) = (account(request.headers()), prompt(request.headers())) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.extensions_mut().insert(account);
    request.extensions_mut().insert(prompt);
    next.run(request).await
}

fn account(headers: &HeaderMap) -> Option<Account> {
    let key = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
    let organisation = if key == "carl" { "globex" } else { "acme" };
    Some(Account { key, organisation })
}

fn prompt(headers: &HeaderMap) -> Option<Prompt> {
    let mut numbers = headers.get("x-prompt")?.to_str().ok()?.split(' ').map_while(|number| number.parse().ok());
    Some(Prompt { tokens: numbers.next()?, max_tokens: numbers.next()?, answer_tokens: numbers.next()? })
}

/// Streams the answer. The limiter's layer is the reason why there is a reservation.
async fn chat(
    Extension(model): Extension<Model>,
    Extension(prompt): Extension<Prompt>,
    Extension(reservation): Extension<Reservation>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    reservation.observe("tokens", prompt.tokens);
    let answer = Answer { model, reservation, prompt, written: 0 };
    Sse::new(stream::unfold(answer, |mut answer| async {
        let event = answer.next_event().await?;
        Some((Ok(event), answer))
    }))
}

impl Answer {
    /// Writes the next chunk when the model is let, and the true cost at the end.
    async fn next_event(&mut self) -> Option<Event> {
        if self.written == self.prompt.answer_tokens {
            let total = self.prompt.tokens + self.written;
            // The clients are told by the model itself; nobody has to be told twice.
            self.reservation.settle("tokens", total);
            return None;
        }
        self.model.permits.acquire().await.ok()?.forget();
        let tokens = CHUNK.min(self.prompt.answer_tokens - self.written);
        self.written += tokens;
        self.reservation.observe_more("tokens", tokens);
        Some(Event::default().data(format!("{tokens} tokens")))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let _ = self.model.ended.send(());
    }
}

/// The gateway as its clients see it, and what this program holds of it.
struct Gateway {
    url: String,
    client: Client,
    limiter: RateLimiter,
    clock: ManualClock,
    permits: Arc<Semaphore>,
    ended: mpsc::UnboundedReceiver<()>,
}

impl Gateway {
    async fn start() -> Result<Self> {
        let clock = ManualClock::new();
        let (limiter, permits) = (limiter(clock.clone())?, Arc::new(Semaphore::new(0)));
        let (sender, ended) = mpsc::unbounded_channel();
        let model = Model { permits: Arc::clone(&permits), ended: sender };
        // A layer that is added later is further out.
        let app = Router::new().route("/chat", post(chat)).layer(limiter.layer()).layer(Extension(model));
        let app = app.layer(middleware::from_fn(authenticate));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/chat", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        // No connection is kept: a response that is dropped is a caller that hangs up.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self { url, client, limiter, clock, permits, ended })
    }

    /// Sends a prompt of these tokens, with the longest answer that is wanted, and the length of the one that comes.
    async fn send(&self, key: &str, tokens: u64, max_tokens: u64, answer_tokens: u64) -> Result<reqwest::Response> {
        let prompt = format!("{tokens} {max_tokens} {answer_tokens}");
        let request = self.client.post(&self.url).bearer_auth(key).header("x-prompt", prompt);
        let response = request.send().await?;
        println!("  {key}: {}", response.status());
        for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
            if let Some(value) = response.headers().get(name) {
                println!("    {name}: {}", value.to_str()?);
            }
        }
        Ok(response)
    }

    /// Lets the model write so many chunks.
    fn write(&self, chunks: usize) {
        self.permits.add_permits(chunks);
    }

    /// Returns what is left of the minute and the day of a key, and of the minute of its organisation.
    fn left(&self, key: &str, organisation: &str) -> Result<[u64; 3]> {
        let (tokens, shared) =
            (self.limiter.rule("tokens")?.peek(key), self.limiter.rule("shared")?.peek(organisation));
        let left: Vec<u64> = tokens.quotas().chain(shared.quotas()).map(|quota| quota.remaining()).collect();
        println!("  left: {} this minute, {} this day; {organisation}: {} this minute", left[0], left[1], left[2]);
        Ok([left[0], left[1], left[2]])
    }

    /// Returns the seconds for which a key is in debt: until then it is refused whatever a request costs.
    fn debt_drains_in(&self, key: &str) -> Result<u64> {
        let nothing = self.limiter.rule("tokens")?.peek_cost(key, 0)?;
        let seconds = nothing.retry_after().unwrap_or_default().as_secs();
        println!("  the debt of {key} drains in {seconds} s");
        Ok(seconds)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut gateway = Gateway::start().await?;
    short_answer(&mut gateway).await?;
    hung_up(&mut gateway).await?;
    long_answer(&mut gateway).await?;
    at_once(&mut gateway).await?;
    too_large(&gateway).await
}

async fn short_answer(gateway: &mut Gateway) -> Result<()> {
    println!("Ann asks 500 tokens and wants 1500 at most, so 2000 are reserved. The answer has 300:");
    let response = gateway.send("ann", 500, 1500, 300).await?;
    let expected = "\"requests/minute\";r=59;t=60, \"tokens/minute\";r=18000;t=60, \"tokens/day\";r=98000;t=86400, \
                    \"shared/minute\";r=48000;t=60";
    expect("the fields", response.headers()["ratelimit"].to_str()?, expected)?;
    let policy = "\"requests/minute\";q=60;w=60, \"tokens/minute\";q=20000;qu=\"tokens\";w=60, \
                  \"tokens/day\";q=100000;qu=\"tokens\";w=86400, \"shared/minute\";q=50000;qu=\"tokens\";w=60";
    expect("the policy", response.headers()["ratelimit-policy"].to_str()?, policy)?;
    gateway.write(3);
    expect("the events", response.text().await?.matches("data: 100 tokens").count(), 3)?;
    gateway.ended.recv().await;
    expect("what is left", gateway.left("ann", "acme")?, [19_200, 99_200, 49_200])
}

async fn hung_up(gateway: &mut Gateway) -> Result<()> {
    println!("Ann asks the same again, and hangs up after 200 tokens. What has been written counts:");
    let mut response = gateway.send("ann", 500, 1500, 1500).await?;
    gateway.write(2);
    let mut read = String::new();
    while read.matches("data: ").count() < 2 {
        read.push_str(&String::from_utf8_lossy(&response.chunk().await?.ok_or("the stream has ended")?));
    }
    drop(response);
    // On one thread, the response has been settled when the answer is dropped.
    gateway.ended.recv().await;
    expect("what is left", gateway.left("ann", "acme")?, [18_500, 98_500, 48_500])
}

async fn long_answer(gateway: &mut Gateway) -> Result<()> {
    println!("Bob wants 1000 tokens, and ten seconds later the model has written 25,000:");
    let response = gateway.send("bob", 1000, 1000, 25_000).await?;
    gateway.clock.advance(SECOND * 10);
    gateway.write(250);
    response.text().await?;
    gateway.ended.recv().await;
    expect("what is left", gateway.left("bob", "acme")?, [0, 74_000, 22_500])?;
    expect("the debt", gateway.debt_drains_in("bob")?, 60)?;
    let refused = gateway.send("bob", 1, 1, 1).await?;
    expect("the status", refused.status().as_u16(), 429)?;
    expect("the wait", refused.headers()["retry-after"].to_str()?, "60")?;

    println!("50 seconds later the estimate has left the minute, and the 24,000 beyond it have not:");
    gateway.clock.advance(SECOND * 50);
    expect("what is left", gateway.left("bob", "acme")?, [0, 74_000, 26_000])?;
    expect("the debt", gateway.debt_drains_in("bob")?, 10)?;
    println!("10 seconds later the debt has drained:");
    gateway.clock.advance(SECOND * 10);
    expect("the debt", gateway.debt_drains_in("bob")?, 0)?;
    expect("what is left", gateway.left("bob", "acme")?, [20_000, 74_000, 50_000])?;
    let response = gateway.send("bob", 100, 100, 100).await?;
    gateway.write(1);
    response.text().await?;
    gateway.ended.recv().await;
    expect("what is left", gateway.left("bob", "acme")?, [19_800, 73_800, 49_800])
}

async fn at_once(gateway: &mut Gateway) -> Result<()> {
    println!("Carl sends thirty requests of 4000 tokens at once. 20,000 have room for five:");
    let mut requests = JoinSet::new();
    for _ in 0..30 {
        let request = gateway.client.post(&gateway.url).bearer_auth("carl").header("x-prompt", "3000 1000 100");
        requests.spawn(request.send());
    }
    let mut admitted = Vec::new();
    while let Some(response) = requests.join_next().await {
        admitted.extend(Some(response??).filter(|response| response.status() == StatusCode::OK));
    }
    println!("  {} are admitted", admitted.len());
    expect("the admitted", admitted.len(), 5)?;
    expect("what is left", gateway.left("carl", "globex")?, [0, 80_000, 30_000])?;
    println!("Their answers are shorter, so there is room again:");
    gateway.write(5);
    for response in admitted {
        response.text().await?;
        gateway.ended.recv().await;
    }
    expect("what is left", gateway.left("carl", "globex")?, [4500, 84_500, 34_500])
}

async fn too_large(gateway: &Gateway) -> Result<()> {
    println!("No minute has room for 20,001 tokens, however long one waits:");
    let refused = gateway.send("dora", 1, 20_000, 1).await?;
    expect("the status", refused.status().as_u16(), 413)?;
    expect("that no wait is told", refused.headers().contains_key("retry-after"), false)?;
    let text = refused.text().await?;
    println!("    {text}");
    let sentence = "This request costs 20001 tokens; at most 20000 are admitted per minute.";
    expect("the sentence", text.contains(sentence), true)
}

/// Fails if a figure is not as it has to be.
#[expect(clippy::needless_pass_by_value, reason = "calls read better without references")]
fn expect<T: PartialEq + Debug>(what: &str, is: T, expected: T) -> Result<()> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?}, not {expected:?}").into()) }
}
