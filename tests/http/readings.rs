//! Cookies and query parameters are read as axum's and axum-extra's own extractors read them: random lines and queries, in
//! which one session must not get two keys.
//!
//! `READINGS=3000000 ./tests/run --test http readings::` compares more of them, and `READINGS_SEED=7` others.

use std::{collections::HashMap, env};

use axum::extract::Query;
use axum_extra::extract::CookieJar;
use http::{HeaderMap, HeaderValue, Request, Uri, header::COOKIE};
use tower_quota::{RateLimiter, http::RequestView, key};
use tower_quota_tests::limiter::one_per_minute;

/// Numbers that a seed determines.
struct Dice(u64);

impl Dice {
    const fn below(&mut self, sides: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides as u64) as usize
    }

    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        (0..self.below(most + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

const NAMES: [&str; 8] = ["sid", "sid", "s%69d", "%73id", "SID", "other", "si", "sid%20"];
const PIECES: [&str; 20] = [
    "a", "b", "1", "%61", "%", "%4", "%zz", "%ff", "%C3%A9", "\u{e9}", "+", "%2B", "\"", " ", "%3B", "=", "%00", "%20",
    "\\", ",",
];
const COOKIE_SEPARATORS: [&str; 6] = ["; ", ";", " ;", ";;", "; ; ", ","];
const QUERY_SEPARATORS: [&str; 5] = ["&", "&&", "&=", ";", "&x&"];

fn pairs(dice: &mut Dice, separators: &[&str]) -> String {
    let mut out = dice.text(&PIECES, 2);
    for _ in 0..dice.below(5) {
        out.push_str(separators[dice.below(separators.len())]);
        out.push_str(NAMES[dice.below(NAMES.len())]);
        out.push_str(["=", "=", "=", " =", "= ", ""][dice.below(6)]);
        if dice.below(6) == 0 {
            out.push_str(&format!("\"{}\"", dice.text(&PIECES, 3)));
        } else {
            out.push_str(&dice.text(&PIECES, 4));
        }
    }
    out
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Quotes around a value are not part of a key, since handlers may do either.
fn without_quotes(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

#[test]
fn a_cookie_is_read_as_the_jars_of_axum_extra_read_it() {
    let (limiter, mut dice) =
        (one_per_minute(key::cookie("sid")), Dice(number("READINGS_SEED", 1).wrapping_mul(0x9E37_79B9) | 1));
    let (mut compared, mut found) = (0, 0);
    while compared < number("READINGS", 100_000) {
        let mut headers = HeaderMap::new();
        for _ in 0..=dice.below(2) {
            let Ok(line) = HeaderValue::from_bytes(pairs(&mut dice, &COOKIE_SEPARATORS).as_bytes()) else { continue };
            headers.append(COOKIE, line);
        }
        let theirs = CookieJar::from_headers(&headers).get("sid").map(|cookie| cookie.value().to_owned());
        let mut request = Request::new(());
        *request.headers_mut() = headers;
        let ours = limiter.matching(&RequestView::new(&request))[0].key();
        let expected = theirs.as_deref().map(|value| limiter.key(without_quotes(value)));
        assert_eq!(ours, expected, "{theirs:?} of {:?}", request.headers());
        (compared, found) = (compared + 1, found + u64::from(theirs.is_some()));
    }
    println!("{compared} requests, {found} with the cookie");
    assert!(found > compared / 4);
}

#[test]
fn a_query_parameter_is_read_as_axum_reads_a_map_and_a_list() {
    let last = one_per_minute(key::query("sid"));
    let first = one_per_minute(key::query("sid").multiple_values(key::MultipleValues::First));
    let mut dice = Dice(number("READINGS_SEED", 1).wrapping_mul(0x9E37_79B9) | 1);
    let (mut compared, mut found) = (0, 0);
    while compared < number("READINGS", 100_000) {
        let Ok(uri) = format!("/?{}", pairs(&mut dice, &QUERY_SEPARATORS).replace(['"', ' ', '\\'], "")).parse::<Uri>()
        else {
            continue;
        };
        let Ok(Query(map)) = Query::<HashMap<String, String>>::try_from_uri(&uri) else { continue };
        let Ok(Query(list)) = Query::<Vec<(String, String)>>::try_from_uri(&uri) else { continue };
        let (theirs, firsts) = (map.get("sid"), list.iter().find(|(name, _)| name == "sid").map(|(_, value)| value));
        // axum replaces what is no text, and so tells less of it than we do.
        if [theirs, firsts].into_iter().flatten().any(|value| value.contains('\u{FFFD}')) {
            continue;
        }
        let mut request = Request::new(());
        *request.uri_mut() = uri;
        let read = |limiter: &RateLimiter| limiter.matching(&RequestView::new(&request))[0].key();
        assert_eq!(read(&last), theirs.map(|value| last.key(&**value)), "{theirs:?} of {}", request.uri());
        assert_eq!(read(&first), firsts.map(|value| first.key(&**value)), "{firsts:?} of {}", request.uri());
        (compared, found) = (compared + 1, found + u64::from(theirs.is_some()));
    }
    println!("{compared} requests, {found} with the parameter");
    assert!(found > compared / 4);
}
