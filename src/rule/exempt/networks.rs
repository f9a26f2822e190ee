//! Exempts the clients of networks.

use ipnet::IpNet;

use crate::{
    error::ConfigError,
    key::{ClientIp, KeyExtractor, parse_network},
    request::RequestView,
    rule::exempt::Exemption,
};

/// Exempts the requests of clients in these networks, each such as `10.0.0.0/8`, `2001:db8::/32` or a single address.
///
/// The address is the one that `client` finds ([`key::client_ip`](crate::key::client_ip) with the proxies that it trusts,
/// or [`key::peer_ip`](crate::key::peer_ip)), an IPv4 address also where it is written as an IPv6 one. For a key it may
/// be the address of the last proxy on the way; here only a verified address counts. So these requests are never exempt:
///
/// * those whose client cannot be found, because a trusted proxy sent no header, or one with something else than an address:
///   otherwise everybody behind that proxy would be exempt, and some proxies can be made to leave out a header;
/// * those that come from a trusted address, as a consequence: `client` should trust the proxies alone, not the whole
///   network that they are in;
/// * those with a forwarding header from a peer that is not trusted: it may be a proxy, and its clients anybody;
/// * those without the address of the peer.
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, exempt, http::{PeerAddr, RequestView}, key};
///
/// let client = key::client_ip().trust(["10.0.0.1"]);
/// let rule = Rule::new("calls").every_request().key(client.clone()).policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder()
///     .exempt(exempt::networks(client, ["10.0.0.0/8"]))
///     .rule(rule)
///     .build()?;
///
/// let is_exempt = |peer: &str, header: Option<&str>| {
///     let request = Request::get("/").extension(PeerAddr(peer.parse()?));
///     let request = header.into_iter().fold(request, |request, header| request.header("x-forwarded-for", header));
///     let request = request.body(())?;
///     Ok::<_, Box<dyn std::error::Error>>(limiter.matching(&RequestView::new(&request)).is_empty())
/// };
/// assert!(is_exempt("10.20.0.7:4711", None)?);
/// assert!(is_exempt("10.0.0.1:443", Some("10.20.0.7"))?);
/// assert!(!is_exempt("10.0.0.1:443", Some("10.20.0.7, 198.51.100.7"))?, "the proxy wrote the last one");
/// assert!(!is_exempt("198.51.100.7:4711", Some("10.20.0.7"))?);
/// assert!(!is_exempt("10.0.0.1:443", None)?, "that may be anybody behind the proxy");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn networks(client: ClientIp, networks: impl IntoIterator<Item = impl AsRef<str>>) -> Exemption {
    let texts: Vec<String> = networks.into_iter().map(|text| text.as_ref().to_owned()).collect();
    let description = format!("networks {texts:?} of {client:?}");
    match parse(&client, &texts) {
        Ok(networks) => Exemption::new(description, move |request: &RequestView<'_>| {
            let address = client.verified_address(request);
            address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
        }),
        Err(mistake) => Exemption::mistaken(description, mistake),
    }
}

fn parse(client: &ClientIp, texts: &[String]) -> Result<Box<[IpNet]>, ConfigError> {
    client.validate()?;
    if texts.is_empty() {
        let reason = "no network is named: write one such as \"10.0.0.0/8\", or leave the exemption out";
        return Err(ConfigError::new("exempt", "[]", reason));
    }
    texts.iter().map(|text| parse_one(client, text)).collect()
}

