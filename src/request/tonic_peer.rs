//! The peer's address as tonic's server tells it.

use std::net::SocketAddr;

use http::Extensions;
use tonic::{Request, metadata::MetadataMap, transport::server::TcpConnectInfo};

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
