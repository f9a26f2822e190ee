//! Limits: how many requests within which windows.
//!
//! * [`Quota`]: so many in one window; [`written`] reads it from a text, with its [`window`].
//! * [`Policy`]: one or several quotas over one history.
//! * [`PolicyName`]: what a quota is called in header fields and bodies.

mod name;
mod policy;
mod quota;
mod window;
mod written;

pub use policy::Policy;
pub use quota::Quota;

pub(crate) use name::PolicyName;
pub(crate) use quota::check_name;
