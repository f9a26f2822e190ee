//! Tiers and reloads on a real server: one history, which several policies judge, in one process or in several.

use std::{collections::HashMap, time::Duration};

use tower_quota::{
    ConfigError, Decision, Policy, RateLimiter, Rule,
    clock::ManualClock,
    store::{LeaseConfig, OnOutage, RedisStore},
};
use tower_quota_tests::{
    limiter::with_rules,
    redis::{Limiter, Server, admitted, limiter, remaining, rule, store},
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn tiered(free: &str, tiers: &[(&str, &str)]) -> Rule {
    let tiers = tiers.iter().map(|(name, policy)| (*name, policy.parse::<Policy>().unwrap()));
    tiers.fold(rule("calls", free.parse::<Policy>().unwrap()), |rule, (name, policy)| rule.tier(name, policy))
}

/// A limiter of one rule at a time that the test sets.
fn on(server: &Server, rule: Rule) -> (Limiter, ManualClock) {
    let clock = ManualClock::new();
    clock.set(HOUR * 24 * 20_000);
    (limiter(store(server.url()).virtual_time(clock.clone()), [rule]), clock)
}

async fn ask(limiter: &Limiter, tier: Option<&str>, key: &str) -> Decision {
    let handle = limiter.rule("calls").unwrap();
    let handle = tier.map_or_else(|| handle.clone(), |tier| handle.in_tier(tier).unwrap());
    handle.check_async(key).await.unwrap()
}

async fn admitted_as(limiter: &Limiter, tier: Option<&str>, most: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..most {
        admitted += usize::from(ask(limiter, tier, "ann").await.is_admitted());
    }
    admitted
}

fn reload(limiter: &Limiter, rule: Rule) {
    limiter.reload(|builder| Ok(builder.rule(rule))).unwrap();
}

#[tokio::test]
async fn whoever_becomes_pro_has_what_is_left_of_pro_and_back_in_free_waits_for_the_minute() {
    let server = Server::start();
    let (limiter, clock) = on(&server, tiered("60/minute", &[("pro", "600/minute")]));
    assert_eq!(admitted_as(&limiter, None, 70).await, 60);
    clock.advance(SECOND * 20);
    let first = ask(&limiter, Some("pro"), "ann").await;
    assert_eq!(remaining(&first), [539]);
    assert_eq!(first.quotas().next().and_then(|quota| quota.tier()), Some("pro"));
    assert_eq!(admitted_as(&limiter, Some("pro"), 50).await, 50);
    clock.advance(SECOND * 10);
    // 51 units stay when the first sixty leave.
    let back = ask(&limiter, None, "ann").await;
    assert_eq!((back.is_admitted(), remaining(&back), back.retry_after()), (false, vec![0], Some(SECOND * 30)));
    clock.advance(SECOND * 30);
    assert_eq!(admitted_as(&limiter, None, 20).await, 9);
    assert_eq!(ask(&limiter, None, "ann").await.retry_after(), Some(SECOND * 20));
    clock.advance(SECOND * 20);
    assert_eq!(admitted_as(&limiter, None, 70).await, 51);
    assert_eq!(remaining(&ask(&limiter, Some("pro"), "ann").await), [539]);
}

#[tokio::test]
async fn a_tier_without_limits_is_recorded_and_a_window_of_one_tier_counts_all() {
    let server = Server::start();
    let rule = tiered("60/minute", &[("daily", "100/day")]).unlimited_tier("staff");
    let (limiter, clock) = on(&server, rule);
    let staff = ask(&limiter, Some("staff"), "ann").await;
    assert!(staff.is_admitted() && staff.quotas().next().is_none());
    assert_eq!(admitted_as(&limiter, Some("staff"), 29).await, 29);
    assert_eq!(remaining(&ask(&limiter, None, "ann").await), [29]);
    assert_eq!(remaining(&ask(&limiter, Some("daily"), "ann").await), [68]);
    clock.advance(HOUR);
    assert_eq!(admitted_as(&limiter, None, 100).await, 60);
    assert_eq!(admitted_as(&limiter, Some("daily"), 100).await, 8);
    assert_eq!(admitted_as(&limiter, Some("staff"), 200).await, 200);
    clock.advance(HOUR * 23);
    let daily = ask(&limiter, Some("daily"), "ann").await;
    assert_eq!((daily.is_admitted(), daily.retry_after()), (false, Some(HOUR)));
    clock.advance(HOUR);
    assert_eq!(remaining(&ask(&limiter, Some("daily"), "ann").await), [99]);
}

#[tokio::test]
async fn a_tier_that_is_set_at_run_time_has_the_same_history() {
    let server = Server::start();
    let (limiter, _) = on(&server, tiered("6/minute", &[("pro", "60/minute")]));
    assert_eq!(admitted(&limiter, "calls", "ann", 10).await, 6);
    limiter.set_tier("calls", "ann", Some("pro")).unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 100).await, 54);
    limiter.set_tier("calls", "ann", None).unwrap();
    assert_eq!(admitted(&limiter, "calls", "ann", 10).await, 0);
    assert_eq!(admitted(&limiter, "calls", "bob", 10).await, 6);
}

