//! Keys, and the extractors that read them from a request.
//!
//! A rule [counts by](crate::Rule::key) the key that an extractor reads. Extractors are small and compose:
//!
//! ```
//! use tower_quota::key;
//!
//! # #[derive(Clone)] struct Claims { account: String }
//! let bot = key::path("botId");
//! let account = key::claim(|claims: &Claims| &claims.account);
//! let account_and_table = (account, key::path("tableName"));
//! let anywhere = key::first_of((key::header("x-account-id"), key::query("accountId")));
//! let anything = |request: &tower_quota::http::RequestView<'_>| {
//!     request.headers().get("user-agent").cloned()
//! };
//! # use tower_quota::{Policy, RateLimiter, Rule, http::RequestView};
//! # let rule = |name: &str| Rule::new(name).policy(Policy::per_minute(60));
//! # let limiter = RateLimiter::builder()
//! #     .rule(rule("a").routes(["/bots/{botId}"]).key(bot))
//! #     .rule(rule("b").routes(["/tables/{tableName}"]).key(account_and_table))
//! #     .rule(rule("c").every_request().key(anywhere))
//! #     .rule(rule("d").every_request().key(key::named("agent", anything)))
//! #     .build()?;
//!
//! let request = http::Request::get("/tables/orders?accountId=acme");
//! let request = request.extension(Claims { account: "acme".into() }).body(())?;
//! let matching = limiter.matching(&RequestView::new(&request));
//! let keys: Vec<_> = matching.iter().map(|rule| rule.key()).collect();
//! let expected = [Some(limiter.key(("acme", "orders"))), Some(limiter.key("acme")), None];
//! assert_eq!(keys, expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A key may have several parts, which are joined so that different parts never make the same key. A part of up to 27
//! bytes is kept as it is; a longer one, and several together, are replaced by a keyed hash of 120 bits. So a key costs
//! the same whatever a client sends, and any bytes are a valid key, not only UTF-8.
//!
//! If a request does not carry the key, [`OnMissing`](crate::OnMissing) decides. An empty value is not a missing one:
//! it is a key like any other.

mod builder;
mod claim;
mod client_address;
mod client_ip;
mod constant;
mod cookie;
mod extractor;
mod field;
mod first_of;
mod forms;
mod forwarded;
mod hasher;
mod header;
mod host;
mod key;
mod metadata;
mod name;
mod parts;
mod path;
mod pattern;
mod query;

pub use builder::KeyBuilder;
pub(crate) use builder::RawParts;
pub use claim::{Claim, claim};
pub use client_address::ClientAddress;
pub use client_ip::{ClientIp, client_ip, peer_ip};
pub use constant::{Constant, constant};
pub use cookie::{Cookie, cookie};
pub use extractor::{KeyExtractor, MissingKey, MultipleValues, Named, RouteParams, named};
pub use field::{Field, field};
pub use first_of::{Alternatives, FirstOf, first_of};
pub use forms::KeyForms;
pub use forwarded::ForwardedHeader;
pub use header::{Header, header};
pub use host::{Host, host};
pub use key::{Charge, Key};
pub use metadata::{Metadata, metadata};
pub use parts::{KeyParts, Parts, parts};
pub use path::{Path, path};
pub use pattern::KeyPattern;
pub use query::{Query, query};

pub(crate) use client_ip::parse_network;
pub(crate) use hasher::KeyHasher;
pub(crate) use key::Text;
pub(crate) use key::{ChargeTarget, PackedKey};
#[cfg(feature = "client")]
pub(crate) use metadata::LENIENT as LENIENT_BASE64;
pub(crate) use name::sanitize_name;
pub(crate) use pattern::ParsedPattern;
#[cfg(all(test, feature = "config"))]
pub(crate) use pattern::PartPattern;
