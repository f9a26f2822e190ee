//! The address of a client is the one that trusted proxies tell, whatever the client itself has sent.
//!
//! Input: a digit for the header, one for the client, one for the number of trusted proxies, one for how they write; then
//! the lines that the client sends.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use http::{HeaderName, HeaderValue, Request};
use tower_quota::{
    Policy, RateLimiter, Rule,
    http::{PeerAddr, RequestView},
    key::{self, ForwardedHeader, Key},
};

use crate::input::Input;

const TRUSTED: [&str; 2] = ["10.0.0.0/8", "2001:db8:1::/48"];
const PROXIES: [&str; 4] = ["10.0.0.1", "2001:db8:1::1", "10.255.255.254", "2001:db8:1:ffff::1"];
const CLIENTS: [&str; 4] = ["198.51.100.7", "2001:db8:2::7", "9.255.255.255", "2001:db8::1"];
const HEADERS: [Header; 3] = [Header::List, Header::Forwarded, Header::Single];

/// How much of a header is read.
const MOST_ENTRIES: usize = 32;
const MOST_BYTES: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    List,
    Forwarded,
    Single,
}

pub(crate) fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let header = *input.choice(&HEADERS);
    let client: IpAddr = input.choice(&CLIENTS).parse().unwrap();
    let proxies = &PROXIES[..usize::from(*input.choice(&[1u8, 2, 3, 4]))];
    let style = input.byte();
    let sent: Vec<HeaderValue> = input.lines().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();

    assert_eq!(key(header, client, &sent), key(header, client, &[]), "a stranger's own header was believed");
    assert_is_named(header, PROXIES[0].parse().unwrap(), &sent);
    if header != Header::Single {
        let (peer, lines) = through(proxies, header, client, sent, style);
        assert_eq!(key(header, peer, &lines), key(header, client, &[]), "{client} by {lines:?}");
    }
}

/// What arrives when each of the proxies adds whom it was called from.
fn through(
    proxies: &[&str],
    header: Header,
    client: IpAddr,
    mut lines: Vec<HeaderValue>,
    style: u8,
) -> (IpAddr, Vec<HeaderValue>) {
    let mut caller = client;
    for (at, proxy) in proxies.iter().enumerate() {
        let style = style.rotate_right(at as u32 * 2);
        let entry = if header == Header::List { listed(caller, style) } else { forwarded(caller, style) };
        match lines.last_mut().filter(|_| style & 1 == 0) {
            Some(last) => {
                *last = HeaderValue::from_bytes(&[last.as_bytes(), b", ", entry.as_bytes()].concat()).unwrap();
            }
            None => lines.push(entry.parse().unwrap()),
        }
        caller = proxy.parse().unwrap();
    }
    (caller, lines)
}

fn listed(address: IpAddr, style: u8) -> String {
    match (address, style & 2 == 0) {
        (address, true) => address.to_string(),
        (IpAddr::V4(address), false) => format!("{address}:4711"),
        (IpAddr::V6(address), false) => format!("[{address}]:4711"),
    }
}

fn forwarded(address: IpAddr, style: u8) -> String {
    match (address, style & 2 == 0) {
        (IpAddr::V4(address), true) => format!("for={address};proto=https"),
        (IpAddr::V4(address), false) => format!("proto=\"a,b;c\\\"\" ; For=\"{address}:4711\""),
        (IpAddr::V6(address), true) => format!("For=\"[{address}]\""),
        (IpAddr::V6(address), false) => format!("by=_x;for=\"[{address}]:_hidden\"; host=\"a\\\\\""),
    }
}

/// The lines may be forged from end to end: then the key is that of an address in them, or the peer's.
fn assert_is_named(header: Header, peer: IpAddr, lines: &[HeaderValue]) {
    let found = key(header, peer, lines);
    let entries: Vec<&[u8]> = match header {
        Header::List => lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect(),
        _ => lines.iter().map(HeaderValue::as_bytes).collect(),
    };
    let bytes: usize = lines.iter().map(HeaderValue::len).sum();
    match header {
        Header::List if entries.len() <= MOST_ENTRIES && bytes <= MOST_BYTES => {
            assert_eq!(found, key(header, walk(peer, &entries), &[]), "{lines:?}");
        }
        Header::Single if bytes <= MOST_BYTES => {
            let only = entries.first().filter(|_| entries.len() == 1).and_then(|entry| address(entry));
            assert_eq!(found, key(header, only.unwrap_or(peer), &[]), "{lines:?}");
        }
        _ => {
            let named = entries.iter().flat_map(|entry| addresses_in(entry));
            let mut named = named.chain([peer]).map(|named| key(header, named, &[]));
            assert!(named.any(|named| named == found), "an address that is nowhere in {lines:?}");
        }
    }
}

/// From one trusted proxy to the next, as the documentation has it.
fn walk(peer: IpAddr, entries: &[&[u8]]) -> IpAddr {
    let mut last = peer;
    for entry in entries.iter().rev() {
        let Some(next) = address(entry) else { return last };
        last = next;
        if !is_trusted(next) {
            break;
        }
    }
    last
}

fn is_trusted(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[..3] == [0x2001, 0xdb8, 1],
    }
}

fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let with_port = || {
        let (address, port) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, port) = bracketed.split_once(']')?;
                (address.parse::<Ipv6Addr>().ok()?.into(), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (text[..end].parse::<Ipv4Addr>().ok()?.into(), &text[end..])
            }
        };
        let is_hidden = |name: &str| {
            !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char))
        };
        let is_port = match port.strip_prefix(':') {
            None => port.is_empty(),
            Some(port) => match port.strip_prefix('_') {
                Some(name) => is_hidden(name),
                None => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
            },
        };
        is_port.then_some(address)
    };
    text.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// Whatever in a text can be taken for an address, from any place to any other.
fn addresses_in(text: &[u8]) -> Vec<IpAddr> {
    let plain: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'\\').collect();
    let is_of_address = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let words = plain.split(|byte| !is_of_address(byte)).filter_map(|word| std::str::from_utf8(word).ok());
    let words = words.flat_map(|word| word.match_indices(':').map(|(at, _)| &word[..at]).chain([word]));
    words.filter_map(|word| word.parse::<IpAddr>().ok()).map(|address| address.to_canonical()).collect()
}

static LIMITERS: LazyLock<[RateLimiter; 3]> = LazyLock::new(|| {
    let single = HeaderName::from_static("x-real-ip");
    let headers = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded, ForwardedHeader::Single(single)];
    headers.map(|header| {
        let client = key::client_ip().trust(TRUSTED).header(header);
        let rule = Rule::new("calls").every_request().key(client).level("client").policy(Policy::per_minute(60));
        RateLimiter::builder().rule(rule).max_keys(16).build().unwrap()
    })
});

fn key(header: Header, peer: IpAddr, lines: &[HeaderValue]) -> Key {
    let (at, name) = match header {
        Header::List => (0, "x-forwarded-for"),
        Header::Forwarded => (1, "forwarded"),
        Header::Single => (2, "x-real-ip"),
    };
    let mut request = Request::new(());
    request.extensions_mut().insert(PeerAddr((peer, 443).into()));
    for line in lines {
        request.headers_mut().append(name, line.clone());
    }
    // Of keys made by one secret only, so that those of three limiters are not compared.
    LIMITERS[at].matching(&RequestView::new(&request))[0].key().unwrap()
}
