//! Extracts a key from metadata of a gRPC call.

use std::borrow::Cow;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderName, HeaderValue};

use crate::{
    error::ConfigError,
    key::{Header, KeyBuilder, KeyExtractor, KeyForms, MissingKey, MultipleValues, header, name},
    request::RequestView,
};

/// The base64 decoder that accepts every spelling that some service may accept. A stricter one would miss an identity
/// that the service sees, and count the same caller in another history. gRPC requires values to be accepted with
/// padding and without; the bits behind the last byte are ignored by some decoders and refused by others.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads metadata of a gRPC call; made by [`metadata`].
///
/// ```
/// use tower_quota::key::{self, KeyExtractor, MultipleValues};
///
/// let tenant: key::Metadata = key::metadata("tenant-bin");
/// let tenant = tenant.multiple_values(MultipleValues::Joined);
/// assert_eq!(tenant.name(), "tenant-bin");
/// assert!(key::metadata("tenant bin").validate().is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Metadata {
    field: Header,
    /// The name, if it is that of binary metadata.
    binary: Option<HeaderName>,
    name: Cow<'static, str>,
    multiple_values: MultipleValues,
}

/// Counts by the metadata `name` of a gRPC call.
///
/// A value counts byte for byte, as with [`header`](crate::key::header). If the name ends in `-bin` then values are
/// base64 and the decoded bytes are the key: every spelling of the same bytes, with padding or without, is one key. A
/// field with values that are joined by commas has several values. Invalid base64 counts as missing.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let tenant = key::metadata("tenant-bin");
/// let rule = Rule::new("calls").every_request().key(tenant);
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// for spelling in ["YWNtZQ", "YWNtZQ=="] {
///     let request = Request::post("/Bots/Export").header("tenant-bin", spelling);
///     let request = request.body(())?;
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     assert_eq!(key, Some(limiter.key("acme")));
/// }
/// let request = Request::post("/Bots/Export").header("tenant-bin", "no base64").body(())?;
/// assert_eq!(limiter.matching(&RequestView::new(&request))[0].key(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn metadata(name: impl Into<Cow<'static, str>>) -> Metadata {
    let name = name.into();
    let field_name = HeaderName::from_bytes(name.as_bytes()).ok();
    let binary = field_name.filter(|name| name.as_str().ends_with("-bin"));
    Metadata { field: header(name.clone()), binary, name, multiple_values: MultipleValues::First }
}

impl Metadata {
    /// Sets the choice among several values. Defaults to [`MultipleValues::First`].
    #[must_use]
    pub fn multiple_values(mut self, multiple_values: MultipleValues) -> Self {
        self.field = self.field.multiple_values(multiple_values);
        self.multiple_values = multiple_values;
        self
    }
}

