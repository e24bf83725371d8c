//! The conversation: anchored on whoever is still there. `LIFECYCLE.md` beside this file draws its life.
//!
//! One folder for each part of that life, one file an act; the head of each folder says what its files do.
//! Before the answer: `forking` INVITEs that are out for one side, `inviting` the first fork, `early` its early
//! dialogs. While both are there: `carrying` requests across, `session` what was agreed, `letters` messages.
//! Where one is lost: `doubting` signs and probes, `restoring` the re-fork and the word to the survivor. Going on
//! with somebody else: `transferring`. `ending` the end, `people` who takes part, apart from the phone.
//!
//! All of these work with `context` the way out, `leg` one dialog, `answers` what comes back and to whom it goes,
//! `index` by what it is found, `rebuild` after a restart, `view` what the API sees, `lights` what others see of it.

pub(crate) mod answers;
pub(crate) mod carrying;
pub(crate) mod context;
mod doubting;
mod early;
pub(crate) mod ending;
pub(crate) mod forking;
mod index;
mod inviting;
mod leg;
mod letters;
mod lights;
pub(crate) mod people;
mod rebuild;
pub(crate) mod restoring;
mod session;
pub(crate) mod transferring;
pub(crate) mod under_way;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::context::Context;
use self::doubting::check::Check;
use self::doubting::trust::Trust;
use self::inviting::Invitation;
use self::leg::Leg;
use self::letters::queue::SlimQueue;
use self::restoring::aside::Restoration;
use self::session::grow::Growing;
use self::session::media::Ports;
use self::session::named::Naming;
use self::session::open_invite::OpenInvite;
use self::session::renegotiate::Renegotiation;
use self::under_way::Burden;
use crate::engine::asker::Asker;
use crate::engine::dialog::{Dialog, Life, session_id::Uuid};
use crate::engine::endpoint::Identity;
use crate::engine::events::{Entry, Event, Happening};
use crate::engine::ids::{Aor, ConversationId, LegId, Side};
use crate::engine::ports::{Claim, Inside, MediaCommand, Output, Voice};
use crate::engine::settings::{Kind, Srtp};
use crate::engine::time::Time;
use crate::engine::timers::TimerId;
use crate::engine::transaction::{ClientId, ServerId};
use crate::engine::view::Stage;
use crate::sip::Method;

pub(crate) use self::carrying::hops_left;
pub(crate) use self::doubting::signs::Failing;
pub(crate) use self::forking::breadth::{breadth, has_looped};
pub(crate) use self::forking::calling::{Way, in_secrecy, way};
pub(crate) use self::index::{Key, Keys, answered_peers, aor_key, peer_key};
pub(crate) use self::inviting::Arrival;
pub(crate) use self::inviting::ringing::{Ringing, Rings, Stranger};
pub(crate) use self::people::asserted::{asserted, is_told};
pub(crate) use self::people::proof::{is_judged_by, proof, upstream_of};
pub(crate) use self::restoring::repair::replaced;
pub(crate) use self::session::enclosed::{is_foreign, sdp_of};
pub(crate) use self::session::keys::refusal;
pub(crate) use self::session::media::streams_needed;
pub(crate) use self::session::refresh::too_brief;
pub(crate) use self::transferring::tags::Moves;

/// Entries kept of a conversation's history.
const HISTORY_MAX: usize = 256;

