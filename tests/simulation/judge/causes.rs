//! What explains a thing that is wrong without it, by what the phones saw.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::legs::{Leg, Request, running};
use super::{Case, FAILED, FLIGHT, TRANSACTION};
use crate::log::{Fault, PhoneId, What};
use crate::phone::Temper;

/// Until a BYE has arrived and is passed on, where both are lost on the way.
pub(super) const ENDING: Millis = Millis(12_000);

pub(super) fn is_offer(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

/// Returns true for a description that puts the other end on hold.
fn holds(description: &str) -> bool {
    let streams = running(description).unwrap_or_default();
    let mut directions = streams.iter().map(|(_, direction, _)| direction);
    directions.any(|direction| !direction.receives())
}

/// For so long a sign of silence is looked at.
const ASKED: Millis = Millis(20_000);
/// So long who has handed its call on has to hang up by itself.
const LEAVES: Millis = Millis(3_000);
/// Who is not heard, and holds its dialog, is not asked that more often.
const ASKED_AGAIN: Millis = Millis(29_000);

impl Case<'_> {
    /// Returns true for a phone of whose media alone nothing arrives then, or a moment before.
    pub(super) fn is_unheard(&self, phone: PhoneId, at: Time) -> bool {
        let entries = self.log.entries.iter();
        let mut own = entries.filter(|entry| entry.phone == Some(phone) && entry.at <= at);
        let last =
            own.rfind(|entry| matches!(entry.what, What::Heard | What::Fault(Fault::Unheard)));
        last.is_some_and(|last| matches!(last.what, What::Fault(_)) || at.since(last.at) < ASKED)
    }

    /// Returns true where the server, as long as it lives, knows that it has asked that phone.
    pub(super) fn was_asked_lately(&self, leg: &Leg, request: &Request) -> bool {
        let lately = request.at - ASKED_AGAIN..request.at;
        let asked = |got: &&Request| is_offer(&got.method) && !got.news;
        let mut got = leg.got.iter().filter(asked);
        got.any(|got| {
            let forgotten = self.restarted(got.at, request.at);
            lately.contains(&got.at) && !forgotten && !self.is_asked_by_the_other(leg, got)
        })
    }

    /// Returns true where somebody of the other side has just made an offer, whatever that says.
    pub(super) fn is_asked_by_the_other(&self, leg: &Leg, got: &Request) -> bool {
        let just = got.at - FLIGHT..=got.at;
        let mut peers = self.side(leg.talk, leg.side.other());
        peers.any(|peer| {
            let mut offers = peer.sent.iter().filter(|sent| is_offer(&sent.method));
            offers.any(|sent| just.contains(&sent.at))
        })
    }

    /// Whoever asks while the other side is away is told that nobody holds, as whoever takes its place does not. Returns
    /// when a phone that holds was back, and said what it had said before.
    pub(super) fn holds_again(&self, peer: &Leg, leg: &Leg) -> Vec<Time> {
        let again = |sent: &&Request| is_offer(&sent.method) && !sent.news && holds(&sent.body);
        let told_meanwhile = |sent: &&Request| {
            let told = |asked: &Request| {
                let answered = asked.answer.filter(|(_, status)| *status < 300);
                let away = |(at, _): &(Time, u16)| self.trouble(peer.phone, *at, *at);
                let answered = answered.filter(|_| is_offer(&asked.method)).filter(away);
                answered.map(|(at, _)| at).filter(|at| *at < sent.at)
            };
            let last = leg.sent.iter().filter_map(told).max();
            let since = |at: Time| {
                let mut got = leg.got.iter().filter(|got| is_offer(&got.method));
                got.any(|got| (at..sent.at).contains(&got.at))
            };
            last.is_some_and(|at| !since(at))
        };
        let back = peer.sent.iter().filter(again).filter(told_meanwhile);
        back.map(|sent| sent.at).collect()
    }

    /// Returns when a phone first offers what it has answered before, where nothing of it arrived then, and the server that
    /// had asked died before it came again: to the next one it is news.
    pub(super) fn offers_what_was_forgotten(&self, peer: &Leg) -> Option<Time> {
        let answered = |at: Time| {
            let mut got = peer.got.iter().filter(|got| is_offer(&got.method));
            got.any(|got| got.answer.is_some_and(|(answered, _)| answered == at))
        };
        let forgotten = |sent: &&Request| {
            let first = peer.said_first(&sent.body).filter(|at| answered(*at));
            first.is_some_and(|at| {
                self.is_mute_at(peer.phone, at) && self.restarted(at, at + TRANSACTION)
            })
        };
        let mut offers = peer.sent.iter().filter(|sent| is_offer(&sent.method));
        offers.find(forgotten).map(|sent| sent.at)
    }

    /// Returns true for a probe that comes so long after its phone was heard in the dialog last that its first tries were
    /// lost: what it answers may come too late.
    pub(super) fn is_overdue(&self, leg: &Leg, got: &Request) -> bool {
        let entries = self.log.entries.iter().filter(|entry| entry.at < got.at);
        let in_it = |what: &What| matches!(what, What::Sent(it) if it.call_id() == leg.call_id);
        let said = entries.filter(|entry| in_it(&entry.what));
        let mut said = said.filter(|entry| entry.phone == Some(leg.phone));
        let last = said.next_back();
        last.is_some_and(|last| got.at + FLIGHT >= last.at + self.log.rules.probed())
    }

    /// Returns true where nothing arrives of what a phone says then.
    pub(super) fn is_mute_at(&self, phone: PhoneId, at: Time) -> bool {
        let mut spans = self.unheard[phone].iter();
        spans.any(|(begin, end)| (*begin..*end).contains(&at))
    }

    /// Returns true for an offer of a server that has died since: it came after those of the next one, and its phone
    /// refuses it by its number (RFC 3261 12.2.2).
    pub(super) fn is_of_the_dead(&self, request: &Request) -> bool {
        let by_number = matches!(request.answer, Some((_, 500)));
        by_number && self.restarted(request.at - FLIGHT, request.at)
    }

    /// Returns true where another phone of its side has handed its call on.
    pub(super) fn hands_on(&self, leg: &Leg) -> bool {
        let mut side = self.side(leg.talk, leg.side);
        side.any(|other| other.sent.iter().any(|sent| sent.method == Method::Refer))
    }

    /// Returns true where nobody of the other side could hear that this one has the call, from then on.
    pub(super) fn is_asked_of_nobody(&self, leg: &Leg, until: Time) -> bool {
        let Some(answered) = leg.answered.filter(|_| !leg.outgoing) else {
            return false;
        };
        let away = |peer: &Leg| {
            let mut absences = self.absences[peer.phone].iter();
            let stood = peer.acked.is_some_and(|acked| acked <= answered);
            let asked = self.hands_on(leg) || leg.brings_news_to(peer);
            stood && asked && absences.any(|(begin, end)| *begin <= answered && *end >= until)
        };
        let in_time = until.since(answered) <= TRANSACTION.times(2);
        in_time && self.side(leg.talk, leg.side.other()).any(away)
    }

    /// Returns true for a leg whose phone was killed so short a while before that it is asked yet.
    pub(super) fn is_gone_unnoticed(&self, leg: &Leg, at: Time) -> bool {
        let hard_to_ask = self.log.roster[leg.phone].traits.ignores_options();
        let died = leg.died.filter(|died| leg.end() == Some(*died));
        let stood = leg.acked.is_some_and(|acked| acked <= at);
        let noticed = self.log.rules.noticed(hard_to_ask);
        stood && died.is_some_and(|died| (died..died + noticed).contains(&at))
    }

    /// A server that dies as it tells a phone that the call which that has handed on is taken does not say so once
    /// more: it ends its dialog after the time that it has to do so by itself. So it does where that word is lost each
    /// time that it is sent, or waits for the answer to the one before, which is.
    pub(super) fn has_handed_on_untold(&self, leg: &Leg, at: Time) -> bool {
        let taken = |got: &Request| {
            let said = got.body.contains("SIP/2.0 2");
            got.method == Method::Notify && said && got.at <= at
        };
        let user = |leg: &Leg| &self.log.roster[leg.phone].user;
        let mut others = self.side(leg.talk, leg.side);
        let unheard = others.any(|other| {
            let took = other.acked.filter(|took| *took + LEAVES <= at);
            let died = |took| self.restarted(took, took + FLIGHT);
            let unheard = took.is_some_and(|took| died(took) || leg.misses_a_word());
            unheard && user(other) != user(leg)
        });
        unheard && self.has_handed_on(leg, at) && !leg.got.iter().any(taken)
    }

    /// A server that dies as it ends a call has forgotten it, and its BYE may have been lost. Returns when a phone was
    /// told why its call ends, where the server died so soon after.
    pub(super) fn died_as_it_ended(&self, leg: &Leg) -> Option<Time> {
        let told = leg.got.iter().filter(|got| got.body.starts_with(FAILED));
        let mut told = told.map(|got| got.at);
        told.find(|at| self.restarted(*at, *at + ENDING))
    }

    /// Returns true where a phone took the call, and the other side has refused each session that it was offered
    /// from then on: nobody agrees to who has it now.
    pub(super) fn is_agreed_to_by_nobody(&self, leg: &Leg, until: Time) -> bool {
        let Some(answered) = leg.answered.filter(|_| !leg.outgoing) else {
            return false;
        };
        let since = |got: &&Request| (answered..until).contains(&got.at);
        let others = self.side(leg.talk, leg.side.other());
        let offers = others.flat_map(|other| &other.got).filter(since);
        let mut offers = offers.filter(|got| got.news && is_offer(&got.method));
        let refused = |offer: &Request| matches!(offer.answer, Some((_, 300..)));
        offers.next().is_some_and(refused) && offers.all(refused)
    }

    /// A phone that has forgotten its call, and says 200 to OPTIONS for it all the same, shows so by what it refuses.
    /// Where it is back before it was missed, and none of its media is, that is the next thing which the other side
    /// sends. Returns when that was; never, where nothing was sent.
    pub(super) fn shows_that_it_forgot(
        &self,
        before: &Leg,
        leg: &Leg,
        missed: Time,
    ) -> Option<Time> {
        let (phone, died) = (before.phone, before.died?);
        let odd = self.log.roster[phone].traits.temper == Temper::OptionsAnyway;
        let mut entries = self.log.entries.iter();
        let back = entries.any(|entry| {
            let recovered = matches!(entry.what, What::Recovered);
            entry.phone == Some(phone) && recovered && (died..missed).contains(&entry.at)
        });
        let sent = leg.sent.iter().map(|sent| sent.at).filter(|at| *at >= died);
        let silent = before.is_of_texts();
        (odd && back && silent).then(|| sent.min().unwrap_or(super::FOR_EVER))
    }
}
