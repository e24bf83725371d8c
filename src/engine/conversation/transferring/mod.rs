//! A transfer (RFC 3515, RFC 5589): one phone asks that the other side goes on with somebody else. We do it
//! ourselves: the transferee's phone sees no REFER, and keeps its dialog and its line of RTP.
//!
//! ```text
//!   transferee          Refork          transferor          target
//!       │◄═══ a call ═══►│◄════ a call ════►│                 │
//!       │                │◄──── REFER ──────│                 │
//!       │                │── 202, NOTIFY 100►│                │
//!       │  filler        │──────────── INVITE ───────────────►│
//!       │                │── NOTIFY 180 ────►│◄──── 180 ──────│
//!       │                │◄─────────────── 200 ───────────────│
//!       │◄═══════════════╪═══ a call ════════╪═══════════════►│
//!       │                │── NOTIFY 200 ────►│                │
//!       │                │◄──── BYE ────────│                 │
//! ```
//!
//! The transferor's side is without a leg meanwhile, as one that was lost, but its participant is the target
//! already. Where nobody takes the call the transferor has its place back; where it has hung up, as phones
//! mostly do at once, the transferee gets a BYE that says why.
//!
//! `refer` what is asked for, `attended` where the transferor has called the target itself, `semi_attended` where
//! that call still rings, `giving`, `given` and `taking` where that call is ours too, `tags` whose a leg is then,
//! `report` what the transferor is told, `leaving` until it hangs up.

pub(crate) mod attended;
mod given;
pub(crate) mod giving;
pub(crate) mod leaving;
pub(crate) mod refer;
pub(crate) mod report;
pub(crate) mod semi_attended;
pub(crate) mod tags;
pub(crate) mod taking;

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::attended::Named;
use self::refer::{Refer, referred_by};
use self::taking::ANSWERED;
use crate::engine::asker::Asker;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Fork, Turn};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::far_ends::may_have_called;
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::restoring::aside::Restoration;
use crate::engine::conversation::restoring::repair::replaced;
use crate::engine::conversation::restoring::survivor;
use crate::engine::conversation::{Conversation, Party};
use crate::engine::dialog::{Admission, Happens};
use crate::engine::events::{Ending, Happening, Signal};
use crate::engine::ids::{Aor, ConversationId, Flow, Side};
use crate::engine::mint::tag_shard;
use crate::engine::refusal::Refusal;
use crate::engine::routing::{self, By, dialled};
use crate::engine::settings::ReferPolicy;
use crate::engine::time::Millis;
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name, reason_phrase};

/// What a transfer takes beyond the ringing of its targets.
const MARGIN: Millis = Millis::from_secs(10);
/// The reports outlive the transfer by so much.
const REPORTS_MARGIN: Millis = Millis::from_secs(30);

/// A side that is being transferred.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// Who transfers; back in its place where nobody takes the call.
    transferor: Person,
    /// Header lines of the targets' INVITEs, without Replaces.
    lines: Bytes,
    /// The conversation that has the target's leg, and has promised it.
    #[serde(default)]
    pub(super) giver: Option<ConversationId>,
    /// The target has not answered there, and may yet do so for that long.
    #[serde(default)]
    pub(super) rings: Option<Millis>,
    /// What the targets' INVITEs are to replace.
    #[serde(default)]
    replaces: Option<Replacing>,
    /// The transferee's session as the transferor left it.
    #[serde(default)]
    left: Option<Box<str>>,
    /// What the transferor had said itself by then.
    #[serde(default)]
    own: Option<Box<str>>,
}

/// A dialog of the target's that the transferor has named.
#[derive(Debug, Serialize, Deserialize)]
struct Replacing {
    /// Value of the INVITE's Replaces.
    value: Box<str>,
    /// Refork has that dialog itself.
    ours: bool,
    /// Who is called without it, where nobody takes it.
    turns: VecDeque<Turn>,
}

/// Whom a transfer goes to.
pub(super) struct Aim {
    pub(super) person: Person,
    /// Whose turn it is one after another.
    pub(super) groups: VecDeque<Turn>,
    /// Value of the INVITE's Replaces.
    pub(super) replaces: Option<Box<str>>,
    /// The conversation that has promised the target's leg.
    pub(super) giver: Option<ConversationId>,
    /// Nobody has answered there, and somebody may for that long.
    pub(super) rings: Option<Millis>,
}

impl Transfer {
    /// Returns who transfers.
    pub(super) fn transferor(&self) -> &Aor {
        &self.transferor.aor
    }