/// One call or IM session. What is skipped by serde is gone after a restart, and `rebuild` says what
/// becomes of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Conversation {
    pub(crate) id: ConversationId,
    pub(crate) kind: Kind,
    /// The caller's Call-ID, for logs.
    pub(crate) call_id: Box<str>,
    pub(crate) started: Time,
    pub(crate) answered: Option<Time>,
    pub(crate) ended: Option<Time>,
    /// By side.
    parties: [Party; 2],
    ports: [Ports; 2],
    next_leg: u32,
    restorations: u32,
    /// When those were that count toward `restore.max_per_conversation`.
    #[serde(default)]
    restored_at: Vec<Time>,
    history: Vec<Entry>,
    /// Lost dialogs whose BYE nobody answered: it goes out once more when their phone registers, and by time.
    ghosts: Vec<Leg>,
    /// Branches whose INVITE we have taken back, and that may be answered yet.
    #[serde(skip)]
    dropped: Vec<ending::late::Dropped>,
    /// Dialogs of those who have transferred the other side.
    #[serde(default)]
    leaving: Vec<transferring::leaving::Leaving>,
    /// The last word is out: BYE follows at that time at the latest.
    closing: Option<ending::Closing>,
    /// Whose call it is, where that has a limit.
    #[serde(default)]
    pub(crate) made_by: Option<u64>,
    /// It counts as a call of theirs that stands.
    #[serde(skip)]
    pub(crate) stands: bool,
    /// Of how many streams it counts as theirs.
    #[serde(skip)]
    pub(crate) streams: usize,
    /// More were asked for than theirs may be.
    #[serde(default)]
    crowded: bool,
    /// Until it is answered.
    #[serde(skip)]
    pub(crate) rings: Option<Rings>,
    /// What its INVITE holds, as long.
    #[serde(skip)]
    pub(crate) burden: Option<Burden>,
    #[serde(skip)]
    invitation: Option<Box<Invitation>>,
    #[serde(skip)]
    carried: Vec<Carried>,
    #[serde(skip)]
    renegotiation: Option<Box<Renegotiation>>,
    #[serde(skip)]
    growing: Option<Box<Growing>>,
    #[serde(skip)]
    inquiring: Option<Box<transferring::attended::Inquiring>>,
    #[serde(default)]
    giving: Option<Box<transferring::giving::Giving>>,
    #[serde(default)]
    haunts: ending::Haunts,
    /// It was begun by a `sips:` URI: nobody is called in the clear, whatever happens to it (RFC 5630).
    #[serde(default)]
    secure: bool,
    /// Names of where media is.
    #[serde(skip)]
    naming: Vec<Naming>,
    #[serde(skip)]
    arriving: Option<Box<transferring::taking::Arriving>>,
    /// What the engine keeps with it: its timer, what it and its other half are found by, and which peers are expected.
    #[serde(skip)]
    pub(crate) timer: Option<(Time, TimerId)>,
    #[serde(skip)]
    pub(crate) indexed: Keys,
    #[serde(skip)]
    pub(crate) half: Option<u64>,
    #[serde(skip)]
    pub(crate) expected: index::Answered,
    /// Where phones ring by its INVITEs.
    #[serde(skip)]
    pub(crate) rung: Box<[u64]>,
    #[serde(default)]
    open_invite: Option<Box<OpenInvite>>,
    /// What those see of it who watch one of its users.
    #[serde(skip)]
    lit: Box<[lights::Lit]>,
}

/// One of the two ends.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Party {
    aor: Aor,
    /// What is known of who it is, and how far its transfers may go.
    asker: Asker,
    /// Name-addr without a tag: who the other side talks to.
    address: Box<str>,
    /// What trusted peers are told of who it is.
    #[serde(default)]
    asserted: Option<Box<str>>,
    /// What it wishes to be kept from those who are not trusted.
    #[serde(default)]
    veil: people::veil::Veil,
    /// Lines of its INVITE that are for the other user, whichever phone that has (RFC 7433).
    #[serde(default)]
    for_user: Box<[u8]>,
    /// Accept-Language of its INVITE (RFC 3261 20.3), for the notice.
    languages: Box<str>,
    leg: Option<Leg>,
    lost: Option<Box<Restoration>>,
    #[serde(skip)]
    check: Option<Check>,
    /// Messages to it.
    queue: SlimQueue,
    /// Which endpoint of it the other side knows of.
    believed: Option<Arc<Identity>>,
    /// The Request-URI by which an upstream was asked for it, or can be: it knows the participant.
    asked: Option<Box<str>>,
    /// How the call came to it, where anybody wishes to know (RFC 7044).
    #[serde(default)]
    walked: Option<Box<forking::trail::Walked>>,
    /// Its media comes.
    #[serde(skip)]
    flowing: bool,
    /// It should be heard, whatever has come so far.
    #[serde(skip)]
    due: bool,
    /// Tones to it of which the relay has not told what came of them.
    #[serde(skip)]
    tones: u32,
    /// It should come, and the relay has said that it does not.
    #[serde(skip)]
    silent: bool,
    /// A suspicion came to nothing: the same signs are left alone for a while.
    #[serde(skip)]
    trust: Trust,
    /// Endpoints of it that have taken a re-fork and were lost at once.
    #[serde(default)]
    relapses: Option<Box<restoring::relapses::Relapses>>,
}

