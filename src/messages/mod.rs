//! Rate limits on the messages of gRPC calls, besides the calls themselves.

mod call_end;
mod framing;
mod future;
mod layer;
mod message_counter;
mod request_body;
mod response_body;
mod service;

pub use future::MessageFuture;
pub use layer::MessageLimitLayer;
pub use request_body::{MessageDenied, RequestBody};
pub use response_body::ResponseBody;
pub use service::MessageLimit;
