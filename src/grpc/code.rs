//! The codes of gRPC.

use http::StatusCode;

/// Those codes of `google.rpc.Code` that a refusal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code of an HTTP status: the table in the comments of `google/rpc/code.proto`, read backwards.
    ///
    /// It is not the table by which clients read the status of a proxy that speaks no gRPC; servers must not use that.
    pub(crate) fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::InvalidArgument,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            409 => Self::Aborted,
            429 => Self::ResourceExhausted,
            499 => Self::Cancelled,
            500 => Self::Internal,
            501 => Self::Unimplemented,
            503 => Self::Unavailable,
            504 => Self::DeadlineExceeded,
            _ if status.is_client_error() => Self::FailedPrecondition,
            _ => Self::Unknown,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_status_has_the_code_that_google_documents() {
        let rows = [
            (400, 3),
            (401, 16),
            (403, 7),
            (404, 5),
            (409, 10),
            (429, 8),
            (499, 1),
            (500, 13),
            (501, 12),
            (503, 14),
            (504, 4),
        ];
        for (status, code) in rows {
            assert_eq!(Code::of_http(StatusCode::from_u16(status).unwrap()).number(), code, "{status}");
        }
    }

    #[test]
    fn any_other_status_has_the_code_of_its_class() {
        for (status, code) in [(402, 9), (405, 9), (418, 9), (428, 9), (502, 2), (505, 2), (599, 2), (200, 2), (302, 2)]
        {
            assert_eq!(Code::of_http(StatusCode::from_u16(status).unwrap()).number(), code, "{status}");
        }
    }
}
