//! The report for a terminal.

use std::fmt::{Result, Write};

use crate::{
    log::Moment,
    report::{QuotaReport, Report, RuleReport, TopKey, duration, grouped, percent},
    rules::with_unit,
};

/// The widest name of a key that is shown whole.
const MOST_CHARS: usize = 40;

/// Returns the report as text.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = head(&mut text, report);
    for rule in &report.rules {
        let _ = of_rule(&mut text, rule, report);
    }
    text
}

/// Returns what readers have to know of the figures.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.totals.requests == 0 && report.lines.unreadable > 0 {
        notes.push("no line can be read: is this the format? Name another one with --format".to_owned());
    }
    if report.lines.is_coarse {
        notes.push("times are of whole seconds, so all requests of a second count at its beginning".to_owned());
    }
    if report.totals.late > 0 {
        let late = grouped(report.totals.late);
        notes.push(format!("{late} lines came more than 5 s after later ones, and count at the time of those"));
    }
    for header in &report.absent_headers {
        notes.push(format!(
            "no request has {header}, which a rule reads: is it in the log, and named in --format or --field?"
        ));
    }
    notes.extend(report.cost_notes.iter().cloned());
    if report.has_no_peer {
        notes.push("the log has no addresses of clients".to_owned());
    }
    if report.has_forgotten {
        notes.push(
            "keys that were like new ones were forgotten to make room, so the numbers of keys are upper bounds"
                .to_owned(),
        );
    }
    if report.overflowed > 0 {
        let (requests, max_keys) = (grouped(report.overflowed), report.max_keys);
        notes.push(format!(
            "{requests} requests were of keys beyond max_keys = {max_keys}, and shared one history per rule"
        ));
    }
    if report.rules.iter().flat_map(|rule| &rule.quotas).any(|quota| quota.is_rounded) {
        notes.push(
            "figures of limits over 4096 are rounded up, by at most the requests of a 4096th of the window".to_owned(),
        );
    }
    notes
}

fn head(text: &mut String, report: &Report) -> Result {
    let (lines, totals) = (&report.lines, &report.totals);
    writeln!(
        text,
        "{}: {}, {} lines, {} unreadable",
        report.logs.join(", "),
        report.formats.join(", "),
        grouped(lines.lines),
        grouped(lines.unreadable)
    )?;
    for line in &lines.shown {
        writeln!(text, "  {}:{}: {}: {}", line.file, line.line, line.reason, line.text)?;
    }
    if let Some(first) = totals.first {
        writeln!(text, "{} to {} UTC", Moment::display(first), Moment::display(totals.last))?;
    }
    let share = percent(totals.refused, totals.requests);
    let (requests, refused, ungoverned) =
        (grouped(totals.requests), grouped(totals.refused), grouped(totals.ungoverned));
    writeln!(text, "{requests} requests, {refused} refused ({share}), {ungoverned} governed by no rule")?;
    for note in notes(report) {
        writeln!(text, "note: {note}")?;
    }
    Ok(())
}

fn of_rule(text: &mut String, rule: &RuleReport, report: &Report) -> Result {
    let stats = &rule.stats;
    let would = if stats.enforcement == "on" { "" } else { "would be " };
    let enforcement = if stats.enforcement == "on" { String::new() } else { format!(", {}", stats.enforcement) };
    writeln!(text, "\nrule {} ({}{enforcement})", stats.title(), rule.limits())?;
    writeln!(text, "  requests         {}", grouped(stats.requests))?;
    if stats.requests == 0 {
        return Ok(());
    }
    writeln!(
        text,
        "  {:16} {} ({})",
        format!("{would}refused"),
        grouped(stats.refused),
        percent(stats.refused, stats.requests)
    )?;
    if let Some(unit) = rule.unit() {
        let (units, refused) = (grouped(stats.units), grouped(stats.units_refused));
        writeln!(text, "  {unit:16} {units}, {refused} of them {would}refused")?;
    }
    let about = if report.has_forgotten || report.overflowed > 0 { "about " } else { "" };
    writeln!(
        text,
        "  keys             {about}{}, {} of them {would}refused",
        grouped(stats.keys),
        grouped(stats.keys_refused)
    )?;
    if stats.without_key > 0 {
        writeln!(text, "  without the key  {} (on_missing is {})", grouped(stats.without_key), stats.on_missing)?;
    }
    if stats.keys == 0 {
        return Ok(());
    }
    if let Some(first) = rule.first() {
        writeln!(text, "  first refusal    {}, {}", Moment::display(first.time), shortened(&first.key))?;
    }
    if let Some((key, stretch)) = &stats.longest {
        let (length, refused) = (duration(stretch.millis()), grouped(stretch.refused));
        let from = Moment::display(stretch.from);
        writeln!(text, "  longest stretch  {length} from {from}, {refused} refused, {}", shortened(key))?;
    }
    rule.quotas.iter().try_for_each(|quota| of_quota(text, quota, rule.unit()))?;
    of_keys(text, rule)
}

fn of_quota(text: &mut String, quota: &QuotaReport, unit: Option<&str>) -> Result {
    let (smallest, quota_text) = (grouped(quota.peak), with_unit(&quota.quota, unit));
    writeln!(text, "  {quota_text} alone: the smallest limit that refuses nobody is {smallest}")?;
    writeln!(text, "  {:>14}  {:>12}  {:>9}", format!("per {}", quota.window), "refused", "keys")?;
    for candidate in &quota.candidates {
        let mark = quota.mark(candidate);
        let (limit, refused, keys) = (grouped(candidate.limit), grouped(candidate.refused), grouped(candidate.keys));
        writeln!(text, "{}", format!("  {limit:>14}  {refused:>12}  {keys:>9}  {mark}").trim_end())?;
    }
    Ok(())
}

fn of_keys(text: &mut String, rule: &RuleReport) -> Result {
    let width = rule.top.iter().map(|key| shortened(&key.key).chars().count()).max().unwrap_or_default().max(3);
    let most: String = rule.quotas.iter().map(|quota| format!("  {:>12}", format!("most/{}", quota.window))).collect();
    let unit = rule.unit().map(|unit| format!("  {unit:>12}")).unwrap_or_default();
    writeln!(text, "  {:width$}  {:>12}{unit}  {:>12}{most}", "key", "requests", "refused")?;
    for key in &rule.top {
        let (name, peaks) = (shortened(&key.key), peaks(key));
        let units = rule.unit().map(|_| format!("  {:>12}", grouped(key.units))).unwrap_or_default();
        writeln!(text, "  {name:width$}  {:>12}{units}  {:>12}{peaks}", grouped(key.requests), grouped(key.refused))?;
    }
    Ok(())
}

fn peaks(key: &TopKey) -> String {
    key.peaks.iter().map(|peak| format!("  {:>12}", grouped(*peak))).collect()
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= MOST_CHARS {
        return name.to_owned();
    }
    name.chars().take(MOST_CHARS - 3).chain("...".chars()).collect()
}
