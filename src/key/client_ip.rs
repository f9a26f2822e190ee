//! Extracts the address of the client, as far as it can be trusted.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use http::{HeaderMap, header::FORWARDED};
use ipnet::{IpNet, Ipv4Net};

use crate::{
    error::ConfigError,
    key::{
        ClientAddress, ForwardedHeader, KeyBuilder, KeyExtractor, KeyForms, KeyParts, MissingKey,
        client_address::IPV6_PREFIX,
        forwarded::{Entry, X_FORWARDED_FOR},
    },
    request::RequestView,
    warn::{OnePeer, Warning},
};

/// IPv4 networks without clients on the Internet: to trust all others is to trust everybody.
const NO_PUBLIC_HOSTS: [(Ipv4Addr, u8); 6] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// The IPv6 network of all clients on the Internet.
const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Reads the address of the client; made by [`client_ip`] or [`peer_ip`].
///
/// The address of the connection is taken from [`PeerAddr`](crate::http::PeerAddr), or with feature `axum` from its
/// `ConnectInfo<SocketAddr>`, or with feature `tonic` from its server's connect info; without any of them the key is
/// missing. (Behind a Unix socket attach an address of your choice, and trust it.) If it belongs to a trusted proxy
/// then the [header](ForwardedHeader) is read from the right, from one trusted proxy to the next, and the first address
/// that is no trusted proxy is the client. Entries that the client itself wrote are further left and are never reached.
///
/// If that address cannot be found, because the header is missing, ends, or holds something else than an address, the
/// key is the last trusted proxy on the way: all such requests share its history, and none passes unlimited.
///
/// The key has one part: the 4 bytes of an IPv4 address, also of one that is written as an IPv6 address
/// (`::ffff:198.51.100.7`); or the first 8 bytes of an IPv6 address, because a client usually has the whole /64 to
/// choose addresses from. See [`ipv6_prefix`](Self::ipv6_prefix).
///
/// An IPv6 address that a translator made for an IPv4 client (`64:ff9b::/96`, and the old forms `::a.b.c.d` and
/// `::ffff:0:a.b.c.d`) has that client's IPv4 key: such addresses come from a translator in the own network, answers go
/// back through it, and a client writes none of their bits. In `64:ff9b:1::/48` every network puts the IPv4 address at
/// a place of its own, so the whole address is the key. The address of a tunnel (6to4, `2002::/16`, and Teredo,
/// `2001::/32`) holds the IPv4 address of the client beside bits that the client chooses. Only that IPv4 address
/// counts, but as a key of its own: otherwise an attacker that can route tunnels' prefixes to itself would use up the
/// history of any IPv4 client. An ISATAP address is like any other, since anybody may write one into their own /64.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::{PeerAddr, RequestView}, key};
///
/// let client = key::client_ip().trust(["10.0.0.0/8", "2001:db8:1::/48"]);
/// let limiter = RateLimiter::builder()
///     .rule(Rule::new("calls").every_request().key(client).policy(Policy::per_minute(60)))
///     .build()?;
///
/// let key_of = |peer: &str, header: &str| {
///     let mut request = Request::builder().header("x-forwarded-for", header).body(())?;
///     request.extensions_mut().insert(PeerAddr(peer.parse()?));
///     let key = limiter.matching(&RequestView::new(&request))[0].key();
///     Ok::<_, Box<dyn std::error::Error>>(key)
/// };
///
/// let client = key_of("198.51.100.7:4711", "")?;
/// assert_eq!(key_of("10.0.0.1:443", "192.0.2.99, 198.51.100.7, 10.0.0.2")?, client);
/// assert_eq!(key_of("198.51.100.7:4712", "192.0.2.99")?, client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ClientIp {
    trusted: Vec<IpNet>,
    header: ForwardedHeader,
    /// Always in `32..=128`.
    ipv6_prefix: u8,
    name: &'static str,
    /// The first setting that cannot be used.
    mistake: Option<ConfigError>,
    one_peer: OnePeer,
}

/// Counts by the address of the connection: no header is trusted.
///
/// Behind a proxy this is the proxy's address, for all clients. See [`client_ip`].
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::{PeerAddr, RequestView}, key};
///
/// let rule = Rule::new("calls").every_request().key(key::peer_ip());
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// let peer = PeerAddr("192.0.2.1:4711".parse()?);
/// let request = Request::get("/").extension(peer).header("x-forwarded-for", "192.0.2.99");
/// let request = request.body(())?;
/// let key = limiter.matching(&RequestView::new(&request))[0].key();
/// assert_eq!(key, Some(limiter.key(peer.0.ip())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn peer_ip() -> ClientIp {
    ClientIp::new(PEER_IP)
}

