//! The sliding-window log of one key: pure arithmetic on the units it has used, and on when it may use more.
//!
//! Integers in, integers out: no lock, no clock, no I/O. Sums saturate, and nothing panics.
//!
//! A history is the log of admissions of one key, shared by all quotas of its policy. It has two parts:
//!
//! ```text
//!   newest                                                                oldest
//!   |<----------- timestamps ----------->|<-- buckets 0 -->|<--- buckets 1 --->|
//!   one entry per unit, exact to a tick   one entry per stretch of time
//!   counted by the quotas of <= 4096      counted by larger quotas only
//! ```
//!
//! A unit begins as a timestamp and stays one as long as any quota counts it exactly. Then it moves into the buckets of the
//! next larger quota, and so on. If no quota is exact, it begins in the buckets. Each part ends where its quota's window
//! ends, so the usage of a quota is the sum over the parts up to its own.
//!
//! Where requests have costs, or give units back, the log is another: one entry for each admission, with the running total
//! of units at its end. The usage of a quota is the difference of two totals.
//!
//! * [`plan`]: a policy compiled for the arithmetic.
//! * [`history`]: the log, in one of three forms. [`newest`] is the tick of its newest unit, and what is known to have room.
//! * [`exact_log`]: timestamps of 32 bits, for quotas of up to 4096 and windows of up to 12 days. They are in ticks, which
//!   are as short as 32 bits allow for the longest window.
//! * [`ring`]: the ring buffer for more than a few timestamps.
//! * [`bucketed_log`]: timestamps of 64 bits and buckets, for all other policies.
//! * [`cost_log`]: running totals, for requests with costs; [`cost_entry`] has the two widths of an entry.
//! * [`grid`]: the cells in which entries are merged once there are thousands.
//! * [`receipt`], [`room`]: what such a log answers.

mod bucketed_log;
mod cost_entry;
mod cost_log;
mod exact_log;
mod grid;
mod history;
mod newest;
mod plan;
mod receipt;
mod ring;
mod room;
#[cfg(test)]
mod tests;

pub(crate) use history::History;
#[cfg(feature = "redis")]
pub(crate) use plan::Counted;
pub(crate) use plan::{Plan, Window};
pub(crate) use {receipt::Receipt, room::Room};
