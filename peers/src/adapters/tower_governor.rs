//! tower_governor: a layer over governor.

use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use http::Request;
use tower::Layer;
use tower_governor::{GovernorError, GovernorLayer, governor::GovernorConfigBuilder, key_extractor::KeyExtractor};

use crate::{
    bare::{API_KEY, bare, request, serve},
    subject::Limit,
    timed::Timed,
};

/// The same key as everybody's.
#[derive(Clone, Debug)]
pub(crate) struct ByHeader;

impl KeyExtractor for ByHeader {
    type Key = String;

    fn extract<T>(&self, request: &Request<T>) -> Result<String, GovernorError> {
        let value = request.headers().get(API_KEY).and_then(|value| value.to_str().ok());
        value.map(ToOwned::to_owned).ok_or(GovernorError::UnableToExtractKey)
    }
}

type Governor<M> = GovernorLayer<ByHeader, M, axum::body::Body>;

pub(crate) fn layer(limit: Limit) -> Governor<NoOpMiddleware<governor::clock::QuantaInstant>> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(ByHeader);
    builder.period(limit.interval()).burst_size(limit.units);
    GovernorLayer::new(builder.finish().expect("no limit is zero"))
}

pub(crate) fn layer_with_headers(limit: Limit) -> Governor<StateInformationMiddleware> {
    let mut builder = GovernorConfigBuilder::default().key_extractor(ByHeader);
    builder.period(limit.interval()).burst_size(limit.units);
    GovernorLayer::new(builder.use_headers().finish().expect("no limit is zero"))
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let limit = limit.scaled_down();
    let mut serve = serve(layer(limit).layer(bare()));
    Timed::in_real_time(limit, move || serve(request("key")))
}
