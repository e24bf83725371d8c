//! One device of a participant, and how to tell it from another.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::ids::{Aor, Flow};
use crate::engine::time::Time;

/// What makes two appearances the same endpoint, the surest sign that was there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// `+sip.instance` (RFC 5626 4.1) or the instance within a GRUU (RFC 5627), lower case, no brackets.
    Instance(Box<str>),
    /// Microsoft's `epid` parameter of From and To.
    Epid(Box<str>),
    /// Nothing better: the Contact's user and host with the User-Agent. A new host is another endpoint.
    Contact {
        user: Box<str>,
        host: Box<str>,
        user_agent: Box<str>,
        /// Where its registration comes from, where another phone had the same Contact before it: one behind
        /// another NAT.
        #[serde(default)]
        behind: Option<IpAddr>,
    },
}

/// An endpoint as it can be invited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Shared by whoever remembers the endpoint.
    pub identity: Arc<Identity>,
    /// The Request-URI to use (the Contact's URI as it came).
    pub contact: Box<str>,
    /// The flow that it registered or called from; none where `contact` must be resolved.
    pub flow: Option<Flow>,
    /// Path of the registration (RFC 3327), topmost first, as name-addr texts: the Route to use.
    pub path: Vec<Box<str>>,
    /// The name shown to people: from the YAML, else display name, else User-Agent's product, else host.
    pub name: Box<str>,
    /// SIP URI of the upstream's target that it is asked through, whatever host `contact` names: the upstream
    /// knows the participant's endpoints, we don't.
    #[serde(default)]
    pub through: Option<Box<str>>,
}

impl Endpoint {
    /// Returns true where it is another's very place. What is registered twice under one identity may be reached at
    /// one of the two alone.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        (&self.identity, &self.contact, self.flow, &self.path)
            == (&other.identity, &other.contact, other.flow, &other.path)
    }

    /// Returns true where it has an address of its own: behind a proxy or an upstream many have one.
    pub(crate) fn has_own_address(&self) -> bool {
        self.path.is_empty() && self.through.is_none()
    }
}

/// One registered Contact of an AOR (RFC 3261 10.3, RFC 5626).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub endpoint: Endpoint,
    /// `reg-id` (RFC 5626 4.2): another number is a second flow of the same instance, not a move.
    pub reg_id: Option<u32>,
    /// Thousandths; 1000 where the Contact names none.
    pub q: u16,
    pub expires: Time,
    pub call_id: Box<str>,
    pub cseq: u32,
    pub user_agent: Box<str>,
    /// Contact header parameters as they came, for the 200 to a REGISTER.
    pub params: Box<str>,
    /// Methods of Allow, as they came; empty where there was none.
    pub allow: Box<str>,
    pub registered: Time,
    /// By what an upstream names it to us, where it is registered there and only kept here.
    #[serde(default)]
    pub token: Option<Box<str>>,
    /// By what the temporary GRUUs of the device name it (RFC 5627): the same for all its bindings.
    #[serde(default)]
    pub gruu: Option<u64>,
    /// It was told how often to keep its flow alive (RFC 5626 4.4).
    #[serde(default)]
    pub timed: bool,
}

/// What happened to the bindings of an AOR; told to every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingChange {
    /// A new endpoint, or a known one registered afresh.
    Registered {
        binding: Box<Binding>,
        /// Over another flow than before.
        moved: bool,
        /// Under another Call-ID than before, as after a reboot (RFC 3261 10.2.4), or beside a phone with the same
        /// Contact that it may have been.
        anew: bool,
    },
    /// Removed by the phone, or expired.
    Removed {
        binding: Box<Binding>,
        expired: bool,
    },
}

/// Bindings of one AOR that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingsChanged {
    pub aor: Aor,
    pub changes: Vec<BindingChange>,
}
