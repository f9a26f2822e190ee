//! Stores keep the histories, and decide about all charges of a request in one atomic step.
//!
//! # Choosing a store
//!
//! * [`MemoryStore`] is for one process, or for several of which each may admit N. It is the store of a limiter unless
//!   [another one](crate::RateLimiterBuilder::store) is chosen. A decision takes less than a microsecond, and cannot fail.
//! * `RedisStore`, with feature `redis`, is for several processes that share their limits. A decision takes a round trip,
//!   and you choose what happens while the server is unavailable.
//! * [`AnyStore`] is either of them, chosen when the program starts: for example Redis if a variable is set, else memory.
//! * A store of your own implements [`Store`], whose documentation is complete for its author.
//!
//! # Redis
//!
//! `RedisStore` keeps the same guarantees across any number of processes. One script decides about all charges of a request
//! in one atomic step, by the server's own clock. The script needs Redis 6.0 or newer, and is tested with Redis 6.2 and 7.0
//! and Valkey 9.1: on one server, on a master with sentinels, and on a cluster.
//!
//! ## Fewer round trips
//!
//! Requests that arrive in the same turn of the tokio scheduler share one script call, up to 32 of them
//! (`RedisStore::max_batch`), on one connection. The busier a process is, the less each decision costs the server.
//!
//! A denial is cached and repeated without a round trip (`RedisStore::denial_cache_ttl`). It stays correct, with one
//! exception: a `reset` by another process, or a unit that another process gives back, is noticed up to a second later, and
//! until then the old wait is stated.
//!
//! For keys with thousands of requests a second, a process can lease units in advance: see `LeaseConfig`, also for the
//! price. After a reset by another process it may still spend the units that it has leased.
//!
//! ## When the server is unavailable
//!
//! A decision has a deadline, 50 ms by default. A command that was written to a server is not sent again, because it may
//! have been executed: at worst one request is counted that was not served. A command that was never written, because an
//! idle connection had been closed, is sent on a new connection. Connecting may take up to 5 s, whatever the deadline.
//! Choose a deadline that leaves time for a round trip.
//!
//! Each server has a circuit breaker. After three failures in a row it opens, and lets one request a second try the server.
//! A connection that many requests lose counts as one failure, and a new connection lets the next request try at once.
//! All other requests follow `OnOutage`: fail open, fail closed, or count in this process against a share of each limit.
//!
//! Services that must not start without the server call `RedisStore::ping`, which waits for the connection and has every
//! master decide and write once. `RedisStore::health` returns the state of each server without a round trip. With feature
//! `tracing` every change of it is an event.
//!
//! A caller that hangs up during a decision is not charged in the end: the task that sent the request gives back the units
//! that were admitted for it.
//!
//! ## Cluster
//!
//! The first part of a key is its tenant. All histories of a tenant are in one slot, so the order of the parts determines
//! which rules are decided together: with `header("x-account")` and `(header("x-account"), path("table"))` a request is
//! decided in one atomic step.
//!
//! If the charges of a request are in several slots, units are reserved in all of them at the same time. If one of the slots
//! denies, the others get their units back before the decision is known. All of this happens within one deadline. So no
//! quota ever admits more than it has room for, and a denial costs nothing. But another request may be denied meanwhile
//! because of a unit that is about to be given back. So on a cluster a denial is cached only after it was met twice, a
//! deadline apart. If a node fails at that moment, a reservation may remain.
//!
//! Charges that are not [enforced](crate::Enforcement) are decided right after these, if a request has charges of enforced rules
//! in several slots: each of them exactly, but not in the same step.
//!
//! A keyed hash maps tenants to slots. Set a `RedisStore::key_secret` of your own, and nobody can choose texts of keys that
//! fill one slot.
//!
//! Each node has its own connection and circuit breaker. If one is unavailable, `OnOutage` applies only to requests that
//! need it, and of these only to the charges on it: other nodes still deny, and count the requests that they admit. Such a
//! request is answered when all of its nodes have answered. Even a denial waits for a silent node, until the deadline,
//! because units that the node may have reserved are given back first. After three such requests the breaker of the node
//! opens, and then only one request a second waits for it. Requests that need only other nodes never wait.
//!
//! While a slot moves (`redis-cli --cluster reshard`) redirections are followed. If some keys of a request have moved and
//! others have not, they are decided key by key, as if they were in several slots. A history of several strings (a limit
//! over 4096 beside a smaller one) that is new or half moved cannot be decided about until all of it has arrived. Set
//! `cluster-require-full-coverage` to `no`: otherwise all nodes refuse when one is down.
//!
//! ## Tiers, reloads and rolling deployments
//!
//! A history on the server is a list of timestamps. Limits are no part of it: each call brings the limits that judge it. So
//! tiers, [reloaded](crate::RateLimiter::reload) rules and processes with other versions of the rules share one history, and
//! nobody's is refilled or emptied by a change. Whoever used 60 units as `free` has 540 of 600 left as `pro`, and none as
//! `free` until the minute has passed. A tier without limits is recorded like the others.
//!
//! While two versions of a policy run side by side, each process applies its own limits to everything that all of them have
//! recorded. With 60 a minute in one version and 100 in the other, at most 100 are admitted in any minute, never 160: the old
//! version denies from the 60th unit on, whoever used the units. Where windows differ, each version keeps to its own. A
//! version with shorter windows makes no other forget: a history is kept for the longest window that any process asks for,
//! until that long after it was last asked for. A version with a *longer* window than any before knows as much as was
//! remembered until then.
//!
//! * Deploy a changed policy like any other change, in any order of processes. There is nothing to migrate or to delete.
//! * Other limits of the same windows cost the server nothing. All tiers of a rule ask for the windows of all of them, so
//!   keys that change tiers cost nothing either. With other windows a history is laid out anew whenever the versions take
//!   turns on a key, which costs as much as several decisions. The tiers of a rule have at most 31 windows together.
//! * If a limit of a tier is over 4096, the windows of the rule that are as long or longer are counted in buckets for all
//!   of its tiers: a unit leaves them later, by up to 1/4096 of the window, and never early.
//! * The name of a rule, ignoring case, and its level find its histories. A rule of another name or level begins afresh, and
//!   processes of the two versions count apart as long as they run side by side. A rule with another key and the same level
//!   goes on with the histories of equal keys: what the level names is what is counted.
//! * A cached denial is that of one tier, and is voided when this process admits a unit of the key under another tier or
//!   version. Another process may do so unnoticed, and then the wait that is stated is too short, for up to a
//!   `RedisStore::denial_cache_ttl`.
//! * Rules with tiers are never leased. After a reload, units that were leased under the old limits are not spent, and go
//!   back when the lease expires.
//! * During an outage `OnOutage::Local` follows reloads and tiers, with its share of each limit.
//!
//! ## Costs
//!
//! * A cost is decided in the same call as the other charges of the request, and shares a batch with them. A settlement is one
//!   call for each hash slot, within the deadline, and is never sent twice.
//! * If the server cannot be asked the settlement is lost: the estimate stays counted until it leaves the window, and units
//!   that are owed are not recorded. `Reservation::settle_async` returns the error; the response is not touched.
//! * With `OnOutage::Local` costs are decided against the share in this process, by their estimates: what is decided there is
//!   not settled. A cost that is over the share and not over the limit is denied for a second, not for ever. With
//!   `OnOutage::Open` nothing is recorded, so there is nothing to settle.
//! * Units leave up to a millisecond late, and under limits over 4096 up to 1/4096 of the window
//!   ([`Policy::resolution`](crate::Policy::resolution)), never early. A history has one string for each of its windows.
//! * Rules with costs are never leased, and their denials are not cached.
//! * A request with charges in several hash slots that one of them denies, or whose caller hangs up, gives its units back to
//!   the entries that recorded them.
//!
//! ## Operation
//!
//! **Names.** Keys are named `prefix:{tag}:rule:level:key`, for example `quota:{d67567e8}:bots:account:acme`, with the rule's
//! name in lower case. A key of one part of up to 27 bytes is readable. Longer ones, and those of several parts, are hashes
//! after a `~`. A rule with limits over 4096 has one more string per key and large window. Its name ends in `:`, the window
//! and the width of its buckets in microseconds: `:3600000000.878904`. The plain name always exists, and deleting it resets
//! the key.
//!
//! **Memory.** Each rule and key has one string. For two quotas it has 76 bytes with one unit and 4 more for each further
//! unit, up to 16 units. With more units it has 72 + 64 × 3 bytes (11 + 64 for each further quota) and 4 for each unit that
//! the longest quota may count, doubling in steps. By `MEMORY USAGE`, which includes the name, that is 152 bytes with one
//! unit, 712 with 60 and 8,264 with 1,800 (two sorted sets: 215 kB). The server's tables of keys and of expiries come on
//! top: with 20,000 keys of one unit each, `used_memory` grows by 236 bytes a key. Windows over 12 days take 6 bytes per
//! unit. A limit over 4096 takes one more string of 184 bytes with one unit, and of at most 9 bytes for each 1/8192 of its
//! window, 72 kB. An exhausted limit of 18,000 an hour takes 41 kB, and 600 a minute beside it 3 kB.
//!
//! **Time** has the same resolution as in memory: 1 us if no window is over 17 minutes, 4 us up to an hour, 100 us up to a
//! day, and never more than a millisecond. If processes share a history and their policies differ, the longest window of
//! any of them determines the resolution. The others then wait up to one such tick longer, and no request is admitted early.
//!
//! **Sizing.** One core of the server decides about 65,000 requests a second of many keys that share calls, 150,000 of one
//! key, and 45,000 to 55,000 if each has a call of its own (Redis 7.0, two quotas, on two cores of a shared machine: the
//! benchmark `redis`). Cached denials and leased units come on top. A rule with a limit over 4096 has two strings per key
//! and costs the server two to three times as much. So does a second rule. Tiers, and processes with other limits on the same
//! rule, cost nothing extra. With other windows a decision may cost several times as much while both versions ask, as during
//! a deployment. Beyond that use a cluster, which spreads tenants over its slots, or leases.
//!
//! **Permissions.** As one line, with your prefix in place of `quota`:
//!
//! ```text
//! ACL SETUSER limits on >secret ~quota:* resetchannels -@all +eval +evalsha +get +getrange +set +setrange +exists +pexpire +del +time
//! ```
//!
//! A cluster needs `+cluster|slots +asking` as well, a database other than the first `+select`. With sentinels add `+role`,
//! which tells a former master from the present one. From Redis 7.2 on, and on Valkey, the client sends its name when it
//! connects. Without `+client|setinfo` that is refused, which does no harm but leaves an entry in `ACL LOG`. So does the question
//! whether the server evicts keys without `+info`, unless the [check](crate::observe#redis-evicts) is off.
//!
//! **Eviction.** Every key expires by itself, at the latest after two of the longest window. An evicted key is as if it had
//! never been used. Set `maxmemory-policy` to `noeviction`, or to a `volatile-` policy on a server that holds other data
//! besides, and turn the [warning](crate::observe#redis-evicts) off. With `noeviction` a full server is an outage.
//!
//! **More than N** requests are admitted in a window in these cases, and in no others that are known:
//!
//! | case | at most this many more |
//! |---|---|
//! | a failover: replication is asynchronous, and units that had not arrived are lost | N for each key, once |
//! | a restart without persistence, or `FLUSHALL` | N for each key, once |
//! | eviction | N for each evicted key, each time |
//! | the server's clock jumps forward, also by a failover to a server whose clock is ahead: units leave early by as much | N, once |
//! | `OnOutage::Open` | unbounded during the outage; the requests that pass are not counted afterwards |
//! | `OnOutage::Local` | the share of N in each process during the outage, and as many once more afterwards, since the server does not know of them |
//! | a reset by another process while units are leased | the leased units, until the leases end |
//! | a leased rule gets tiers by a reload, or is leased in some processes only | the units that were leased then, once |
//! | a policy gets a longer window, or a higher limit, than any process has asked for until then | the units admitted before that which only this policy would count, once |
//! | a version with an earlier layout of the stored data ran before | N for each key, once |
//!
//! If the server's clock is set back, no more than N are admitted. The same holds for tiers, and for processes with other
//! limits or windows on the same rule: each keeps to its own N.
//!
//! **Fewer than N** are admitted for a moment while units are on their way back: a reservation that another node has denied,
//! a unit admitted for a caller that hung up, leased units that are not spent. A cached denial is repeated for up to
//! `RedisStore::denial_cache_ttl` even if another process has given units back meanwhile. Requests that a server admitted
//! and whose reply came too late stay counted.
//!
//! **Runtimes.** A store may be used from several tokio runtimes, at the same time or one after the other. A connection
//! belongs to the runtime that first needed it. When that runtime ends, the next decision connects again. A runtime that
//! stands still, such as a `current_thread` runtime outside of `block_on`, delays the others until the breaker opens. Give
//! each its own store then. A runtime needs I/O and timers, as `enable_all` provides them.
//!
//! **Virtual time.** With `RedisStore::virtual_time`, for tests, all times that this process measures (breakers, leases,
//! cached denials) and all times in the script follow that clock. Deadlines and connecting use real time, and the server
//! expires keys by its own clock.
//!
//! **TLS** comes with the feature `redis-tls`: `rediss://` URLs, `RedisStore::root_certificate` and `client_certificate`. If
//! the process has not installed a crypto provider for rustls by then, building a limiter with TLS installs `ring`.
//!
//! **Monitoring.** Watch `RedisStore::health`, the server's memory, `evicted_keys` (0), the length of its slow log, and the
//! number of responses with status 503 or without `RateLimit` fields.

mod any;
mod contract;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod scopes;
mod settlement;

#[cfg(feature = "redis")]
pub use self::redis::{BreakerState, ConnectionState, Health, LeaseConfig, NodeHealth, OnOutage, RedisStore};
pub use crate::{error::Unavailable, key::Charge};
pub use any::AnyStore;
pub use contract::{BoxFuture, MaybeReady, Setup, Store, Verdict};
pub use memory::MemoryStore;
pub(crate) use scopes::Registration;
pub use scopes::{Scope, Scopes};
pub use settlement::{CostSupport, Receipt, Settlement};

#[cfg(all(feature = "redis", fuzzing))]
pub(crate) use self::redis::check_replies;
pub(crate) use contract::{Detail, QuotaState};
