//! Two phones that talk have agreed on the same: what one sends the other expects. Whoever is on hold by its own
//! wish may have been offered more than that since, and has said again that it wants no more.

use std::collections::BTreeMap;

use refork::engine::time::{Millis, Time};
use refork::sip::sdp::{Direction, Kind, Sdp};
use refork::sip::{Message, Method};

use super::legs::{Leg, Request};
use super::{Case, FLIGHT, FOR_EVER, PhoneId, TRANSACTION, What};
use crate::rules::FIRST_RINGS;

/// By then every offer has been answered, carried across and tried again after a glare.
const SETTLED: Millis = Millis(20_000);

/// The directions of sound and pictures; none where there are none, or they were refused.
type Sections = [Option<Direction>; 2];

/// What a phone and the server have last agreed on in one dialog.
#[derive(Default)]
pub(super) struct Agreed {
    at: Time,
    said: Option<Sections>,
    told: Option<Sections>,
    /// Offers without an answer, by branch; `true` for the phone's own.
    offers: BTreeMap<String, (bool, Sections)>,
    /// An offer in a 2xx, which the ACK answers.
    late: Option<(bool, Sections)>,
    /// The branches of what was settled, the last one last.
    settled: Vec<String>,
}

impl Agreed {
    fn take(&mut self, at: Time, message: &Message, sent: bool) {
        let said = sections(message);
        let branch = message.branch().unwrap_or_default().to_owned();
        let mut before = self.settled.iter().rev().skip(1);
        if before.any(|known| *known == branch) {
            // It comes again, and another offer has been agreed on since.
            return;
        }
        if message.is_request() {
            match (message.method(), said, self.late.take()) {
                (Method::Ack, Some(answer), Some(offer)) => self.agree(at, offer, (sent, answer)),
                (_, Some(offer), _) => {
                    self.offers.insert(branch, (sent, offer));
                }
                (_, None, late) => self.late = late,
            }
            return;
        }
        match (said, self.offers.get(&branch).copied()) {
            (Some(answer), Some(offer)) => {
                self.agree(at, offer, (sent, answer));
            }
            (Some(offer), None) => self.late = Some((sent, offer)),
            (None, _) => {}
        }
        if message.status() >= 200 {
            let offered = self.offers.remove(&branch).is_some();
            if (offered || said.is_some()) && self.settled.last() != Some(&branch) {
                self.settled.push(branch);
            }
        }
    }

    /// Returns of which sections the phone sends something, as it understands it; none where there is none.
    fn sends(&self) -> [Option<bool>; 2] {
        self.by(|said, told| said.sends() && told.receives())
    }

    /// The same to a phone that came since. What a user who holds by itself could send to that is not missed: it is not
    /// asked for it.
    fn sends_to(&self, other: &Leg, theirs: &Self) -> [Option<bool>; 2] {
        let (sends, expected) = (self.sends(), theirs.expects());
        [0, 1].map(|at| {
            let said = self.said.and_then(|said| said[at]);
            let holds = said == Some(Direction::SendOnly) && other.acked > Some(self.at);
            if holds { expected[at] } else { sends[at] }
        })
    }

    /// Returns true where both send sound.
    pub(super) fn is_both_ways(&self) -> bool {
        let sound = [self.said, self.told].map(|sections| sections.and_then(|it| it[0]));
        sound == [Some(Direction::SendRecv); 2]
    }

    fn expects(&self) -> [Option<bool>; 2] {
        self.by(|said, told| said.receives() && told.sends())
    }

    fn by(&self, way: impl Fn(Direction, Direction) -> bool) -> [Option<bool>; 2] {
        [0, 1].map(|at| Some(way(self.said?[at]?, self.told?[at]?)))
    }

    fn agree(&mut self, at: Time, mut offer: (bool, Sections), mut answer: (bool, Sections)) {
        let known = (self.said, self.told);
        for (offered, answered) in offer.1.iter_mut().zip(&mut answer.1) {
            if offered.is_none() || answered.is_none() {
                (*offered, *answered) = (None, None);
            }
        }
        for (own, directions) in [offer, answer] {
            let side = if own { &mut self.said } else { &mut self.told };
            *side = Some(directions);
        }
        if known != (self.said, self.told) {
            self.at = at;
        }
    }
}

fn sections(message: &Message) -> Option<Sections> {
    let sdp = Sdp::parse(message.body()).ok()?;
    let media = sdp.media();
    media.first().filter(|media| media.kind == Kind::Audio)?;
    let of = |at: usize| media.get(at).filter(|media| media.port != 0);
    Some([0, 1].map(|at| of(at).map(|media| media.direction)))
}

