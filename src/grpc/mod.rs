//! Refusals for gRPC callers.
//!
//! A gRPC client takes a bare 429 for `UNAVAILABLE`, which is what default retry policies repeat at once. So a refused
//! call ends as gRPC has it: *Trailers-Only*, an HTTP 200 whose header block is the whole answer.
//!
//! ```text
//! HEADERS (END_STREAM)
//! :status: 200
//! content-type: application/grpc
//! grpc-status: 8
//! grpc-message: You've exceeded the per-minute rate limit. Please wait for sometime before retrying.
//! grpc-status-details-bin: google.rpc.Status with RetryInfo, QuotaFailure and ErrorInfo
//! grpc-retry-pushback-ms: 38215
//! retry-after: 38
//! ```
//!
//! This is always on and needs neither tonic nor prost: the few messages are written by hand. So those who serve plain
//! HTTP pull nothing in, and yet no gRPC caller ever gets a 429 because a feature was forgotten.

#[cfg(feature = "client")]
mod call_status;
mod code;
mod denied_status;
mod details;
mod protobuf;
mod protocol;
#[cfg(feature = "client")]
mod retry_info;
mod status;
#[cfg(feature = "client")]
mod wire_field;

pub use crate::messages::{MessageDenied, MessageFuture, MessageLimit, MessageLimitLayer, RequestBody, ResponseBody};

#[cfg(feature = "client")]
pub(crate) use call_status::{CallStatus, Pushback};
pub(crate) use code::Code;
pub(crate) use denied_status::DeniedStatus;
pub(crate) use protocol::Protocol;
pub(crate) use status::{Status, is_trailers_only, tells_to_stay_away};
