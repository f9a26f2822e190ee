//! The replay of a log.

use std::time::Duration;

use hashbrown::HashMap;
use tower_quota::{
    Decision, Enforcement, KeyRejected, MatchedRule, QuotaStatus, RateLimiter, clock::ManualClock, http::RequestView,
};

use crate::{
    failure::Failure,
    log::{Escape, Layout, Record},
    replay::{HistoryId, KeyTable, RequestBuilder, RuleStats, show_part},
    rules::RulesFile,
};

/// A limiter that is asked about the requests of a log, at their times, and what is counted of its answers.
pub(crate) struct Replay {
    limiter: RateLimiter,
    clock: ManualClock,
    builder: RequestBuilder,
    pub(crate) rules: Vec<RuleStats>,
    /// The rules of each name, in the order of `rules`: first without a tier, then by tier.
    by_name: HashMap<String, Vec<usize>>,
    /// The rule that was found last at each place of the list of a request: most requests have the same list.
    usual: Vec<usize>,
    /// The rules whose keys have addresses as parts.
    addresses: HashMap<String, Vec<bool>>,
    pub(crate) keys: KeyTable,
    pub(crate) totals: Totals,
    present: Vec<bool>,
}

/// What is counted of all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    /// Requests that no rule governs.
    pub(crate) ungoverned: u64,
    /// Requests that came more than five seconds after later ones, and were replayed at the time of those.
    pub(crate) late: u64,
    /// Lines whose request no server would take.
    pub(crate) invalid: u64,
    pub(crate) first: Option<i64>,
    pub(crate) last: i64,
}

impl Replay {
    pub(crate) fn new(file: &RulesFile, layout: &Layout) -> Result<Self, Failure> {
        let clock = ManualClock::new();
        let limiter = file.limiter_of_log(clock.clone()).map_err(|error| Failure::config(&file.name, &error))?;
        let rules: Vec<RuleStats> = file
            .rules
            .iter()
            .flat_map(|rule| {
                let cost = rule.unit().and_then(|unit| layout.cost(&file.costs().of_unit(unit)?.header));
                rule.policies.iter().map(move |policy| RuleStats::new(rule, policy, cost))
            })
            .collect();
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, stats) in rules.iter().enumerate() {
            by_name.entry(stats.rule.clone()).or_default().push(at);
        }
        let addresses = file.rules.iter().map(|rule| {
            let of_part = |part: &&str| part.split('|').any(|source| matches!(source.trim(), "peer_ip" | "client_ip"));
            let parts = rule.keys().first().map(|parts| parts.iter().map(of_part).collect()).unwrap_or_default();
            (rule.name.clone(), parts)
        });
        Ok(Self {
            limiter,
            clock,
            builder: RequestBuilder::default(),
            addresses: addresses.collect(),
            rules,
            by_name,
            usual: Vec::new(),
            keys: KeyTable::new(file.max_keys()),
            totals: Totals::default(),
            present: vec![false; layout.len()],
        })
    }

    /// Asks the limiter about a request.
    #[inline]
    pub(crate) fn note(&mut self, record: &Record, layout: &Layout, escape: Escape) {
        let now = self.now(record.time);
        for (place, _) in layout.headers() {
            self.present[place] |= record.has(place);
        }
        let Some(request) = self.builder.build(record, layout, escape) else {
            self.totals.invalid += 1;
            return;
        };
        self.totals.requests += 1;
        let view = RequestView::new(request);
        let (matched, decided) = self.limiter.check_matching(&view);
        if matched.is_empty() {
            self.totals.ungoverned += 1;
            return;
        }
        let is_refused = decided.as_ref().map_or(true, |decision| !decision.is_admitted());
        self.totals.refused += u64::from(is_refused);
        let mut counts = Counts {
            limiter: &self.limiter,
            rules: &mut self.rules,
            by_name: &self.by_name,
            usual: &mut self.usual,
            addresses: &self.addresses,
            keys: &mut self.keys,
        };
        for (place, matched) in matched.iter().enumerate() {
            counts.note((place, matched), record, (&view, &decided), now);
        }
    }

    /// Sets the clock. It does not go back.
    fn now(&mut self, time: i64) -> i64 {
        let now = if self.totals.first.is_some() { time.max(self.totals.last) } else { time };
        self.totals.late += u64::from(now > time);
        self.totals.first.get_or_insert(time);
        self.totals.last = now;
        self.clock.set(Duration::from_millis(u64::try_from(now).unwrap_or_default()));
        now
    }

    /// Returns `true` if some request had this header field.
    pub(crate) fn has_read(&self, layout: &Layout, name: &str) -> bool {
        layout.headers().any(|(place, header)| header == name && self.present[place])
    }

    /// Returns the header fields that a rule may read, and no request had.
    pub(crate) fn absent_headers<'a>(&self, layout: &'a Layout) -> Vec<&'a str> {
        let absent = layout.headers().filter(|(place, _)| !self.present[*place]);
        absent.map(|(_, name)| name.as_str()).collect()
    }
}

