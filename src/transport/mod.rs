//! Sockets: datagrams in batches with their ICMP errors, streams (plain, under TLS, WebSockets) cut into messages, and what all
//! shards must know of each other's connections. No clock and no thread of its own: a shard calls it.

mod bind;
mod connection;
mod counters;
mod fault;
mod forwarded;
mod frames;
mod layer;
mod leaving;
mod local;
mod outbox;
mod proxied;
mod registry;
mod speech;
mod streams;
mod sys;
mod troubles;
mod udp;
mod web;
mod yielding;

pub use bind::{BindError, Bound, Socket, bind};
pub use counters::Counters;
pub use fault::{Fault, Refusal, Shake};
pub use local::{bindable, toward};
pub use registry::{Guest, Registry, worker_of};
pub use streams::{Carried, StreamEvent, StreamLimits, Streams};
pub use troubles::Troubles;
pub use udp::{Datagram, Queued, Room, Sent, Udp, Unreached};
pub use yielding::{Need, Views, Yielded};
