//! What tonic's server has to know of the service, and what it knows of the peer.

use std::{error::Error, net::SocketAddr};

use http::Extensions;
use tonic::{Request, Status, metadata::MetadataMap, server::NamedService, transport::server::TcpConnectInfo};

use crate::{grpc::MessageLimit, service::RateLimit};

/// Lets `add_service` take a gRPC service behind the layer: it is found under the same name.
impl<S: NamedService, T> NamedService for RateLimit<S, T> {
    const NAME: &'static str = S::NAME;
}

impl<S: NamedService, T> NamedService for MessageLimit<S, T> {
    const NAME: &'static str = S::NAME;
}

/// What a handler is told when its stream of requests ends for want of room.
pub(crate) fn resource_exhausted(message: String) -> Option<Box<dyn Error + Send + Sync>> {
    Some(Status::resource_exhausted(message).into())
}

/// The address of the peer, if tonic's server accepted the connection.
///
/// Its connect info for TLS exists only with TLS features of tonic's. Whether somebody has turned one on, only tonic
/// knows, and it is asked by means of a request.
pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    match extensions.get::<TcpConnectInfo>() {
        Some(info) => info.remote_addr(),
        None if extensions.is_empty() => None,
        None => Request::from_parts(MetadataMap::new(), extensions.clone(), ()).remote_addr(),
    }
}