/// Whom one of the dialogs is with.
pub(crate) struct Partner<'a> {
    pub(crate) asker: &'a Asker,
    pub(crate) dialog: &'a Dialog,
}

/// A request of one side that waits for the other side's answer.
#[derive(Debug)]
struct Carried {
    client: ClientId,
    server: ServerId,
    from: Side,
    method: Method,
    sent: Time,
    /// It went where somebody rang, who may have lost since.
    early: bool,
}

impl Party {
    fn new(aor: Aor, asker: Asker, address: Box<str>) -> Self {
        Self {
            aor,
            asker,
            address,
            asserted: None,
            veil: people::veil::Veil::default(),
            for_user: Box::default(),
            walked: None,
            languages: "".into(),
            leg: None,
            lost: None,
            check: None,
            queue: SlimQueue::default(),
            believed: None,
            asked: None,
            flowing: false,
            due: false,
            tones: 0,
            silent: false,
            trust: Trust::default(),
            relapses: None,
        }
    }

    /// Returns the session of its live leg, or of the one that was lost.
    fn talk(&self) -> Option<&leg::Talk> {
        let lost = self.lost.as_ref().map(|lost| &lost.old.talk);
        self.leg.as_ref().map(|leg| &leg.talk).or(lost)
    }

    /// Until its ACK is here, a caller may not know of the dialog, and would deny it. The 2xx goes out again
    /// and again meanwhile, and has a time-out of its own.
    fn may_not_know(&self) -> bool {
        self.leg
            .as_ref()
            .is_some_and(|leg| leg.life == Life::Answered)
    }

    /// Its leg is gone against anybody's will, which it is not in a transfer.
    fn is_lost(&self) -> bool {
        let aside = self.lost.as_ref();
        aside.is_some_and(|aside| aside.transfer.is_none())
    }

    /// The same, and no phone of it asks for the place of one that stands.
    fn is_missed(&self) -> bool {
        self.is_lost() && self.lost.as_ref().is_some_and(|lost| !lost.stands)
    }

    /// Whether somebody may take over a dialog of it, or ask who is at its other end: the same person alone.
    fn may_be_replaced_by(&self, who: &Aor) -> bool {
        self.aor == *who
    }

    fn is_up(&self) -> bool {
        self.leg.as_ref().is_some_and(|leg| leg.life.is_up())
    }
}

impl Conversation {
    fn party(&self, side: Side) -> &Party {
        &self.parties[side.index()]
    }

    fn party_mut(&mut self, side: Side) -> &mut Party {
        &mut self.parties[side.index()]
    }

    fn leg_mut(&mut self, side: Side) -> Option<&mut Leg> {
        self.parties[side.index()].leg.as_mut()
    }

