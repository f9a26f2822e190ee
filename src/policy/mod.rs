//! Limits: how many requests within which windows.
//!
//! * [`Quota`]: so many in one window; [`written`] reads it from a text, with its [`window`].
//! * [`Policy`]: one or several quotas over one history.
//! * [`PolicyName`]: what a quota is called in header fields and bodies.

mod policy;
mod quota;
mod quota_text;

pub use policy::Policy;
pub use quota::Quota;

pub(crate) use quota::{PolicyName, check_name};
