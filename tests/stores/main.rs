//! Limiters on the store in memory, and the suite for any other.

mod any_store;
mod asking;
mod concurrency;
mod conformance;
mod cost_conformance;
mod costs;
mod enforcement;
mod full_table;
mod keys;
mod limiter;
mod process;
mod random;
mod reload;
mod tiers;