#[tokio::test]
async fn a_reload_changes_what_a_history_is_compared_with_and_forgets_nothing() {
    let server = Server::start();
    let (limiter, clock) = on(&server, tiered("60/minute", &[]));
    assert_eq!(admitted_as(&limiter, None, 100).await, 60);
    reload(&limiter, tiered("100/minute", &[]));
    assert_eq!(admitted_as(&limiter, None, 100).await, 40);
    reload(&limiter, tiered("30/minute", &[]));
    let denied = ask(&limiter, None, "ann").await;
    assert_eq!((denied.is_admitted(), denied.retry_after()), (false, Some(MINUTE)));
    // The hour knows what the minute has remembered.
    reload(&limiter, tiered("200/minute, 150/hour", &[]));
    assert_eq!(admitted_as(&limiter, None, 100).await, 50);
    clock.advance(MINUTE);
    assert_eq!(remaining(&ask(&limiter, None, "ann").await), [200, 0]);
    reload(&limiter, tiered("20/minute", &[("hourly", "155/hour")]));
    assert_eq!(admitted_as(&limiter, None, 3).await, 3);
    assert_eq!(admitted_as(&limiter, Some("hourly"), 10).await, 2);
    assert_eq!(admitted_as(&limiter, None, 30).await, 15);
    // A quota over 4096 is counted in buckets.
    reload(&limiter, tiered("20/minute, 10000/hour", &[("hourly", "155/hour")]));
    clock.advance(MINUTE);
    let decision = ask(&limiter, None, "ann").await;
    assert_eq!(remaining(&decision), [19, 10_000 - 171]);
    assert_eq!(admitted_as(&limiter, Some("hourly"), 10).await, 0);
    reload(&limiter, tiered("60/minute", &[]));
    assert_eq!(admitted_as(&limiter, None, 100).await, 59);
}

#[tokio::test]
async fn a_limit_that_was_lowered_while_denials_count_is_not_refilled_when_it_comes_back() {
    let server = Server::start();
    let calls = |most| rule("calls", Policy::per_minute(most).count_denied());
    let (limiter, clock) = on(&server, calls(30));
    assert_eq!(admitted_as(&limiter, None, 30).await, 30);
    clock.advance(SECOND);
    reload(&limiter, calls(3));
    assert_eq!(admitted_as(&limiter, None, 10).await, 0);
    reload(&limiter, calls(30));
    assert_eq!(admitted_as(&limiter, None, 10).await, 0);
}

