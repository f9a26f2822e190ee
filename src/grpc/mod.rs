//! Refusals for gRPC callers, as gRPC statuses.
//!
//! A gRPC client reads a bare 429 as `UNAVAILABLE`, which default retry policies retry at once. So a refused call ends in
//! gRPC's own way: *Trailers-Only*, an HTTP 200 whose header block is the whole answer.
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
//! This is always on and needs neither tonic nor prost: the few messages are encoded by hand. So plain HTTP services pull in no
//! dependencies, and no gRPC caller ever gets a 429 because a feature was forgotten.

#[cfg(feature = "client")]
mod call_status;
mod denied_status;
mod details;
mod protobuf;
mod protocol;
mod status;

pub use crate::messages::{MessageDenied, MessageFuture, MessageLimit, MessageLimitLayer, RequestBody, ResponseBody};

#[cfg(feature = "client")]
pub(crate) use call_status::{CallStatus, Pushback};
pub(crate) use denied_status::DeniedStatus;
pub(crate) use protocol::Protocol;
pub(crate) use status::{Code, Status, UNKNOWN, asks_to_back_off, is_trailers_only, status_code};
