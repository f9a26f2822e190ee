//! Values that are keys, without a request.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    rc::Rc,
    sync::Arc,
};

use bytes::Bytes;
use http::HeaderValue;

use crate::key::{
    Key, KeyBuilder,
    client_address::{ClientAddress, IPV6_PREFIX},
};

/// A value that is a key, or several that are its parts: the argument of a check without a request, and the result of
/// closures that read from one.
///
/// Each is the same key as an extractor makes that reads the same from a request.
///
/// | a value | is |
/// |---|---|
/// | text: `&str`, `String`, `Cow<str>`, `Box<str>`, `Arc<str>` | one part, byte for byte |
/// | bytes: `&[u8]`, `Vec<u8>`, `[u8; N]`, `Bytes`, `HeaderValue` | one part, byte for byte |
/// | an integer of any width | one part, in decimal digits: 42 is the key of `/bots/42` |
/// | `IpAddr`, `Ipv4Addr`, `Ipv6Addr` | what [`peer_ip`](crate::key::peer_ip) and [`client_ip`](crate::key::client_ip) make of that address: of IPv6 its /64 |
/// | a tuple of two to four of these, or [`parts`] of a list | several parts |
/// | [`Key`] | the key that it is |
///
/// An identifier with a text and a binary form, such as a UUID, is the same key only in the same form: if the path has
/// it as text, use `uuid.to_string()` and not its sixteen bytes. For another
/// [prefix](crate::key::ClientIp::ipv6_prefix) of IPv6 than 64 use
/// [`ClientIp::address`](crate::key::ClientIp::address).
///
/// ```
/// use http::Request;
/// use tower_quota::{Policy, RateLimiter, Rule, http::RequestView, key};
///
/// let rule = Rule::new("tables")
///     .routes(["GET /accounts/{account}/tables/{table}"])
///     .key((key::path("account"), key::path("table")))
///     .policy(Policy::per_minute(1));
/// let limiter = RateLimiter::builder().rule(rule).build()?;
/// let tables = limiter.rule("tables")?;
///
/// let request = Request::get("/accounts/42/tables/orders").body(())?;
/// let key = tables.key_of(&RequestView::new(&request));
/// assert_eq!(key, Some(limiter.key((42, "orders"))));
///
/// assert!(tables.check((42, "orders")).is_admitted());
/// assert!(tables.check(("4", "2orders")).is_admitted());
/// assert!(!tables.check(("42", String::from("orders"))).is_admitted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key",
    label = "neither text, bytes, an integer, an IP address, a `Key`, nor a tuple of these",
    note = "several parts are a tuple such as `(\"acme\", \"orders\")`, or `key::parts(&list)`",
    note = "of a `SocketAddr` write `.ip()`; of a UUID write `.to_string()` if requests carry it as text, else `.as_bytes()`"
)]
pub trait KeyParts {
    /// Writes the parts into `key`.
    fn write(&self, key: &mut KeyBuilder<'_>);
}

/// Several parts of one key, in a list; made by [`parts`].
///
/// ```
/// use tower_quota::key::{self, Parts};
/// use tower_quota::{Policy, RateLimiter, Rule};
///
/// /// Makes a key of the directories of a path, one part each.
/// fn directories<'a>(path: &'a [&'a str]) -> Parts<'a, &'a str> {
///     key::parts(path)
/// }
///
/// let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// let limiter = RateLimiter::builder().rule(jobs).build()?;
/// assert_eq!(limiter.key(directories(&["eu", "acme"])), limiter.key(("eu", "acme")));
/// # Ok::<(), tower_quota::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a, P>(&'a [P]);

/// Joins the values of a list to one key. A list of bytes alone is one part.
///
/// ```
/// # use tower_quota::{Policy, RateLimiter, Rule, key};
/// # let jobs = Rule::new("jobs").no_requests().policy(Policy::per_minute(60));
/// # let limiter = RateLimiter::builder().rule(jobs).build()?;
/// let path = ["eu", "acme", "orders"];
/// assert_eq!(limiter.key(key::parts(&path)), limiter.key(("eu", "acme", "orders")));
/// assert_ne!(limiter.key(key::parts(&path)), limiter.key("euacmeorders"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub const fn parts<P: KeyParts>(list: &[P]) -> Parts<'_, P> {
    Parts(list)
}

impl<P: KeyParts> KeyParts for Parts<'_, P> {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        for part in self.0 {
            part.write(key);
        }
    }
}

impl KeyParts for Key {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.add(*self);
    }
}

impl KeyParts for str {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for [u8] {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl<const N: usize> KeyParts for [u8; N] {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        key.part(self);
    }
}

impl KeyParts for ClientAddress {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        self.write_part(key);
    }
}

impl KeyParts for IpAddr {
    fn write(&self, key: &mut KeyBuilder<'_>) {
        ClientAddress::new(*self, IPV6_PREFIX).write_part(key);
    }
}

macro_rules! key_part_of_bytes {
    ($($owner:ty),+) => {$(
        impl KeyParts for $owner {
            #[inline]
            fn write(&self, key: &mut KeyBuilder<'_>) {
                key.part(self);
            }
        }
    )+};
}

key_part_of_bytes! { String, Vec<u8>, Bytes, HeaderValue }

macro_rules! key_part_of_integers {
    ($($integer:ty),+) => {$(
        impl KeyParts for $integer {
            fn write(&self, key: &mut KeyBuilder<'_>) {
                key.part(itoa::Buffer::new().format(*self));
            }
        }
    )+};
}

key_part_of_integers! { u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize }

macro_rules! key_part_of_addresses {
    ($($address:ty),+) => {$(
        impl KeyParts for $address {
            fn write(&self, key: &mut KeyBuilder<'_>) {
                IpAddr::from(*self).write(key);
            }
        }
    )+};
}

key_part_of_addresses! { Ipv4Addr, Ipv6Addr }

macro_rules! key_parts_behind_pointers {
    ($($pointer:ty),+) => {$(
        impl<P: KeyParts + ?Sized> KeyParts for $pointer {
            #[inline]
            fn write(&self, key: &mut KeyBuilder<'_>) {
                (**self).write(key);
            }
        }
    )+};
}

key_parts_behind_pointers! { &P, &mut P, Box<P>, Rc<P>, Arc<P> }

impl<P: KeyParts + ToOwned + ?Sized> KeyParts for Cow<'_, P> {
    #[inline]
    fn write(&self, key: &mut KeyBuilder<'_>) {
        (**self).write(key);
    }
}

macro_rules! key_parts_of_tuples {
    ($(($($part:ident),+))+) => {$(
        impl<$($part: KeyParts),+> KeyParts for ($($part,)+) {
            #[allow(non_snake_case, reason = "the parts are named after their types")]
            fn write(&self, key: &mut KeyBuilder<'_>) {
                let ($($part,)+) = self;
                $($part.write(key);)+
            }
        }
    )+};
}

key_parts_of_tuples! { (A, B) (A, B, C) (A, B, C, D) }
