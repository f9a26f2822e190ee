//! How a request ends that goes no further.

use http::{Method, Response, header::CONTENT_LENGTH};
use http_body::Body;

use crate::{
    grpc::{Code, DeniedStatus, Protocol, Status},
    http::{Refusal, RefusalBody, ResponseOptions, add_fields_of_refusal, is_preflight},
    request::RequestView,
    warn::Warning,
};

/// What the caller is told depends on the protocol: this is the one place where that is chosen.
impl Refusal<'_> {
    /// The answer, in the protocol of the caller.
    pub(crate) fn answer(&self, request: &RequestView<'_>, style: &ResponseOptions) -> Response<RefusalBody> {
        if is_preflight(request) {
            self.warn_of_preflight(style);
        }
        match style.protocol.of(request) {
            Protocol::Http => self.told(self.on_http(request, style), style),
            protocol => self.trailers_only(protocol, style),
        }
    }

    /// The answer to a gRPC call.
    pub(crate) fn answer_on_grpc(&self, style: &ResponseOptions) -> Response<RefusalBody> {
        self.trailers_only(Protocol::Grpc, style)
    }

    /// How a gRPC call ends with it.
    pub(crate) fn grpc_status(&self, style: &ResponseOptions) -> Status {
        match self {
            Self::Denied(decision) => {
                let (domain, pushback_jitter) = (&*style.error_domain, style.pushback_jitter);
                DeniedStatus { decision, domain, pushback_jitter }.status()
            }
            Self::Unavailable(_) => Status::new(Code::Unavailable, &self.message()),
            Self::KeyMissing { .. } | Self::NotGrpc => Status::new(Code::of_http(self.status()), &self.message()),
        }
    }

    /// An answer with what callers and outer layers are told of a decision in any protocol.
    pub(crate) fn told(&self, mut answer: Response<RefusalBody>, style: &ResponseOptions) -> Response<RefusalBody> {
        if let Self::Denied(decision) = *self {
            add_fields_of_refusal(&mut answer, decision, style);
            answer.extensions_mut().insert(decision.clone());
        }
        answer
    }

    fn trailers_only(&self, protocol: Protocol<'_>, style: &ResponseOptions) -> Response<RefusalBody> {
        let answer = self.grpc_status(style).trailers_only(protocol);
        self.told(answer.map(RefusalBody::from_bytes), style)
    }

    fn on_http(&self, request: &RequestView<'_>, style: &ResponseOptions) -> Response<RefusalBody> {
        let answer = style.on_refusal.as_ref().map_or_else(|| self.response(), |answer| answer(self, request));
        if request.method() == Method::HEAD { without_body(answer) } else { answer }
    }

    #[cold]
    fn warn_of_preflight(&self, style: &ResponseOptions) {
        let by = match *self {
            Self::Denied(decision) => decision.worst().map(|quota| (quota.rule(), quota.level())),
            Self::KeyMissing { rule, level, .. } => Some((rule, level)),
            Self::Unavailable(_) | Self::NotGrpc => None,
        };
        if let Some((rule, level)) = by {
            style.given.warn(Warning::PreflightRefused, rule, level);
        }
    }
}

/// The answer to HEAD: that to GET, with the length of the body in place of the body (RFC 9110, section 9.3.2).
fn without_body(mut answer: Response<RefusalBody>) -> Response<RefusalBody> {
    let body = std::mem::take(answer.body_mut());
    if let Some(length) = body.size_hint().exact() {
        answer.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    answer
}
