//! Rules that are on, soft, in shadow or off, with histories on servers: as in memory, in one atomic step.
#![allow(clippy::disallowed_methods, reason = "here the time is that of real servers")]

use std::time::Duration;

use futures_util::future::join_all;
use tower_quota::{
    Decision, Enforcement, Policy, RateLimiter, Rule,
    clock::ManualClock,
    store::{LeaseConfig, OnOutage, RedisStore},
};
use tower_quota_tests::{
    limiter::with_rules,
    redis::{Cluster, Limiter, Server, admitted, limiter, remaining, rule, store},
};

const RULES: [&str; 5] = ["one", "two", "strict", "counting", "large"];
const ALL: [Enforcement; 4] = [Enforcement::On, Enforcement::Soft, Enforcement::Shadow, Enforcement::Off];

fn rules() -> impl Iterator<Item = Rule> {
    let policies = [
        Policy::per_second(3),
        Policy::per_second(4).and_per_minute(12),
        Policy::per_second(1),
        Policy::per_second(2).count_denied(),
        Policy::per_minute(40).and_per_second(4).resolution(16),
    ];
    RULES.iter().zip(policies).map(|(name, policy)| rule(name, policy))
}

/// A rule of one request an hour.
fn strict(enforcement: Enforcement) -> Rule {
    rule("calls", Policy::per_hour(1)).enforcement(enforcement)
}

/// What a decision says: the verdict, the rules that would deny, the soft ones over their limits, and what is left.
fn said(decision: &Decision) -> (bool, Vec<String>, Vec<String>, Vec<u64>) {
    let names = |quota: tower_quota::QuotaStatus<'_>| quota.policy_name().to_owned();
    let would = decision.would_be_denied_by().map(names).collect();
    let over = decision.over_soft_limits().map(names).collect();
    (decision.is_admitted(), would, over, remaining(decision))
}

/// Asks a limiter on servers and one in memory the same, at the same time by the same clock.
async fn assert_as_in_memory(store: RedisStore, key_of: impl Fn(&str) -> String, steps: usize, seed: u64) {
    let (clock, mut random) = (ManualClock::new(), fastrand::Rng::with_seed(seed));
    clock.set(Duration::from_secs(1_700_000_000));
    let on_servers =
        with_rules(RateLimiter::builder().store(store.virtual_time(clock.clone())), rules()).build().unwrap();
    let in_memory = with_rules(RateLimiter::builder().clock(clock.clone()), rules()).build().unwrap();
    for step in 0..steps {
        clock.advance(Duration::from_millis(random.u64(0..400)));
        if step % 7 == 0 {
            let (rule, enforcement) = (RULES[random.usize(..5)], ALL[random.usize(..4)]);
            on_servers.enforce(rule, enforcement).unwrap();
            in_memory.enforce(rule, enforcement).unwrap();
        }
        let mut asked = RULES;
        random.shuffle(&mut asked);
        let asked = &asked[..random.usize(1..=5)];
        let charges = || asked.iter().map(|rule| (*rule, key_of(rule)));
        let decided = on_servers.check_all_async(charges()).await.unwrap();
        let expected = in_memory.check_all(charges()).unwrap();
        assert_eq!(said(&decided), said(&expected), "seed {seed}, step {step}: {asked:?}");
        let (rule, key) = (asked[0], key_of(asked[0]));
        let peeked = on_servers.rule(rule).unwrap().peek_async(&*key).await.unwrap();
        assert_eq!(said(&peeked), said(&in_memory.rule(rule).unwrap().peek(&*key)), "seed {seed}, step {step}: {rule}");
    }
}

#[tokio::test]
async fn a_server_decides_as_the_store_in_memory_does() {
    let server = Server::start();
    for seed in 0..8 {
        let store = store(server.url()).prefix(format!("seed-{seed}"));
        assert_as_in_memory(store, |_| "ann".to_owned(), 250, seed).await;
    }
}

