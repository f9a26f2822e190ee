//! A table that is full of live keys: newcomers share a history, and later owe no more of it than may be their own.

use std::time::Duration;

use tower_quota::{Decision, Policy, RateLimiter};
use tower_quota_tests::limiter::{limiter_for, rule};

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
