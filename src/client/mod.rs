
pub mod answers;

mod advice;

pub use advice::{Advice, Allowance};
pub use answers::Answers;
