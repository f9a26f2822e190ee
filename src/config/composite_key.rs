//! From the texts of a key to an extractor.

use std::{borrow::Cow, sync::Arc};

use toml::Spanned;

use crate::{
    config::{file::KeyTexts, source::Sources, source_map::SourceMap},
    error::ConfigError,
    key::{KeyBuilder, KeyExtractor, MissingKey, RouteParams},
    request::RequestView,
};

/// What a tuple of extractors is in code: the parts of one key, missing if one of them is.
pub(super) struct CompositeKey {
    parts: Vec<Arc<dyn KeyExtractor>>,
}

impl CompositeKey {
    pub(super) fn read(
        texts: &Spanned<KeyTexts>,
        sources: &Sources,
        lines: SourceMap<'_>,
    ) -> Result<Self, ConfigError> {
        let parts = KeyTexts::parts(texts);
        let parts = parts.iter().map(|text| lines.locate(text, sources.part(text.get_ref())));
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return lines.locate(texts, Err(ConfigError::new("key", "[]", "a key has at least one part")));
        }
        Ok(Self { parts })
    }
}

impl KeyExtractor for CompositeKey {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
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
