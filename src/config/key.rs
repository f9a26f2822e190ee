//! From the texts of a key to an extractor.

use std::{borrow::Cow, sync::Arc};

use toml::Spanned;

use crate::{
    config::{file::KeyTexts, lines::Lines, source::Sources},
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

    fn name(&self) -> Cow<'_, str> {
        let names: Vec<_> = self.parts.iter().map(KeyExtractor::name).collect();
        Cow::Owned(names.join("+"))
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(KeyExtractor::validate)
    }

    fn validate_on(&self, params: Option<RouteParams<'_>>) -> Result<(), ConfigError> {
        self.parts.iter().try_for_each(|part| part.validate_on(params))
    }
}
