//! The store on Redis, and on whatever answers in its place.

mod cluster;
mod connection;
mod costs;
mod distance;
mod enforcement;
mod harness;
mod moving;
mod outage;
mod pace;
mod sharing;
mod store;
mod tiers;
mod tls;
