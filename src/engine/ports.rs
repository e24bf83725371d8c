//! What the engine asks of the world, and what the world tells it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::board::{Light, LightKey, Watch};
use crate::engine::endpoint::{Binding, BindingsChanged};
use crate::engine::events::Event;
use crate::engine::handover::{Forward, Handover, Moved};
use crate::engine::health::Observation;
use crate::engine::ids::{Aor, ConnectionId, ConversationId, Flow, ListenerId, Side, Transport};
pub use crate::engine::ids::{GruuKey, NonceId, Token};
use crate::engine::inquiry::{Found, Inquiry};
use crate::engine::locating::{Hop, Located};
use crate::engine::revision::Revision;
use crate::engine::time::{Millis, Time};
use crate::engine::view::Detail;
use crate::sip::sdp::MasterKey;

/// What the engine is told.
#[derive(Debug)]
pub enum Input {
    /// One SIP message, or what claims to be one, of a datagram or a framed stream.
    Message {
        flow: Flow,
        bytes: Bytes,
    },
    /// Nobody listens there (RFC 3261 18.4). Every shard is told.
    Unreachable {
        transport: Transport,
        peer: SocketAddr,
        witness: Witness,
    },
    /// A connection closed or was reset, or could not be opened. Every shard is told. It concerns
    /// flows to the peer that name no connection, too; without one itself, there is none to this peer.
    Closed {
        flow: Flow,
    },
    /// Nothing comes any more over a UDP flow that its phone was to keep alive, and has kept (RFC 5626 4.4). Every
    /// shard is told.
    Unkept {
        flow: Flow,
    },
    /// Bindings changed on another shard.
    Bindings(BindingsChanged),
    /// Another shard has seen a target of an upstream.
    Observed(Observation),
    /// What was located, the first to be tried first; nothing where nothing was found.
    Resolved {
        token: Token,
        targets: Vec<Located>,
    },
    Media(MediaEvent),
    /// The snapshot asked for with this token is committed, or could not be.
    Stored {
        token: Token,
        ok: bool,
    },
    /// Another shard's, or our own.
    Inquiry(Inquiry),
    /// The answer to an inquiry of ours.
    Found(Found),
    /// A word of another conversation to one of ours.
    Handover(Handover),
    /// A tag of ours belongs to a conversation of another shard, or no longer does.
    Moved(Moved),
    /// Another shard has changed what the board shows of a user whom somebody watches.
    Lit(Aor),
    /// A phone has begun to watch a user at another shard.
    Watches(Box<Watch>),
    Command(Command),
    /// The operator has changed settings. What stands is not touched.
    Revised(Box<Revision>),
    /// How late what is worked on now is. To be told often, and most of all while it is late.
    Lateness(Millis),
}

/// Who says that nobody is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Our own host, which has no way there.
    Host,
    /// ICMP, with the start of what was sent, as far as it quotes that. It may be forged.
    Icmp(Bytes),
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The side's endpoint is to be treated as lost.
    DeclareLost {
        conversation: ConversationId,
        side: Side,
    },
    HangUp {
        conversation: ConversationId,
    },
    /// End every conversation: they would not outlive the process.
    HangUpAll,
    /// Take no new conversations (503), let the standing ones end.
    Drain,
}

/// What the engine wants done. The order is part of the contract: whoever carries outputs out
/// finishes one before the next (a `Persist` before a `Send` is "stored before answered").
#[derive(Debug)]
pub enum Output {
    Send {
        flow: Flow,
        bytes: Bytes,
    },
    /// Locate a hop that is a name (RFC 3263); answered by `Input::Resolved`.
    Resolve {
        token: Token,
        hop: Hop,
    },
    Media(MediaCommand),
    /// The conversation's durable state changed: `Engine::snapshot` has it. With a token, the world
    /// answers `Input::Stored` once it is safe.
    Persist {
        conversation: ConversationId,
        token: Option<Token>,
    },
    /// The conversation is over: its snapshot may go.
    Forget {
        conversation: ConversationId,
    },
    /// A conversation that has ended, for those who keep books (`Settings::records`).
    Record(Box<Detail>),
    /// For the other shards.
    Bindings(BindingsChanged),
    /// For the other shards.
    Observed(Observation),
    /// For the shard that the inquiry names, which may be our own.
    Inquiry(Inquiry),
    /// For the shard of the conversation that asked.
    Found(Found),
    /// For the shard of the conversation that it is said to.
    Handover(Handover),
    /// For the shard that the tag names.
    Moved(Moved),
    /// For the other shards.
    Lit(Aor),
    /// For the other shards.
    Watches(Box<Watch>),
    /// A message for the shard of a conversation, which is another than ours.
    Forward(Forward),
    Event {
        /// The conversation that it is of, where it is of one.
        of: Option<ConversationId>,
        event: Event,
    },
}

