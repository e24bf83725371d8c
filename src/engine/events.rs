//! What the engine has to tell operators: the source of every log line, metric and history entry.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::engine::ids::{ConversationId, Flow, Side};
pub use crate::engine::reasons::{
    Barred, Crowd, Forgotten, Glut, TargetFailure, Told, Unanswered, Unproven,
};
use crate::engine::settings::Kind;
use crate::engine::time::{Millis, Time};

/// Something worth a metric, and perhaps a log line.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An entry of a conversation's history; logged with its id and Call-ID.
    Conversation {
        id: ConversationId,
        call_id: Box<str>,
        kind: Kind,
        what: Happening,
    },
    Registered {
        aor: Box<str>,
        contact: Box<str>,
        expires: Millis,
    },
    Unregistered {
        aor: Box<str>,
        contact: Box<str>,
        expired: bool,
    },
    /// An upstream has taken a REGISTER, and what it shows is not what the phone called itself: what is not known
    /// by its name is not kept.
    NotKept {
        aor: Box<str>,
        contact: Box<str>,
    },
    /// A request was refused by us, not by an endpoint.
    Refused {
        method: Box<str>,
        status: u16,
        why: &'static str,
        peer: Box<str>,
    },
    /// A request that must prove who sent it did not: what a phone begins with, and what a guesser of
    /// passwords leaves behind.
    Unproven {
        method: Box<str>,
        /// In whose name it is.
        aor: Box<str>,
        why: Unproven,
        peer: SocketAddr,
    },
    /// Bytes that are no SIP message, or a message that says nonsense.
    Malformed {
        reason: &'static str,
        peer: Box<str>,
    },
    /// Something that speaks of an attack; who does so again and again is shut out.
    Offence {
        what: Offence,
        flow: Flow,
        /// It came from there: over a connection, or in answer to what was sent there. The source of any
        /// other datagram may be made up.
        proven: bool,
    },
    /// A call was refused since too many ring that nobody has answered.
    Crowded {
        crowd: Crowd,
        from: Box<str>,
        peer: Box<str>,
        /// The operator is to hear of it; of a flood it is told now and then.
        tell: bool,
    },
    /// A request outside of a dialog was refused since too many, or too much, is under way.
    Glut {
        glut: Glut,
        method: Box<str>,
        from: Box<str>,
        peer: Box<str>,
        /// As above.
        tell: bool,
    },
    /// A dialog that has ended, and whose BYE nobody has answered, is forgotten: there are too many.
    Forgotten {
        when: Forgotten,
        /// As above.
        tell: bool,
    },
    /// Somebody called a service by its URN (RFC 5031) that no route leads to; of a flood it is told now and then.
    NoService {
        uri: Box<str>,
        peer: Box<str>,
    },
    /// A request was refused since it is for a domain that is not served here.
    WrongDomain {
        method: Box<str>,
        domain: Box<str>,
        /// Those that are, where the operator is to hear of it.
        served: Box<str>,
        peer: Box<str>,
        /// As above.
        tell: bool,
    },
    /// The shard is late for a while (`on`), or in time again.
    Overload {
        on: bool,
        lateness: Millis,
    },
    /// What became of a NOTIFY to a user who watches another one's calls.
    Notified {
        watcher: Box<str>,
        watched: Box<str>,
        told: Told,
    },
    /// A response or ACK that belongs to nothing.
    Stray {
        what: &'static str,
    },
    /// A leg has agreed on SRTP keys (RFC 4568).
    Keyed {
        /// Its signalling is not encrypted: whoever reads it has the keys.
        clear: bool,
    },
    /// A leg whose sound is encrypted, or must be, has a fax, which has no keys.
    BareFax,
    /// A leg has named an address to which no media is sent at its word; told once a leg.
    Barred {
        why: Barred,
        at: SocketAddr,
        peer: SocketAddr,
    },
    Retransmitted {
        kind: Retransmission,
    },
    /// A target of an upstream is up, or is not; told by one shard, of each target at the start.
    UpstreamChanged {
        upstream: Box<str>,
        target: Box<str>,
        /// None at the start.
        before: Option<&'static str>,
        state: &'static str,
        /// It may be asked.
        used: bool,
    },
    /// A target of an upstream is left alone at one of its addresses from now on, since it asked for it; told
    /// by one shard, once a pause.
    UpstreamPaused {
        upstream: Box<str>,
        target: Box<str>,
        address: Box<str>,
        span: Millis,
    },
    /// That is over; told by the same shard.
    UpstreamPauseOver {
        upstream: Box<str>,
        target: Box<str>,
        address: Box<str>,
    },
    /// DNS has no target for a name.
    NotLocated {
        host: Box<str>,
        /// DNS was not to be reached, and what it last said is used.
        kept: bool,
    },
    /// A target that was located failed (RFC 3263 4.3).
    TargetFailed {
        /// What it was sought for: the name of the endpoint or upstream.
        name: Box<str>,
        target: Box<str>,
        failure: TargetFailure,
        /// Another one is tried in its place.
        next: bool,
    },
    /// An upstream asked us for proof, and is shown some.
    Proved,
    /// It asked for proof, and the request has failed by that.
    Unanswered {
        upstream: Box<str>,
        method: Box<str>,
        /// What it calls itself; empty where that could not be read.
        realm: Box<str>,
        why: Unanswered,
    },
    /// A transaction ended without its answer.
    TransactionTimeout {
        method: Box<str>,
    },
}