    /// Returns what is known of who transfers.
    pub(super) fn asker(&self) -> &Asker {
        &self.transferor.asker
    }

    /// The side is the transferor's, whose place the target has, or the target's again.
    pub(crate) fn change_places(&mut self, party: &mut Party) {
        self.transferor.swap(party);
    }
}

impl Restoration {
    /// Nobody takes a call that is to replace another one: they are called as by anybody (RFC 5589 7.6).
    fn without_replaces(&mut self) {
        let status = self.fork.best.as_ref().map(|best| best.status);
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let pointless = |replaces: &mut Replacing| match status {
            // Who has not got Replaces; who lets nobody replace what is not his, as a proxy does.
            Some(403 | 420) => true,
            // A server between may have dialogs of its own. Of ours nobody else need know.
            Some(481) => !replaces.ours,
            Some(_) | None => false,
        };
        if let Some(replaces) = transfer.replaces.take_if(pointless) {
            self.fork.waiting = replaces.turns;
            self.fork.best = None;
            let own = &self.old.endpoint.identity;
            self.refused.retain(|known| known == own);
        }
    }
}

/// Returns true where a Replaces names a dialog by a tag of ours.
fn names_ours(replaces: &str) -> bool {
    replaced(replaces).is_some_and(|named| tag_shard(named.local_tag).is_some())
}

impl Conversation {
    /// A REFER within the dialog of a standing leg.
    pub(super) fn on_refer(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
    ) {
        if context.shared.settings.refer == ReferPolicy::Pass {
            return self.carry(context, side, server, request);
        }
        if self.is_transferring(side.other()) {
            return context.refuse(server, 491, "transfer by who is being transferred");
        }
        if self.closing.is_some() || self.party(side.other()).lost.is_some() {
            return context.refuse(server, 500, "transfer of a side that is being restored");
        }
        if self.inquiring.is_some() || self.giving.is_some() {
            return context.refuse(server, 491, "another transfer is under way");
        }
        let refer = match refer::read(request) {
            Ok(refer) => refer,
            Err(refusal) => return context.turn_down(server, refusal),
        };
        let named = refer.replaces.as_deref().and_then(replaced);
        let ours = named.and_then(|named| {
            Some(Named {
                shard: tag_shard(named.local_tag)?,
                call_id: named.call_id.into(),
                local_tag: named.local_tag.into(),
                remote_tag: named.remote_tag.into(),
            })
        });
        match ours {
            Some(named) => self.inquire(context, side, server, request, refer, named),
            None => match self.aim(context, side, &refer) {
                Ok(aim) => self.begin_transfer(context, side, server, request, &refer, aim),
                Err(refusal) => context.turn_down(server, refusal),
            },
        }
    }

    /// Finds who is meant: whom the transferor could call.
    pub(super) fn aim(
        &self,
        context: &Context<'_>,
        side: Side,
        refer: &Refer,
    ) -> Result<Aim, Refusal> {
        // RFC 5057 5.1: a code that speaks of the target would end the transferor's dialog.
        const NOBODY: Refusal = Refusal::new(603, "transfer to nobody who can be called");
        let settings = &context.shared.settings;
        let (asker, beyond) = (&self.party(side).asker, self.is_beyond(context, side));
        // Phones that know their server by its address write that.
        let leg = self.party(side).leg.as_ref().ok_or(NOBODY)?;
        let by = By::over(&leg.dialog.flow, asker, context.world);
        let target = dialled(&refer.target, &by, settings, context.world);
        let destination = routing::route(&target, &[], context.now, settings, context.world)
            .map_err(|_| NOBODY)?;
        if !may_have_called(asker, beyond, destination.upstream.as_deref()) {
            return Err((403, "transfer beyond what the transferor may call").into());
        }
        let destination = context
            .choose(destination, &refer.target)
            .ok_or((500, "every target of the upstream is down"))?;
        Ok(Aim {
            person: Person::at(settings, &destination, &target, refer.address.clone()),
            groups: Turn::of(
                routing::groups(destination.targets, destination.order),
                None,
                destination.fork,
            ),
            // A dialog that is none of ours: the target knows it, or not.
            replaces: refer.replaces.clone(),
            giver: None,
            rings: None,
        })
    }

