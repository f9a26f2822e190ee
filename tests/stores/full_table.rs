//! A table that is full of live keys: newcomers share a history, and later owe no more of it than may be their own.

use std::time::Duration;

use tower_quota::{Decision, Policy, Quota, RateLimiter, clock::ManualClock};
use tower_quota_tests::limiter::{limiter_for, rule, with_rules};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn check(limiter: &RateLimiter, key: &str) -> Decision {
    limiter.rule("calls").unwrap().check(key)
}

fn left(decision: &Decision) -> u64 {
    decision.quotas().next().unwrap().remaining()
}

#[test]
fn a_key_whose_history_was_dropped_owes_nothing_that_was_shared_before() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_hour(3))]);
    assert!(check(&limiter, "ann").is_admitted());
    clock.set(HOUR / 2);
    for stranger in ["s1", "s2", "s3"] {
        assert!(check(&limiter, stranger).is_admitted());
    }
    clock.set(HOUR);
    assert_eq!(left(&limiter.rule("calls").unwrap().peek("ann")), 3);
    // A stranger owes what strangers have used, and looks for a place nevertheless.
    assert!(!check(&limiter, "s4").is_admitted());
    assert_eq!(limiter.len(), 0);
    assert_eq!(left(&limiter.rule("calls").unwrap().peek("ann")), 3);
    assert_eq!((0..9).filter(|_| check(&limiter, "ann").is_admitted()).count(), 3);
    assert!(!check(&limiter, "s1").is_admitted(), "no amnesty for who has used the shared history");
}

#[test]
fn a_key_that_was_reset_owes_nothing_that_was_shared_before() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_hour(2))]);
    assert!(check(&limiter, "filler").is_admitted());
    assert!(check(&limiter, "ann").is_admitted() && check(&limiter, "ann").is_admitted());
    clock.advance(MINUTE);
    let calls = limiter.rule("calls").unwrap();
    assert_eq!([calls.reset("ann"), calls.reset("ann")], [true, false], "the second time there is nothing to forget");
    assert!(calls.reset("filler"));
    assert_eq!((0..9).filter(|_| check(&limiter, "ann").is_admitted()).count(), 2);
}

#[test]
fn strangers_that_come_later_keep_nobody_out() {
    let (limiter, clock) = limiter_for(2, [rule("calls", Policy::per_hour(3))]);
    let (mut asked, mut admitted) = (0, 0);
    assert!(check(&limiter, "early").is_admitted());
    for minutes in (0..7 * 24 * 60).step_by(5) {
        clock.set(MINUTE * minutes);
        if minutes % 30 == 0 {
            assert!(check(&limiter, "busy").is_admitted());
        }
        if minutes % 10 == 0 {
            let _ = check(&limiter, &format!("stranger {minutes}"));
        }
        if minutes >= 60 && minutes % 20 == 5 {
            asked += 1;
            admitted += u32::from(check(&limiter, "ann").is_admitted());
        }
    }
    // What was shared when she got her place has drained after an hour.
    assert!(asked > 490 && admitted >= asked - 6, "{admitted} of {asked}");
}

#[test]
fn a_debt_is_told_and_drains_with_the_units_that_made_it() {
    let (limiter, clock) = limiter_for(1, [rule("calls", Policy::per_hour(3))]);
    assert!(check(&limiter, "filler").is_admitted());
    for minutes in [10, 20] {
        clock.set(MINUTE * minutes);
        assert!(check(&limiter, "ann").is_admitted());
    }
    clock.set(HOUR);
    assert_eq!(left(&check(&limiter, "ann")), 0);
    // There is no other place: a stranger cannot be told from her, and she can be told from him.
    clock.set(HOUR + MINUTE);
    let _ = check(&limiter, "stranger");
    let denied = check(&limiter, "ann");
    assert_eq!((denied.is_admitted(), denied.retry_after()), (false, Some(9 * MINUTE)));
    clock.set(HOUR + 10 * MINUTE);
    assert!(check(&limiter, "ann").is_admitted());
    assert_eq!(check(&limiter, "ann").retry_after(), Some(10 * MINUTE));
}

#[test]
fn denials_of_two_newcomers_are_counted_before_the_wait_is_told() {
    for limit in 1..6 {
        let (limiter, clock) = limiter_for(2, [rule("calls", Policy::per_minute(limit).count_denied())]);
        let _ = check(&limiter, "filler");
        for seconds in [0, 7, 20, 41, 43, 50, 110, 115] {
            clock.set(Duration::from_secs(seconds));
            let decision = limiter.check_all([("calls", "x"), ("calls", "y")]).unwrap();
            let others: Vec<u64> = decision.quotas().map(|quota| quota.remaining()).collect();
            let looks = ["x", "y"].map(|key| left(&limiter.rule("calls").unwrap().peek(key)));
            assert_eq!(others, looks, "of {limit} after {seconds} s");
            if let Some(wait) = decision.retry_after() {
                let now = Duration::from_secs(seconds);
                clock.set(now + wait - Duration::from_nanos(1));
                let is_early = ["x", "y"].map(|key| limiter.rule("calls").unwrap().peek(key).is_admitted());
                assert_ne!(is_early, [true, true], "of {limit} after {seconds} s");
                clock.set(now + wait);
                let is_room = ["x", "y"].map(|key| limiter.rule("calls").unwrap().peek(key).is_admitted());
                assert_eq!(is_room, [true, true], "of {limit} after {seconds} s and {wait:?}");
            }
        }
    }
}

