//! The side of those who call a limited service: pace, back off, retry.

mod advice;

pub use advice::{Advice, Allowance};