/// Where the answers of the limiter are counted.
struct Counts<'a> {
    limiter: &'a RateLimiter,
    rules: &'a mut [RuleStats],
    by_name: &'a HashMap<String, Vec<usize>>,
    usual: &'a mut Vec<usize>,
    addresses: &'a HashMap<String, Vec<bool>>,
    keys: &'a mut KeyTable,
}

impl Counts<'_> {
    /// Counts a request under one of the rules that govern it.
    #[inline]
    fn note(
        &mut self,
        (place, matched): (usize, &MatchedRule),
        record: &Record,
        (view, decided): (&RequestView<'_>, &Result<Decision, KeyRejected>),
        now: i64,
    ) {
        let Some(rule) = self.index_of(place, matched) else { return };
        let (is_refused, units) = (is_refused_by(decided, matched), matched.units());
        let stats = &mut self.rules[rule];
        let is_stated = stats.cost.is_none_or(|cost| cost.read(record.raw(cost.place)).is_some());
        stats.note(units, is_stated, is_refused);
        stats.without_key += u64::from(matched.key().is_none());
        let quotas = stats.trials.len();
        let bucket = stats.series.at(now, quotas);
        bucket.requests += 1;
        bucket.refused += u64::from(is_refused);
        // Without a key there is no history, unless all such requests share one.
        if matched.key().is_none() && stats.on_missing != "share" {
            return;
        }
        let id = HistoryId { scope: matched.scope(), key: matched.key().unwrap_or(tower_quota::key::Key::SHARED) };
        let (limiter, addresses) = (self.limiter, self.addresses);
        let name = || key_name(limiter, addresses, matched, view);
        let key = self.keys.get(id, (rule, now), self.rules, name);
        key.note(now, units, is_refused);
        let stats = &mut self.rules[rule];
        let bucket = stats.series.at(now, quotas);
        for ((trial, key), peak) in stats.trials.iter_mut().zip(&mut key.trials).zip(&mut bucket.peaks) {
            *peak = (*peak).max(trial.note(key, units, now));
        }
        if is_refused {
            stats.note_refusal(key, now);
        }
    }

    /// Returns the index of a rule, or of the tier that the key is in.
    #[inline]
    fn index_of(&mut self, place: usize, matched: &MatchedRule) -> Option<usize> {
        let is_it =
            |at: &usize| self.rules[*at].rule == matched.rule() && self.rules[*at].tier.as_deref() == matched.tier();
        if let Some(at) = self.usual.get(place).copied().filter(is_it) {
            return Some(at);
        }
        let at = self.by_name.get(matched.rule())?.iter().copied().find(is_it)?;
        self.usual.resize(self.usual.len().max(place + 1), at);
        self.usual[place] = at;
        Some(at)
    }
}

/// Returns `true` if a rule refuses the request, or would if it were enforced.
#[inline]
fn is_refused_by(decided: &Result<Decision, KeyRejected>, matched: &MatchedRule) -> bool {
    let is_of_rule = |quota: &QuotaStatus<'_>| quota.rule() == matched.rule();
    match (decided, matched.enforcement()) {
        (Ok(_), Enforcement::Off) => false,
        (Ok(decision), Enforcement::On) => {
            !decision.is_admitted() && decision.exhausted().any(|quota| is_of_rule(&quota))
        }
        (Ok(decision), _) => {
            let without_room = decision.exhausted().chain(decision.would_be_denied_by());
            without_room.chain(decision.over_soft_limits()).any(|quota| is_of_rule(&quota))
        }
        (Err(rejected), _) => rejected.rule() == matched.rule(),
    }
}

