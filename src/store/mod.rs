//! Where histories live, and where a request is decided: all its charges in one atomic step.
//!
//! # Which store
//!
//! * [`MemoryStore`], which is what a limiter has unless [another one](crate::RateLimiterBuilder::store) is chosen: for one
//!   process, or for several that may admit so much each. A decision takes less than a microsecond, and cannot fail.
//! * `RedisStore`, with feature `redis`: for several processes that share their limits. A decision takes a round trip, and
//!   what happens when the server is gone has to be chosen.
//! * A store of your own implements [`Store`], whose documentation has all that its author has to know.
//! * [`AnyStore`] is one of these, chosen when the program starts: Redis if a variable is set, else memory.
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
//! `reset`, or a unit that it gives back, is noticed up to a second later, and the wait that is told is still the old one. For keys that are asked about thousands of times a second a process can be lent
//! units in advance: `Lease`, which has a price. After a reset by another process it may still spend what it has been lent.
//!
//! ## When the server is gone
//!
//! A decision has a deadline, 50 ms by default. What was written to a server is not sent twice, because it may have been
//! executed: at worst one request is counted that was not served. What was never written, because the connection had been
//! closed while nobody used it, goes on a new one. To connect takes as long as it takes, up to 5 s, whatever the deadline:
//! choose one that a round trip fits in.
//!
//! After three failures in a row a server is left alone, but for one request a second; a connection that many lose is one
//! failure, and a new one lets the next request try at once. What happens to all others is said by `OnOutage`: they pass, they
//! are refused, or they are counted in this process against a share of each limit. `RedisStore::ping` is for those who do
//! not want to start without the server: it waits for the connection and has every master decide and write once.
//! `RedisStore::health` says how it stands with each server, without asking; with feature `tracing` every change is an event.
//!
//! A caller that hangs up while it is decided about is not charged in the end: what has been admitted for nobody is given
//! back by the task that asked.
//!
//! ## Cluster
//!
//! The first part of a key is the tenant: all histories with the same one are in one slot. So rules say that they belong
//! together by the order of their parts: with `header("x-account")` and `(header("x-account"), path("table"))` a request is
//! decided in one atomic step. Where a request has charges in several slots,
//! these are reserved at the same time, and given back before the decision is made known if one of the slots denies, all of it
//! within one deadline. So never is more admitted than a quota has room for, and a denial costs nothing; but in the meantime
//! somebody else may be denied by a unit that is about to be given back. So on a cluster a denial is remembered only when it has
//! been met twice, a deadline apart. If a node is lost at that moment then a reservation may stay.
//!
//! Which slot a tenant is in is up to a keyed hash: give `RedisStore::key_secret` a secret of your own, and nobody can
//! gather keys in one slot by their text.
//!
//! Each node has a connection and a breaker of its own. Where one is gone, only requests that need it meet `OnOutage`, and of
//! these only the charges that are there: what another node denies is denied, and what it admits is counted there. Such a
//! request is answered when all nodes that it needs have answered: also a denial waits for a node that is silent, until the
//! deadline, since what that node may have reserved is given back first. After three such requests the node is left alone, and then only one
//! a second waits for it. Requests that need other nodes never do. While a slot
//! moves (`redis-cli --cluster reshard`) redirections are followed. A request with several keys of that slot, some of which
//! are not where the others are, is then decided key by key, as if they were in several slots; but a history of
//! several strings (a limit over 4096 beside a smaller one) that is new or half-way cannot be decided until it has arrived. Let
//! `cluster-require-full-coverage` be `no`: otherwise all nodes refuse when one is gone.
//!
//! ## For the operator
//!
//! **Names.** `prefix:{tag}:rule:key`, for example `quota:{d67567e8}:bots:acme`. A key of one part of up to 27 bytes can be read;
//! longer ones, and those of several parts, are hashes behind a `~`. A rule with limits over 4096 has one more string per large
//! window for each key, which ends in `:` and the window and the width of its buckets in microseconds: `:3600000000.878904`. The
//! plain name is always there; deleting it resets the key.
//!
//! **Memory.** Each rule and key has one string: for two quotas 76 bytes with one unit and 4 for each further one, up to 16
//! units; with more of them 72 + 64 × 3 bytes (11 + 64 for each further quota) and 4 for each unit that the longest quota may count, in steps of twice as
//! many. With its name that is, by `MEMORY USAGE`, 152 bytes with one unit, 712 with 60 and 8,264 with
//! 1,800 (two sorted sets: 215 kB). The server's tables of keys and of expiries come on top: of 20,000 keys with one unit each
//! `used_memory` has 236 bytes a key. Windows over 12 days take 6 bytes per unit. A limit over 4096 takes one more string of
//! 184 bytes with one unit and of at most 9 bytes for each 1/8192 of its window, 72 kB; 18,000 an hour that are used up take 41 kB,
//! and 600 a minute beside it 3 kB.
//!
//! **Time** is counted as finely as in memory: in parts of 1 us if no window is over 17 minutes, of 4 us up to an hour, of 100
//! us up to a day, and never of more than a millisecond. Where processes share a history whose policies differ, the longest
//! window of any of them decides: the others wait for part of such a tick more, and nobody is admitted early.
//!
//! **Sizing.** A core of the server decides about 65,000 requests a second of many keys that share calls, and 150,000 of one
//! key; 45,000 to 55,000 if each has a call of its own (Redis 7.0, two quotas, on two cores of a shared machine:
//! the benchmark `redis`). Denials that are known and units that are lent come on top. A rule with a
//! limit over 4096 has two strings for a key and costs the server two to three times as much; so does a second rule. Processes with
//! other limits on the same rule cost no more than one alone, but with other windows a decision may cost several times as much
//! while both ask, as during a deployment. Beyond that take a cluster, whose slots are spread by tenant, or leases.
//!
//! **Rights.** As one line, with `prefix` in the place of `quota`:
//!
//! ```text
//! ACL SETUSER limits on >secret ~quota:* resetchannels -@all +eval +evalsha +get +getrange +set +setrange +exists +pexpire +del +time
//! ```
//!
//! On a cluster also `+cluster|slots +asking`, for another database than the first `+select`, and behind sentinels better
//! `+role`, by which a former master is told from the present one. From Redis 7.2 on, and on Valkey, the client tells its name
//! when it connects: without `+client|setinfo` that is refused, which does no harm but an entry in `ACL LOG`.
//!
//! **Eviction.** Everything expires by itself, at the latest after two of the longest window. A key that is evicted before is
//! as if it had never been used: let `maxmemory-policy` be `noeviction`, or a `volatile-` one on a server that holds more than
//! it must remember. With `noeviction` a full server is an outage.
//!
//! **More than N** are admitted in a window in these cases, and in no others that are known:
//!
//! | when | at most so many more |
//! |---|---|
//! | a failover: replication is asynchronous, and units that had not arrived are lost | N for each key, once |
//! | a restart without persistence, or `FLUSHALL` | N for each key, once |
//! | eviction | N for each key that is evicted, each time |
//! | the server's clock jumps forward, also by a failover to a server whose clock is ahead: units leave early by as much | N, once |
//! | `OnOutage::Open` | no bound while it lasts; what was let pass is not counted afterwards |
//! | `OnOutage::Local` | the share of N in each process while it lasts, and as many once more afterwards, since the server does not know of them |
//! | a reset by another process while units are lent | what is lent, until the leases end |
//! | a policy gets a longer window, or a higher limit, than any process has asked for until then | what was admitted before that, in so far as only this one would count it, once |
//! | a version with an earlier layout of what is stored ran before | N for each key, once |
//!
//! A clock of the server that is set back admits no more than N. Nor do processes with other limits or windows on the same rule:
//! a history is kept for the longest window that any of them asks for, until nobody has asked for it as long as it lasts.
//!
//! **Fewer than N** are admitted for a moment where units are on their way back: a reservation that another node has denied, what
//! was admitted for a caller that hung up, what is lent and not spent. A denial that is remembered is given for up to
//! `RedisStore::remember_denials` although another process has given units back meanwhile. What a server had admitted when its
//! answer came too late stays counted.
//!
//! **Runtimes.** A store may be used from several tokio runtimes, at the same time or one after the other. The connection
//! belongs to the one that first needed it: when that ends, the next decision makes another one. One that stands still, such as
//! a `current_thread` runtime outside of `block_on`, holds up those of the others until the breaker opens: give each its own
//! store then. A runtime needs I/O and timers, as `enable_all` gives it.
//!
//! **Virtual time.** With `RedisStore::virtual_time`, for tests, all that this process measures (breakers, leases, remembered
//! denials) and all that the script counts follow that clock; deadlines and connecting keep to the real one, and the server lets
//! keys expire by its own.
//!
//! **TLS** comes with the feature `redis-tls`: `rediss://` URLs, `RedisStore::root_certificate` and `client_certificate`. If
//! the process has not chosen a provider of cryptography for rustls by then, building a limiter with TLS installs `ring`.
//!
//! **Watch** `RedisStore::health`, the server's memory, `evicted_keys` (0), the length of its slow log, and how many answers
//! have status 503 or no `RateLimit` fields.

mod any;
mod contract;
mod debt;
mod denials;
mod known;
mod measure;
mod memory;
mod overflow;
#[cfg(feature = "redis")]
mod redis;
mod shards;
mod slot;
mod table;
mod transaction;
mod verdict;

#[cfg(feature = "redis")]
pub use self::redis::{BreakerState, ConnectionState, Health, Lease, NodeHealth, OnOutage, RedisStore};
pub use crate::{error::Unavailable, key::Charge};
pub use any::AnyStore;
pub use contract::{BoxFuture, MaybeReady, Scope, Scopes, Setup, Store};
pub use memory::MemoryStore;
pub use verdict::Verdict;

#[cfg(all(feature = "redis", fuzzing))]
pub(crate) use self::redis::check_replies;
pub(crate) use verdict::{QuotaState, Told};
