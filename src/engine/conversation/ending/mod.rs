//! The end: by a farewell, by the operator, or since nobody came back.
//!
//! `parting` a BYE that waits for an ACK, `stray` a 2xx that nobody waits for, `ghosts` the end of lost dialogs,
//! `farewells` BYEs that are out meanwhile, `late` of those that an answer makes after the call was won, `graves` the same after the end of all.

pub(crate) mod farewells;
pub(crate) mod ghosts;
pub(crate) mod graves;
pub(crate) mod late;
pub(crate) mod parting;
pub(crate) mod stray;

use serde::{Deserialize, Serialize};

use self::ghosts::Haunt;
pub(super) use self::ghosts::Haunts;
use self::parting::Bye;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::carrying::course::Course;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
pub(crate) use crate::engine::conversation::letters::queue::Author;
use crate::engine::conversation::restoring::reach::other_flows;
use crate::engine::conversation::session::media;
use crate::engine::conversation::transferring::why_failed;
use crate::engine::dialog::Life;
use crate::engine::events::{Ending, GaveUp, Happening, NoticeOutcome};
use crate::engine::ids::{Aor, Side};
use crate::engine::ports::MediaCommand;
use crate::engine::time::{Millis, Time};

/// How long the BYE waits for the answer to the last word, over each flow that the phone has.
const LAST_WORD: Millis = Millis::from_secs(2);
/// Of so many beside the first.
const FLOWS_MAX: usize = 3;
/// Notifications of messages that were not delivered whose answers it waits for too.
const WORDS_MAX: u32 = 15;
/// RFC 3326 2: why the survivor gets a BYE.
const GONE: &str = "SIP;cause=480;text=\"The other party could not be reached again\"";
const TOO_OFTEN: &str = "SIP;cause=480;text=\"The other party was lost too often\"";
/// The same, where the other was found and has declined.
const DECLINED: &str = "SIP;cause=603;text=\"The other party has declined to go on\"";

/// RFC 3326 2, Q.850 31: the operator, or the process that ends, has no better one.
const ORDERED: &str = "Q.850;cause=31;text=\"Ended by the operator\"";

/// The last word is on its way to the survivor.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Closing {
    pub(super) at: Time,
    how: Ending,
    /// Words before the last one whose answers it waits for.
    #[serde(default)]
    words: u32,
}

/// Returns the way of the last word to a leg: over each flow of its phone, since nobody is asked any more whether
/// that is there.
pub(crate) fn last_word_goes(context: &Context<'_>, aor: &Aor, leg: &Leg) -> Course {
    let others = other_flows(context, aor, leg);
    let course = context.course(&leg.dialog);
    course
        .or_over(others.into_iter().take(FLOWS_MAX))
        .each_for(LAST_WORD)
}

impl Conversation {
    /// Nobody came back in time, or we give up: the survivor is told, then gets its BYE.
    pub(super) fn close(&mut self, context: &mut Context<'_>, lost: Side, how: Ending) {
        if self.closing.is_some() {
            return;
        }
        for side in [Side::Caller, Side::Callee] {
            self.stop_restoring(context, side);
            self.party_mut(side).check = None;
        }
        if !self.party(lost.other()).is_up() {
            return self.finish(context, how);
        }
        self.closing = Some(Closing {
            at: context.now + self.last_word_lasts(context, lost.other()),
            how,
            words: 0,
        });
        let told = self.tell_all_undelivered(context, lost);
        if let Some(closing) = &mut self.closing {
            closing.words = told.min(WORDS_MAX);
        }
        self.last_word(context, lost, how);
        self.persist(context);
    }

    /// The survivor has answered one of the words before the last: its phone has the same time for the next.
    pub(super) fn closing_goes_on(&mut self, context: &Context<'_>) {
        let lasts = self.last_words_last(context);
        if let Some(closing) = &mut self.closing
            && closing.words > 0
        {
            closing.words -= 1;
            closing.at = context.now + lasts;
        }
    }

    /// Returns how long the last word may take: each flow of the phone has its turn.
    fn last_word_lasts(&self, context: &Context<'_>, side: Side) -> Millis {
        let party = self.party(side);
        let course = |leg| last_word_goes(context, &party.aor, leg).flows().count();
        let flows = party.leg.as_ref().map_or(1, course);
        LAST_WORD.times(flows as u64)
    }

    fn last_words_last(&self, context: &Context<'_>) -> Millis {
        let lasts = |side| self.last_word_lasts(context, side);
        lasts(Side::Caller).max(lasts(Side::Callee))
    }

    /// The survivor's phone has asked for the last word a little later.
    pub(super) fn closes_after(&mut self, context: &Context<'_>, pause_ends: Time) {
        let lasts = self.last_words_last(context);
        if let Some(closing) = &mut self.closing {
            closing.at = pause_ends + lasts;
        }
    }

    /// The survivor has answered the last word.
    pub(super) fn last_word_said(&mut self, context: &mut Context<'_>) {
        if let Some(closing) = self.closing {
            self.finish(context, closing.how);
        }
    }

