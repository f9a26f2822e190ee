//! Reservations behind a hyper server on a real socket: a response ends there in more ways than one.
//!
//! All of a test runs on one thread: what a signal tells has been done when the test receives it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service, service_fn};
use tower_quota::{Policy, RateLimiter, Reservation, Unsettled, http::ResponseBody};
use tower_quota_tests::limiter::{frozen, remaining, rule};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxBody = UnsyncBoxBody<Bytes, Infallible>;

/// Serves both versions of HTTP on a port of its own for as long as the test runs.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<ResponseBody<B>>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = Builder::new(TokioExecutor::new());
                let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                // The panic of a handler ends its connection. Nobody has to read of it.
                drop(AssertUnwindSafe(served).catch_unwind().await);
            });
        }
    });
    address
}

/// A service whose responses are those of the paths, each of which observes 7 tokens of the 100 that it has reserved.
#[derive(Clone, Debug)]
struct Chat {
    events: UnboundedSender<&'static str>,
}

/// Says when it is dropped.
struct Signal(UnboundedSender<&'static str>, &'static str);

impl Drop for Signal {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

/// A body that says when it is dropped. What settles a request goes in the same moment.
struct Signaling<B> {
    body: B,
    _signal: Signal,
}

impl<B: Body + Unpin> Body for Signaling<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Server-sent events that never end.
fn endless() -> StreamBody<UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>> {
    let (sender, frames) = unbounded_channel();
    sender.send(Ok(Frame::data(Bytes::from_static(b"data: hello\n\n")))).unwrap();
    // It stays open.
    std::mem::forget(sender);
    StreamBody::new(UnboundedReceiverStream::new(frames))
}

impl Chat {
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
        request.extensions().get::<Reservation>().unwrap().observe("tokens", 7);
        let _leaving = Signal(self.events.clone(), "left");
        let response =
            |content_type, body| Response::builder().header("content-type", content_type).body(body).unwrap();
        Ok(match request.uri().path() {
            "/text" => response("text/plain", self.body(Full::from("text"))),
            "/json" => response("application/json", self.body(Full::from("{}"))),
            "/empty" => response("text/plain", self.body(Empty::new())),
            "/no-content" => Response::builder().status(204).body(self.body(Full::from(""))).unwrap(),
            "/upgrade" | "/taken" => {
                let reservation = request.extensions().get::<Reservation>().unwrap();
                let taken = (request.uri().path() == "/taken").then(|| reservation.take());
                let (upgrade, events) = (hyper::upgrade::on(&mut request), self.events.clone());
                tokio::spawn(async move {
                    let mut stream = TokioIo::new(upgrade.await.unwrap());
                    let _ = events.send("upgraded");
                    stream.read_to_end(&mut Vec::new()).await.unwrap();
                    drop(taken);
                    let _ = events.send("closed");
                });
                let switching =
                    Response::builder().status(101).header("connection", "upgrade").header("upgrade", "echo");
                switching.body(self.body(Empty::new())).unwrap()
            }
            "/stream" => response("text/event-stream", self.body(endless())),
            "/never" => {
                let _ = self.events.send("begun");
                std::future::pending().await
            }
            _ => std::panic::resume_unwind(Box::new("a handler panics, and the hook is not told")),
        })
    }

    fn body<B>(&self, body: B) -> BoxBody
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
    {
        Signaling { body, _signal: Signal(self.events.clone(), "body dropped") }.boxed_unsync()
    }
}

/// A limiter of a thousand tokens a minute, and a server behind it.
async fn chat() -> (RateLimiter, SocketAddr, UnboundedReceiver<&'static str>) {
    let rule = rule("tokens", Policy::per_minute(1000)).reserve("tokens", 100).unsettled(Unsettled::Observed);
    let (limiter, (events, receiver)) = (frozen([rule]), unbounded_channel());
    let chat = Chat { events };
    let service = limiter.layer().layer(service_fn(move |request| chat.clone().answer(request)));
    let address = serve(service).await;
    (limiter, address, receiver)
}

fn left(limiter: &RateLimiter) -> u64 {
    remaining(&limiter.rule("tokens").unwrap().peek("everybody"))[0]
}

async fn wait_for(event: &str, events: &mut UnboundedReceiver<&'static str>) {
    while events.recv().await.unwrap() != event {}
}

/// A connection, and the response to one request over it.
async fn send(server: SocketAddr, version: Version, method: Method, path: &str) -> hyper::Result<Response<Incoming>> {
    let request = Request::builder().method(method).uri(format!("http://{server}{path}")).header("host", "a");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let io = TokioIo::new(TcpStream::connect(server).await.unwrap());
    if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await
    }
}

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

#[tokio::test]
async fn a_response_that_is_read_to_its_end_is_settled_whatever_its_body() {
    for version in VERSIONS {
        let (limiter, server, mut events) = chat().await;
        let mut before = 1000;
        for (method, path, text) in [
            (Method::GET, "/text", "text"),
            (Method::GET, "/json", "{}"),
            (Method::GET, "/empty", ""),
            (Method::GET, "/no-content", ""),
            (Method::HEAD, "/text", ""),
            (Method::HEAD, "/empty", ""),
        ] {
            if version == Version::HTTP_2 && (&method, path) == (&Method::HEAD, "/text") {
                // There hyper leaves it to the service to answer without a body.
                continue;
            }
            let response = send(server, version, method.clone(), path).await.unwrap();
            let fields = format!("\"minute\";r={};t=60", before - 100);
            assert_eq!(response.headers()["ratelimit"], fields, "{method} {path}");
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
            wait_for("body dropped", &mut events).await;
            before -= 7;
            assert_eq!(left(&limiter), before, "{version:?} {method} {path}");
        }
    }
}

