//! Whether the cost stays flat: over N, over the number of keys, over rules per request, over routes in the table.

use std::{hint::black_box, time::Duration};

use http::Request;
use tower::Layer;
use tower_quota::{Policy, RateLimiter, Rule, clock::ManualClock, key};

use crate::{
    adapters::{governor, ours, rate_net},
    arguments::Effort,
    bare::{API_KEY, Serve, bare, serve},
    candidates::{CANDIDATES, LIMITS},
    clock::now,
    findings::{Axis, Chart, Findings, Line},
    median::median,
    paced_clock::PacedClock,
    rounds::{self, Case, Step, Workload},
    subject::{Limit, Pace, Setup, Subject},
};

const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn run(effort: Effort) -> Findings {
    Findings {
        tables: Vec::new(),
        charts: vec![over_n(effort), over_keys(effort), over_rules(effort), over_routes(effort)],
    }
}

fn chart(name: &str, title: &str, x: &str, lines: Vec<Line>) -> Chart {
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        x: Axis::logarithmic(x),
        y: Axis::linear("nanoseconds"),
        lines,
        mark: None,
    }
}

/// N per hour on one key that uses all of it, so that the log is full and turns over.
fn over_n(effort: Effort) -> Chart {
    let mut lines = [Line::new("tower-quota"), Line::new("rate-net, log (up to 65,536)"), Line::new("governor")];
    let workload = Workload::hot("", effort.decisions / 2);
    for n in [60, 300, 1_000, 1_800, 4_096, 10_000, 60_000, 250_000, 1_000_000] {
        let full = move |subject: Box<dyn Subject>, keys: &[String]| -> Step {
            for key in (0..n + n / 8).flat_map(|_| keys) {
                subject.decide(key);
            }
            Box::new(move |key: &String| subject.decide(key))
        };
        // A little less than the limit allows, so that everything is admitted.
        let step = HOUR.mul_f64(1.02) / n;
        let quota = Limit::new(n, HOUR);
        let cases = vec![
            Case::new("governor", move |keys| full(governor::subject(&Setup::new(&[quota], Pace::Admitting)), keys)),
            Case::new("ours", move |keys| full(ours::subject(&Setup::new(&[quota], Pace::Every(step))), keys)),
            // Its window is shortened to what N decisions take at 60 nanoseconds.
            Case::new("rate-net", move |keys| {
                let quota = Limit::new(n.min(65_536), Duration::from_nanos(60) * n);
                full(rate_net::log(&Setup::new(&[quota], Pace::Real)), keys)
            }),
        ];
        let measured = rounds::measure(&workload, 1, effort.rounds, &cases);
        for (line, name) in lines.iter_mut().zip(["ours", "rate-net", "governor"]) {
            let nanos = measured.iter().find(|one| one.name == name).map(|one| one.nanos);
            if name != "rate-net" || n <= 65_536 {
                line.points.extend(nanos.map(|nanos| (f64::from(n), nanos)));
            }
        }
    }
    chart("scaling-n", "One decision, by the limit N per hour (one full key, admitted)", "N", lines.into())
}

fn over_keys(effort: Effort) -> Chart {
    let [governor, ours, ..] = CANDIDATES;
    let mut lines = [Line::new(ours.names[1]), Line::new(governor.names[0]), Line::new(governor.names[1])];
    let sizes = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 5_000_000];
    for keys in sizes.into_iter().filter(|keys| *keys <= effort.most_keys) {
        let workload = Workload::uniform("", effort.decisions / 2, keys);
        // Each key comes as often as an hour admits; those of governor do where the number of keys does not see to it.
        let pace = if keys < 100_000 { Pace::Admitting } else { Pace::Real };
        let every = Pace::Every(Duration::from_millis(2200) / keys as u32);
        let cases = [ours.case(1, every), governor.case(0, pace), governor.case(1, pace)];
        let measured = rounds::measure(&workload, 1, effort.rounds, &cases);
        lines.iter_mut().zip(measured).for_each(|(line, one)| line.points.push((keys as f64, one.nanos)));
    }
    chart("scaling-keys", "One decision, by the number of keys (uniform)", "keys", lines.into())
}

/// One request that several rules govern, each with a key of its own: decided in one step.
fn over_rules(effort: Effort) -> Chart {
    let mut lines = ["tower-quota, all or nothing", "the same, and what remains"].map(Line::new);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for count in 1..=names.len() {
        let rules = names.iter().take(count);
        let rule = |name: &&str| Rule::new(*name).no_requests().policy(ours::policy(LIMITS[1]));
        let clock = PacedClock::new(Duration::from_millis(2200));
        let builder =
            rules.clone().map(rule).fold(RateLimiter::builder().clock(clock), |builder, rule| builder.rule(rule));
        let limiter = builder.build().expect("the rules are sound");
        let charges: Vec<(&str, &str)> = rules.map(|name| (*name, "acct-00000000000000000000")).collect();
        let admit = time(effort, || drop(black_box(limiter.admit_all(charges.iter().copied()))));
        let check = time(effort, || drop(black_box(limiter.check_all(charges.iter().copied()))));
        lines.iter_mut().zip([admit, check]).for_each(|(line, nanos)| line.points.push((count as f64, nanos)));
    }
    let mut chart = chart("scaling-rules", "One decision, by the rules that govern the request", "rules", lines.into());
    chart.x.logarithmic = false;
    chart
}

/// One rule with so many routes; requests of all of them, in process.
fn over_routes(effort: Effort) -> Chart {
    let mut line = Line::new("tower-quota, over the bare service");
    for routes in [1, 10, 100, 1_000, 10_000] {
        let templates = (0..routes).map(|route| format!("GET /api/v1/resource{route}/{{id}}/items"));
        let rule = Rule::new("calls").routes(templates).key(key::header(API_KEY)).level("key");
        let rule = rule.policy(Policy::per_hour(1_000_000_000).resolution(64));
        let limiter =
            RateLimiter::builder().rule(rule).clock(ManualClock::new()).build().expect("the routes are sound");
        let request = |number: usize| {
            let route = number * 7919 % routes;
            let request = Request::get(format!("/api/v1/resource{route}/4711/items")).header(API_KEY, "acct");
            request.body(axum::body::Body::empty()).expect("the path is one")
        };
        let over = |serve: &mut Serve| {
            let requests: Vec<_> = (0..effort.requests[0]).map(request).collect();
            let started = now();
            for request in requests {
                serve(request);
            }
            started.elapsed().as_nanos() as f64 / effort.requests[0] as f64
        };
        let (mut layered, mut plain) = (serve(limiter.layer().layer(bare())), serve(bare()));
        let rounds: Vec<f64> = (0..effort.rounds).map(|_| over(&mut layered) - over(&mut plain)).collect();
        line.points.push((routes as f64, median(rounds)));
    }
    chart("scaling-routes", "What the layer adds to a request, by the routes in its table", "routes", vec![line])
}

/// The median of the rounds, in nanoseconds.
fn time(effort: Effort, mut decide: impl FnMut()) -> f64 {
    let decisions = effort.decisions / 2;
    let round = || {
        let started = now();
        (0..decisions).for_each(|_| decide());
        started.elapsed().as_nanos() as f64 / decisions as f64
    };
    median(std::iter::repeat_with(round).take(effort.rounds))
}
