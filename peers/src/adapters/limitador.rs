//! limitador: fixed windows of whole seconds, several limits at once, keys by expressions.

use std::{collections::HashMap, time::Duration};

use limitador::{
    RateLimiter,
    limit::{Context, Limit as Counter},
};

use crate::{
    subject::{Limit, Setup, Subject},
    timed::Timed,
};

pub(crate) fn subject(setup: &Setup) -> Box<dyn Subject> {
    let limiter = limiter(&setup.plentiful().collect::<Vec<_>>(), setup.max_keys);
    Box::new(move |key: &String| is_admitted(&limiter, key))
}

pub(crate) fn timed(limit: Limit) -> Timed {
    let scaled = limit.scaled_down();
    let limit = Limit::new(limit.units, Duration::from_secs(scaled.window.as_secs() + 1));
    let limiter = limiter(&[limit], 10);
    Timed::in_real_time(limit, move || is_admitted(&limiter, "key"))
}

fn limiter(limits: &[Limit], max_keys: usize) -> RateLimiter {
    let limiter = RateLimiter::new((max_keys * limits.len()) as u64);
    for limit in limits {
        let key = "key".try_into().expect("a name is an expression");
        limiter.add_limit(Counter::new("calls", u64::from(limit.units), limit.window.as_secs(), [], [key]));
    }
    limiter
}

fn is_admitted(limiter: &RateLimiter, key: &str) -> bool {
    let context = Context::from(HashMap::from([("key".to_owned(), key.to_owned())]));
    let result = limiter.check_rate_limited_and_update(&"calls".into(), &context, 1);
    !result.expect("the key is there").limited
}
