//! The sources of a cost in a text.

use crate::{
    config::source::{CostSource, Sources},
    cost::{self, Stated},
    error::{ConfigError, nearest},
    request::RequestView,
};

const HEADER: &str = "header";
const CONTENT_LENGTH: &str = "content-length";

/// The sources of a cost, which are tried in order, and the number of units where none of them has one.
pub(super) struct CostTexts {
    sources: Vec<CostText>,
    otherwise: u64,
}

/// One source of a cost.
enum CostText {
    Stated(Stated),
    Named(CostSource),
}

impl CostTexts {
    /// Parses sources and a number behind them, such as `header:x-points | 5`.
    pub(super) fn parse(field: &str, text: &str, named: &Sources) -> Result<Self, ConfigError> {
        let parts: Vec<&str> = text.split('|').map(str::trim).collect();
        let refuse = |value: &str, reason: &str| ConfigError::new(field, format_args!("\"{value}\""), reason);
        let (otherwise, sources) = match &*parts {
            [] | [""] => return Err(refuse(text, &format!("it is empty: write {field} = \"content-length | 1000\""))),
            [number] if units(number).is_some() => {
                return Err(refuse(text, &format!("a number has no quotes: write {field} = {number}")));
            }
            [sources @ .., last] => (units(last), sources),
        };
        let otherwise = otherwise.ok_or_else(|| {
            let reason = format!("it does not say what other requests cost: write {field} = \"{text} | 1\"");
            match CostText::parse(parts.last().unwrap_or(&""), named) {
                Ok(_) => refuse(text, &reason),
                Err((value, reason)) => refuse(&value, &reason),
            }
        })?;
        let parse = |text: &&str| CostText::parse(text, named).map_err(|(value, reason)| refuse(&value, &reason));
        Ok(Self { sources: sources.iter().map(parse).collect::<Result<_, _>>()?, otherwise })
    }

    /// Returns the units that a request costs.
    pub(super) fn units(&self, request: &RequestView<'_>) -> u64 {
        self.sources.iter().find_map(|source| source.read(request)).unwrap_or(self.otherwise)
    }
}

impl CostText {
    /// Parses one source. An error is the text that is wrong, and why.
    fn parse(text: &str, named: &Sources) -> Result<Self, (String, String)> {
        if let Some(source) = named.cost_named(text) {
            return Ok(Self::Named(source.clone()));
        }
        match text.split_once(':') {
            _ if text == CONTENT_LENGTH => Ok(Self::Stated(cost::content_length())),
            Some((HEADER, name)) => {
                let stated = cost::header(name);
                let is_none = |_| match name {
                    "" => "nothing follows the colon: write \"header:NAME\"".to_owned(),
                    _ => format!("not the name of a header field: write \"header:{}\"", suggested_name(name)),
                };
                stated.validate().map_err(|error| (text.to_owned(), is_none(error)))?;
                Ok(Self::Stated(stated))
            }
            _ if units(text).is_some() => {
                Err((text.to_owned(), "a number comes last: no source behind it is ever asked".to_owned()))
            }
            _ => Err((text.to_owned(), unknown(text, named))),
        }
    }

    fn read(&self, request: &RequestView<'_>) -> Option<u64> {
        match self {
            Self::Stated(stated) => stated.read(request),
            Self::Named(read) => read(request),
        }
    }
}

/// Returns the number that a text is.
fn units(text: &str) -> Option<u64> {
    // `parse` would accept a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Returns what may have been meant by a name that no header field has.
fn suggested_name(name: &str) -> &str {
    let trimmed = name.trim().trim_matches(':');
    if http::HeaderName::try_from(trimmed).is_ok() { trimmed } else { "NAME" }
}

fn unknown(text: &str, named: &Sources) -> String {
    let known: Vec<&str> = ["header:NAME", CONTENT_LENGTH].into_iter().chain(named.cost_names()).collect();
    let meant = nearest(&text.replace('_', "-"), [CONTENT_LENGTH]).or_else(|| nearest(text, named.cost_names()));
    let suggestion = meant.map(|source| format!(": write \"{source}\"")).unwrap_or_default();
    format!("not a source of costs{suggestion}; known are {}, and a number at the end", known.join(", "))
}

#[cfg(test)]
mod tests {
    use http::{Request, request::Builder};

    use super::*;

    fn sources() -> Sources {
        Sources::new().cost_source("prompt", |request| request.headers().get("x-prompt").map(|_| 9))
    }

    fn cost(text: &str, request: Builder) -> u64 {
        let request = request.body(()).unwrap();
        CostTexts::parse("cost", text, &sources()).unwrap().units(&RequestView::new(&request))
    }

    fn refusal(text: &str) -> String {
        CostTexts::parse("cost", text, &sources()).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn sources_are_tried_in_order_and_the_number_is_for_the_rest() {
        let text = "header:X-Points | prompt|content-length | 5";
        assert_eq!(cost(text, Request::get("/").header("x-points", "7").header("x-prompt", "")), 7);
        assert_eq!(cost(text, Request::get("/").header("x-points", "many").header("x-prompt", "")), 9);
        assert_eq!(cost(text, Request::get("/").header("content-length", "12")), 12);
        assert_eq!(cost(text, Request::get("/")), 5);
    }

    #[test]
    fn each_mistake_says_what_to_write() {
        for (text, value, reason) in [
            ("", "", "it is empty: write cost = \"content-length | 1000\""),
            ("12", "12", "a number has no quotes: write cost = 12"),
            (
                "header:x-points",
                "header:x-points",
                "it does not say what other requests cost: write cost = \"header:x-points | 1\"",
            ),
            (
                "prompt | -1",
                "-1",
                "not a source of costs; known are header:NAME, content-length, prompt, and a number at the end",
            ),
            ("content_length | 1", "content_length", "not a source of costs: write \"content-length\"; known are"),
            ("promt | 1", "promt", "not a source of costs: write \"prompt\"; known are"),
            ("5 | prompt | 1", "5", "a number comes last: no source behind it is ever asked"),
            ("header: x | 1", "header: x", "not the name of a header field: write \"header:x\""),
            ("header:a b | 1", "header:a b", "not the name of a header field: write \"header:NAME\""),
            ("header: | 1", "header:", "nothing follows the colon: write \"header:NAME\""),
            ("prompt | | 1", "", "not a source of costs"),
        ] {
            let expected = format!("cost \"{value}\": {reason}");
            assert!(refusal(text).starts_with(&expected), "{}\n{expected}", refusal(text));
        }
    }
}
