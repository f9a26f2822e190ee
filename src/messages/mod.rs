//! Charging the messages of a call, not only the call.
//!
//! * [`MessageLimitLayer`], [`MessageLimit`], [`MessageFuture`]: the tower trio.
//! * [`RequestBody`]: counts the messages as they arrive.
//! * [`ResponseBody`]: ends the call when the policy has run out.
//! * [`MessageDenied`]: how the handler learns of it.
//! * [`count`]: the messages of one request.
//! * [`counted`]: what is counted further out.
//! * [`fate`]: what both directions share.
//! * [`meter`]: which rules count the messages of a call.
//! * [`framing`]: where messages begin in the bytes of a stream.

mod call_end;
mod counted_messages;
mod denied;
mod framing;
mod future;
mod layer;
mod message_counter;
mod meter;
mod request_body;
mod response_body;
mod service;

pub use denied::MessageDenied;
pub use future::MessageFuture;
pub use layer::MessageLimitLayer;
pub use request_body::RequestBody;
pub use response_body::ResponseBody;
pub use service::MessageLimit;

use framing::Framing;