#[tokio::test]
async fn a_stream_of_events_that_is_cut_in_the_middle_is_settled() {
    for version in VERSIONS {
        let (limiter, server, mut events) = chat().await;
        let response = send(server, version, Method::GET, "/stream").await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: hello\n\n");
        assert_eq!(left(&limiter), 900);
        // The only handle of the connection: HTTP/1 is closed, and a stream of HTTP/2 is reset.
        drop(body);
        wait_for("body dropped", &mut events).await;
        assert_eq!(left(&limiter), 993, "{version:?}");
    }
}

#[tokio::test]
async fn a_stream_that_http_2_resets_is_settled_and_the_others_of_its_connection_go_on() {
    let (limiter, server, mut events) = chat().await;
    let io = TcpStream::connect(server).await.unwrap();
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = || Request::get(format!("http://{server}/stream")).body(()).unwrap();
    let (first, mut reset) = client.send_request(request(), true).unwrap();
    let (second, _) = client.send_request(request(), true).unwrap();
    let (first, mut second) = (first.await.unwrap().into_body(), second.await.unwrap().into_body());
    assert_eq!(left(&limiter), 800);
    reset.send_reset(h2::Reason::CANCEL);
    wait_for("body dropped", &mut events).await;
    assert_eq!(left(&limiter), 893);
    assert_eq!(second.data().await.unwrap().unwrap(), "data: hello\n\n");
    drop((first, second));
    wait_for("body dropped", &mut events).await;
    assert_eq!(left(&limiter), 986);
}

/// What goes on is no response. A handler that wants to settle it later takes the reservation.
#[tokio::test]
async fn an_upgrade_is_settled_with_its_head_unless_the_reservation_is_taken() {
    for (path, at_the_head, at_the_end) in [("/upgrade", 993, 993), ("/taken", 900, 993)] {
        let (limiter, server, mut events) = chat().await;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(TcpStream::connect(server).await.unwrap())).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = Request::get(path).header("host", "a").header("connection", "upgrade").header("upgrade", "echo");
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 101);
        wait_for("upgraded", &mut events).await;
        assert_eq!(left(&limiter), at_the_head, "{path}");
        drop(hyper::upgrade::on(response).await.unwrap());
        wait_for("closed", &mut events).await;
        assert_eq!(left(&limiter), at_the_end, "{path}");
    }
}

#[tokio::test]
async fn a_client_that_has_gone_before_the_answer_is_settled() {
    for version in VERSIONS {
        let (limiter, server, mut events) = chat().await;
        let request = tokio::spawn(send(server, version, Method::GET, "/never"));
        wait_for("begun", &mut events).await;
        assert_eq!(left(&limiter), 900);
        request.abort();
        wait_for("left", &mut events).await;
        assert_eq!(left(&limiter), 993, "{version:?}");
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_settled() {
    for version in VERSIONS {
        let (limiter, server, mut events) = chat().await;
        assert!(send(server, version, Method::GET, "/panic").await.is_err());
        wait_for("left", &mut events).await;
        // The future may be dropped after the handler's frame is.
        tokio::task::yield_now().await;
        assert_eq!(left(&limiter), 993, "{version:?}");
    }
}

#[test]
fn a_runtime_that_ends_settles_what_it_was_answering() {
    for version in VERSIONS {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limiter = runtime.block_on(async {
            let (limiter, server, mut events) = chat().await;
            let mut stream = send(server, version, Method::GET, "/stream").await.unwrap().into_body();
            stream.frame().await.unwrap().unwrap();
            let mut waiting = pin!(send(server, version, Method::GET, "/never"));
            while events.try_recv() != Ok("begun") {
                assert!((&mut waiting).now_or_never().is_none());
                tokio::task::yield_now().await;
            }
            assert_eq!(left(&limiter), 800);
            std::mem::forget(stream);
            limiter
        });
        runtime.shutdown_timeout(Duration::ZERO);
        assert_eq!(left(&limiter), 986, "{version:?}");
    }
}

#[tokio::test]
async fn thirty_requests_at_once_of_four_thousand_tokens_admit_five_of_twenty_thousand() {
    let limiter = frozen([rule("tokens", Policy::per_minute(20_000)).reserve("tokens", 4000)]);
    let inner =
        service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("text"))));
    let server = serve(limiter.layer().layer(inner)).await;
    let mut requests = JoinSet::new();
    for number in 0..30 {
        requests.spawn(async move {
            let response = send(server, VERSIONS[number % 2], Method::GET, "/").await.unwrap();
            let status = response.status();
            response.into_body().collect().await.unwrap();
            status
        });
    }
    let statuses = requests.join_all().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 5);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 25);
    assert_eq!(left(&limiter), 0);
}
