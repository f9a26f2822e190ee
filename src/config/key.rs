//! From the texts of a key to an extractor.

use std::sync::Arc;

use toml::Spanned;

use crate::{
    config::{
        file::KeyTexts,
        lines::Lines,
        source::{Sources, alternatives},
    },
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, Missing, RouteParams},
    request::RequestView,
};

/// What a tuple of extractors is in code: the parts of one key, missing if one of them is.
pub(super) struct ListedKey {
    parts: Vec<Arc<dyn KeyExtractor>>,
}

impl ListedKey {
    pub(super) fn read(texts: &Spanned<KeyTexts>, sources: &Sources, lines: Lines<'_>) -> Result<Self, ConfigError> {
        let parts = KeyTexts::parts(texts);
        let parts = parts.iter().map(|text| lines.blame(text, sources.part(text.get_ref())));
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return lines.blame(texts, Err(ConfigError::new("key", "[]", "a key has at least one part")));
        }
        Ok(Self { parts })
    }
}

impl KeyExtractor for ListedKey {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        self.parts.iter().try_for_each(|part| part.extract(request, key))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(KeyExtractor::validate)
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(|part| part.validate_on(params))
    }
}

/// The name of a level that is called after its key: its text, but for the characters that a name cannot have.
pub(super) fn level_of(texts: &Spanned<KeyTexts>) -> String {
    let part = |text: &Spanned<String>| alternatives(text.get_ref()).collect::<Vec<_>>().join("|");
    let text = KeyTexts::parts(texts).iter().map(part).collect::<Vec<_>>().join("+");
    let allowed = |letter: &char| letter.is_ascii_graphic() && !matches!(letter, '"' | '\\');
    text.chars().map(|letter| if allowed(&letter) { letter } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(parts: &[&str]) -> String {
        let parts = parts.iter().map(|part| Spanned::new(0..0, (*part).to_owned())).collect();
        level_of(&Spanned::new(0..0, KeyTexts::Parts(parts)))
    }

    #[test]
    fn a_level_without_a_name_is_called_after_its_key() {
        assert_eq!(level(&["path:botId"]), "path:botId");
        assert_eq!(level(&["claim:account", "path:tableName"]), "claim:account+path:tableName");
        assert_eq!(level(&["path:streamId | claim:appId"]), "path:streamId|claim:appId");
        assert_eq!(level(&["constant:all \"of\" thém"]), "constant:all--of--th-m");
    }
}
