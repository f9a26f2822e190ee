//! Reads the addresses that proxies wrote into a header, nearest first.
//!
//! Entries are found from the right, because the nearest proxy wrote the right end: nothing that a client put before
//! it, be it an open quotation mark or bytes that are no text, can change how that end is read.

use std::{
    borrow::Cow,
    iter,
    net::{IpAddr, Ipv4Addr},
};

use http::{HeaderMap, HeaderName};

/// Maximum number of entries that are read, from the right: no chain of proxies is longer.
const ENTRIES: usize = 32;
/// Maximum number of bytes that are read, from the right.
const BYTES: usize = 4096;

pub(crate) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The one header in which the proxies in front of the service name the client.
///
/// There is no choice "whichever is present": a client would send the one that the proxies do not set.
///
/// ```
/// use http::HeaderName;
/// use tower_quota::key::ForwardedHeader;
///
/// let cloudflare = HeaderName::from_static("cf-connecting-ip");
/// let header = ForwardedHeader::from(cloudflare.clone());
/// assert_eq!(header, ForwardedHeader::Single(cloudflare));
///
/// let header = ForwardedHeader::from(HeaderName::from_static("x-forwarded-for"));
/// assert_eq!(header, ForwardedHeader::XForwardedFor);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For: 198.51.100.7, 10.0.0.2`: each proxy adds the address it was called from. All lines are one
    /// list.
    #[default]
    XForwardedFor,
    /// `Forwarded: for=198.51.100.7, for="[2001:db8::2]:4711"` (RFC 7239). All lines are one list.
    Forwarded,
    /// A header with a single address, such as `CF-Connecting-IP` or `X-Real-IP`, which the proxy has to replace if a
    /// client sends it. If a request has several of them, none is trusted.
    Single(HeaderName),
}

/// The statement of one proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The address it was called from; an IPv4 address in an IPv6 one is unwrapped.
    Address(IpAddr),
    /// No address: it is hidden, missing or invalid.
    Unknown,
}

impl ForwardedHeader {
    /// Returns the entries of all lines, nearest proxy first.
    pub(crate) fn entries<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = Entry> + 'a {
        let lines = headers.get_all(self.name());
        let ambiguous = matches!(self, Self::Single(_)) && lines.iter().nth(1).is_some();
        lines
            .iter()
            .rev()
            .scan(BYTES, |left, line| Some(take_from_the_right(line.as_bytes(), left)))
            .flat_map(|line| split_from_the_right(line, |list| self.last_separator(list)))
            .take(ENTRIES)
            .map(move |entry| self.read(entry).filter(|_| !ambiguous).map_or(Entry::Unknown, Entry::Address))
    }

    /// Returns the name of the header.
    pub(super) fn name(&self) -> &HeaderName {
        match self {
            Self::XForwardedFor => &X_FORWARDED_FOR,
            Self::Forwarded => &FORWARDED,
            Self::Single(name) => name,
        }
    }

    fn last_separator(&self, list: &[u8]) -> Option<usize> {
        match self {
            Self::XForwardedFor => list.iter().rposition(|byte| *byte == b','),
            Self::Forwarded => last_unquoted(b',', list),
            Self::Single(_) => None,
        }
    }

    fn read(&self, entry: &[u8]) -> Option<IpAddr> {
        let address = match self {
            Self::XForwardedFor | Self::Single(_) => bare_address(trimmed(entry)?),
            Self::Forwarded => for_address(entry),
        };
        address.map(|address| address.to_canonical())
    }
}

impl From<HeaderName> for ForwardedHeader {
    /// Returns the two lists by their names; any other header has a single address.
    fn from(name: HeaderName) -> Self {
        match name.as_str() {
            "x-forwarded-for" => Self::XForwardedFor,
            "forwarded" => Self::Forwarded,
            _ => Self::Single(name),
        }
    }
}

/// Returns the end of a line, at most `left` bytes long, without an entry that would be cut in two.
fn take_from_the_right<'a>(line: &'a [u8], left: &mut usize) -> &'a [u8] {
    let (cut, kept) = line.split_at(line.len().saturating_sub(*left));
    *left -= kept.len();
    if cut.is_empty() {
        return kept;
    }
    let whole = kept.iter().position(|byte| *byte == b',').unwrap_or(kept.len());
    &kept[whole..]
}

