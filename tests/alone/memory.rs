//! What a limiter allocates: nothing for a key it knows, and a bounded amount for one that it does not.
//!
//! Allocations are counted per thread, so these tests do not disturb each other.

use std::{convert::Infallible, time::Duration};

use allocation_counter::{AllocationInfo, measure};
use futures_util::FutureExt;
use http::{Request, Response};
use tower::{Layer, ServiceExt};
use tower_quota::{Policy, RateLimitLayer, http::DecisionIn, key};
use tower_quota_tests::limiter::{limiter_for, rule};

const MINUTE: Duration = Duration::from_secs(60);

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

/// Bytes that `work` allocates and keeps.
fn bytes_kept(work: impl FnOnce()) -> u64 {
    let AllocationInfo { bytes_current, .. } = measure(work);
    u64::try_from(bytes_current).unwrap()
}

fn keys() -> Vec<String> {
    [1, 8, 15, 16, 27, 28, 60, 95].iter().map(|length| "k".repeat(*length)).collect()
}

#[test]
fn a_decision_about_a_known_key_allocates_nothing() {
    let minute_and_hour = || Policy::per_minute(60).and_per_hour(1800);
    let rules = [rule("a", minute_and_hour()), rule("b", minute_and_hour()), rule("large", Policy::per_hour(100_000))];
    let (limiter, clock) = limiter_for(1000, rules);
    for key in keys() {
        let key = key.as_str();
        let both = || limiter.check_all([("a", key), ("b", key)]).unwrap().is_admitted();
        let one = || limiter.rule("a").unwrap().check(key).is_admitted();
        // The units of a minute and then a denial, so that the memory for them is there.
        assert_eq!((0..61).filter(|_| both()).count(), 60);
        for admitted in [true, false] {
            clock.advance(if admitted { MINUTE } else { Duration::ZERO });
            assert_eq!(allocations(|| assert_eq!(one(), admitted)), 0, "one rule, {} bytes", key.len());
            assert_eq!(allocations(|| assert_eq!(both(), admitted)), 0, "two rules, {} bytes", key.len());
            if admitted {
                while one() {}
            }
        }
        let _ = limiter.rule("large").unwrap().check(key);
        let large = || assert!(limiter.rule("large").unwrap().check(key).is_admitted());
        assert_eq!(allocations(large), 0, "a large quota, {} bytes", key.len());
    }
}

#[test]
fn keys_of_two_parts_allocate_nothing_either() {
    let (limiter, _) = limiter_for(1000, [rule("tables", Policy::per_minute(600).and_per_hour(18_000))]);
    let check = || drop(limiter.rule("tables").unwrap().check(("account-4711", "a table of which the name is long")));
    (0..100).for_each(|_| check());
    assert_eq!(allocations(check), 0);
}

#[test]
fn a_full_history_turns_over_without_allocating() {
    let (limiter, clock) = limiter_for(10, [rule("calls", Policy::per_minute(60).and_per_hour(1800))]);
    let hours = |hours: u32| {
        let mut admitted = 0;
        for _ in 0..hours * 3600 {
            admitted += u32::from(limiter.rule("calls").unwrap().check("ann").is_admitted());
            clock.advance(Duration::from_secs(1));
        }
        admitted
    };
    assert_eq!(hours(2), 3600);
    let mut admitted = 0;
    assert_eq!(allocations(|| admitted = hours(2)), 0);
    assert_eq!(admitted, 3600);
}

/// The fields of the responses share memory, and that is used again.
#[test]
fn a_layer_that_tells_only_the_caller_allocates_nothing() {
    let bare = tower::service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::builder().header("content-type", "text/plain").body(String::new()).unwrap())
    });
    let policy = Policy::per_minute(1000).and_per_hour(1800);
    let layered =
        RateLimitLayer::new(key::header("x-account"), policy).unwrap().decision(DecisionIn::Neither).layer(bare);
    let serve = |service: &mut dyn FnMut(Request<()>) -> bool| {
        let requests =
            || Request::get("/").header("x-account", "an account of which the name is long").body(()).unwrap();
        // So many that the memory for their units is there.
        (0..200).for_each(|_| assert!(service(requests())));
        let requests: Vec<_> = std::iter::repeat_with(requests).take(100).collect();
        allocations(|| requests.into_iter().for_each(|request| assert!(service(request))))
    };
    let without = serve(&mut |request| bare.oneshot(request).now_or_never().unwrap().unwrap().headers().len() == 1);
    let with =
        serve(&mut |request| layered.clone().oneshot(request).now_or_never().unwrap().unwrap().headers().len() == 3);
    assert_eq!(with, without);
}

