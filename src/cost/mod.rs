//! Costs: requests that count for more than one unit, or for a number that is known only afterwards.
//!
//! A rule counts requests, unless it is given a [cost](crate::Rule::cost): a name for its units, and a source of the number
//! that each request costs. The source is a number, a closure over the request, or one of the functions here.
//!
//! ```
//! use http::Request;
//! use tower_quota::{Policy, RateLimiter, Rule, cost, http::RequestView, key};
//!
//! // A field that a service of ours has set, in front of this one.
//! let searches = Rule::new("searches")
//!     .every_request()
//!     .key(key::header("x-account"))
//!     .policy(Policy::per_minute(100))
//!     .cost("points", cost::header("x-points").or(5));
//! let limiter = RateLimiter::builder().rule(searches).build()?;
//!
//! let searches = limiter.rule("searches")?;
//! assert_eq!(searches.check_cost("acme", 60)?.quotas().next().map(|quota| quota.remaining()), Some(40));
//! assert!(!searches.check_cost("acme", 60)?.is_admitted());
//! assert!(searches.check_cost("acme", 101)?.is_never_possible());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where a cost comes from
//!
//! A cost is a whole number of units; scale weights, so that 0.2 and 1 become 1 and 5. The number that a *client* names is no
//! cost: it would name 0. Read header fields that a service of yours sets, and has the proxy in front remove from what
//! clients send. The `Content-Length` is different: servers hold clients to it.
//!
//! Costs are read before any history is locked. A closure that panics fails its own request alone.
//!
//! # A cost of zero, and one above the limit
//!
//! A request that costs nothing is recorded nowhere. It is denied only if more units count than the limit admits, as after a
//! request that cost more than its [estimate](crate::Rule::reserve).
//!
//! A request that costs more than a limit is [never possible](crate::Decision::is_never_possible): waiting does not help, so it
//! is told no wait, and a layer answers with 413 rather than 429.
//!
//! # A reservation
//!
//! The cost of some requests is known only when their answer has ended: tokens, bytes, points of a query. Such a rule
//! [reserves](crate::Rule::reserve) an estimate, and the [`Reservation`](crate::Reservation) settles it:
//!
//! ```text
//!            reserve 2000                          settle 700
//!  request ------|-------- the answer streams ---------|-------------------------------------------->
//!                |                                     |
//!   the log   .. 2000                               .. 700     1300 units leave the very entry of the
//!                                                              request, for every window that counts it
//!
//!            reserve 2000                          settle 2600
//!  request ------|-------- the answer streams ---------|-------------------------------------------->
//!                |                                     |
//!   the log   .. 2000                               .. 2000 .. 600   a new entry: owed from now on
//! ```
//!
//! An entry leaves when it is as old as the window, whether it is settled or not. So a reservation needs no timer and no
//! registry, and one that is never settled holds its units for one window, not for ever.
//!
//! | what happens | what counts |
//! |---|---|
//! | it cost less than the estimate | the difference leaves the entry of the request, in each window that still counts it |
//! | it cost more | the difference is a new entry, from now on; nobody is admitted until the sum is below the limit again |
//! | it has left the minute, and not yet the day | the day gets units back, the minute is as it was |
//! | it has left all windows | nothing is given back; what it cost above the estimate is still owed |
//! | it is settled twice, or by two clones | the first counts |
//! | nobody settles it | as [`Unsettled`](crate::Unsettled) says, when the response has ended, failed or was dropped |
//! | the handler settles later than the response | [`Reservation::take`](crate::Reservation::take) |
//! | the key was reset, the process restarted, or the clock stepped back | nothing is given back, and nobody else's units are touched |
//! | the rules were reloaded, or the key has another tier | it is settled in the history that was charged |
//! | the rule is gone | its history is kept as long as it counts, and is settled |
//! | the table is full of live keys | the shared history is charged, and gives nothing back |
//! | the process is killed | the estimate counts until its window has passed |
//!
//! # What is promised
//!
//! At every admission, the units that count (true costs where they are settled, estimates where not) and the cost of the request
//! are at most the limit. In any interval of the window's length, the requests that were admitted in it cost at most N and the
//! sum of what they cost above their estimates. So with estimates that are never too low (the prompt and `max_tokens`; a length
//! that the server enforces) the limit is never exceeded. Otherwise estimates that are too low by a factor of F let through F
//! times the limit, once, and then nobody until the debt has drained. A request that lasts longer than the window has left it
//! before it is settled.
//!
//! A request is never denied while there is room for its cost. Room is exact to a millisecond while a key has at most 4096
//! admissions in its longest window, whatever the limit is. Beyond that, admissions that are 1/4096 of a window apart leave
//! together, with the later of them. On Redis a limit over 4096 does that from the first admission on.
//!
//! The wait is that of this cost, if nobody else comes and nothing is given back: it may prove to be shorter, and never too
//! short. A small request may pass while a large one is denied.
//!
//! A reservation is settled once. What it gives back is at most what it has recorded, and never the units of another request.
//!
//! # Memory
//!
//! A key of a rule with costs takes about 200 bytes with one admission, and 8 bytes for each further one in its longest window,
//! whatever these cost: 33 kB with 4096, and at most 42 kB for each quota beyond that. It is twice that with limits over 2^30
//! or windows over 12 days. [`Policy::resolution`](crate::Policy::resolution) makes it less.

mod cost;
mod message_cost;
mod message_head;
mod stated;

pub use cost::Cost;
pub use message_cost::{MessageCost, MessageLength, message_length};
pub use message_head::MessageHead;
pub use stated::{Stated, StatedOr, content_length, header};
