//! `tower-quota replay`: what would these rules have done to these requests?

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use clap::ArgMatches;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    commands::{Answer, path, texts},
    failure::Failure,
    log::{Format, Layout, LogFile, Merge, Progress},
    replay::Replay,
    report::{Report, json, page, text},
    rules::{Costs, ProgramSources, RulesFile},
};

/// The requests between two looks at the progress.
const STEP: u64 = 8192;

/// Replays logs.
pub(super) fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    let file = rules(matches)?;
    let headers = file.headers();
    let mut layout = Layout::new(headers.iter().map(String::as_str))
        .with_costs(file.costs().iter().map(|cost| (cost.header.as_str(), cost.is_of_bytes())));
    let format = matches.get_one::<String>("format").map_or("auto", String::as_str);
    let mut fields = texts(matches, "field");
    let format = if fields.is_empty() || format != "auto" { format } else { "json" };
    fields.extend(file.costs().json_fields());
    let format = if format == "auto" { None } else { Format::parse(format, &fields, &mut layout)? };
    let logs: Vec<PathBuf> = matches.get_many::<PathBuf>("LOG").into_iter().flatten().cloned().collect();
    let progress = Progress::default();
    let open = |log: &PathBuf| LogFile::open(log, format.as_ref(), &fields, &mut layout, &progress);
    let opened = logs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut merge = Merge::new(opened, layout);
    let mut replay = Replay::new(&file, &merge.layout)?;
    replay_all(&mut replay, &mut merge, &bar(&logs), &progress)?;
    let names: Vec<String> = logs.iter().map(|log| log.display().to_string()).collect();
    answer(matches, &Report::new(&replay, &merge, &file, &names))
}

/// Reads the rules, all of whose sources have to be in the log.
fn rules(matches: &ArgMatches) -> Result<RulesFile, Failure> {
    let file = RulesFile::read(path(matches, "rules"), ProgramSources::of_log(&texts(matches, "source"))?)?;
    let file = file.with_costs(Costs::parse(&texts(matches, "cost"))?)?;
    match file.sources().claims_without(&file.table).first() {
        None => Ok(file),
        Some(claim) => Err(Failure::usage(format!(
            "{}: rules count by {claim}, which no log has by this name: say what stands for it, as in --source \
             {claim}=header:x-account or --source {claim}=field:remote_user",
            file.name
        ))),
    }
}

fn replay_all(replay: &mut Replay, merge: &mut Merge, bar: &ProgressBar, progress: &Progress) -> Result<(), Failure> {
    let mut until = STEP;
    while let Some((record, escape)) = merge.next()? {
        replay.note(&record, &merge.layout, escape);
        until -= 1;
        if until == 0 {
            until = STEP;
            bar.set_position(progress.bytes());
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Returns a bar for the bytes of all files. It is hidden if nobody looks.
fn bar(logs: &[PathBuf]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let size = |log: &PathBuf| fs::metadata(log).map_or(0, |metadata| metadata.len());
    let bar = ProgressBar::new(logs.iter().map(size).sum());
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
}

fn answer(matches: &ArgMatches, report: &Report) -> Result<Answer, Failure> {
    if let Some(path) = matches.get_one::<PathBuf>("html") {
        fs::write(path, page(report)).map_err(|error| Failure::io(Path::new(path), &error))?;
    }
    let text = if matches.get_flag("json") { format!("{:#}\n", json(report)) } else { text(report) };
    let is_failure = report.lines.unreadable > 0 && (matches.get_flag("strict") || report.totals.requests == 0);
    Ok(Answer { text, code: if is_failure { Failure::UNREADABLE } else { 0 } })
}
