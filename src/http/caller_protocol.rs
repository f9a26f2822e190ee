//! In which protocol callers are answered.

use crate::{grpc::Protocol, request::RequestView};

/// In which protocol callers are answered whose requests go no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallerProtocol {
    /// In gRPC if the request is a POST of the type `application/grpc` or gRPC-Web, and else in HTTP. That is right on a port
    /// that serves both, and wherever callers say what they are.
    #[default]
    ByContentType,
    /// In HTTP, whatever the request claims to be.
    Http,
    /// In gRPC or gRPC-Web, whatever the request claims to be.
    Grpc,
}

impl CallerProtocol {
    pub(crate) fn of<'a>(self, request: &RequestView<'a>) -> Protocol<'a> {
        match (self, Protocol::of(request)) {
            (Self::Http, _) => Protocol::Http,
            (Self::Grpc, Protocol::Http) => Protocol::Grpc,
            (Self::ByContentType | Self::Grpc, claimed) => claimed,
        }
    }
}