fn parse_one(client: &ClientIp, text: &str) -> Result<IpNet, ConfigError> {
    let refuse = |reason: String| ConfigError::new("exempt", format_args!("{text:?}"), reason);
    let network = parse_network(text).map_err(refuse)?;
    if network.prefix_len() == 0 {
        return Err(refuse("this exempts every client: leave out the rule instead".to_owned()));
    }
    if client.trusts_all_of(&network) {
        return Err(refuse(
            "all of it is trusted as proxies, and a proxy is never exempt, since its clients may be anybody: trust \
             the proxies alone"
                .to_owned(),
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::{HeaderName, Request};

    use super::*;
    use crate::{
        key::{ForwardedHeader, client_ip, peer_ip},
        request::PeerAddr,
    };

    fn exempts(exemption: &Exemption, peer: &str, fields: &[(&str, &str)]) -> bool {
        let mut request = fields.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        request = request.extension(PeerAddr((peer.parse::<IpAddr>().unwrap(), 443).into()));
        exemption.condition().unwrap()(&RequestView::new(&request.body(()).unwrap()))
    }

    fn mistake(client: ClientIp, texts: &[&str]) -> String {
        networks(client, texts).validate().unwrap_err().to_string()
    }

    #[test]
    fn a_client_is_exempt_by_the_address_that_a_trusted_proxy_states() {
        let exemption =
            networks(client_ip().trust(["10.0.0.1", "10.0.0.2"]), ["192.0.2.0/24", "10.0.0.0/8", "2001:db8::/32"]);
        let via = |list: &str| exempts(&exemption, "10.0.0.1", &[("x-forwarded-for", list)]);
        for list in ["192.0.2.7", "198.51.100.7, 192.0.2.7", "192.0.2.7, 10.0.0.2", "10.9.9.9", "::ffff:192.0.2.7"] {
            assert!(via(list), "{list}");
        }
        for list in [
            "198.51.100.7",
            "192.0.2.7, 198.51.100.7",
            "192.0.2.7, junk",
            "192.0.2.7,",
            "10.0.0.2",
            "",
            "64:ff9b::192.0.2.7",
        ] {
            assert!(!via(list), "{list}");
        }
        for peer in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::7", "10.0.0.3"] {
            assert!(exempts(&exemption, peer, &[]), "{peer}");
        }
    }

    #[test]
    fn whoever_is_behind_a_proxy_that_does_not_say_it_is_not_exempt() {
        let exemption = networks(client_ip().trust(["10.0.0.1"]), ["10.0.0.0/8"]);
        assert!(!exempts(&exemption, "10.0.0.1", &[]));
        assert!(!exempts(&exemption, "10.0.0.2", &[("x-forwarded-for", "198.51.100.7")]), "another proxy");
        assert!(!exempts(&exemption, "10.0.0.2", &[("forwarded", "for=198.51.100.7")]));
        let single = ForwardedHeader::Single(HeaderName::from_static("x-real-ip"));
        let exemption = networks(client_ip().trust(["10.0.0.1"]).header(single), ["10.0.0.0/8"]);
        assert!(exempts(&exemption, "10.0.0.1", &[("x-real-ip", "10.0.0.7")]));
        assert!(!exempts(&exemption, "10.0.0.1", &[("x-real-ip", "10.0.0.7"), ("x-real-ip", "10.0.0.7")]));
        assert!(!exempts(&exemption, "10.0.0.2", &[("x-real-ip", "10.0.0.7")]));
    }

    #[test]
    fn no_header_of_a_client_makes_it_exempt() {
        let exemption = networks(peer_ip(), ["10.0.0.0/8"]);
        for field in ["x-forwarded-for", "forwarded", "x-real-ip", "cf-connecting-ip"] {
            assert!(!exempts(&exemption, "198.51.100.7", &[(field, "10.0.0.7")]), "{field}");
        }
        let nobody = Request::get("/").header("x-forwarded-for", "10.0.0.7").body(()).unwrap();
        assert!(!exemption.condition().unwrap()(&RequestView::new(&nobody)));
    }

    #[test]
    fn a_network_that_cannot_be_meant_is_refused() {
        for (texts, expected) in [
            (&["10.0.0.0/33"][..], "exempt \"10.0.0.0/33\": not a network such as"),
            (&["192.0.2.0/24", "10.0.0.1/8"], "exempt \"10.0.0.1/8\": bits are set behind the prefix"),
            (&["0.0.0.0/0"], "exempt \"0.0.0.0/0\": this exempts every client"),
            (&[], "exempt []: no network is named"),
        ] {
            assert!(mistake(client_ip(), texts).starts_with(expected), "{}", mistake(client_ip(), texts));
        }
        assert!(mistake(client_ip().trust(["x"]), &["10.0.0.0/8"]).starts_with("client_ip.trust \"x\""));
    }

    #[test]
    fn a_network_of_proxies_alone_is_refused() {
        for trusted in [&["10.0.0.0/8"][..], &["10.0.0.0/9", "10.128.0.0/9"]] {
            let text = mistake(client_ip().trust(trusted), &["10.0.0.0/8"]);
            assert!(text.starts_with("exempt \"10.0.0.0/8\": all of it is trusted as proxies"), "{text}");
        }
        assert!(networks(client_ip().trust(["10.0.0.0/9"]), ["10.0.0.0/8"]).validate().is_ok());
    }
}