impl From<Event> for Output {
    /// Tells what is of no conversation.
    fn from(event: Event) -> Self {
        Self::Event { of: None, event }
    }
}

/// What the engine asks for and needs at once. Nothing here waits.
pub trait World {
    /// Returns host and port that the peer of this flow is told to reach us at (Via, Contact).
    fn advertised(&self, flow: &Flow) -> SocketAddr;
    /// Returns what the peer of this flow speaks, and is told (Via, Contact): another transport than the flow's
    /// where a proxy before us ends TLS.
    fn spoken(&self, flow: &Flow) -> Transport {
        flow.transport
    }
    /// Returns a flow to reach an address by: the listener to send from, an open connection where
    /// there is one. Over TLS the peer has to prove that it is `host`, the name that led to the address
    /// (RFC 5922 7.3). Of several listeners it is `from`, or the one of that transport at its address, where that
    /// will do. None where no listener speaks that transport or family.
    fn flow_to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        host: &str,
        from: Option<ListenerId>,
    ) -> Option<Flow>;
    /// Returns the open connection that a peer came by, or that was opened to it, whoever it is.
    fn open_to(&self, transport: Transport, peer: SocketAddr) -> Option<Flow>;
    /// Returns true for an address of this host, or one that peers are told for it.
    fn is_ours(&self, _ip: IpAddr) -> bool {
        false
    }
    /// Returns true for a port that SIP is taken at, or that peers are told for that.
    fn listens_on(&self, _port: u16) -> bool {
        false
    }
    /// Returns false for a flow whose connection is closed.
    fn is_open(&self, flow: &Flow) -> bool {
        flow.connection.is_none_or(|id| {
            let open = self.open_to(flow.transport, flow.peer);
            open.and_then(|open| open.connection) == Some(id)
        })
    }
    /// Returns the names in the certificate that the client of a connection has proved to hold (RFC 5922 7.1).
    fn vouched(&self, _connection: ConnectionId) -> Option<Arc<[Box<str>]>> {
        None
    }
    /// The client of a connection takes requests over it that are for this port of its own (RFC 5923).
    fn alias(&self, _flow: &Flow, _port: u16) {}
    /// Returns true where who a flow leads to may send requests of its own over it: it can have proved who we
    /// are (RFC 5923).
    fn offers_alias(&self, _flow: &Flow) -> bool {
        false
    }
    /// Returns a time as others are told it: by the clock on the wall, which may have been set since the start.
    fn shown(&self, at: Time) -> Time {
        at
    }
    /// Returns by what temporary GRUUs are made and read: the same on all shards, and as long as bindings last.
    fn gruu_key(&self) -> GruuKey;
    /// Returns the bindings of an AOR, expired ones among them until they are swept.
    fn bindings(&self, aor: &Aor) -> Vec<Binding>;
    /// Returns whose bindings name a flow, expired ones among them until they are swept; not all where there are
    /// many.
    fn bound_over(&self, _flow: &Flow) -> Vec<Aor> {
        Vec::new()
    }
    /// A leg to a peer (`Engine::peer_number`) begins or ends whose call was answered: what comes from there
    /// is expected.
    fn leg(&mut self, _peer: u64, _begins: bool) {}
    /// Returns how many legs to a peer there are whose calls were answered, over all shards.
    fn legs(&self, _peer: u64) -> u32 {
        0
    }
    /// A conversation is one half of a call that goes through an upstream twice
    /// (`conversation::restoring::halves`), found by a number, or is so no longer.
    fn half(&mut self, _number: u64, _half: ConversationId, _begins: bool) {}
    /// Returns the halves that are found by a number, over all shards.
    fn halves(&self, _number: u64) -> Vec<ConversationId> {
        Vec::new()
    }
    /// Remembers a number for all shards, for so long where there is room.
    fn mark(&mut self, _number: u64, _span: Millis, _now: Time) {}
    /// Returns true for a number that is remembered still.
    fn is_marked(&self, _number: u64, _now: Time) -> bool {
        false
    }
    /// A call that this asker makes, or that is for this user, begins to ring, or rings no more. Texts that wait
    /// for an answer have numbers of their own.
    fn rings(&mut self, _asker: u64, _begins: bool) {}
    /// Returns how many of the asker's calls ring, on all shards.
    fn ringing(&self, _asker: u64) -> usize {
        0
    }
    /// A call that this asker has made is answered, or such a call is over.
    fn stands(&mut self, _asker: u64, _begins: bool) {}
    /// Returns how many calls of the asker's are answered and stand, on all shards.
    fn standing(&self, _asker: u64) -> usize {
        0
    }
    /// A call that this asker has made has one stream more that the relay carries, or one less.
    fn streams(&mut self, _asker: u64, _begins: bool) {}
    /// Returns how many streams of the asker's calls the relay carries, on all shards.
    fn streaming(&self, _asker: u64) -> usize {
        0
    }
    /// Returns how many conversations the other shards have: of one that begins or ends at this moment they may
    /// not have told yet.
    fn elsewhere(&self) -> usize {
        0
    }
    /// Shows a call of a user on the board that all shards have (`Board`). Returns true where somebody watches.
    fn show(&mut self, _user: &Aor, _call: LightKey, _light: Option<Light>) -> bool {
        false
    }
    /// Returns the calls of a user that are shown there.
    fn lights(&self, _user: &Aor) -> Vec<(LightKey, Light)> {
        Vec::new()
    }
    /// Somebody begins to watch a user, or watches no more.
    fn watch(&mut self, _watcher: &Aor, _user: &Aor, _begins: bool) {}
    /// Returns how many subscriptions a watcher has, on all shards.
    fn watching(&self, _watcher: &Aor) -> usize {
        0
    }
    /// Uses a count of a nonce up for all shards (`SpentNonces`). Returns false where it was used before, or may have
    /// been.
    fn spend(&self, nonce: NonceId, count: u32, now: Time) -> bool;
    /// Changes the bindings of an AOR as one act.
    fn change_bindings(&mut self, aor: &Aor, act: &mut dyn FnMut(&mut Vec<Binding>));
    /// Returns AORs with bindings that expire at or before `now`.
    fn expired(&mut self, now: Time) -> Vec<Aor>;
}

