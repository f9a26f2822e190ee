//! The sliding-window log of one key: pure arithmetic of what it has used, and when it may use more.
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
//! A unit begins as a timestamp and stays one as long as any quota counts it exactly. Then it moves into the buckets of the next
//! larger quota, and so on; where no quota is exact it begins in the buckets. Each part ends where its quota's window ends, so
//! the usage of a quota is the sum over the parts up to its own.
//!
//! * [`plan`]: a policy made ready for the arithmetic.
//! * [`history`]: the log, in one of two forms.
//! * [`exact_log`]: timestamps of 32 bits, for quotas of up to 4096 and windows of up to 12 days. They count in ticks, which
//!   are as fine as these bits allow for the longest window.
//! * [`ring`]: the memory of more than a few timestamps.
//! * [`bucketed_log`]: anything else, timestamps of 64 bits and buckets.
//! * [`buckets`]: the coalesced log of one large quota.

mod bucketed_log;
mod buckets;
mod exact_log;
mod history;
mod plan;
mod ring;
#[cfg(test)]
mod tests;

pub(crate) use history::History;
#[cfg(feature = "redis")]
pub(crate) use plan::{BucketSpec, Counted};
pub(crate) use plan::{Plan, Window};