    /// The last word to a side is not waited for any more; its phone may have put it off.
    pub(super) fn last_word_ends(&mut self, context: &mut Context<'_>, side: Side) {
        let queue = &self.party(side).queue;
        let mut letters = queue.letters.iter();
        let Some(word) = letters.find(|letter| letter.author == Author::LastWord) else {
            return;
        };
        let number = word.number;
        let outcome = match word.tries > 0 && queue.under_way != Some(number) {
            true => NoticeOutcome::Refused,
            false => NoticeOutcome::Unanswered,
        };
        self.dequeue(context, side, number);
        self.outcome(context, side, Author::LastWord, outcome);
    }

    /// After a restart the last word goes out once more, and is given its time.
    pub(super) fn close_later(&mut self, context: &Context<'_>) {
        let lasts = self.last_words_last(context);
        if let Some(closing) = &mut self.closing {
            closing.at = closing.at.max(context.now + lasts);
        }
    }

    pub(super) fn close_due(&mut self, context: &mut Context<'_>) {
        if let Some(closing) = self.closing
            && closing.at <= context.now
        {
            self.finish(context, closing.how);
        }
    }

    /// The operator ends it.
    pub(crate) fn hang_up_both(&mut self, context: &mut Context<'_>) {
        if self.invitation.is_some() {
            return self.give_up_inviting(context, 480, Ending::Operator, None);
        }
        self.finish(context, Ending::Operator);
    }

    /// Ends everything that still stands and gives everything back.
    pub(super) fn finish(&mut self, context: &mut Context<'_>, how: Ending) {
        if self.ended.is_some() {
            return;
        }
        if matches!(how, Ending::HungUp(_)) {
            self.hangs_up_for_both(context);
        }
        let id = self.id;
        let relayed = |ports: &media::Ports| ports.state != media::PortState::None;
        let has_media = self.ports.iter().any(relayed)
            || self
                .parties
                .iter()
                .filter_map(|party| party.lost.as_ref())
                .any(|lost| relayed(&lost.old_ports));
        // A transfer that has failed: its transferor had hung up.
        let failed = match how {
            Ending::Transfer(status) => Some(status),
            Ending::HungUp(_)
            | Ending::Cancelled
            | Ending::Failed(_)
            | Ending::Challenged(_)
            | Ending::RestoreTimeout(_)
            | Ending::Declined(_)
            | Ending::Operator
            | Ending::Joined
            | Ending::Gave(_) => None,
        };
        // Who has written it is in another call now, and stays there.
        let unsent = if how == Ending::Joined { 500 } else { 480 };
        let mut undelivered = 0;
        self.settle_arrival(context);
        for side in [Side::Caller, Side::Callee] {
            self.stop_restoring(context, side);
            self.drop_giving(context, side);
            self.last_word_ends(context, side);
            undelivered += self.party(side).queue.dropped;
            for letter in self.drain_queue(context, side) {
                if let Some(server) = letter.server {
                    context.answer(server, unsent, None);
                } else if letter.author == Author::Other && !letter.refused {
                    undelivered += 1;
                }
            }
            let party = self.party_mut(side);
            party.check = None;
            if let Some(mut lost) = party.lost.take() {
                if let Some(status) = lost.transfer.as_ref().map_or(failed, |_| Some(487)) {
                    lost.old.report_at_last(context, id, status);
                }
                let back = self.way_back(context, &lost.old);
                lost.old.goes_over(back);
                // Who transfers, or asks for its place, is there.
                let is_away = lost.transfer.is_none() && !lost.stands;
                if lost.gone {
                    context.forget_tag(&lost.old.dialog.local_tag);
                } else if is_away && lost.old.life != Life::Answered {
                    context.forget_tag(&lost.old.dialog.local_tag);
                    let aor = self.party(side).aor.clone();
                    lost.old.bye(context, id, &aor, None);
                    context.entomb(id, aor, lost.old, Haunt::begun(context.now), false);
                } else {
                    let aor = self.party(side).aor.clone();
                    lost.old.part(context, id, aor, Bye::because(None));
                }
            }
            if let Some(leg) = self.party_mut(side).leg.take() {
                let reason = match how {
                    Ending::Gave(GaveUp::TooManyRestorations) => Some(TOO_OFTEN.into()),
                    Ending::RestoreTimeout(_) | Ending::Gave(_) => Some(GONE.into()),
                    Ending::Declined(_) => Some(DECLINED.into()),
                    Ending::Operator => Some(ORDERED.into()),
                    Ending::Transfer(status) => Some(why_failed(status)),
                    Ending::HungUp(_)
                    | Ending::Cancelled
                    | Ending::Failed(_)
                    | Ending::Challenged(_)
                    | Ending::Joined => None,
                };
                let aor = self.party(side).aor.clone();
                leg.part(context, id, aor, Bye::because(reason.as_deref()));
            }
        }
        self.leave_ghosts(context);
        self.end_all_leaving(context);
        self.drop_inquiry(context);
        self.forget_naming(context, None);
        for carried in std::mem::take(&mut self.carried) {
            context.answer(carried.server, 481, None);
        }
        self.drop_renegotiation(context);
        if has_media {
            self.media(context, MediaCommand::Close { media: id });
        }
        self.closing = None;
        self.ended = Some(context.now);
        if self.answered.is_some() {
            context.keep_farewells(id);
        }
        self.note(context, Happening::Ended { how, undelivered });
    }
}
