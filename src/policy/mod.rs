//! Limits: the number of units that each window admits.
//!
//! * [`Quota`]: a limit and its window; [`quota_text`] reads it from text.
//! * [`Policy`]: one or several quotas over one history.
//! * [`PolicyName`]: the name of a quota in header fields and bodies.

mod policy;
mod quota;
mod quota_text;

pub use policy::Policy;
pub use quota::Quota;

pub(crate) use quota::{PolicyName, check_name};
#[cfg(feature = "config")]
pub(crate) use quota_text::parse_window;
