//! Going on after a restart, from the durable state alone.

use super::Conversation;
use super::context::{Context, Errand, What};
use super::forking::{Branch, BranchState};
use super::restoring::join::Joining;
use super::restoring::reach::standing;
pub(crate) use super::session::media::PortState;
use crate::engine::events::Happening;
use crate::engine::ids::{Flow, Side};

/// What may have been sent since the last snapshot is jumped over: CSeq only has to rise (RFC 3261 12.2.1.1).
pub(super) const JUMP: u32 = 1000;

impl Conversation {
    /// Takes the conversation up again.
    pub(crate) fn rebuild(&mut self, context: &mut Context<'_>) {
        for side in [Side::Caller, Side::Callee] {
            let id = self.id;
            // Whether the survivor has agreed to who repairs itself is not known: it is told what stands. For who waits
            // to be joined it is asked once more.
            let lost = self.party_mut(side).lost.as_mut();
            let joins =
                |branch: &Branch| branch.state == BranchState::Joining && !branch.is_being_asked();
            let waits = lost
                .as_ref()
                .is_some_and(|lost| lost.fork.branches.iter().any(joins));
            let before = lost.and_then(|lost| lost.before.take());
            if let (Some(before), Some(survivor)) = (before, self.leg_mut(side.other())) {
                survivor.talk.back_to(*before);
                survivor.lent |= !waits;
                survivor.unsure |= waits;
            }
            // Whoever wanted to replace a leg that stands asks again (`open_invite`), or has it still.
            let stands = self
                .party(side)
                .lost
                .as_ref()
                .is_some_and(|lost| lost.stands);
            if stands && let Some(old) = self.revive(context, side) {
                self.party_mut(side).leg = Some(old);
            }
            // A notice that went out may have arrived: it is not said twice. The last word is, for a BYE
            // that nothing explains is worse.
            let party = self.party_mut(side);
            if !party.queue.letters.is_empty() {
                let queue = &mut party.queue;
                queue
                    .letters
                    .retain(|letter| !letter.author.is_said_once() || letter.tries == 0);
                queue.recount();
                context.shared.queued.0 += queue.letters.len();
                context.shared.queued.1 += queue.bytes();
            }
            let live = party.leg.as_mut();
            for leg in live
                .into_iter()
                .chain(party.lost.as_mut().map(|lost| &mut lost.old))
            {
                leg.dialog.resume(JUMP);
                leg.resume_timer(context.now);
                leg.asks_anew(context.now);
                leg.untold
                    .iter_mut()
                    .for_each(|untold| untold.resume(context.now));
                leg.overtaken = leg.reliable;
                context.know_tag(&leg.dialog.local_tag, (id, leg.id));
            }
            // A phone that repairs its lost dialog goes on with the ports that it knows.
            let old = party.lost.as_mut().and_then(|lost| {
                let toward = lost.old.dialog.flow.peer.ip();
                let ports = &mut lost.old_ports;
                ports
                    .are_taken()
                    .then(|| ports.open_again(id, side, toward))
            });
            let toward = party.leg.as_ref().map(|leg| leg.dialog.flow.peer.ip());
            if let Some(command) = old {
                self.media(context, command);
            }
            let ports = &mut self.ports[side.index()];
            ports.keep_taken();
            let toward = toward.or_else(|| ports.addresses.first().map(std::net::SocketAddr::ip));
            match toward.filter(|_| ports.are_taken()) {
                Some(toward) => {
                    let first = ports.open_again(id, side, toward);
                    let others = ports.open_others_again(id, side);
                    self.media(context, first);
                    for command in others {
                        self.media(context, command);
                    }
                }
                None => ports.state = PortState::None,
            }
            self.resume_restoring(context, side);
            if self.party(side).leg.is_some() {
                self.watch(context, side);
            }
        }
        let id = self.id;
        for leaving in &mut self.leaving {
            leaving.leg.dialog.resume(JUMP);
            leaving.leg.resume_reports(context, id);
            context.know_tag(&leaving.leg.dialog.local_tag, (id, leaving.leg.id));
        }
        self.success_resumes(context);
        self.ghosts_resume(context.now);
        self.giving_resumes(context);
        if self.giving.is_none() {
            self.restate(context);
        }
        self.close_later(context);
        self.note(context, Happening::Rebuilt);
        for side in [Side::Caller, Side::Callee] {
            self.pump(context, side);
            self.announce(context, side);
        }
        self.take_open_invite(context);
        self.persist(context);
    }

    /// After a restart: the INVITEs that were out go out again, as retransmissions to the phones. Those that went over
    /// a connection that the phones have opened may ring there, and wait for them to come back.
    fn resume_restoring(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        lost.old.resume_reports(context, id);
        let mut severed = Vec::new();
        let mut tags = vec![(lost.old.dialog.local_tag.clone(), lost.old.id)];
        let fork = &mut lost.fork;
        let uncalled = |branch: &mut Branch| branch.state == BranchState::Ready;
        let uncalled = fork.branches.extract_if(.., uncalled);
        let uncalled: Vec<Branch> = uncalled.collect();
        // They have had no INVITE, and those that have ring on. Nobody looks anew for a target of a transfer, or for
        // whom somebody has named that forwards.
        let (kept, others): (Vec<_>, Vec<_>) = (uncalled.into_iter())
            .partition(|branch| lost.transfer.is_some() || branch.meant.is_some());
        if others.iter().any(|branch| branch.giver.is_some()) {
            // The other half of the call is asked for its phone once more.
            lost.start = Some(context.now);
        } else if !others.is_empty() {
            lost.retry_at = lost.retry_at.or(Some(context.now));
        }
        fork.wait_again(kept);
        // Whose ACK was to bring a session: nobody knows any more what it is for.
        let picks = fork
            .branches
            .extract_if(.., |branch| branch.is_being_asked());
        let mut picks: Vec<Branch> = picks.collect();
        for branch in &mut fork.branches {
            if branch.state == BranchState::Joining {
                // Whether the survivor has agreed is not known: it is asked once more.
                branch.leg.dialog.resume(JUMP);
                lost.joining = Some(Joining::again(branch.leg.id, context.now));
                tags.push((branch.leg.dialog.local_tag.clone(), branch.leg.id));
                continue;
            }
            let errand = Errand {
                conversation: id,
                leg: branch.leg.id,
                what: What::Invite,
            };
            let (invite, flow) = (branch.invite.clone(), branch.leg.dialog.flow);
            // What still goes there opens another connection.
            let anew = Flow {
                connection: flow.connection.filter(|own| own.is_to_host()),
                ..flow
            };
            let stands = standing(context, &flow);
            branch.client = Some(
                if stands.is_none() && branch.endpoint().flow == Some(flow) {
                    severed.push(branch.leg.id);
                    context.resume(invite, anew, errand)
                } else {
                    context.send(invite, stands.unwrap_or(anew), errand)
                },
            );
            tags.push((branch.leg.dialog.local_tag.clone(), branch.leg.id));
        }
        if lost.fork.branches.is_empty() && lost.start.is_none() && lost.retry_at.is_none() {
            lost.retry_at = Some(context.now);
        }
        for (tag, leg) in tags {
            context.know_tag(&tag, (id, leg));
        }
        for leg in severed {
            self.branch_severed(context, leg);
        }
        for branch in &mut picks {
            branch.leg.dialog.resume(JUMP);
        }
        for branch in picks {
            self.drop_branch(context, branch, None);
        }
    }
}
