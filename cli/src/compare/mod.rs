//! Two files of rules, compared beyond what a reload reports.

mod loss;
mod rewritten;

pub(crate) use loss::{Loss, losses};
pub(crate) use rewritten::rewritten;
