//! The report as one HTML page, which needs no network: everything is in it.

use std::fmt::{Result, Write};

use crate::{
    log::Moment,
    report::{Plot, QuotaReport, Report, RuleReport, duration, grouped, json, percent, plot, text::notes},
    rules::with_unit,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Nothing may be loaded from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Returns the page.
pub(crate) fn page(report: &Report) -> String {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut html, report);
    html
}

fn write_page(html: &mut String, report: &Report) -> Result {
    let logs: Vec<&str> = report.logs.iter().map(|log| file_name(log)).collect();
    let title = format!("{} against {}", file_name(&report.rules_file), logs.join(", "));
    let title = escaped(&title);
    write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    )?;
    head(html, report)?;
    for (at, rule) in report.rules.iter().enumerate() {
        of_rule(html, rule, at)?;
    }
    unreadable(html, report)?;
    // A script ends at the first tag that says so, also in a string.
    let data = json(report).to_string().replace('<', "\\u003c");
    writeln!(
        html,
        "<script type=\"application/json\" id=\"report\">{data}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>"
    )
}

fn head(html: &mut String, report: &Report) -> Result {
    let totals = &report.totals;
    if let Some(first) = totals.first {
        writeln!(html, "<p class=\"note\">{} to {} UTC</p>", Moment::display(first), Moment::display(totals.last))?;
    }
    let refused = format!("{} ({})", grouped(totals.refused), percent(totals.refused, totals.requests));
    figures(
        html,
        &[
            ("requests", grouped(totals.requests), false),
            ("refused", refused, totals.refused > 0),
            ("governed by no rule", grouped(totals.ungoverned), false),
            ("lines", grouped(report.lines.lines), false),
            ("unreadable lines", grouped(report.lines.unreadable), report.lines.unreadable > 0),
        ],
    )?;
    notes(report).iter().try_for_each(|note| writeln!(html, "<p class=\"note\">Note: {}.</p>", escaped(note)))
}

fn figures(html: &mut String, figures: &[(&str, String, bool)]) -> Result {
    html.push_str("<dl class=\"figures\">\n");
    for (name, value, is_bad) in figures {
        let class = if *is_bad { " class=\"bad\"" } else { "" };
        writeln!(html, "<div><dt>{name}</dt><dd{class}>{}</dd></div>", escaped(value))?;
    }
    html.push_str("</dl>\n");
    Ok(())
}

fn of_rule(html: &mut String, rule: &RuleReport, at: usize) -> Result {
    let stats = &rule.stats;
    let (title, limits) = (escaped(&stats.title()), escaped(&rule.limits()));
    let enforcement =
        if stats.enforcement == "on" { String::new() } else { format!(" ({})", escaped(&stats.enforcement)) };
    writeln!(html, "<section>\n<h2>{title} <span class=\"limits\">{limits}{enforcement}</span></h2>")?;
    if stats.requests == 0 {
        html.push_str("<p class=\"note\">No request of the log is governed by it.</p>\n</section>\n");
        return Ok(());
    }
    figures_of_rule(html, rule)?;
    if stats.keys == 0 {
        html.push_str("<p class=\"note\">No request of the log carries its key.</p>\n</section>\n");
        return Ok(());
    }
    for (number, quota) in rule.quotas.iter().enumerate() {
        of_quota(html, (quota, rule.unit()), plot(rule, number).as_ref(), (at, number))?;
    }
    of_keys(html, rule)?;
    html.push_str("</section>\n");
    Ok(())
}

fn figures_of_rule(html: &mut String, rule: &RuleReport) -> Result {
    let stats = &rule.stats;
    let refused = format!("{} ({})", grouped(stats.refused), percent(stats.refused, stats.requests));
    let none = || "never".to_owned();
    let first = rule.first().map_or_else(none, |first| format!("{}, {}", Moment::display(first.time), first.key));
    let longest = stats.longest.as_ref().map_or_else(none, |(key, stretch)| {
        format!("{}, {} refused, {key}", duration(stretch.millis()), grouped(stretch.refused))
    });
    if let Some(unit) = rule.unit() {
        let share = percent(stats.units_refused, stats.units);
        let refused = format!("{} ({share})", grouped(stats.units_refused));
        let (asked, of_refused) = (escaped(unit), format!("{} refused", escaped(unit)));
        figures(html, &[(&asked, grouped(stats.units), false), (&of_refused, refused, stats.units_refused > 0)])?;
    }
    figures(
        html,
        &[
            ("requests", grouped(stats.requests), false),
            (if stats.enforcement == "on" { "refused" } else { "would be refused" }, refused, stats.refused > 0),
            ("keys", grouped(stats.keys), false),
            ("keys refused", grouped(stats.keys_refused), stats.keys_refused > 0),
            ("without the key", grouped(stats.without_key), false),
            ("first refusal", first, false),
            ("longest stretch", longest, false),
        ],
    )
}

