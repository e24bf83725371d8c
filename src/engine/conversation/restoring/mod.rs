//! The re-fork: the lost side's endpoints are invited again, the first that answers is joined, and the
//! survivor learns nothing of it.
//!
//! `aside` what there is of a side without a leg, `rounds`, `reach`, `busy`, `away`, `relapses`, `turns` and `budget`
//! whom to ask, how and when, `wishes` what it is asked, `replies` what it says, `machines` where it is no person,
//! `forwarded` where it names another, `halves` where its call is two of ours, `behind` which phone of an upstream's it
//! is; `join`, `unjoined`, `wish`, `open_wish` and the session's `fits` the new leg; `repair`, `returned` and `consent`
//! a phone that comes back by itself; `survivor` what is answered meanwhile, `notice` the word to it, `tone` where it
//! takes none.

pub(crate) mod aside;
mod away;
pub(crate) mod behind;
pub(crate) mod budget;
mod busy;
mod consent;
mod forwarded;
mod halves;
pub(crate) mod join;
pub(crate) mod machines;
pub(crate) mod notice;
pub(crate) mod open_wish;
pub(crate) mod reach;
pub(crate) mod relapses;
pub(crate) mod repair;
mod replies;
mod returned;
mod rounds;
pub(crate) mod survivor;
mod tone;
mod turns;
mod unjoined;
pub(crate) mod wish;
mod wishes;

use self::aside::Restoration;
use self::busy::Busy;
use self::halves::Half;
use self::machines::Machines;
use self::turns::WAIT_MAX;
use self::wishes::wishes;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Meant;
use crate::engine::conversation::forking::breadth;
use crate::engine::conversation::forking::toward::unreached_by_media;
use crate::engine::conversation::forking::turn::turned;
use crate::engine::conversation::leg::Leg;
pub(crate) use crate::engine::conversation::session::media::{self, PortState};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Ending, GaveUp, Happening, Signal};
use crate::engine::ids::Side;
use crate::engine::locating::Located;
use crate::engine::location;
use crate::engine::ports::{Generation, Token};
use crate::engine::time::{Millis, Time};
use crate::sip::{Name, sdp};

/// A BYE that was lost on its way comes again within T1 (RFC 3261 17.1.2.2), and takes as long as any datagram.
const FAREWELL: Millis = Millis(700);

impl Conversation {
    /// A side's phone says that it has no such call. It may have hung up, with its BYE lost on the way: nobody is
    /// called before that can have come again.
    pub(crate) fn denied(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        let party = self.party(side);
        // One that has registered anew has forgotten its call, and nothing is lost over a connection.
        let anew = party.check.as_ref().is_some_and(|check| check.is_anew())
            || matches!(signal, Signal::Moved | Signal::Registration);
        let leg = party.leg.as_ref();
        let waits = !anew && leg.is_some_and(|leg| !leg.dialog.flow.transport.is_reliable());
        let begins = if waits { FAREWELL } else { Millis(0) };
        self.lose_for(context, side, signal, begins);
    }

    /// A side's endpoint is gone.
    pub(crate) fn lose(&mut self, context: &mut Context<'_>, side: Side, signal: Signal) {
        self.lose_for(context, side, signal, Millis(0));
    }

    fn lose_for(&mut self, context: &mut Context<'_>, side: Side, signal: Signal, begins: Millis) {
        if !self.party(side).is_up()
            || self.answered.is_none()
            || self.ended.is_some()
            || self.closing.is_some()
        {
            return;
        }
        if self.is_asked_where_it_was(context, side, signal) {
            return;
        }
        if self.given_alone(side) {
            return self.keep(context, 480);
        }
        if let Some(old) = self.party_mut(side).leg.take() {
            self.seek(context, side, old, (signal, begins), false);
        }
    }