/// What a request did that no phone does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// A wrong password, or another's.
    Credentials,
    /// It is no SIP.
    Malformed,
    /// It names a program that looks for what can be broken into.
    Scanner,
    /// It asks for somebody who does not exist.
    UnknownUser,
}

impl Offence {
    /// Every offence, for the metrics that must exist from the start.
    pub const ALL: [Self; 4] = [
        Self::Credentials,
        Self::Malformed,
        Self::Scanner,
        Self::UnknownUser,
    ];

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Malformed => "malformed",
            Self::Scanner => "scanner",
            Self::UnknownUser => "unknown_user",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// A peer sent a request or response again.
    Received,
    /// We did.
    Sent,
}

/// Why an endpoint is thought lost, or suspected (design: signals of loss).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// An in-dialog request was answered by a code that ends the dialog (RFC 5057).
    RequestFailed,
    /// An in-dialog request was not answered.
    NoAnswer,
    /// A probe was not answered.
    ProbeTimeout,
    /// A probe said that the dialog is unknown.
    ProbeRefused,
    /// The flow closed, or ICMP says that nobody is there.
    Transport,
    /// ICMP on the media socket.
    MediaUnreachable,
    /// The binding expired or was removed, or its flow is kept alive no longer (RFC 5626).
    Registration,
    /// No media although there should be.
    Silence,
    /// BYE with a Reason that says the network failed.
    FailureBye,
    /// BYE by which a phone has made room for another dialog of its own (RFC 3891 3), which was ended here.
    Superseded,
    /// The same instance registered over another flow and does not answer in the old dialog.
    Moved,
    /// The 2xx to an INVITE was never acknowledged.
    NoAck,
    /// The session timer ran out (RFC 4028).
    SessionExpired,
    /// The admin API.
    Operator,
}

impl Signal {
    /// Every signal, for the metrics that must exist from the start.
    pub const ALL: [Self; 14] = [
        Self::RequestFailed,
        Self::NoAnswer,
        Self::ProbeTimeout,
        Self::ProbeRefused,
        Self::Transport,
        Self::MediaUnreachable,
        Self::Registration,
        Self::Silence,
        Self::FailureBye,
        Self::Superseded,
        Self::Moved,
        Self::NoAck,
        Self::SessionExpired,
        Self::Operator,
    ];

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestFailed => "request_failed",
            Self::NoAnswer => "no_answer",
            Self::ProbeTimeout => "probe_timeout",
            Self::ProbeRefused => "probe_refused",
            Self::Transport => "transport",
            Self::MediaUnreachable => "media_unreachable",
            Self::Registration => "registration",
            Self::Silence => "silence",
            Self::FailureBye => "failure_bye",
            Self::Superseded => "superseded",
            Self::Moved => "moved",
            Self::NoAck => "no_ack",
            Self::SessionExpired => "session_expired",
            Self::Operator => "operator",
        }
    }
}

/// What became of the notice to a survivor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeOutcome {
    Delivered,
    /// Sent out of dialog, since the phone's Allow lacks MESSAGE.
    DeliveredOutOfDialog,
    /// No MESSAGE was taken, and the phone was sent a tone in its media.
    Tone,
    Refused,
    Unanswered,
    /// No MESSAGE was taken, and a tone could not be made, or not be sent whole.
    NotTold,
    /// Not sent: the operator spares the phone (`notice.exempt`).
    Exempt,
}

impl NoticeOutcome {
    /// Every outcome, for the metrics that must exist from the start.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::DeliveredOutOfDialog,
        Self::Tone,
        Self::Refused,
        Self::Unanswered,
        Self::NotTold,
        Self::Exempt,
    ];

    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeliveredOutOfDialog => "delivered_out_of_dialog",
            Self::Tone => "tone",
            Self::NotTold => "not_told",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::Exempt => "exempt",
        }
    }
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// A BYE of this side.
    HungUp(Side),
    /// The caller cancelled before an answer.
    Cancelled,
    /// Nobody took the call: the final status that the caller got.
    Failed(u16),
    /// The upstream wants proof of the caller, and has asked for it with this status: it calls again.
    Challenged(u16),
    /// The lost side could not be reached again in time.
    RestoreTimeout(Side),
    /// The lost side was found, and declined to go on, for all of its endpoints.
    Declined(Side),
    Operator,
    /// Nobody took a transferred call, with this status, and the transferor had hung up.
    Transfer(u16),
    /// One end went to another call of its other end, which had transferred it.
    Joined,
    /// Our own limits or failure (no ports, too many restorations).
    Gave(/** why */ GaveUp),
}

