//! A key that a request carries is found whatever else it carries, and is what was sent.
//!
//! Input: a digit for what is read, then lines: the value, and what else there is.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Request, Uri};
use tower_quota::{
    Policy, RateLimiter, Rule,
    http::RequestView,
    key::{self, Key, KeyBuilder, KeyExtractor, KeyParts, MultipleValues},
};

use crate::input::Input;

const CHECKS: [fn(Input<'_>); 5] = [check_cookie, check_query, check_binary, check_anything, check_parts];
const MOST_VALUES: usize = 8;

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    input.choice(&CHECKS)(input);
}

/// The cookie `sid`, once, among others.
fn check_cookie(mut input: Input<'_>) {
    let is_octet = |byte: &u8| byte.is_ascii_graphic() && !b"\",;\\%".contains(byte);
    let value: Vec<u8> = input.line().iter().copied().filter(is_octet).collect();
    let place = usize::from(input.byte());
    let can_stand_beside = |line: &&[u8]| HeaderValue::from_bytes(line).is_ok() && !mentions_the_cookie(line);
    let mut lines: Vec<Vec<u8>> = input.lines().filter(can_stand_beside).map(<[u8]>::to_vec).collect();
    let cookie = [b"sid=", &*value].concat();
    let at = place / 4 % (lines.len() + 1);
    match lines.get_mut(at).filter(|line| line.is_ascii() && place % 4 != 0) {
        Some(line) if place % 4 == 1 => *line = [line, &b"; "[..], &cookie].concat(),
        Some(line) if place % 4 == 2 => *line = [&cookie, &b";"[..], line].concat(),
        Some(line) => *line = [line, &b";"[..], &cookie, b" ; ", line].concat(),
        None => lines.insert(at, cookie),
    }
    let request = with_lines("cookie", &lines);
    let limiter = &LIMITERS.cookie;
    assert_eq!(key(limiter, &request), Some(limiter.key(&*value)), "{:?}", request.headers());
}

/// In whatever way somebody may decode it.
fn mentions_the_cookie(line: &[u8]) -> bool {
    line.contains(&b'%') || line.to_ascii_lowercase().windows(3).any(|word| word == b"sid")
}

/// Parameters of a query, some of which are called `id`.
fn check_query(input: Input<'_>) {
    let pairs: Vec<(&str, &str)> = input.lines().take(MOST_VALUES).filter_map(pair).collect();
    let encoded: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect();
    let uri = Uri::try_from(format!("/?{}", encoded.join("&"))).unwrap();
    let request = Request::get(&uri).body(()).unwrap();
    let values = pairs.iter().filter(|(name, _)| *name == "id").map(|(_, value)| value.as_bytes()).collect();
    assert_several(&LIMITERS.query, &request, &values);
}

fn pair(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?;
    Some(line.split_once('=').unwrap_or((line, "")))
}

fn form(text: &str) -> String {
    let encode = |byte| match byte {
        b' ' => "+".to_owned(),
        b'a'..=b'y' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

/// Values of binary metadata, in all spellings that mean them.
fn check_binary(mut input: Input<'_>) {
    let style = usize::from(input.byte());
    let values: Vec<&[u8]> = input.lines().take(MOST_VALUES).collect();
    let spelled = values.iter().enumerate().map(|(at, value)| base64(value, style >> (at % 4)));
    let spelled: Vec<Vec<u8>> = spelled.map(String::into_bytes).collect();
    let lines = match style % 3 {
        0 if !spelled.is_empty() => vec![spelled.join(&b","[..])],
        1 if !spelled.is_empty() => vec![spelled.join(&b" , "[..])],
        _ => spelled,
    };
    let request = with_lines("id-bin", &lines);
    assert_several(&LIMITERS.binary, &request, &values);
}

/// With padding or without, and with anything in the bits behind the last byte.
fn base64(value: &[u8], style: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = STANDARD.encode(value).trim_end_matches('=').to_owned();
    let free = [0, 4, 2][value.len() % 3];
    if let Some(last) = text.pop() {
        let bits = ALPHABET.iter().position(|letter| char::from(*letter) == last).unwrap();
        text.push(char::from(ALPHABET[bits | (style % (1 << free))]));
    }
    let padding = if style & 16 == 0 { 0 } else { (4 - text.len() % 4) % 4 };
    text + &"=".repeat(padding)
}

/// Nothing is found where it is not, and nothing goes wrong.
fn check_anything(input: Input<'_>) {
    let lines: Vec<Vec<u8>> = input.lines().map(<[u8]>::to_vec).collect();
    for name in ["cookie", "id-bin", "host"] {
        let request = with_lines(name, &lines);
        for limiter in LIMITERS.all() {
            key(limiter, &request);
        }
    }
    let upper: Vec<Vec<u8>> = lines.iter().map(|line| line.to_ascii_uppercase()).collect();
    let [as_sent, in_capitals] = [lines.clone(), upper].map(|lines| key(&LIMITERS.host, &with_lines("host", &lines)));
    assert_eq!(as_sent, in_capitals, "the case of a host does not matter: {lines:?}");
    let is_junk = |line: &Vec<u8>| line.iter().any(|byte| !byte.is_ascii_alphanumeric() && !b"+/=, \t".contains(byte));
    if lines.first().is_some_and(|line| is_junk(line) && HeaderValue::from_bytes(line).is_ok()) {
        let first = line_up_to_the_comma(&lines[0]);
        if is_junk(&first.to_vec()) {
            assert_eq!(key(&LIMITERS.binary[0], &with_lines("id-bin", &lines)), None, "{lines:?} is no base64");
        }
    }
}

/// Two keys are one only if their parts are: of two lists of lines, with an empty line between them.
fn check_parts(mut input: Input<'_>) {
    let first = Parts(std::iter::from_fn(|| Some(input.line()).filter(|line| !line.is_empty())).collect());
    let second = Parts(input.lines().collect());
    let limiter = &LIMITERS.host;
    assert_eq!(limiter.key(&first) == limiter.key(&second), first == second, "{first:?} and {second:?}");
}

#[derive(Debug, PartialEq)]
struct Parts<'a>(Vec<&'a [u8]>);

impl KeyParts for Parts<'_> {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        self.0.iter().for_each(|part| key.part(part));
    }
}

