//! One dialog between us and one endpoint, with the session that was agreed in it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::carrying::course::Course;
use super::context::{Context, Errand, What};
use super::doubting::moving::Elsewhere;
use super::inviting::success::{self, Success};
use super::restoring::behind::Behind;
use super::restoring::machines::is_machine;
use super::restoring::open_wish::OpenWish;
use super::restoring::wish::Wish;
use super::session::enclosed::sdp_of;
use super::session::keys::Keyring;
use super::session::named::Named;
use super::session::untold::Untold;
use super::transferring::report::Reports;
use crate::engine::dialog::reliable::RAck;
use crate::engine::dialog::session_id::Uuid;
use crate::engine::dialog::session_timer::SessionTimer;
use crate::engine::dialog::{Act, Dialog, Do, HOPS, Happens, Life, Negotiation};
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Aor, ConversationId, Flow, LegId, Side};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::sdp::{Direction, Sdp};
use crate::sip::{Builder, Message, Method, Name, sdp};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) side: Side,
    pub(crate) dialog: Dialog,
    pub(crate) endpoint: Endpoint,
    pub(crate) abilities: Abilities,
    pub(crate) talk: Talk,
    /// When it last showed life.
    pub(crate) seen: Time,
    /// When it last answered us: what is sent to it arrives.
    #[serde(default)]
    pub(crate) heard: Time,
    /// How far the dialog is.
    pub(crate) life: Life,
    /// It denies or ignores OPTIONS within a dialog that stands: only an UPDATE or re-INVITE tells whether it does.
    pub(crate) denies_options: bool,
    /// It has answered OPTIONS within the dialog: no answer means that it is away.
    #[serde(default)]
    pub(crate) answers_options: bool,
    /// Whose offer is open. A restart forgets it: the request that carried it is gone too.
    #[serde(skip)]
    pub(crate) negotiation: Negotiation,
    #[serde(skip)]
    pub(crate) open_wish: Option<Box<OpenWish>>,
    /// What the other side wished is to be offered then, since another offer was open.
    #[serde(default)]
    pub(crate) wish: Wish,
    /// A re-INVITE or UPDATE of ours that has no final answer.
    #[serde(skip)]
    pub(crate) reinvite: Option<ClientId>,
    /// When the last one was sent.
    #[serde(skip)]
    pub(crate) offered: Time,
    /// One that we have taken back, and that may be agreed to yet: its 2xx has crossed the CANCEL.
    #[serde(skip)]
    pub(crate) withdrawn: Option<ClientId>,
    /// That one, where it said the same as what stands.
    #[serde(skip)]
    pub(crate) alike: Option<ClientId>,
    /// Since when its phone has another dialog in its place, which we have taken back (`late`).
    #[serde(default)]
    pub(crate) superseded: Option<Time>,
    /// An INVITE of theirs that has our 2xx and waits for the ACK.
    #[serde(skip)]
    pub(crate) unacknowledged: Option<Unacknowledged>,
    /// The 2xx to the INVITE of who called, until its ACK is here.
    #[serde(default, serialize_with = "success::durable")]
    pub(crate) success: Option<Box<Success>>,
    /// A reliable response that our 2xx has overtaken. Its PRACK may come after the ACK.
    #[serde(skip)]
    pub(crate) overtaken: Option<RAck>,
    /// The last reliable response to its INVITE, whose PRACK comes once more after a restart where our 200 was lost.
    #[serde(default)]
    pub(crate) reliable: Option<RAck>,
    /// The ACK to a 2xx of theirs: kept back until the other side's ACK brings the answer, or sent
    /// already and kept for the 2xx that come again.
    #[serde(skip)]
    pub(crate) ack: Option<Ack>,
    /// None where its endpoint knows of none.
    #[serde(default)]
    pub(crate) timer: Option<Box<SessionTimer>>,
    /// What the phone is told of its last REFER.
    #[serde(default)]
    pub(crate) reports: Option<Box<Reports>>,
    /// Its phone may have agreed to a session that came to nothing: it is told once more what stands.
    #[serde(default)]
    pub(crate) lent: bool,
    /// It may have agreed to what it was asked for before a restart: what it says to that once more does not tell.
    #[serde(default)]
    pub(crate) unsure: bool,
    /// Its endpoint called by an upstream, and has not shown to be a phone of ours.
    #[serde(default)]
    pub(crate) beyond: bool,
    /// It has come back from its loss by the very request that is looked at.
    #[serde(skip)]
    pub(crate) returns: bool,
    /// Its 2xx has come again and again: since when, and when last.
    #[serde(skip)]
    pub(crate) repeats: Option<Box<Repeats>>,
    /// It may be there as well.
    #[serde(default)]
    pub(crate) elsewhere: Option<Box<Elsewhere>>,
    /// It called, and was told of another session before the answer than goes with that: it is offered the right one.
    #[serde(default)]
    pub(crate) misled: bool,
    /// What it is to be told of the other side by its next refresh.
    #[serde(default)]
    pub(crate) untold: Option<Box<Untold>>,
    /// Which phone behind an upstream it is.
    #[serde(default)]
    pub(crate) behind: Option<Box<Behind>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) server: ServerId,
    pub(crate) cseq: u32,
    /// Our 2xx carried an offer, so the ACK must bring the answer.
    pub(crate) answer_due: bool,
}

