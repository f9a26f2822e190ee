//! The tables of a file as they are written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use toml::Spanned;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct File {
    pub(super) max_keys: Option<Spanned<usize>>,
    pub(super) message: Option<Spanned<String>>,
    pub(super) client_ip: Option<Spanned<ClientIpTable>>,
    #[serde(default, rename = "rule")]
    pub(super) rules: Vec<Spanned<RuleTable>>,
}

/// `[client_ip]`: what the key source `client_ip` means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct ClientIpTable {
    #[serde(default)]
    pub(super) trust: Vec<Spanned<String>>,
    pub(super) header: Option<Spanned<String>>,
    pub(super) ipv6_prefix: Option<Spanned<u8>>,
}

/// `[[rule]]`.
///
/// What a rule must have is optional here, to be missed with the name of the rule and in plain words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RuleTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) level: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<KeyTexts>>,
    pub(super) quotas: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) routes: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) applies_to: Option<Spanned<String>>,
    pub(super) per_route: Option<Spanned<bool>>,
    #[serde(default)]
    pub(super) count_denied: bool,
    pub(super) resolution: Option<Spanned<u32>>,
    pub(super) on_missing: Option<Spanned<OnMissingValue>>,
    #[serde(default, rename = "group")]
    pub(super) groups: Vec<Spanned<GroupTable>>,
}

/// `[[rule.group]]`: more routes of the rule above, whose key is elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct GroupTable {
    pub(super) key: Option<Spanned<KeyTexts>>,
    pub(super) routes: Option<Spanned<Vec<Spanned<String>>>>,
}

impl RuleTable {
    /// The routes that are in no group.
    pub(super) fn routes(&self) -> &[Spanned<String>] {
        self.routes.as_ref().map_or(&[], |routes| routes.get_ref())
    }
}

impl GroupTable {
    pub(super) fn routes(&self) -> &[Spanned<String>] {
        self.routes.as_ref().map_or(&[], |routes| routes.get_ref())
    }
}

/// One text, or an array of the parts of one key.
#[derive(Debug)]
pub(super) enum KeyTexts {
    One(String),
    Parts(Vec<Spanned<String>>),
}

/// What happens to a request without the key.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected \"share\", \"skip\" or a status")]
pub(super) enum OnMissingValue {
    Word(String),
    Status(i64),
}

/// By hand, because an untagged enum would lose the places of the parts.
impl<'de> Deserialize<'de> for KeyTexts {
    fn deserialize<D>(deserializer: D) -> Result<Self, D::Error>
    where
        D: Deserializer<'de>,
    {
        deserializer.deserialize_any(KeyTextsVisitor)
    }
}

struct KeyTextsVisitor;

impl<'de> Visitor<'de> for KeyTextsVisitor {
    type Value = KeyTexts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key source or an array of key sources")
    }

    fn visit_str<E>(self, text: &str) -> Result<KeyTexts, E>
    where
        E: Error,
    {
        Ok(KeyTexts::One(text.to_owned()))
    }

    fn visit_seq<A>(self, parts: A) -> Result<KeyTexts, A::Error>
    where
        A: SeqAccess<'de>,
    {
        Deserialize::deserialize(SeqAccessDeserializer::new(parts)).map(KeyTexts::Parts)
    }
}

impl KeyTexts {
    /// The texts of the parts and where they stand.
    pub(super) fn parts(read: &Spanned<Self>) -> Vec<Spanned<String>> {
        match read.get_ref() {
            Self::One(text) => vec![Spanned::new(read.span(), text.clone())],
            Self::Parts(parts) => parts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_key_know_their_places() {
        let text = "key = [\n  \"a\",\n  'b']\nroutes = []";
        let table: GroupTable = toml::from_str(text).unwrap();
        let parts = KeyTexts::parts(&table.key.unwrap());
        let places: Vec<&str> = parts.iter().map(|part| &text[part.span()]).collect();
        assert_eq!(places, ["\"a\"", "'b'"]);
    }

    #[test]
    fn a_single_text_is_a_key_of_one_part() {
        let text = "key = \"path:botId\"";
        let table: GroupTable = toml::from_str(text).unwrap();
        let parts = KeyTexts::parts(&table.key.unwrap());
        assert_eq!((parts.len(), &text[parts[0].span()], &**parts[0].get_ref()), (1, "\"path:botId\"", "path:botId"));
    }
}
