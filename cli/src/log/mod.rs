//! Access logs: lines of any format, in the order of their times, without an allocation for each.
//!
//! * [`Format`]: the format of a log. [`Template`] reads lines by a text such as nginx's `log_format`, which a [`dialect`]
//!   understands; [`W3c`] reads columns that a directive names, and [`JsonLine`] objects.
//! * [`Layout`]: what is wanted of a line. A [`Record`] is a line with the places of that.
//! * [`Input`] and [`Lines`]: a file, compressed or not, in chunks of lines.
//! * [`LogFile`]: a file as records in the order of their times, as far as a [`Reorder`] buffer can tell; [`Merge`]: several.

mod detect;
mod dialect;
mod format;
mod input;
mod json_line;
mod layout;
mod lines;
mod log_file;
mod merge;
mod record;
mod reorder;
mod template;
mod time;
mod unescape;
mod w3c;

pub(crate) use format::Format;
pub(crate) use input::{Input, Progress};
pub(crate) use json_line::JsonLine;
pub(crate) use layout::{CostPlace, Field, Layout, REQUEST_BYTES, RESPONSE_BYTES, field_header, field_of_header};
pub(crate) use lines::Lines;
pub(crate) use log_file::{LogFile, UnreadableLines};
pub(crate) use merge::Merge;
pub(crate) use record::{Record, Span, Spans};
pub(crate) use reorder::Reorder;
pub(crate) use template::Template;
pub(crate) use time::Moment;
pub(crate) use unescape::Escape;
pub(crate) use w3c::W3c;