#[tokio::test]
async fn a_reset_in_one_process_is_one_in_processes_with_other_windows() {
    let server = Server::start();
    let (small, clock) = on(&server, tiered("60/minute", &[]));
    let large = limiter(store(server.url()).virtual_time(clock), [tiered("6000/minute, 9000/hour", &[])]);
    assert_eq!((admitted_as(&large, None, 20).await, admitted_as(&small, None, 10).await), (20, 10));
    assert!(small.rule("calls").unwrap().reset_async("ann").await.unwrap());
    assert_eq!(server.query::<usize>("DBSIZE"), 0);
    assert!(!large.rule("calls").unwrap().reset_async("ann").await.unwrap());
    assert_eq!(remaining(&ask(&small, None, "ann").await), [59]);
    assert_eq!(remaining(&ask(&large, None, "ann").await), [5998, 8998]);
}

#[tokio::test]
async fn another_level_of_a_rule_begins_afresh_in_all_processes_and_other_capitals_go_on() {
    let server = Server::start();
    let level = |name: &str| tiered("6/minute", &[]).level(name);
    let (reloaded, clock) = on(&server, level("user"));
    assert_eq!(admitted_as(&reloaded, None, 4).await, 4);
    reload(&reloaded, level("team"));
    let restarted = |rule| limiter(store(server.url()).virtual_time(clock.clone()), [rule]);
    let team = restarted(level("team"));
    assert_eq!((admitted_as(&team, None, 5).await, admitted_as(&reloaded, None, 9).await), (5, 1));
    reload(&reloaded, level("user"));
    assert_eq!(admitted_as(&reloaded, None, 9).await, 2);
    let loud = restarted(rule("CALLS", Policy::per_minute(6)).level("user"));
    assert_eq!(admitted(&loud, "calls", "ann", 9).await, 0);
}

#[tokio::test]
async fn a_denial_that_is_remembered_is_that_of_its_tier_and_ends_when_another_tier_is_admitted() {
    let server = Server::start();
    let clock = ManualClock::new();
    let remembering = store(server.url()).virtual_time(clock.clone()).denial_cache_ttl(HOUR);
    let limiter = limiter(remembering, [tiered("1/minute", &[("pro", "3/minute")])]);
    assert!(ask(&limiter, None, "ann").await.is_admitted());
    clock.advance(SECOND * 10);
    assert_eq!(ask(&limiter, None, "ann").await.retry_after(), Some(SECOND * 50));
    server.run("CONFIG RESETSTAT");
    assert_eq!(ask(&limiter, None, "ann").await.retry_after(), Some(SECOND * 50));
    assert_eq!(server.calls_of("evalsha"), 0, "it is remembered");
    assert!(ask(&limiter, Some("pro"), "ann").await.is_admitted());
    assert_eq!(ask(&limiter, None, "ann").await.retry_after(), Some(MINUTE), "there is one unit more");
    reload(&limiter, tiered("2/minute", &[]));
    assert_eq!(ask(&limiter, None, "ann").await.retry_after(), Some(SECOND * 50));
    reload(&limiter, tiered("3/minute", &[]));
    assert!(ask(&limiter, None, "ann").await.is_admitted());
}

#[tokio::test]
async fn leases_leave_out_rules_with_tiers_and_go_on_with_new_limits_after_a_reload() {
    let server = Server::start();
    let leasing = || store(server.url()).lease(LeaseConfig::new(64, SECOND * 20));
    let named = leasing().lease(LeaseConfig::new(64, SECOND).for_rules(["calls"]));
    let tiers = || tiered("100/minute", &[("pro", "600/minute")]);
    let refused = |built: Result<Limiter, ConfigError>| built.map(drop).unwrap_err().field().to_owned();
    assert_eq!(refused(RateLimiter::builder().store(named.clone()).rule(tiers()).build()), "lease: rule");
    let named = limiter(named, [tiered("100/minute", &[])]);
    assert_eq!(named.reload(|builder| Ok(builder.rule(tiers()))).unwrap_err().field(), "lease: rule");

    let here = limiter(leasing().prefix("other"), [tiered("300/hour", &[])]);
    assert_eq!(admitted_as(&here, None, 100).await, 100);
    reload(&here, tiered("400/hour", &[]));
    let more = admitted_as(&here, None, 400).await;
    // Units that were leased under the old limits are not spent until they have gone back.
    assert!((300 - 64..=300).contains(&more), "{more}");
    reload(&here, tiers());
    server.run("CONFIG RESETSTAT");
    assert_eq!(admitted_as(&here, Some("pro"), 10).await, 10);
    assert_eq!(server.calls_of("evalsha"), 10);
}

