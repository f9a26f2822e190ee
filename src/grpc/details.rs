//! The details of a status: messages of `google/rpc/status.proto` and `google/rpc/error_details.proto`.

use std::{iter::Peekable, time::Duration};

use crate::grpc::{Code, protobuf::Message};

/// The longest `google.protobuf.Duration`: ten thousand years.
const MAX_DELAY: Duration = Duration::from_secs(315_576_000_000);

/// A detail of a status: a message, and the name of its type.
#[derive(Clone, Debug)]
pub(super) struct StatusDetail {
    type_url: &'static str,
    message: Message,
}

/// A quota in a `QuotaFailure`.
#[derive(Clone, Debug)]
pub(super) struct QuotaViolation<'a> {
    pub(super) subject: String,
    pub(super) description: String,
    pub(super) quota_id: &'a str,
    pub(super) quota_value: u64,
}

/// The machine-readable reason: a constant within a domain.
#[derive(Clone, Debug)]
pub(super) struct ErrorInfo<'a> {
    pub(super) reason: &'a str,
    pub(super) domain: &'a str,
    pub(super) metadata: Vec<(&'a str, String)>,
}

/// Encodes a `google.rpc.Status`.
pub(super) fn encode<'a>(code: Code, message: &str, details: impl IntoIterator<Item = &'a StatusDetail>) -> Vec<u8> {
    let status = Message::default().integer(1, code.number().into()).text(2, message);
    details.into_iter().fold(status, |status, detail| status.message(3, &detail.any())).into_bytes()
}

impl StatusDetail {
    /// Creates a `RetryInfo`: the minimum delay before a retry.
    pub(super) fn retry_info(delay: Duration) -> Self {
        let delay = delay.min(MAX_DELAY);
        let delay = Message::default().integer(1, delay.as_secs()).integer(2, delay.subsec_nanos().into());
        Self { type_url: "type.googleapis.com/google.rpc.RetryInfo", message: Message::default().message(1, &delay) }
    }

    /// Creates a `QuotaFailure` of as many violations as fit into `room` bytes, and leaves the others in the iterator. Returns
    /// `None` if the first does not fit.
    pub(super) fn quota_failure(violations: &mut Peekable<impl Iterator<Item = Message>>, room: usize) -> Option<Self> {
        let mut message = Message::default();
        while let Some(next) = violations.next_if(|next| message.len() + next.len() + Self::OVERHEAD <= room) {
            message = message.message(1, &next);
        }
        (!message.is_empty()).then_some(Self { type_url: "type.googleapis.com/google.rpc.QuotaFailure", message })
    }

    pub(super) fn error_info(info: &ErrorInfo<'_>) -> Self {
        let message = Message::default().text(1, info.reason).text(2, info.domain);
        let entry = |(key, value): &(&str, String)| Message::default().text(1, key).text(2, value);
        let message = info.metadata.iter().map(entry).fold(message, |message, entry| message.message(3, &entry));
        Self { type_url: "type.googleapis.com/google.rpc.ErrorInfo", message }
    }

    /// An upper bound for the type URL, the tags and the lengths around a violation, in bytes.
    const OVERHEAD: usize = 64;

    fn any(&self) -> Message {
        Message::default().text(1, self.type_url).packed(2, &self.message)
    }
}

