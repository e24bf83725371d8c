//! The counters that an operator reads agree with what the phones saw.

use std::collections::{BTreeMap, BTreeSet};

use refork::engine::time::Time;
use refork::sip::Method;

use super::legs::{Leg, Request};
use super::{CONTINUED, Case, TRANSACTION};
use crate::log::Log;

/// The samples of a scrape, in Prometheus' text format.
pub(super) struct Scrape<'a>(&'a str);

impl Scrape<'_> {
    /// Sums up a family, over those of its samples whose labels have `part` in them.
    pub(super) fn sum(&self, family: &str, part: &str) -> usize {
        let samples = self.0.lines().filter_map(|line| line.strip_prefix(family));
        let samples = samples.filter(|rest| rest.starts_with(['{', ' ']) && rest.contains(part));
        let values = samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as usize
    }
}

/// Returns what a scrape at the end says that cannot be. What a phone saw that nothing befell the server saw too;
/// what it saw of others is between two numbers.
pub(crate) fn counted(log: &Log, scrape: &str) -> Vec<String> {
    let case = Case::of(log);
    let (legs, scrape) = (&case.legs, Scrape(scrape));
    let restarted = !case.restarts.is_empty();
    let got = || legs.iter().flat_map(|leg| &leg.got);
    let sent = || legs.iter().flat_map(|leg| &leg.sent);
    let told = |request: &&Request| matches!(request.answer, Some((_, 200..300)));
    // Its 2xx has come: the leg stood for longer than it is repeated.
    let surely = |leg: &Leg, at: Time| !restarted && !leg.scarred && leg.stood_at(at + TRANSACTION);
    let took = |leg: &Leg, request: &&Request| match request.answer {
        Some((at, 200..300)) => surely(leg, at),
        Some(_) | None => false,
    };
    let certain = || {
        let each = legs.iter().map(|leg| (leg, leg.got.iter()));
        each.flat_map(|(leg, got)| got.filter(move |request| took(leg, request)))
    };
    let mut found = Vec::new();
    let mut fits = |what: &str, counted: usize, least: usize, most: usize| {
        if !(least..=most).contains(&counted) {
            found.push(format!(
                "counters: {what} {counted}, and the phones saw {least} to {most}"
            ));
        }
    };

    // What a server had forgotten as it rose again may be begun once more.
    let outgoing = legs.iter().filter(|leg| leg.is_callers()).count();
    let outgoing = if restarted { usize::MAX } else { outgoing };
    let begun = scrape.sum("refork_conversations_started_total", "");
    // Of a name that nobody has here no call is begun.
    let refused = |leg: &Leg| leg.refused.is_some_and(|(_, status)| status != 404);
    let heard = |leg: &&Leg| leg.is_callers() && (leg.answered.is_some() || refused(leg));
    let answered = scrape.sum("refork_conversations_answered_total", "");
    let connected = |leg: &&Leg| leg.is_callers() && leg.answered.is_some();
    fits(
        "conversations begun",
        begun,
        legs.iter().filter(heard).count(),
        outgoing,
    );
    fits(
        "conversations answered",
        answered,
        legs.iter().filter(connected).count(),
        outgoing,
    );
    if !restarted {
        let ended = scrape.sum("refork_conversations_ended_total", "");
        fits("conversations ended", ended, begun, begun);
    }

    // Each leg of ours that a phone accepted began a conversation, restored or was given one, or lost a race.
    let accepted = legs.iter().filter(|leg| !leg.outgoing);
    let accepted = accepted.filter(|leg| leg.answered.is_some()).count();
    let restored = scrape.sum("refork_restorations_total", "_endpoint\"");
    let taken = scrape.sum("refork_transfers_total", "\"transferred\"");
    // Who stays for so long has lost no race.
    let stayed = legs.iter().filter(|leg| !leg.outgoing);
    let stayed = stayed.filter(|leg| leg.acked.is_some_and(|at| surely(leg, at)));
    // Two calls that are joined take no new answer.
    if case.tangled.is_empty() && !restarted {
        fits(
            "answers, restorations and transfers",
            answered + restored + taken,
            stayed.count(),
            accepted,
        );
    }

    for (what, counted, least, most) in case.losses_counted(&scrape) {
        fits(what, counted, least, most);
    }

    let notices = got().filter(|request| request.body.starts_with(CONTINUED));
    let delivered = scrape.sum("refork_notices_total", "\"delivered");
    fits(
        "notices delivered",
        delivered,
        certain()
            .filter(|request| request.body.starts_with(CONTINUED))
            .count(),
        notices.filter(told).count(),
    );

    let texts =
        |request: &&Request| request.method == Method::Message && request.body.starts_with("text ");
    let kept = scrape.sum("refork_messages_queued_total", "");
    let promised = |request: &&Request| matches!(request.answer, Some((_, 202)));
    let written = sent().filter(texts);
    // A promise may be kept over a restart, and made once more.
    let promises = sent().filter(texts).filter(promised).count();
    fits(
        "messages queued",
        kept,
        if restarted { 0 } else { promises },
        written.count(),
    );
    let delivered = scrape.sum("refork_messages_delivered_total", "");
    let kept_and_told = sent().filter(texts).filter(promised).filter(|written| {
        let mut told = certain().filter(texts);
        told.any(|request| request.body == written.body)
    });
    fits(
        "messages delivered",
        delivered,
        kept_and_told.count(),
        got().filter(texts).filter(told).count(),
    );
    // One that was sent to a phone and not answered is sent again, to another or twice to the same.
    let redelivered = scrape.sum("refork_messages_redelivered_total", "");
    let (mut seen_again, mut sendings) = (0, 0);
    let mut tries = BTreeMap::<&str, BTreeSet<&str>>::new();
    for request in got().filter(texts) {
        tries
            .entry(&request.body)
            .or_default()
            .insert(&request.branch);
    }
    for tries in tries.values() {
        seen_again += tries.len() - 1;
    }
    // A caller may miss the 2xx, and who has answered the ACK, and what is written to it then.
    let begun = |leg: &Leg| leg.outgoing || leg.answered.is_some();
    let talks = |leg: &&Leg| leg.acked.is_some() || leg.scarred && begun(leg);
    for leg in legs.iter().filter(talks) {
        let peers = || case.side(leg.talk, leg.side.other());
        let written = peers().flat_map(|peer| &peer.sent).filter(texts).count();
        // One that something befell is missed again and again, and found whenever it says something itself.
        let found = if leg.scarred { 1 + leg.sent.len() } else { 0 };
        sendings += written * (1 + found.max(usize::from(restarted)));
    }
    let firsts = sent().filter(texts).count();
    fits(
        "messages sent again",
        redelivered,
        if restarted { 0 } else { seen_again },
        sendings.saturating_sub(firsts).max(seen_again),
    );
    let rejected = scrape.sum("refork_messages_rejected_total", "");
    if !restarted && rejected == 0 {
        let undelivered = scrape.sum("refork_messages_undelivered_total", "");
        fits(
            "messages delivered or left",
            delivered + undelivered,
            kept,
            kept,
        );
    }
    found
}
