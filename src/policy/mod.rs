//! Limits: the number of units that each window admits.
//!
//! * [`Quota`]: a limit and its window; [`quota_text`] reads it from text.
//! * [`Policy`]: one or several quotas over one history.
//! * [`Enforcement`]: what follows when a policy has no room.
//! * [`PolicyName`]: the name of a quota in header fields and bodies.

mod enforcement;
mod policy;
mod quota;
mod quota_text;

pub use enforcement::Enforcement;
pub use policy::Policy;
pub use quota::Quota;

pub(crate) use quota::{PolicyName, check_name};
#[cfg(feature = "config")]
pub(crate) use quota_text::parse_window;
