//! Pacing: calls wait until a policy has room for them.

mod ask;
mod call;
mod error;
mod future;
mod gate;
mod layer;
mod limits;
mod line;
mod pacer;
mod place;
mod queues;
mod rate;
mod reader;
mod sees;
mod service;
mod settings;
mod state;
mod status;
mod ticket;
mod waiting;

pub use error::PaceError;
pub use future::ResponseFuture;
pub use layer::PaceLayer;
pub use pacer::Pacer;
pub use reader::{Headers, ReadAdvice, Unread};
pub use sees::Sees;
pub use service::Pace;
pub use status::LineStatus;
