//! What the API answers, apart from the engine's own types: this is a contract with other programs.

use serde::Serialize;

use crate::engine::endpoint::{Binding, Identity};
use crate::engine::events::{Entry, Happening};
use crate::engine::ids::Aor;
use crate::engine::time::Time;
use crate::engine::timestamp::Timestamp;
use crate::engine::view::{Detail, LegView, Summary, Trouble, UpstreamView};
use crate::gate::Ban;

/// A list under a name, so that fields can join it later.
#[derive(Debug, Serialize)]
pub(super) struct Conversations {
    pub(super) conversations: Vec<ConversationJson>,
}

/// One conversation in a list.
#[derive(Debug, Serialize)]
pub(super) struct ConversationJson {
    id: String,
    kind: &'static str,
    state: &'static str,
    from: String,
    to: String,
    call_id: String,
    started: Timestamp,
    answered: Option<Timestamp>,
    ended: Option<Timestamp>,
    restorations: u32,
    queued: u32,
}

impl From<Summary> for ConversationJson {
    fn from(summary: Summary) -> Self {
        Self {
            id: summary.id,
            kind: summary.kind.as_str(),
            state: summary.stage.as_str(),
            from: summary.from,
            to: summary.to,
            call_id: summary.call_id,
            started: Timestamp(summary.started),
            answered: summary.answered.map(Timestamp),
            ended: summary.ended.map(Timestamp),
            restorations: summary.restorations,
            queued: summary.queued,
        }
    }
}

/// One conversation in full.
#[derive(Debug, Serialize)]
pub(super) struct DetailJson {
    #[serde(flatten)]
    summary: ConversationJson,
    legs: Vec<LegView>,
    history: Vec<EntryJson>,
}

#[derive(Debug, Serialize)]
struct EntryJson {
    at: Timestamp,
    #[serde(flatten)]
    what: Happening,
}

impl From<Entry> for EntryJson {
    fn from(entry: Entry) -> Self {
        Self {
            at: Timestamp(entry.at),
            what: entry.what,
        }
    }
}

impl From<Detail> for DetailJson {
    fn from(detail: Detail) -> Self {
        Self {
            summary: detail.summary.into(),
            legs: detail.legs,
            history: detail.history.into_iter().map(EntryJson::from).collect(),
        }
    }
}

/// One conversation at its end, as it is written down.
#[derive(Debug, Serialize)]
struct RecordJson<'a> {
    node: &'a str,
    #[serde(flatten)]
    detail: DetailJson,
}

/// Returns a conversation that has ended as a line of JSON, without the end of the line: what the API says
/// of it, and the node.
pub fn record(node: &str, detail: Detail) -> String {
    let detail = detail.into();
    // Nothing in it can fail to be written: no map has keys that are no text.
    serde_json::to_string(&RecordJson { node, detail }).unwrap_or_default()
}

#[derive(Debug, Serialize)]
pub(super) struct Bindings {
    pub(super) bindings: Vec<BindingJson>,
}

#[derive(Debug, Serialize)]
pub(super) struct Upstreams {
    pub(super) upstreams: Vec<UpstreamJson>,
}

/// One target of an upstream.
#[derive(Debug, Serialize)]
pub(super) struct UpstreamJson {
    upstream: String,
    target: String,
    state: &'static str,
    /// Nothing where it has been so from the start.
    since: Option<Timestamp>,
    /// Until when it is left alone, where it is.
    paused: Option<Timestamp>,
    /// Why its last TLS handshake came to nothing.
    error: Option<TroubleJson>,
}

#[derive(Debug, Serialize)]
pub(super) struct TroubleJson {
    at: Timestamp,
    peer: String,
    what: String,
}

impl From<Trouble> for TroubleJson {
    fn from(trouble: Trouble) -> Self {
        Self {
            at: Timestamp(trouble.at),
            peer: trouble.peer.to_string(),
            what: trouble.what.into(),
        }
    }
}

impl From<UpstreamView> for UpstreamJson {
    fn from(view: UpstreamView) -> Self {
        Self {
            upstream: view.upstream.into(),
            target: view.target.into(),
            state: view.state.as_str(),
            since: (view.since > Time(0)).then_some(Timestamp(view.since)),
            paused: view.paused.map(Timestamp),
            error: view.trouble.map(TroubleJson::from),
        }
    }
}

/// One registered contact.
#[derive(Debug, Serialize)]
pub(super) struct BindingJson {
    aor: String,
    contact: String,
    name: String,
    /// `+sip.instance`, where the endpoint has one.
    instance: Option<String>,
    reg_id: Option<u32>,
    /// As SIP writes it: 1 is the highest.
    q: f64,
    flow: Option<String>,
    path: Vec<String>,
    user_agent: String,
    registered: Timestamp,
    expires: Timestamp,
}

impl From<(Aor, Binding)> for BindingJson {
    fn from((aor, binding): (Aor, Binding)) -> Self {
        let endpoint = binding.endpoint;
        let instance = match &*endpoint.identity {
            Identity::Instance(urn) => Some(urn.to_string()),
            Identity::Epid(_) | Identity::Contact { .. } => None,
        };
        Self {
            aor: aor.as_str().to_owned(),
            contact: endpoint.contact.into(),
            name: endpoint.name.into(),
            instance,
            reg_id: binding.reg_id,
            q: f64::from(binding.q) / 1000.0,
            flow: endpoint.flow.map(|flow| flow.to_string()),
            path: endpoint.path.into_iter().map(String::from).collect(),
            user_agent: binding.user_agent.into(),
            registered: Timestamp(binding.registered),
            expires: Timestamp(binding.expires),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Bans {
    pub(super) bans: Vec<BanJson>,
}

/// One source that is shut out.
#[derive(Debug, Serialize)]
pub(super) struct BanJson {
    source: String,
    /// Of the source this flow alone.
    flow: Option<String>,
    why: &'static str,
    since: Timestamp,
    until: Timestamp,
}

impl From<Ban> for BanJson {
    fn from(ban: Ban) -> Self {
        Self {
            source: ban.whom.source.to_string(),
            flow: ban.whom.flow.map(|flow| flow.to_string()),
            why: ban.why.as_str(),
            since: Timestamp(ban.since),
            until: Timestamp(ban.until),
        }
    }
}