#[test]
fn denials_that_count_do_not_push_out_what_somebody_owes() {
    let (limiter, clock) = limiter_for(2, [rule("calls", Policy::per_minute(3).count_denied())]);
    let _ = check(&limiter, "first");
    clock.set(Duration::from_secs(30));
    let _ = check(&limiter, "second");
    clock.set(Duration::from_secs(50));
    assert!((0..2).all(|_| check(&limiter, "ann").is_admitted()));
    // Her place is free now, and she owes two.
    clock.set(MINUTE);
    assert_eq!(left(&check(&limiter, "ann")), 0);
    // Strangers knock and knock, and the shared history keeps three of them.
    for seconds in 61..90 {
        clock.set(Duration::from_secs(seconds));
        let _ = check(&limiter, "stranger");
    }
    let look = limiter.rule("calls").unwrap().peek("ann");
    assert_eq!((look.is_admitted(), left(&look)), (false, 0));
    clock.set(Duration::from_secs(121));
    assert!(check(&limiter, "ann").is_admitted());
}

/// A minute after Ann took the only place, under "calls". What is shared is exhausted: under "visits" for 45 seconds more, under
/// "calls" for 50.
fn ann_has_an_idle_place() -> (RateLimiter, ManualClock) {
    let (limiter, clock) =
        limiter_for(1, [rule("calls", Policy::per_minute(1)), rule("visits", Policy::per_minute(1))]);
    assert!(check(&limiter, "ann").is_admitted());
    clock.set(Duration::from_secs(45));
    assert!(limiter.rule("visits").unwrap().check("stranger").is_admitted());
    clock.set(Duration::from_secs(50));
    assert!(check(&limiter, "stranger").is_admitted());
    clock.set(MINUTE);
    (limiter, clock)
}

#[test]
fn a_request_that_is_denied_does_not_lose_a_place_that_it_had() {
    let (limiter, clock) = ann_has_an_idle_place();
    let ask = || limiter.check_all([("visits", "ann"), ("calls", "ann")]).unwrap();
    // Each denial takes a step of the sweep, and these get round more than once.
    for _ in 0..200 {
        assert_eq!(ask().retry_after(), Some(Duration::from_secs(45)));
    }
    clock.advance(Duration::from_secs(45));
    assert!(ask().is_admitted());
}

#[test]
fn one_key_of_a_request_does_not_take_the_place_of_another() {
    let (limiter, clock) = ann_has_an_idle_place();
    // A newcomer looks for idle places beside its own: one in 256 of these looks where Ann's is.
    for number in 0..5000 {
        let denied = limiter.check_all([("visits", &*format!("page {number}")), ("calls", "ann")]).unwrap();
        assert_eq!(denied.retry_after(), Some(Duration::from_secs(45)), "with page {number}");
    }
    clock.advance(Duration::from_secs(45));
    assert!(limiter.check_all([("visits", "page 0"), ("calls", "ann")]).unwrap().is_admitted());
}

#[test]
fn denials_that_have_left_their_window_do_not_come_back_with_a_longer_one() {
    let millis = Duration::from_millis;
    let long = || rule("long", Policy::per_hour(9));
    let short = rule("calls", Policy::new(Quota::new(1, millis(2))).count_denied());
    let (limiter, clock) = limiter_for(1, [short, long()]);
    assert!(check(&limiter, "filler").is_admitted());
    // The shared history keeps five of nine units. That of the other rule goes on for an hour.
    assert!(limiter.rule("long").unwrap().check("stranger").is_admitted());
    assert_eq!((0..9).filter(|_| check(&limiter, "stranger").is_admitted()).count(), 1);
    clock.set(millis(10));
    assert!(check(&limiter, "filler").is_admitted());
    assert_eq!(left(&limiter.rule("calls").unwrap().peek("ann")), 1);
    limiter.reload(|builder| Ok(with_rules(builder, [rule("calls", Policy::per_second(2)), long()]))).unwrap();
    let look = limiter.rule("calls").unwrap().peek("ann");
    assert_eq!(left(&look), 2);
    assert!(limiter.rule("calls").unwrap().reset("filler"));
    assert_eq!(limiter.rule("calls").unwrap().peek("ann").is_admitted(), look.is_admitted());
    assert!(check(&limiter, "ann").is_admitted());
}

#[test]
fn denials_that_were_pushed_out_are_not_owed_under_a_larger_limit() {
    let (limiter, _clock) = limiter_for(1, [rule("calls", Policy::per_hour(3).count_denied())]);
    assert!(check(&limiter, "filler").is_admitted());
    // The shared history keeps five of nine units, as one of her own would.
    assert_eq!((0..9).filter(|_| check(&limiter, "ann").is_admitted()).count(), 3);
    limiter.reload(|builder| Ok(with_rules(builder, [rule("calls", Policy::per_hour(8))]))).unwrap();
    let look = || left(&limiter.rule("calls").unwrap().peek("ann"));
    assert_eq!(look(), 3, "without a place");
    assert!(limiter.rule("calls").unwrap().reset("filler"));
    assert_eq!(look(), 3, "with a place");
    assert_eq!((0..9).filter(|_| check(&limiter, "ann").is_admitted()).count(), 3);
}
