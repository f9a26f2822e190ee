//! A key that is the same for every request.

use crate::{
    http::RequestView,
    key::{KeyBuilder, KeyExtractor, Missing},
};

/// What a `&'static str` is in code: one history for all callers.
#[derive(Debug)]
pub(super) struct Constant(pub(super) String);

impl KeyExtractor for Constant {
    fn extract(&self, _: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), Missing> {
        key.part(&self.0);
        Ok(())
    }
}
