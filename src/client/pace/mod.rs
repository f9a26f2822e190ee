//! Calls wait until a policy has room for them, instead of being refused.
//!
//! A [`PaceLayer`] goes around any client: hyper-util's, a tonic `Channel`, reqwest's, a plain tower service. It knows the
//! policies, rules and stores that servers have here as well, so one process may keep to the limits of several services, per
//! host, per account and per route.
//!
//! ```
//! use std::time::Duration;
//!
//! # use http::{Request, Response};
//! # use tokio::time::Instant;
//! # use tower::{Layer, ServiceExt, service_fn};
//! use tower_quota::{Policy, client::pace::PaceLayer, key};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Twenty calls per second to each host.
//! let layer = PaceLayer::new(key::host(), Policy::per_second(20));
//! # let client = service_fn(|_: Request<()>| async { Ok::<_, std::convert::Infallible>(Response::new(())) });
//! let client = layer.layer(client);
//!
//! let begin = Instant::now();
//! let calls = (0..60).map(|_| client.clone().oneshot(Request::get("https://api.example.com/").body(()).unwrap()));
//! for answer in futures_util::future::join_all(calls).await {
//!     assert_eq!(answer?.status(), 200);
//! }
//! assert_eq!(begin.elapsed(), Duration::from_secs(2));
//! # Ok(())
//! # }
//! ```
//!
//! A limiter's rules are paced by [`RateLimiter::pace`](crate::RateLimiter#method.pace). Requests that are not of the crate
//! `http`, such as reqwest's, are [`Plain`](crate::request::Plain) ones:
//!
//! ```
//! use std::time::Duration;
//!
//! # use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_quota::{Policy, RateLimiter, Rule, client::{Advice, pace::PaceError}, clock::TokioClock, key};
//!
//! # #[derive(Debug)] struct Busy { seconds: u64 }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! struct Job { account: String }
//!
//! let rule = Rule::new("jobs").every_request().key(key::field(|job: &Job| &job.account));
//! let limiter = RateLimiter::builder_for::<Job>()
//!     .rule(rule.policy(Policy::per_second(2).margin(Duration::from_millis(100)).spread_evenly()))
//!     .clock(TokioClock::new())
//!     .build()?;
//! let layer = limiter.pace().max_waiting(100).max_wait(Duration::from_secs(1)).advised_by(
//!     |outcome: &Result<(), Busy>| match outcome {
//!         Ok(()) => Advice::none(),
//!         Err(busy) => Advice::none().refused().wait(Duration::from_secs(busy.seconds)),
//!     },
//! );
//! let pacer = layer.pacer(); // who waits, and for how long
//! let mut runner = layer.layer(service_fn(|_: Job| async { Err::<(), _>(Busy { seconds: 30 }) }));
//!
//! let job = || Job { account: "acme".into() };
//! assert!(matches!(runner.ready().await.unwrap().call(job()).await, Err(PaceError::Inner(Busy { .. }))));
//! let too_long = runner.ready().await.unwrap().call(job()).await.unwrap_err();
//! assert!(too_long.wait() >= Some(Duration::from_secs(30)));
//! assert!(pacer.lines()[0].forecast() >= Duration::from_secs(30));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! * Where the inner service is called there are never more than N calls in any window, because the policy is asked and the
//!   service called in one go. (If the store takes its time then the window is that of its decisions, and those who wait
//!   for one key are called one after the other, each after a round trip.)
//! * First come, first served, for all calls with the same keys; where the store takes its time, for all that do not ask it at the
//!   same time. A call takes its place when it is first polled. One that
//!   waits for one of its keys lets others by in its other keys, but not more often than it has keys.
//! * Every call ends: when its turn has come, or after [`max_wait`](PaceLayer::max_wait), be it first in the queue or behind others.
//! * Who is not polled holds up nobody for long. A call whose time has come, and whose future does not answer within a second, is
//!   called once more; after another second those behind it go, and it takes its place again when it is polled. Who is not the
//!   next looks later, by a second for each call in between. So there may be work in the loop over a `buffer_unordered`.
//! * Waiting costs no thread and next to no polling: whoever is next has a timer, and is woken when it is due; the timers of
//!   others are for when they should have been called long since. It holds no reservation in the inner service.
//! * A call that is dropped while it waits leaves the queue, is charged nothing, and whoever is next is woken.
//! * How many wait is [bounded](PaceLayer::max_waiting), and for how long can [be](PaceLayer::max_wait). What fails for that
//!   reason fails at once where this can be known, and says how long it would have had to wait.
//! * Nothing is kept of keys of which no call waits or is under way, and that no answer holds back or has just held back.
//!
//! Queues belong to a layer, histories to the limiter: two layers of one limiter keep to its policies together, and each has
//! an order of its own.
//!
//! # The server counts when calls arrive
//!
//! If one call takes 30 ms to the server and a later one 10, the server sees them 20 ms closer together than they were sent,
//! and may refuse the later one. [`Policy::margin`](crate::Policy::margin) makes the windows longer than the server's, by as
//! much as these times may differ: on a busy machine that may be a hundred milliseconds. It costs as much throughput as it
//! is part of the window. [`Policy::spread_evenly`](crate::Policy::spread_evenly) avoids bursts, which some servers mind.
//!
//! # What answers say
//!
//! After each answer its [`Advice`](super::Advice) is read ([`PaceLayer::answers`], [`PaceLayer::advised_by`], or
//! [`Pacer::advise`]) and holds back the calls of all keys of that call:
//!
//! * No call goes before a wait that is stated, nor until a [little](PaceLayer::spread) after that of a refusal. After a refusal
//!   without one (or with zero) calls are held back for [a second](PaceLayer::back_off).
//! * Where so many calls are left within a time, no more go. That time begins when the call was sent: about then the server
//!   decided, however long its handler took for the answer. Calls that the server may not have counted then are taken off: those
//!   that were sent later, and those that were sent within a second before and are still under way.
//! * After such a pause one call goes ahead, and each good answer lets two more go; or an answer says how many. One that
//!   [failed](super::Advice::failed) for another reason, as errors do, lets one more go. If answers take long then one more goes
//!   each second. This is remembered for as long as the pause was, even if nobody calls meanwhile.
//!
//! A server that says on a served answer that nothing is left (`RateLimit: "second";r=0;t=1`) is believed, and times in fields
//! are whole seconds, rounded up. So who calls just as fast as a server admits, one call after the other, is held back for up to a
//! second each time, and may get only half as far. [`Policy::margin`](crate::Policy::margin) or a policy a little below the
//! server's leaves something over, and nothing holds such a client back.
//!
//! What gRPC says in trailers behind messages is [not read](super::answers#what-is-read): it comes after the response. A server
//! that refuses a call says so in a response that has only trailers, which is.
//!
//! What is said never loosens the policy, and never holds calls back for longer than [`PaceLayer::max_hold`].
//!
//! # Several processes, one pace
//!
//! Rules whose histories are on Redis are kept to by all processes that share them. Each has a queue of its own, and asks
//! Redis when the turn of a call has come:
//!
//! ```no_run
//! # #[cfg(feature = "redis")]
//! # fn main() -> Result<(), tower_quota::ConfigError> {
//! use std::time::Duration;
//!
//! use tower_quota::{Policy, RateLimiter, Rule, key, store::{OnOutage, RedisStore}};
//!
//! let store = RedisStore::new("redis://127.0.0.1", OnOutage::Closed).deadline(Duration::from_millis(200));
//! let policy = Policy::per_minute(60).margin(Duration::from_millis(200));
//! let rule = Rule::new("api.example.com").every_request().key(key::host()).policy(policy);
//! let pace = RateLimiter::builder().store(store).rule(rule).build()?.pace();
//! # let _ = pace;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "redis"))]
//! # fn main() {}
//! ```
//!
//! The margin is for the time between the decision and the call. What an answer says is known only to the process that has
//! received it; the others are told when they call.
//!
//! # A limit that is not known
//!
//! With [`PaceLayer::adaptive`] the pace of a key drops after a refusal to 0.7 of what was accepted, and is regained in even
//! steps within 10 seconds; from there on it rises faster and faster, up to the policy. So it stays near a limit that nobody has
//! told, at the price of a refusal now and then. A key that was not heard of begins with one call, and each good answer lets
//! two more go. The policy holds as ever: let it be generous.
//!
//! # Where to put it
//!
//! Inside of what retries, so that each attempt waits its turn; outside of timeouts that are meant for the call alone. A
//! generated tonic client leaves the host to its `Channel`, so [`key::host`](crate::key::host) finds none: use a constant or
//! metadata.

mod ask;
mod call;
mod error;
mod future;
mod gate;
mod layer;
mod limits;
mod line;
mod pacer;
mod place;
mod queues;
mod ranks;
mod rate;
mod reader;
mod sees;
mod service;
mod settings;
mod state;
mod status;
mod ticket;
mod waiting;

pub use error::PaceError;
pub use future::ResponseFuture;
pub use layer::PaceLayer;
pub use pacer::Pacer;
pub use reader::{Headers, ReadAdvice, Unread};
pub use sees::Sees;
pub use service::Pace;
pub use status::LineStatus;
