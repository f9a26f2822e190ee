//! One file per library, with all that is known of how it is built and asked. Nothing here is a reimplementation.

pub(crate) mod axum_gcra;
pub(crate) mod axum_governor;
pub(crate) mod floor;
pub(crate) mod governor;
pub(crate) mod limitador;
pub(crate) mod ours;
pub(crate) mod rate_net;
pub(crate) mod skp;
pub(crate) mod throttle_kit;
pub(crate) mod tokio_rate_limit;
pub(crate) mod tower_governor;
pub(crate) mod tower_limit;
pub(crate) mod tower_rate_tier;
pub(crate) mod tower_resilience;

mod ready;