impl Case<'_> {
    pub(super) fn streams(&mut self) {
        let mut found = Vec::new();
        let agreed = self.agreed(FOR_EVER);
        let of = |leg: &Leg| agreed.get(&(leg.phone, leg.call_id.clone()));
        // Who takes no other session cannot be told of a hold.
        let bends = |leg: &&Leg| !self.log.roster[leg.phone].traits.speech.rigid;
        for leg in self.plain().filter(bends) {
            for peer in self
                .side(leg.talk, leg.side.other())
                .filter(|peer| !peer.scarred)
                .filter(bends)
            {
                let (Some(ours), Some(theirs)) = (of(leg), of(peer)) else {
                    continue;
                };
                let Some(end) = self.talked_until(leg, peer) else {
                    continue;
                };
                let changed = ours.at.max(theirs.at);
                // What a transferor wishes while its target rings is told where nobody takes the call.
                if [leg, peer].into_iter().any(|of| {
                    self.handed_on_after(of, changed) || self.hands_on_until(of, changed, end)
                }) {
                    continue;
                }
                let since = changed + SETTLED;
                let ways = [
                    ours.expects(),
                    theirs.sends_to(leg, ours),
                    ours.sends_to(peer, theirs),
                    theirs.expects(),
                ];
                if since < end && (ways[0] != ways[1] || ways[2] != ways[3]) {
                    let (told, said) = (ours.told, theirs.said);
                    let name = &self.log.roster[peer.phone].name;
                    let what = format!("was told {told:?}, and {name} said {said:?}: {ways:?}");
                    found.push((end, leg.phone, what));
                }
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    /// Returns true for a phone that had asked somebody else to take its call when something changed, and whose call
    /// was taken in the end.
    fn handed_on_after(&self, leg: &Leg, changed: Time) -> bool {
        let mut sent = leg.sent.iter();
        let asked = sent.any(|sent| sent.method == Method::Refer && sent.at <= changed);
        let taken = |what: &What| matches!(what, What::Transferred);
        let mut entries = self.log.entries.iter();
        asked
            && entries.any(|entry| {
                entry.phone == Some(leg.phone) && taken(&entry.what) && entry.at >= changed
            })
    }

    /// Returns true for a phone that had asked for that, and has not heard by then what came of it: who is asked may be
    /// silent for as long as an INVITE is sent, or ring for as long as in a first fork.
    fn hands_on_until(&self, leg: &Leg, changed: Time, end: Time) -> bool {
        let lasts = TRANSACTION.max(FIRST_RINGS);
        let mut sent = leg.sent.iter();
        let asked = sent.rfind(|sent| sent.method == Method::Refer && sent.at <= changed);
        asked.is_some_and(|asked| {
            let outcome = |got: &Request| {
                let said = got.body.strip_prefix("SIP/2.0 ");
                (asked.at..=end).contains(&got.at)
                    && said.is_some_and(|status| !status.starts_with('1'))
            };
            let accepted = matches!(asked.answer, Some((_, 200..300)));
            accepted && end <= asked.at + lasts + FLIGHT && !leg.got.iter().any(outcome)
        })
    }

    /// Returns what each phone has agreed on by then, by its Call-ID.
    pub(super) fn agreed(&self, by: Time) -> BTreeMap<(PhoneId, String), Agreed> {
        let mut agreed = BTreeMap::<_, Agreed>::new();
        for entry in self.log.entries.iter().filter(|entry| entry.at <= by) {
            let (message, sent) = match &entry.what {
                What::Got(message) => (message, false),
                What::Sent(message) => (message, true),
                What::TimedOut(_)
                | What::HungUp
                | What::Expired
                | What::Transferred
                | What::Fault(_)
                | What::Recovered
                | What::Heard
                | What::ServerDown
                | What::ServerUp
                | What::Stored(_)
                | What::Remark(_) => continue,
            };
            let Some(phone) = entry.phone else { continue };
            let key = (phone, message.call_id().to_owned());
            agreed.entry(key).or_default().take(entry.at, message, sent);
        }
        agreed
    }

    /// Returns until when two legs were the only ones of their sides, where they were for long enough.
    fn talked_until(&self, leg: &Leg, peer: &Leg) -> Option<Time> {
        let last = self.log.last();
        let end = leg.end().unwrap_or(last).min(peer.end().unwrap_or(last));
        let from = leg.acked?.max(peer.acked?) + TRANSACTION;
        let at = end - Millis(1);
        let alone = [leg, peer].into_iter().all(|of| {
            let mut others = self.side(of.talk, of.side);
            others.all(|other| other.call_id == of.call_id || !other.stood_at(at))
        });
        (from < end && alone && !self.restarted(from - TRANSACTION - TRANSACTION, end))
            .then_some(end)
    }
}
