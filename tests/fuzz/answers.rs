//! Whatever a server answers, no time is longer than what is believed, and what says nothing is nothing.
//!
//! Input: a digit for the status, one for the reader, then header fields, one a line: `name: value`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tower_quota::client::{Advice, AdviceReader, answers::Reset};

use crate::input::Input;

const STATUSES: [u16; 8] = [200, 429, 503, 403, 500, 304, 599, 401];
/// Fields of these families may say something, as may `date` and `age` beside them.
const FAMILIES: [&str; 7] =
    ["retry-after", "x-retry-after", "ratelimit", "x-ratelimit", "x-rate-limit", "grpc-", "x-ms-retry"];
/// Thu, 15 Oct 2026 13:54:56 GMT
const NOW: u64 = 1_792_072_496;
/// More than any answer states: the list of the draft, and a family of fields for each dialect.
const MOST_ALLOWANCES: usize = 24;

const READERS: [fn(AdviceReader) -> AdviceReader; 6] = [
    |answers| answers,
    |answers| answers.x_rate_limit(Reset::Delta),
    |answers| answers.x_rate_limit(Reset::Guess).rate_limit_reset(Reset::Guess),
    |answers| answers.github(),
    |answers| answers.rate_limit_reset(Reset::Epoch),
    |answers| answers.exhausted_as_refusal(true),
];

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let status = StatusCode::from_u16(*input.choice(&STATUSES)).unwrap();
    let reader = input.choice(&READERS);
    input.line();
    let headers: HeaderMap = input.lines().filter_map(field).collect();
    let answers = |seconds| {
        let now = || SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        reader(AdviceReader::new()).wall_clock(now).max_time(Duration::from_secs(seconds))
    };

    for seconds in [1, 60, 86_400, u64::MAX] {
        let (read, of_trailers) = (answers(seconds).read(status, &headers), answers(seconds).read_trailers(&headers));
        assert_is_believable(&read, seconds, &headers);
        assert_is_believable(&of_trailers, seconds, &headers);
        assert!(!(read.is_refusal() && read.is_failure()), "{read:?}");
    }
    assert_is_cut(&answers(86_400).read(status, &headers), &answers(60).read(status, &headers), 60);
    assert_strangers_say_nothing(&answers(86_400), status, &headers);
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((HeaderName::from_bytes(&line[..colon]).ok()?, value))
}

fn assert_is_believable(advice: &Advice, seconds: u64, headers: &HeaderMap) {
    let longest = Duration::from_secs(seconds);
    assert!(advice.wait_time().is_none_or(|wait| wait <= longest), "{advice:?} for {headers:?}");
    assert!(advice.allowances().iter().all(|allowance| allowance.within() <= longest), "{advice:?} for {headers:?}");
    assert!(advice.allowances().len() <= MOST_ALLOWANCES, "{advice:?} for {headers:?}");
}

/// Those who believe less read the same, with shorter times.
fn assert_is_cut(long: &Advice, short: &Advice, seconds: u64) {
    let longest = Duration::from_secs(seconds);
    assert_eq!(short.wait_time(), long.wait_time().map(|wait| wait.min(longest)));
    let cut = long.allowances().iter().map(|allowance| (allowance.remaining(), allowance.within().min(longest)));
    let short = short.allowances().iter().map(|allowance| (allowance.remaining(), allowance.within()));
    assert!(cut.eq(short), "{long:?} cut to {seconds} s");
}

/// Without fields that speak of limits the status is all there is.
fn assert_strangers_say_nothing(answers: &AdviceReader, status: StatusCode, headers: &HeaderMap) {
    let speaks = |name: &HeaderName| FAMILIES.iter().any(|family| name.as_str().starts_with(family));
    let strangers = |headers: &HeaderMap| -> HeaderMap {
        let others = headers.iter().filter(|(name, _)| !speaks(name));
        others.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let bare = answers.read(status, &HeaderMap::new());
    assert_eq!(answers.read(status, &strangers(headers)), bare, "{headers:?}");
    assert_eq!(answers.read_trailers(&strangers(headers)), Advice::none(), "{headers:?}");
}
