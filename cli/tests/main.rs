//! The program as users run it: arguments in, text and an exit code out.

mod check;
mod chromium;
mod diff;
mod explain;
mod page;
mod program;
mod replay;
