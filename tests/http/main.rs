//! Requests of HTTP, and of any other type: whom a layer counts, what it refuses, and what callers are told.

mod axum;
mod batch;
mod client_ip;
mod conditions;
mod cost_fields;
mod enforcement;
mod exemptions;
mod extractors;
mod hyper;
mod layer_settings;
mod middleware;
mod nesting;
mod outcomes;
mod plain;
mod readings;
mod refusal;
mod refusal_hook;
mod routers;
mod secrets_and_names;
mod settlements;
mod settlements_over_tcp;
mod tiers;
