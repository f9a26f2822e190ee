//! Reader of `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
//!
//! From draft 8 on they are Lists of named Items (RFC 9651); in draft 7 `RateLimit` was a Dictionary. Both names and
//! letters may still change, so those that the editors have chosen after draft 11 are read as well.

use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, FieldType, Item, List, ListEntry, Parameters, Parser};

use crate::client::{
    advice::Allowance,
    answers::{
        number::Number,
        server_time::{Reset, ServerTime},
    },
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The parameter with the remaining number: in the drafts, and in the editors' copy.
const REMAINING: [&str; 2] = ["r", "a"];
/// The parameter with the seconds until then.
const WITHIN: [&str; 2] = ["t", "w"];
/// More than any server has, few enough to keep for each key, and to compare with as many policies.
const MAX_ITEMS: usize = 16;

/// Reads the limits that the fields state.
pub(super) fn read_limits(headers: &HeaderMap, server_time: &ServerTime) -> Vec<Allowance> {
    let Some(list) = named_items(headers, &RATE_LIMIT) else {
        return draft_7(headers, server_time).into_iter().collect();
    };
    let policies = named_items(headers, &RATE_LIMIT_POLICY).unwrap_or_default();
    list.iter().filter_map(|item| read_limit(item, &policies, server_time)).collect()
}

/// Reads an item of `RateLimit`. Its policy has the unit, and the time if the item has none.
fn read_limit(item: &Item, policies: &[Item], server_time: &ServerTime) -> Option<Allowance> {
    let name = name(item)?;
    let policy =
        policies.iter().find(|policy| self::name(policy).is_some_and(|other| other.eq_ignore_ascii_case(name)));
    let remaining = number(parameter(&item.params, &REMAINING)?)?.rounded_down();
    let window = || parameter(&policy?.params, &["w"]);
    let seconds = number(parameter(&item.params, &WITHIN).or_else(window)?)?.rounded_up();
    // A number of something else says nothing about calls, but when there is nothing left of it none will pass.
    let counts_requests = policy.is_none_or(|policy| counts_requests(&policy.params));
    (counts_requests || remaining == 0).then(|| allowance(remaining, seconds, server_time))
}

/// Reads `limit=100, remaining=50, reset=5`.
fn draft_7(headers: &HeaderMap, server_time: &ServerTime) -> Option<Allowance> {
    let members: Dictionary = parse(headers, &RATE_LIMIT)?;
    let member = |name| match members.get(name)? {
        ListEntry::Item(item) => number(&item.bare_item),
        ListEntry::InnerList(_) => None,
    };
    Some(allowance(member("remaining")?.rounded_down(), member("reset")?.rounded_up(), server_time))
}

fn allowance(remaining: u64, seconds: u64, server_time: &ServerTime) -> Allowance {
    let within = server_time.resolve(seconds, Reset::Guess);
    Allowance::new(remaining, within.length, within.since())
}

/// Returns the first named items of a list, or `None` if it cannot be parsed.
fn named_items(headers: &HeaderMap, field: &HeaderName) -> Option<Vec<Item>> {
    let list: List = parse(headers, field)?;
    let items = list.into_iter().filter_map(|entry| match entry {
        ListEntry::Item(item) => Some(item),
        ListEntry::InnerList(_) => None,
    });
    Some(items.filter(|item| name(item).is_some()).take(MAX_ITEMS).collect())
}

/// Parses all lines of a field as one (RFC 9651, section 4.2).
fn parse<T: FieldType>(headers: &HeaderMap, field: &HeaderName) -> Option<T> {
    let lines: Vec<&[u8]> = headers.get_all(field).iter().map(HeaderValue::as_bytes).collect();
    Parser::new(&lines.join(&b", "[..])).parse().ok()
}

/// Returns the name of an item: a String, or a Token as the editors allow. The case does not matter.
fn name(item: &Item) -> Option<&str> {
    match &item.bare_item {
        BareItem::String(name) => Some(name.as_str()),
        BareItem::Token(name) => Some(name.as_str()),
        _ => None,
    }
}

fn parameter<'a>(parameters: &'a Parameters, names: &[&str]) -> Option<&'a BareItem> {
    names.iter().find_map(|name| parameters.get(*name))
}

/// Returns an Integer or a Decimal that is not negative. Strings and Dates are no numbers, even if they parse as one.
fn number(value: &BareItem) -> Option<Number> {
    let text = match value {
        BareItem::Integer(number) => number.to_string(),
        BareItem::Decimal(number) => number.to_string(),
        _ => return None,
    };
    Number::parse(text.as_bytes())
}