#[tokio::test]
async fn in_an_outage_tiers_and_reloads_have_their_shares() {
    let server = Server::start();
    let clock = ManualClock::new();
    let share = RedisStore::new(server.url(), OnOutage::Local { share: 0.5 }).deadline(SECOND);
    let share = share.denial_cache_ttl(Duration::ZERO);
    let rules = [tiered("20/minute", &[("pro", "200/minute")])];
    let limiter = with_rules(RateLimiter::builder().clock(clock).store(share), rules).build().unwrap();
    assert_eq!(admitted_as(&limiter, None, 4).await, 4);
    server.kill();
    assert_eq!(admitted_as(&limiter, None, 20).await, 6);
    assert_eq!(admitted_as(&limiter, Some("pro"), 200).await, 90);
    reload(&limiter, tiered("220/minute, 1000/hour", &[]));
    assert_eq!(admitted_as(&limiter, None, 200).await, 10);
}

/// A request for one of the rules, in one of its tiers.
fn mixed(random: &mut fastrand::Rng) -> (&'static str, Option<&'static str>, String) {
    let tier = random.choice([None, None, Some("pro"), Some("hourly"), Some("staff")]).unwrap();
    (random.choice(["calls", "large"]).unwrap(), tier, format!("key {}", random.u8(..2)))
}

/// The store in memory and that on a server tell callers of tiers the same.
#[tokio::test]
async fn tiers_on_a_server_are_decided_as_in_memory() {
    let (server, mut random) = (Server::start(), fastrand::Rng::with_seed(16));
    // Not of quotas over 4096: the origins of the two times differ, and so do the edges of their buckets.
    let rules = || {
        let large = rule("large", Policy::per_minute(40)).tier("pro", Policy::per_minute(900));
        let large = large.tier("hourly", Policy::per_hour(300)).unlimited_tier("staff");
        [tiered("20/minute", &[("pro", "30/minute, 200/hour"), ("hourly", "150/hour")]).unlimited_tier("staff"), large]
    };
    let clock = ManualClock::new();
    clock.set(HOUR);
    let shared = limiter(store(server.url()).virtual_time(clock.clone()), rules());
    let alone = with_rules(RateLimiter::builder().clock(clock.clone()), rules()).build().unwrap();
    for step in 0..6_000 {
        let (rule, tier, key) = mixed(&mut random);
        let (on_redis, in_memory) = (shared.rule(rule).unwrap(), alone.rule(rule).unwrap());
        let (on_redis, in_memory) = match tier {
            Some(tier) => (on_redis.in_tier(tier).unwrap(), in_memory.in_tier(tier).unwrap()),
            None => (on_redis, in_memory),
        };
        let (decided, expected) = (on_redis.check_async(&*key).await.unwrap(), in_memory.check(&*key));
        let told = |decision: &Decision| (decision.is_admitted(), remaining(decision), decision.retry_after());
        assert_eq!(told(&decided), told(&expected), "{step}: {rule} {tier:?}");
        clock.advance(MILLI * random.u32(..3_000));
    }
}

/// One process: its limiter, and the policies that its tiers have now.
struct Process {
    limiter: Limiter,
    tiers: HashMap<Option<&'static str>, Vec<(usize, Duration)>>,
}

/// Limits and windows in seconds, by tier.
type Version = &'static [(Option<&'static str>, &'static [(usize, u64)])];

const OLD: Version = &[(None, &[(6, 60)]), (Some("pro"), &[(30, 60), (200, 3600)])];
const NEW: Version = &[(None, &[(9, 60), (60, 3600)]), (Some("pro"), &[(50, 60)]), (Some("team"), &[(900, 86_400)])];
const LATER: Version = &[(None, &[(3, 60)]), (Some("pro"), &[(20, 60), (300, 3600)]), (Some("team"), &[(400, 86_400)])];

