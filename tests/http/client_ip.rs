//! Who is counted behind proxies: nobody chooses their key, and nobody shares one with strangers.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use proptest::{prelude::*, sample::select};
use tower::{Layer, ServiceExt, service_fn};
use tower_quota::{
    OnMissing, Policy, RateLimitLayer, RateLimiter, Rule,
    http::{PeerAddr, RequestView},
    key::{self, ClientIp, ForwardedHeader, Key},
};

const XFF: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// A proxy in 10.0.0.0/8, which [`behind_proxies`] trusts.
const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "198.51.100.7";
const OTHER_CLIENT: &str = "198.51.100.8";

/// The keys that requests get from one extractor.
struct Keys(RateLimiter);

impl Keys {
    fn by(extractor: ClientIp) -> Self {
        let rule = Rule::new("calls").every_request().key(extractor).level("client").policy(Policy::per_minute(2));
        Self(RateLimiter::builder().rule(rule).build().unwrap())
    }

    fn of(&self, request: &Request<()>) -> Key {
        self.0.matching(&RequestView::new(request))[0].key().unwrap()
    }

    /// The key of a peer that sends no header.
    fn of_peer(&self, address: &str) -> Key {
        self.of(&request(address, &[]))
    }

    fn assert_client(&self, request: &Request<()>, address: &str) {
        let lines: Vec<_> = request.headers().values().collect();
        assert_eq!(self.of(request), self.of_peer(address), "{lines:?} is not from {address}");
    }
}

fn behind_proxies() -> ClientIp {
    key::client_ip().trust(["10.0.0.0/8"])
}

fn peer(address: &str) -> PeerAddr {
    PeerAddr(SocketAddr::new(address.parse().unwrap(), 4711))
}

fn request(address: &str, lines: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(peer(address));
    for (name, value) in lines {
        request
            .headers_mut()
            .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request
}

/// How many of the requests reach the service behind a layer with two requests per minute.
async fn admitted(extractor: ClientIp, requests: impl IntoIterator<Item = Request<()>>) -> usize {
    let layer = RateLimitLayer::new(extractor, Policy::per_minute(2)).unwrap();
    let mut admitted = 0;
    for request in requests {
        let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        admitted += usize::from(response.status() == StatusCode::OK);
    }
    admitted
}

#[tokio::test]
async fn a_header_changes_nothing_while_no_proxy_is_trusted() {
    for name in [XFF, FORWARDED, "x-real-ip", "true-client-ip", "cf-connecting-ip"] {
        let forged = |number| match name {
            FORWARDED => format!("for=192.0.2.{number}"),
            _ => format!("192.0.2.{number}"),
        };
        let requests = || (0..10).map(|number| request(CLIENT, &[(name, &forged(number))]));
        assert_eq!(admitted(key::client_ip(), requests()).await, 2, "{name}");
        assert_eq!(admitted(key::peer_ip(), requests()).await, 2, "{name}");
    }
}

#[tokio::test]
async fn entries_that_a_client_writes_in_front_of_its_address_change_nothing() {
    let junk = |number| ["192.0.2.1", "10.0.0.9", "unknown", "\u{ff}", "\"", ""].map(|text| format!("{text}{number}"));
    let forged: Vec<_> = (0..5).flat_map(junk).map(|entry| format!("{entry}, {CLIENT}")).collect();
    let requests = forged.iter().map(|list| request(PROXY, &[(XFF, list)]));
    assert_eq!(admitted(behind_proxies(), requests).await, 2);
}

#[tokio::test]
async fn an_open_quote_does_not_swallow_the_element_of_the_proxy() {
    let forged = ["for=\"", "for=192.0.2.1;by=\"", "for=\"\\", "\"", "for=192.0.2.1,", "\u{ff}"];
    let requests =
        forged.map(|text| request(PROXY, &[(FORWARDED, &format!("{text}, for=\"{CLIENT}:80\";proto=https"))]));
    assert_eq!(admitted(behind_proxies().header(ForwardedHeader::Forwarded), requests).await, 2);
}

#[tokio::test]
async fn headers_of_a_peer_that_is_no_proxy_are_not_believed() {
    let requests = (0..10).map(|number| request(CLIENT, &[(XFF, &format!("192.0.2.{number}, {PROXY}"))]));
    assert_eq!(admitted(behind_proxies(), requests).await, 2);
}

#[test]
fn only_the_chosen_header_is_read() {
    let headers = [(XFF, "192.0.2.1"), (FORWARDED, "for=192.0.2.2"), ("cf-connecting-ip", "192.0.2.3")];
    let cloudflare = ForwardedHeader::Single(HeaderName::from_static("cf-connecting-ip"));
    let chosen = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded, cloudflare];
    for (header, address) in chosen.into_iter().zip(["192.0.2.1", "192.0.2.2", "192.0.2.3"]) {
        let keys = Keys::by(behind_proxies().header(header));
        keys.assert_client(&request(PROXY, &headers), address);
        keys.assert_client(&request(PROXY, &[("x-real-ip", "192.0.2.4")]), PROXY);
    }
}

