//! The key sources that a file names and only the program has.

use std::{collections::BTreeSet, env, env::VarError};

use toml::{Table, Value};
use tower_quota::{
    config::Sources,
    http::{PeerAddr, RequestView},
    key,
};

use crate::{failure::Failure, log::field_header};

/// The beginning of the names of sources that are the program's, by custom.
const CLAIM: &str = "claim:";
/// The key sources of the program, and what stands in for them here.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProgramSources {
    given: Vec<(String, StandIn)>,
}

/// What stands in for a source of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StandIn {
    /// Nothing: no request has it.
    Nothing,
    /// One value, for all requests.
    Constant(String),
    Header(String),
    Query(String),
    Cookie(String),
    PeerIp,
}

impl ProgramSources {
    /// Reads `NAME`, for files that are only looked at.
    pub(crate) fn named(names: &[String]) -> Self {
        let name = |text: &String| text.split_once('=').map_or(text.as_str(), |(name, _)| name).to_owned();
        Self { given: names.iter().map(|text| (name(text), StandIn::Nothing)).collect() }
    }

    /// Reads `NAME=VALUE`, for a single request.
    pub(crate) fn constant(texts: &[String]) -> Result<Self, Failure> {
        Self::parse(texts, "claim:account=acme", |value| Ok(StandIn::Constant(value.to_owned())))
    }

    /// Reads `NAME=SOURCE`, for the requests of a log.
    pub(crate) fn of_log(texts: &[String]) -> Result<Self, Failure> {
        Self::parse(texts, "claim:account=header:x-account", StandIn::parse)
    }

