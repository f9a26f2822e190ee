//! The command line of tower-quota: `check`, `diff`, `explain` and `replay`.

mod arguments;
mod commands;
mod compare;
mod explain;
mod failure;
#[cfg(test)]
mod fuzzing;
mod lint;
mod log;
mod replay;
mod report;
mod rules;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use crate::failure::Failure;

fn main() -> ExitCode {
    let matches = match arguments::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(Failure::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(&matches) {
        Ok(answer) => {
            // A reader that has seen enough, such as `head`, closes the pipe.
            let _ = io::stdout().write_all(answer.text.as_bytes());
            ExitCode::from(answer.code)
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}
