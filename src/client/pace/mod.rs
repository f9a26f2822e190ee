//! Client-side rate limiting: calls queue until a policy has room for them, instead of being refused.
//!
//! A [`PaceLayer`] goes around any client: hyper-util's, a tonic `Channel`, reqwest's, a plain tower service. It takes
//! the same policies, rules and stores as servers do, so one process may keep to the limits of several services, per
//! host, per account and per route.
//!
//! ```
//! use std::{convert::Infallible, time::Duration};
//!
//! use futures_util::future::join_all;
//! use http::{Request, Response};
//! use tokio::time::Instant;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_quota::{Policy, client::PaceLayer, key};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let client = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
//! // Twenty calls per second to each host.
//! let client = PaceLayer::new(key::host(), Policy::per_second(20)).layer(client);
//!
//! let begin = Instant::now();
//! let request = || Request::get("https://api.example.com/").body(()).unwrap();
//! for response in join_all((0..60).map(|_| client.clone().oneshot(request()))).await {
//!     assert_eq!(response?.status(), 200);
//! }
//! assert_eq!(begin.elapsed(), Duration::from_secs(2));
//! # Ok(())
//! # }
//! ```
//!
//! The rules of a limiter are paced by [`RateLimiter::pace`](crate::RateLimiter#method.pace). Requests that are not of
//! the crate `http`, such as reqwest's, are [`Plain`](crate::request::Plain) ones:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower::{Layer, Service, ServiceExt, service_fn};
//! use tower_quota::{
//!     Policy, RateLimiter, Rule,
//!     client::{Advice, pace::PaceError},
//!     clock::TokioClock,
//!     key,
//! };
//!
//! struct Job {
//!     account: String,
//! }
//!
//! #[derive(Debug)]
//! struct Busy {
//!     seconds: u64,
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::per_second(2).margin(Duration::from_millis(100)).spread_evenly();
//! let account = key::field(|job: &Job| &job.account);
//! let limiter = RateLimiter::builder_for::<Job>()
//!     .rule(Rule::new("jobs").every_request().key(account).level("account").policy(policy))
//!     .clock(TokioClock::new())
//!     .build()?;
//! let layer = limiter
//!     .pace()
//!     .max_waiting(100)
//!     .max_wait(Duration::from_secs(1))
//!     .read_advice_with(|outcome: &Result<(), Busy>| match outcome {
//!         Ok(()) => Advice::none(),
//!         Err(Busy { seconds }) => {
//!             Advice::none().refused().wait(Duration::from_secs(*seconds))
//!         }
//!     });
//! let handle = layer.handle();
//! let busy = service_fn(async |_: Job| Err::<(), _>(Busy { seconds: 30 }));
//! let mut runner = layer.layer(busy);
//!
//! let job = || Job { account: "acme".into() };
//! let refused = runner.ready().await.unwrap().call(job()).await;
//! assert!(matches!(refused, Err(PaceError::Inner(Busy { .. }))));
//! let too_long = runner.ready().await.unwrap().call(job()).await.unwrap_err();
//! assert!(too_long.wait() >= Some(Duration::from_secs(30)));
//! assert!(handle.queues()[0].forecast() >= Duration::from_secs(30));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! * The inner service is never called more than N times in any window, because the policy is asked and the service
//!   called in one go. (With an asynchronous store the window is that of its decisions, and calls that wait for one key
//!   are made one after the other, each after a round trip.)
//! * First in, first out (FIFO), for all calls with the same keys; with an asynchronous store, for all that do not ask it
//!   at the same time. A call joins the queue when it is first polled. One that waits for one of its keys lets others by
//!   in its other keys, but not more often than it has keys.
//! * Every call ends: when its turn has come, or after [`max_wait`](PaceLayer::max_wait), whether it is first in the
//!   queue or behind others.
//! * Futures that are not polled hold up nobody for long. If one whose time has come does not react within a second it is
//!   woken once more; after another second those behind it go, and it takes its position again when it is polled. A call
//!   that is not the next checks later, by a second for each call in between. So there may be work in the loop over a
//!   `buffer_unordered`.
//! * Waiting costs no thread and next to no polling: the first in a queue has a timer, and is woken when it is due; the
//!   timers of others are for when they should have been woken long since. Nothing is reserved in the inner service.
//! * A call that is dropped while it waits leaves the queue and is charged nothing, and the next one is woken.
//! * The queues are [bounded](PaceLayer::max_waiting), and the wait can [be](PaceLayer::max_wait). Calls that fail for
//!   that reason fail at once where this can be known, and tell how long they would have had to wait.
//! * Nothing is kept of keys of which no call waits or is in flight, and that no response holds back or has just held back.
//!
//! Queues belong to a layer, histories to the limiter: two layers of one limiter keep to its policies together, and each
//! has an order of its own.
//!
//! # The server counts when calls arrive
//!
//! If one call takes 30 ms to the server and a later one 10, the server sees them 20 ms closer together than they were
//! sent, and may refuse the later one. [`Policy::margin`](crate::Policy::margin) makes the windows longer than the
//! server's by the difference in latency, which may be a hundred milliseconds on a busy machine. It costs throughput in
//! proportion to the window. [`Policy::spread_evenly`](crate::Policy::spread_evenly) avoids bursts, which some servers
//! mind.
//!
//! # What responses say
//!
//! After each response its [`Advice`](super::Advice) is read ([`PaceLayer::advice_reader`],
//! [`PaceLayer::read_advice_with`], or
//! [`PaceHandle::advise`]) and holds back the calls of all keys of that call:
//!
//! * No call goes before a stated wait is over, and after a refusal some [jitter](PaceLayer::max_jitter) is added. After
//!   a refusal without a stated wait (or with zero) calls are held back for [a second](PaceLayer::default_wait).
//! * If the server states how many calls remain, no more than that are sent. The time begins when the call was sent:
//!   about then the server decided, however long its handler took for the response. Calls that the server may not have
//!   counted then are taken off: those that were sent later, and those that were sent within a second before and are
//!   still in flight.
//! * After such a pause there is a slow start: one call goes ahead, and each that is served lets two more go, until a
//!   response states how many calls remain. One that [failed](super::Advice::failed) for another reason, as errors do,
//!   lets one more go. If responses take long then one more goes each second. The slow start lasts for as long as the
//!   pause did, even if nobody calls meanwhile.
//!
//! A server that says on a served response that nothing is left (`RateLimit: "second";r=0;t=1`) is believed, and times in
//! header fields are whole seconds, rounded up. So a client that calls just as fast as a server admits, one call after
//! the other, is held back for up to a second each time, and may get only half as far. A
//! [`Policy::margin`](crate::Policy::margin) or a policy a little below the server's leaves something over, and nothing
//! holds such a client back.
//!
//! gRPC's trailers behind messages are [not read](super::answers#what-is-read): they come after the response. A server that
//! refuses a call says so in a response that has only trailers, which is read.
//!
//! Advice never loosens the policy, and never holds calls back for longer than [`PaceLayer::max_hold`].
//!
//! # Costs
//!
//! Under a rule with a [cost](crate::Rule::cost) a call waits until there is room for what it costs. Those behind it wait, too,
//! though there may be room for them: else a stream of small calls would hold up a large one for ever. A call that costs more
//! than a limit fails at once, with [`PaceError::NeverPossible`]. The [forecast](QueueStatus::forecast) sums up the units of
//! those that wait.
//!
//! Where a cost is an [estimate](crate::Rule::reserve), the call is settled by [`PaceLayer::settled_by`], which reads a response;
//! or by the [`Reservation`](crate::Reservation), which services further in find among the extensions of an HTTP request, and the
//! caller among those of the response. What nobody has settled is settled as [`Unsettled`](crate::Unsettled) says when the last of
//! its clones is dropped: when the call has failed or was given up, and otherwise with the response. A call that waits for units
//! in flight is woken when a call is over, and asks again each second.
//!
//! What a server says to remain is a number of calls, whatever they cost.
//!
//! # Several processes, one rate
//!
//! Rules whose histories are on Redis are kept to by all processes that share them. Each process has a queue of its own,
//! and asks Redis when the turn of a call has come:
//!
//! ```no_run
//! # #[cfg(feature = "redis")]
//! # fn main() -> Result<(), tower_quota::ConfigError> {
//! use std::time::Duration;
//!
//! use tower_quota::{
//!     Policy, RateLimiter, Rule, key,
//!     store::{OnOutage, RedisStore},
//! };
//!
//! let store = RedisStore::new("redis://127.0.0.1", OnOutage::Closed)
//!     .deadline(Duration::from_millis(200));
//! let policy = Policy::per_minute(60).margin(Duration::from_millis(200));
//! let rule = Rule::new("api.example.com").every_request().key(key::host());
//! let limiter = RateLimiter::builder().store(store).rule(rule.policy(policy)).build()?;
//! let layer = limiter.pace();
//! # let _ = layer;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "redis"))]
//! # fn main() {}
//! ```
//!
//! The margin is for the time between the decision and the call. Advice is known only to the process that has received
//! it; the others are told when they call.
//!
//! # A limit that is not known
//!
//! With [`PaceLayer::adaptive`] the rate of a key follows additive increase and multiplicative decrease (AIMD): after a
//! refusal it drops to 0.7 of what was accepted, and is regained in even steps within 10 seconds; from there on it rises
//! faster and faster, up to the policy. So it stays near a limit that nobody has told, at the price of a refusal now and
//! then. A new key begins with a slow start: with one call, and each that is served lets two more go. The policy holds as
//! ever, so let it be generous.
//!
//! # Where to put it
//!
//! Inside of a retry layer, so that each attempt waits its turn; outside of timeouts that are meant for the call alone. A
//! generated tonic client leaves the host to its `Channel`, so [`key::host`](crate::key::host) finds none: use a constant
//! or metadata.

mod adaptive_rate;
mod backpressure;
mod error;
mod future;
mod handle;
mod in_flight;
mod layer;
mod queue;
mod queue_set;
mod queued_call;
mod rank_map;
mod read_advice;
mod scheduler;
mod service;
mod settings;
mod status;
mod view_of;

pub use error::PaceError;
pub use future::ResponseFuture;
pub use handle::PaceHandle;
pub use layer::PaceLayer;
pub use read_advice::{IgnoreAdvice, ReadAdvice, ReadHeaders, Settled};
pub use service::Pace;
pub use status::QueueStatus;
pub use view_of::ViewOf;
