//! Addresses, as logs have them and as keys do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads an address with or without a port; of a list the last one, which the server has added itself.
pub(crate) fn parse_peer(text: &[u8]) -> Option<SocketAddr> {
    if let Some(address) = parse_ipv4(text) {
        return Some(SocketAddr::new(IpAddr::V4(address), 0));
    }
    let text = std::str::from_utf8(text).ok()?.rsplit(',').next()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    address.or_else(|_| text.parse()).ok()
}

/// Reads the usual form without a look at others.
#[inline]
fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut at, mut digits) = ([0_u8; 4], 0, 0);
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                octets[at] = octets[at].checked_mul(10)?.checked_add(byte - b'0')?;
                digits += 1;
            }
            b'.' if digits > 0 && at < 3 => (at, digits) = (at + 1, 0),
            _ => return None,
        }
    }
    (at == 3 && (1..=3).contains(&digits)).then_some(Ipv4Addr::from(octets))
}

/// Shows a part of a key: as text, or as the address that it is.
pub(crate) fn show_part(part: &[u8], is_address: bool) -> String {
    if is_address {
        match part.len() {
            4 => return Ipv4Addr::from(<[u8; 4]>::try_from(part).unwrap_or_default()).to_string(),
            length @ 4..=16 => {
                let mut octets = [0; 16];
                octets[..length].copy_from_slice(part);
                let address = Ipv6Addr::from(octets);
                return if length == 16 { address.to_string() } else { format!("{address}/{}", length * 8) };
            }
            _ => {}
        }
    }
    String::from_utf8_lossy(part).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        let peer = |text: &str| parse_peer(text.as_bytes()).map(|peer| peer.to_string());
        assert_eq!(peer("192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(peer("192.0.2.1:80").as_deref(), Some("192.0.2.1:80"));
        assert_eq!(peer("2001:db8::1").as_deref(), Some("[2001:db8::1]:0"));
        assert_eq!(peer("[2001:db8::1]").as_deref(), Some("[2001:db8::1]:0"));
        assert_eq!(peer("[2001:db8::1]:80").as_deref(), Some("[2001:db8::1]:80"));
        assert_eq!(peer("10.0.0.1, 192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        for text in ["", "unix:", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1..2.3", "host"] {
            assert_eq!(peer(text), None, "{text}");
        }
    }

    #[test]
    fn a_part_is_shown_as_what_it_is() {
        assert_eq!(show_part(&[192, 0, 2, 1], true), "192.0.2.1");
        assert_eq!(show_part(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 1], true), "2001:db8:0:1::/64");
        assert_eq!(show_part(b"acme", false), "acme");
        assert_eq!(show_part(b"a\nb\xff", false), "a\\nb\u{fffd}");
    }
}
