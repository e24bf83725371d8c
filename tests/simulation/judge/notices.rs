//! Exactly one notice for each change of endpoint, and none without.

use refork::engine::time::{Millis, Time};

use super::legs::{Leg, Request};
use super::{CONTINUED, Case, FAILED, TRANSACTION};

/// Within this, a notice is there.
const PROMPT: Millis = Millis(15_000);
/// Whoever is hit so soon after the beginning may not have been the one.
const NEARLY: Millis = Millis(4000);

impl Case<'_> {
    pub(super) fn notices(&mut self) {
        let mut found = Vec::new();
        let last = self.log.last();
        for leg in self.plain() {
            if let Some(acked) = leg.acked {
                self.of_leg(leg, acked, leg.end().unwrap_or(last), &mut found);
            }
        }
        for (at, phone, what) in found {
            self.blame(at, phone, what);
        }
    }

    fn of_leg(&self, leg: &Leg, acked: Time, end: Time, found: &mut Vec<(Time, usize, String)>) {
        let mut blame = |at, what| found.push((at, leg.phone, what));
        let mut known = self.known_at(leg, acked);
        // One that came too late is refused by its number and never seen (RFC 3261 12.2.2).
        let seen = |request: &&Request| !matches!(request.answer, Some((_, 481 | 500)));
        for request in leg.got.iter().filter(seen) {
            let Some(name) = request.body.strip_prefix(CONTINUED) else {
                continue;
            };
            let named = self
                .side(leg.talk, leg.side.other())
                .filter(|peer| peer.answered.is_some_and(|at| at <= request.at))
                .find(|peer| self.log.roster[peer.phone].name == name);
            let Some(named) = named else {
                blame(
                    request.at,
                    format!("notice of {name:?}, who has not answered"),
                );
                continue;
            };
            // One that was not answered when the server died may come again.
            if known == Some(named.phone) && !self.restarted(acked, request.at) {
                blame(request.at, format!("notice of {name} without a change"));
            }
            known = Some(named.phone);
        }
        let failures: Vec<_> = leg
            .got
            .iter()
            .filter(|got| got.body.starts_with(FAILED) && seen(got))
            .map(|got| got.at)
            .collect();
        let again = failures.len() > 1 && !self.restarted(acked, end);
        if let Some(at) = failures.first()
            && (again || end > *at + TRANSACTION)
            && self.died_as_it_ended(leg).is_none()
        {
            blame(*at, "told of failure, and that was not the end".to_owned());
        }
        let Some(known) = known else { return };
        let by = end - PROMPT;
        let holder = self
            .side(leg.talk, leg.side.other())
            .filter(|peer| {
                peer.acked
                    .is_some_and(|acked| acked <= end && acked > leg.invited)
            })
            .max_by_key(|peer| peer.acked)
            .filter(|peer| peer.acked.is_some_and(|acked| acked <= by))
            .filter(|peer| !peer.scarred && peer.stood_at(end - Millis(1000)))
            // A notice that was on its way when the server went down is not sent twice.
            .filter(|peer| {
                peer.acked
                    .is_some_and(|acked| !self.restarted(acked, acked + TRANSACTION))
            });
        if let Some(holder) = holder
            && holder.phone != known
            && self.can_be_told(leg)
        {
            let name = &self.log.roster[holder.phone].name;
            blame(end, format!("never told that it talks to {name}"));
        }
    }

    /// Returns whom a phone talks to when its leg begins to stand, where that is certain.
    fn known_at(&self, leg: &Leg, acked: Time) -> Option<usize> {
        // One that takes over may be told of a change that its user has not heard of yet.
        let takes_over = self
            .side(leg.talk, leg.side)
            .any(|earlier| earlier.acked.is_some_and(|at| at < acked));
        if takes_over {
            return None;
        }
        if !leg.outgoing {
            let mut callers = self.side(leg.talk, leg.side.other());
            return callers
                .find(|peer| peer.is_callers())
                .map(|peer| peer.phone);
        }
        let mut standing = self
            .side(leg.talk, leg.side.other())
            .filter(|peer| peer.answered.is_some_and(|at| at <= acked))
            // Who has died since may be the one.
            .filter(|peer| {
                let end = peer.bye_got.into_iter().chain(peer.bye_sent).min();
                end.is_none_or(|end| end > acked)
            });
        let only = standing.next()?;
        let shaken = self.trouble(only.phone, acked, acked + NEARLY);
        (standing.next().is_none() && !shaken).then_some(only.phone)
    }
}
