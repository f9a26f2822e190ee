//! The side of those who call: pacing, learning from answers, and calling again.

mod answers;
mod pace;
mod pace_advice;
mod pace_costs;
mod pace_schedules;
mod pace_store;
mod pace_wire;
mod retry;
mod retry_wire;
mod together;