    fn parse(
        texts: &[String],
        example: &str,
        stand_in: impl Fn(&str) -> Result<StandIn, Failure>,
    ) -> Result<Self, Failure> {
        let parse = |text: &String| {
            let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let (name, value) =
                parts.ok_or_else(|| Failure::usage(format!("--source {text}: write --source {example}")))?;
            Ok((name.to_owned(), stand_in(value)?))
        };
        Ok(Self { given: texts.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Returns the names of the header fields that the sources read.
    pub(crate) fn header_names(&self) -> impl Iterator<Item = &str> {
        self.given.iter().filter_map(|(_, stand_in)| match stand_in {
            StandIn::Header(name) => Some(name.as_str()),
            StandIn::Cookie(_) => Some("cookie"),
            _ => None,
        })
    }

    /// Returns the claims that a file names and that have no stand-in.
    pub(crate) fn claims_without(&self, file: &Table) -> Vec<String> {
        claims(file).into_iter().filter(|claim| !self.is_given(claim)).collect()
    }

    /// Returns the sources of costs that a text names, that are the program's, and that have no stand-in.
    pub(crate) fn costs_without(&self, text: &str) -> Vec<String> {
        cost_names(text).filter(|name| !self.is_given(name)).map(str::to_owned).collect()
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// Returns the sources for a reader of this file. Claims without a stand-in are sources that no request has.
    pub(crate) fn sources(&self, file: &Table) -> Sources {
        let names = claims(file).into_iter().chain(costs(file));
        let missing = names.filter(|name: &String| !self.is_given(name)).map(|name| (name, StandIn::Nothing));
        let all = self.given.iter().cloned().chain(missing);
        all.fold(Sources::new().environment(variable), |sources, (name, stand_in)| stand_in.add_to(sources, name))
    }
}

impl StandIn {
    fn parse(text: &str) -> Result<Self, Failure> {
        let unknown = || {
            let known = "header:NAME, query:NAME, cookie:NAME, peer_ip and field:NAME, a field of the log";
            Failure::usage(format!("--source ...={text}: not a source that a log has; known are {known}"))
        };
        if text == "peer_ip" {
            return Ok(Self::PeerIp);
        }
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty()).ok_or_else(unknown)?;
        match kind {
            "header" => Ok(Self::Header(name.to_ascii_lowercase())),
            "field" => Ok(Self::Header(field_header(name))),
            "query" => Ok(Self::Query(name.to_owned())),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            _ => Err(unknown()),
        }
    }

    /// Adds it as a source of keys, and as one of costs: a file uses it as one of both.
    fn add_to(self, sources: Sources, name: String) -> Sources {
        let cost = self.clone();
        let sources = sources.cost_source(name.clone(), move |request| cost.units(request));
        match self {
            Self::Nothing => sources.source(name, key::header(field_header("nothing"))),
            Self::Constant(value) => sources.source(name, key::constant(value)),
            Self::Header(header) => sources.source(name, key::header(header)),
            Self::Query(parameter) => sources.source(name, key::query(parameter)),
            Self::Cookie(cookie) => sources.source(name, key::cookie(cookie)),
            // A claim is a text, and so it is shown as one.
            Self::PeerIp => sources.source(name, |request: &RequestView<'_>| {
                request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip().to_string())
            }),
        }
    }

    /// Returns the units that it stands for.
    fn units(&self, request: &RequestView<'_>) -> Option<u64> {
        match self {
            Self::Constant(value) => value.parse().ok(),
            Self::Header(header) => request.headers().get(header)?.to_str().ok()?.trim().parse().ok(),
            _ => None,
        }
    }
}

/// Reads an environment variable, or makes one up: a file is checked where it is written, and not only where it is served.
fn variable(name: &str) -> Result<String, VarError> {
    Ok(env::var(name).unwrap_or_else(|_| "redis://127.0.0.1".to_owned()))
}

/// Returns the sources that are named like claims in the keys and tiers of a file.
fn claims(file: &Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rule in file.get("rule").and_then(Value::as_array).into_iter().flatten() {
        let groups = rule.get("group").and_then(Value::as_array).into_iter().flatten();
        let keys = groups.filter_map(|group| group.get("key")).chain(rule.get("key")).chain(rule.get("tier_from"));
        for text in keys.flat_map(texts) {
            found.extend(text.split('|').map(str::trim).filter(|text| text.starts_with(CLAIM)).map(str::to_owned));
        }
    }
    found
}

/// Returns the sources of costs that are the program's: those that are neither built in nor a likely misspelling of that.
fn costs(file: &Table) -> BTreeSet<String> {
    let rules = file.get("rule").and_then(Value::as_array).into_iter().flatten();
    let costs = rules.flat_map(|rule| ["cost", "reserve"].map(|field| rule.get(field).and_then(Value::as_str)));
    costs.flatten().flat_map(cost_names).map(str::to_owned).collect()
}

fn cost_names(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split('|').map(str::trim).filter(|name| !name.is_empty());
    names.filter(|name| {
        !name.contains(':') && !name.starts_with("content") && name.bytes().any(|byte| !byte.is_ascii_digit())
    })
}

/// Returns one text, or those of a list.
pub(super) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_found_wherever_a_file_may_name_them() {
        let file = "[[rule]]\nkey = ['claim:a | header:x', 'path:b']\ntier_from = 'claim:plan'\n\
                    [[rule.group]]\nkey = 'query:x|claim:c'"
            .parse()
            .unwrap();
        assert_eq!(ProgramSources::default().claims_without(&file), ["claim:a", "claim:c", "claim:plan"]);
        let given = ProgramSources::named(&["claim:a".to_owned(), "claim:c=x".to_owned()]);
        assert_eq!(given.claims_without(&file), ["claim:plan"]);
    }

    #[test]
    fn a_source_of_costs_is_the_programs_unless_it_is_built_in() {
        let text = "header:x-points | prompt | content_length | cl 2 | 50";
        assert_eq!(ProgramSources::default().costs_without(text), ["prompt", "cl 2"]);
        assert_eq!(ProgramSources::named(&["prompt".to_owned()]).costs_without(text), ["cl 2"]);
    }

    #[test]
    fn a_source_of_a_log_is_one_that_a_log_has() {
        let parse = |text: &str| ProgramSources::of_log(&[text.to_owned()]);
        let headers = |text: &str| parse(text).unwrap().header_names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(headers("claim:a=header:X-Account"), ["x-account"]);
        assert_eq!(headers("claim:a=field:remote_user"), ["x-tower-quota-field-remote-user"]);
        assert_eq!(headers("claim:a=peer_ip"), [""; 0]);
        for wrong in ["claim:a", "claim:a=", "=header:x", "claim:a=header:", "claim:a=body:x", "claim:a=x"] {
            assert_eq!(parse(wrong).unwrap_err().code(), Failure::USAGE, "{wrong}");
        }
    }
}
