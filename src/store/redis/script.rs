//! A call of the script that decides, and its reply.

use std::sync::LazyLock;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value, make_extension_error};

use crate::{
    clock::Timestamp,
    key::Charge,
    policy::Enforcement,
    store::{
        contract::{QuotaState, Verdict},
        redis::layout::{Encoding, Layout, TICK, low_bytes},
    },
};

const TEXT: &str = include!("script/text.rs");

static DECIDE: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new(TEXT));

/// How the code begins of an error about a value under our key that is not ours.
const CORRUPT: &str = "TOWERQUOTA";

/// What a reply begins with, as the argument does: the bytes that tell of which quotas it is.
const TAG: usize = 6;
/// Where the quotas begin in a reply. Of each it says how many units are counted and, in so many bytes, when that changes.
const QUOTAS: usize = 50;
const MOMENT: usize = 7;
/// Where a reply says what the log keeps, whose upper bits are its tick.
const KEPT: usize = 43;

/// Where an argument says whether denials count, and how a charge is enforced that denies nothing.
const FLAGS: usize = 7;
/// What is added there.
const SOFT: u8 = 4;
const SHADOW: u8 = 8;
/// What is added to the units that a log of such a charge says were admitted, if it had no room.
const WITHOUT_ROOM: u32 = 2;

/// One history to charge: its logs, the key that their names begin with, and the enforcement of the charge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged<'a> {
    pub(crate) logs: &'a Layout,
    pub(crate) key: &'a [u8],
    pub(crate) enforcement: Enforcement,
}

