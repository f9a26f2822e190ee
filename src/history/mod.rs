//! The rolling-window arithmetic: what a key has used, and when it may use more.
//!
//! Pure: integers in, integers out. No lock, no clock, no I/O. It saturates where it could overflow and cannot panic.
//!
//! A history is the log of admissions of one key, shared by all quotas of its policy. It has two parts:
//!
//! ```text
//!   newest                                                                oldest
//!   |<------------- stamps ------------->|<--- layer 0 --->|<---- layer 1 ---->|
//!   one entry per unit, exact to a tick   cells: one entry per grain of time
//!   counted by the quotas of <= 4096      counted by larger quotas only
//! ```
//!
//! A unit begins in the stamps and stays there as long as any quota counts it exactly. When it is older than that it
//! moves into the cells of the next larger quota, and so on; with no exact quota it begins in the cells. Each part ends
//! where its quota's window ends, so what a quota has used is the sum over the parts up to its own.
//!
//! * [`plan`]: a policy made ready for the arithmetic.
//! * [`log`]: a history, in one of two forms.
//! * [`compact`]: exact stamps of 32 bits, for quotas of up to 4096 and windows of up to 12 days. They count in ticks,
//!   which are as fine as these bits allow for the longest window.
//! * [`ring`]: where they are when there are more than a few.
//! * [`large`]: everything else, stamps of 64 bits and layers.
//! * [`layer`]: the coalesced log of one large quota.

mod compact;
mod large;
mod layer;
mod log;
mod plan;
mod ring;
#[cfg(test)]
mod tests;

pub(crate) use log::History;
#[cfg(feature = "redis")]
pub(crate) use plan::{Counted, Grain};
pub(crate) use plan::{Plan, Window};
