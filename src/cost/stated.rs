//! A cost that a request states itself.

use http::{HeaderName, header::CONTENT_LENGTH};

use crate::{
    cost::Cost,
    error::ConfigError,
    request::{Http, RequestView},
};

/// A number that a header field states. It becomes a [`Cost`] by [`or`](Self::or), which says what the others cost.
#[derive(Clone, Debug)]
#[must_use = "say what requests cost that do not state it: write .or(1)"]
pub struct Stated(Result<HeaderName, String>);

/// The cost that a request states, or a number if it states none.
///
/// ```
/// use tower_quota::{Policy, Rule, cost, key};
///
/// let uploads = Rule::new("uploads")
///     .routes(["PUT /files/{name}"])
///     .key(key::header("x-account"))
///     .policy("10000000000/hour".parse::<tower_quota::Quota>()?)
///     .cost("bytes", cost::content_length().or(10 * 1024 * 1024));
/// # let _ = uploads;
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StatedOr {
    stated: Stated,
    otherwise: u64,
}

/// Reads the units from a header field that a service of yours has set. Clients must not be able to set it themselves.
///
/// The field has one value, a whole number in decimal digits.
pub fn header(name: impl AsRef<str>) -> Stated {
    let name = name.as_ref();
    Stated(HeaderName::try_from(name).map_err(|_| name.to_owned()))
}

/// Reads the units from `Content-Length`: the bytes of the request's body. Bodies without it, such as chunked ones, need
/// [another number](Stated::or).
pub const fn content_length() -> Stated {
    Stated(Ok(CONTENT_LENGTH))
}

impl Stated {
    /// Sets the units of requests that do not have the field, or have something else than one whole number in it.
    pub const fn or(self, units: u64) -> StatedOr {
        StatedOr { stated: self, otherwise: units }
    }

    /// Checks that the name is one of a header field.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match &self.0 {
            Ok(_) => Ok(()),
            Err(name) => Err(ConfigError::new("cost", format_args!("{name:?}"), "this is no name of a header field")),
        }
    }

    /// Returns the number, if the request states one.
    pub(crate) fn read(&self, request: &RequestView<'_>) -> Option<u64> {
        let mut values = request.headers().get_all(self.0.as_ref().ok()?).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let digits = value.to_str().ok()?.trim();
        // `parse` would accept a sign.
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }
}

impl Cost<Http> for StatedOr {
    fn units(&self, request: &RequestView<'_>) -> u64 {
        self.stated.read(request).unwrap_or(self.otherwise)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.stated.validate()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn cost(value: &[&str]) -> u64 {
        let request = value.iter().fold(Request::builder(), |request, value| request.header("x-units", *value));
        header("X-Units").or(7).units(&RequestView::new(&request.body(()).unwrap()))
    }

    #[test]
    fn a_whole_number_is_read() {
        assert_eq!(cost(&["12"]), 12);
        assert_eq!(cost(&[" 0 "]), 0);
        assert_eq!(cost(&["18446744073709551615"]), u64::MAX);
    }

    #[test]
    fn anything_else_costs_the_other_number() {
        for values in [&[][..], &[""], &["-1"], &["+1"], &["1.5"], &["a"], &["18446744073709551616"], &["1", "2"]] {
            assert_eq!(cost(values), 7, "{values:?}");
        }
    }

    #[test]
    fn a_name_that_no_field_has_is_a_mistake() {
        let error = header("a b").or(1).validate().unwrap_err();
        assert_eq!(error.value(), "\"a b\"");
    }
}
