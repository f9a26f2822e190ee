//! Pictures of what came out, as SVG.

mod bars;
mod colors;
mod lines;

pub(crate) use bars::bars;
pub(crate) use lines::lines;
