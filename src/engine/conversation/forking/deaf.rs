//! A phone that rings, and of which ICMP says that nobody takes what is sent to it: early media, or SIP over UDP.
//!
//! ICMP can be forged, and a network that is away for a moment sends it too. So the phone is asked over every flow
//! that is known of it, by OPTIONS in its early dialog, now and then until `detect.grace` is over. What it answers is
//! life, and so are a response to its INVITE, its registration and its media. Else its branch has failed, as that of
//! a phone whose connection has closed (`severed`).

use super::{Branch, BranchState};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What};
use crate::engine::conversation::doubting::outcome::is_away;
use crate::engine::conversation::restoring::reach::other_flows;
use crate::engine::events::{Happening, Signal};
use crate::engine::ids::LegId;
use crate::engine::time::{Millis, Time};
use crate::sip::{Builder, Message, Method};

/// Where ICMP answers the question too, the phone is asked again after that.
const AGAIN: Millis = Millis(1_000);
/// One that has answered is asked no more often, whoever says what of it.
const SELDOM: Millis = Millis::from_secs(4);

/// What is known of one that was asked whether it is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deaf {
    /// When it was asked last.
    asked: Option<Time>,
    doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// It has been heard since.
    None,
    /// The answer is awaited.
    Asked,
    /// It is asked again.
    Due(Time),
}

impl Branch {
    /// Something of its phone is heard. Returns true where that was doubted.
    pub(crate) fn is_heard(&mut self) -> bool {
        self.severed = None;
        let doubted = self.is_doubted();
        if let Some(deaf) = &mut self.deaf {
            deaf.doubt = Doubt::None;
        }
        doubted
    }

    fn is_doubted(&self) -> bool {
        self.deaf.is_some_and(|deaf| deaf.doubt != Doubt::None)
    }

    pub(super) fn asks_again_at(&self) -> Option<Time> {
        match self.deaf?.doubt {
            Doubt::None | Doubt::Asked => None,
            Doubt::Due(at) => Some(at),
        }
    }
}

impl Conversation {
    /// ICMP says that nobody takes what goes to a phone that rings.
    pub(crate) fn branch_deaf(&mut self, context: &mut Context<'_>, leg: LegId, signal: Signal) {
        let detect = &context.shared.settings.detect;
        let (now, grace) = (context.now, detect.grace);
        if !detect.transport {
            return;
        }
        let Some((side, fork)) = self.fork_of(leg) else {
            return;
        };
        // One that has not rung has no dialog in which it could be asked.
        let rings = |branch: &&mut Branch| {
            branch.state == BranchState::Calling && branch.rang && branch.severed.is_none()
        };
        let Some(branch) = fork.branch(leg).filter(rings) else {
            return;
        };
        let asked = branch.deaf.and_then(|deaf| deaf.asked);
        let due = asked.map_or(now, |asked| now.max(asked + SELDOM));
        branch.severed = Some(due + grace);
        let doubt = Doubt::Due(due);
        branch.deaf = Some(Deaf { asked, doubt });
        let suspected = Happening::Suspected {
            side,
            signal,
            endpoint: branch.endpoint().name.clone(),
        };
        self.note(context, suspected);
        if due <= now {
            self.ask_deaf(context, leg);
        }
    }

    /// ICMP says so of the early media: it is that of whom the caller hears.
    pub(crate) fn early_media_refused(&mut self, context: &mut Context<'_>) {
        let first = self.invitation.as_deref();
        if let Some(leg) = first.and_then(|first| first.voices.heard_for_sure(context.now)) {
            self.branch_deaf(context, leg, Signal::MediaUnreachable);
        }
    }

    /// The early media comes again.
    pub(crate) fn early_media_flows(&mut self, context: &mut Context<'_>) {
        let first = self.invitation.as_deref();
        if let Some(leg) = first.and_then(|first| first.voices.heard()) {
            self.deaf_lives(context, leg);
        }
    }

    fn ask_deaf(&mut self, context: &mut Context<'_>, leg: LegId) {
        let id = self.id;
        let Some(asked) = self.branch_mut(leg).cloned() else {
            return;
        };
        let others = other_flows(context, self.called(&asked), &asked.leg);
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let (method, what) = (&Method::Options, What::Probe);
        branch.deaf = Some(Deaf {
            asked: Some(context.now),
            doubt: Doubt::Asked,
        });
        let leg = &mut branch.leg;
        leg.request(context, id, method, what, Builder::end);
        for flow in others {
            leg.request_over(context, id, method, what, flow, Builder::end);
        }
    }

    /// Asks those once more whose time has come.
    pub(crate) fn deaf_due(&mut self, context: &mut Context<'_>) {
        let due = |branch: &&Branch| branch.asks_again_at().is_some_and(|at| at <= context.now);
        let branches = self.branches().filter(due);
        let due: Vec<LegId> = branches.map(|branch| branch.leg.id).collect();
        for leg in due {
            self.ask_deaf(context, leg);
        }
    }

    /// An answer to OPTIONS of who rings: what somebody on the way says of it proves nothing.
    pub(crate) fn deaf_answers(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) {
        if response.status() >= 200 && !is_away(response.status()) {
            self.deaf_lives(context, leg);
        }
    }

    /// ICMP has answered that, too.
    pub(crate) fn deaf_unreached(&mut self, context: &Context<'_>, leg: LegId) {
        let again = context.now + AGAIN;
        if let Some(branch) = self.branch_mut(leg).filter(|branch| branch.is_doubted())
            && let Some(deaf) = &mut branch.deaf
        {
            deaf.doubt = Doubt::Due(again);
        }
    }

    /// Who was doubted while it rings is there.
    pub(crate) fn deaf_lives(&mut self, context: &mut Context<'_>, leg: LegId) {
        let Some((side, fork)) = self.fork_of(leg) else {
            return;
        };
        let Some(branch) = fork.branch(leg).filter(|branch| branch.is_doubted()) else {
            return;
        };
        branch.is_heard();
        let endpoint = branch.endpoint().name.clone();
        self.note(context, Happening::Alive { side, endpoint });
    }
}