/// Counts by the address of the client behind the proxies that are [trusted](ClientIp::trust).
///
/// As long as none is trusted this is the same as [`peer_ip`]. See [`ClientIp`] for the rules and an example.
#[must_use]
pub const fn client_ip() -> ClientIp {
    ClientIp::new("client_ip")
}

/// The name of the extractor that looks at no header.
const PEER_IP: &str = "peer_ip";

impl ClientIp {
    const fn new(name: &'static str) -> Self {
        Self {
            trusted: Vec::new(),
            header: ForwardedHeader::XForwardedFor,
            ipv6_prefix: IPV6_PREFIX,
            name,
            mistake: None,
            one_peer: OnePeer::new(),
        }
    }

    /// Trusts the proxies in these networks, each such as `10.0.0.0/8` or a single address. None by default.
    ///
    /// Trust only proxies, and only if clients cannot bypass them. An address in a trusted network is never taken for a
    /// client's while there is another one further left in the header.
    #[must_use]
    pub fn trust(mut self, networks: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        for text in networks {
            match parse_network(text.as_ref()) {
                Ok(network) => self.trusted.push(network),
                Err(reason) => self.record_mistake("trust", &format!("{:?}", text.as_ref()), reason),
            }
        }
        self
    }

    /// Sets the header that the trusted proxies write. Defaults to [`ForwardedHeader::XForwardedFor`].
    #[must_use]
    pub fn header(mut self, header: ForwardedHeader) -> Self {
        if let ForwardedHeader::Single(name) = &header
            && (*name == FORWARDED || *name == X_FORWARDED_FOR)
        {
            self.record_mistake("header", &format!("\"{name}\""), "a list of addresses, not a single one".into());
        }
        self.header = header;
        self
    }

    /// Sets the number of leading bits of an IPv6 address that tell clients apart, from 32 to 128. Defaults to 64.
    ///
    /// Providers give at least a /64 to a subscriber, and often a /56 or a /48: a second level with 48 and a looser
    /// policy stops clients that change between the networks they have.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        match bits {
            32..=128 => self.ipv6_prefix = bits,
            _ => self.record_mistake("ipv6_prefix", &bits.to_string(), "a prefix is from 32 to 128 bits".into()),
        }
        self
    }

    /// Returns the key of a client with this address, to check it without a request.
    ///
    /// An `IpAddr` alone is the key of an extractor that tells clients apart by 64 bits of IPv6. Headers and trusted
    /// proxies play no part: the address is the client's.
    ///
    /// ```
    /// use tower_quota::{Policy, RateLimiter, Rule, key};
    ///
    /// let networks = key::client_ip().ipv6_prefix(48);
    /// let rule = Rule::new("calls").every_request().key(networks.clone());
    /// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(1))).build()?;
    /// let calls = limiter.rule("calls")?;
    ///
    /// assert!(calls.admit(networks.address("2001:db8:1:2::3".parse()?)));
    /// assert!(!calls.admit(networks.address("2001:db8:1:9::9".parse()?)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn address(&self, address: IpAddr) -> ClientAddress {
        ClientAddress::new(address, self.ipv6_prefix)
    }

    fn record_mistake(&mut self, field: &str, value: &str, reason: String) {
        self.mistake.get_or_insert_with(|| ConfigError::new(format!("client_ip.{field}"), value, reason));
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trusts(peer) {
            return peer;
        }
        let mut nearest = peer;
        for entry in self.header.entries(headers) {
            match entry {
                Entry::Address(proxy) if self.trusts(proxy) => nearest = proxy,
                Entry::Address(client) => return client,
                Entry::Unknown => break,
            }
        }
        nearest
    }

    /// Returns the address of the client if it is certain, so that a request may be exempt by it: not that of a trusted
    /// proxy whose client is unknown, nor that of a peer that forwards for others and is not trusted.
    pub(crate) fn verified_address(&self, request: &RequestView<'_>) -> Option<IpAddr> {
        let peer = request.peer()?.ip().to_canonical();
        if !self.trusts(peer) {
            return Some(peer).filter(|_| !self.is_forwarded(request.headers()));
        }
        Some(self.client(peer, request.headers())).filter(|client| !self.trusts(*client))
    }

    /// Returns true if every address of a network is that of a trusted proxy.
    pub(crate) fn trusts_all_of(&self, network: &IpNet) -> bool {
        IpNet::aggregate(&self.trusted).iter().any(|trusted| trusted.contains(network))
    }

    /// Returns true if somebody claims to forward the request.
    fn is_forwarded(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(&X_FORWARDED_FOR)
            || headers.contains_key(FORWARDED)
            || headers.contains_key(self.header.name())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }

    fn looks_like_an_untrusted_proxy(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        self.trusted.is_empty()
            && is_internal(peer)
            && (headers.contains_key(&X_FORWARDED_FOR) || headers.contains_key(FORWARDED))
    }

    /// Returns the networks that together cover all hosts of an address family, if they do.
    fn universal_networks(&self) -> Option<String> {
        let no_public_hosts = NO_PUBLIC_HOSTS.iter().map(|(address, prefix)| (*address, *prefix));
        let no_public_hosts = no_public_hosts.filter_map(|(address, prefix)| IpNet::new(address.into(), prefix).ok());
        let all: Vec<_> = self.trusted.iter().copied().chain(no_public_hosts).collect();
        let everybody = IpNet::aggregate(&all).into_iter().find(|network| match network {
            IpNet::V4(network) => network.prefix_len() == 0,
            IpNet::V6(network) => network.contains(&GLOBAL_UNICAST.0) && network.prefix_len() <= GLOBAL_UNICAST.1,
        })?;
        let of_it = self.trusted.iter().filter(|network| everybody.contains(*network));
        Some(of_it.map(|network| format!("\"{network}\"")).collect::<Vec<_>>().join(", "))
    }
}

