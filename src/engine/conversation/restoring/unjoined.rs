//! A survivor that says nothing to the re-INVITE by which a new phone is to be joined. That is a sign of loss of the
//! survivor's: it is asked whether it is there. Where it is lost the new phone is joined without it; where it lives
//! all the same, the new phone is let go, and is asked once more later. Where nobody is reached and its media comes,
//! the new phone waits for it to be back.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::events::{Happening, Refuser, Signal};
use crate::engine::ids::{LegId, Side};
use crate::engine::location;
use crate::engine::time::Millis;
use crate::engine::transaction::ClientId;

/// How many times over a probe's patience the survivor may say nothing to the re-INVITE, where it lives.
const PATIENCE: u64 = 3;
/// Why a new phone gets a BYE which the survivor did not answer for (RFC 3326).
const UNANSWERED: &str = "SIP;cause=408;text=\"The other side does not answer\"";

impl Conversation {
    /// The survivor did not answer the re-INVITE: it may be lost itself, or only not take it.
    pub(crate) fn join_unanswered(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        leg: LegId,
        signal: Signal,
    ) {
        let Some(survivor) = self.side_of(leg) else {
            return;
        };
        let waits = signal == Signal::Transport && self.may_be_back(context, survivor);
        let offered = self.leg_mut(survivor).map(|leg| leg.offered);
        if !waits && !offered.is_some_and(|offered| self.lives_since(context, survivor, offered)) {
            return self.lose(context, survivor, signal);
        }
        let side = survivor.other();
        if let Some((waiting, before)) = self.joining(side, client) {
            if let Some(leg) = self.leg_mut(survivor) {
                leg.talk.back_to(before);
            }
            if let Some(lost) = &mut self.party_mut(side).lost {
                lost.before = None;
            }
            if waits {
                self.join_later(context, side, waiting, Millis(0));
            } else {
                self.unjoined(context, side, waiting);
                self.restate_to_unsure(context, survivor);
            }
        }
        self.suspect(context, survivor, signal);
    }

    /// Nobody is reached where the survivor is, and its media comes. Returns true while that is no more than a
    /// suspicion: its connection may be down, and it has its grace to be back on another.
    fn may_be_back(&mut self, context: &Context<'_>, survivor: Side) -> bool {
        let (now, grace) = (context.now, context.shared.settings.detect.grace);
        let heard = self.is_heard(survivor);
        let lost = self.party_mut(survivor.other()).lost.as_mut();
        lost.filter(|_| heard)
            .is_some_and(|lost| *lost.unreached.get_or_insert(now + grace) > now)
    }

    /// The survivor says nothing to the re-INVITE: whether it is there is asked of it, and where it lives all the
    /// same the new phone need not hear silence until the re-INVITE has its time-out.
    pub(super) fn join_silent(&mut self, context: &mut Context<'_>, side: Side) {
        let (now, survivor) = (context.now, side.other());
        let pause = self.probing(context).timeout.times(PATIENCE - 1);
        let lost = self.party_mut(side).lost.as_mut();
        let Some(joining) = lost.and_then(|lost| lost.joining.as_mut()) else {
            return;
        };
        if joining.silent_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let (waiting, doubted) = (joining.leg, joining.doubted);
        let silent = joining.asked.as_ref();
        let silent =
            silent.is_some_and(|(client, _)| context.shared.transactions.is_silent(*client));
        if !silent {
            return;
        }
        if !doubted {
            (joining.doubted, joining.silent_at) = (true, Some(now + pause));
            return self.suspect(context, survivor, Signal::NoAnswer);
        }
        let offered = self.leg_mut(survivor).map(|leg| leg.offered);
        if !offered.is_some_and(|offered| self.lives_since(context, survivor, offered)) {
            // What is asked of it tells.
            return;
        }
        let lost = self.party_mut(side).lost.as_mut();
        let joining = lost.and_then(|lost| lost.joining.take());
        self.unask(context, survivor, joining);
        self.unjoined(context, side, waiting);
    }

    /// The survivor lives, and does not answer for a new phone: that one has not refused, and is asked once more. The
    /// survivor gets no second re-INVITE beside the first (RFC 3261 14.1), so not before that one has had its time.
    fn unjoined(&mut self, context: &mut Context<'_>, side: Side, leg: LegId) {
        let asked = self.party(side.other()).leg.as_ref();
        let offered = asked.filter(|asked| asked.is_asked_still(context));
        let times_out = context.shared.settings.timers.t1.times(64);
        let over = offered.map(|asked| asked.offered + times_out);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(branch) = lost.fork.take(leg) else {
            return;
        };
        if branch.asks.is_some() {
            return self.not_agreed(context, side, branch, 500);
        }
        let identity = &branch.leg.endpoint.identity;
        if lost
            .unjoined
            .iter()
            .any(|known| location::same(known, identity))
        {
            lost.refused.extend(branch.identities());
        } else {
            lost.unjoined.push(identity.clone());
            lost.failed.push(branch.leg.endpoint.clone());
            if let Some(over) = over {
                lost.away.leave(&branch.leg.endpoint, over);
            }
        }
        Self::judge_target(lost, 408);
        let refused = Happening::Refused {
            side,
            endpoint: branch.leg.endpoint.name.clone(),
            status: 408,
            by: Refuser::Survivor,
            attempt: branch.attempt(),
        };
        self.drop_branch(context, branch, Some(UNANSWERED));
        self.note(context, refused);
        self.go_on(context, side);
    }
}
