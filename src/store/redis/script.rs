//! A call of the script that decides, and its reply.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value, make_extension_error};

use crate::{
    clock::Timestamp,
    key::Charge,
    policy::Enforcement,
    store::{
        Receipt,
        contract::{QuotaState, Verdict},
        redis::layout::{Encoding, Layout, TICK, low_bytes},
    },
};

pub(super) static TEXT: LazyLock<String> = LazyLock::new(|| include!("script/text.rs"));

static DECIDE: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new(&TEXT));

/// How the code begins of an error about a value under our key that is not ours.
const CORRUPT: &str = "TOWERQUOTA";

/// What a reply begins with, as the argument does: the bytes that tell of which quotas it is.
const TAG: usize = 6;
/// Where a reply says when the newest unit was recorded.
const NEWEST: usize = 22;
/// Where the quotas begin in a reply. Of each it says how many units are counted and, in so many bytes, when that changes.
const QUOTAS: usize = 50;
const MOMENT: usize = 7;
/// Bytes of a number of units: in an exact log and in cells.
const COUNT: usize = 4;
const CELL_COUNT: usize = 6;
/// Where the reply of a cell log says when the log was begun, and when what the first quota counts changes. Where that is not
/// the same for all quotas, the moments of the others come after the header.
const BORN: usize = 56;
const CHANGES: usize = 63;
const CELL_HEADER: usize = 89;

/// When there is room for a cost above the limit.
const NEVER: u64 = u64::MAX;
/// Where a reply says what the log keeps, whose upper bits are its tick.
const KEPT: usize = 43;

/// Where an argument says whether denials count, and how a charge is enforced that denies nothing.
const FLAGS: usize = 7;
/// What is added there.
const SOFT: u8 = 4;
const SHADOW: u8 = 8;
/// What is added to the units that a log of such a charge says were admitted, if it had no room.
const WITHOUT_ROOM: u32 = 2;

/// One history to charge: its logs, the key that their names begin with, the enforcement of the charge, and how many units it
/// costs. That is one unless the plan has costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged<'a> {
    pub(crate) logs: &'a Layout,
    pub(crate) key: &'a [u8],
    pub(crate) enforcement: Enforcement,
    pub(crate) units: u64,
}

/// One request, or so many that are alike. Those with charges that are not enforced are alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) charges: &'a [Charged<'a>],
    pub(crate) units: u8,
}

/// Where the units of a charge were recorded: when its logs were begun, and the moment. In microseconds, neither is ever zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) history: u64,
    pub(crate) at: u64,
}

/// A settlement: so many units of a charge are given back where they were recorded, or are owed from now on if that is not
/// said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled<'a> {
    pub(crate) logs: &'a Layout,
    pub(crate) key: &'a [u8],
    pub(crate) units: u64,
    pub(crate) recorded: Option<Recorded>,
}

/// What is asked of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Admit as many units as there is room for, each with all charges or none.
    Decide,
    /// Say what would be decided; write nothing.
    Peek,
    /// Give back units that were admitted at this moment.
    Refund(Timestamp),
    /// Forget the history of the only charge.
    Forget,
}

/// What the script says of one request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) verdict: Verdict,
    /// Requests that were admitted, of those that were alike.
    pub(crate) units: u32,
    /// Where the units of each charge with costs were recorded. Empty if no plan has any.
    pub(crate) recorded: Vec<Option<Recorded>>,
    /// What a request costs each quota. Empty if that is one unit everywhere.
    costs: Vec<u64>,
}

/// Decides all charges of one request in one atomic step, in whatever way the caller sends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// In microseconds; zero is the server's own time.
    time: u64,
}

impl Script {
    /// By the clock of the server.
    pub(crate) const fn new() -> Self {
        Self { time: 0 }
    }

    /// At this many microseconds.
    #[cfg(any(test, feature = "test-util"))]
    pub(super) const fn at(micros: u64) -> Self {
        Self { time: micros }
    }

