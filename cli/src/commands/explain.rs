//! `tower-quota explain`: which rules govern this request, and why do the others not?

use std::fmt::Write;

use clap::ArgMatches;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tower_quota::http::PeerAddr;

use crate::{
    commands::{Answer, path, texts},
    explain::{Explained, Key, explain},
    failure::Failure,
    replay::parse_peer,
    rules::{ProgramSources, RulesFile},
};

/// Explains a request.
pub(super) fn run(matches: &ArgMatches) -> Result<Answer, Failure> {
    let sources = ProgramSources::constant(&texts(matches, "source"))?;
    let file = RulesFile::read(path(matches, "rules"), sources)?;
    let request = request(matches)?;
    let explained = explain(&file, &request).map_err(|error| Failure::config(&file.name, &error))?;
    let (governing, others): (Vec<_>, Vec<_>) =
        explained.iter().partition(|explained| matches!(explained, Explained::Governs { .. }));
    let mut text = format!("{} {}\n", request.method(), request.uri());
    if governing.is_empty() {
        text.push_str("No rule governs it.\n");
    }
    governing.into_iter().chain(others).for_each(|explained| describe(&mut text, explained));
    Ok(Answer { text, code: 0 })
}

fn describe(text: &mut String, explained: &Explained) {
    // Writing to a string does not fail.
    let _ = match explained {
        Explained::Governs { rule, limits, tier, enforcement, cost, key } => {
            let tier = tier.as_ref().map(|tier| format!(" (tier {tier})")).unwrap_or_default();
            let enforcement = if enforcement == "on" { String::new() } else { format!(", {enforcement}") };
            let key = match key {
                Key::Found { sources, parts } => format!("by {sources}: {parts}"),
                Key::Missing { sources, outcome } => {
                    format!("by {sources}, which the request does not carry: {outcome}")
                }
            };
            let cost = cost.as_ref().map(|cost| format!("\n  it costs {cost}")).unwrap_or_default();
            writeln!(text, "\nrule \"{rule}\" governs it: {limits}{tier}{enforcement}\n  {key}{cost}")
        }
        Explained::DoesNot { rule, reasons } => {
            writeln!(text, "\nrule \"{rule}\" does not:\n  {}", reasons.join("\n  "))
        }
    };
}

/// Makes the request that the arguments describe.
fn request(matches: &ArgMatches) -> Result<Request<()>, Failure> {
    let text = matches.get_one::<String>("REQUEST").map(String::as_str).unwrap_or_default();
    let wrong = || Failure::usage(format!("{text:?} is no request: write one such as 'GET /bots/7'"));
    let mut words = text.split_ascii_whitespace();
    let (method, target) = (words.next().ok_or_else(wrong)?, words.next());
    let (method, target) = target.map_or(("GET", method), |target| (method, target));
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| wrong())?;
    if !target.starts_with('/') && !target.contains("://") {
        return Err(wrong());
    }
    *request.uri_mut() = target.parse::<Uri>().map_err(|_| wrong())?;
    for header in texts(matches, "header") {
        let wrong = || Failure::usage(format!("-H {header:?}: write -H 'x-account: acme'"));
        let (name, value) = header.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        request.headers_mut().append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?);
    }
    if let Some(peer) = matches.get_one::<String>("peer") {
        let wrong = || Failure::usage(format!("--peer {peer}: not an address"));
        request.extensions_mut().insert(PeerAddr(parse_peer(peer.as_bytes()).ok_or_else(wrong)?));
    }
    Ok(request)
}
