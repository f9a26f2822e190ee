//! The report of a replay, in the forms that people and programs read.
//!
//! [`Report`] has every figure; [`text`], [`json`] and [`page`] only write them down. The page has the JSON in it, so its slider
//! shows the same figures.

mod figures;
mod json;
mod page;
mod plot;
mod report;
mod text;

pub(crate) use figures::{duration, grouped, percent};
pub(crate) use json::json;
pub(crate) use page::page;
pub(crate) use plot::{Plot, plot};
pub(crate) use report::{QuotaReport, Report, RuleReport, TopKey};
pub(crate) use text::text;