/// A 2xx that comes again (RFC 3261 13.3.1.4): its phone has not got our ACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeats {
    cseq: u32,
    since: Time,
    last: Time,
}

impl Repeats {
    /// For so long they came, of 32 s in all, and so long ago at most, where the phone gives up by itself then.
    const LASTED: Millis = Millis::from_secs(20);
    const LATELY: Millis = Millis::from_secs(10);

    /// Returns true where the phone has never got it, by all that can be told.
    pub(crate) fn are_in_vain(&self, now: Time) -> bool {
        self.since + Self::LASTED <= self.last && now <= self.last + Self::LATELY
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Ack {
    pub(crate) cseq: u32,
    /// None while it waits for the answer.
    pub(crate) body: Option<Box<str>>,
    pub(crate) waits: bool,
}

/// What the endpoint can do, by its Allow and Supported; nothing said means yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Abilities {
    pub(crate) message: bool,
    /// Only where it said so: an UPDATE that fails proves nothing.
    pub(crate) update: bool,
    pub(crate) replaces: bool,
    /// It has sent a text in an envelope (RFC 3862), and none without since.
    #[serde(default)]
    pub(crate) cpim: bool,
    /// It says that it is no person.
    #[serde(default)]
    pub(crate) machine: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            message: true,
            update: false,
            replaces: false,
            cpim: false,
            machine: false,
        }
    }
}

impl Abilities {
    /// Returns by what a session is offered to it where nobody need be asked: UPDATE, or INVITE where it never said
    /// that it takes that (RFC 3311 5.1).
    pub(crate) fn offers_by(self) -> Method {
        if self.update {
            Method::Update
        } else {
            Method::Invite
        }
    }

    /// Reads a message of the endpoint; what it does not say stays as it was.
    pub(crate) fn learn(&mut self, message: &Message) {
        if message.is_request() && *message.method() == Method::Message {
            let kind = message.content_type().unwrap_or("");
            let kind = kind.split(';').next().unwrap_or("").trim();
            match kind.to_ascii_lowercase().as_str() {
                "message/cpim" => self.cpim = true,
                kind if kind.starts_with("text/") => self.cpim = false,
                // Typing, receipts: no texts.
                _ => {}
            }
        }
        if message.header(Name::Allow).is_some() {
            self.message = message.has_token(Name::Allow, "MESSAGE");
            self.update = message.has_token(Name::Allow, "UPDATE");
        }
        if message.header(Name::Supported).is_some() {
            self.replaces = message.has_token(Name::Supported, "replaces");
        }
        if message.header(Name::Contact).is_some() {
            self.machine = is_machine(message);
        }
    }
}

/// The session descriptions of one leg: whose o= line is ours (RFC 8866 5.2).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Talk {
    pub(crate) session: u64,
    pub(crate) version: u64,
    /// What we last told the endpoint.
    pub(crate) told: Option<Box<str>>,
    /// That was an offer, when it last changed: what the endpoint says is an answer.
    #[serde(default)]
    pub(crate) asked: bool,
    /// What it last said.
    pub(crate) said: Option<Box<str>>,
    #[serde(default)]
    pub(crate) keys: Keyring,
    /// The highest version of an offer that came to nothing.
    #[serde(default)]
    pub(super) spent: u64,
    /// By stream, what it would do if it were told that the other side does all: its own hold, and not the other's.
    #[serde(default)]
    pub(super) wishes: Vec<Direction>,
    /// Where it is that it names in place of an address.
    #[serde(default)]
    pub(crate) named: Option<Box<Named>>,
    /// What it said last has all the formats that it last offered.
    #[serde(default)]
    pub(super) whole: bool,
    /// That offer, where it has not.
    #[serde(default)]
    pub(super) more: Option<Box<str>>,
}

impl Talk {
    /// Takes an offer of the endpoint's.
    pub(crate) fn offers(&mut self, offer: Box<str>) {
        self.hears(offer);
        (self.whole, self.more) = (true, None);
    }

    /// Returns an answer of the endpoint's without the fingerprints that it was not asked for.
    fn as_asked(&self, said: Box<str>) -> Box<str> {
        let told = self.told.as_deref().map(str::as_bytes);
        let plain = told.and_then(|told| sdp::without_unasked(told, said.as_bytes()));
        plain.map_or(said, Into::into)
    }

