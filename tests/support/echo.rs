//! The gRPC service `echo.Echo`, and a client of it, without generated code: its messages are texts.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use http_body::Body as HttpBody;
use tokio_stream::{Stream, StreamExt};
use tonic::{
    Code, IntoRequest, IntoStreamingRequest, Request, Response, Status, Streaming,
    body::Body,
    client::Grpc as ClientGrpc,
    metadata::MetadataMap,
    server::{Grpc as ServerGrpc, NamedService},
    transport::{Channel, Endpoint, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

/// The four kinds of methods that gRPC has.
pub const METHODS: [&str; 4] = ["Say", "Many", "Collect", "Talk"];

type Codec = ProstCodec<String, String>;
type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// The service. Its clones share the count of calls.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    calls: Arc<AtomicUsize>,
}

impl Echo {
    /// How many calls have reached it.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "echo.Echo";
}

impl<B> Service<http::Request<B>> for Echo
where
    B: HttpBody + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let mut grpc = ServerGrpc::new(Codec::default());
            Ok(match request.uri().path() {
                "/echo.Echo/Say" => grpc.unary(service_fn(say), request).await,
                "/echo.Echo/Many" => grpc.server_streaming(service_fn(many), request).await,
                "/echo.Echo/Collect" => grpc.client_streaming(service_fn(collect), request).await,
                "/echo.Echo/Talk" => grpc.streaming(service_fn(talk), request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

/// Gives back what it is given.
async fn say(request: Request<String>) -> Result<Response<String>, Status> {
    Ok(Response::new(request.into_inner()))
}

/// Gives the words one by one.
async fn many(request: Request<String>) -> Result<Response<Texts>, Status> {
    let words: Vec<_> = request.into_inner().split(' ').map(|word| Ok(word.to_owned())).collect();
    Ok(Response::new(Box::pin(tokio_stream::iter(words))))
}

/// Makes one text of all words.
async fn collect(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let words: Result<Vec<_>, _> = request.into_inner().collect().await;
    Ok(Response::new(words?.join(" ")))
}

/// Gives back each text as it comes.
async fn talk(request: Request<Streaming<String>>) -> Result<Response<Texts>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

/// A place to listen, on a port of its own.
pub fn listen() -> (SocketAddr, TcpIncoming) {
    let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).unwrap().with_nodelay(Some(true));
    (incoming.local_addr().unwrap(), incoming)
}

/// A client of the service, which says the same about itself in each call.
#[derive(Clone, Debug)]
pub struct Client {
    grpc: ClientGrpc<Channel>,
    metadata: MetadataMap,
}

impl Client {
    /// On a connection of its own.
    pub async fn connect(server: SocketAddr) -> Self {
        Self::connect_from([127, 0, 0, 1], server).await
    }

    /// On a connection of its own, from an address of this machine.
    pub async fn connect_from(address: [u8; 4], server: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
        let channel = endpoint.local_address(Some(address.into())).connect().await.unwrap();
        Self { grpc: ClientGrpc::new(channel), metadata: MetadataMap::new() }
    }

    /// The same connection, with another text of metadata.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.append(name, value.parse().unwrap());
        self
    }

    /// The same connection, with this metadata as it goes over the wire.
    pub fn with_header(self, name: &'static str, value: &[u8]) -> Self {
        let mut headers = self.metadata.into_headers();
        headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
        Self { metadata: MetadataMap::from_headers(headers), ..self }
    }

    pub async fn say(&self, text: &str) -> Result<String, Status> {
        self.respond_to(text).await.map(Response::into_inner)
    }

    /// [`say`](Self::say), with the metadata that comes back.
    pub async fn respond_to(&self, text: &str) -> Result<Response<String>, Status> {
        self.ready().await?.unary(self.request(text.to_owned()), path("Say"), Codec::default()).await
    }

    pub async fn many(&self, text: &str) -> Result<Vec<String>, Status> {
        let request = self.request(text.to_owned());
        let response = self.ready().await?.server_streaming(request, path("Many"), Codec::default()).await?;
        response.into_inner().collect().await
    }

    pub async fn collect(&self, text: &str) -> Result<String, Status> {
        let request = self.request(words(text)).into_streaming_request();
        let response = self.ready().await?.client_streaming(request, path("Collect"), Codec::default()).await?;
        Ok(response.into_inner())
    }

    /// Begins to talk; what comes back are the same texts.
    pub async fn talk(&self, texts: impl Stream<Item = String> + Send + 'static) -> Result<Streaming<String>, Status> {
        let response = self.ready().await?.streaming(self.request(texts), path("Talk"), Codec::default()).await?;
        Ok(response.into_inner())
    }

    /// Calls a method of [`METHODS`] with a text of several words, and puts together what comes back.
    pub async fn call(&self, method: &str, text: &str) -> Result<String, Status> {
        match method {
            "Say" => self.say(text).await,
            "Many" => Ok(self.many(text).await?.join(" ")),
            "Collect" => self.collect(text).await,
            "Talk" => {
                let texts: Result<Vec<String>, Status> = self.talk(words(text)).await?.collect().await;
                Ok(texts?.join(" "))
            }
            _ => Err(Status::unimplemented(method)),
        }
    }

    /// How many of so many calls in a row are admitted; the others are refused for want of quota.
    pub async fn admitted_of(&self, calls: usize) -> usize {
        let mut admitted = 0;
        for _ in 0..calls {
            admitted += usize::from(self.code().await == Code::Ok);
        }
        admitted
    }

    /// What becomes of one call.
    pub async fn code(&self) -> Code {
        self.say("anything").await.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = message.into_request();
        *request.metadata_mut() = self.metadata.clone();
        request
    }

    async fn ready(&self) -> Result<ClientGrpc<Channel>, Status> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/echo.Echo/{method}").parse().unwrap()
}

fn words(text: &str) -> impl Stream<Item = String> + Send + 'static {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    tokio_stream::iter(words)
}
