//! Sockets: datagrams in batches with their ICMP errors, streams cut into messages, and what all
//! shards must know of each other's connections. No clock and no thread of its own: a shard calls it.

mod bind;
mod connection;
mod counters;
mod local;
mod registry;
mod streams;
mod sys;
mod udp;

pub use bind::{BindError, Bound, Socket, bind};
pub use counters::Counters;
pub use local::{bindable, toward};
pub use registry::{Registry, worker_of};
pub use streams::{Carried, StreamEvent, StreamLimits, Streams};
pub use udp::{Datagram, Room, Sent, Udp};
