//! A batch of calls, and its result.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper_util::{
    client::legacy::{self, Client},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::Instant};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::BoxCloneService};
use tower_quota::client::pace::PaceHandle;

use crate::progress::Progress;

/// Calls to one server, all at once.
pub(crate) struct Batch {
    address: SocketAddr,
    calls: u32,
    refused: Arc<AtomicU32>,
}

/// A client that counts refusals.
pub(crate) type Counted<B> = BoxCloneService<Request<B>, Response<Incoming>, legacy::Error>;

/// The result of a batch: one row of the table.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) served: u32,
    pub(crate) refused: u32,
    pub(crate) time: Duration,
}

impl Batch {
    pub(crate) fn new(address: SocketAddr, calls: u32) -> Self {
        Self { address, calls, refused: Arc::default() }
    }

    /// Returns hyper's client, wrapped to count the refusals of this batch.
    pub(crate) fn client<B>(&self) -> Counted<B>
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let refused = Arc::clone(&self.refused);
        let count = move |answer: Response<Incoming>| {
            refused.fetch_add(u32::from(answer.status() == StatusCode::TOO_MANY_REQUESTS), Ordering::Relaxed);
            answer
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        BoxCloneService::new(ServiceBuilder::new().map_response(count).service(client))
    }

    /// Makes all calls, on an account named after the batch, and shows the progress.
    pub(crate) async fn run<S>(
        &self,
        name: &'static str,
        client: S,
        handle: Option<PaceHandle>,
    ) -> Result<Row, BoxError>
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error: Into<BoxError>>
            + Clone
            + Send
            + 'static,
        S::Future: Send,
    {
        let (begin, mut progress) = (Instant::now(), Progress::begin(name, handle));
        self.refused.store(0, Ordering::Relaxed);
        let mut calls: JoinSet<_> = (0..self.calls).map(|_| call(self.address, name, client.clone())).collect();
        let (mut done, mut served) = (0, 0);
        while done < self.calls {
            tokio::select! {
                Some(call) = calls.join_next() => {
                    done += 1;
                    served += u32::from(call??);
                }
                () = progress.tick() => progress.show(done),
            }
        }
        progress.end();
        Ok(Row { name, served, refused: self.refused.load(Ordering::Relaxed), time: begin.elapsed() })
    }
}

/// Makes one call. Returns true if it was served in the end.
async fn call<S>(address: SocketAddr, account: &'static str, client: S) -> Result<bool, BoxError>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error: Into<BoxError>>,
{
    let request = Request::get(format!("http://{address}/")).header("account", account).body(Empty::new())?;
    let (answer, body) = client.oneshot(request).await.map_err(Into::into)?.into_parts();
    body.collect().await?;
    Ok(answer.status.is_success())
}