impl QuotaViolation<'_> {
    pub(super) fn encode(&self) -> Message {
        let message = Message::default().text(1, &self.subject).text(2, &self.description);
        message.text(5, self.quota_id).integer(7, self.quota_value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    use proptest::prelude::*;
    use prost::Message as _;
    use tonic_types::pb;

    use super::*;

    /// What tonic 0.14.9 writes for the same values.
    const GOLDEN: &str = "CAgSI3JhdGUgbGltaXRlZDogMTAwJSDigJMgdHJ5IGxhdGVyCm5vGjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29v\
                          Z2xlLnJwYy5SZXRyeUluZm8SCgoICAEQgMq17gEaTgordHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlF1\
                          b3RhRmFpbHVyZRIfCh0KDGlwOjE5Mi4wLjIuMRINcGVyLWlwIDEwL21pbhpOCih0eXBlLmdvb2dsZWFwaXMuY29t\
                          L2dvb2dsZS5ycGMuRXJyb3JJbmZvEiIKE1JBVEVfTElNSVRfRVhDRUVERUQSC2V4YW1wbGUuY29t";

    fn violation<'a>(subject: &str, description: &str, quota_id: &'a str, quota_value: u64) -> QuotaViolation<'a> {
        QuotaViolation { subject: subject.to_owned(), description: description.to_owned(), quota_id, quota_value }
    }

    fn all_of<'a>(violations: impl IntoIterator<Item = QuotaViolation<'a>>) -> StatusDetail {
        let mut violations = violations.into_iter().map(|violation| violation.encode()).peekable();
        StatusDetail::quota_failure(&mut violations, usize::MAX).unwrap()
    }

    /// The detail of a type, decoded by prost.
    fn read<M: prost::Message + Default>(status: &pb::Status, name: &str) -> Option<M> {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        let any = status.details.iter().find(|any| any.type_url == url)?;
        Some(M::decode(&*any.value).unwrap())
    }

    #[test]
    fn a_status_is_written_byte_for_byte_as_tonic_does() {
        let details = [
            StatusDetail::retry_info(Duration::from_millis(1500)),
            all_of([violation("ip:192.0.2.1", "per-ip 10/min", "", 0)]),
            StatusDetail::error_info(&ErrorInfo {
                reason: "RATE_LIMIT_EXCEEDED",
                domain: "example.com",
                metadata: Vec::new(),
            }),
        ];
        let message = "rate limited: 100% – try later\nno";
        assert_eq!(STANDARD_NO_PAD.encode(encode(Code::ResourceExhausted, message, &details)), GOLDEN);
    }

    #[test]
    fn a_wait_beyond_ten_thousand_years_is_a_valid_duration() {
        let status = encode(Code::ResourceExhausted, "", [&StatusDetail::retry_info(Duration::MAX)]);
        let retry: pb::RetryInfo = read(&pb::Status::decode(&*status).unwrap(), "RetryInfo").unwrap();
        let delay = retry.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (315_576_000_000, 0));
    }

    #[test]
    fn violations_that_find_no_room_are_left_out_from_the_end() {
        for room in [0, 64, 100, 200, 1000, 10_000] {
            let rows = (0..100).map(|at| violation("level:account", &format!("calls/{at}"), "id", at).encode());
            let mut rows = rows.peekable();
            let failure = StatusDetail::quota_failure(&mut rows, room);
            let bare = encode(Code::ResourceExhausted, "", []).len();
            assert!(encode(Code::ResourceExhausted, "", &failure).len() - bare <= room);
            let status = pb::Status::decode(&*encode(Code::ResourceExhausted, "", &failure)).unwrap();
            let written =
                read::<pb::QuotaFailure>(&status, "QuotaFailure").map_or(0, |failure| failure.violations.len());
            assert_eq!(written + rows.count(), 100);
            assert_eq!(written == 0, room < 100, "{written} violations in {room} bytes");
            assert_eq!(written == 100, room == 10_000, "{written} violations in {room} bytes");
        }
    }

    proptest! {
        #[test]
        fn prost_reads_back_what_is_written(
            message in ".{0,60}",
            seconds in 0u64..315_576_000_000,
            nanos in 0u32..1_000_000_000,
            rows in prop::collection::vec((".{0,20}", ".{0,200}", "[ -~]{0,20}", 0..=i64::MAX as u64), 1..5),
            (reason, domain) in ("[A-Z_]{0,20}", ".{0,20}"),
            metadata in prop::collection::hash_map("[a-z]{1,9}", ".{0,200}", 0..4),
        ) {
            let violations = rows.iter().map(|(subject, text, id, value)| violation(subject, text, id, *value));
            let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
            let details = [
                StatusDetail::retry_info(Duration::new(seconds, nanos)),
                all_of(violations),
                StatusDetail::error_info(&ErrorInfo { reason: &reason, domain: &domain, metadata: pairs }),
            ];
            let status = pb::Status::decode(&*encode(Code::ResourceExhausted, &message, &details)).unwrap();
            prop_assert_eq!((status.code, &status.message, status.details.len()), (8, &message, 3));

            let delay = read::<pb::RetryInfo>(&status, "RetryInfo").unwrap().retry_delay.unwrap();
            prop_assert_eq!((delay.seconds, delay.nanos), (seconds as i64, nanos as i32));
            let info = read::<pb::ErrorInfo>(&status, "ErrorInfo").unwrap();
            let pairs: HashMap<_, _> = metadata.into_iter().collect();
            prop_assert_eq!((info.reason, info.domain, info.metadata), (reason, domain, pairs));
            let failure = read::<pb::QuotaFailure>(&status, "QuotaFailure").unwrap();
            let read = failure.violations.into_iter();
            let read: Vec<_> =
                read.map(|row| (row.subject, row.description, row.quota_id, row.quota_value as u64)).collect();
            prop_assert_eq!(read, rows);
        }
    }
}
