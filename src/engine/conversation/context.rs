//! What a conversation works with besides itself: transactions, the mint, and the way out.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::{Display, Write};

use bytes::Bytes;

use super::carrying::within::Within;
use super::doubting::outcome::for_the_other_leg;
use super::ending::farewells::Farewells;
use super::ending::graves::Graves;
use super::ending::parting::Partings;
use super::ending::stray::Strays;
use super::forking::breadth::mark;
use super::people::account::Proving;
use super::restoring::budget::Budget;
use super::transferring::semi_attended::TakenBack;
use super::transferring::tags::Moves;
use super::under_way::UnderWay;
use crate::engine::dialog::Dialog;
use crate::engine::dialog::session_id::SessionId;
use crate::engine::events::Event;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, Side, VirtualShard};
use crate::engine::locating::{Hop, Shunned};
use crate::engine::mint::{Mint, ShardKey};
use crate::engine::ports::{Output, Token, World};
use crate::engine::refusal::Refusal;
use crate::engine::settings::Settings;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, Of, ServerId, Transactions};
use crate::engine::upstreams::{Peers, Upstreams};
use crate::sip::{Builder, Message, Name, reason_phrase};

/// Methods that we take (RFC 3261 20.5).
pub(crate) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, INFO, UPDATE, PRACK, NOTIFY, REFER";
/// Bodies of an INVITE that we take (RFC 3261 20.1).
pub(crate) const ACCEPT: &str = "application/sdp, multipart/mixed";
/// Seconds after which who was refused for a moment may ask again.
pub(crate) const RETRY_AFTER_S: u32 = 2;

/// What a request of ours was sent for: comes back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) conversation: ConversationId,
    pub(crate) leg: LegId,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The INVITE of a branch.
    Invite,
    /// A request of the other side, carried across.
    Carry,
    /// A MESSAGE of the queue to a side, by its number and that of the try.
    Letter(Side, u32, u32),
    /// OPTIONS that asks whether the device lives.
    Probe,
    /// UPDATE or re-INVITE that asks whether the dialog lives.
    Doubt,
    /// The re-INVITE to an end of a call that is to be given to another conversation.
    Give,
    /// The re-INVITE to a survivor whose session the new answer does not fit.
    Join,
    /// The offer to a new endpoint of what the survivor wished while it was rung.
    Wish,
    /// UPDATE or re-INVITE by which the session goes on (RFC 4028).
    Refresh,
    /// The NOTIFY that says what becomes of a REFER.
    Report,
    /// PRACK, UPDATE or BYE in an early dialog.
    Early,
    /// Nothing hangs on the answer: BYE.
    Farewell,
    /// A request outside of any dialog, by its number (`Passages`).
    Passage(u64),
    /// A request that a proxy would carry, by its number (`Relays`).
    Relay(u64),
    /// OPTIONS to a target of an upstream, by its number (`Probes`).
    Upstream(usize),
    /// The NOTIFY to who watches a user, by the number of the subscription (`Lamps`).
    Lamp(u64),
}

impl What {
    /// Returns true for what the other side asks for, which is told of the answer.
    pub(crate) fn is_theirs(self) -> bool {
        match self {
            Self::Carry | Self::Letter(..) => true,
            Self::Invite
            | Self::Probe
            | Self::Doubt
            | Self::Give
            | Self::Join
            | Self::Wish
            | Self::Refresh
            | Self::Report
            | Self::Early
            | Self::Farewell
            | Self::Passage(_)
            | Self::Relay(_)
            | Self::Upstream(_)
            | Self::Lamp(_) => false,
        }
    }

    /// Returns true for what offers a phone the session that it has: by a 2xx it agrees to nothing new.
    pub(crate) fn offers_what_stands(self) -> bool {
        matches!(self, Self::Doubt | Self::Refresh)
    }
}

impl Of for Errand {
    fn conversation(&self) -> Option<ConversationId> {
        match self.what {
            What::Invite
            | What::Carry
            | What::Letter(..)
            | What::Probe
            | What::Doubt
            | What::Give
            | What::Join
            | What::Wish
            | What::Refresh
            | What::Report
            | What::Early
            | What::Farewell => Some(self.conversation),
            // Numbers of their own.
            What::Passage(_) | What::Relay(_) | What::Upstream(_) | What::Lamp(_) => None,
        }
    }
}

impl Of for Bound {
    fn conversation(&self) -> Option<ConversationId> {
        Some(self.0)
    }
}

/// Which leg an INVITE to us belongs to.
pub(crate) type Bound = (ConversationId, LegId);

