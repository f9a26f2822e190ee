//! Where histories live, and where a request is decided: all its charges in one atomic step.
//!
//! # Which store
//!
//! * [`MemoryStore`], which is what a limiter has unless [another one](crate::RateLimiterBuilder::store) is chosen: for one
//!   process, or for several that may admit so much each. A decision takes less than a microsecond, and cannot fail.
//! * `RedisStore`, with feature `redis`: for several processes that share their limits. A decision takes a round trip, and
//!   what happens when the server is gone has to be chosen.
//! * A store of your own implements [`Store`].
//!
//! # Redis
//!
//! `RedisStore` keeps the same promises across any number of processes. All charges of a request are decided by one script
//! in one atomic step, with the server's own clock. It uses nothing newer than Redis 6.0, and is tested with Redis 6.2 and 7.0 and
//! Valkey 9.1: a server, the master of some sentinels, or a cluster.
//!
//! ## Fewer calls
//!
//! Decisions that are asked for in the same turn of the scheduler share one call, of up to 32
//! (`RedisStore::requests_in_a_call`), on one connection: the busier a process, the less a decision costs the server. Denials
//! that are known are answered without it (`RedisStore::remember_denials`): nothing is lost by that, but another process'
//! `reset` is noticed up to a second later. For keys that are asked about thousands of times a second a process can be lent
//! units in advance: `Lease`, which has a price. After a reset by another process it may still spend what it has been lent.
//!
//! ## When the server is gone
//!
//! A decision has a deadline, 50 ms by default, and is not sent twice, because it may have been executed: at worst one
//! request is counted that was not served. After three failures in a row the server is left alone, but for one request a
//! second. What happens to all others is said by `OnOutage`: they pass, they are refused, or they are counted in this process
//! against a share of each limit. `RedisStore::ping` is for those who do not want to start without the server.
//!
//! ## Cluster
//!
//! The first part of a key is the tenant: all histories with the same one are in one slot. So rules say that they belong
//! together by the order of their parts: with `header("x-account")` and `(header("x-account"), path("table"))` a request is
//! decided in one atomic step. Where a request has charges in several slots,
//! these are reserved at the same time, and given back before the decision is made known if one of the slots denies. So
//! never is more admitted than a quota has room for, and a denial costs nothing; but in the meantime somebody else may be
//! denied by a unit that is about to be given back. If a node is lost at that moment then a reservation may stay.
//!
//! ## For the operator
//!
//! **Names.** `prefix:{tag}:rule:key`, for example `quota:{606d6361}:bots:acme`. A key of one part of up to 27 bytes can be read;
//! longer ones, and those of several parts, are hashes behind a `~`. A rule with limits over 4096 has several strings for
//! each key, which end in `:1`, `:2`.
//!
//! **Memory.** Each rule and key has one string: for two quotas 54 bytes and 4 for each unit, up to 16 units; with more of them
//! 54 + 64 × 3 bytes (10 + 64 for each further quota) and 4 for each unit that the longest quota may count, in steps of twice as
//! many. With its name and what the server adds that is, by `MEMORY USAGE`, 136 bytes with one unit, 584 with 60 and 8,264 with
//! 1,800 (two sorted sets: 215 kB). Windows over 12 days take 6 bytes per unit. A limit over 4096 takes at most 8 bytes for each
//! 1/8192 of its window, 64 kB.
//!
//! **Sizing.** A core of the server decides about 65,000 requests a second of many keys that share calls, and 150,000 of one
//! key; 45,000 to 55,000 if each has a call of its own (Redis 7.0, two quotas, on two cores of a shared machine:
//! `cargo bench --bench redis --features redis`). Denials that are known and units that are lent come on top. Beyond that take
//! a cluster, whose slots are spread by tenant, or leases.
//!
//! **Eviction.** Everything expires by itself, at the latest after two of the longest window. A key that is evicted before is
//! as if it had never been used: let `maxmemory-policy` be `noeviction`, or a `volatile-` one on a server that holds more than
//! it must remember. With `noeviction` a full server is an outage.
//!
//! **Failover.** Replication is asynchronous: what was not yet replicated when the master was lost may be admitted once more,
//! so at most the limit of each key. A restart without persistence is the same for all keys.
//!
//! **TLS** comes with the feature `redis-tls`: `rediss://` URLs, `RedisStore::root_certificate` and `client_certificate`. If
//! the process has not chosen a provider of cryptography for rustls by then, building a limiter with TLS installs `ring`.
//!
//! **Watch** the server's memory, `evicted_keys` (0), the length of its slow log, and how many answers have status 503 or no
//! `RateLimit` fields.

#[cfg(feature = "test-util")]
pub mod conformance;

mod debt;
mod definition;
mod denials;
mod known;
mod measure;
mod memory;
mod never;
mod overflow;
#[cfg(feature = "redis")]
mod redis;
mod scopes;
mod setup;
mod shards;
mod slot;
mod table;
mod transaction;
mod unavailable;
mod verdict;

#[cfg(feature = "redis")]
pub use self::redis::{BreakerState, ConnectionState, Health, Lease, NodeHealth, OnOutage, RedisStore};
pub use definition::Store;
pub use memory::MemoryStore;
pub use never::Never;
pub use scopes::{Scope, Scopes};
pub use setup::Setup;
pub use unavailable::Unavailable;
pub use verdict::{Charge, Verdict};

#[cfg(all(feature = "redis", fuzzing))]
pub(crate) use self::redis::check_replies;
pub(crate) use verdict::{QuotaState, Told};
