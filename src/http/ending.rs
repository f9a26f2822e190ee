//! How a request ends that goes no further.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header::CONTENT_LENGTH};

use crate::{
    error::ConfigError,
    grpc::{Code, Denial, Protocol, Status},
    http::{Refusal, Style, add_fields_of_refusal, is_preflight, reduced_capacity, turned_away},
    limiter::{Decision, missing_key},
    request::RequestView,
    warn::Warning,
};

/// What callers are told when the store cannot decide: no more than that.
const UNAVAILABLE: &str = "The rate limit cannot be checked at the moment. Please try again later.";

/// Why a request ends here. What the caller is told of it depends on the protocol: this is the one place where that is
/// chosen.
#[derive(Debug)]
pub(crate) enum Ending<'a> {
    Denied(&'a Decision),
    /// It is not known whether there is room.
    Unavailable,
    /// Waiting would not help.
    TurnedAway {
        status: StatusCode,
        reason: String,
        /// The rule that did, and its level.
        by: Option<(&'a str, &'a str)>,
    },
}

impl<'a> Ending<'a> {
    /// The request does not carry the key of a rule which insists on it.
    pub(crate) fn missing_key((rule, level): (&'a str, &'a str), status: StatusCode) -> Self {
        Self::TurnedAway { status, reason: missing_key(level), by: Some((rule, level)) }
    }

    /// Its messages are counted, and it does not say that they are gRPC's.
    pub(crate) fn not_grpc() -> Self {
        let reason = "The messages of this method are limited: its content type has to be application/grpc.";
        Self::TurnedAway { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, reason: reason.to_owned(), by: None }
    }

    /// The layer was not built right.
    pub(crate) fn misconfigured(error: &ConfigError) -> Self {
        let reason = format!("The rate limiter is misconfigured: {error}");
        Self::TurnedAway { status: StatusCode::INTERNAL_SERVER_ERROR, reason, by: None }
    }

    /// The answer, in the protocol of the caller.
    pub(crate) fn answer(&self, request: &RequestView<'a>, style: &Style) -> Response<Bytes> {
        if is_preflight(request) {
            self.warn_of_preflight(style);
        }
        match style.protocol.of(request) {
            Protocol::Http => self.told(self.on_http(request, style), style),
            protocol => self.told(self.status(style).trailers_only(protocol), style),
        }
    }

    #[cold]
    fn warn_of_preflight(&self, style: &Style) {
        let by = match self {
            Self::Denied(decision) => decision.worst().map(|quota| (quota.rule(), quota.level())),
            Self::Unavailable => None,
            Self::TurnedAway { by, .. } => *by,
        };
        if let Some((rule, level)) = by {
            style.given.give(Warning::PreflightRefused, rule, level);
        }
    }

    /// The answer to a gRPC call.
    pub(crate) fn answer_on_grpc(&self, style: &Style) -> Response<Bytes> {
        self.told(self.status(style).trailers_only(Protocol::Grpc), style)
    }

    /// How a gRPC call ends with it.
    pub(crate) fn status(&self, style: &Style) -> Status {
        match self {
            Self::Denied(decision) => {
                let (domain, pushback_jitter) = (&*style.error_domain, style.pushback_jitter);
                Denial { decision, domain, pushback_jitter }.status()
            }
            Self::Unavailable => Status::new(Code::Unavailable, UNAVAILABLE),
            Self::TurnedAway { status, reason, .. } => Status::new(Code::of_http(*status), reason),
        }
    }

    /// With what callers and outer layers are told of a decision in any protocol.
    fn told(&self, mut answer: Response<Bytes>, style: &Style) -> Response<Bytes> {
        if let Self::Denied(decision) = *self {
            add_fields_of_refusal(&mut answer, decision, style);
            answer.extensions_mut().insert(decision.clone());
        }
        answer
    }

    fn on_http(&self, request: &RequestView<'a>, style: &Style) -> Response<Bytes> {
        let answer = match self {
            Self::Denied(decision) => {
                let refusal = Refusal::new(decision, request);
                style.on_denied.as_ref().map_or_else(|| refusal.response(), |answer| answer(&refusal))
            }
            Self::Unavailable => reduced_capacity(UNAVAILABLE),
            Self::TurnedAway { status, reason, .. } => turned_away(*status, reason),
        };
        if request.method() == Method::HEAD { without_body(answer) } else { answer }
    }
}

/// The answer to HEAD: that to GET, with the length of the body in place of the body (RFC 9110, section 9.3.2).
fn without_body(mut answer: Response<Bytes>) -> Response<Bytes> {
    let body = std::mem::take(answer.body_mut());
    answer.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| body.len().into());
    answer
}