    /// Returns whom the dialog of a leg is with.
    pub(crate) fn partner(&self, leg: LegId) -> Option<Partner<'_>> {
        let invited = self.invitation.as_ref().map(|first| &first.fork);
        let invited = invited.and_then(|fork| fork.find(leg)).map(|branch| {
            let asker = &self.party(Side::Callee).asker;
            (&branch.leg, asker)
        });
        let of_sides = self.parties.iter().find_map(|party| {
            let aside = party.lost.as_deref();
            let live = party.leg.as_ref().map(|live| (live, &party.asker));
            let old = aside.map(|aside| {
                let transfer = aside.transfer.as_ref();
                let asker = transfer.map_or(&party.asker, |transfer| transfer.asker());
                (&aside.old, asker)
            });
            let branch = aside.and_then(|aside| aside.fork.find(leg));
            let branch = branch.map(|branch| (&branch.leg, &party.asker));
            [live, old, branch]
                .into_iter()
                .flatten()
                .find(|(known, _)| known.id == leg)
        });
        // Who has left has nothing to move any more.
        let left = self.leaving.iter().map(|leaving| &leaving.leg);
        let left = left.map(|leg| (leg, &Asker::Stranger));
        let (leg, asker) = invited
            .or(of_sides)
            .or_else(|| left.into_iter().find(|(known, _)| known.id == leg))?;
        Some(Partner {
            asker,
            dialog: &leg.dialog,
        })
    }

    /// Returns by what a side is known in Session-ID, whichever phone it has (RFC 7989).
    fn uuid_of(&self, side: Side) -> Uuid {
        let party = self.party(side);
        let lost = party.lost.as_ref().map(|lost| &lost.old);
        let leg = party.leg.as_ref().or(lost);
        leg.map(|leg| leg.dialog.session.theirs).unwrap_or_default()
    }

    fn new_leg_id(&mut self) -> LegId {
        self.next_leg += 1;
        LegId(self.next_leg)
    }

    /// Returns the side whose live leg has this id.
    fn side_of(&self, leg: LegId) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|side| {
            self.party(*side)
                .leg
                .as_ref()
                .is_some_and(|known| known.id == leg)
        })
    }

    /// Returns the side that is being restored, by the leg that it lost.
    fn lost_side_of(&self, leg: LegId) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|side| {
            self.party(*side)
                .lost
                .as_ref()
                .is_some_and(|lost| lost.old.id == leg)
        })
    }

    /// Returns where it is in its life.
    pub(crate) fn stage(&self) -> Stage {
        if self.ended.is_some() {
            Stage::Ended
        } else if self.answered.is_none() {
            Stage::Inviting
        } else if self.parties.iter().any(Party::is_lost) {
            Stage::Restoring
        } else if self.parties.iter().any(|party| {
            party
                .check
                .as_ref()
                .is_some_and(|check| check.signal.is_some())
        }) {
            Stage::Suspect
        } else {
            Stage::Established
        }
    }

    /// Returns the name of the endpoint that a side has, or had last.
    fn endpoint_of(&self, side: Side) -> Box<str> {
        let party = self.party(side);
        let lost = party.lost.as_ref().map(|lost| &lost.old);
        let leg = party.leg.as_ref().or(lost);
        leg.map(|leg| leg.endpoint.name.clone()).unwrap_or_default()
    }

    /// Where there is no room for more, what came to nothing gives way to what became of the conversation.
    fn remember(&mut self, entry: Entry) {
        if self.history.len() >= HISTORY_MAX
            && let Some(at) = self.history.iter().position(|entry| entry.what.gives_way())
        {
            self.history.remove(at);
        }
        if self.history.len() < HISTORY_MAX || matches!(entry.what, Happening::Ended { .. }) {
            self.history.push(entry);
        }
    }

    /// Writes a line of history, which is also the log's and the metrics'.
    fn note(&mut self, context: &mut Context<'_>, what: Happening) {
        self.remember(Entry {
            at: context.now,
            what: what.clone(),
        });
        let event = Event::Conversation {
            id: self.id,
            call_id: self.call_id.clone(),
            kind: self.kind,
            what,
        };
        let of = Some(self.id);
        context.shared.out.push_back(Output::Event { of, event });
    }

    /// The durable state changed. Before the answer there is none: a phone that rings is no conversation.
    fn persist(&self, context: &mut Context<'_>) {
        if self.answered.is_some() && self.ended.is_none() {
            context.shared.out.push_back(Output::Persist {
                conversation: self.id,
                token: None,
            });
        }
    }

    /// Returns what ports are for that a side needs now.
    fn claim(&self, side: Side) -> Claim {
        if self.answered.is_some() && self.party(side).is_lost() {
            return Claim::Standing;
        }
        let caller = &self.party(Side::Caller).asker;
        self.rings
            .map_or_else(|| Claim::of_caller(caller.is_unknown()), Rings::claim)
    }

    fn media(&self, context: &mut Context<'_>, command: MediaCommand) {
        context.shared.out.push_back(Output::Media(command));
    }

    /// Tells the relay what a side's streams are now.
    fn configure(&mut self, context: &mut Context<'_>, side: Side) {
        if self.ports[side.index()].state != session::media::PortState::Open {
            return;
        }
        self.locate_media(context, side);
        let ports = &self.ports[side.index()];
        let (party, other) = (self.party(side), self.party(side.other()));
        let Some(leg) = &party.leg else { return };
        let Some(said) = &leg.talk.said else { return };
        let heard = other.talk().and_then(|talk| talk.said.as_deref());
        let (streams, barred) = context.streams_of(leg, (said, &leg.talk), heard);
        let (leg, flow) = (leg.id, leg.dialog.flow);
        // The relay counts anew from here: what should come is taken to come until it says otherwise.
        let flowing = streams
            .iter()
            .any(|stream| stream.active && stream.voice == Voice::Due);
        let keyed = streams.iter().any(|stream| stream.srtp.is_some());
        let has = |inside: Inside| streams.iter().any(|s| s.active && s.inside == inside);
        let (runs, fax) = (has(Inside::Rtp), has(Inside::Fax));
        self.media(
            context,
            MediaCommand::Configure {
                media: self.id,
                side,
                generation: ports.generation,
                signalling: flow.peer.ip(),
                streams,
            },
        );
        self.tell_barred(context, (side, leg), flow.peer, barred);
        let bound = context.shared.settings.media.srtp == Srtp::Required;
        if let Some(leg) = self.leg_mut(side) {
            let clear = !context.world.spoken(&leg.dialog.flow).is_secure();
            let keys = &mut leg.talk.keys;
            if runs {
                keys.ran = Some(keyed);
            }
            if keyed && !std::mem::replace(&mut keys.noted, true) {
                context.emit(Event::Keyed { clear });
            }
            let bare = fax && (bound || keys.ran == Some(true));
            if bare && !std::mem::replace(&mut keys.fax_noted, true) {
                context.emit(Event::BareFax);
            }
        }
        let party = self.party_mut(side);
        (party.flowing, party.silent) = (flowing, false);
        party.due = flowing;
        party.trust.end();
        self.shrink(context);
    }

    /// Returns when `on_deadline` wants to be called.
    pub(crate) fn deadline(&self, suspect_after: crate::engine::time::Millis) -> Option<Time> {
        // Nobody is probed or sought any more, so nothing else can come due.
        if let Some(closing) = &self.closing {
            let parties = self.parties.iter().filter(|party| party.is_up());
            let later = parties.filter_map(|party| party.queue.next_try());
            return later.chain([closing.at]).min();
        }
        let ringing = self
            .invitation
            .as_ref()
            .and_then(|invitation| invitation.next_deadline());
        let parties = self.parties.iter().flat_map(|party| {
            let overdue = party
                .queue
                .letters
                .iter()
                .find(|letter| letter.server.is_some() && letter.storing.is_none())
                .map(|letter| letter.received + suspect_after)
                .filter(|_| party.lost.is_none() && self.answered.is_some());
            let unanswered = party.queue.overdue_at(suspect_after);
            let later = party.queue.next_try();
            [
                overdue,
                unanswered.filter(|_| party.is_up() && self.answered.is_some()),
                later.filter(|_| party.is_up()),
                party.queue.next_expiry(),
                party.check.as_ref().and_then(|check| check.next),
                party.trust.deadline().filter(|_| party.is_up()),
                party.lost.as_ref().and_then(|lost| lost.next_deadline()),
                party.leg.as_ref().and_then(|leg| leg.wish.at),
                party
                    .leg
                    .as_ref()
                    .and_then(|leg| leg.untold.as_ref()?.next()),
                party.leg.as_ref().and_then(Leg::success_due_at),
            ]
        });
        let inquiring = self.inquiring.iter().map(|inquiring| inquiring.until);
        let giving = self
            .giving
            .iter()
            .filter_map(|giving| giving.next_deadline());
        let refreshes = [Side::Caller, Side::Callee].map(|side| self.next_refresh(side));
        let leaving = self.leaving.iter().map(|leaving| leaving.until);
        parties
            .chain(refreshes)
            .flatten()
            .chain(self.haunted_at())
            .chain(ringing)
            .chain(leaving)
            .chain(inquiring)
            .chain(giving)
            .chain(self.dropped_until())
            .min()
    }

    /// Does what is due.
    pub(crate) fn on_deadline(&mut self, context: &mut Context<'_>) {
        self.deaf_due(context);
        self.ring_out(context);
        self.fall_silent(context);
        self.adrift_due(context);
        self.invitation_expires(context);
        self.provisionals_due(context);
        for side in [Side::Caller, Side::Callee] {
            self.check_due(context, side);
            self.letters_overdue(context, side);
            let pause = self.party(side).queue.next_try();
            if pause.is_some_and(|at| at <= context.now) {
                self.party_mut(side).queue.end_pauses(context.now);
            }
            self.restore_due(context, side);
            self.refresh_due(context, side);
            self.catch_up_due(context, side);
            self.untold_due(context, side);
            self.pump(context, side);
        }
        self.part(context);
        self.haunted_due(context);
        self.success_due(context);
        self.inquiry_due(context);
        self.giving_due(context);
        self.close_due(context);
        self.forget_dropped(context.now);
    }
}