/// Why we ended a conversation ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaveUp {
    NoMediaPorts,
    TooManyRestorations,
    /// The caller has not acknowledged its answer, and nothing shows that there is one (RFC 3261 13.3.1.4).
    NeverAcknowledged,
}

/// Whose word or silence it is that an endpoint does not take a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    /// Its own, or its user's, who lets it ring.
    #[default]
    Endpoint,
    /// The other side's, which does not agree to the session that it has taken, or does not answer.
    Survivor,
    /// Nobody's: the endpoint has not said a word, or ICMP has in its place.
    Network,
    /// Ours: there is no session with it that could be had.
    Refork,
}

impl Refuser {
    /// Returns whose it is that an endpoint has given no final answer.
    pub(crate) fn of_silence(rang: bool) -> Self {
        if rang { Self::Endpoint } else { Self::Network }
    }

    /// Returns the word used in logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Survivor => "survivor",
            Self::Network => "network",
            Self::Refork => "refork",
        }
    }
}

/// Who was called, in histories that do not say which side an endpoint is of.
fn called() -> Side {
    Side::Callee
}

/// One entry of a conversation's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happening {
    Invited {
        from: Box<str>,
        to: Box<str>,
    },
    Ringing {
        /// Of whom it is an endpoint.
        #[serde(default = "called")]
        side: Side,
        endpoint: Box<str>,
        /// Which INVITE of a restoration it is about, by the number of its `Reinvited`; none before the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    Refused {
        #[serde(default = "called")]
        side: Side,
        endpoint: Box<str>,
        status: u16,
        /// Whose refusal it is.
        #[serde(default)]
        by: Refuser,
        /// As of `Ringing`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// An upstream wants proof of who calls, who is asked for it.
    Challenged {
        endpoint: Box<str>,
        status: u16,
    },
    /// An endpoint forwards the call: `to` has the next turn.
    Redirected {
        #[serde(default = "called")]
        side: Side,
        endpoint: Box<str>,
        to: Box<str>,
    },
    Answered {
        #[serde(default = "called")]
        side: Side,
        endpoint: Box<str>,
    },
    Suspected {
        side: Side,
        signal: Signal,
        #[serde(default)]
        endpoint: Box<str>,
    },
    /// A suspicion came to nothing.
    Alive {
        side: Side,
        #[serde(default)]
        endpoint: Box<str>,
    },
    Lost {
        side: Side,
        signal: Signal,
        endpoint: Box<str>,
    },
    /// An INVITE of a restoration went out.
    Reinvited {
        side: Side,
        endpoint: Box<str>,
        /// Counted from 1 over all endpoints of the restoration.
        attempt: u32,
    },
    /// A re-fork leaves an endpoint alone that is in another conversation (`restore.spare_busy`).
    Spared {
        side: Side,
        endpoint: Box<str>,
    },
    Restored {
        side: Side,
        endpoint: Box<str>,
        same: bool,
        after: Millis,
        /// As of `Ringing`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<u32>,
    },
    /// A REFER of this side is carried out: `to` is invited in its place.
    Transferring {
        side: Side,
        /// Of who transfers.
        #[serde(default)]
        endpoint: Box<str>,
        to: Box<str>,
    },
    /// The target has taken the side's place.
    Transferred {
        side: Side,
        endpoint: Box<str>,
    },
    /// Nobody took the call.
    TransferFailed {
        side: Side,
        status: u16,
    },
    /// The phone repaired its leg by itself.
    Repaired {
        side: Side,
        endpoint: Box<str>,
    },
    /// A phone of the participant has taken the place of one that was not lost: its user pulled the call over, or it
    /// has begun anew before anybody missed it.
    TakenOver {
        side: Side,
        endpoint: Box<str>,
        same: bool,
    },
    Notice {
        side: Side,
        /// Which was to be told.
        #[serde(default)]
        endpoint: Box<str>,
        outcome: NoticeOutcome,
    },
    /// A survivor was told that the other side could not be reached again.
    LastWord {
        side: Side,
        endpoint: Box<str>,
        outcome: NoticeOutcome,
    },
    Queued {
        from: Side,
    },
    Delivered {
        from: Side,
        /// Which has taken it.
        #[serde(default)]
        endpoint: Box<str>,
    },
    /// A message whose first delivery was never answered went to the next endpoint again.
    Redelivered {
        from: Side,
        #[serde(default)]
        endpoint: Box<str>,
    },
    /// The endpoint refused the message itself, or it was given up before one could.
    Rejected {
        from: Side,
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<Box<str>>,
    },
    /// No room for the message: the sender was told.
    Overflow {
        from: Side,
    },
    Rebuilt,
    Ended {
        how: Ending,
        undelivered: u32,
    },
}

impl Happening {
    /// Returns true for what comes again and again where nothing comes of it: the beginning of a doubt, the end of one
    /// that came to nothing, and one more try of a message.
    pub(crate) fn gives_way(&self) -> bool {
        matches!(
            self,
            Self::Suspected { .. } | Self::Alive { .. } | Self::Redelivered { .. }
        )
    }
}

/// A happening and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Time,
    #[serde(flatten)]
    pub what: Happening,
}
