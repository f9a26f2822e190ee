//! What operators see: events, metrics, the log, warnings, the heaviest keys, and the dashboard of the example.

mod events;
mod heaviest;
mod log;
mod metrics;
mod servers;
mod warnings;
