//! Requests as rules and extractors see them.
//!
//! * [`RequestKind`]: what a limiter decides about.
//! * [`Http`]: requests of the `http` crate, which are seen as a [`RequestView`].
//! * [`Plain`]: requests of any other type, which are seen as they are.
//! * [`Params`]: the parameters of the route that a request has matched.

mod http;
mod kind;
mod params;
mod plain;
#[cfg(feature = "tonic")]
mod tonic_peer;
mod view;

pub use http::Http;
pub use kind::RequestKind;
pub use plain::Plain;
pub use view::{PeerAddr, RequestView};

pub(crate) use kind::{Condition, sealed::Sealed};
#[cfg(feature = "axum")]
pub(crate) use params::NOT_UTF8;
pub(crate) use params::Params;
#[cfg(feature = "tonic")]
pub(crate) use tonic_peer::peer;
