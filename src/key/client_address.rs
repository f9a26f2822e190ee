//! The key of an address.

use std::net::{IpAddr, Ipv6Addr};

use crate::key::{KeyBuilder, embedded::Embedded};

/// The part of an IPv6 key is at least this long, so that it is never taken for the four bytes of an IPv4 address.
const IPV6_BYTES: usize = 8;
/// Leading bits of an IPv6 address that tell clients apart, unless others are chosen.
pub(super) const IPV6_PREFIX: u8 = 64;

/// The key of a client with a known address; made by [`ClientIp::address`](crate::key::ClientIp::address).
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress {
    address: IpAddr,
    /// In `32..=128`.
    ipv6_prefix: u8,
}

impl ClientAddress {
    pub(super) const fn new(address: IpAddr, ipv6_prefix: u8) -> Self {
        Self { address, ipv6_prefix }
    }

    /// Writes the part of the key.
    pub(super) fn write_part(self, key: &mut KeyBuilder<'_>) {
        let (address, prefix) = match self.address.to_canonical() {
            IpAddr::V4(address) => return key.part(address.octets()),
            IpAddr::V6(address) => match Embedded::in_address(address) {
                Embedded::Translated(client) => return key.part(client.octets()),
                Embedded::Tunnelled(own, prefix) => (own, prefix),
                Embedded::Anywhere => (address, 128),
                Embedded::Nothing => (address, self.ipv6_prefix),
            },
        };
        let mask = u128::MAX << (128 - prefix);
        let octets = Ipv6Addr::from_bits(address.to_bits() & mask).octets();
        key.part(&octets[..usize::from(prefix).div_ceil(8).max(IPV6_BYTES)]);
    }
}