/// What all conversations of a shard share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) mint: Mint,
    pub(crate) transactions: Transactions<Errand, Bound>,
    pub(crate) out: VecDeque<Output>,
    /// Our tags, by their number.
    pub(crate) tags: HashMap<u64, Bound>,
    pub(crate) moves: Moves,
    /// Whose question an answer of the world belongs to.
    pub(crate) asked: HashMap<Token, ConversationId>,
    pub(crate) budget: Budget,
    pub(crate) strays: Strays,
    /// Dialogs that wait for an ACK before their BYE.
    pub(crate) partings: Partings,
    /// Lost dialogs whose conversations are over.
    pub(crate) graves: Graves,
    /// BYEs of conversations that have just ended.
    pub(crate) farewells: Farewells,
    pub(crate) taken_back: TakenBack,
    pub(crate) shunned: Shunned,
    pub(crate) within: Within,
    pub(crate) proving: Proving,
    pub(crate) upstreams: Upstreams,
    /// Where upstreams are.
    pub(crate) peers: Peers,
    /// The same of those that are not trusted.
    pub(crate) doubted: Peers,
    /// Targets of upstreams that answer again, and are to be told what they have missed.
    pub(crate) back: BTreeSet<Hop>,
    pub(crate) shard_key: ShardKey,
    /// One of this engine's: what answers a tag that names it comes here.
    pub(crate) home: VirtualShard,
    /// This shard probes upstreams, and tells the operator of them.
    pub(crate) leads: bool,
    /// Messages waiting in all queues, and their octets.
    pub(crate) queued: (usize, usize),
    /// Requests outside of dialogs that wait for their answers.
    pub(crate) under_way: UnderWay,
}

/// One turn's view of the world.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) world: &'a mut dyn World,
    pub(crate) shared: &'a mut Shared,
    /// The conversation that acts, where one does: what is told meanwhile is of it.
    pub(crate) of: Option<ConversationId>,
}

impl Shared {
    pub(crate) fn context<'a>(&'a mut self, now: Time, world: &'a mut dyn World) -> Context<'a> {
        Context {
            now,
            world,
            shared: self,
            of: None,
        }
    }
}