fn of_quota(
    html: &mut String,
    (quota, unit): (&QuotaReport, Option<&str>),
    plot: Option<&Plot>,
    (rule, number): (usize, usize),
) -> Result {
    let (text, window) = (escaped(&with_unit(&quota.quota, unit)), escaped(&quota.window));
    let of = escaped(unit.unwrap_or("requests"));
    let unit = unit.map(|unit| format!(" {}", escaped(unit))).unwrap_or_default();
    writeln!(html, "<div>\n<h3>{text}: the smallest limit that refuses nobody is {}</h3>", grouped(quota.peak))?;
    let mut edges = String::new();
    if let Some(plot) = plot {
        writeln!(html, "{}", plot.svg)?;
        edges = format!(" data-bottom=\"{}\" data-top=\"{}\" data-most=\"{}\"", plot.bottom, plot.top, plot.most);
    }
    let own = quota.candidates.iter().position(|candidate| candidate.limit == quota.limit).unwrap_or_default();
    let last = quota.candidates.len().saturating_sub(1);
    writeln!(
        html,
        "<div class=\"trial\" hidden data-rule=\"{rule}\" data-quota=\"{number}\"{edges}>\n\
         <input type=\"range\" min=\"0\" max=\"{last}\" step=\"1\" value=\"{own}\" aria-label=\"limit in {of} per {window}\">\n\
         <output data-figure=\"limit\"></output>{unit} per {window} alone would refuse <output data-figure=\"refused\"></output> \
         requests (<output data-figure=\"share\"></output>) of <output data-figure=\"keys\"></output> keys\n</div>"
    )?;
    writeln!(
        html,
        "<div class=\"scroll\"><table>\n<tr><th>limit in {of} per {window}</th><th>refused</th><th>keys</th><th></th></tr>"
    )?;
    for (at, candidate) in quota.candidates.iter().enumerate() {
        let (limit, refused, keys) = (grouped(candidate.limit), grouped(candidate.refused), grouped(candidate.keys));
        let mark = quota.mark(candidate);
        writeln!(
            html,
            "<tr data-at=\"{at}\"><td>{limit}</td><td>{refused}</td><td>{keys}</td><td class=\"mark\">{mark}</td></tr>"
        )?;
    }
    html.push_str("</table></div>\n</div>\n");
    Ok(())
}

fn of_keys(html: &mut String, rule: &RuleReport) -> Result {
    let most: String =
        rule.quotas.iter().map(|quota| format!("<th>most per {}</th>", escaped(&quota.window))).collect();
    let unit = rule.unit().map(|unit| format!("<th>{}</th>", escaped(unit))).unwrap_or_default();
    writeln!(
        html,
        "<h3>The keys that suffer</h3>\n<div class=\"scroll\"><table class=\"keys\">\n\
         <tr><th>key</th><th>requests</th>{unit}<th>refused</th>{most}<th>longest stretch</th></tr>"
    )?;
    for key in &rule.top {
        let name = escaped(&key.key);
        let peaks: String = key.peaks.iter().map(|peak| format!("<td>{}</td>", grouped(*peak))).collect();
        let units = rule.unit().map(|_| format!("<td>{}</td>", grouped(key.units))).unwrap_or_default();
        let longest = key.longest.map_or_else(String::new, |stretch| duration(stretch.millis()));
        let class = if key.refused > 0 { " class=\"bad\"" } else { "" };
        writeln!(
            html,
            "<tr><td class=\"key\" title=\"{name}\">{name}</td><td>{}</td>{units}<td{class}>{}</td>{peaks}<td>{longest}</td></tr>",
            grouped(key.requests),
            grouped(key.refused)
        )?;
    }
    html.push_str("</table></div>\n");
    Ok(())
}

fn unreadable(html: &mut String, report: &Report) -> Result {
    if report.lines.shown.is_empty() {
        return Ok(());
    }
    html.push_str("<h2>Lines that cannot be read</h2>\n<ul>\n");
    for line in &report.lines.shown {
        let (file, text) = (escaped(&line.file), escaped(&line.text));
        writeln!(html, "<li>{file}:{}: {}: <code>{text}</code></li>", line.line, line.reason)?;
    }
    html.push_str("</ul>\n");
    Ok(())
}

/// Returns the last part of a path, which is enough for a title.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Escapes a text for an element or an attribute in double quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_is_text() {
        assert_eq!(escaped("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
