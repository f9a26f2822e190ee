//! Streams that are opened and reset at once, by the thousand (A9, F25). It has a process of its own, whose memory is
//! measured.

use std::{cell::Cell, fs, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::Request;
use tokio::{
    net::TcpStream,
    sync::{Mutex, Semaphore, watch},
    task::JoinHandle,
};
use tonic::{Code, body::Body, transport::Server};
use tower::{Service, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, service_fn};
use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock, key};
use tower_quota_tests::echo::{Client, Echo, listen};

const FLOODERS: usize = 4;
/// How many streams a flooder has open at a time.
const WAVE: usize = 50;
/// More than all of them have open.
const PERMITS: usize = 256;
/// How many calls the neighbour makes in any case.
const AT_LEAST: u64 = 25;

/// One test at a time: the memory is everybody's.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The streams of each flooder that have come to the layer.
type Seen = [watch::Sender<u64>; FLOODERS];

/// A server, and what is known of it from within.
struct Site {
    address: SocketAddr,
    limit: u64,
    limiter: RateLimiter,
    seen: Arc<Seen>,
    permits: Arc<Semaphore>,
    echo: Echo,
}

impl Site {
    /// Serves the echo, and a method that never answers, to so many calls of each caller.
    fn serve(limit: u64) -> Self {
        let rule = Rule::new("calls").every_request().key(key::metadata("x-caller")).level("caller");
        let rule = rule.policy(Policy::per_hour(limit));
        let limiter = RateLimiter::builder().rule(rule).clock(ManualClock::new()).build().unwrap();
        let (seen, permits, echo) = (Arc::<Seen>::default(), Arc::new(Semaphore::new(PERMITS)), Echo::default());
        let (observed, echoing) = (Arc::clone(&seen), echo.clone());
        let stack = ServiceBuilder::new()
            .map_request(move |request: Request<Body>| {
                if let Some(number) = flooder(&request) {
                    observed[number].send_modify(|seen| *seen += 1);
                }
                request
            })
            .layer(limiter.layer())
            .layer(GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&permits)))
            .service(service_fn(move |request: Request<Body>| {
                let mut echoing = echoing.clone();
                async move {
                    if flooder(&request).is_some() {
                        std::future::pending::<()>().await;
                    }
                    echoing.call(request).await
                }
            }));
        let (address, incoming) = listen();
        tokio::spawn(Server::builder().serve_with_incoming(stack, incoming));
        Self { address, limit, limiter, seen, permits, echo }
    }

    fn seen(&self, number: usize) -> u64 {
        *self.seen[number].borrow()
    }

    fn used(&self, number: usize) -> u64 {
        let decision = self.limiter.rule("calls").unwrap().peek(format!("flooder-{number}"));
        let quota = decision.quotas().next().unwrap();
        quota.limit() - quota.remaining()
    }

    /// Opens and resets so many streams, while a neighbour is served; returns how many came to the layer.
    async fn flood(&self, streams: usize) -> u64 {
        let seen = || (0..FLOODERS).map(|number| self.seen(number)).sum::<u64>();
        let before = seen();
        let flooder = |number| async move { Flooder { site: self, number }.open_and_reset(streams / FLOODERS).await };
        let is_over = Cell::new(false);
        let flooders = async {
            tokio::join!(flooder(0), flooder(1), flooder(2), flooder(3));
            is_over.set(true);
        };
        let neighbour = async {
            let neighbour = Client::connect(self.address).await.with("x-caller", "neighbour");
            for _ in (0..self.limit).take_while(|call| *call < AT_LEAST || !is_over.get()) {
                assert_eq!(neighbour.code().await, Code::Ok, "the neighbour has a limit of its own");
            }
        };
        tokio::join!(flooders, neighbour);
        seen() - before
    }

    /// The last stream has been cleaned up, and all permits are back.
    async fn rests(&self) {
        let all_are_back = async {
            while self.permits.available_permits() < PERMITS {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), all_are_back).await;
        in_time.expect("streams that were reset have kept permits");
    }
}

fn flooder(request: &Request<Body>) -> Option<usize> {
    request.headers().get("x-caller")?.to_str().ok()?.strip_prefix("flooder-")?.parse().ok()
}

/// A client that opens streams to reset them.
struct Flooder<'a> {
    site: &'a Site,
    number: usize,
}

impl Flooder<'_> {
    /// On as many connections as it takes: a server closes one on which too much is reset too soon.
    async fn open_and_reset(&self, streams: usize) {
        let mut opened = 0;
        while opened < streams {
            let stream = TcpStream::connect(self.site.address).await.unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            let mut connection = tokio::spawn(async move { drop(connection.await) });
            for is_patient in [true, true, true, true, false].into_iter().cycle() {
                if opened >= streams || !self.wave(&requests, &mut connection, is_patient, &mut opened).await {
                    break;
                }
            }
            connection.abort();
        }
    }

    /// Opens a wave of streams, and resets them: once they have come to the layer, or as soon as they are on the wire.
    /// Says whether the connection is still good.
    async fn wave(
        &self,
        requests: &SendRequest<Bytes>,
        connection: &mut JoinHandle<()>,
        is_patient: bool,
        opened: &mut usize,
    ) -> bool {
        let mut arrivals = self.site.seen[self.number].subscribe();
        let all_have_come = *arrivals.borrow() + WAVE as u64;
        let mut streams = Vec::with_capacity(WAVE);
        for _ in 0..WAVE {
            let Ok(mut requests) = requests.clone().ready().await else { return false };
            let Ok(stream) = requests.send_request(self.request(), false) else { return false };
            *opened += 1;
            streams.push(stream);
        }
        if is_patient {
            tokio::select! {
                seen = arrivals.wait_for(|seen| *seen >= all_have_come) => drop(seen.unwrap()),
                _ = connection => return false,
            }
        } else {
            tokio::task::yield_now().await;
        }
        for (_, request) in &mut streams {
            request.send_reset(Reason::CANCEL);
        }
        true
    }

    fn request(&self) -> Request<()> {
        let uri = format!("http://{}/echo.Echo/Say", self.site.address);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        request.header("x-caller", format!("flooder-{}", self.number)).body(()).unwrap()
    }
}

/// What this process holds in memory, in KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux with /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

// There is one thread, so what was seen and what was charged are always read at one moment.

#[tokio::test]
async fn a_hundred_thousand_streams_that_are_reset_are_charged_and_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let site = Site::serve(1_000_000);
    let mut came = site.flood(20_000).await;
    site.rests().await;
    let early = resident();
    came += site.flood(80_000).await;
    site.rests().await;
    let grown = resident() - early;

    assert!(came >= 50_000, "most of them wait until they have come to the layer, and only {came} came");
    for number in 0..FLOODERS {
        assert_eq!(site.used(number), site.seen(number));
    }
    assert!(site.echo.calls() > 100, "the neighbour was served {} times", site.echo.calls());
    assert_eq!(site.limiter.len(), FLOODERS + 1);
    assert!(grown < 8 * 1024, "{grown} KiB more after 80,000 more streams");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_before_they_take_a_permit_and_cost_nothing() {
    let _alone = ALONE.lock().await;
    let site = Site::serve(AT_LEAST);
    let came = site.flood(4_000).await;
    site.rests().await;
    assert!(came >= 2_000, "{came}");
    for number in 0..FLOODERS {
        assert_eq!(site.used(number), AT_LEAST);
    }
    assert_eq!(site.echo.calls(), AT_LEAST as usize);
}