impl Context<'_> {
    pub(crate) fn emit(&mut self, event: Event) {
        let of = self.of;
        self.shared.out.push_back(Output::Event { of, event });
    }

    /// Asks the world something for a conversation.
    pub(crate) fn ask(&mut self, conversation: ConversationId) -> Token {
        let token = self.shared.mint.token();
        self.shared.asked.insert(token, conversation);
        token
    }

    /// Writes the Via of a request over a flow (RFC 3261 18.1.1, RFC 3581).
    pub(crate) fn via(&mut self, id: ConversationId, flow: &Flow) -> String {
        let ours = self.world.advertised(flow);
        let branch = self.shared.mint.branch(id.shard());
        format!(
            "SIP/2.0/{} {ours};branch={branch};rport{}",
            self.world.spoken(flow).via(),
            self.alias(flow)
        )
    }

    /// The same for a request that begins something: by its branch it is known where it comes back.
    pub(crate) fn via_toward(&mut self, id: ConversationId, flow: &Flow, aor: &Aor) -> String {
        let ours = self.world.advertised(flow);
        let branch = self.shared.mint.branch(id.shard());
        let mark = mark(&self.shared.settings.node, aor);
        format!(
            "SIP/2.0/{} {ours};branch={branch}.{mark};rport{}",
            self.world.spoken(flow).via(),
            self.alias(flow)
        )
    }

    /// Returns what a Via says of requests the other way (RFC 5923 8.1).
    fn alias(&self, flow: &Flow) -> &'static str {
        if self.world.offers_alias(flow) {
            ";alias"
        } else {
            ""
        }
    }

    /// Writes our Contact toward the peer of a dialog; a `sips:` one where the peer's is (RFC 3261 8.1.1.8,
    /// 12.1.1).
    pub(crate) fn contact(&self, dialog: &Dialog) -> String {
        self.contact_over(&dialog.flow, dialog.security().is_told())
    }

    pub(crate) fn contact_over(&self, flow: &Flow, sips: bool) -> String {
        let ours = self.world.advertised(flow);
        if sips {
            // RFC 3261 26.2.2: the scheme says TLS already; a WebSocket has to be named.
            let web = flow.transport.is_web_socket();
            let transport = if web { ";transport=ws" } else { "" };
            format!("<sips:refork@{ours}{transport}>")
        } else if flow.transport.is_reliable() {
            let spoken = self.world.spoken(flow);
            format!("<sip:refork@{ours};transport={}>", spoken.uri_param())
        } else {
            format!("<sip:refork@{ours}>")
        }
    }

    /// Returns the extensions that we take (RFC 3261 20.37).
    pub(crate) fn supported(&self) -> &'static str {
        supported(&self.shared.settings, true)
    }

    pub(crate) fn send(&mut self, bytes: Bytes, flow: Flow, errand: Errand) -> ClientId {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.request(bytes, flow, errand, self.now, out)
    }

    /// Waits for the answers to an INVITE of before a restart.
    pub(crate) fn resume(&mut self, invite: Bytes, flow: Flow, errand: Errand) -> ClientId {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.resume_invite(invite, flow, errand, self.now, out)
    }

    /// Sends without a transaction: an ACK to a 2xx (RFC 3261 13.2.2.4).
    pub(crate) fn send_alone(&mut self, bytes: Bytes, flow: Flow) {
        self.shared.out.push_back(Output::Send { flow, bytes });
    }

    pub(crate) fn cancel(&mut self, client: ClientId, reason: Option<&str>) {
        let Shared {
            transactions,
            within,
            out,
            ..
        } = &mut *self.shared;
        for client in within.withdraw(client).into_iter().chain([client]) {
            transactions.cancel(client, reason, self.now, out);
        }
    }

    /// The phone of an INVITE that is given up may ring yet, and may be wanted then.
    pub(crate) fn may_wake(&mut self, client: ClientId) {
        self.shared.transactions.may_wake(client);
    }

    /// Nobody wants it any more.
    pub(crate) fn wakes_no_more(&mut self, client: ClientId) {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.wakes_no_more(client, self.now, out);
    }

    /// Whom an INVITE is for has come back.
    pub(crate) fn hurry(&mut self, client: ClientId) {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.hurry(client, self.now, out);
    }

    /// Answers a request; `finish` adds what the answer needs and ends it.
    pub(crate) fn respond(
        &mut self,
        server: ServerId,
        status: u16,
        reason: &str,
        to_tag: Option<&str>,
        finish: impl FnOnce(Builder) -> Bytes,
    ) {
        if let Some(bytes) = self.compose(server, status, reason, to_tag, finish) {
            self.reply(server, status, bytes);
        }
    }

    /// Writes an answer without sending it. None where the request has its final one.
    pub(crate) fn compose(
        &self,
        server: ServerId,
        status: u16,
        reason: &str,
        to_tag: Option<&str>,
        finish: impl FnOnce(Builder) -> Bytes,
    ) -> Option<Bytes> {
        let (request, flow) = self.shared.transactions.request_of(server)?;
        let mut builder = Builder::respond(request, status, reason, to_tag, flow.peer);
        if request.to_tag().is_none() && (101..300).contains(&status) {
            // RFC 3261 12.1.1: what begins a dialog shows the way that it came.
            builder = builder.copy(request, Name::RecordRoute);
        }
        if let Some(session) = answering(request) {
            builder = builder.header(Name::SessionId, session);
        }
        Some(finish(builder))
    }

    /// Sends an answer as it is written, the first time or again.
    pub(crate) fn reply(&mut self, server: ServerId, status: u16, bytes: Bytes) {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.respond(server, status, bytes, self.now, out);
    }

    /// Lets what a request is answered with go over another flow of who asked.
    pub(crate) fn redirect(&mut self, server: ServerId, flow: Flow) {
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.redirect(server, flow, self.now, out);
    }

    /// Hands the final answer to a request within a dialog to the other side, as far as it is for that.
    pub(crate) fn hand_on(
        &mut self,
        server: ServerId,
        response: &Message,
        challenge_crosses: bool,
        finish: impl FnOnce(Builder) -> Bytes,
    ) {
        let method = response.method();
        let status = for_the_other_leg(method, response.status(), challenge_crosses);
        if status == response.status() {
            return self.respond(server, status, response.reason_phrase(), None, finish);
        }
        let later = status == 500 && response.header(Name::RetryAfter).is_none();
        self.respond(server, status, reason_phrase(status), None, |builder| {
            finish(if later {
                builder.header(Name::RetryAfter, RETRY_AFTER_S)
            } else {
                builder
            })
        });
    }

    /// Answers a request with a status and nothing else.
    pub(crate) fn answer(&mut self, server: ServerId, status: u16, to_tag: Option<&str>) {
        self.answer_because(server, status, to_tag, "");
    }

    /// The same with a Reason (RFC 3326), where there is one.
    pub(crate) fn answer_because(
        &mut self,
        server: ServerId,
        status: u16,
        to_tag: Option<&str>,
        why: &str,
    ) {
        let min_se = self.shared.settings.detect.session_timer;
        let min_se = min_se.map_or(0, |timer| timer.min_s);
        let allowed = if status == 405 {
            self.allowed_beside(server)
        } else {
            String::new()
        };
        self.respond(server, status, reason_phrase(status), to_tag, |builder| {
            let builder = match why {
                "" => builder,
                why => builder.header(Name::Reason, why),
            };
            match status {
                // RFC 4028 6.
                422 => builder.header(Name::MinSe, min_se),
                // RFC 3261 21.4.6.
                405 => builder.header(Name::Allow, allowed),
                _ => what_would_be_right(builder, status),
            }
            .end()
        });
    }

    /// Returns the methods that are taken, without the one that was refused there.
    fn allowed_beside(&self, server: ServerId) -> String {
        let request = self.shared.transactions.request_of(server);
        let refused = request.map_or("", |(request, _)| request.method().as_str());
        let allowed: Vec<&str> = ALLOW
            .split(", ")
            .filter(|method| *method != refused)
            .collect();
        allowed.join(", ")
    }

    /// Refuses a request for a reason of ours: the peer gets the status, the operator the reason.
    pub(crate) fn refuse(&mut self, server: ServerId, status: u16, why: &'static str) {
        self.turn_down(server, Refusal::new(status, why));
    }

    /// The same, with all that the refusal tells the peer.
    pub(crate) fn turn_down(&mut self, server: ServerId, refusal: Refusal) {
        let Refusal {
            status,
            why,
            warning,
        } = refusal;
        self.tell_refusal(server, status, why);
        // An INVITE with Replaces is here for the dialog that it names; its ACK has nothing but this tag to come by.
        let tag = self.shared.mint.tag(self.shared.home);
        let Some((code, text)) = warning else {
            return self.answer(server, status, Some(&tag));
        };
        let warning = format!("{code} {} \"{text}\"", self.shared.settings.node);
        self.respond(server, status, reason_phrase(status), Some(&tag), |to| {
            to.header(Name::Warning, warning).end()
        });
    }

    /// Refuses an extension (RFC 3261 8.2.2.3), naming those that we do not have.
    pub(crate) fn refuse_extension(&mut self, server: ServerId, why: &'static str, names: &str) {
        self.tell_refusal(server, 420, why);
        let tag = self.shared.mint.hex(8);
        self.respond(server, 420, reason_phrase(420), Some(&tag), |builder| {
            builder.header(Name::Unsupported, names).end()
        });
    }

    /// Tells the operator of a refusal that is answered otherwise.
    pub(crate) fn tell_refusal(&mut self, server: ServerId, status: u16, why: &'static str) {
        if let Some((request, flow)) = self.shared.transactions.request_of(server) {
            let event = Event::Refused {
                method: request.method().as_str().into(),
                status,
                why,
                peer: flow.to_string().into(),
            };
            self.emit(event);
        }
    }
}

