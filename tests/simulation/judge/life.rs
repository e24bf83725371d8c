//! What must come about: a phone that is gone is noticed, a willing one of its person is joined, and where nobody
//! comes the restoration ends. It is asked of those whom nothing befell: how long they may be left alone.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::causes::{ENDING, is_offer};
use super::legs::{Leg, Request};
use super::{Case, FLIGHT, FOR_EVER, PhoneId, START, TRANSACTION};

/// Who is joined rings for as long as its user takes, and what is lost on the way is sent again.
const JOINED: Millis = Millis(16_000);
/// The last word and the BYE at the timeout, where they are lost on the way.
const CLOSING: Millis = Millis(20_000);
/// An INVITE that is lost on the way comes again.
const ARRIVES: Millis = Millis(8000);
/// So long at most no INVITE comes to a phone that is sought: one that is sent again pauses for 16 s, and the next one
/// for the longest pause of the settings (8 s, a fifth more by chance); one of them may be lost.
const SOUGHT_AGAIN: Millis = Millis(42_000);

/// A time in which a leg stands and nobody is there whom it could talk to.
struct Hole<'a> {
    from: Time,
    until: Time,
    /// Who was there last.
    before: Option<&'a Leg>,
}

impl Case<'_> {
    pub(super) fn life(&mut self) {
        let last = self.log.last();
        let mut found = Vec::new();
        for leg in self.plain() {
            for hole in self.holes(leg, last) {
                self.left_alone(leg, &hole, &mut found);
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    fn left_alone(&self, leg: &Leg, hole: &Hole<'_>, found: &mut Vec<(Time, usize, String)>) {
        let (other, rules) = (leg.side.other(), self.log.rules);
        // A server that dies as it ends a call has forgotten it, and whose BYE may have been lost.
        let over = hole.before.and_then(|peer| peer.bye_sent);
        if over.is_some_and(|at| self.restarted(at, at + ENDING)) {
            return;
        }
        let noticed = self.noticed(leg, hole.from, hole.before);
        // Whom a call was handed to is asked first, and may take its time.
        let handed = self.handed_on(leg.talk, hole);
        let handing = if handed { rules.restore() } else { Millis(0) };
        let over = noticed + handing + rules.restore() + CLOSING;
        let since = hole.from.since(START).0 / 1000;
        let mut blame = |what| found.push((hole.until, leg.phone, what));
        if hole.until > over {
            blame(format!("left alone since {since} s, and not told so"));
        }
        // Who takes no other session may be the reason that nobody could be joined.
        // Whoever came while the other side was sought already did not see whom that had asked before.
        let late = leg.acked == Some(hole.from);
        if handed || late || self.log.roster[leg.phone].traits.speech.rigid {
            return;
        }
        // Who hangs up where nobody hears it may have been missed before.
        let early = hole.from - rules.restore();
        let missed = |peer: &Leg| self.trouble(peer.phone, early, hole.from);
        let sought = if hole.before.is_some_and(missed) {
            early
        } else {
            hole.from
        };
        let user = hole.before.map(|peer| &self.log.roster[peer.phone].user);
        let roster = self.log.roster.iter().enumerate();
        let of_person = roster
            .filter(|(_, card)| card.talk == leg.talk && card.side == other)
            .filter(|(_, card)| user.is_none_or(|user| *user == card.user));
        let of_person = of_person.filter(|(phone, _)| !left_unagreed(*phone, leg, hole));
        for (phone, card) in of_person {
            let asked = noticed + rules.first_for() + ARRIVES;
            let name = &card.name;
            if hole.until > asked
                && self.was_there(phone, hole.from, asked)
                && !self.was_asked(phone, sought, asked)
            {
                blame(format!(
                    "left alone since {since} s, and {name} never asked"
                ));
            }
            if self.is_back_unasked(phone, noticed, hole) {
                blame(format!(
                    "left alone since {since} s, and {name} not asked as it came back"
                ));
            }
            if self.is_sought_no_more(phone, noticed, hole) {
                blame(format!(
                    "left alone since {since} s, and {name} not asked again"
                ));
            }
            let joined = asked + JOINED;
            let unfit = |leg: &Leg| {
                let refused = leg
                    .refused
                    .filter(|(at, status)| *status == 488 && *at > sought);
                leg.phone == phone && refused.is_some()
            };
            if hole.until > joined
                && card.traits.answers()
                && !self.legs.iter().any(unfit)
                && self.was_there(phone, hole.from, joined)
            {
                blame(format!("left alone since {since} s, and {name} not joined"));
            }
        }
    }

    /// Returns the times in which a leg stands, and no phone of the other side that is there has one.
    fn holes(&self, leg: &Leg, last: Time) -> Vec<Hole<'_>> {
        let Some(acked) = leg.acked else {
            return Vec::new();
        };
        let end = leg.over().unwrap_or(last);
        let mut held = Vec::new();
        for peer in self.side(leg.talk, leg.side.other()) {
            let Some(mut from) = peer.acked else { continue };
            for (begin, until) in &self.gone[peer.phone] {
                held.push((from, *begin));
                from = from.max(*until);
            }
            held.push((from, peer.over().unwrap_or(FOR_EVER)));
        }
        // What a server did that is down, and how long it has known what it learns now, nobody can say.
        held.extend(&self.restarts);
        held.retain(|(from, until)| from < until);
        held.sort();
        let (mut holes, mut from) = (Vec::new(), acked);
        for (begin, until) in held.into_iter().chain([(end, end)]) {
            let begin = begin.min(end);
            if begin > from {
                holes.push(Hole {
                    from,
                    until: begin,
                    before: self.last_there(leg.talk, leg.side.other(), from),
                });
            }
            from = from.max(until);
        }
        holes
    }

    fn handed_on(&self, talk: usize, hole: &Hole<'_>) -> bool {
        let early = hole.from - self.log.rules.restore() - TRANSACTION;
        let legs = self.legs.iter().filter(|leg| leg.talk == talk);
        let mut sent = legs.flat_map(|leg| &leg.sent);
        sent.any(|request| {
            request.method == Method::Refer && (early..hole.until).contains(&request.at)
        })
    }

    /// Returns true for a phone that could have been invited at any time of a span.
    fn was_there(&self, phone: PhoneId, from: Time, until: Time) -> bool {
        let [registered, gone] = self.registered[phone];
        let engaged = self.legs.iter().any(|leg| {
            leg.phone == phone && leg.invited <= from && leg.end().is_none_or(|end| end > from)
        });
        registered.is_some_and(|at| at < from)
            && gone.is_none_or(|at| at > until)
            && !self.trouble(phone, from, until)
            && !self.restarted(from, until)
            && !engaged
    }

    /// Returns true for a phone that registers anew while its person is sought, and is not asked at once.
    fn is_back_unasked(&self, phone: PhoneId, noticed: Time, hole: &Hole<'_>) -> bool {
        let sought = |at: Time| {
            noticed < at && at + ARRIVES < hole.until.min(hole.from + self.log.rules.restore())
        };
        self.back[phone].iter().any(|(begun, registered)| {
            let asked = *registered + ARRIVES;
            let faults = self.troubles[phone].iter();
            let mut faults = faults.filter(|(begin, end)| *end > *begun && *begin <= asked);
            // What it came back from lasts for a transaction more.
            let well = faults.all(|(begin, end)| *begin <= *begun && *end <= *begun + TRANSACTION);
            let engaged = self.legs.iter().any(|leg| {
                let since = leg.phone == phone && leg.invited <= *registered;
                since && leg.end().is_none_or(|end| end > *registered)
            });
            sought(*registered)
                && well
                && !engaged
                && !self.restarted(*begun, asked)
                && !self.has_let_it_ring(phone, hole.from, *registered)
                && !self.has_refused(phone, hole.from, *registered)
                && !self.was_asked(phone, *begun, asked)
        })
    }

    /// Returns true for a phone that is back without a word while its person is sought, and is not asked again.
    fn is_sought_no_more(&self, phone: PhoneId, noticed: Time, hole: &Hole<'_>) -> bool {
        let over = hole.until.min(hole.from + self.log.rules.restore());
        let [registered, left] = self.registered[phone];
        let mut returns = self.gone[phone].iter().map(|(_, end)| *end);
        returns.any(|back| {
            let until = back + SOUGHT_AGAIN;
            let mut faults = self.troubles[phone].iter();
            // What it came back from lasts for a transaction more.
            let well = faults
                .all(|(begin, end)| *begin > until || *begin <= back && *end <= back + TRANSACTION);
            let engaged = self.legs.iter().any(|leg| {
                let since = leg.phone == phone && leg.invited <= back;
                since && leg.end().is_none_or(|end| end > back)
            });
            noticed < back
                && until < over
                && well
                && !engaged
                && registered.is_some_and(|at| at < back)
                && left.is_none_or(|at| at > until)
                && !self.restarted(back, until)
                && !self.was_asked(phone, back, until)
                && !self.has_let_it_ring(phone, hole.from, until)
                && !self.has_refused(phone, hole.from, until)
        })
    }

    /// Returns true for a phone that has rung for as long as one may in that time, and has said so: it is not rung again.
    fn has_let_it_ring(&self, phone: PhoneId, from: Time, by: Time) -> bool {
        let rings = self.log.rules.rings;
        let mut own = self.legs.iter().filter(|leg| leg.phone == phone);
        own.any(|leg| {
            let long = |at: Time| at <= by && at + FLIGHT >= leg.invited + rings;
            let ended = leg
                .refused
                .is_some_and(|(at, status)| status == 487 && long(at));
            ended && leg.cancelled && !leg.outgoing && leg.invited >= from
        })
    }

    /// Returns true for a phone whose person has heard it ring in that time, and said no: it is not rung again.
    fn has_refused(&self, phone: PhoneId, from: Time, by: Time) -> bool {
        let mut own = self.legs.iter().filter(|leg| leg.phone == phone);
        own.any(|leg| {
            let no = |(at, status): (Time, u16)| at <= by && matches!(status, 480 | 486 | 603);
            leg.refused.is_some_and(no) && leg.alerted && !leg.outgoing && leg.invited >= from
        })
    }

    fn was_asked(&self, phone: PhoneId, from: Time, until: Time) -> bool {
        let legs = self.legs.iter();
        let mut invited = legs.filter(|leg| leg.phone == phone && !leg.outgoing);
        invited.any(|leg| (from..=until).contains(&leg.invited))
    }
}

/// Returns true for a phone that took the call, and left it before it was heard that the other side agrees: it has
/// refused.
fn left_unagreed(phone: PhoneId, leg: &Leg, hole: &Hole<'_>) -> bool {
    let peer = hole.before.filter(|peer| peer.phone == phone);
    let peer = peer.filter(|peer| !peer.outgoing && peer.bye_sent == Some(hole.from));
    let Some((taken, bye)) = peer.and_then(|peer| peer.answered.zip(peer.bye_sent)) else {
        return false;
    };
    let since = |got: &&Request| got.at >= taken && got.news && is_offer(&got.method);
    let first = leg.got.iter().find(since);
    let late = |(at, _): (Time, u16)| at + FLIGHT > bye;
    first.is_some_and(|first| first.at <= bye + FLIGHT && first.answer.is_none_or(late))
}