    /// Takes the endpoint's answer to what it was told last.
    pub(crate) fn says(&mut self, said: Box<str>) {
        self.hears(self.as_asked(said));
    }

    fn hears(&mut self, said: Box<str>) {
        let told = self.told.as_deref().map(str::as_bytes);
        self.wishes = sdp::wishes(said.as_bytes(), told, &self.wishes);
        let before = self.said.take().filter(|_| self.whole);
        let offered = self.more.take().or(before);
        let known = offered.is_some();
        let wider = |offer: &str| sdp::widened(said.as_bytes(), offer.as_bytes()).is_some();
        self.more = offered.filter(|offer| wider(offer));
        self.whole = known && self.more.is_none();
        self.said = Some(said);
    }

    /// Returns true where a stream of it has keys of ours (RFC 4568).
    pub(super) fn is_keyed(&self) -> bool {
        self.keys.covers(self.said.as_deref())
    }

    /// Returns what it would say without the hold of another, who has said `holder`.
    pub(super) fn resumed(&self, holder: &str) -> Option<Box<str>> {
        let said = self.said.as_deref()?.as_bytes();
        let opened = sdp::resumed(said, holder.as_bytes(), &self.wishes)?;
        String::from_utf8(opened).ok().map(String::into_boxed_str)
    }

    /// Goes back to how it was before an offer of ours that came to nothing (RFC 6141). Another text never has
    /// that offer's version (RFC 3264 8): who refused it may take the two for the same.
    pub(super) fn back_to(&mut self, before: Self) {
        let spent = self.version.max(self.spent);
        *self = Self { spent, ..before };
    }

    /// Returns the version of the next text that reads otherwise.
    pub(super) fn next_version(&self) -> u64 {
        self.version.max(self.spent) + 1
    }

    /// Returns what was last told under a version that was not used yet, not even in vain.
    pub(super) fn tell_anew(&mut self) -> Option<Box<str>> {
        let told = self.told.as_ref()?;
        let version = self.next_version() + 1;
        let anew = Sdp::parse(told.as_bytes()).ok()?.with_version(version);
        let anew: Box<str> = String::from_utf8(anew).ok()?.into();
        (self.version, self.told) = (version, Some(anew.clone()));
        Some(anew)
    }
}

impl Leg {
    pub(crate) fn new(
        id: LegId,
        side: Side,
        dialog: Dialog,
        endpoint: Endpoint,
        session: u64,
        now: Time,
    ) -> Self {
        Self {
            id,
            side,
            dialog,
            endpoint,
            abilities: Abilities::default(),
            talk: Talk {
                session,
                version: 1,
                ..Talk::default()
            },
            seen: now,
            heard: now,
            life: Life::Calling,
            denies_options: false,
            answers_options: false,
            negotiation: Negotiation::Idle,
            open_wish: None,
            wish: Wish::default(),
            reinvite: None,
            offered: now,
            withdrawn: None,
            alike: None,
            superseded: None,
            unacknowledged: None,
            success: None,
            overtaken: None,
            reliable: None,
            ack: None,
            timer: None,
            reports: None,
            lent: false,
            unsure: false,
            returns: false,
            repeats: None,
            elsewhere: None,
            misled: false,
            untold: None,
            behind: None,
            beyond: false,
        }
    }

    /// Returns true where it was called through an upstream, or has called by one.
    pub(crate) fn is_beyond(&self) -> bool {
        self.endpoint.through.is_some() || self.beyond
    }

    /// The endpoint has told by now what it calls itself in Session-ID, or we do it in its place.
    pub(crate) fn is_named(&mut self, context: &mut Context<'_>) {
        if self.dialog.session.theirs.is_nil() {
            let (high, low) = context.shared.mint.halves();
            self.dialog.session.theirs = Uuid::random(high, low);
        }
    }

    /// A 2xx to the INVITE that makes the dialog, the first or one more.
    pub(crate) fn take_success(&mut self, response: &Message) -> Do {
        let same = self.dialog.remote_tag.as_deref() == response.to_tag();
        self.life.take(if same {
            Happens::Success
        } else {
            Happens::OtherSuccess
        })
    }

    /// Sends a request within the dialog; `finish` adds what it carries and ends it.
    pub(crate) fn request(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        method: &Method,
        what: What,
        finish: impl FnOnce(Builder) -> Bytes,
    ) -> ClientId {
        self.carried(context, id, (method, HOPS), what, finish)
    }

    /// The same of what came from the other side, with what is left of its hops: two of us that lead to each
    /// other must not send it round for ever (RFC 7332 3).
    pub(crate) fn carried(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        request: (&Method, u8),
        what: What,
        finish: impl FnOnce(Builder) -> Bytes,
    ) -> ClientId {
        let course = context.course(&self.dialog);
        self.request_on(context, id, request, what, course, finish)
    }

