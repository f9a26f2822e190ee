//! `[headers]` and `[refusal]`: the settings that layers begin with.

use http::StatusCode;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    config::{source_map::SourceMap, value::word},
    error::ConfigError,
    limiter::MessageTemplate,
    response::{CallerProtocol, DecisionIn, Headers, LegacyReset, OnConflict, RefusalFormat, ResponseSettings},
};

/// `[headers]`: the header fields that describe quotas.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct HeadersTable {
    rate_limit: Option<Spanned<String>>,
    legacy: Option<Spanned<String>>,
    in_trailers_only: Option<bool>,
    on_conflict: Option<Spanned<String>>,
}

/// `[refusal]`: the answers to refused requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RefusalTable {
    pub(super) message: Option<Spanned<String>>,
    status: Option<Spanned<i64>>,
    never_possible: Option<Spanned<i64>>,
    format: Option<Spanned<String>>,
    caller_protocol: Option<Spanned<String>>,
    pushback_jitter: Option<u8>,
    error_domain: Option<Spanned<String>>,
}

impl HeadersTable {
    /// Applies the fields that are there.
    pub(super) fn apply(&self, settings: &mut ResponseSettings, lines: SourceMap<'_>) -> Result<(), ConfigError> {
        let draft =
            [("always", Headers::rate_limit()), ("on_refusals", Headers::on_refusals()), ("never", Headers::none())];
        let resets = [("delta", Some(LegacyReset::Delta)), ("epoch", Some(LegacyReset::Epoch)), ("never", None)];
        let conflicts = [("keep", OnConflict::Keep), ("replace", OnConflict::Replace), ("merge", OnConflict::Merge)];
        if let Some(text) = &self.rate_limit {
            settings.headers = settings.headers.with_draft_of(word("headers.rate_limit", text, &draft, lines)?);
        }
        if let Some(text) = &self.legacy {
            settings.headers = settings.headers.with_legacy_or_none(word("headers.legacy", text, &resets, lines)?);
        }
        if let Some(sent) = self.in_trailers_only {
            settings.headers = settings.headers.sent_in_trailers_only(sent);
        }
        if let Some(text) = &self.on_conflict {
            settings.on_conflict = word("headers.on_conflict", text, &conflicts, lines)?;
        }
        Ok(())
    }
}

impl RefusalTable {
    /// Applies the fields that are there, but for the message.
    pub(super) fn apply(&self, settings: &mut ResponseSettings, lines: SourceMap<'_>) -> Result<(), ConfigError> {
        let formats =
            [("problem", RefusalFormat::Problem), ("text", RefusalFormat::Text), ("empty", RefusalFormat::Empty)];
        let protocols = [
            ("by_content_type", CallerProtocol::ByContentType),
            ("http", CallerProtocol::Http),
            ("grpc", CallerProtocol::Grpc),
        ];
        if let Some(status) = &self.status {
            settings.denied_status = lines.locate(status, refusal_status("refusal.status", *status.get_ref(), 429))?;
        }
        if let Some(status) = &self.never_possible {
            let checked = refusal_status("refusal.never_possible", *status.get_ref(), 413);
            settings.never_possible = lines.locate(status, checked)?;
        }
        if let Some(text) = &self.format {
            settings.format = word("refusal.format", text, &formats, lines)?;
        }
        if let Some(text) = &self.caller_protocol {
            settings.protocol = word("refusal.caller_protocol", text, &protocols, lines)?;
        }
        if let Some(percent) = self.pushback_jitter {
            settings.pushback_jitter = percent;
        }
        if let Some(domain) = &self.error_domain {
            settings.error_domain = domain.get_ref().clone().into();
        }
        Ok(())
    }

    /// Returns the message, if there is one, after checking it.
    pub(super) fn message(&self, lines: SourceMap<'_>) -> Result<Option<&str>, ConfigError> {
        let Some(text) = &self.message else { return Ok(None) };
        let named = |error: ConfigError| ConfigError::new("refusal.message", error.value(), error.reason());
        lines.locate(text, MessageTemplate::parse(text.get_ref()).map_err(named))?;
        Ok(Some(text.get_ref()))
    }
}

/// Returns where the decisions about admitted requests are put.
pub(super) fn decision_in(text: &Spanned<String>, lines: SourceMap<'_>) -> Result<DecisionIn, ConfigError> {
    let places = [
        ("request", DecisionIn::Request),
        ("response", DecisionIn::Response),
        ("both", DecisionIn::Both),
        ("neither", DecisionIn::Neither),
    ];
    word("decision", text, &places, lines)
}

/// Returns a status from 400 to 599.
pub(super) fn error_status(status: i64) -> Option<StatusCode> {
    let status = StatusCode::from_u16(u16::try_from(status).ok()?).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(status)
}

fn refusal_status(field: &str, status: i64, usual: u16) -> Result<StatusCode, ConfigError> {
    let reason = || format!("a refusal has a status from 400 to 599: write one such as {usual}");
    error_status(status).ok_or_else(|| ConfigError::new(field, status, reason()))
}
