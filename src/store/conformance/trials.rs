//! What is arranged, and not left to chance.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    clock::ManualClock,
    policy::{Policy, Quota},
    store::{
        Store,
        conformance::{
            Breach, Promise, Suite,
            breach::expect,
            subject::{Subject, answered},
        },
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const TASKS: usize = 64;

/// Runs all of them.
pub(super) async fn run<S: Store, F: FnMut(ManualClock) -> S>(suite: &mut Suite<F>) -> Result<(), Breach> {
    let subject = suite.subject([Policy::per_minute(1)])?;
    look(subject).await.map_err(|breach| breach.during("looking"))?;
    let subject = suite.subject([Policy::per_minute(2).and_per_hour(5)])?;
    knock(subject).await.map_err(|breach| breach.during("knocking where denials are free"))?;
    for limit in [1, 2, 60] {
        let tick = suite.finest();
        let subject = suite.subject([Policy::per_minute(limit)])?;
        n_then_none(subject, limit, tick).await.map_err(|breach| breach.during(format_args!("{limit} at once")))?;
    }
    let subject = suite.subject([Policy::per_minute(60).and_per_hour(180)])?;
    hour_beside_minute(subject).await.map_err(|breach| breach.during("an exhausted hour beside a minute"))?;
    let subject = suite.subject([Policy::per_hour(4200)])?;
    n_at_once(subject, 4200).await.map_err(|breach| breach.during("a large quota"))?;
    for order in [[0, 1], [1, 0]] {
        let subject = suite.subject([Policy::per_minute(10), Policy::per_minute(1)])?;
        wide_and_narrow(subject, order).await.map_err(|breach| breach.during("a wide rule beside a narrow one"))?;
    }
    let subject = suite.subject([Policy::per_minute(3).count_denied()])?;
    knock(subject).await.map_err(|breach| breach.during("knocking where denials count"))?;
    let subject = suite.subject([Policy::per_minute(1), Policy::per_minute(1)])?;
    keys_apart(subject).await.map_err(|breach| breach.during("keys that look alike"))?;
    let subject = suite.small_subject([Policy::per_hour(2)], 50)?;
    crowd(subject).await.map_err(|breach| breach.during("a crowd of newcomers"))?;
    for policy in [Policy::per_minute(5), Policy::per_minute(5).and(Quota::new(17, HOUR)).resolution(16)] {
        let subject = suite.subject([policy])?;
        step_back(subject).await.map_err(|breach| breach.during("a clock that steps back"))?;
    }
    for policy in
        [Policy::per_minute(300), Policy::per_minute(300).count_denied(), Policy::per_minute(300).resolution(16)]
    {
        let subject = suite.subject([policy])?;
        tasks_on_one_key(&subject, 300).await.map_err(|breach| breach.during("many tasks on one key"))?;
    }
    let subject = suite.subject([Policy::per_minute(10), Policy::per_minute(1)])?;
    tasks_under_two_rules(subject).await.map_err(|breach| breach.during("many tasks under two rules"))
}

async fn look<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    for _ in 0..3 {
        subject.look((0, "ann")).await?;
        subject.look((0, "ann")).await?;
        subject.ask(&[(0, "ann")]).await?;
    }
    subject.reset((0, "ann")).await?;
    subject.look((0, "ann")).await?;
    subject.reset((0, "bob")).await
}

async fn n_then_none<S: Store>(mut subject: Subject<S>, limit: u32, tick: Duration) -> Result<(), Breach> {
    for _ in 0..3 {
        for _ in 0..limit {
            subject.ask(&[(0, "ann")]).await?;
        }
        subject.ask(&[(0, "ann")]).await?;
        subject.advance(MINUTE - tick);
        subject.ask(&[(0, "ann")]).await?;
        subject.advance(tick);
    }
    Ok(())
}

async fn n_at_once<S: Store>(mut subject: Subject<S>, limit: u32) -> Result<(), Breach> {
    for _ in 0..limit + 2 {
        subject.ask(&[(0, "ann")]).await?;
    }
    subject.advance(HOUR * 2);
    subject.ask(&[(0, "ann")]).await.map(drop)
}

async fn hour_beside_minute<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    for _ in 0..4 {
        for _ in 0..62 {
            subject.ask(&[(0, "ann")]).await?;
        }
        subject.advance(MINUTE);
    }
    Ok(())
}

async fn wide_and_narrow<S: Store>(mut subject: Subject<S>, order: [usize; 2]) -> Result<(), Breach> {
    for _ in 0..20 {
        subject.ask(&order.map(|rule| (rule, "ann"))).await?;
    }
    for _ in 0..11 {
        subject.ask(&[(0, "ann")]).await?;
    }
    subject.look((1, "ann")).await
}