/// Every rule has its key on a node of its own, so charges are reserved and rolled back.
#[tokio::test]
async fn a_cluster_decides_as_the_store_in_memory_does() {
    let cluster = Cluster::start();
    for seed in 0..4 {
        let store = RedisStore::cluster(cluster.urls(), OnOutage::Closed).deadline(Duration::from_secs(20));
        let store = store.denial_cache_ttl(Duration::ZERO).prefix(format!("seed-{seed}"));
        assert_as_in_memory(store, |rule| format!("ann of {rule}"), 150, seed).await;
    }
}

#[tokio::test]
async fn requests_of_one_batch_are_told_of_a_shadow_each_for_itself() {
    let server = Server::start();
    let limiter = limiter(store(server.url()), [strict(Enforcement::Shadow), rule("api", Policy::per_hour(4))]);
    let ask = || limiter.check_all_async([("calls", "ann"), ("api", "ann")]);
    let decided = join_all((0..6).map(|_| ask())).await;
    let said: Vec<_> = decided
        .iter()
        .map(|decision| decision.as_ref().unwrap())
        .map(|decision| (decision.is_admitted(), decision.would_be_denied_by().count()))
        .collect();
    assert_eq!(said, [(true, 0), (true, 1), (true, 1), (true, 1), (false, 1), (false, 1)]);
}

#[tokio::test]
async fn a_denial_that_is_remembered_and_units_that_are_lent_are_for_enforced_rules() {
    let server = Server::start();
    let lent = store(server.url())
        .denial_cache_ttl(Duration::from_secs(60))
        .lease(LeaseConfig::new(8, Duration::from_secs(1)));
    let limiter = limiter(lent, [strict(Enforcement::On)]);
    assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 1);
    for enforcement in [Enforcement::Shadow, Enforcement::Soft, Enforcement::Off] {
        limiter.enforce("calls", enforcement).unwrap();
        assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 3, "{enforcement}");
    }
    limiter.enforce_as_configured("calls").unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 3).await, 0);
}

#[tokio::test]
async fn two_processes_enforce_one_history_each_in_its_way() {
    let server = Server::start();
    let [on, shadow] = [Enforcement::On, Enforcement::Shadow].map(|it| limiter(store(server.url()), [strict(it)]));
    assert_eq!(admitted(&shadow, "calls", "ann", 2).await, 2);
    assert_eq!(admitted(&on, "calls", "ann", 2).await, 0);
    let decision = shadow.rule("calls").unwrap().check_async("ann").await.unwrap();
    assert_eq!(decision.would_be_denied_by().count(), 1);
}

// Without a server.

/// A store that never reaches a server.
fn cut_off(on_outage: OnOutage, rules: impl IntoIterator<Item = Rule>) -> Limiter {
    limiter(RedisStore::new("redis://127.0.0.1:1", on_outage).denial_cache_ttl(Duration::ZERO), rules)
}

#[tokio::test]
async fn a_limiter_that_fails_closed_refuses_nobody_for_a_rule_that_is_not_enforced() {
    let rules = ALL.iter().map(|enforcement| rule(enforcement.as_str(), Policy::per_hour(1)).enforcement(*enforcement));
    let limiter = cut_off(OnOutage::Closed, rules);
    for enforcement in ALL {
        let decided = limiter.rule(enforcement.as_str()).unwrap().check_async("ann").await;
        assert_eq!(decided.is_ok(), enforcement != Enforcement::On, "{enforcement}");
    }
    assert!(limiter.check_all_async([("shadow", "ann"), ("on", "ann")]).await.is_err());
    assert!(limiter.check_all_async([("shadow", "ann"), ("soft", "ann")]).await.unwrap().is_admitted());
}

#[tokio::test]
async fn a_limiter_that_decides_itself_in_an_outage_enforces_as_ever() {
    for (enforcement, expected) in ALL.into_iter().zip([1, 3, 3, 3]) {
        let limiter = cut_off(OnOutage::Local { share: 1.0 }, [strict(enforcement)]);
        assert_eq!(admitted(&limiter, "calls", "ann", 3).await, expected, "{enforcement}");
        let decision = limiter.rule("calls").unwrap().check_async("ann").await.unwrap();
        assert_eq!(decision.is_over_soft_limit(), enforcement == Enforcement::Soft);
        assert_eq!(decision.would_be_denied_by().count(), usize::from(enforcement == Enforcement::Shadow));
    }
}
