//! Who is gone is missed as soon as what there is to notice it by allows; who is there is not missed.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::causes::is_offer;
use super::legs::Leg;
use super::{Case, TRANSACTION};
use crate::log::What;
use crate::rules::{PROBE_TIMEOUT, PROBE_TRIES, TEXT_SUSPECT as WAITED_FOR};

/// What is lost on the way comes again, and is refused or answered.
const SHOWN: Millis = Millis(8000);
/// The store may be slow before a text is sent on.
const STORED: Millis = Millis(4000);
/// A BYE that was lost on the way comes again, and whoever says meanwhile that it has no call is not called.
const COMES_AGAIN: Millis = Millis(700);
/// Between two looks at the media, and until a probe is out.
const LOOKED: Millis = Millis(3000);
/// So long before somebody is gone the session must have been at rest.
const AT_REST: Millis = Millis(20_000);

impl Case<'_> {
    /// Returns by when it is known that who was there last is gone: by its silence, by what it is sent, or by probes,
    /// whatever is first of what there is.
    pub(super) fn noticed(&self, leg: &Leg, from: Time, before: Option<&Leg>) -> Time {
        let rules = self.log.rules;
        let Some(before) = before else {
            return from + rules.noticed(false);
        };
        let hard_to_ask = self.log.roster[before.phone].traits.ignores_options();
        let by_probes = from + rules.noticed(hard_to_ask);
        if let Some(shown) = self.shows_that_it_forgot(before, leg, by_probes) {
            return by_probes.max(shown + SHOWN);
        }
        let ways = [
            self.silence_seen(leg, from, before),
            self.text_unanswered(leg, from, before),
        ];
        let clear = |by: &Time| !hard_to_ask && self.is_clear(before, from, *by);
        let ways = ways.into_iter().flatten().filter(clear);
        ways.fold(by_probes, Time::min)
    }

    /// Returns true where nothing else has befallen who is gone, nor the server, so that a sign of it is the first one.
    fn is_clear(&self, before: &Leg, from: Time, by: Time) -> bool {
        let mut entries = self.log.entries.iter();
        let other = entries.any(|entry| {
            let own = entry.phone == Some(before.phone) && entry.at >= before.invited;
            let befell = matches!(entry.what, What::Fault(_)) && entry.at < from;
            let back = matches!(entry.what, What::Recovered) && entry.at >= from;
            own && entry.at <= by && (befell || back)
        });
        let settled = before.acked.is_some_and(|acked| acked + LOOKED < from);
        settled && !other && !self.restarted(from - AT_REST, by)
    }

    /// Two that talk, and one of them is gone: its media stops.
    fn silence_seen(&self, leg: &Leg, from: Time, before: &Leg) -> Option<Time> {
        let by = from + self.log.rules.silence? + unanswered() + LOOKED;
        let rests = |of: &Leg| {
            let changes = of.got.iter().chain(&of.sent);
            let mut changes = changes.filter(|change| is_offer(&change.method));
            changes.all(|change| change.at + AT_REST < from || change.at > by)
        };
        let ended = before.died.is_some() || before.bye_sent.is_none();
        let stands = leg.acked.is_some_and(|acked| acked + LOOKED < from);
        let talk = [leg, before];
        if !ended || !stands || !talk.iter().all(|of| rests(of)) {
            return None;
        }
        let agreed = self.agreed(from);
        let both_ways = |of: &Leg| {
            let agreed = agreed.get(&(of.phone, of.call_id.clone()));
            agreed.is_some_and(|agreed| agreed.is_both_ways())
        };
        talk.iter().all(|of| both_ways(of)).then_some(by)
    }

    /// A text goes to who is gone, and has no answer.
    fn text_unanswered(&self, leg: &Leg, from: Time, before: &Leg) -> Option<Time> {
        let texts = leg
            .sent
            .iter()
            .filter(|sent| sent.method == Method::Message);
        // One that was under way is sent on first.
        let mut before_that = texts.clone().filter(|text| text.at < from);
        let answered = before_that.all(|text| text.answer.is_some_and(|(at, _)| at < from));
        let first = texts.map(|text| text.at).filter(|at| *at >= from).min()?;
        let by = first + SHOWN + STORED + WAITED_FOR + unanswered();
        (answered && before.bye_sent.is_none()).then_some(by)
    }

    /// Where nothing befell anybody, nobody is called once the call stands.
    pub(super) fn missed_for_nothing(&mut self) {
        let mut found = Vec::new();
        for leg in self.legs.iter().filter(|leg| !leg.outgoing) {
            let begun = self.legs.iter().filter(|other| other.talk == leg.talk);
            let begun = begun.filter_map(|other| other.acked.filter(|_| other.is_callers()));
            let late = begun
                .min()
                .is_some_and(|begun| leg.invited > begun + TRANSACTION);
            let left = self.has_left_unheard(leg.talk, leg.invited);
            if late && !left && self.is_untroubled(leg.talk) {
                found.push((leg.invited, leg.phone));
            }
        }
        for (at, phone) in found {
            self.blame(at, phone, "called although nobody was missed");
        }
    }

    /// Returns true where a user has put the receiver down for long, and the server cannot have heard that: it shows by
    /// what its phone says of the call, or by its silence.
    fn has_left_unheard(&self, talk: usize, at: Time) -> bool {
        let mut legs = self.legs.iter().filter(|leg| leg.talk == talk);
        legs.any(|leg| {
            let unheard = leg.bye_heard.map_or(at, |heard| heard.min(at));
            let long = leg.bye_sent.is_some_and(|bye| bye + COMES_AGAIN <= unheard);
            let again = leg.bye_again.is_some_and(|again| again < unheard);
            // An INVITE that was lost on the way comes again, whatever was heard meanwhile (RFC 3261 9.1).
            long && again && at < unheard + COMES_AGAIN
        })
    }

    fn is_untroubled(&self, talk: usize) -> bool {
        let roster = self.log.roster.iter().enumerate();
        let mut of_talk = roster.filter(|(_, card)| card.talk == talk);
        let well = of_talk
            .all(|(phone, card)| self.troubles[phone].is_empty() && !card.traits.ignores_options());
        let mut sent = self.legs.iter().filter(|leg| leg.talk == talk);
        let handed = sent.any(|leg| leg.sent.iter().any(|sent| sent.method == Method::Refer));
        well && !handed && self.restarts.is_empty() && !self.tangled.contains(&talk)
    }
}

/// Returns how long probes go unanswered until that is a loss.
fn unanswered() -> Millis {
    PROBE_TIMEOUT.times(PROBE_TRIES)
}