fn split_from_the_right(list: &[u8], last_separator: impl Fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(list);
    iter::from_fn(move || {
        let list = rest?;
        let separator = last_separator(list);
        rest = separator.map(|at| &list[..at]);
        Some(separator.map_or(list, |at| &list[at + 1..]))
    })
}

/// Finds the last `separator` that is outside of quoted strings, as seen from the end.
fn last_unquoted(separator: u8, list: &[u8]) -> Option<usize> {
    let mut quoted = false;
    (0..list.len()).rev().find(|at| {
        quoted ^= is_quote(list, *at);
        !quoted && list[*at] == separator
    })
}

/// Returns true if a quoted string begins or ends here.
fn is_quote(list: &[u8], at: usize) -> bool {
    let backslashes = || list[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
    list[at] == b'"' && backslashes().is_multiple_of(2)
}

fn is_unterminated(element: &[u8]) -> bool {
    !(0..element.len()).filter(|at| is_quote(element, *at)).count().is_multiple_of(2)
}

/// Returns the address in the one `for` parameter of a forwarded-element.
fn for_address(element: &[u8]) -> Option<IpAddr> {
    let pairs = split_from_the_right(element, |pairs| last_unquoted(b';', pairs));
    let mut nodes = pairs.filter_map(for_value);
    match (nodes.next(), nodes.next()) {
        (Some(node), None) if !is_unterminated(element) => node_address(node),
        _ => None,
    }
}

fn for_value(pair: &[u8]) -> Option<&str> {
    let (name, value) = trimmed(pair)?.split_once('=')?;
    name.eq_ignore_ascii_case("for").then_some(value)
}

/// Parses a node. A token has no colon and no brackets, so without quotes only a plain IPv4 address is one.
fn node_address(value: &str) -> Option<IpAddr> {
    match value.strip_prefix('"') {
        Some(quoted) => address_and_port(&unescaped(quoted.strip_suffix('"')?)),
        None => value.parse().ok().map(IpAddr::V4),
    }
}

fn unescaped(quoted: &str) -> Cow<'_, str> {
    if !quoted.contains('\\') {
        return quoted.into();
    }
    let mut chars = quoted.chars();
    let next = || match chars.next() {
        Some('\\') => chars.next(),
        char => char,
    };
    iter::from_fn(next).collect()
}

fn bare_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| address_and_port(text))
}

/// Parses `a.b.c.d` or `[v6]`, either with or without a port.
fn address_and_port(text: &str) -> Option<IpAddr> {
    let (address, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => {
            let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), port)
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address)
}

/// Returns true for a number, or a name that hides it (RFC 7239, section 6.3).
fn is_port(port: &str) -> bool {
    let mut bytes = port.bytes();
    match bytes.next() {
        Some(b'_') => bytes.len() > 0 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)),
        Some(b'0'..=b'9') => port.parse::<u16>().is_ok(),
        _ => false,
    }
}

