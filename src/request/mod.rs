//! Requests as rules and extractors see them.
//!
//! * [`RequestKind`]: what a limiter decides about.
//! * [`Http`]: requests of the `http` crate, which are seen as a [`RequestView`].
//! * [`Plain`]: requests of any other type, which are seen as they are.
//! * [`Params`]: the parameters of the route that a request has matched.

mod kind;
mod params;
mod view;

pub use kind::{Http, Plain, RequestKind};
pub use view::{PeerAddr, RequestView};

pub(crate) use kind::Condition;
pub(crate) use params::Params;