fn rule_of(version: Version) -> Rule {
    let policy =
        |quotas: &[(usize, u64)]| quotas.iter().map(|(limit, secs)| format!("{limit}/{secs}s")).collect::<Vec<_>>();
    let tiers: Vec<_> = version.iter().map(|(tier, quotas)| (*tier, policy(quotas).join(", "))).collect();
    let named: Vec<_> = tiers.iter().filter_map(|(tier, policy)| Some(((*tier)?, policy.as_str()))).collect();
    tiered(&tiers[0].1, &named).unlimited_tier("staff")
}

impl Process {
    fn start(server: &Server, clock: &ManualClock, version: Version) -> Self {
        let limiter = limiter(store(server.url()).virtual_time(clock.clone()), [rule_of(version)]);
        let mut process = Self { limiter, tiers: HashMap::new() };
        process.learn(version);
        process
    }

    fn reload(&mut self, version: Version) {
        reload(&self.limiter, rule_of(version));
        self.learn(version);
    }

    fn learn(&mut self, version: Version) {
        let quotas =
            |quotas: &[(usize, u64)]| quotas.iter().map(|(limit, secs)| (*limit, SECOND * *secs as u32)).collect();
        self.tiers = version.iter().map(|(tier, of_tier)| (*tier, quotas(of_tier))).collect();
        self.tiers.insert(Some("staff"), Vec::new());
    }

    /// What the list of all admissions by anybody says.
    fn may_admit(&self, tier: Option<&str>, all: &[Duration], now: Duration) -> bool {
        let quotas = &self.tiers[&tier];
        quotas.iter().all(|(limit, window)| all.iter().rev().take_while(|at| **at + *window > now).count() < *limit)
    }
}

/// A rolling deployment that takes long: two versions of a policy, both with tiers, on the same keys, and both reloaded.
#[tokio::test]
async fn two_processes_with_other_tiers_admit_exactly_what_is_left_for_a_thousand_minutes() {
    let (server, clock, mut random) = (Server::start(), ManualClock::new(), fastrand::Rng::with_seed(1016));
    let mut now = HOUR * 24 * 20_000;
    clock.set(now);
    let mut processes = [Process::start(&server, &clock, OLD), Process::start(&server, &clock, NEW)];
    let mut all = [const { Vec::<Duration>::new() }; 2];
    let start = now;
    let mut reloads = [(500, 0, NEW), (700, 1, LATER), (850, 0, OLD)].into_iter().peekable();
    let mut turns = 0;
    while now < start + MINUTE * 1_000 {
        if let Some((_, who, version)) = reloads.next_if(|(minute, ..)| now >= start + MINUTE * *minute) {
            processes[who].reload(version);
        }
        // Each asks once in the beginning, so that the history is kept for both.
        let (who, key) = if turns < 4 { (turns % 2, turns / 2) } else { (random.usize(..2), random.usize(..2)) };
        let process = &processes[who];
        let mut tiers: Vec<_> = process.tiers.keys().copied().filter(|tier| *tier != Some("staff")).collect();
        tiers.sort_unstable();
        let tier = if random.u8(..40) == 0 { Some("staff") } else { random.choice(tiers).unwrap() };
        let decision = ask(&process.limiter, tier, ["ann", "bob"][key]).await;
        let may = process.may_admit(tier, &all[key], now);
        assert_eq!(decision.is_admitted(), may, "process {who} at {:?}, tier {tier:?}", now - start);
        if may {
            all[key].push(now);
        }
        turns += 1;
        let pause = MILLI * if random.u8(..10) == 0 { random.u32(..90_000) } else { random.u32(..2_000) };
        now += pause;
        clock.set(now);
    }
    assert!(turns > 5_000 && all.iter().all(|admitted| admitted.len() > 1_500), "{turns}");
}
