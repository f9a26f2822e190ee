//! Many calls at once, and what became of them.

use std::{net::SocketAddr, time::Duration};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::Instant};
use tower::{BoxError, Service, ServiceExt};
use tower_quota::client::pace::Pacer;

use crate::{advice, progress::Progress};

/// Calls to a server, all at once.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    address: SocketAddr,
    calls: u32,
    is_retried: bool,
}

/// What became of them.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) served: u32,
    pub(crate) refused: u32,
    pub(crate) time: Duration,
}

/// hyper's client, as it is.
pub(crate) fn client() -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

impl Batch {
    pub(crate) const fn new(address: SocketAddr, calls: u32) -> Self {
        Self { address, calls, is_retried: false }
    }

    /// The same, where refused calls are repeated when the server says.
    pub(crate) const fn retried(self) -> Self {
        Self { is_retried: true, ..self }
    }

    /// Makes all calls, on an account that is called after the batch, and shows how it goes.
    pub(crate) async fn run<S>(&self, name: &'static str, client: S, pacer: Option<Pacer>) -> Result<Row, BoxError>
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let (begin, mut progress) = (Instant::now(), Progress::begin(name, pacer));
        let mut calls: JoinSet<_> = (0..self.calls).map(|_| self.call(name, client.clone())).collect();
        let mut row = Row { name, served: 0, refused: 0, time: Duration::ZERO };
        let mut done = 0;
        while done < self.calls {
            tokio::select! {
                Some(call) = calls.join_next() => {
                    let (is_served, refused) = call??;
                    done += 1;
                    row.served += u32::from(is_served);
                    row.refused += refused;
                }
                () = progress.tick() => progress.show(done),
            }
        }
        progress.end();
        Ok(Row { time: begin.elapsed(), ..row })
    }

    /// Makes one call, or as many as it takes. Says whether it was served, and how often it was refused.
    fn call<S>(
        &self,
        account: &'static str,
        client: S,
    ) -> impl Future<Output = Result<(bool, u32), BoxError>> + Send + use<S>
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let Self { address, is_retried, .. } = *self;
        async move {
            let mut refused = 0;
            loop {
                let request =
                    Request::get(format!("http://{address}/")).header("account", account).body(Empty::new())?;
                let (answer, body) = client.clone().oneshot(request).await.map_err(Into::into)?.into_parts();
                body.collect().await?;
                if answer.status != StatusCode::TOO_MANY_REQUESTS {
                    return Ok((true, refused));
                }
                refused += 1;
                if !is_retried {
                    return Ok((false, refused));
                }
                tokio::time::sleep(advice(answer.status, &answer.headers).wait_time().unwrap_or_default()).await;
            }
        }
    }
}