/// One request, or several that are alike: so many units of each charge. Those with charges that are not enforced are for one
/// unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) charges: &'a [Charged<'a>],
    pub(crate) units: u8,
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
    /// Units of each charge that were admitted.
    pub(crate) units: u32,
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
        self.command("EVAL", TEXT, requests, mode)
    }

    fn command(self, name: &str, script: &str, requests: &[Request<'_>], mode: Mode) -> Cmd {
        let charges = || requests.iter().flat_map(|request| request.charges);
        let logs = || charges().flat_map(|charge| charge.logs.iter().map(move |log| (charge, log)));
        let mut command = redis::cmd(name);
        command.arg(script).arg(logs().count());
        for (charge, log) in logs() {
            command.arg([charge.key, log.suffix().as_bytes()].concat());
        }
        for (charge, log) in logs() {
            match charge.flag().filter(|_| !matches!(mode, Mode::Refund(_))) {
                None => command.arg(log.argument()),
                Some(flag) => command.arg(flagged(log.argument(), flag)),
            };
        }
        if let Some(options) = self.options(requests, mode) {
            command.arg(options);
        }
        command
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
        for (at, charge) in charges.iter().enumerate() {
            let first = verdict.states.len();
            let mut is_full = false;
            verdict.states.resize(first + charge.logs.quotas(), QuotaState { used: 0, changes_at: 0 });
            for log in charge.logs.iter() {
                let header = headers.next().ok_or_else(|| unexpected("too few logs"))?;
                units =
                    read(&header, log, &mut verdict, first).ok_or_else(|| unexpected("not a log of these quotas"))?;
                if charge.flag().is_some() {
                    is_full |= units & WITHOUT_ROOM > 0;
                    units &= !WITHOUT_ROOM;
                    verdict.admitted = units > 0;
                }
            }
            if is_full {
                verdict.set_without_room(at);
            }
        }
        Ok(Reply { verdict, units })
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

    /// None for the common case: one unit of one request by the server's clock.
    fn options(self, requests: &[Request<'_>], mode: Mode) -> Option<Vec<u8>> {
        let (letter, stamp) = match mode {
            Mode::Decide if self.time == 0 && matches!(requests, [Request { units: 1, .. }]) => return None,
            Mode::Decide => (b'd', 0),
            Mode::Peek => (b'p', 0),
            Mode::Refund(moment) => (b'r', moment.nanos() / 1000),
            Mode::Forget => (b'f', 0),
        };
        let mut options = [&[letter], low_bytes::<7>(self.time).as_slice(), &low_bytes::<7>(stamp)].concat();
        for request in requests {
            options.push(request.units);
            options.extend(request.logs().to_le_bytes());
        }
        Some(options)
    }
}

impl Reply {
    /// The verdict on one of several requests that were alike: the first of them, the second and so on.
    pub(crate) fn verdict_on(self, place: u32) -> Verdict {
        let mut verdict = self.verdict;
        verdict.admitted = place <= self.units;
        // Those after it are not used yet, seen from there.
        let later = self.units.saturating_sub(place);
        verdict.states.iter_mut().for_each(|state| state.used = state.used.saturating_sub(later.into()));
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
    pub(super) fn refundable(&self, charges: &[Charge]) -> Vec<Charge> {
        let all = if self.admitted { charges } else { &[] };
        all.iter().enumerate().filter(|(at, _)| !self.is_without_room(*at)).map(|(_, charge)| *charge).collect()
    }

    /// Returns those charges that were recorded.
    pub(super) fn recorded(&self, charges: &[Charge]) -> Vec<Charge> {
        let is_recorded =
            |(at, charge): &(usize, &Charge)| charge.enforcement.is_charged(self.admitted, !self.is_without_room(*at));
        charges.iter().enumerate().filter(is_recorded).map(|(_, charge)| *charge).collect()
    }
}

impl Request<'_> {
    /// A request has no more charges than a limiter has rules, of which there are fewer than 2^16, and few logs for each.
    fn logs(&self) -> u16 {
        self.charges.iter().map(|charge| charge.logs.iter().len()).sum::<usize>() as u16
    }
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

/// Reads what a log says of its quotas; those of its history begin at `first`. Says how many units were admitted; none if it
/// is too short, or of other quotas.
fn read(header: &[u8], log: &Encoding, verdict: &mut Verdict, first: usize) -> Option<u32> {
    if header.get(..TAG)? != log.argument().get(..TAG)? {
        return None;
    }
    let units = number(header, 6, 1)? as u32;
    verdict.admitted = units > 0;
    verdict.now = Timestamp::from_micros(number(header, 7, 7)?);
    // A process with longer windows may have let the log count more coarsely than this one would.
    let tick = (number(header, KEPT, 3)? >> TICK).max(1);
    let count = log.count_bytes();
    for (at, quota) in log.quotas().iter().enumerate() {
        let Some(place) = quota.at else { continue };
        let from = QUOTAS + at * (count + MOMENT);
        let used = number(header, from, count)?;
        let leaves = (number(header, from + count, MOMENT)? + quota.window).next_multiple_of(tick);
        let changes_at = if used == 0 { 0 } else { Timestamp::from_micros(leaves).nanos() };
        *verdict.states.get_mut(first + place)? = QuotaState { used, changes_at };
    }
    Some(units)
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
        let charges = &[Charged { logs: &logs, key: b"k", enforcement: Enforcement::On }];
        let [one, two] = [1, 2].map(|units| Request { charges, units });
        assert_eq!(Script::new().options(&[one], Mode::Decide), None);
        let peek = Script::at(258).options(&[one], Mode::Peek);
        assert_eq!(peek, Some(vec![b'p', 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]));
        let both = Script::new().options(&[one, two], Mode::Decide);
        assert_eq!(both, Some(vec![b'd', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 2, 1, 0]));
    }

    #[test]
    fn answers_that_are_no_replies_are_errors() {
        let logs = minute();
        let charges = [Charged { logs: &logs, key: b"k", enforcement: Enforcement::On }];
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
            let of_a_key = ["', key", "', log.key", "', name", "', exact", "', unpack(names)"]
                .iter()
                .any(|key| call.contains(key));
            assert!(of_a_key, "{call}");
        }
        let keys = TEXT.lines().filter(|line| {
            ["key = ", "name = ", "exact = ", "names[#names + 1] = "].iter().any(|name| line.contains(name))
        });
        let of_those = [
            "KEYS[i]",
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