    pub(super) fn begin_transfer(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        refer: &Refer,
        aim: Aim,
    ) {
        let id = self.id;
        let Some(mut old) = self.party_mut(side).leg.take() else {
            return context.refuse(server, 500, "transferor without a dialog");
        };
        let Aim {
            mut person,
            groups,
            replaces,
            giver,
            rings,
        } = aim;
        // What is said yes to outlives a restart.
        self.persist(context);
        let contact = context.contact(&old.dialog);
        let _ = old.dialog.refresh(request);
        context.accept_refer(server, &contact, refer.subscribes);
        let ring = match rings {
            Some(rings) => Millis(rings.0.saturating_add(ANSWERED.0)),
            None => Turn::ring_in_all(&groups, &context.shared.settings.fork),
        };
        let deadline = context.now + ring + MARGIN;
        if refer.subscribes {
            old.subscribe(request, deadline + REPORTS_MARGIN);
            old.report(context, id, 100);
        }
        let party = self.party_mut(side);
        // RFC 3892 2.1: it may stay away.
        let mut lines = match party.veil.hides_name() {
            true => Vec::new(),
            false => referred_by(&party.address).into_bytes(),
        };
        lines.extend_from_slice(&refer.lines);
        let replaces = replaces.map(|value| Replacing {
            value,
            ours: refer.replaces.as_deref().is_some_and(names_ours),
            turns: groups.clone(),
        });
        let same_person = party.aor == person.aor;
        person.swap(party);
        // It is not sent on to who takes the place, but called anew.
        party.walked = None;
        // What the transferee said was for somebody else.
        self.party_mut(side.other()).for_user = Box::default();
        let mut aside = Restoration::new(old, context.now, deadline);
        if same_person {
            // To another of its own phones.
            aside.refused.push(aside.old.endpoint.identity.clone());
        }
        aside.fork = Fork {
            waiting: groups,
            ..Fork::default()
        };
        let transferee = self.party(side.other()).talk();
        let own = aside.old.talk.said.clone();
        aside.transfer = Some(Box::new(Transfer {
            transferor: person,
            lines: lines.into(),
            giver,
            rings,
            replaces,
            left: transferee.and_then(|talk| talk.said.clone()),
            own,
        }));
        let to = self.party(side).aor.to_string().into();
        let transferring = Happening::Transferring {
            side,
            endpoint: aside.old.endpoint.name.clone(),
            to,
        };
        self.note(context, transferring);
        if !same_person {
            self.letters_before_transfer(context, side);
        }
        self.put_aside(context, side, aside);
        self.persist(context);
        self.restore_due(context, side);
    }

    pub(super) fn is_transferring(&self, side: Side) -> bool {
        let aside = self.party(side).lost.as_ref();
        aside.is_some_and(|aside| aside.transfer.is_some())
    }

    /// Gives the next group of targets its turn; where none is left, or somebody has said no for all
    /// (RFC 3261 16.7 step 5), the transfer has failed.
    pub(super) fn next_targets(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(aside) = &mut self.party_mut(side).lost else {
            return;
        };
        let best = aside.fork.best.as_ref().map(|best| best.status);
        let no_for_all = best.is_some_and(|status| status >= 600);
        if !aside.fork.branches.is_empty() && !no_for_all {
            return;
        }
        if aside.fork.waiting.is_empty() {
            aside.without_replaces();
        }
        let best = aside.fork.best.as_ref().map(|best| best.status);
        let turn = (!no_for_all).then(|| aside.fork.next_turn()).flatten();
        let Some(Turn { targets, meant, .. }) = turn else {
            return self.transfer_failed(context, side, best.unwrap_or(480));
        };
        let endpoints = targets.into_iter().map(|target| target.endpoint).collect();
        self.ask_meant(context, side, endpoints, meant);
    }

    /// Header lines of a target's INVITE.
    pub(super) fn transfer_lines(aside: &Restoration) -> Option<Bytes> {
        let transfer = aside.transfer.as_ref()?;
        let Some(replaces) = &transfer.replaces else {
            return Some(transfer.lines.clone());
        };
        let line = format!("{}: {}\r\n", Name::Replaces.as_str(), replaces.value);
        Some([&transfer.lines, line.as_bytes()].concat().into())
    }

    /// A target rings.
    pub(super) fn target_rings(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        if let Some(aside) = &mut self.party_mut(side).lost
            && aside.transfer.is_some()
        {
            aside.old.report(context, id, 180);
        }
    }

    /// The target has taken the transferor's place.
    pub(super) fn transferred(
        &mut self,
        context: &mut Context<'_>,
        mut transferor: Leg,
        transfer: Option<Box<Transfer>>,
        to: Box<str>,
    ) {
        let (id, side) = (self.id, transferor.side);
        let aor = transfer.map(|transfer| transfer.transferor.aor);
        transferor.report(context, id, 200);
        self.note(context, Happening::Transferred { side, endpoint: to });
        // What was lost before is the transferor's, and would be looked for at who has the call now.
        if let Some(aor) = aor.as_ref().filter(|aor| **aor != self.party(side).aor) {
            self.leave_ghosts_of(context, side, aor);
        }
        self.let_go(context, transferor, aor);
    }