/// One of the relay's sessions; a conversation has one.
pub type MediaId = ConversationId;

/// Ports are taken for a side and a fork: a re-fork has a new generation, so that what a lost phone
/// still sends never reaches the new stream.
pub type Generation = u32;

/// Streams of one session that a relay carries; what is beyond them is refused.
pub const STREAMS_MAX: usize = 16;

/// What ports are wanted for, the most important first: the last that are free are not for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A call that stands: it is restored, or taken up again after a restart; and one for help.
    Standing,
    /// A call of a user, a trusted peer or an upstream.
    Known,
    /// A call of somebody of whom nothing is known.
    Stranger,
}

impl Claim {
    /// Every claim, for the metrics that must exist from the start.
    pub const ALL: [Self; 3] = [Self::Standing, Self::Known, Self::Stranger];

    /// Returns what a new call of somebody is.
    pub(crate) fn of_caller(is_unknown: bool) -> Self {
        if is_unknown {
            Self::Stranger
        } else {
            Self::Known
        }
    }

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standing => "standing",
            Self::Known => "known",
            Self::Stranger => "stranger",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum MediaCommand {
    /// Take one port pair a stream for a side. Answered by `MediaEvent::Opened`.
    /// Opening a side again with a greater generation keeps the older until `Configure` names the
    /// newer one; with the same one it keeps the ports there are, and adds those of more streams and of
    /// streams whose ports were given back.
    Open {
        media: MediaId,
        side: Side,
        generation: Generation,
        streams: usize,
        claim: Claim,
        /// Address of the SIP peer: says which of our addresses, and which family, to use.
        toward: IpAddr,
        /// Which address of ours the peer is to be told, where the engine knows it: it may be that of a NAT
        /// before us.
        told: Option<IpAddr>,
        /// After a restart: the ports to take again, RTP ports by stream (RTCP is one above). 0: the stream
        /// had none, and gets none; its address comes with port 0.
        again: Vec<u16>,
    },
    /// The offer/answer of a side is complete (or has changed): these are its streams now. The
    /// generation named becomes the side's live one; older ones are closed.
    Configure {
        media: MediaId,
        side: Side,
        generation: Generation,
        /// Address the signalling came from: a source that may be latched to beside those of the SDP.
        signalling: IpAddr,
        streams: Vec<StreamSettings>,
    },
    /// Besides who is heard on a side these may send there, all by the ports of the generation that is live: one that
    /// does while who is heard is silent is told of by `MediaEvent::Overheard`, once. These take the place of those
    /// before, and `Configure` of the side forgets them.
    Overhear {
        media: MediaId,
        side: Side,
        others: Vec<Other>,
    },
    /// The side's endpoint is lost: what still comes from it is dropped, and the other side gets the
    /// filler until the side is configured anew.
    Lost {
        media: MediaId,
        side: Side,
        /// By a transfer (RFC 3515): nothing is amiss, and the filler is silence whatever it is else.
        transferred: bool,
    },
    /// Let a side hear a short tone in place of what it would hear, on the line that it has. Answered by
    /// `MediaEvent::Toned`, once for each.
    Tone { media: MediaId, side: Side },
    /// Give back the ports of streams that were refused; the others stand.
    CloseStreams {
        media: MediaId,
        side: Side,
        generation: Generation,
        /// Their numbers.
        streams: Vec<usize>,
    },
    /// Give back a generation's ports (a fork that failed).
    CloseSide {
        media: MediaId,
        side: Side,
        generation: Generation,
    },
    /// Give everything back.
    Close { media: MediaId },
}

/// Somebody who may send where another one is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// By what it is known to the engine.
    pub number: u32,
    /// As `MediaCommand::Configure` has it.
    pub signalling: IpAddr,
    /// By stream: the address of its SDP.
    pub rtp: Vec<Option<SocketAddr>>,
}