#[test]
fn a_single_address_that_is_there_twice_is_not_believed() {
    let header = HeaderName::from_static("x-real-ip");
    let keys = Keys::by(behind_proxies().header(ForwardedHeader::Single(header)));
    keys.assert_client(&request(PROXY, &[("x-real-ip", CLIENT)]), CLIENT);
    keys.assert_client(&request(PROXY, &[("x-real-ip", CLIENT), ("x-real-ip", OTHER_CLIENT)]), PROXY);
    keys.assert_client(&request(PROXY, &[("x-real-ip", "198.51.100.7, 198.51.100.8")]), PROXY);
}

#[tokio::test]
async fn clients_behind_two_proxies_have_a_history_each() {
    let through_both = |client: &str| request(PROXY, &[(XFF, &format!("{client}, 10.0.0.2"))]);
    let requests = [CLIENT, OTHER_CLIENT].into_iter().cycle().take(10).map(through_both);
    assert_eq!(admitted(behind_proxies(), requests).await, 4);
}

#[test]
fn a_client_is_the_same_whichever_proxies_it_comes_through() {
    let keys = Keys::by(behind_proxies().trust(["2001:db8:1::/48"]).trust(["203.0.113.9"]));
    for list in [CLIENT, "198.51.100.7, 10.0.0.2", "198.51.100.7, [2001:db8:1::2]:80, 203.0.113.9:443, ::ffff:10.0.0.2"]
    {
        for proxy in [PROXY, "::ffff:10.0.0.1", "2001:db8:1::1", "203.0.113.9"] {
            keys.assert_client(&request(proxy, &[(XFF, list)]), CLIENT);
        }
    }
}

#[test]
fn trusted_networks_may_be_written_as_mapped_addresses() {
    let keys = Keys::by(key::client_ip().trust(["::ffff:10.0.0.0/104"]));
    keys.assert_client(&request(PROXY, &[(XFF, CLIENT)]), CLIENT);
    keys.assert_client(&request("::ffff:10.0.0.1", &[(XFF, CLIENT)]), CLIENT);
    keys.assert_client(&request("11.0.0.1", &[(XFF, CLIENT)]), "11.0.0.1");
}

#[test]
fn without_a_client_in_the_list_the_leftmost_proxy_is_counted() {
    let keys = Keys::by(behind_proxies());
    keys.assert_client(&request(PROXY, &[(XFF, "10.0.0.4, 10.0.0.3, 10.0.0.2")]), "10.0.0.4");
    keys.assert_client(&request(PROXY, &[]), PROXY);
}