impl KeyExtractor for Metadata {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let Some(name) = &self.binary else { return self.field.extract(request, key) };
        let values = request.headers().get_all(name).iter().flat_map(values_in);
        self.multiple_values.add(values, |value| LENIENT.decode(value).ok(), key)
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn forms(&self) -> KeyForms {
        match &self.binary {
            Some(_) => self.multiple_values.forms(),
            None => self.field.forms(),
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |_| name::invalid_name("metadata", &self.name, "metadata", name::is_token_char);
        self.field.validate().map_err(refuse)
    }
}

/// Returns the values that a field of binary metadata joins: base64 has no commas.
fn values_in(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::key::{Key, KeyHasher, KeyParts};

    /// The key of a request with these fields, and that of these parts.
    fn keys<P: KeyParts>(metadata: &Metadata, fields: &[(&str, &str)], parts: P) -> (Option<Key>, Option<Key>) {
        let hasher = KeyHasher::default();
        let request = fields.iter().fold(Request::post("/"), |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).unwrap();
        let mut found = KeyBuilder::new(&hasher);
        let result = metadata.extract(&RequestView::new(&request), &mut found);
        let mut expected = KeyBuilder::new(&hasher);
        parts.write(&mut expected);
        (result.ok().map(|()| found.key()), Some(expected.key()))
    }

    fn assert_key<P: KeyParts>(metadata: &Metadata, fields: &[(&str, &str)], parts: P) {
        let (found, expected) = keys(metadata, fields, parts);
        assert_eq!(found, expected, "{fields:?}");
    }

    fn assert_missing(metadata: &Metadata, fields: &[(&str, &str)]) {
        assert_eq!(keys(metadata, fields, "").0, None, "{fields:?}");
    }

    #[test]
    fn text_is_taken_byte_for_byte() {
        let fields = [("tenant", "YWNtZQ=="), ("tenant", "a, b")];
        assert_key(&metadata("Tenant"), &fields, "YWNtZQ==");
        assert_key(&metadata("tenant").multiple_values(MultipleValues::Joined), &fields, ("YWNtZQ==", "a, b"));
        assert_missing(&metadata("tenant").multiple_values(MultipleValues::MissingKey), &fields);
        assert_missing(&metadata("tenant"), &[]);
    }

    #[test]
    fn all_spellings_of_the_same_bytes_are_one_key() {
        for spelling in ["YWNtZQ==", "YWNtZQ=", "YWNtZQ", "YWNtZR", "YWNtZR==", " YWNtZQ\t"] {
            assert_key(&metadata("tenant-bin"), &[("tenant-bin", spelling)], "acme");
            assert_key(&metadata("Tenant-Bin"), &[("tenant-bin", spelling)], "acme");
        }
        assert_key(&metadata("tenant-bin"), &[("tenant-bin", "+/8")], [0xfb_u8, 0xff].as_slice());
        assert_key(&metadata("tenant-bin"), &[("tenant-bin", "")], "");
    }

    #[test]
    fn what_is_no_base64_is_missing() {
        for value in ["YWNtZ", "=", "YWNt!", "-_8", "YW NtZQ", "YWNtZQ===", "YQ==YQ==", "\u{e9}"] {
            assert_missing(&metadata("tenant-bin"), &[("tenant-bin", value)]);
        }
        assert_missing(&metadata("tenant-bin"), &[("tenant", "YWNtZQ")]);
    }

    #[test]
    fn values_joined_by_commas_are_several() {
        for fields in [&[("t-bin", "YQ==, Yg")][..], &[("t-bin", "YQ"), ("t-bin", "Yg==")]] {
            assert_key(&metadata("t-bin"), fields, "a");
            assert_key(&metadata("t-bin").multiple_values(MultipleValues::Joined), fields, ("a", "b"));
            assert_missing(&metadata("t-bin").multiple_values(MultipleValues::MissingKey), fields);
        }
    }

    #[test]
    fn a_value_that_does_not_count_need_not_be_valid() {
        assert_key(&metadata("t-bin"), &[("t-bin", "YQ,!")], "a");
        assert_missing(&metadata("t-bin"), &[("t-bin", "!,YQ")]);
        assert_missing(&metadata("t-bin").multiple_values(MultipleValues::Joined), &[("t-bin", "YQ,!")]);
        assert_missing(&metadata("t-bin").multiple_values(MultipleValues::MissingKey), &[("t-bin", "YQ,!")]);
    }

    #[test]
    fn a_value_of_16_kib_is_a_key() {
        let bytes = vec![0xa5; 16 * 1024];
        assert_key(&metadata("t-bin"), &[("t-bin", &STANDARD.encode(&bytes))], bytes.as_slice());
    }

    #[test]
    fn what_is_no_field_name_is_refused() {
        let error = metadata("a b-bin").validate().unwrap_err();
        assert_eq!(error.to_string(), "key \"metadata:a b-bin\": not the name of metadata: write \"metadata:NAME\"");
        assert!(metadata("tenant-bin").validate().is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_padded_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for spelling in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)] {
                assert_key(&metadata("t-bin"), &[("t-bin", &spelling)], bytes.as_slice());
            }
        }
    }
}
