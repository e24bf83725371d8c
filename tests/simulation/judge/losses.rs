//! The counters of losses, INVITEs of re-forks and restorations agree with what the phones saw, and with each other.

use refork::sip::Method;

use super::counts::Scrape;
use super::legs::Leg;
use super::{Case, FAILED, FLIGHT, TRANSACTION};

/// Reasons of which a phone's loss is counted, and what there must be for them.
const SILENCE: [&str; 2] = ["\"silence\"", "\"media_unreachable\""];
/// Nobody gives the orders of an operator here.
const OPERATOR: &str = "\"operator\"";
const FAILURE_BYE: &str = "\"failure_bye\"";
const EXPIRED: &str = "\"session_expired\"";

impl Case<'_> {
    /// Returns what is counted: what it is of, how often, and how often at least and at most it must be.
    pub(super) fn losses_counted(
        &self,
        scrape: &Scrape<'_>,
    ) -> Vec<(&'static str, usize, usize, usize)> {
        let lost = |reason: &str| scrape.sum("refork_losses_total", reason);
        let ended_by = |result: &str| scrape.sum("refork_restorations_total", result);
        let begun = scrape.sum("refork_conversations_started_total", "");
        let came_back = ended_by("_endpoint\"") + ended_by("\"repaired\"");
        let failed = ended_by("\"timeout\"") + ended_by("\"gave_up\"") + ended_by("\"declined\"");
        let mut counted = Vec::new();
        counted.push(("losses by order", lost(OPERATOR), 0, 0));
        let most = self.ended_by_replaces();
        counted.push(("losses by a BYE", lost(FAILURE_BYE), 0, most));
        let roster = &self.log.roster;
        if !roster.iter().any(|card| card.traits.timer > 0) {
            counted.push(("losses by a session's end", lost(EXPIRED), 0, 0));
        }
        if self.log.rules.silence.is_none() {
            counted.push(("losses by silence", lost(SILENCE[0]), 0, 0));
        }
        // What happened before a restart another process has counted.
        if !self.restarts.is_empty() {
            return counted;
        }
        // Whoever is lost comes back, or another one has the call, or it ends: of its two sides each once at most.
        let most = came_back + 2 * begun + scrape.sum("refork_transfers_total", "");
        counted.push(("losses", lost(""), came_back, most));
        // Who is told that the other could not be reached was left by a restoration, or a transfer, that failed; unless
        // it hangs up itself while it is told.
        let told = self.legs.iter().filter(|leg| {
            let mut got = leg.got.iter();
            leg.bye_sent.is_none() && got.any(|got| got.body.starts_with(FAILED))
        });
        let transfers = scrape.sum("refork_transfers_total", "\"failed\"");
        let (told, ends) = (told.count(), failed + transfers);
        counted.push(("restorations in vain", ends, told, begun + transfers));
        let (seen, called) = self.called_again();
        if called {
            let most = usize::MAX;
            counted.push((
                "INVITEs of re-forks",
                scrape.sum("refork_reinvites_total", ""),
                seen,
                most,
            ));
        }
        counted
    }

    /// Returns how many dialogs their phones have ended when they may have taken an INVITE in their place (RFC 3891 3),
    /// which the server may have given up by then, and for as long as a BYE of that may come again: no phone says of its
    /// BYE that a network has failed.
    fn ended_by_replaces(&self) -> usize {
        let next = |leg: &Leg, other: &Leg| {
            let own = other.phone == leg.phone && other.call_id != leg.call_id;
            let taken = other.answered.filter(|_| own && !other.outgoing);
            let within = |(bye, taken)| taken <= bye && bye <= taken + TRANSACTION;
            leg.bye_sent.zip(taken).is_some_and(within)
        };
        let ended = |leg: &&Leg| self.legs.iter().any(|other| next(leg, other));
        self.legs.iter().filter(ended).count()
    }

    /// Returns how many INVITEs have reached phones for long after their call stood, where none of them can be a
    /// transfer's; false where one can.
    fn called_again(&self) -> (usize, bool) {
        let mut sent = self.legs.iter().flat_map(|leg| &leg.sent);
        let plain = self.tangled.is_empty() && !sent.any(|sent| sent.method == Method::Refer);
        let again = self.legs.iter().filter(|leg| {
            let talk = self.legs.iter().filter(|other| other.talk == leg.talk);
            let begun = talk.filter_map(|other| other.acked.filter(|_| other.is_callers()));
            // A phone that was stopped finds what it was asked long before.
            let found = |begun| {
                let mut gone = self.gone[leg.phone].iter();
                gone.any(|(from, until)| {
                    let back = (*until..*until + FLIGHT).contains(&leg.invited);
                    back && *from <= begun + TRANSACTION
                })
            };
            let late = |begun| leg.invited > begun + TRANSACTION && !found(begun);
            !leg.outgoing && begun.min().is_some_and(late)
        });
        (again.count(), plain)
    }
}