    /// A side is without its leg, and its phones are asked from then on. That may be `gone` by a BYE.
    pub(crate) fn seek(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        old: Leg,
        (signal, begins): (Signal, Millis),
        gone: bool,
    ) {
        let endpoint = old.endpoint.name.clone();
        self.note(
            context,
            Happening::Lost {
                side,
                signal,
                endpoint,
            },
        );
        // What the other side has not heard of it yet is no longer so. One that was put off counts as told: it is said
        // where the same phone is back, and else another in its place.
        self.withdraw(context, side.other(), true);
        self.relapsed(context.now, side, &old, signal);
        let mut lost = Restoration::new(old, context.now, context.now + WAIT_MAX);
        lost.start = Some(context.now + begins);
        lost.gone = gone;
        lost.half = Half::of(&lost.old, signal);
        if let Some(walked) = &self.party(side).walked {
            lost.fork.trail = Some(walked.trail.clone());
            lost.fork.steps = walked.steps.clone();
        }
        self.put_aside(context, side, lost);
        if self.is_lost_too_often(context) {
            return self.close(context, side, Ending::Gave(GaveUp::TooManyRestorations));
        }
        self.persist(context);
        self.restore_due(context, side);
    }

    /// Does what a restoration wants done now.
    pub(super) fn restore_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        if self.closing.is_some() {
            return;
        }
        self.ask_who_is_free_again(context, side);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let due = |at: &mut Option<Time>| at.take_if(|at| *at <= now).is_some();
        let (all, retry) = (due(&mut lost.all_at), due(&mut lost.retry_at));
        let (named, beyond) = (due(&mut lost.named_at), due(&mut lost.beyond_at));
        if retry {
            lost.failed.clear();
        }
        let transfers = lost.transfer.is_some();
        let begins = transfers && lost.start.take().is_some();
        let waits = lost.start.is_some_and(|start| start <= now);
        if lost.over_at() <= now && lost.stands {
            return self.consent_overdue(context, side);
        }
        if lost.over_at() <= now && transfers {
            return self.transfer_failed(context, side, 408);
        }
        if lost.over_at() <= now {
            let how = match lost.no_ports {
                true => Ending::Gave(GaveUp::NoMediaPorts),
                false => Ending::RestoreTimeout(side),
            };
            return self.close(context, side, how);
        }
        self.join_due(context, side);
        self.join_silent(context, side);
        self.again_rung_out(context, side);
        if transfers {
            if begins || retry {
                self.next_targets(context, side);
            }
            return;
        }
        if waits {
            if !self.waits_for_half(context, side) {
                self.begin_restoring(context, side);
            }
        } else if retry {
            self.ask_all(context, side);
        } else if all {
            self.next_round(context, side);
        }
        if beyond {
            self.beyond_due(context, side);
        }
        if named {
            self.call_the_named(context, side);
        }
        self.ask_the_freed(context, side);
        self.ask_the_put_off(context, side);
        self.machines_due(context, side);
    }

    /// Invites those endpoints that are not being rung and have not refused, each when its turn comes.
    pub(super) fn ask(&mut self, context: &mut Context<'_>, side: Side, endpoints: Vec<Endpoint>) {
        self.ask_meant(context, side, endpoints, None);
    }

    /// The same of those who are meant, where the call was forwarded.
    pub(super) fn ask_meant(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoints: Vec<Endpoint>,
        meant: Option<Box<Meant>>,
    ) {
        self.ask_in_turn(context, side, endpoints, meant, false);
    }

    /// Invites an endpoint that is known to be there: those who wait for their turn pay for it.
    pub(super) fn ask_at_once(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        there: Endpoint,
        meant: Option<Box<Meant>>,
    ) {
        self.ask_in_turn(context, side, vec![there], meant, true);
    }

    fn ask_in_turn(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        endpoints: Vec<Endpoint>,
        meant: Option<Box<Meant>>,
        at_once: bool,
    ) {
        let (mut failed, mut away) = (false, false);
        // Who is beyond an upstream has called that by nobody: what it asks for there is for us to give.
        let survivor = self.party(side.other()).leg.as_ref();
        let beyond = survivor.is_some_and(Leg::is_beyond);
        for endpoint in endpoints {
            let Some(lost) = &self.party(side).lost else {
                return;
            };
            let ring = Self::ring_time(context, lost);
            let skip = lost.fork.rings_at(&endpoint)
                || lost.busy.holds_back(&endpoint)
                || lost.machines.holds_back(&endpoint.identity)
                || lost.puts_off(&endpoint.identity, context.now)
                || lost.transfer.is_none() && self.is_the_survivors(side, &endpoint)
                || lost.has_refused(&endpoint.identity);
            // It has just failed, and would again.
            let later = !at_once && lost.failed.iter().any(|known| known.is_at(&endpoint));
            if !at_once && lost.away.holds_back(&endpoint, context.now) {
                away = true;
                continue;
            }
            if skip || later || self.spares(context, side, &endpoint) {
                continue;
            }
            match self.make_branch(context, side, endpoint, ring) {
                Ok(mut branch) => {
                    if let Some(lost) = &mut self.party_mut(side).lost {
                        branch.giver = lost.giver();
                        branch.is_for(meant.clone());
                        let ours = beyond && lost.transfer.is_none();
                        branch.leg.dialog.ours_alone |= ours && branch.endpoint().through.is_some();
                        branch.at_once = at_once;
                        lost.fork.branches.push(branch);
                    }
                }
                Err(_) => failed = true,
            }
        }
        self.launch_again(context, side);
        let again = self.party(side).lost.as_ref().is_some_and(|lost| {
            let others = lost.retry_at.or(lost.all_at);
            let later = away || !lost.failed.is_empty();
            lost.fork.branches.is_empty() || others.is_none() && later
        });
        if failed || again {
            self.go_on(context, side);
        }
    }

    /// Sends what is ready to be sent, once there are ports.
    pub(super) fn launch_again(&mut self, context: &mut Context<'_>, side: Side) {
        let offer = self.offer_anew(side);
        let streams = match &offer {
            Some(offer) => media::streams_needed(Some(offer), context.shared.settings.media.mode),
            None => 0,
        };
        let claim = self.claim(side);
        let Some(mut lost) = self.party_mut(side).lost.take() else {
            return;
        };
        self.want_ports(context, side, &mut lost.fork, (streams, claim));
        let share = breadth::share(breadth::own(), lost.fork.branches.len());
        lost.fork.lead_on();
        let (ring, lines) = (Self::ring_time(context, &lost), Self::transfer_lines(&lost));
        let transfers = lost.transfer.is_some();
        let (mut sent, reliable, rings) = (Vec::new(), offer.is_some(), lost.rings());
        let mut waits = false;
        let mut branches = std::mem::take(&mut lost.fork.branches);
        for branch in &mut branches {
            if !self.callable(branch, streams) {
                continue;
            }
            // Of who is given nothing rings.
            let given = transfers || branch.giver.is_some();
            let free = given || Restoration::may_call(&mut lost.turns, context, self.id, branch);
            if !free {
                waits = true;
                continue;
            }
            lost.attempts += 1;
            branch.attempt = lost.attempts;
            let same = location::same(&branch.leg.endpoint.identity, &lost.old.endpoint.identity);
            let plain = lost
                .plain
                .iter()
                .any(|known| location::same(known, &branch.leg.endpoint.identity));
            // The same phone is asked for the session that it had.
            let turned = turned(&lost.turned, &branch.leg.endpoint.identity);
            branch.turned = turned.is_some();
            branch.secure = turned.or_else(|| same.then(|| lost.old.talk.is_keyed()));
            branch.replaces = same && lost.old.abilities.replaces && !plain && !lost.gone;
            branch.names = branch.replaces.then_some(lost.old.id);
            // The others that it may be take no part before it is asked without Replaces.
            let alone = self.missed_after(context);
            let span = if branch.may_miss() {
                ring.min(alone)
            } else {
                ring
            };
            branch.until = context.now + span;
            if let (Some(giver), Some(offer)) = (branch.giver, &offer) {
                self.ask_for(context, branch, (giver, rings), offer);
                continue;
            }
            if let Some(lines) = &lines {
                self.call(
                    context,
                    branch,
                    offer.as_deref(),
                    70,
                    reliable,
                    |builder, _| builder.header(Name::MaxBreadth, share).raw_lines(lines),
                );
                continue;
            }
            let for_user = &self.party(side.other()).for_user;
            let settings = &context.shared.settings.restore;
            let wishes = wishes(
                branch.replaces.then_some(&lost.old),
                same && settings.auto_answer_same,
                lost.minds_machines(context, branch.endpoint()),
            );
            self.call(
                context,
                branch,
                offer.as_deref(),
                70,
                reliable,
                |builder, _| {
                    let builder = builder.header(Name::MaxBreadth, share);
                    wishes.write(builder).raw_lines(for_user)
                },
            );
            sent.push((branch.leg.endpoint.name.clone(), lost.attempts));
        }
        lost.fork.branches = branches;
        let waits_anew = lost.wait(context.now, waits);
        let mut branches = lost.fork.branches.iter();
        if lost.start.is_none() && branches.all(|branch| branch.attempt > 0) {
            // Nobody is left who needs the turn.
            lost.turns.leave(context);
        }
        self.party_mut(side).lost = Some(lost);
        if sent.is_empty() && !transfers && !waits_anew {
            return;
        }
        for (endpoint, attempt) in sent {
            self.note(
                context,
                Happening::Reinvited {
                    side,
                    endpoint,
                    attempt,
                },
            );
        }
        self.persist(context);
    }

    /// Returns the offer to a new endpoint: what is in use first, then the rest of what the survivor last offered,
    /// for what it has agreed to with the lost one may be less.
    pub(super) fn offer_anew(&self, side: Side) -> Option<Box<str>> {
        let talk = self.party(side.other()).talk()?;
        let offer = self.offer_to(side)?;
        Some(talk.widened(&offer).unwrap_or(offer))
    }

    /// Returns what an endpoint is offered of what the survivor said last, what is in use first.
    pub(super) fn offer_to(&self, side: Side) -> Option<Box<str>> {
        let talk = self.party(side.other()).talk()?;
        let resumed = self
            .resumed(side)
            .filter(|_| self.party(side).lost.is_some());
        let said = resumed.as_deref().or(talk.said.as_deref())?;
        let ordered = talk
            .told
            .as_deref()
            .and_then(|told| sdp::offer_again(said.as_bytes(), told.as_bytes()))
            .and_then(|offer| String::from_utf8(offer).ok());
        Some(ordered.map_or_else(|| said.into(), Into::into))
    }

    /// Returns what the survivor would say without the hold of who is there, or was: where another takes that place
    /// nobody is left to take it off.
    pub(super) fn resumed(&self, side: Side) -> Option<Box<str>> {
        let holder = self.party(side).talk()?.said.as_deref()?;
        self.party(side.other()).talk()?.resumed(holder)
    }

    /// The relay has opened ports for a side, or has none.
    pub(super) fn ports_opened(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        generation: Generation,
    ) {
        if self.answered.is_none() {
            return self.invitation_ports(context, side, generation);
        }
        if self.party(side).lost.is_none() {
            // After a restart: the streams of the standing leg run on the ports taken again.
            return self.configure(context, side);
        }
        let ports = &mut self.ports[side.index()];
        if !ports.failed(generation) {
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.no_ports = false;
            }
            return self.launch_again(context, side);
        }
        if !ports.do_without(generation) {
            ports.state = PortState::None;
            if self.is_transferring(side) {
                return self.transfer_failed(context, side, 503);
            }
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.no_ports = true;
            }
        }
        // The endpoints at our other addresses ring on; these are asked again once ports may be free.
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        for branch in lost.fork.take_of(generation) {
            self.note(context, unreached_by_media(&branch));
            self.drop_branch(context, branch, None);
        }
        self.go_on(context, side);
    }

    pub(super) fn again_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        for side in [Side::Caller, Side::Callee] {
            let Some(lost) = &mut self.party_mut(side).lost else {
                continue;
            };
            let failed = Self::resolved(context, &mut lost.fork, token, targets);
            self.launch_again(context, side);
            if failed.is_some() {
                self.go_on(context, side);
            }
        }
    }

    /// Ends what is under way for a side; it stays lost.
    pub(super) fn stop_restoring(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(mut lost) = self.party_mut(side).lost.take() else {
            return;
        };
        let timeout = context.shared.settings.restore.timeout.of(self.kind);
        lost.turns.leave(context);
        lost.wait(context.now, false);
        self.cancel_branches(context, &mut lost.fork, None);
        self.unask(context, side.other(), lost.joining.take());
        if lost.start.take().is_some() {
            // What goes on later, if anything does, has the time of one that has begun.
            lost.deadline = context.now + timeout;
        }
        (lost.all_at, lost.retry_at, lost.named_at) = (None, None, None);
        lost.beyond_at = None;
        lost.failed.clear();
        lost.relapsed.clear();
        (lost.busy, lost.before) = (Busy::default(), None);
        lost.machines = Machines::default();
        self.party_mut(side).lost = Some(lost);
    }
}
