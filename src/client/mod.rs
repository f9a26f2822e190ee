//! The side of those who call a limited service: pace, back off, retry.

pub mod pace;

mod advice;

pub use advice::{Advice, Allowance};
