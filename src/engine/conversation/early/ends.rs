//! An early dialog ends while others go on, and a caller that wishes to is told so (RFC 6228).
//!
//! Where the caller sees one early dialog that stands for all phones, there is nothing to tell: it ends with
//! the last of them.

use super::Early;
use super::prack::{Owed, Wants};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::carrying::crossing::with_session;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::inviting::Invitation;
use crate::engine::dialog::reliable::{self, Carries, Order};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::settings::EarlyDialogs;
use crate::sip::{Message, Name, reason_phrase};

impl Invitation {
    /// Returns true where the caller will hear of others yet.
    fn goes_on(&self) -> bool {
        !self.fork.branches.is_empty() || !self.fork.waiting.is_empty()
    }
}

impl Conversation {
    /// A branch of the first fork is gone with this status, and what the caller has seen of it with it.
    pub(crate) fn early_ended(&mut self, context: &mut Context<'_>, leg: LegId, status: u16) {
        let invitation = self.invitation.as_deref();
        if status >= 600 || !invitation.is_some_and(Invitation::goes_on) {
            // The final response follows, and ends all of them.
            return;
        }
        self.end_early(context, leg, None, reason(status).as_bytes());
    }

    /// One of those behind a branch has hung up before it answered. Returns false where it was the only one.
    pub(crate) fn hung_up_behind(&mut self, context: &mut Context<'_>, leg: LegId) -> bool {
        let Some(branch) = self.branch_mut(leg) else {
            return false;
        };
        let tag = branch.leg.dialog.remote_tag.clone();
        let others = branch.hangs_up();
        if others {
            self.end_early(context, leg, tag.as_deref(), reason(480).as_bytes());
        }
        others
    }

    /// A proxy says that one of the phones behind it rings no more, and that others may.
    pub(crate) fn early_ended_beyond(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
        flow: Flow,
    ) {
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        let rseq = reliable::rseq(response);
        if let (Some(rseq), Some(tag)) = (rseq, response.to_tag())
            && branch.heard.take(tag, rseq) != Order::Take
        {
            return;
        }
        let owed = rseq.map(|rseq| Owed::apart(&branch.leg, rseq, response, flow));
        if let Some(owed) = owed {
            self.prack(context, &owed, None);
        }
        if self.is_inviting(leg) {
            let lines = self.lines_of(context, Side::Callee, response);
            let lines = with_session(lines, response);
            self.end_early(context, leg, response.to_tag(), &lines);
        }
    }

    /// All that the caller has of a branch ends, or what it has of one behind it.
    fn end_early(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        tag: Option<&str>,
        lines: &[u8],
    ) {
        if let Some(invitation) = self.invitation.as_deref_mut() {
            invitation.voices.end(leg, tag);
        }
        if context.shared.settings.fork.early_dialogs != EarlyDialogs::Forward {
            return;
        }
        let Some(invitation) = self.invitation.as_deref() else {
            return;
        };
        let meant = |early: &Early| {
            let of = early.branches.contains(&leg) && !early.over;
            of && tag.is_none_or(|tag| early.far.as_deref() == Some(tag))
        };
        let all = invitation.early.iter().enumerate();
        let ended: Vec<usize> = all
            .filter(|(_, early)| meant(early))
            .map(|(at, _)| at)
            .collect();
        for at in ended {
            self.end_one(context, at, lines);
        }
    }

    fn end_one(&mut self, context: &mut Context<'_>, at: usize, lines: &[u8]) {
        let timers = context.shared.settings.timers;
        let Some(invitation) = self
            .invitation
            .as_deref_mut()
            .filter(|first| first.told_ends)
        else {
            return;
        };
        let (server, wants) = (invitation.server, invitation.wants);
        let Some(early) = invitation.early.get_mut(at) else {
            return;
        };
        if std::mem::replace(&mut early.over, true) || early.left {
            return;
        }
        let number = match wants {
            Wants::Never | Wants::Supported => None,
            Wants::Required => match early.sent.number() {
                Some(number) => Some(number),
                None => return,
            },
        };
        let contact = context.contact(&early.dialog);
        let tag = Some(&*early.dialog.local_tag);
        let bytes = context.compose(server, 199, reason_phrase(199), tag, |builder| {
            let builder = builder.header(Name::Contact, contact).raw_lines(lines);
            match number {
                Some(number) => builder
                    .header(Name::Require, "100rel")
                    .header(Name::RSeq, number)
                    .end(),
                None => builder.end(),
            }
        });
        let Some(bytes) = bytes else { return };
        let again = bytes.clone();
        let now = number.is_none_or(|_| {
            let sent = &mut early.sent;
            sent.push(199, again, Carries::Nothing, context.now, &timers)
        });
        if now {
            context.reply(server, 199, bytes);
        }
    }
}

fn reason(status: u16) -> String {
    let (name, text) = (Name::Reason.as_str(), reason_phrase(status));
    format!("{name}: SIP;cause={status};text=\"{text}\"\r\n")
}
