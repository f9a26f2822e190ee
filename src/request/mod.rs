//! Requests as rules and extractors see them.
//!
//! * [`RequestKind`]: the kinds of requests that a limiter can decide about.
//! * [`Http`]: requests of the `http` crate, which extractors see as a [`RequestView`].
//! * [`Plain`]: requests of any other type, which extractors see as they are.
//! * [`Params`]: the parameters of the route that a request has matched.

mod kind;
mod params;
mod view;

pub use kind::{Http, Plain, RequestKind};
pub use view::{PeerAddr, RequestView};

pub(crate) use kind::Condition;
pub(crate) use params::Params;