    /// The same over a flow of the endpoint and no other.
    pub(crate) fn request_over(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        method: &Method,
        what: What,
        flow: Flow,
        finish: impl FnOnce(Builder) -> Bytes,
    ) -> ClientId {
        let went = self.dialog.went;
        let course = Course::over(flow, self.dialog.security());
        let client = self.request_on(context, id, (method, HOPS), what, course, finish);
        self.dialog.went = went;
        client
    }

    pub(super) fn request_on(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        (method, hops): (&Method, u8),
        what: What,
        course: Course,
        finish: impl FnOnce(Builder) -> Bytes,
    ) -> ClientId {
        let flow = course.flow;
        let via = context.via(id, &flow);
        let mut builder = self.dialog.carried(method, &via, hops);
        if matches!(
            method,
            Method::Invite | Method::Update | Method::Subscribe | Method::Refer | Method::Notify
        ) {
            let sips = self.dialog.security().is_told();
            let contact = context.contact_over(&flow, sips);
            builder = builder.header(Name::Contact, contact);
        }
        if matches!(method, Method::Invite | Method::Update) {
            // No provisional response to a re-INVITE is worth a PRACK.
            builder = self.capable(context, builder, false);
        }
        let errand = Errand {
            conversation: id,
            leg: self.id,
            what,
        };
        let bytes = finish(builder);
        let client = context.send_on(&mut self.dialog, course, bytes, errand);
        if what == What::Farewell {
            context.is_farewell(client, self);
        }
        if matches!(method, Method::Invite | Method::Update) {
            self.reinvite = Some(client);
            self.offered = context.now;
        }
        client
    }

    /// The dialog ends, or what we asked in it is taken back: nothing of ours stays open in it.
    pub(crate) fn leave(&mut self, context: &mut Context<'_>) {
        if let Some(client) = self.reinvite.take() {
            context.cancel(client, None);
            self.withdrawn = Some(client);
        }
        self.wish_later(context);
        self.settle();
    }

    /// No offer is open any more, by an answer or by a failure.
    pub(crate) fn settle(&mut self) {
        if let Ok(idle) = self.negotiation.step(Act::Fail) {
            self.negotiation = idle;
        }
    }

    /// Takes the target, the abilities and the session of a 2xx to a re-INVITE or UPDATE of ours. Returns true where
    /// it is another session than before.
    pub(crate) fn agreed(&mut self, response: &Message, flow: Flow) -> bool {
        self.dialog.refresh_over(response, flow);
        self.abilities.learn(response);
        let said = sdp_of(response).map(|said| self.talk.as_asked(said));
        let another = said.is_some() && said != self.talk.said;
        if let Some(said) = said.filter(|_| another) {
            self.talk.says(said);
        }
        another
    }

    /// Acknowledges the 2xx of an INVITE of ours (RFC 3261 13.2.2.4).
    pub(crate) fn acknowledge(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        cseq: u32,
        answer: Option<Box<str>>,
    ) {
        self.ack = Some(Ack {
            cseq,
            body: answer,
            waits: false,
        });
        self.send_ack(context, id, cseq, false);
    }

    /// Keeps the ACK back until the answer is known.
    pub(crate) fn owe_ack(&mut self, cseq: u32) {
        self.ack = Some(Ack {
            cseq,
            body: None,
            waits: true,
        });
    }

    /// A 2xx came again: its ACK was lost.
    pub(crate) fn acknowledge_again(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        cseq: u32,
    ) {
        let now = context.now;
        let known = self.repeats.take().filter(|known| known.cseq == cseq);
        let since = known.map_or(now, |known| known.since);
        self.repeats = Some(Box::new(Repeats {
            cseq,
            since,
            last: now,
        }));
        self.send_ack(context, id, cseq, true);
    }

    fn send_ack(&mut self, context: &mut Context<'_>, id: ConversationId, cseq: u32, again: bool) {
        let body = match &self.ack {
            Some(ack) if ack.cseq == cseq && ack.waits => return,
            Some(ack) if ack.cseq == cseq => ack.body.clone(),
            Some(_) | None => None,
        };
        let course = context.course(&self.dialog);
        let via = context.via(id, &course.flow);
        let builder = self.dialog.ack(cseq, &via);
        let bytes = match body {
            Some(sdp) => builder.body("application/sdp", sdp.as_bytes()),
            None => builder.end(),
        };
        context.send_alone_on(course, bytes, again);
    }

    /// Says BYE; nothing hangs on the answer.
    pub(crate) fn bye(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        whose: &Aor,
        reason: Option<&str>,
    ) {
        let _ = self.life.take(Happens::Leave);
        self.leave(context);
        self.farewell(context, id, whose, |builder| match reason {
            Some(reason) => builder.header(Name::Reason, reason).end(),
            None => builder.end(),
        });
    }
}