fn line_up_to_the_comma(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b',').next().unwrap_or_default()
}

/// What the first, all and a single one of these values come to.
fn assert_several(limiters: &[RateLimiter; 3], request: &Request<()>, values: &Vec<&[u8]>) {
    let [first, joined, single] = limiters;
    let expected = values.first().map(|value| first.key(*value));
    assert_eq!(key(first, request), expected, "{request:?}");
    let expected = (values.len() == 1).then(|| single.key(values[0]));
    assert_eq!(key(single, request), expected, "{request:?}");
    let expected = match **values {
        [] => None,
        [one] => Some(joined.key(one)),
        [one, two] => Some(joined.key((one, two))),
        [one, two, three] => Some(joined.key((one, two, three))),
        _ => return,
    };
    assert_eq!(key(joined, request), expected, "{request:?}");
}

fn with_lines(name: &'static str, lines: &[Vec<u8>]) -> Request<()> {
    let mut headers = HeaderMap::new();
    lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).for_each(|line| {
        headers.append(name, line);
    });
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    request
}

struct Limiters {
    cookie: RateLimiter,
    host: RateLimiter,
    query: [RateLimiter; 3],
    binary: [RateLimiter; 3],
}

impl Limiters {
    fn all(&self) -> impl Iterator<Item = &RateLimiter> {
        self.query.iter().chain(&self.binary).chain([&self.cookie, &self.host])
    }
}

static LIMITERS: LazyLock<Limiters> = LazyLock::new(|| {
    let several = [MultipleValues::First, MultipleValues::Joined, MultipleValues::MissingKey];
    Limiters {
        cookie: limiter(key::cookie("sid")),
        host: limiter(key::host()),
        query: several.map(|several| limiter(key::query("id").multiple_values(several))),
        binary: several.map(|several| limiter(key::metadata("id-bin").multiple_values(several))),
    }
});

fn limiter(extractor: impl KeyExtractor) -> RateLimiter {
    let rule = Rule::new("calls").every_request().key(extractor).level("caller").policy(Policy::per_minute(60));
    RateLimiter::builder().rule(rule).max_keys(16).build().unwrap()
}

fn key(limiter: &RateLimiter, request: &Request<()>) -> Option<Key> {
    limiter.matching(&RequestView::new(request))[0].key()
}
