//! Whoever nothing befell must not notice anything.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::legs::{Leg, ends_dialog};
use super::{Case, FAILED, RESTORE_TIMEOUT, TRANSACTION};

impl Case<'_> {
    pub(super) fn peace(&mut self) {
        let mut found = Vec::new();
        for leg in self.legs.iter().filter(|leg| !leg.scarred) {
            self.answers(leg, &mut found);
            if self.tangled.contains(&leg.talk) {
                continue;
            }
            self.requests(leg, &mut found);
            if let Some(at) = leg.bye_got
                && !self.may_end(leg, at)
            {
                found.push((at, leg.phone, "BYE although nothing was over".to_owned()));
            }
            if let Some(at) = leg.second_success {
                let what = "a second 2xx of another dialog".to_owned();
                found.push((at, leg.phone, what));
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    /// Nothing comes but probes, messages, and what the other side asks for.
    fn requests(&self, leg: &Leg, found: &mut Vec<(Time, usize, String)>) {
        // Whoever has put the receiver down is asked no more than its BYE takes to arrive.
        let done = leg.bye_sent.unwrap_or(Time(u64::MAX));
        for request in leg.got.iter().filter(|request| request.at < done) {
            let asked_for = |method: &Method| {
                let mut sent = leg.sent.iter();
                sent.any(|sent| sent.method == *method && sent.at <= request.at)
            };
            let allowed = match request.method {
                Method::Options | Method::Message => true,
                Method::Prack => leg.rang,
                Method::Notify => asked_for(&Method::Refer),
                // A refresh of the session as it stands (RFC 4028).
                Method::Invite | Method::Update if !request.news && self.is_timed(leg) => true,
                Method::Invite | Method::Update => {
                    let asked = |other: &Leg| {
                        other.sent.iter().any(|sent| {
                            sent.at <= request.at
                                && sent.news
                                && matches!(sent.method, Method::Invite | Method::Update)
                        })
                    };
                    // Both were rung at once: what the one answered is news to the other.
                    let joined_meanwhile = |other: &Leg| {
                        let rang = leg.invited..leg.acked.unwrap_or(leg.invited);
                        !leg.outgoing && other.acked.is_some_and(|at| rang.contains(&at))
                    };
                    self.side(leg.talk, leg.side.other())
                        .any(|other| asked(other) || joined_meanwhile(other))
                }
                Method::Ack
                | Method::Bye
                | Method::Cancel
                | Method::Register
                | Method::Info
                | Method::Subscribe
                | Method::Refer
                | Method::Publish
                | Method::Other(_) => false,
            };
            if !allowed {
                let what = format!("{} that nobody asked for", request.method.as_str());
                found.push((request.at, leg.phone, what));
            }
        }
    }

    fn is_timed(&self, leg: &Leg) -> bool {
        self.log.roster[leg.phone].traits.timer > 0
    }

    /// Its own requests are answered, and never by a code that ends the dialog (RFC 5057).
    fn answers(&self, leg: &Leg, found: &mut Vec<(Time, usize, String)>) {
        for request in &leg.sent {
            let latest = request.at + TRANSACTION;
            let method = request.method.as_str();
            match request.answer {
                // Another early dialog was answered meanwhile.
                Some((_, 481))
                    if request.method == Method::Prack
                        && leg.remote_tag.is_some()
                        && request.to_tag != leg.remote_tag => {}
                Some((at, status)) if ends_dialog(status) && !self.over_by(leg, at) => {
                    let what = format!("{method} answered so that the dialog ends");
                    found.push((at, leg.phone, what));
                }
                None if !self.restarted(request.at, latest)
                    && !self.bid_farewell(leg.talk, latest)
                    && leg.end().is_none_or(|end| end > latest) =>
                {
                    let what = format!("{method} never answered");
                    found.push((request.at, leg.phone, what));
                }
                Some(_) | None => {}
            }
        }
    }

    /// Returns true where a dialog was over for the server by then; its own BYE may still be on the way.
    fn over_by(&self, leg: &Leg, at: Time) -> bool {
        let by = |end: Option<Time>, latest: Time| end.is_some_and(|end| end <= latest);
        let refused = leg.refused.map(|(refused, _)| refused);
        self.bid_farewell(leg.talk, at)
            || by(leg.bye_sent, at)
            || by(leg.bye_got, at + TRANSACTION)
            || by(refused, at + TRANSACTION)
    }

    /// Returns true where the server may end a leg then.
    fn may_end(&self, leg: &Leg, at: Time) -> bool {
        if self.bid_farewell(leg.talk, at) || leg.bye_sent.is_some_and(|sent| sent <= at) {
            return true;
        }
        let other = leg.side.other();
        let recently = at - TRANSACTION;
        let peer_ended = self.side(leg.talk, other).any(|peer| {
            let dead_before_the_answer = peer.died.filter(|_| peer.acked.is_none());
            [peer.bye_sent, dead_before_the_answer]
                .into_iter()
                .flatten()
                .any(|ended| ended <= at && ended >= recently)
        });
        // A branch that answered too late.
        let late = leg.answered.is_some_and(|answered| answered >= recently)
            && self.side(leg.talk, leg.side).any(|rival| {
                rival.call_id != leg.call_id && rival.answered.is_some_and(|first| first <= at)
            });
        peer_ended
            || late
            || self.declined_by_another(leg, at)
            || self.declined_to_go_on(leg, at)
            || self.gave_up(leg, at)
    }

    /// Returns true where it took a call that another phone had declined for all (RFC 3261 16.7 step 5).
    fn declined_by_another(&self, leg: &Leg, at: Time) -> bool {
        let declined = self.side(leg.talk, leg.side).any(|rival| {
            rival.call_id != leg.call_id
                && rival
                    .refused
                    .is_some_and(|(said, status)| status >= 600 && said <= at)
        });
        let begun = self
            .side(leg.talk, leg.side.other())
            .any(|peer| peer.answered.is_some_and(|answered| answered <= at));
        declined && !begun
    }

    /// Returns true where the other side was sought, and has declined for all of its phones; the phone was told so.
    fn declined_to_go_on(&self, leg: &Leg, at: Time) -> bool {
        let stood = |then: Time| leg.acked.is_some_and(|acked| acked <= then);
        let declined = self.side(leg.talk, leg.side.other()).any(|sought| {
            let for_all =
                |(said, status): (Time, u16)| status >= 600 && status != 606 && said <= at;
            !sought.outgoing && stood(sought.invited) && sought.refused.is_some_and(for_all)
        });
        declined && told_of_the_end(leg)
    }

    /// Returns true where the other side was lost, and sought for long enough in vain.
    fn gave_up(&self, leg: &Leg, at: Time) -> bool {
        let other = leg.side.other();
        let deaf = self
            .side(leg.talk, other)
            .filter(|peer| self.log.roster[peer.phone].traits.ignores_options())
            .map(|peer| peer.invited);
        let roster = self.log.roster.iter().enumerate();
        let hit = roster
            .filter(|(_, card)| card.talk == leg.talk && card.side == other)
            .flat_map(|(phone, _)| &self.troubles[phone])
            .map(|(begin, _)| *begin);
        let restarts = self.restarts.iter().map(|(down, _)| *down);
        let lost = deaf.chain(hit).chain(restarts).min();
        let sought = lost.is_some_and(|lost| lost + RESTORE_TIMEOUT <= at + Millis(1000));
        let found = self
            .side(leg.talk, other)
            .any(|peer| !peer.scarred && peer.stood_at(at));
        sought && !found && told_of_the_end(leg) && !self.never_asked(leg, at)
    }

    /// Returns true where an endpoint was there all the time, willing, and was not invited.
    fn never_asked(&self, leg: &Leg, at: Time) -> bool {
        let from = at - RESTORE_TIMEOUT - Millis(1000);
        let known = |phone| {
            self.legs
                .iter()
                .filter(move |leg: &&Leg| leg.phone == phone)
        };
        let asked = |phone| {
            known(phone).any(|leg| {
                !leg.outgoing && leg.end().is_none_or(|end| end >= from) && leg.invited <= at
            })
        };
        let roster = self.log.roster.iter().enumerate();
        // Who was there last: a transfer makes it another user.
        let place = self.side(leg.talk, leg.side.other());
        let last = place.filter(|peer| peer.acked.is_some_and(|acked| acked <= at));
        let last = last.max_by_key(|peer| peer.acked);
        let user = last.map(|peer| &self.log.roster[peer.phone].user);
        !self.restarted(from, at)
            && roster
                .filter(|(_, card)| card.talk == leg.talk && card.side == leg.side.other())
                .filter(|(_, card)| card.traits.answers())
                .filter(|(_, card)| user.is_none_or(|user| *user == card.user))
                .any(|(phone, _)| !self.trouble(phone, from, at) && !asked(phone))
    }
}

fn told_of_the_end(leg: &Leg) -> bool {
    let mut got = leg.got.iter();
    got.any(|request| request.body.starts_with(FAILED))
}
