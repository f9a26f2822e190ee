//! Bodies that can be sent again.

mod replay;
mod source;
mod wrap;

pub use replay::ReplayBody;
pub use wrap::{AsIs, WrapBody};