/// The decision that a shared history has a say in looks it up where it is.
#[test]
fn a_key_that_may_owe_the_shared_history_allocates_nothing() {
    let (limiter, _) = limiter_for(1, [rule("calls", Policy::per_minute(60))]);
    let _ = limiter.rule("calls").unwrap().check("filler");
    let check = || assert!(limiter.rule("calls").unwrap().check("ann").is_admitted());
    (0..6).for_each(|_| check());
    assert_eq!(allocations(check), 0, "in the shared history");
    limiter.rule("calls").unwrap().reset("filler");
    (0..6).for_each(|_| check());
    assert_eq!(allocations(check), 0, "in a place of its own");
}

/// P6: 60 per minute and 1800 per hour, all of them used.
#[test]
fn a_full_history_of_1800_units_takes_4_bytes_for_each() {
    let (limiter, clock) = limiter_for(10, [rule("calls", Policy::per_minute(60).and_per_hour(1800))]);
    let bytes = bytes_kept(|| {
        for _ in 0..1800 {
            assert!(limiter.rule("calls").unwrap().check("ann").is_admitted());
            clock.advance(Duration::from_secs(1));
        }
    });
    assert!((4 * 1800..=8300).contains(&bytes), "{bytes} bytes");
}

/// P6: however large the limit is, the entries are as many as the resolution says.
#[test]
fn the_history_of_a_large_quota_is_bounded_by_its_resolution() {
    for (resolution, requests) in [(4096, 200_000u32), (64, 20_000)] {
        let (limiter, clock) = limiter_for(10, [rule("calls", Policy::per_hour(1_000_000).resolution(resolution))]);
        let step = Duration::from_secs(2 * 3600) / requests;
        let bytes = bytes_kept(|| {
            for _ in 0..requests {
                assert!(limiter.rule("calls").unwrap().check("ann").is_admitted());
                clock.advance(step);
            }
        });
        // Up to two cells per entry of 8 bytes each, in a queue that doubles; and the key's place.
        let bound = 8 * 2 * (2 * u64::from(resolution) + 2) + 1024;
        assert!(bytes <= bound, "{bytes} bytes of {bound}");
    }
}

/// P6: what one million idle clients cost.
#[test]
fn an_idle_key_takes_at_most_232_bytes() {
    const KEYS: u64 = 100_000;
    let (limiter, _) = limiter_for(1_000_000, [rule("calls", Policy::per_minute(60).and_per_hour(1800))]);
    let bytes = bytes_kept(|| {
        for number in 0..KEYS {
            let _ = limiter.rule("calls").unwrap().check(format!("a client of which a hash is kept: {number}"));
        }
    });
    assert!(bytes / KEYS <= 232, "{} bytes per key", bytes / KEYS);
}

/// P6, rows F05 and A4: at the cap any number of further keys takes no further memory.
#[test]
fn the_memory_is_flat_at_the_cap() {
    const CAP: u32 = 10_000;
    let (limiter, clock) = limiter_for(CAP as usize, [rule("calls", Policy::per_second(5))]);
    let flood = |keys: std::ops::Range<u32>| {
        for number in keys {
            let _ = limiter.rule("calls").unwrap().check(number.to_string());
            if number.is_multiple_of(20) {
                clock.advance(Duration::from_millis(1));
            }
        }
    };
    let bytes = bytes_kept(|| flood(0..50 * CAP));
    assert!(bytes / u64::from(CAP) <= 232, "{} bytes per key", bytes / u64::from(CAP));
    let more = measure(|| flood(50 * CAP..80 * CAP)).bytes_current;
    // A shard's table doubles once in its life at the cap; most of them have by now.
    assert!(more <= bytes as i64 / 8, "{more} bytes more after {bytes}");
    assert!(limiter.len() <= CAP as usize);
}

/// Row T12: the memory of histories goes with the keys.
#[test]
fn idle_histories_give_their_memory_back() {
    let (limiter, clock) =
        limiter_for(1000, [rule("calls", Policy::per_minute(500)), rule("busy", Policy::per_hour(9))]);
    let freed = measure(|| {
        for number in 0..100u32 {
            (0..500).for_each(|_| drop(limiter.rule("calls").unwrap().check(number.to_string())));
        }
        clock.advance(MINUTE);
        (0..64 * 256 * 4).for_each(|_| drop(limiter.rule("busy").unwrap().check("driver")));
    });
    assert_eq!(limiter.len(), 1);
    // Of 100 times 2000 bytes nothing is left but the table.
    assert!(freed.bytes_current < 100_000, "{} bytes", freed.bytes_current);
}
