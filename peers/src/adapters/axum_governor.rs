//! axum-governor: a layer over governor with quotas in a stack.

use axum_governor::{GovernorConfigBuilder, GovernorLayer, Header};
use http::HeaderName;
use tower::Layer;

use super::governor::quota;
use crate::{
    bare::{API_KEY, bare, request, serve},
    subject::Limit,
    timed::Timed,
};

static HEADER: HeaderName = HeaderName::from_static(API_KEY);

/// One quota, and the second of two in its stack.
pub(crate) fn layer(limits: &[Limit]) -> GovernorLayer<String> {
    let [first, more @ ..] = limits else { unreachable!("a layer has a limit") };
    let builder = GovernorConfigBuilder::default().with_extractor(Header(&HEADER)).quota_default(quota(*first).into());
    let builder =
        more.iter().fold(builder, |builder, limit| builder.stack("hour", Header(&HEADER), quota(*limit).into()));
    GovernorLayer::new(builder.gc_disable().finish().expect("no limit is zero"))
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let limit = limit.scaled_down();
    let mut serve = serve(layer(&[limit]).layer(bare()));
    Timed::in_real_time(limit, move || serve(request("key")))
}