/// One `m=` line of a side, as far as the relay needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSettings {
    /// False: rejected (port 0) or no RTP stream; nothing is relayed.
    pub active: bool,
    /// Where the side wants its RTP, of its SDP.
    pub rtp: Option<SocketAddr>,
    /// Where it wants RTCP: of `a=rtcp`, else the RTP port plus one; the RTP address with rtcp-mux.
    pub rtcp: Option<SocketAddr>,
    pub rtcp_mux: bool,
    /// What its silence says.
    pub voice: Voice,
    /// The side wants to receive.
    pub receives: bool,
    /// Audio: silence filler is possible; video: a key frame is asked for after a re-fork.
    pub video: bool,
    pub inside: Inside,
    /// SRTP that ends here: every packet to and from the side is under these keys.
    pub srtp: Option<Box<SrtpKeys>>,
    /// Formats in order of the side's preference. One of which only the number is said has no name.
    pub formats: Vec<PayloadFormat>,
    /// What it knows besides, of offers of its own: who agrees to one may send it before we hear of that.
    pub besides: Vec<PayloadFormat>,
    /// What it was told to send, where the numbers are others than its own (RFC 3264 5.1, 6.1).
    pub told: Vec<PayloadFormat>,
    /// Milliseconds in a packet, 20 where nothing is said.
    pub ptime: u16,
}

/// Whether a side is to be heard on a stream. What is due and does not come is a suspicion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Voice {
    /// It does not send, or the other side does not want to hear it.
    #[default]
    None,
    /// It holds the other side, and may send music or nothing: due once it has come.
    Perhaps,
    /// It sends, and the other side hears it.
    Due,
}

/// What the datagrams of a stream are to the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inside {
    /// RTP, read and rewritten.
    #[default]
    Rtp,
    /// SRTP, DTLS: carried as it is, no rewriting of what is inside (keys are end to end).
    Sealed,
    /// Fax (`udptl`): carried as it is, and nothing in it is RTP, whatever it looks like.
    Fax,
}

/// The keys of one stream on one side (RFC 4568).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// What we send under.
    pub ours: MasterKey,
    /// What the side sends under.
    pub theirs: MasterKey,
}

/// One RTP payload format (`a=rtpmap`, or RFC 3551's static table).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFormat {
    pub number: u8,
    /// Encoding name in upper case: `PCMU`, `OPUS`, `TELEPHONE-EVENT`.
    pub name: Box<str>,
    pub clock: u32,
}

impl PayloadFormat {
    /// The last number that means one format by itself (RFC 3551 6): whoever gets it mistakes it for no other.
    pub const FIXED_MAX: u8 = 34;
}

#[derive(Clone, Debug, PartialEq)]
pub enum MediaEvent {
    Opened {
        media: MediaId,
        side: Side,
        generation: Generation,
        /// By stream: our RTP address. RTCP is one port above. None where no ports were free.
        result: Option<Vec<SocketAddr>>,
    },
    /// Nothing came from the side for the configured time although it should send.
    Silent { media: MediaId, side: Side },
    /// It comes again.
    Flowing { media: MediaId, side: Side },
    /// Its RTCP comes, and its media is still missing: another `Silent` follows where that ends too.
    Reported { media: MediaId, side: Side },
    /// One of the others of `MediaCommand::Overhear` sends, and who is heard does not.
    Overheard {
        media: MediaId,
        side: Side,
        number: u32,
    },
    /// ICMP port unreachable to what we sent to the side.
    Unreachable { media: MediaId, side: Side },
    /// What became of a `MediaCommand::Tone`.
    Toned {
        media: MediaId,
        side: Side,
        /// All of it was sent. Else there is no format that we can make it in, nobody to hear it, or the side was
        /// lost meanwhile.
        whole: bool,
    },
}

impl MediaEvent {
    /// Returns the session it is about.
    pub fn media(&self) -> MediaId {
        match self {
            Self::Opened { media, .. }
            | Self::Silent { media, .. }
            | Self::Flowing { media, .. }
            | Self::Reported { media, .. }
            | Self::Overheard { media, .. }
            | Self::Unreachable { media, .. }
            | Self::Toned { media, .. } => *media,
        }
    }
}