fn trimmed(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().map(|text| text.trim_matches([' ', '\t']))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn entries<L: AsRef<[u8]>>(header: &ForwardedHeader, lines: &[L]) -> Vec<Entry> {
        let value = |line: &L| HeaderValue::from_bytes(line.as_ref()).unwrap();
        let headers = lines.iter().map(|line| (header.name().clone(), value(line))).collect();
        header.entries(&headers).collect()
    }

    /// Addresses from left to right, `-` for an unknown entry.
    fn expected(texts: &str) -> Vec<Entry> {
        let entry = |text: &str| text.parse().map_or(Entry::Unknown, Entry::Address);
        texts.split_ascii_whitespace().rev().map(entry).collect()
    }

    fn assert_entries(header: &ForwardedHeader, table: &[(&str, &str)]) {
        for (line, texts) in table {
            assert_eq!(entries(header, &[line]), expected(texts), "{line}");
        }
    }

    #[test]
    fn x_forwarded_for_is_read_in_every_form_that_proxies_write() {
        assert_entries(
            &ForwardedHeader::XForwardedFor,
            &[
                ("198.51.100.7", "198.51.100.7"),
                ("198.51.100.7,10.0.0.2", "198.51.100.7 10.0.0.2"),
                (" \t198.51.100.7 ,\t10.0.0.2\t", "198.51.100.7 10.0.0.2"),
                ("198.51.100.7:4711", "198.51.100.7"),
                ("2001:db8::1", "2001:db8::1"),
                ("2001:DB8:0:0::1", "2001:db8::1"),
                ("[2001:db8::1]", "2001:db8::1"),
                ("[2001:db8::1]:4711", "2001:db8::1"),
                ("::ffff:198.51.100.7, [::ffff:c633:6407]:80", "198.51.100.7 198.51.100.7"),
                ("2001:db8:1234:5678::1.2.3.4", "2001:db8:1234:5678::102:304"),
            ],
        );
    }

    #[test]
    fn what_is_no_address_in_x_forwarded_for_is_unknown() {
        let junk = [
            "",
            " ",
            "unknown",
            "_x",
            "localhost",
            "198.51.100",
            "198.51.100.7.8",
            "198.51.100.256",
            "198.051.100.7",
            "0xc6336407",
            "3325256711",
            "198.51.100.7:",
            "198.51.100.7:99999",
            "198.51.100.7:+80",
            "198.51.100.7:http",
            "198.51.100.7/32",
            "198.51.100.7 10.0.0.2",
            "198.51.100.7;10.0.0.2",
            "\"198.51.100.7\"",
            "[198.51.100.7]",
            "for=198.51.100.7",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]4711",
            "[2001:db8::1]:",
            "[[::1]]",
            "[]",
            "fe80::1%eth0",
            "[fe80::1%1]:80",
            "2001:db8:::1",
            "1:2:3:4:5:6:7:8:9",
            "é",
            "198.51.100.7\u{a0}",
        ];
        for text in junk {
            let entries = entries(&ForwardedHeader::XForwardedFor, &[text]);
            assert_eq!(entries, [Entry::Unknown], "{text}");
        }
    }

    #[test]
    fn an_unknown_entry_leaves_its_neighbours_alone() {
        assert_entries(
            &ForwardedHeader::XForwardedFor,
            &[(", ,,", "- - - -"), ("1.2.3.4,,5.6.7.8", "1.2.3.4 - 5.6.7.8"), ("\", 5.6.7.8", "- 5.6.7.8")],
        );
        let not_text = entries(&ForwardedHeader::XForwardedFor, &[b"\xff\xfe, 5.6.7.8"]);
        assert_eq!(not_text, expected("- 5.6.7.8"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        assert_entries(
            &ForwardedHeader::Forwarded,
            &[
                ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
                ("for=192.0.2.43, for=198.51.100.17", "192.0.2.43 198.51.100.17"),
                ("For=1.2.3.4,FOR=5.6.7.8", "1.2.3.4 5.6.7.8"),
                ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
                ("for=\"[2001:db8::17]:4711\";proto=https, for=10.0.0.1", "2001:db8::17 10.0.0.1"),
                ("for=\"192.0.2.1:80\"", "192.0.2.1"),
                ("for=\"192.0.2.1:_gazonk\"", "192.0.2.1"),
                ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
                ("by=\"a, b;for=9.9.9.9\" ; for=1.2.3.4 ; proto=https", "1.2.3.4"),
                ("host=a:80;for=1.2.3.4", "1.2.3.4"),
                (r#"for="1\.2.3.\4""#, "1.2.3.4"),
                (r#"secret="\", for=9.9.9.9";for=1.2.3.4"#, "1.2.3.4"),
                (r#"secret="\\";for=1.2.3.4, for=5.6.7.8"#, "1.2.3.4 5.6.7.8"),
            ],
        );
    }

    #[test]
    fn what_is_no_address_in_forwarded_is_unknown() {
        let junk = [
            "",
            ";",
            "for",
            "for=",
            "for=\"\"",
            "for=unknown",
            "for=_hidden",
            "for=\"_SEVKISEK\"",
            "for=x-foo",
            "proto=https",
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            "for=\"2001:db8::1\"",
            "for=1.2.3.4:80",
            "for= 1.2.3.4",
            "for =1.2.3.4",
            "xfor=1.2.3.4",
            "1.2.3.4",
            "for=1.2.3.4;for=1.2.3.4",
            "for=\"1.2.3.4\"x",
            "for=\"1.2.3.4\":80",
            "for=\"1.2.3.4",
            "for=1.2.3.4\"",
            "for=\"1.2.3.4\\\"",
            "for=1.2.3.4;proto=\"https",
            "proto=\"https;for=1.2.3.4",
            "proto=\"for=1.2.3.4;",
            "for=\"1.2.3.4:_\"",
            "for=\"1.2.3.4:_a b\"",
            "for=\"1.2.3.4:99999\"",
            r#"for="1\\.2.3.4""#,
            "for=é",
        ];
        for text in junk {
            assert_eq!(entries(&ForwardedHeader::Forwarded, &[text]), [Entry::Unknown], "{text}");
        }
    }

    #[test]
    fn what_a_client_wrote_cannot_swallow_what_the_proxy_added() {
        assert_entries(
            &ForwardedHeader::Forwarded,
            &[
                ("for=\"1.2.3.4, for=5.6.7.8", "- 5.6.7.8"),
                ("for=1.2.3.4;a=\", for=\"[2001:db8::1]\"", "- 2001:db8::1"),
                ("for=1.2.3.4;a=\"\\, for=\"[2001:db8::1]\"", "- 2001:db8::1"),
                ("for=1.2.3.4\\, for=\"5.6.7.8\"", "- 5.6.7.8"),
                (",;=\"\"\", for=5.6.7.8;proto=\"https\"", "- 5.6.7.8"),
            ],
        );
    }

    #[test]
    fn all_lines_are_one_list() {
        let lists = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded];
        let lines = [["1.1.1.1, 2.2.2.2", "", "3.3.3.3"], ["for=1.1.1.1,for=2.2.2.2", "for=\"x", "for=3.3.3.3"]];
        for (header, lines) in lists.iter().zip(lines) {
            assert_eq!(entries(header, &lines), expected("1.1.1.1 2.2.2.2 - 3.3.3.3"));
        }
    }

    #[test]
    fn a_single_address_is_neither_a_list_nor_there_twice() {
        let header = ForwardedHeader::Single(HeaderName::from_static("x-real-ip"));
        assert_entries(
            &header,
            &[("1.2.3.4", "1.2.3.4"), ("[::1]:80", "::1"), ("1.2.3.4, 5.6.7.8", "-"), ("for=1.2.3.4", "-")],
        );
        assert_eq!(entries(&header, &["1.2.3.4", "5.6.7.8"]), expected("- -"));
        assert_eq!(entries(&header, &["1.2.3.4", "1.2.3.4"]), expected("- -"));
    }

    #[test]
    fn no_header_has_no_entries() {
        assert!(entries::<&str>(&ForwardedHeader::default(), &[]).is_empty());
    }

    #[test]
    fn at_most_32_entries_are_read_from_the_right() {
        let list = format!("9.9.9.9,{}", ["1.2.3.4"; 32].join(","));
        assert_eq!(entries(&ForwardedHeader::XForwardedFor, &[&list]), expected(&"1.2.3.4 ".repeat(32)));
        assert_eq!(entries(&ForwardedHeader::XForwardedFor, &["1.2.3.4"; 100]).len(), 32);
        assert_eq!(entries(&ForwardedHeader::XForwardedFor, &[&",".repeat(8192)]), [Entry::Unknown; 32]);
    }

    #[test]
    fn at_most_4_kib_are_read_from_the_right() {
        let header = ForwardedHeader::XForwardedFor;
        let padded = |first: &str, length: usize| format!("{first},{:>1$}", "1.2.3.4", length - first.len() - 1);
        assert_eq!(entries(&header, &[&padded("15.6.7.8", 4096)]), expected("15.6.7.8 1.2.3.4"));
        assert_eq!(entries(&header, &[&padded("15.6.7.8", 4097)]), expected("- 1.2.3.4"), "not 5.6.7.8");
        assert_eq!(entries(&header, &["9.9.9.9", &padded("5.6.7.8", 4096)]), expected("- 5.6.7.8 1.2.3.4"));
        assert_eq!(entries(&header, &[format!("{:<4096}", "15.6.7.8")]), expected("15.6.7.8"));
        assert_eq!(entries(&header, &[format!("{:<4097}", "15.6.7.8")]), expected("-"), "not 5.6.7.8");
    }

    #[test]
    fn a_header_that_is_cut_inside_of_a_quoted_string_ends_in_an_unknown_entry() {
        let line = format!("for=\"{}, for=9.9.9.9, \", for=10.0.0.1", "x".repeat(4096));
        assert_eq!(entries(&ForwardedHeader::Forwarded, &[line]), expected("- 10.0.0.1"));
    }
}
