//! The file as it is written: every key, its type and range, its default. What the values mean
//! together is for `resolve`.

mod behaviour;
mod dns;
mod listen;
mod media;
mod messages;
mod node;
mod operation;
mod people;
mod quantity;
mod text;

pub(super) use behaviour::{
    AutoAnswer, Decline, Detect, EarlyDialogs, FailureCause, Filler, Fork, Order, PerKind, Pickup,
    Redirects, Refer, Refresher, Restore, RestoreOrder, SessionTimer,
};
pub(super) use dns::Dns;
pub(super) use listen::{Advertise, AdvertiseTo, Dscp, ForwardedBy, Listen, ListenAt, ListenLong};
pub(super) use media::{Latch, Media, MediaAddress, MediaMode, Srtp};
pub(super) use messages::{Fallback, Messages, Notice, NoticeText};
pub(super) use node::{Node, Workers};
pub(super) use operation::{
    Acl, Admin, Bans, Capture, Cdr, ClientAuth, History, Limits, Log, LogFormat, Nat, Store,
    Timers, Tls,
};
pub(super) use people::{
    Auth, Domain, Emergency, Endpoint, PathMode, Presented, Registrar, Route, RouteFork, TargetUri,
    Upstream, User,
};
pub(super) use text::{FromText, Ordered, TextOr};

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of Refork.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    /// This process.
    pub(super) node: Node,
    /// Where SIP is spoken: `udp://address:port`, or a map with `at`.
    pub(super) listen: Vec<Listen>,
    /// What peers are told instead of the local address: `auto`, an address, or a map from listener
    /// to address and port.
    pub(super) advertise: Advertise,
    /// Certificates of `tls` and `wss` listeners, read again when they change.
    pub(super) tls: Tls,
    /// Who is ours; the first match wins, `*` is any.
    pub(super) domains: Ordered<Option<Domain>>,
    /// Address of record to secret.
    pub(super) users: Ordered<User>,
    /// A file with more users, of the same form; relative to this file.
    pub(super) users_file: Option<PathBuf>,
    /// Fixed endpoints, and names for those that register.
    pub(super) endpoints: Vec<Endpoint>,
    /// Groups of servers that calls can go on to.
    pub(super) upstreams: Ordered<Upstream>,
    /// What else may be called; the first match wins, tried after the domains.
    pub(super) routes: Vec<Route>,
    /// How names are looked up.
    pub(super) dns: Dns,
    /// How a call looks for whom it is for.
    pub(super) fork: Fork,
    /// Transfers (RFC 3515): carried out here, or passed to the other side's phone.
    pub(super) refer: Refer,
    /// How the loss of an endpoint is noticed.
    pub(super) detect: Detect,
    /// How a lost endpoint is replaced.
    pub(super) restore: Restore,
    /// What the survivor is told.
    pub(super) notice: Notice,
    /// Messages of IM sessions.
    pub(super) messages: Messages,
    /// Voice and video.
    pub(super) media: Media,
    /// Where conversations are kept over a restart. No effect in this version.
    pub(super) store: Store,
    /// The HTTP interface for operators.
    pub(super) admin: Admin,
    /// SIP's own timers (RFC 3261 17).
    pub(super) timers: Timers,
    /// Phones behind address translation.
    pub(super) nat: Nat,
    /// Who may speak to us. No effect in this version.
    pub(super) acl: Acl,
    /// Shutting out who fails too often. No effect in this version.
    pub(super) bans: Bans,
    /// What is remembered of ended conversations.
    pub(super) history: History,
    /// How much of everything there may be.
    pub(super) limits: Limits,
    /// What is logged, and how.
    pub(super) log: Log,
    /// Copies of the signalling for analysis. No effect in this version.
    pub(super) capture: Capture,
    /// Call detail records. No effect in this version.
    pub(super) cdr: Cdr,
}

impl Default for File {
    fn default() -> Self {
        Self {
            node: Node::default(),
            listen: listen::defaults(),
            advertise: Advertise::Text(AdvertiseTo::Auto),
            tls: Tls::default(),
            domains: Ordered::default(),
            users: Ordered::default(),
            users_file: None,
            endpoints: Vec::new(),
            upstreams: Ordered::default(),
            routes: Vec::new(),
            dns: Dns::default(),
            fork: Fork::default(),
            refer: Refer::Execute,
            detect: Detect::default(),
            restore: Restore::default(),
            notice: Notice::default(),
            messages: Messages::default(),
            media: Media::default(),
            store: Store::Embedded,
            admin: Admin::default(),
            timers: Timers::default(),
            nat: Nat::default(),
            acl: Acl::default(),
            bans: Bans::default(),
            history: History::default(),
            limits: Limits::default(),
            log: Log::default(),
            capture: Capture::default(),
            cdr: Cdr::default(),
        }
    }
}