/// Returns the parts of a key, as people read them.
#[cold]
fn key_name(
    limiter: &RateLimiter,
    addresses: &HashMap<String, Vec<bool>>,
    matched: &MatchedRule,
    view: &RequestView<'_>,
) -> String {
    let parts = limiter.rule(matched.rule()).ok().and_then(|rule| rule.parts_of(view));
    let Some(parts) = parts.filter(|_| matched.key().is_some()) else { return "(without the key)".to_owned() };
    let addresses = addresses.get(matched.rule()).map(Vec::as_slice).unwrap_or_default();
    let shown =
        parts.iter().enumerate().map(|(at, part)| show_part(part, addresses.get(at).copied().unwrap_or_default()));
    shown.collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Format, replay::Refusal, rules::ProgramSources};

    const RULE: &str = "[[rule]]\nname = 'a'\napplies_to = 'every_request'\n";

    /// Replays lines of a time in milliseconds, a peer, and an account.
    fn replay(rest: &str, lines: &[&str]) -> Replay {
        let file = RulesFile::parse("f", &format!("{RULE}{rest}"), ProgramSources::default()).unwrap();
        let headers = file.headers();
        let mut layout = Layout::new(headers.iter().map(String::as_str));
        let mut format =
            Format::parse("nginx=$msec $remote_addr $http_x_account $request_uri", &[], &mut layout).unwrap().unwrap();
        let mut replay = Replay::new(&file, &layout).unwrap();
        for line in lines {
            let record = format.record(&format!("1709164{line} /x"), &mut layout).unwrap();
            replay.note(&record, &layout, format.escape());
        }
        replay
    }

    #[test]
    fn requests_are_refused_as_the_limiter_refuses_them() {
        let lines =
            ["800.000 1.2.3.4 a", "800.500 1.2.3.4 b", "800.900 1.2.3.4 a", "801.000 1.2.3.4 a", "801.400 5.6.7.8 a"];
        let replay = replay("key = 'peer_ip'\nquotas = ['2/s']", &lines);
        let stats = &replay.rules[0];
        assert_eq!((stats.requests, stats.refused, stats.keys, stats.keys_refused), (5, 1, 2, 1));
        assert_eq!(stats.first, Some(Refusal { time: 1_709_164_800_900, key: "1.2.3.4".to_owned() }));
        assert_eq!((stats.trials[0].peak, replay.totals.refused), (3, 1));
    }

    #[test]
    fn a_rule_in_shadow_tells_what_it_would_refuse() {
        let lines = ["800.000 1.2.3.4 a", "800.100 1.2.3.4 a", "800.200 1.2.3.4 a"];
        for enforcement in ["shadow", "soft"] {
            let replay = replay(&format!("key = 'peer_ip'\nquotas = ['1/s']\nenforcement = '{enforcement}'"), &lines);
            assert_eq!((replay.rules[0].refused, replay.totals.refused), (2, 0), "{enforcement}");
        }
    }

    #[test]
    fn requests_without_a_key_do_what_the_rule_says() {
        let lines = ["800.000 1.2.3.4 -", "800.100 1.2.3.4 -", "800.200 1.2.3.4 acme"];
        let of = |on_missing: &str| {
            let replay = replay(&format!("key = 'header:x-account'\nquotas = ['1/s']\n{on_missing}"), &lines);
            let stats = &replay.rules[0];
            (stats.refused, stats.without_key, stats.keys)
        };
        assert_eq!(of(""), (1, 2, 2));
        assert_eq!(of("on_missing = 'skip'"), (0, 2, 1));
        assert_eq!(of("on_missing = 401"), (2, 2, 1));
    }

    #[test]
    fn tiers_are_counted_apart() {
        let lines =
            ["800.000 1.2.3.4 acme", "800.100 1.2.3.4 acme", "800.200 1.2.3.4 globex", "800.300 1.2.3.4 globex"];
        let rest =
            "key = 'header:x-account'\nquotas = ['1/s']\n[rule.tiers]\npro = ['2/s']\n[rule.overrides]\nacme = 'pro'";
        let replay = replay(rest, &lines);
        let found: Vec<_> = replay.rules.iter().map(|stats| (stats.title(), stats.requests, stats.refused)).collect();
        assert_eq!(found, [("a".to_owned(), 2, 1), ("a, tier pro".to_owned(), 2, 0)]);
    }

    #[test]
    fn a_line_that_is_much_too_late_is_replayed_at_the_time_that_it_is() {
        let replay = replay("key = 'peer_ip'\nquotas = ['1/s']", &["810.000 1.2.3.4 a", "800.000 1.2.3.4 a"]);
        assert_eq!((replay.totals.late, replay.rules[0].refused, replay.totals.last), (1, 1, 1_709_164_810_000));
    }
}
