//! Whoever nothing befell must not notice anything.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::causes::is_offer;
use super::legs::{Leg, Request, ends_dialog, outline, running};
use super::{BRIEF, Case, FAILED, FLIGHT, FOR_EVER, TRANSACTION};

/// After so long a request goes out once more that has had no answer.
const RETRANSMITTED: Millis = Millis(400);
/// An offer that meets another one waits, and goes out again.
const SET_RIGHT: Millis = Millis(20_000);
/// For so long two probes go unanswered before the dialog is asked.
const PROBED: Millis = Millis(10_000);

/// An offer that came to nothing after who it was for had agreed.
struct TakenBack {
    agreed: Time,
    /// Who made it has heard that it came to nothing.
    heard: bool,
    /// It was made again, and agreed to: what was agreed before stands.
    renewed: bool,
}

impl Case<'_> {
    pub(super) fn peace(&mut self) {
        let mut found = Vec::new();
        for leg in self.legs.iter().filter(|leg| !leg.scarred) {
            self.answers(leg, &mut found);
            if self.tangled.contains(&leg.talk) {
                continue;
            }
            self.requests(leg, &mut found);
            self.set_right(leg, &mut found);
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
        let done = leg.bye_sent.unwrap_or(FOR_EVER);
        let mut offers = Vec::new();
        for request in leg.got.iter().filter(|request| request.at < done) {
            let asked_for = |method: &Method| {
                let mut sent = leg.sent.iter();
                sent.any(|sent| sent.method == *method && sent.at <= request.at)
            };
            let allowed = match request.method {
                Method::Options | Method::Message => true,
                Method::Prack => leg.rang,
                Method::Notify => asked_for(&Method::Refer),
                Method::Invite | Method::Update
                    if self.may_say_what_stands(leg, request) || self.is_of_the_dead(request) =>
                {
                    true
                }
                Method::Invite | Method::Update => {
                    offers.push(request);
                    continue;
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
        self.offers(leg, &offers, found);
    }

    /// Each offer has a cause of its own: an offer of the other side, its answer to one, or another phone of it that
    /// brings another session. What was refused is offered again, and what was taken back is set right.
    fn offers(&self, leg: &Leg, offers: &[&Request], found: &mut Vec<(Time, usize, String)>) {
        let mut causes = Vec::new();
        for peer in self.side(leg.talk, leg.side.other()) {
            let offers = peer
                .sent
                .iter()
                .filter(|sent| sent.news && is_offer(&sent.method));
            causes.extend(offers.map(|sent| sent.at));
            // What it answers to an offer of the server.
            let answers = peer
                .got
                .iter()
                .filter(|got| got.news && is_offer(&got.method));
            causes.extend(answers.filter_map(|got| Some(got.answer?.0)));
            let joined = peer.joined().filter(|_| peer.brings_news_to(leg));
            causes.extend(joined);
            // One that another takes the place from at once was agreed to for nothing: that is set right.
            let displaced = peer.bye_got.zip(joined);
            let displaced = displaced.filter(|(bye, joined)| bye.since(*joined) < BRIEF);
            causes.extend(displaced.map(|(bye, _)| bye - FLIGHT));
            // So is one that a transfer has found, and that is gone at once: who hands the call on has it again.
            let left = peer.bye_sent.zip(joined);
            let left = left.filter(|(bye, joined)| bye.since(*joined) < BRIEF);
            causes.extend(left.filter(|_| self.hands_on(peer)).map(|(bye, _)| bye));
            causes.extend(self.taken_back(peer, leg).iter().map(|taken| taken.agreed));
            causes.extend(peer.took_less_than(leg));
            causes.extend(self.holds_again(peer, leg));
            causes.extend(self.was_promised_another(peer, leg));
            causes.extend(self.offers_what_was_forgotten(peer));
        }
        causes.sort();
        let mut again = 0;
        for (number, offer) in offers.iter().enumerate() {
            let caused = causes.iter().filter(|at| **at <= offer.at).count();
            if number >= caused + again {
                let what = format!("{} that nobody asked for", offer.method.as_str());
                found.push((offer.at, leg.phone, what));
            }
            again += usize::from(!matches!(offer.answer, Some((_, 200..300))));
        }
    }

    /// Returns when one took the call whose caller was promised the session of another one that rang: they share an early
    /// dialog, in which the first answer is the answer (RFC 3261 13.2.1).
    fn was_promised_another(&self, peer: &Leg, leg: &Leg) -> Option<Time> {
        let answered = peer.joined().filter(|_| leg.outgoing)?;
        let mut others = self.side(peer.talk, peer.side);
        let promised = others.any(|other| {
            let before = other.promised.filter(|promised| *promised < answered);
            other.phone != peer.phone && before > Some(leg.invited)
        });
        let differs = outline(leg.agreed()) != outline(peer.agreed());
        (self.log.rules.single_early && promised && differs).then_some(answered)
    }

    /// The offers that were refused although this phone has them, and has agreed: it is told once more what stands.
    /// What comes again after the BYE of its phone is refused whatever became of it, but the BYE may have met the answer.
    fn taken_back(&self, peer: &Leg, leg: &Leg) -> Vec<TakenBack> {
        let is_new = |request: &&Request| request.news && is_offer(&request.method);
        let offers: Vec<_> = peer.sent.iter().filter(is_new).collect();
        let taken = |number: usize| {
            let offer = offers[number];
            let given_up = offer.at + TRANSACTION;
            let in_time = offer.answer.filter(|(at, _)| *at < given_up);
            let refused = match (offer.answer, in_time) {
                (Some((_, ..300)), _) => return None,
                (_, Some((at, _))) => at,
                // It could not hear that it was.
                (_, None) if self.trouble(peer.phone, offer.at, given_up) => given_up,
                (_, None) => return None,
            };
            let left = in_time.and_then(|_| peer.bye_sent.filter(|bye| *bye < refused));
            let heard = in_time.is_some() && left.is_none();
            let next = offers.get(number + 1).map_or(FOR_EVER, |offer| offer.at);
            let until = next.min(refused + TRANSACTION);
            let mut got = leg.got.iter().filter(is_new);
            let got = got.find(|got| (offer.at..until).contains(&got.at))?;
            let (agreed, _) = got.answer.filter(|(_, status)| *status < 300)?;
            // Who was deaf meanwhile may have been refused long before it left, by no word of a dialog that has ended.
            let others_word = offer.answer.is_some_and(|(_, status)| status != 481);
            let deaf = |bye: Time| others_word && self.trouble(peer.phone, offer.at, bye);
            if left.is_some_and(|bye| bye.since(agreed) > FLIGHT && !deaf(bye)) {
                return None;
            }
            let carried = self.is_carried(peer, offer, got) && !is_owed(peer, leg, got);
            let mut later = offers[number + 1..]
                .iter()
                .take_while(|it| it.at < agreed + SET_RIGHT);
            let same = |again: &Request| running(&again.body) == running(&offer.body);
            let taken = |again: &Request| matches!(again.answer, Some((_, 200..300)));
            let renewed = later.any(|again| same(again) && taken(again));
            carried.then_some(TakenBack {
                agreed,
                heard,
                renewed,
            })
        };
        (0..offers.len()).filter_map(taken).collect()
    }

    /// Returns true where an offer can be none but that of a leg of the other side.
    fn is_carried(&self, peer: &Leg, offer: &Request, got: &Request) -> bool {
        let (from, until) = (offer.at, got.at);
        let another = |other: &Request| {
            let within = from < other.at && other.at <= until;
            within && other.news && is_offer(&other.method)
        };
        let unheard = |other: &Leg| {
            let mut spans = self.unheard[other.phone].iter();
            spans.any(|(begin, end)| *begin <= from && *end >= until)
        };
        let mut side = self.side(peer.talk, peer.side);
        let other = side.any(|other| {
            let mut answers = other.successes.iter().filter(|at| **at <= until);
            let heard = answers.any(|at| !self.is_mute_at(other.phone, *at));
            // One that comes again may be what is told of now, where that is what it says.
            let news = other.answered.is_some_and(|first| first >= from);
            let alike = running(other.agreed()) == running(&got.body);
            let answers = other.answers_within(from, until) && heard && (news || alike);
            let speaks = answers || other.sent.iter().any(another);
            // One that was told that it is over may say for long that it has the call.
            let over = other.bye_got.is_some_and(|bye| bye < from);
            speaks && !over && !unheard(other)
        });
        // The other side's has places besides of streams that were refused before.
        !other && running(&offer.body) == running(&got.body)
    }

    /// Who has agreed to what was taken back is told soon what stands.
    fn set_right(&self, leg: &Leg, found: &mut Vec<(Time, usize, String)>) {
        let peers = self.side(leg.talk, leg.side.other());
        let taken = peers.flat_map(|peer| self.taken_back(peer, leg));
        let taken = taken.filter(|taken| taken.heard && !taken.renewed);
        for at in taken.map(|taken| taken.agreed) {
            let until = at + SET_RIGHT;
            let open = |request: &Request| is_offer(&request.method);
            let later = |request: &&Request| open(request) && request.at > at;
            let told = leg.got.iter().find(later);
            let asks = leg.sent.iter().find(later);
            let first = told.into_iter().chain(asks).map(|request| request.at).min();
            let over = leg.end().is_some_and(|end| end <= until) || self.restarted(at, until);
            if !over && first.is_none_or(|first| first > until) {
                let what = "has agreed to what was taken back, and hears no more";
                found.push((until, leg.phone, what.to_owned()));
            }
        }
    }

    /// Returns true where the session that a phone knows may be offered to it: where that has a timer (RFC 4028), in
    /// doubt of the phone, whose media may have stopped, and where the server has risen since it offered that first.
    fn may_say_what_stands(&self, leg: &Leg, request: &Request) -> bool {
        let timed = self.log.roster[leg.phone].traits.timer > 0;
        let unheard =
            self.is_unheard(leg.phone, request.at) && !self.was_asked_lately(leg, request);
        let before = || leg.got.iter().filter(|got| got.at <= request.at);
        let doubted = before().any(|got| {
            // One that comes again has had no answer that arrived.
            let again = got.last >= got.at + RETRANSMITTED || self.is_overdue(leg, got);
            got.method == Method::Options && again && request.at < got.at + PROBED
        });
        // One that comes after it, and is refused for its number (RFC 3261 12.2.2), was sent before.
        let overtaken = leg.got.iter().any(|got| {
            let soon = (request.at..request.at + PROBED).contains(&got.at);
            let refused = got.answer.is_some_and(|(_, status)| status == 500);
            got.method == Method::Options && soon && refused
        });
        let forgotten = before().any(|got| {
            let carried = got.news || self.is_asked_by_the_other(leg, got);
            let open = is_offer(&got.method) && carried;
            let mut restarts = self.restarts.iter();
            open && restarts.any(|(down, up)| {
                let crossed = got.at <= *up && *down <= got.at + TRANSACTION;
                crossed && (*up..*up + TRANSACTION).contains(&request.at)
            })
        });
        let known = !request.news || leg.is_what_stands(request);
        known && (timed || unheard || doubted || overtaken || forgotten)
    }

    /// Its own requests are answered, and never by a code that ends the dialog (RFC 5057).
    fn answers(&self, leg: &Leg, found: &mut Vec<(Time, usize, String)>) {
        for request in &leg.sent {
            let latest = request.at + TRANSACTION;
            let method = request.method.as_str();
            match request.answer {
                // Another early dialog was answered meanwhile.
                Some((_, 481)) if leg.is_of_another(request) => {}
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
            || by(self.died_as_it_ended(leg), at)
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
            let bye = peer.bye_sent.filter(|_| !self.is_replaced(peer));
            [bye, dead_before_the_answer]
                .into_iter()
                .flatten()
                .any(|ended| ended <= at && ended >= recently)
        });
        let asked = |from: Time, down: Time| {
            let open = |got: &Request| {
                let agreed = |(said, status)| status < 300 && said + FLIGHT < down;
                let since = (from..=down).contains(&got.at) && !got.answer.is_some_and(agreed);
                since && got.news && is_offer(&got.method)
            };
            let mut peers = self.side(leg.talk, other);
            peers.any(|peer| peer.got.iter().any(open))
        };
        // A server that died while the other side was asked whether it agrees asks it once more.
        let anew = |answered: Time| {
            let mut restarts = self.restarts.iter();
            restarts.any(|(down, up)| {
                let crossed = *down >= answered && (recently..=at).contains(up);
                crossed && asked(answered, *down)
            })
        };
        // A branch that answered too late: who was gone before it was called has not taken its place.
        let taken = || {
            self.side(leg.talk, leg.side).any(|rival| {
                let there = rival.end().is_none_or(|end| end >= leg.invited);
                let first = rival.answered.is_some_and(|first| first <= at);
                rival.call_id != leg.call_id && first && there
            })
        };
        let late = leg.answered.is_some_and(|answered| {
            let recent = answered >= recently || anew(answered);
            recent && (taken() || self.is_not_agreed_to(leg, answered, at))
        });
        peer_ended
            || late
            || self.answered_in_spite(leg, at)
            || self.answered_after_all(leg, at)
            || self.declined_by_another(leg, at)
            || self.declined_to_go_on(leg, at)
            || self.is_agreed_to_by_nobody(leg, at)
            || self.is_asked_of_nobody(leg, at)
            || self.has_handed_on_untold(leg, at)
            || self.gave_up(leg, at)
    }

    /// Returns true where its phone has ended it as another dialog of its took its place (RFC 3891 3).
    fn is_replaced(&self, leg: &Leg) -> bool {
        let next = |other: &Leg| {
            let own = other.phone == leg.phone && other.call_id != leg.call_id;
            own && !other.is_callers() && other.acked.is_some() && other.acked == leg.bye_sent
        };
        self.legs.iter().any(next)
    }

    /// Returns true where the other side was asked after its answer and has not agreed, or was not there to be asked.
    fn is_not_agreed_to(&self, leg: &Leg, answered: Time, at: Time) -> bool {
        let asked = |got: &Request| {
            let agreed = got.answer.is_some_and(|(_, status)| status < 300);
            let since = (answered..=at).contains(&got.at);
            since && !agreed && got.news && is_offer(&got.method)
        };
        let mut peers = self.side(leg.talk, leg.side.other());
        peers.any(|peer| {
            let away = self.trouble(peer.phone, answered, at);
            let unasked = away && peer.acked.is_some() && leg.brings_news_to(peer);
            unasked || peer.got.iter().any(asked)
        })
    }

    /// Returns true where it answered as the other side was given up already.
    fn answered_after_all(&self, leg: &Leg, at: Time) -> bool {
        let lost = self.last_seen_well(leg, at) + self.log.rules.restore();
        let over = |answered| lost <= answered + Millis(1000);
        leg.answered.is_some_and(over) && !self.never_asked(leg, at)
    }

    /// Returns true where it answered in spite of a CANCEL: the caller was in trouble, and has been told that nobody
    /// waits for it any more, or the other side was sought too, and has declined for all of its phones.
    fn answered_in_spite(&self, leg: &Leg, at: Time) -> bool {
        let mut peers = self.side(leg.talk, leg.side.other());
        let given_up = peers.any(|caller| {
            let told = caller.refused.is_some_and(|(told, _)| told <= at);
            caller.is_callers() && told && self.trouble(caller.phone, caller.invited, at)
        });
        leg.cancelled && (given_up || self.is_declined_for_all(leg, leg.invited, at))
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
        let declined = |acked| self.is_declined_for_all(leg, acked, at);
        leg.acked.is_some_and(declined) && self.was_told_of_the_end(leg, at)
    }

    /// Returns true where one of the other side that was called since has declined for all of its phones.
    fn is_declined_for_all(&self, leg: &Leg, since: Time, at: Time) -> bool {
        let for_all = |(said, status): (Time, u16)| status >= 600 && status != 606 && said <= at;
        self.side(leg.talk, leg.side.other()).any(|sought| {
            !sought.outgoing && since <= sought.invited && sought.refused.is_some_and(for_all)
        })
    }

    /// Returns true where a phone that can be told has heard why its call ends; one that hands it on, that this has
    /// failed.
    fn was_told_of_the_end(&self, leg: &Leg, at: Time) -> bool {
        let failed = |request: &Request| {
            let failure = request.body.strip_prefix("SIP/2.0 ");
            let failure = failure.is_some_and(|status| status.starts_with(['4', '5', '6']));
            let now = request.at + FLIGHT >= at && request.at <= at + FLIGHT;
            request.method == Method::Notify && failure && now
        };
        told_of_the_end(leg).is_some() || leg.got.iter().any(failed) || !self.can_be_told(leg)
    }

    /// Returns true where the other side was lost, and sought for long enough in vain.
    fn gave_up(&self, leg: &Leg, at: Time) -> bool {
        let lost = self.last_seen_well(leg, at) + self.log.rules.restore();
        let sought = lost <= at + Millis(1000);
        // The BYE waits until the word before it is answered.
        let given_up = told_of_the_end(leg).map_or(at, |told| told.min(at));
        sought && self.was_told_of_the_end(leg, at) && !self.never_asked(leg, given_up)
    }

    /// Returns when a phone of the other side last stood in the conversation that nothing had befallen since it was
    /// invited, or answered within it, well again; where none has, when the conversation began.
    fn last_seen_well(&self, leg: &Leg, at: Time) -> Time {
        let of_talk = self.legs.iter().filter(|other| other.talk == leg.talk);
        let begun = of_talk.filter_map(|other| other.acked).min();
        let peers = self.side(leg.talk, leg.side.other());
        let peers = peers.filter(|peer| !self.log.roster[peer.phone].traits.ignores_options());
        let well = peers.filter_map(|peer| {
            let acked = peer.acked.filter(|acked| *acked <= at)?;
            let end = peer.end().unwrap_or(FOR_EVER);
            // Whom the survivor did not agree to was never there.
            if end.since(acked) < BRIEF {
                return None;
            }
            let troubles = self.troubles[peer.phone].iter();
            let hit = troubles.filter(|(_, until)| *until >= peer.invited);
            let stream = self.log.roster[peer.phone].stream;
            // Only over a stream a restart is felt, or where it was not through yet.
            let down = self.restarts.iter().filter(|(down, up)| {
                *up >= peer.invited && (stream || *down <= acked + TRANSACTION)
            });
            let begins = hit.chain(down).map(|(begin, _)| *begin);
            let well = begins.fold(end.min(at), Time::min);
            let again = peer.got.iter().filter_map(|request| match request.answer {
                Some((said, 200..300)) if !self.trouble(peer.phone, said, said) => Some(said),
                Some(_) | None => None,
            });
            let again = again.filter(|said| *said <= at).max();
            again.max((well >= acked).then_some(well))
        });
        well.max().or(begun).unwrap_or(leg.invited)
    }

    /// Returns true where an endpoint was there all the time, willing, and was not invited.
    fn never_asked(&self, leg: &Leg, at: Time) -> bool {
        let from = at - self.log.rules.restore() - Millis(1000);
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
        let last = self.last_there(leg.talk, leg.side.other(), at);
        let user = last.map(|peer| &self.log.roster[peer.phone].user);
        !self.restarted(from, at)
            && roster
                .filter(|(_, card)| card.talk == leg.talk && card.side == leg.side.other())
                .filter(|(_, card)| card.traits.answers())
                .filter(|(_, card)| user.is_none_or(|user| *user == card.user))
                .filter(|(phone, _)| self.registered[*phone][0].is_some_and(|known| known < from))
                .any(|(phone, _)| !self.trouble(phone, from, at) && !asked(phone))
    }
}

/// Returns true where it is what the other side has agreed on with the server while a phone was called, and told it now
/// for the first time.
fn is_owed(peer: &Leg, leg: &Leg, got: &Request) -> bool {
    let meanwhile = |sent: &Request| leg.invited < sent.at && leg.acked > Some(sent.at);
    let same = |other: &Request| outline(&other.body) == outline(&got.body);
    let paid = |sent: &Request| {
        let mut before = leg.got.iter().filter(|before| before.at < got.at);
        before.any(|before| before.at > sent.at && is_offer(&before.method) && same(before))
    };
    let mut offers = peer.sent.iter().filter(|sent| is_offer(&sent.method));
    offers.any(|sent| {
        let taken = matches!(sent.answer, Some((_, 200..300)));
        taken && meanwhile(sent) && same(sent) && !paid(sent)
    })
}

/// Returns when a phone heard first that its call ends.
fn told_of_the_end(leg: &Leg) -> Option<Time> {
    let mut got = leg.got.iter();
    let told = got.find(|request| request.body.starts_with(FAILED))?;
    Some(told.at)
}
