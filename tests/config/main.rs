//! Limits as they are written: in texts, in files, and the mistakes in them.

mod conditions;
mod costs;
mod errors;
mod exemptions;
mod kore_matrix;
mod messages;
mod quota_texts;
mod response_tables;
mod rule_settings;
mod store_table;
mod tiers;
