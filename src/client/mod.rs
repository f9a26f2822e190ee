//! The side of those who call a limited service: pace, back off, retry.

pub mod answers;
pub mod retry;

mod advice;

pub use advice::{Advice, Allowance};
pub use answers::Answers;
pub use retry::{RetryLayer, RetryPolicy};