/// Returns the extensions that we take by these settings; `reliable` where provisional responses may be.
pub(crate) fn supported(settings: &Settings, reliable: bool) -> &'static str {
    let reliable = reliable && settings.fork.reliable_provisionals;
    match (settings.detect.session_timer, reliable) {
        (Some(_), true) => "replaces, norefersub, timer, 100rel",
        (Some(_), false) => "replaces, norefersub, timer",
        (None, true) => "replaces, norefersub, 100rel",
        (None, false) => "replaces, norefersub",
    }
}

/// Returns how long a refusal asks to be left alone (RFC 3261 20.33).
pub(crate) fn retry_after(response: &Message) -> Option<Millis> {
    let value = response.header(Name::RetryAfter)?.trim_start();
    let end = value.find(|c: char| !c.is_ascii_digit());
    let digits = &value[..end.unwrap_or(value.len())];
    if digits.is_empty() {
        return None;
    }
    // More than fits is as long as can be.
    let seconds: u32 = digits.parse().unwrap_or(u32::MAX);
    Some(Millis::from_secs(u64::from(seconds)))
}

/// Adds the header by which a refusal tells what would be taken, or when.
fn what_would_be_right(builder: Builder, status: u16) -> Builder {
    match status {
        // RFC 3261 8.2.3.
        415 => builder
            .header(Name::Accept, ACCEPT)
            .header(Name::AcceptEncoding, "identity"),
        500 | 503 => builder.header(Name::RetryAfter, RETRY_AFTER_S),
        _ => builder,
    }
}

/// Returns the Session-ID of an answer within a dialog: both ends as the one who asks knows them.
fn answering(request: &Message) -> Option<SessionId> {
    let asked = SessionId::of(request).filter(|_| request.to_tag().is_some())?;
    (!asked.ours.is_nil()).then_some(asked)
}

/// Ends a message with a body, or without one where it is empty.
pub(crate) fn end_with(builder: Builder, content_type: Option<&str>, body: &[u8]) -> Bytes {
    if body.is_empty() {
        builder.end()
    } else {
        builder.body(content_type.unwrap_or("application/octet-stream"), body)
    }
}

/// RFC 3326 2: why a branch or a lost dialog ends.
pub(crate) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// Joins values by commas.
pub(crate) fn joined(values: impl Iterator<Item = impl Display>) -> String {
    values.fold(String::new(), |mut text, value| {
        let _ = write!(text, "{}{value}", if text.is_empty() { "" } else { ", " });
        text
    })
}