    /// The call, to be sent to a server that may know the script already. It decides about one request after the other; the
    /// histories of each of them are charged together.
    pub(crate) fn call(self, requests: &[Request<'_>], mode: Mode) -> Cmd {
        self.command("EVALSHA", DECIDE.get_hash(), requests, mode)
    }

    /// The call to be sent if it does not: then nothing was executed.
    pub(crate) fn call_in_full(self, requests: &[Request<'_>], mode: Mode) -> Cmd {
        self.command("EVAL", &TEXT, requests, mode)
    }

    fn command(self, name: &str, script: &str, requests: &[Request<'_>], mode: Mode) -> Cmd {
        let charges = requests.iter().flat_map(|request| request.charges);
        let is_refund = matches!(mode, Mode::Refund(_));
        let parts = charges.map(|charge| (charge.logs, charge.key, charge.flag().filter(|_| !is_refund)));
        let mut command = command_about(name, script, &parts.collect::<Vec<_>>());
        let amounts = amounts(requests).filter(|_| !is_refund);
        if let Some(options) = self.options(requests, mode, amounts.is_some()) {
            command.arg(options);
        }
        if let Some(amounts) = amounts {
            command.arg(amounts);
        }
        command
    }

    /// The call that settles these, one after the other, to be sent to a server that may know the script already.
    pub(crate) fn settle(self, settlements: &[Settled<'_>]) -> Cmd {
        self.settling("EVALSHA", DECIDE.get_hash(), settlements)
    }

    /// The call to be sent if it does not: then nothing was executed.
    pub(crate) fn settle_in_full(self, settlements: &[Settled<'_>]) -> Cmd {
        self.settling("EVAL", &TEXT, settlements)
    }

    fn settling(self, name: &str, script: &str, settlements: &[Settled<'_>]) -> Cmd {
        // What is owed is recorded whether there is room for it or not, as a charge is that denies nothing.
        let parts = settlements.iter().map(|settled| {
            let flag = if settled.recorded.is_none() { Some(SOFT) } else { None };
            (settled.logs, settled.key, flag)
        });
        let mut command = command_about(name, script, &parts.collect::<Vec<_>>());
        let mut options = self.settings(b's', 0);
        let mut amounts = Vec::new();
        for settled in settlements {
            push_request(&mut options, 1, settled.logs.iter().len());
            let Recorded { history, at } = settled.recorded.unwrap_or(Recorded { history: 0, at: 0 });
            amounts.extend(low_bytes::<CELL_COUNT>(settled.units));
            amounts.extend(low_bytes::<MOMENT>(history));
            amounts.extend(low_bytes::<MOMENT>(at));
        }
        command.arg(options).arg(amounts);
        command
    }

    /// What the server answered to settlements: how many units were given back, or recorded in addition. After one whose
    /// history could not be read none was settled.
    ///
    /// # Errors
    ///
    /// The answer is not one of the script.
    pub(crate) fn settled(answer: Value) -> RedisResult<Vec<RedisResult<u64>>> {
        let Value::Array(answers) = answer else { return Err(unexpected("not several replies")) };
        let units = |answer| match without_error(answer)? {
            Value::Int(units) => u64::try_from(units).map_err(|_| unexpected("fewer units than none")),
            _ => Err(unexpected("not a number of units")),
        };
        Ok(answers.into_iter().map(units).collect())
    }

    /// What the server answered about one request, if that was to decide or to peek.
    ///
    /// # Errors
    ///
    /// The answer is not one of the script.
    pub(crate) fn reply(charges: &[Charged<'_>], answer: Value) -> RedisResult<Reply> {
        let mut headers = headers(answer)?.into_iter();
        let mut verdict = Verdict::default();
        let mut units = 0;
        let mut recorded = Vec::new();
        for (at, charge) in charges.iter().enumerate() {
            let first = verdict.states.len();
            let mut is_full = false;
            let mut place = Recorded { history: 0, at: 0 };
            verdict.states.resize(first + charge.logs.quotas(), QuotaState { used: 0, changes_at: 0 });
            for log in charge.logs.iter() {
                let header = headers.next().ok_or_else(|| unexpected("too few logs"))?;
                if charge.logs.has_costs() && !log.is_cells() {
                    continue;
                }
                units = read(&header, log, charge.units, &mut verdict, first)
                    .ok_or_else(|| unexpected("not a log of these quotas"))?;
                if charge.logs.has_costs() {
                    place.see(&header).ok_or_else(|| unexpected("not a log of cells"))?;
                }
                if charge.flag().is_some() {
                    is_full |= units & WITHOUT_ROOM > 0;
                    units &= !WITHOUT_ROOM;
                    verdict.admitted = units > 0;
                }
            }
            if is_full {
                verdict.set_without_room(at);
            }
            if charge.logs.has_costs() {
                recorded.resize(at, None);
                let is_charged = charge.units > 0 && charge.enforcement.is_charged(verdict.admitted, !is_full);
                recorded.push(is_charged.then_some(place));
            }
        }
        let is_simple = charges.iter().all(|charge| charge.units == 1);
        let of_quotas = |charge: &Charged<'_>| std::iter::repeat_n(charge.units, charge.logs.quotas());
        let costs = if is_simple { Vec::new() } else { charges.iter().flat_map(of_quotas).collect() };
        Ok(Reply { verdict, units, recorded, costs })
    }

    /// What the server answered about several requests. After one whose history could not be read none was decided: there
    /// may be fewer replies than requests.
    ///
    /// # Errors
    ///
    /// The answer is not one of the script.
    pub(crate) fn replies(requests: &[Request<'_>], answer: Value) -> RedisResult<Vec<RedisResult<Reply>>> {
        if let [request] = requests {
            return Ok(vec![Ok(Self::reply(request.charges, answer)?)]);
        }
        let Value::Array(answers) = answer else { return Err(unexpected("not several replies")) };
        let replies = requests.iter().zip(answers);
        Ok(replies.map(|(request, answer)| Self::reply(request.charges, without_error(answer)?)).collect())
    }

    /// Whether the script found something under a key that it did not write.
    pub(crate) fn is_corrupt(error: &RedisError) -> bool {
        error.code() == Some(CORRUPT)
    }

    /// None for the common case: one request by the server's clock, for one unit.
    fn options(self, requests: &[Request<'_>], mode: Mode, has_amounts: bool) -> Option<Vec<u8>> {
        let is_one = matches!(requests, [Request { units: 1, .. }]) && !has_amounts;
        let (letter, stamp) = match mode {
            Mode::Decide if self.time == 0 && is_one => return None,
            Mode::Decide => (b'd', 0),
            Mode::Peek => (b'p', 0),
            Mode::Refund(moment) => (b'r', moment.nanos() / 1000),
            Mode::Forget => (b'f', 0),
        };
        let mut options = self.settings(letter, stamp);
        for request in requests {
            push_request(&mut options, request.units, request.logs());
        }
        Some(options)
    }

    fn settings(self, letter: u8, stamp: u64) -> Vec<u8> {
        [&[letter], low_bytes::<7>(self.time).as_slice(), &low_bytes::<7>(stamp)].concat()
    }
}

impl Recorded {
    pub(crate) const fn from_receipt(receipt: Receipt) -> Self {
        Self { history: receipt.history(), at: receipt.recorded_at() }
    }

    /// Takes into account what a cell log replies: the youngest of them says for which receipts all are valid.
    fn see(&mut self, header: &[u8]) -> Option<()> {
        self.history = self.history.max(number(header, BORN, MOMENT)?);
        self.at = self.at.max(number(header, NEWEST, MOMENT)?);
        Some(())
    }
}

impl Reply {
    /// Notes in the verdict where the units of each charge with costs were recorded.
    pub(crate) fn note_receipts(&mut self) {
        for (at, recorded) in self.recorded.iter().enumerate() {
            if let Some(Recorded { history, at: moment }) = *recorded {
                self.verdict.set_receipt(at, Receipt::new(history, moment));
            }
        }
    }

    /// The verdict on one of several requests that were alike: the first of them, the second and so on.
    pub(crate) fn verdict_on(self, place: u32) -> Verdict {
        let mut verdict = self.verdict;
        verdict.admitted = place <= self.units;
        // Those after it are not used yet, seen from there.
        let later = u64::from(self.units.saturating_sub(place));
        for (at, state) in verdict.states.iter_mut().enumerate() {
            let cost = self.costs.get(at).copied().unwrap_or(1);
            state.used = state.used.saturating_sub(later.saturating_mul(cost));
        }
        verdict
    }
}

impl Charged<'_> {
    /// Returns what the argument of a charge has besides if it is not enforced.
    const fn flag(&self) -> Option<u8> {
        match self.enforcement {
            Enforcement::On => None,
            Enforcement::Soft => Some(SOFT),
            Enforcement::Shadow | Enforcement::Off => Some(SHADOW),
        }
    }
}

impl Verdict {
    /// Returns those charges whose units can be given back. A soft one without room keeps its unit: it may have taken the place of
    /// an older one, which no history remembers beyond its limit.
    /// Each comes with its receipt, if it has costs.
    pub(super) fn refundable(&self, charges: &[Charge]) -> Vec<(Charge, Option<Receipt>)> {
        let all = if self.admitted { charges } else { &[] };
        let with_room = all.iter().enumerate().filter(|(at, _)| !self.is_without_room(*at));
        with_room.map(|(at, charge)| (*charge, self.receipt(at))).collect()
    }

    /// Returns those charges that were recorded.
    pub(super) fn recorded(&self, charges: &[Charge]) -> Vec<Charge> {
        let is_recorded =
            |(at, charge): &(usize, &Charge)| charge.enforcement.is_charged(self.admitted, !self.is_without_room(*at));
        charges.iter().enumerate().filter(is_recorded).map(|(_, charge)| *charge).collect()
    }
}

impl Request<'_> {
    fn logs(&self) -> usize {
        self.charges.iter().map(|charge| charge.logs.iter().len()).sum()
    }
}

/// The beginning of a call: its keys, and the arguments of the logs, each with its flag.
fn command_about(name: &str, script: &str, parts: &[(&Layout, &[u8], Option<u8>)]) -> Cmd {
    let logs = || parts.iter().flat_map(|(logs, key, flag)| logs.iter().map(move |log| (log, *key, *flag)));
    let mut command = redis::cmd(name);
    command.arg(script).arg(logs().count());
    for (log, key, _) in logs() {
        command.arg([key, log.suffix().as_bytes()].concat());
    }
    for (log, _, flag) in logs() {
        match flag {
            None => command.arg(log.argument()),
            Some(flag) => command.arg(flagged(log.argument(), flag)),
        };
    }
    command
}

/// A request has no more charges than a limiter has rules, of which there are fewer than 2^16, and few logs for each.
fn push_request(options: &mut Vec<u8>, units: u8, logs: usize) {
    options.push(units);
    options.extend((logs as u16).to_le_bytes());
}

/// What each charge costs, unless that is one unit of plans without costs.
fn amounts(requests: &[Request<'_>]) -> Option<Vec<u8>> {
    let charges = || requests.iter().flat_map(|request| request.charges);
    let is_special = |charge: &Charged<'_>| charge.units != 1 || charge.logs.has_costs();
    charges().any(is_special).then(|| charges().flat_map(|charge| low_bytes::<CELL_COUNT>(charge.units)).collect())
}

fn flagged(argument: &[u8], flag: u8) -> Vec<u8> {
    let mut argument = argument.to_vec();
    if let Some(flags) = argument.get_mut(FLAGS) {
        *flags += flag;
    }
    argument
}

/// Among several replies an error is a status that says so.
fn without_error(answer: Value) -> RedisResult<Value> {
    let Value::SimpleString(text) = answer else { return Ok(answer) };
    let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
    Err(make_extension_error(code.to_owned(), Some(detail.to_owned())))
}

/// One header per log: alone if there is but one.
fn headers(answer: Value) -> RedisResult<Vec<Vec<u8>>> {
    match answer {
        Value::BulkString(header) => Ok(vec![header]),
        Value::Array(answers) => answers.into_iter().map(header).collect(),
        _ => Err(unexpected("neither a log nor several")),
    }
}

fn header(answer: Value) -> RedisResult<Vec<u8>> {
    match answer {
        Value::BulkString(header) => Ok(header),
        _ => Err(unexpected("something else among the logs")),
    }
}

/// Reads what a log says of its quotas to a request of that cost; those of its history begin at `first`. Says how many units
/// were admitted; none if it is too short, or of other quotas.
fn read(header: &[u8], log: &Encoding, cost: u64, verdict: &mut Verdict, first: usize) -> Option<u32> {
    if header.get(..TAG)? != log.argument().get(..TAG)? {
        return None;
    }
    let units = number(header, 6, 1)? as u32;
    verdict.admitted = units > 0;
    verdict.now = Timestamp::from_micros(number(header, 7, 7)?);
    // A process with longer windows may have let the log count more coarsely than this one would.
    let tick = (number(header, KEPT, 3)? >> TICK).max(1);
    for (at, quota) in log.quotas().iter().enumerate() {
        let Some(place) = quota.at else { continue };
        let (used, moment) = if log.is_cells() { of_cells(header, at)? } else { of_entries(header, at)? };
        let leaves = (moment + quota.window).next_multiple_of(tick);
        let changes_at = match used {
            _ if cost > quota.limit => NEVER,
            0 => 0,
            _ => Timestamp::from_micros(leaves).nanos(),
        };
        *verdict.states.get_mut(first + place)? = QuotaState { used, changes_at };
    }
    Some(units)
}

/// The units that a quota of an exact log counts, and when the one was recorded whose leaving changes that.
fn of_entries(header: &[u8], at: usize) -> Option<(u64, u64)> {
    let from = QUOTAS + at * (COUNT + MOMENT);
    Some((number(header, from, COUNT)?, number(header, from + COUNT, MOMENT)?))
}

/// The same of a cell log, whose quotas all count the same.
fn of_cells(header: &[u8], at: usize) -> Option<(u64, u64)> {
    let is_told = at > 0 && header.len() > CELL_HEADER;
    let from = if is_told { CELL_HEADER + (at - 1) * MOMENT } else { CHANGES };
    Some((number(header, QUOTAS, CELL_COUNT)?, number(header, from, MOMENT)?))
}

/// A number of `len` bytes, the lowest first.
fn number(bytes: &[u8], from: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(from..from + len)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn unexpected(what: &str) -> RedisError {
    (ErrorKind::UnexpectedReturnType, "not a reply of the script", what.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{history::Plan, policy::Policy};

    fn minute() -> Layout {
        Layout::new(&Plan::new(&Policy::per_minute(60)))
    }

    #[test]
    fn a_plain_decision_has_no_options() {
        let logs = minute();
        let charges = &[Charged { logs: &logs, key: b"k", enforcement: Enforcement::On, units: 1 }];
        let [one, two] = [1, 2].map(|units| Request { charges, units });
        assert_eq!(Script::new().options(&[one], Mode::Decide, false), None);
        let peek = Script::at(258).options(&[one], Mode::Peek, false);
        assert_eq!(peek, Some(vec![b'p', 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]));
        let both = Script::new().options(&[one, two], Mode::Decide, false);
        assert_eq!(both, Some(vec![b'd', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 2, 1, 0]));
    }

    #[test]
    fn answers_that_are_no_replies_are_errors() {
        let logs = minute();
        let charges = [Charged { logs: &logs, key: b"k", enforcement: Enforcement::On, units: 1 }];
        let reply = |length: usize| {
            let mut header = vec![0; length];
            header[..TAG].copy_from_slice(&logs.iter().next().unwrap().argument()[..TAG]);
            Value::BulkString(header)
        };
        for answer in
            [Value::Nil, Value::Int(1), reply(60), Value::BulkString(vec![0; 61]), Value::Array(vec![]), Value::Okay]
        {
            assert!(Script::reply(&charges, answer).is_err());
        }
        assert!(Script::reply(&charges, reply(61)).is_ok());
    }

    #[test]
    fn the_script_touches_no_key_but_those_it_is_given() {
        let calls = TEXT.lines().filter(|line| line.contains("call('"));
        for call in calls.filter(|line| !line.contains("call('TIME')")) {
            let of_a_key = ["', key", "', its_key", "', log.key", "', name", "', exact", "', unpack(names)"]
                .iter()
                .any(|key| call.contains(key));
            assert!(of_a_key, "{call}");
        }
        let keys = TEXT.lines().filter(|line| {
            ["key = ", "name = ", "exact = ", "names[#names + 1] = "].iter().any(|name| line.contains(name))
        });
        let of_those = [
            "KEYS[1]",
            "KEYS[i]",
            "KEYS[first",
            "key = places[19]",
            "key = key",
            "key = name",
            "key = log.",
            "name = key .. string.format(",
            "names[#names + 1] = key .. sibling",
        ];
        for line in keys {
            assert!(of_those.iter().any(|known| line.contains(known)), "{line}");
        }
    }
}
