//! The key of an IP address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::key::KeyBuilder;

/// Minimum length of the part of an IPv6 address, so that it is never taken for the four bytes of an IPv4 address.
const IPV6_BYTES: usize = 8;
/// Default number of leading bits of an IPv6 address that tell clients apart.
pub(super) const IPV6_PREFIX: u8 = 64;

/// The key of a client with a known address; made by [`ClientIp::address`](crate::key::ClientIp::address).
///
/// ```
/// use tower_quota::{Policy, RateLimiter, Rule, key};
///
/// let rule = Rule::new("calls").every_request().key(key::peer_ip());
/// let limiter = RateLimiter::builder().rule(rule.policy(Policy::per_minute(60))).build()?;
///
/// let client: key::ClientAddress = key::peer_ip().address("2001:db8:1:2::3".parse()?);
/// let neighbour = key::peer_ip().address("2001:db8:1:2::4".parse()?);
/// assert_eq!(limiter.key(client), limiter.key(neighbour));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress {
    address: IpAddr,
    /// In `32..=128`.
    ipv6_prefix: u8,
}

/// The IPv4 client that an IPv6 address tells of. Mapped addresses are unwrapped before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EmbeddedIpv4 {
    /// The address that a translator of the own network made for this client, which wrote none of its bits.
    Translated(Ipv4Addr),
    /// The end of a tunnel: this many bits of this address stand for it, without those that it chooses itself.
    Tunnelled(Ipv6Addr, u8),
    /// The address that a translator made, with the client's address where its operator chose.
    Opaque,
    /// An address like any other.
    Absent,
}

impl ClientAddress {
    pub(super) const fn new(address: IpAddr, ipv6_prefix: u8) -> Self {
        Self { address, ipv6_prefix }
    }

    /// Writes the part of the key.
    pub(super) fn write_part(self, key: &mut KeyBuilder<'_>) {
        let (address, prefix) = match self.address.to_canonical() {
            IpAddr::V4(address) => return key.part(address.octets()),
            IpAddr::V6(address) => match EmbeddedIpv4::in_address(address) {
                EmbeddedIpv4::Translated(client) => return key.part(client.octets()),
                EmbeddedIpv4::Tunnelled(own, prefix) => (own, prefix),
                EmbeddedIpv4::Opaque => (address, 128),
                EmbeddedIpv4::Absent => (address, self.ipv6_prefix),
            },
        };
        let mask = u128::MAX << (128 - prefix);
        let octets = Ipv6Addr::from_bits(address.to_bits() & mask).octets();
        key.part(&octets[..usize::from(prefix).div_ceil(8).max(IPV6_BYTES)]);
    }
}

impl EmbeddedIpv4 {
    const fn in_address(address: Ipv6Addr) -> Self {
        let bits = address.to_bits();
        match address.segments() {
            // The first pattern is IPv4-compatible addresses, without `::`, `::1` and others that are no host of IPv4.
            [0, 0, 0, 0, 0, 0, 0x100..=u16::MAX, _]
            | [0, 0, 0, 0, 0xffff, 0, _, _]
            | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Self::Translated(last(bits)),
            [0x64, 0xff9b, 1, ..] => Self::Opaque,
            [0x2002, ..] => Self::Tunnelled(address, 48),
            [0x2001, 0, ..] => Self::Tunnelled(teredo(bits), 64),
            _ => Self::Absent,
        }
    }
}

const fn last(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}

/// Returns the prefix, and behind it the client's address, which Teredo stores inverted. The client chooses server,
/// port and flags.
const fn teredo(bits: u128) -> Ipv6Addr {
    let client = !(bits as u32) as u128;
    Ipv6Addr::from_bits(bits >> 96 << 96 | client << 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedded(text: &str) -> EmbeddedIpv4 {
        EmbeddedIpv4::in_address(text.parse().unwrap())
    }

    #[test]
    fn translated_addresses_are_those_of_the_ipv4_client() {
        for text in ["64:ff9b::192.0.2.33", "::192.0.2.33", "::ffff:0:192.0.2.33"] {
            assert_eq!(embedded(text), EmbeddedIpv4::Translated(Ipv4Addr::new(192, 0, 2, 33)), "{text}");
        }
        assert_eq!(embedded("64:ff9b:1::192.0.2.33"), EmbeddedIpv4::Opaque);
    }

    #[test]
    fn what_a_tunnelled_client_chooses_does_not_count() {
        let teredo = embedded("2001:0:4136:e378:8000:63bf:3fff:fdd2");
        assert_eq!(teredo, EmbeddedIpv4::Tunnelled("2001:0:c000:22d::".parse().unwrap(), 64));
        assert_eq!(embedded("2001:0:0102:0304:ffff:0:3fff:fdd2"), teredo);
        assert_ne!(embedded("2001:0:4136:e378:8000:63bf:3fff:fdd3"), teredo);
        let six_to_four = "2002:c000:221:1::1".parse().unwrap();
        assert_eq!(EmbeddedIpv4::in_address(six_to_four), EmbeddedIpv4::Tunnelled(six_to_four, 48));
    }

    #[test]
    fn other_addresses_have_no_ipv4_client() {
        let others = [
            "::",
            "::1",
            "::ff:1",
            "2001:db8::1",
            "2001:1::1",
            "64:ff9b:2::1",
            "64:ff9b::1:0:0",
            "fe80::5efe:c000:221",
        ];
        for text in others {
            assert_eq!(embedded(text), EmbeddedIpv4::Absent, "{text}");
        }
    }
}