/// Returns `true` if a policy counts requests, which is the default. The text of the draft has `requests`, its registry
/// `request`.
fn counts_requests(policy: &Parameters) -> bool {
    let unit = policy.get("qu").and_then(BareItem::as_string);
    unit.is_none_or(|unit| ["requests", "request"].contains(&unit.as_str()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    const LONGEST: u64 = 3600;

    /// Returns the remaining number and the seconds of each limit.
    fn read(fields: &[(&'static str, &str)]) -> Vec<(u64, u64)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let server_time = ServerTime::from_headers(&headers, Duration::from_secs(LONGEST), || SystemTime::UNIX_EPOCH);
        read_limits(&headers, &server_time).iter().map(|limit| (limit.remaining(), limit.within().as_secs())).collect()
    }

    fn rate_limit(value: &str) -> Vec<(u64, u64)> {
        read(&[("ratelimit", value)])
    }

    fn with_policy(rate_limit: &str, policy: &str) -> Vec<(u64, u64)> {
        read(&[("ratelimit", rate_limit), ("ratelimit-policy", policy)])
    }

    #[test]
    fn a_limit_is_read_in_the_draft_s_letters_and_in_the_editors_newer_ones() {
        assert_eq!(rate_limit(r#""burst";r=50;t=30,"daily";r=100;t=1800"#), [(50, 30), (100, 1800)]);
        assert_eq!(rate_limit(r#""api";a=99;w=60;c=1;pk=:R0VUH2FsaWNl:"#), [(99, 60)]);
        assert_eq!(rate_limit("burst;a=0;w=5, \"daily\";r=3;t=9"), [(0, 5), (3, 9)]);
        assert_eq!(rate_limit(r#""default"; r=50; t=30;other"#), [(50, 30)]);
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(read(&[("ratelimit", "a;r=1;t=2"), ("ratelimit", "b;r=3;t=4")]), [(1, 2), (3, 4)]);
        assert_eq!(read(&[("ratelimit", "a;r=1;t=2"), ("ratelimit", "b;r=3 ;t=4")]), []);
    }

    #[test]
    fn a_malformed_item_is_ignored_and_the_others_stand() {
        let malformed = [
            r#""a";r="1";t=2"#,
            r#""a";r=-1;t=2"#,
            r#""a";r=?1;t=2"#,
            r#""a";r=@5;t=2"#,
            r#""a";r=1;t=-2"#,
            r#""a";r=-1.5;t=2"#,
            r#""a";r;t=2"#,
            r#""a";t=2"#,
            r#""a";r=1"#,
            r#"("a" "b");r=1;t=2"#,
            "5;r=1;t=2",
            ":YQ==:;r=1;t=2",
        ];
        for item in malformed {
            assert_eq!(rate_limit(item), [], "{item}");
            assert_eq!(rate_limit(&format!("{item}, good;r=7;t=8")), [(7, 8)], "{item}");
        }
    }

    #[test]
    fn of_a_decimal_the_side_is_taken_that_nobody_is_refused_for() {
        assert_eq!(rate_limit(r#""a";r=1.9;t=2.1"#), [(1, 3)]);
        assert_eq!(with_policy("daily;r=3", "daily;w=2.5"), [(3, 3)]);
    }

    #[test]
    fn a_field_that_cannot_be_parsed_is_ignored() {
        let malformed = [
            "R=1",
            r#""a";R=1;t=2"#,
            r#""a";r=1 ;t=2"#,
            r#""a";r=1000000000000000;t=2"#,
            r#""a";r=1;t=2,"#,
            r#""a"#,
            r#""a";r=1;t="#,
            "",
            "\u{e9}",
        ];
        for field in malformed {
            assert_eq!(rate_limit(field), [], "{field}");
        }
    }

    #[test]
    fn a_number_may_have_fifteen_digits_and_the_time_is_capped() {
        assert_eq!(rate_limit("a;r=999999999999999;t=999999999999999"), [(999_999_999_999_999, LONGEST)]);
    }

    #[test]
    fn a_policy_is_found_by_its_name_whatever_its_case_and_type() {
        for policy in ["DAILY;q=9;w=30", "\"Daily\";q=9;w=30", "daily;w=30", "other;w=1, \"daily\";w=30"] {
            assert_eq!(with_policy("\"daily\";r=3", policy), [(3, 30)], "{policy}");
            assert_eq!(with_policy("DAILY;a=3", policy), [(3, 30)], "{policy}");
            assert_eq!(with_policy("daily;r=3;t=7", policy), [(3, 7)], "{policy}");
        }
        for policy in ["hourly;w=30", "daily;q=9", "daily;w=-30", "daily;w=-3.0", "daily;w=30 ;q=1"] {
            assert_eq!(with_policy("daily;r=3", policy), [], "{policy}");
        }
    }

    #[test]
    fn a_limit_on_something_else_than_requests_counts_once_nothing_is_left() {
        for unit in ["content-bytes", "concurrent-requests", "furlongs"] {
            let policy = format!("disk;q=9;w=60;qu=\"{unit}\"");
            assert_eq!(with_policy("disk;r=65535;t=10, calls;r=5;t=10", &policy), [(5, 10)], "{unit}");
            assert_eq!(with_policy("disk;r=0;t=10", &policy), [(0, 10)], "{unit}");
        }
        for unit in ["requests", "request"] {
            assert_eq!(with_policy("a;r=5;t=10", &format!("a;q=9;qu=\"{unit}\"")), [(5, 10)], "{unit}");
        }
    }

    #[test]
    fn draft_7_had_a_dictionary() {
        assert_eq!(rate_limit("limit=100, remaining=50, reset=5"), [(50, 5)]);
        assert_eq!(with_policy("limit=100,remaining=0,reset=5", "100;w=60"), [(0, 5)]);
        for field in ["limit=100, remaining=-1, reset=5", "limit=100, remaining=5", "remaining=(5), reset=5", "reset=5"]
        {
            assert_eq!(rate_limit(field), [], "{field}");
        }
    }

    #[test]
    fn no_more_than_sixteen_limits_are_looked_at() {
        assert_eq!(rate_limit(&vec!["a;r=1;t=2"; 1000].join(",")).len(), MAX_ITEMS);
        let late = format!("{}a;r=1;t=2", "a,".repeat(16));
        assert_eq!(rate_limit(&late), []);
    }
}
