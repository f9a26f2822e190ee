//! The program as users run it: arguments in, text and an exit code out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test")]

mod check;
mod chromium;
mod diff;
mod explain;
mod page;
mod program;
mod replay;