async fn knock<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    for _ in 0..30 {
        subject.ask(&[(0, "ann")]).await?;
        subject.advance(10 * SECOND);
    }
    subject.advance(MINUTE);
    subject.ask(&[(0, "ann")]).await.map(drop)
}

async fn keys_apart<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    let long = "x".repeat(300);
    let keys = ["", "a", "}{", "{}", "{a", "a}", "|", ":", "\0", "a\0", "\r\n", "*", "é", &long, &long[1..]];
    for key in keys {
        for rule in [0, 1] {
            let first = subject.admits((rule, key)).await?;
            expect(first, Promise::NeverDeniedWithRoom, || format!("{key:?} was taken for another"))?;
            expect(!subject.admits((rule, key)).await?, Promise::NothingForgotten, || {
                format!("{key:?} was forgotten")
            })?;
        }
    }
    for key in keys {
        subject.look((0, key)).await?;
        subject.reset((0, key)).await?;
        subject.look((1, key)).await?;
    }
    Ok(())
}

/// More keys than have a place in this process, while somebody is exhausted.
async fn crowd<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    for _ in 0..3 {
        subject.ask(&[(0, "ann")]).await?;
    }
    for number in 0..500 {
        answered(subject.limiter().check_async("rule-0", format!("key {number}").as_str()).await)?;
    }
    let forgotten = answered(subject.limiter().check_async("rule-0", "ann").await)?;
    expect(!forgotten.is_admitted(), Promise::NothingForgotten, || {
        "who was exhausted is admitted after the crowd".to_owned()
    })
}

/// No unit is given away early, and nobody is locked out for longer than the step and the window.
async fn step_back<S: Store>(subject: Subject<S>) -> Result<(), Breach> {
    let ask = async || answered(subject.limiter().check_async("rule-0", "ann").await).map(|told| told.is_admitted());
    for back in [SECOND, MINUTE, HOUR] {
        subject.clock().set(10 * HOUR);
        for _ in 0..5 {
            ask().await?;
        }
        subject.clock().set(10 * HOUR - back);
        expect(!ask().await?, Promise::NeverMoreThanN, || format!("{back:?} back gave a unit away"))?;
        subject.advance(back + 2 * HOUR);
        expect(ask().await?, Promise::NeverDeniedWithRoom, || format!("{back:?} back locked the key out"))?;
        answered(subject.limiter().reset_async("rule-0", "ann").await)?;
    }
    Ok(())
}

/// How many requests of all tasks are admitted.
async fn admitted_to_tasks<S: Store>(
    subject: &Subject<S>,
    requests: usize,
    rules: &'static [&'static str],
) -> Result<u32, Breach> {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let limiter = subject.limiter().clone();
        tasks.spawn(async move {
            let mut admitted = 0;
            for _ in 0..requests {
                let decision = limiter.check_all_async(rules.iter().map(|rule| (*rule, "ann"))).await;
                admitted += u32::from(answered(decision)?.is_admitted());
            }
            Ok::<u32, Breach>(admitted)
        });
    }
    let mut admitted = 0;
    while let Some(task) = tasks.join_next().await {
        admitted += task.map_err(|error| Breach::of(Promise::DoesAsTold, format!("a task ended: {error}")))??;
    }
    Ok(admitted)
}

async fn tasks_on_one_key<S: Store>(subject: &Subject<S>, limit: u32) -> Result<(), Breach> {
    let admitted = admitted_to_tasks(subject, 10, &["rule-0"]).await?;
    expect(admitted <= limit, Promise::NeverMoreThanN, || format!("{admitted} of {limit} were admitted"))?;
    expect(admitted == limit, Promise::NeverDeniedWithRoom, || format!("{admitted} of {limit} were admitted"))
}

async fn tasks_under_two_rules<S: Store>(mut subject: Subject<S>) -> Result<(), Breach> {
    let admitted = admitted_to_tasks(&subject, 5, &["rule-0", "rule-1"]).await?;
    expect(admitted <= 1, Promise::NeverMoreThanN, || format!("{admitted} of 1 were admitted"))?;
    expect(admitted == 1, Promise::NeverDeniedWithRoom, || "nobody was admitted".to_owned())?;
    let mut left = 0;
    while answered(subject.limiter().check_async("rule-0", "ann").await)?.is_admitted() {
        left += 1;
    }
    expect(left == 9, Promise::AllOrNothing, || format!("{left} units are left of the wide rule, and 9 are right"))?;
    subject.advance(MINUTE);
    subject.reset((0, "bob")).await
}