impl KeyExtractor for ClientIp {
    fn extract(&self, request: &RequestView<'_>, key: &mut KeyBuilder<'_>) -> Result<(), MissingKey> {
        let Some(peer) = request.peer() else {
            key.warn(|| Warning::PeerMissing);
            return Err(MissingKey);
        };
        let peer = peer.ip().to_canonical();
        if self.looks_like_an_untrusted_proxy(peer, request.headers()) {
            key.warn(|| Warning::ProxyUntrusted);
        }
        if self.name == PEER_IP && self.one_peer.is_found(peer, is_internal(peer)) {
            key.warn(|| Warning::OnePeer);
        }
        self.address(self.client(peer, request.headers())).write(key);
        Ok(())
    }

    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.name)
    }

    fn forms(&self) -> KeyForms {
        KeyForms::address()
    }

    /// Returns the first network, header or prefix that was given and cannot be used.
    ///
    /// If the header is a list, trusting everybody (`0.0.0.0/0`) is a mistake as well: clients would choose their key.
    fn validate(&self) -> Result<(), ConfigError> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        match (&self.header, self.universal_networks()) {
            (ForwardedHeader::Single(_), _) | (_, None) => Ok(()),
            (_, Some(networks)) => Err(ConfigError::new(
                "client_ip.trust",
                networks,
                "if everybody is trusted then every client chooses its key: trust the proxies only",
            )),
        }
    }
}

/// Parses a network. An IPv4 network that is written as an IPv6 one (`::ffff:10.0.0.0/104`) is unwrapped, as the
/// addresses are.
pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = parse(text).ok_or("not a network such as 10.0.0.0/8 or 2001:db8::/32, nor an address")?;
    if network != network.trunc() {
        return Err(format!("bits are set behind the prefix: {} or {}?", network.trunc(), network.addr()));
    }
    let IpNet::V6(wrapped) = network else { return Ok(network) };
    let unwrapped = wrapped.addr().to_ipv4_mapped().zip(wrapped.prefix_len().checked_sub(96));
    let ipv4 = unwrapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    Ok(ipv4.map_or(network, IpNet::V4))
}

/// Parses an address and its prefix. The standard library parses the address, and refuses leading zeros
/// (`010.0.0.0/8`).
fn parse(text: &str) -> Option<IpNet> {
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    IpNet::new(address.parse().ok()?, prefix.parse().ok().filter(|_| digits)?).ok()
}

const fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Request};

    use super::*;
    use crate::{
        key::{Key, KeyHasher},
        request::PeerAddr,
    };

    fn mistake(extractor: &ClientIp) -> String {
        extractor.validate().map_or_else(|error| error.to_string(), |()| "none".into())
    }

    fn key_of(extractor: &ClientIp, hasher: &KeyHasher, peer: &str) -> Key {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerAddr((peer.parse::<IpAddr>().unwrap(), 443).into()));
        let mut key = KeyBuilder::new(hasher);
        extractor.extract(&RequestView::new(&request), &mut key).unwrap();
        key.key()
    }

    #[test]
    fn networks_are_read_in_every_spelling_that_means_one_thing() {
        let table = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ];
        for (text, expected) in table {
            assert_eq!(parse_network(text).map(|network| network.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        let junk = [
            "",
            "/",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0 /8",
            " 10.0.0.0/8",
            "010.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "::1%lo",
            "2001:db8::/129",
            "2001:db8::/999",
            "localhost",
            "*",
        ];
        for text in junk {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mistakes_are_reported_with_field_and_value_and_the_first_one_wins() {
        let not_a_network = client_ip().trust(["10.0.0.0/8", "10.0.0/8"]).ipv6_prefix(129);
        assert_eq!(
            mistake(&not_a_network),
            "client_ip.trust \"10.0.0/8\": not a network such as 10.0.0.0/8 or 2001:db8::/32, nor an address"
        );
        assert_eq!(
            mistake(&client_ip().trust(["10.1.2.3/8"])),
            "client_ip.trust \"10.1.2.3/8\": bits are set behind the prefix: 10.0.0.0/8 or 10.1.2.3?"
        );
        for bits in [0, 31, 129, 255] {
            let expected = format!("client_ip.ipv6_prefix {bits}: a prefix is from 32 to 128 bits");
            assert_eq!(mistake(&client_ip().ipv6_prefix(bits)), expected);
        }
    }

    #[test]
    fn trusting_everybody_is_a_mistake_with_a_list_and_none_with_a_single_address() {
        let single = || ForwardedHeader::Single(HeaderName::from_static("fly-client-ip"));
        for everybody in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
            assert!(mistake(&client_ip().trust([everybody])).starts_with("client_ip.trust"), "{everybody}");
            assert_eq!(mistake(&client_ip().trust([everybody]).header(single())), "none");
        }
    }

    #[test]
    fn networks_that_together_are_everybody_are_a_mistake_however_split() {
        let halves = |networks: &[&str]| mistake(&client_ip().trust(networks));
        let reason = "if everybody is trusted then every client chooses its key: trust the proxies only";
        assert_eq!(
            halves(&["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/1"]),
            format!("client_ip.trust \"0.0.0.0/1\", \"10.0.0.0/8\", \"128.0.0.0/1\": {reason}")
        );
        assert!(halves(&["::/1", "8000::/2", "c000::/2"]).ends_with(reason));
        assert!(halves(&["2000::/3"]).ends_with(reason));
        assert!(halves(&["2000::/4", "3000::/4"]).ends_with(reason));
        let eighths: Vec<_> = (0..256).map(|first| format!("{first}.0.0.0/8")).collect();
        assert!(mistake(&client_ip().trust(&eighths)).ends_with(reason));
        assert!(mistake(&client_ip().trust(&eighths[1..224])).ends_with(reason));
        assert_eq!(mistake(&client_ip().trust(&eighths[2..])), "none");
        assert_eq!(halves(&["0.0.0.0/1", "8000::/1"]), "none");
    }

    #[test]
    fn ipv4_clients_behind_a_translator_or_a_tunnel_are_told_apart() {
        let hasher = KeyHasher::default();
        let key = |peer: &str| key_of(&peer_ip(), &hasher, peer);
        for translated in ["64:ff9b::192.0.2.1", "::192.0.2.1", "::ffff:0:192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(key(translated), key("192.0.2.1"), "{translated}");
        }
        assert_ne!(key("64:ff9b:1::192.0.2.1"), key("64:ff9b:1::192.0.2.2"));
        for (tunnelled, same) in
            [("2002:c000:201:1::1", "2002:c000:201:2::2"), ("2001:0:1::3fff:fdfe", "2001:0:2::3fff:fdfe")]
        {
            assert_eq!(key(tunnelled), key(same));
            assert_ne!(key(tunnelled), key("192.0.2.1"));
        }
        assert_ne!(key("2002:c000:201::1"), key("2002:c000:202::1"));
        assert_ne!(key("2001::3fff:fdfe"), key("2001::3fff:fdfd"));
    }

    #[test]
    fn a_translated_address_is_not_trusted_as_the_ipv4_proxy_it_holds() {
        let proxy = client_ip().trust(["10.0.0.0/8"]);
        assert!(!proxy.trusts("64:ff9b::10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_list_is_not_a_single_address() {
        for name in ["X-Forwarded-For", "Forwarded"] {
            let header = ForwardedHeader::Single(name.parse().unwrap());
            let expected =
                format!("client_ip.header \"{}\": a list of addresses, not a single one", name.to_lowercase());
            assert_eq!(mistake(&client_ip().header(header)), expected);
        }
    }

    #[test]
    fn what_is_allowed_is_no_mistake() {
        assert_eq!(mistake(&peer_ip()), "none");
        assert_eq!(mistake(&client_ip().trust(["10.0.0.0/8"]).trust([String::from("::1")])), "none");
        for bits in 32..=128 {
            assert_eq!(mistake(&client_ip().ipv6_prefix(bits)), "none");
        }
    }

    #[test]
    fn an_extractor_with_a_mistake_still_works_with_what_was_right() {
        let hasher = KeyHasher::default();
        let mistaken = client_ip().ipv6_prefix(0).ipv6_prefix(255).trust(["*"]);
        for peer in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(key_of(&mistaken, &hasher, peer), key_of(&peer_ip(), &hasher, peer));
        }
    }

    #[test]
    fn keys_of_usual_addresses_are_short_enough_to_be_kept_as_they_are() {
        let hasher = KeyHasher::default();
        assert_eq!(format!("{:?}", key_of(&peer_ip(), &hasher, "192.0.2.1")), "Key(4 bytes)");
        assert_eq!(format!("{:?}", key_of(&peer_ip(), &hasher, "2001:db8::1")), "Key(8 bytes)");
        assert_eq!(format!("{:?}", key_of(&peer_ip().ipv6_prefix(32), &hasher, "2001:db8::1")), "Key(8 bytes)");
    }

    #[test]
    fn an_ipv6_network_is_no_ipv4_address() {
        let hasher = KeyHasher::default();
        let wide = peer_ip().ipv6_prefix(32);
        assert_ne!(key_of(&wide, &hasher, "c000:0201::"), key_of(&wide, &hasher, "192.0.2.1"));
    }

    #[test]
    fn every_prefix_tells_apart_by_its_last_bit_and_by_none_behind() {
        let hasher = KeyHasher::default();
        let base = "2001:db8:1234:5678:9abc:def0:1234:5678".parse::<Ipv6Addr>().unwrap().to_bits();
        for prefix in 32..=128_u8 {
            let flipped = |bit: u8| Ipv6Addr::from_bits(base ^ (1 << (128 - bit))).to_string();
            let key = |address: &str| key_of(&peer_ip().ipv6_prefix(prefix), &hasher, address);
            let own = key(&Ipv6Addr::from_bits(base).to_string());
            assert_ne!(key(&flipped(prefix)), own, "/{prefix}");
            assert!((prefix + 1..=128).all(|bit| key(&flipped(bit)) == own), "/{prefix}");
        }
    }

    #[test]
    fn only_addresses_of_the_own_network_are_internal() {
        let internal = |text: &str| is_internal(text.parse().unwrap());
        let own = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.0.1", "::1", "fd00::1", "fe80::1"];
        assert!(own.iter().all(|text| internal(text)));
        assert!(!["198.51.100.7", "172.32.0.1", "2001:db8::1", "::"].iter().any(|text| internal(text)));
    }

    #[test]
    fn headers_from_the_own_network_look_like_a_proxy_until_one_is_trusted() {
        let suspicious = |extractor: ClientIp, peer: &str, header: &str| {
            let request = Request::builder().header(header, "192.0.2.1").body(()).unwrap();
            extractor.looks_like_an_untrusted_proxy(peer.parse().unwrap(), request.headers())
        };
        assert!(suspicious(client_ip(), "10.0.0.1", "x-forwarded-for"));
        assert!(suspicious(peer_ip(), "127.0.0.1", "forwarded"));
        assert!(!suspicious(client_ip(), "198.51.100.7", "x-forwarded-for"));
        assert!(!suspicious(client_ip(), "10.0.0.1", "accept"));
        assert!(!suspicious(client_ip().trust(["10.0.0.0/8"]), "10.0.0.1", "x-forwarded-for"));
    }
}