#[tokio::test]
async fn a_client_does_not_get_more_by_changing_its_address_within_its_network() {
    let in_network = |network: u16, host: u64| {
        let high = 0x2001_0db8_0000_0000 | u64::from(network);
        Ipv6Addr::from_bits((u128::from(high) << 64) | u128::from(host.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_string()
    };
    let thousand = || (0..1000).map(|host| request(&in_network(1, host), &[]));
    let neighbour = (0..10).map(|host| request(&in_network(2, host), &[]));
    assert_eq!(admitted(key::client_ip(), thousand()).await, 2);
    assert_eq!(admitted(key::client_ip(), thousand().chain(neighbour)).await, 4);
}

#[test]
fn the_spelling_of_an_ipv6_address_does_not_matter() {
    let keys = Keys::by(behind_proxies().ipv6_prefix(128));
    for text in
        ["2001:DB8::1", "2001:db8:0:0::1", "2001:db8::1", "2001:0db8:0:0:0:0:0:1", "[2001:db8::1]", "2001:db8::0.0.0.1"]
    {
        keys.assert_client(&request(PROXY, &[(XFF, text)]), "2001:db8::1");
    }
    assert_ne!(keys.of_peer("2001:db8::1"), keys.of_peer("2001:db8::2"));
}

#[test]
fn a_wider_prefix_joins_neighbours() {
    let keys = Keys::by(key::client_ip().ipv6_prefix(48));
    assert_eq!(keys.of_peer("2001:db8:1:1::1"), keys.of_peer("2001:db8:1:ffff::1"));
    assert_ne!(keys.of_peer("2001:db8:1:1::1"), keys.of_peer("2001:db8:2:1::1"));
}

#[tokio::test]
async fn a_mapped_address_is_the_ipv4_address_in_every_spelling() {
    let spellings = ["::ffff:1.2.3.4", "::ffff:102:304", "1.2.3.4", "0:0:0:0:0:FFFF:0102:0304"];
    let by_socket = || spellings.map(|text| request(text, &[]));
    let by_header = spellings.map(|text| request(PROXY, &[(XFF, text)]));
    assert_eq!(admitted(behind_proxies(), by_socket().into_iter().chain(by_header)).await, 2);
    let another = ["::ffff:1.2.3.5", "1.2.3.5", "::ffff:102:305"].map(|text| request(text, &[]));
    assert_eq!(admitted(behind_proxies(), by_socket().into_iter().chain(another)).await, 4);
}

#[test]
fn an_address_that_only_ends_like_an_ipv4_address_belongs_to_its_network() {
    let keys = Keys::by(key::client_ip());
    assert_eq!(keys.of_peer("2001:db8:1234:5678::1.2.3.4"), keys.of_peer("2001:db8:1234:5678::1"));
    assert_ne!(keys.of_peer("2001:db8:1234:5678::1.2.3.4"), keys.of_peer("1.2.3.4"));
}

#[test]
fn clients_behind_a_translator_are_counted_by_their_ipv4_addresses() {
    let keys = Keys::by(key::client_ip());
    for translated in ["::ffff:1.2.3.4", "::1.2.3.4", "64:ff9b::1.2.3.4"] {
        assert_eq!(keys.of_peer(translated), keys.of_peer("1.2.3.4"), "{translated}");
    }
    assert_ne!(keys.of_peer("64:ff9b:1::1"), keys.of_peer("64:ff9b:1::2"));
    // 2001:0:SERVER:FLAGS:PORT:CLIENT, the last two with all bits turned: no key of an IPv4 client.
    let (ann, bob) = ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:0:4136:e378:8000:63bf:3fff:fdd3");
    assert_ne!(keys.of_peer(ann), keys.of_peer(bob));
    assert_ne!(keys.of_peer(ann), keys.of_peer("192.0.2.45"));
    assert_eq!(keys.of_peer("2002:102:304:1::1"), keys.of_peer("2002:102:304:2::2"));
    assert_ne!(keys.of_peer("2002:102:304::1"), keys.of_peer("1.2.3.4"));
}

#[tokio::test]
async fn requests_without_a_peer_share_one_history_and_do_not_go_free() {
    let nameless = |number| Request::builder().header(XFF, format!("192.0.2.{number}")).body(()).unwrap();
    assert_eq!(admitted(key::client_ip(), (0..10).map(nameless)).await, 2);
    assert_eq!(admitted(key::peer_ip(), (0..10).map(nameless)).await, 2);
}

#[tokio::test]
async fn requests_without_a_peer_are_refused_if_the_rule_says_so() {
    let rule = Rule::new("calls").every_request().key(key::client_ip()).level("client").policy(Policy::per_minute(2));
    let limiter =
        RateLimiter::builder().rule(rule.on_missing(OnMissing::Reject(StatusCode::FORBIDDEN))).build().unwrap();
    let nameless = Request::builder().header(XFF, CLIENT).body(()).unwrap();
    assert!(limiter.matching(&RequestView::new(&nameless))[0].key().is_none());
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    let response = limiter.layer().layer(inner).oneshot(nameless).await.unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
}

#[test]
fn a_header_that_was_stripped_hop_by_hop_leaves_the_proxy() {
    let keys = Keys::by(behind_proxies());
    keys.assert_client(&request(PROXY, &[("connection", "close, x-forwarded-for")]), PROXY);
}

#[test]
fn junk_ends_the_walk_at_the_last_trusted_proxy() {
    let keys = Keys::by(behind_proxies());
    let commas = ",".repeat(8192);
    for junk in [", ,,", "unknown", "_x", &commas, "1.2.3.4:99999", "[::1", "fe80::1%eth0", "010.0.0.1", "\u{ff}"] {
        keys.assert_client(&request(PROXY, &[(XFF, junk)]), PROXY);
        keys.assert_client(&request(PROXY, &[(XFF, &format!("{CLIENT}, {junk}"))]), PROXY);
        keys.assert_client(&request(PROXY, &[(XFF, &format!("{CLIENT}, {junk}, 10.0.0.3, 10.0.0.2"))]), "10.0.0.3");
    }
}

#[test]
fn more_proxies_than_there_can_be_end_the_walk() {
    let keys = Keys::by(behind_proxies());
    let chain: Vec<_> = (0..40).rev().map(|number| format!("10.0.1.{number}")).collect();
    keys.assert_client(&request(PROXY, &[(XFF, &format!("{CLIENT}, {}", chain.join(", ")))]), "10.0.1.31");
}

#[test]
fn all_lines_of_a_header_are_one_list() {
    let keys = Keys::by(behind_proxies());
    let lines = [(XFF, "192.0.2.99"), (XFF, "192.0.2.98, 198.51.100.7"), (XFF, "10.0.0.2")];
    keys.assert_client(&request(PROXY, &lines), CLIENT);
    let lines = [(XFF, "198.51.100.7"), (XFF, "10.0.0.3"), (XFF, "10.0.0.2")];
    keys.assert_client(&request(PROXY, &lines), CLIENT);
}

#[test]
fn the_forwarded_header_is_read_as_its_standard_has_it() {
    let keys = Keys::by(behind_proxies().header(ForwardedHeader::Forwarded));
    let table = [
        ("for=\"[2001:db8::17]:4711\";proto=https, for=10.0.0.1", "2001:db8::"),
        ("For=1.2.3.4", "1.2.3.4"),
        ("for=x-foo", PROXY),
        ("for=1.2.3.4, for=x-foo, for=10.0.0.2", "10.0.0.2"),
        ("for=1.2.3.4, for=_hidden", PROXY),
        ("for=1.2.3.4, for=unknown", PROXY),
        ("for=1.2.3.4, proto=https", PROXY),
        ("for=\"1.2.3.4", PROXY),
        ("for=1.2.3.4, for=\"5.6.7.8", PROXY),
        (r#"for="1\.2.3.\4""#, "1.2.3.4"),
        (r#"for=1.2.3.4;by="a\", for=5.6.7.8""#, "1.2.3.4"),
    ];
    for (value, client) in table {
        keys.assert_client(&request(PROXY, &[(FORWARDED, value)]), client);
    }
}

#[test]
fn a_network_that_is_none_is_refused_when_the_limiter_is_built() {
    let rule = Rule::new("calls").every_request().policy(Policy::per_minute(2));
    let rule = rule.key(key::client_ip().trust(["10.0.0.0/8", "10.0.0/8"])).level("client");
    let error = RateLimiter::builder().rule(rule).build().unwrap_err();
    let named = (error.rule(), error.field(), error.value());
    assert_eq!(named, (Some("calls"), "client_ip.trust", "\"10.0.0/8\""));
}

/// An address as it may stand in a list, or junk.
#[derive(Clone, Copy, Debug)]
struct Written {
    text: &'static str,
    address: Option<&'static str>,
}

fn written() -> impl Strategy<Value = Written> {
    let table = [
        ("10.0.0.2", Some("10.0.0.2")),
        ("10.0.0.3:80", Some("10.0.0.3")),
        ("::ffff:10.0.0.4", Some("10.0.0.4")),
        ("[::ffff:a00:5]:443", Some("10.0.0.5")),
        ("198.51.100.7", Some("198.51.100.7")),
        ("198.51.100.8:4711", Some("198.51.100.8")),
        ("2001:db8::1", Some("2001:db8::1")),
        ("[2001:db8:0:1::1]", Some("2001:db8:0:1::1")),
        ("unknown", None),
        ("", None),
        ("10.0.0", None),
    ];
    // Mostly proxies, so that the walk is often a long one.
    let proxies = select(table[..4].to_vec());
    prop_oneof![4 => proxies, 1 => select(table.to_vec())].prop_map(|(text, address)| Written { text, address })
}

/// The rule in words: from the right, the first that is no trusted proxy; junk and the end leave the last proxy.
fn expected(entries: &[Written]) -> &'static str {
    let mut nearest = PROXY;
    for entry in entries.iter().rev() {
        match entry.address {
            Some(proxy) if proxy.starts_with("10.") => nearest = proxy,
            Some(client) => return client,
            None => return nearest,
        }
    }
    nearest
}

/// Every part of the text that is an address, without the backslashes that may stand in it.
fn addresses_in(value: &[u8]) -> Vec<IpAddr> {
    let text: String = value.iter().map(|byte| char::from(*byte)).filter(|char| *char != '\\').collect();
    let ends: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let parts = ends.iter().flat_map(|from| ends.iter().filter_map(|to| text.get(*from..*to)));
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let pieces = r#"for= For=" " \ , ; [ ] :80 by= unknown _x 10.0.0.2 1.2.3.4 ::ffff:1.2.3.4 2001:db8::1"#;
    let pieces: Vec<_> = pieces.split(' ').chain([" "]).collect();
    let pieces = prop::collection::vec(select(pieces), 0..10).prop_map(|pieces| pieces.concat().into_bytes());
    let byte = any::<u8>().prop_filter("not allowed in a header", |byte| HeaderValue::from_bytes(&[*byte]).is_ok());
    prop_oneof![3 => pieces, 1 => prop::collection::vec(byte, 0..60)]
}

fn headers() -> impl Strategy<Value = (&'static str, ForwardedHeader)> {
    let names = [XFF, FORWARDED, "x-real-ip"];
    select(names.to_vec()).prop_map(|name| (name, ForwardedHeader::from(HeaderName::from_static(name))))
}

proptest! {
    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_proxy(
        lines in prop::collection::vec(prop::collection::vec(written(), 1..5), 0..4),
    ) {
        let keys = Keys::by(behind_proxies());
        let texts: Vec<String> =
            lines.iter().map(|line| line.iter().map(|entry| entry.text).collect::<Vec<_>>().join(" ,\t")).collect();
        let lines_of_header: Vec<_> = texts.iter().map(|text| (XFF, text.as_str())).collect();
        prop_assert_eq!(keys.of(&request(PROXY, &lines_of_header)), keys.of_peer(expected(&lines.concat())));
    }

    #[test]
    fn whatever_stands_in_a_header_the_key_is_the_peer_or_an_address_in_it(
        (name, header) in headers(),
        lines in prop::collection::vec(header_bytes(), 0..3),
    ) {
        let keys = Keys::by(behind_proxies().header(header));
        let mut request = request(PROXY, &[]);
        for line in &lines {
            request.headers_mut().append(name, HeaderValue::from_bytes(line).unwrap());
        }
        let addresses = lines.iter().flat_map(|line| addresses_in(line)).chain([PROXY.parse().unwrap()]);
        let mut candidates = addresses.map(|address| keys.of_peer(&address.to_string()));
        prop_assert!(candidates.any(|candidate| candidate == keys.of(&request)));
    }
}
