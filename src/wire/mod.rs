//! Texts on the wire that are made of quotas and other texts alone, so that a rule has them ready when it is built.
//!
//! * [`problem`]: problem documents, and [`json`] in them.
//! * [`policy_field`]: the `RateLimit-Policy` header field.

mod json;
mod policy_field;
mod problem;

pub(crate) use policy_field::{MAX_INTEGER, policy_field};
pub(crate) use problem::{document, quota_exceeded};
