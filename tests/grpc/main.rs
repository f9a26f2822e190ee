//! Calls of gRPC: whom a layer counts, message by message where that is wanted, and what callers are told.

mod costs;
mod message_costs;
mod messages;
mod one_port;
mod python;
mod refusal;
mod tonic;
mod wire;