    /// Nobody took the call.
    pub(super) fn transfer_failed(&mut self, context: &mut Context<'_>, side: Side, status: u16) {
        let id = self.id;
        let Some(mut aside) = self.party_mut(side).lost.take() else {
            return;
        };
        let Some(mut transfer) = aside.transfer.take() else {
            self.party_mut(side).lost = Some(aside);
            return;
        };
        self.note(context, Happening::TransferFailed { side, status });
        let gone = aside.gone;
        if gone && aside.old.superseded.is_none() {
            self.party_mut(side).lost = Some(aside);
            return self.finish(context, Ending::Transfer(status));
        }
        transfer.transferor.swap(self.party_mut(side));
        self.party_mut(side).lost = Some(aside);
        let Some(mut transferor) = self.revive(context, side) else {
            return;
        };
        if gone {
            // Its phone made room for an INVITE of ours that came too late, and has no call at all.
            self.letters_after_failed_transfer(side);
            let signal = (Signal::Superseded, Millis(0));
            return self.seek(context, side, transferor, signal, true);
        }
        transferor.report(context, id, status);
        self.letters_after_failed_transfer(side);
        self.party_mut(side).leg = Some(transferor);
        self.configure(context, side);
        self.watch(context, side);
        self.persist(context);
        // What either has said meanwhile was answered here.
        for (side, before) in [(side, transfer.own), (side.other(), transfer.left)] {
            if self
                .party(side)
                .talk()
                .is_none_or(|talk| talk.said != before)
            {
                self.catch_up(context, side.other());
            }
        }
        self.pump(context, side);
        self.announce(context, side);
    }

    /// A request of the transferor, while its target is called.
    pub(super) fn transferor_request(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        flow: Flow,
    ) {
        let id = self.id;
        let Some(aside) = &mut self.party_mut(side).lost else {
            return;
        };
        if !aside.old.dialog.owns(request) {
            return context.refuse(server, 481, "tags of another dialog");
        }
        if aside.old.dialog.receive(request).is_err() {
            return context.refuse(server, 500, "CSeq lower than one before");
        }
        aside.old.dialog.flow = flow;
        aside.old.seen = context.now;
        let _ = aside.old.life.take(Happens::Speech);
        match aside.old.life.admit(request.method()) {
            Admission::Take => {}
            Admission::Here => return context.answer(server, 200, None),
            Admission::Refuse(status, why) => return context.refuse(server, status, why),
        }
        match request.method() {
            Method::Bye => {
                if !aside.old.is_superseded(context) {
                    aside.old.superseded = None;
                }
                let _ = aside.old.life.take(Happens::Bye);
                aside.old.leave(context);
                aside.gone = true;
                context.answer(server, 200, None);
                self.persist(context);
            }
            Method::Invite | Method::Update => {
                survivor::answer_aside(context, id, &mut aside.old, server, request);
                self.persist(context);
            }
            Method::Message => self.on_message(context, side, server, request),
            Method::Options | Method::Info | Method::Notify => context.answer(server, 200, None),
            Method::Subscribe if aside.old.resubscribed(context, id, server, request) => {}
            Method::Refer => context.refuse(server, 491, "another transfer is under way"),
            Method::Subscribe
            | Method::Publish
            | Method::Prack
            | Method::Register
            | Method::Ack
            | Method::Cancel
            | Method::Other(_) => context.refuse(server, 500, "the other side is transferred"),
        }
    }

    /// Returns how long a branch of a side may ring.
    pub(crate) fn ring_time(context: &Context<'_>, aside: &Restoration) -> Millis {
        let settings = &context.shared.settings;
        match aside.transfer {
            Some(_) => aside.fork.rules.ring_timeout(&settings.fork),
            None => settings.restore.ring_timeout,
        }
    }

    /// A target failed: the best answer is the transferor's.
    pub(super) fn judge_target(aside: &mut Restoration, status: u16) {
        if aside.transfer.is_some() {
            aside
                .fork
                .judge(crate::engine::conversation::inviting::verdict(status));
        }
    }
}

/// RFC 3326 2: why the transferee gets a BYE.
pub(super) fn why_failed(status: u16) -> String {
    let phrase = reason_phrase(status);
    format!("SIP;cause={status};text=\"The transfer failed: {phrase}\"")
}
