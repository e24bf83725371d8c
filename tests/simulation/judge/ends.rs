//! What began must end: no phone is left ringing, unacknowledged or in a call that is over.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::causes::is_offer;
use super::legs::Leg;
use super::{BRIEF, Case, TRANSACTION};
use crate::log::{Fault, PhoneId, What};

/// Longer than any ring timeout of the settings, shorter than a phone rings by itself.
const RINGING_MAX: Millis = Millis(90_000);
/// A BYE that is lost on the way comes again so soon.
const PROMPT: Millis = Millis(12_000);
/// The BYE of who has lost its place, and does not answer, comes again so long after.
const AGAIN: [Millis; 3] = [Millis(60_000), Millis(180_000), Millis(420_000)];
/// An INVITE may still be on the way when its server rises again.
const LATE: Millis = Millis(1200);

/// An offer of the phone's own is open: its answer refreshes the session too (RFC 4028 7.2).
fn offers_at(leg: &Leg, at: Time) -> bool {
    let mut sent = leg.sent.iter();
    sent.any(|asked| {
        let offers = matches!(asked.method, Method::Invite | Method::Update);
        offers && asked.at < at && asked.answer.is_none_or(|(answered, _)| answered > at)
    })
}

impl Case<'_> {
    pub(super) fn ends(&mut self) {
        let mut found = Vec::new();
        let last = self.log.last();
        for (number, leg) in self.legs.iter().enumerate() {
            if !leg.scarred {
                self.finished(leg, &mut found);
            }
            for rival in &self.legs[number + 1..] {
                let tangled = self.tangled.contains(&leg.talk);
                if leg.talk == rival.talk && leg.side == rival.side && !tangled {
                    self.alone(leg, rival, last, &mut found);
                    self.replaced(leg, rival, &mut found);
                    self.replaced(rival, leg, &mut found);
                }
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    fn finished(&self, leg: &Leg, found: &mut Vec<(Time, usize, String)>) {
        let mut blame = |at, what: &str| found.push((at, leg.phone, what.to_owned()));
        match (leg.answered, leg.refused) {
            // A server that has forgotten its INVITE ends the dialog, and that is all it can do.
            (Some(at), _)
                if leg.acked.is_none()
                    && leg.bye_got.is_some()
                    && self.restarted(leg.invited - LATE, at + TRANSACTION) => {}
            (Some(at), _) if leg.acked.is_none() && self.is_cut_off_ended(leg, at) => {}
            (Some(at), _) if leg.acked.is_none() => {
                blame(at, "2xx never acknowledged");
            }
            (Some(at), _) if leg.end().is_none() && leg.learnt().is_none() => {
                blame(at, "call never ended");
            }
            (None, Some((at, _))) => {
                // Where the response or its ACK went down with the phone's connection or the server, a
                // phone on a stream has nobody to send it again to.
                let excused = self.restarted(at, at + TRANSACTION)
                    || self.trouble(leg.phone, at, at + TRANSACTION);
                if !leg.refusal_acked && !excused {
                    blame(at, "final response never acknowledged");
                }
                if at.since(leg.invited) > RINGING_MAX {
                    blame(at, "left ringing");
                }
            }
            (None, None) => blame(leg.invited, "INVITE never finished"),
            (Some(_), _) => {}
        }
        if let Some(at) = leg.expired
            && !self.restarted(at - TRANSACTION - TRANSACTION, at)
            && !offers_at(leg, at)
        {
            blame(at, "its session was not refreshed");
        }
        for request in leg.got.iter().filter(|got| got.method == Method::Invite) {
            let Some((at, 200..300)) = request.answer else {
                continue;
            };
            let stays = leg.over().is_none_or(|over| over > at + TRANSACTION);
            if !request.acked && stays && !self.restarted(request.at, at + TRANSACTION) {
                blame(at, "2xx to a re-INVITE never acknowledged");
            }
        }
        // A phone gives up so where no PRACK comes (RFC 3262 3).
        if let Some((at, 504)) = leg.refused
            && leg.rang
            && !leg.cancelled
            && !self.restarted(leg.invited, at)
        {
            blame(at, "provisional response never acknowledged");
        }
        let Some((at, _)) = leg.refused.filter(|_| !leg.outgoing) else {
            return;
        };
        let user = |leg: &Leg| &self.log.roster[leg.phone].user;
        // Whoever won, the others stop ringing.
        let won = self
            .side(leg.talk, leg.side)
            .filter(|rival| rival.call_id != leg.call_id && !rival.scarred)
            // Whom a call is handed to may ring while the other still has it.
            .filter(|rival| user(rival) == user(leg))
            .filter(|rival| rival.stood_at(at))
            .filter_map(|rival| rival.acked)
            .min();
        let rings_on = self.log.roster[leg.phone].traits.ignores_cancel();
        let won = won.filter(|_| !rings_on && !self.tangled.contains(&leg.talk));
        if won.is_some_and(|won| at.since(won.max(leg.invited)) > TRANSACTION) {
            blame(at, "rang on after another had answered");
        }
    }

    /// Returns true for a phone that was told that the dialog is over, and whose 2xx could not come again more than once
    /// before that befell it which keeps it from its ACK.
    fn is_cut_off_ended(&self, leg: &Leg, answered: Time) -> bool {
        let sent = |by: Time| leg.successes.iter().filter(|at| **at < by).count();
        let soon = answered..answered + TRANSACTION;
        let mut faults = self.troubles[leg.phone].iter();
        leg.bye_got.is_some() && faults.any(|(at, _)| soon.contains(at) && sent(*at) <= 2)
    }

    /// A phone of which nothing arrives hears: where another has its place, it has the BYE at once.
    fn replaced(&self, leg: &Leg, rival: &Leg, found: &mut Vec<(Time, usize, String)>) {
        let (Some(taken), Some(replaced)) = (leg.acked, rival.acked) else {
            return;
        };
        let mut until = self.agreed_to(rival, replaced) + PROMPT;
        if leg.outgoing && spans(&self.unheard[leg.phone], taken, taken) {
            // RFC 3261 15: no BYE before the ACK to our 2xx, which nobody hears, or before that has had its time.
            until = until.max(taken + TRANSACTION);
        }
        let [card, other] = [leg.phone, rival.phone].map(|phone| &self.log.roster[phone]);
        let end = |leg: &Leg| [leg.end(), leg.learnt()].into_iter().flatten().min();
        let stays = |leg: &Leg| end(leg).is_none_or(|end| end > until);
        if taken < replaced
            && card.user == other.user
            && !card.stream
            && stays(leg)
            && stays(rival)
            && self.is_mute_alone(leg.phone, replaced, until)
            && !self.restarted(replaced, until)
        {
            let what = "has lost its place, and is not told".to_owned();
            found.push((until, leg.phone, what));
        }
    }

    /// Returns when the other side had agreed to a session that is news to it; until then it may be refused, and who
    /// was there before keeps its place. Whose answer nobody hears is asked for as long as a transaction takes.
    fn agreed_to(&self, rival: &Leg, acked: Time) -> Time {
        let other = self.side(rival.talk, rival.side.other());
        let there = |leg: &&Leg| leg.stood_at(acked) || self.is_gone_unnoticed(leg, acked);
        // Of what one of its side has offered nobody knows yet whether who does not hear has it.
        let open = |leg: &Leg| {
            let rivals = self.side(rival.talk, rival.side);
            let mut offers = rivals
                .flat_map(|of| &of.sent)
                .filter(|it| is_offer(&it.method));
            offers.any(|offer| {
                let out = (offer.at..offer.at + TRANSACTION).contains(&acked);
                out && offer.news && self.trouble(leg.phone, offer.at, acked)
            })
        };
        let asked = other.filter(there);
        let asked = asked.filter(|leg| rival.brings_news_to(leg) || open(leg));
        let agreed = asked.filter_map(|leg| {
            if self.trouble(leg.phone, acked, acked + PROMPT) {
                return Some(acked + TRANSACTION);
            }
            let offers = leg.got.iter().filter(|got| is_offer(&got.method));
            let answers = offers.filter_map(|got| got.answer);
            let agreed = answers.filter(|(at, status)| *status < 300 && rival.answered < Some(*at));
            agreed.map(|(at, _)| at).min()
        });
        agreed.max().map_or(acked, |at| at.max(acked))
    }

    /// Returns true where nothing else has befallen a phone by a time than that nothing of it arrives.
    fn is_mute_alone(&self, phone: PhoneId, from: Time, until: Time) -> bool {
        let entries = self.log.entries.iter();
        let entries = entries.filter(|entry| entry.phone == Some(phone) && entry.at <= until);
        let (mut mute, mut else_well) = (false, true);
        for entry in entries {
            match entry.what {
                What::Fault(Fault::Mute) if entry.at <= from => mute = true,
                What::Recovered if entry.at <= from => mute = false,
                What::Fault(_) => else_well = false,
                What::Recovered
                | What::Heard
                | What::Got(_)
                | What::Sent(_)
                | What::TimedOut(_)
                | What::HungUp
                | What::Expired
                | What::Transferred
                | What::ServerDown
                | What::ServerUp
                | What::Stored(_)
                | What::Remark(_) => {}
            }
        }
        mute && else_well
    }

    /// Returns by when a phone that has lost its place while it was away had to be told, and was not: its BYE comes
    /// again, over a restart too.
    fn untold_on_return(&self, leg: &Leg, rival: &Leg, last: Time) -> Option<Time> {
        let (loser, winner) = match leg.acked < rival.acked {
            true => (leg, rival),
            false => (rival, leg),
        };
        let taken = winner.acked.filter(|at| winner.stood_at(*at + BRIEF))?;
        let gone = self.gone[loser.phone].iter();
        let gone = gone.filter(|(begin, end)| *begin <= taken && *end >= taken);
        let back = gone.map(|(_, end)| *end).max().filter(|end| *end < last)?;
        // A server that rises begins anew, and counts that as a round.
        let risen = self.restarts.iter().map(|(_, up)| *up);
        let risen = risen.filter(|up| *up >= taken && *up <= back).max();
        let mut rounds = AGAIN.iter().map(|round| risen.unwrap_or(taken) + *round);
        let first = rounds.position(|round| round >= back)?;
        let round = *AGAIN.get(first + usize::from(risen.is_some()))?;
        let until = risen.unwrap_or(taken) + round + TRANSACTION.times(2);
        let mut faults = self.troubles[loser.phone].iter();
        let well = faults
            .all(|(begin, end)| *begin > until || *begin <= back && *end <= back + TRANSACTION);
        let [card, other] = [loser, winner].map(|leg| &self.log.roster[leg.phone]);
        let store_fails = || {
            let mut entries = self.log.entries.iter();
            entries.any(|entry| matches!(entry.what, What::Stored(false)))
        };
        let stays = loser.over().is_none_or(|over| over > until);
        let untold = stays && well && !card.stream && card.user == other.user;
        (untold && until < last && !self.restarted(back, until) && !store_fails()).then_some(until)
    }

    /// Two phones of a side are in the conversation only while the loser is told so.
    fn alone(&self, leg: &Leg, rival: &Leg, last: Time, found: &mut Vec<(Time, usize, String)>) {
        let (Some(a), Some(b)) = (leg.acked, rival.acked) else {
            return;
        };
        // A stopped phone finds the BYE in its socket; one that was away for longer than a transaction
        // cannot have been told.
        let away = |leg: &Leg| {
            self.absences[leg.phone]
                .iter()
                .any(|(from, until)| *from <= a.max(b) + TRANSACTION && *until >= a.max(b))
        };
        // The BYE was owed from the first that took the place on, and goes out again as the server rises.
        let stayed = self
            .side(leg.talk, leg.side)
            .filter_map(|other| other.acked.filter(|at| other.stood_at(*at + Millis(1000))));
        let replaced = stayed.filter(|at| *at > a.min(b)).min();
        let replaced = replaced.unwrap_or_else(|| a.max(b));
        if away(leg) || away(rival) {
            if let Some(at) = self.untold_on_return(leg, rival, last) {
                let what = "has lost its place, and is not told as it is back".to_owned();
                found.push((at, leg.phone, what));
            }
            return;
        }
        // A phone that was told 481 knows that the dialog is gone, though no BYE ever reached it.
        let end = |leg: &Leg| leg.over().unwrap_or(last);
        let until = end(leg).min(end(rival));
        // Who is called in a transfer stands beside who has called it, until the other side agrees.
        if [leg, rival]
            .into_iter()
            .any(|of| self.is_agreed_to_by_nobody(of, until) || self.is_asked_of_nobody(of, until))
        {
            return;
        }
        let trouble = [leg.phone, rival.phone]
            .into_iter()
            .flat_map(|phone| &self.troubles[phone])
            .filter(|(begin, _)| *begin <= until)
            .map(|(_, end)| *end)
            .max();
        let risen = [replaced, a.max(b)].into_iter().filter_map(|at| {
            let mut restarts = self.restarts.iter();
            let soon = |(down, up): &&(Time, Time)| *down <= at + TRANSACTION && *up >= at;
            restarts.rfind(soon).map(|(_, up)| *up)
        });
        let from = a.max(b).max(trouble.unwrap_or_default());
        let from = from.max(risen.max().unwrap_or_default());
        // Where nothing befell anybody the loser is told at once.
        let mut roster = self.log.roster.iter().enumerate();
        let well = !self.restarted(leg.invited, until)
            && roster.all(|(phone, card)| {
                card.talk != leg.talk || !self.trouble(phone, leg.invited, until)
            });
        // Who does not hear is asked for who was called in a transfer once an offer that is out has had its time.
        let user = |leg: &Leg| &self.log.roster[leg.phone].user;
        let deaf = self
            .side(leg.talk, leg.side.other())
            .any(|other| other.stood_at(from) && spans(&self.absences[other.phone], from, until));
        let told = match (well, deaf && user(leg) != user(rival)) {
            (true, _) => PROMPT,
            (false, false) => TRANSACTION,
            (false, true) => TRANSACTION.times(2),
        };
        if until.since(from) > told {
            let what = "two phones of a side in the conversation".to_owned();
            found.push((until, leg.phone, what));
        }
    }
}

fn spans(times: &[(Time, Time)], from: Time, until: Time) -> bool {
    times
        .iter()
        .any(|(begin, end)| *begin <= from && *end >= until)
}
