//! What was to be observed, and whether it was.

use std::time::Duration;

use crate::sip::{Message, Method};
use crate::ua::{Continuity, Entry, Log, Phase, Phone};

use super::page::{Page, WIDTH, wrapped};

/// A packet's worth of samples: how far a timestamp may be from the time that passed.
const PACKET: i64 = 160;

#[derive(Debug, Default)]
pub(super) struct Checklist(Vec<(bool, String)>);

impl Checklist {
    pub(super) fn check(&mut self, observed: bool, what: impl Into<String>) {
        self.0.push((observed, what.into()));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn seen(&self) -> usize {
        self.0.iter().filter(|(observed, _)| *observed).count()
    }

    pub(super) fn print(&self, page: &Page) {
        page.line("");
        for (observed, what) in &self.0 {
            let mut sign = if *observed { "  ✓ " } else { "  ✗ " };
            for line in wrapped(what, WIDTH - 4) {
                page.line(&format!("{sign}{line}"));
                sign = "    ";
            }
        }
    }

    /// What the survivor's phone was asked from the loss to the farewell: nothing but the notice.
    pub(super) fn only_the_notice(&mut self, requests: &[Message], wanted: usize) {
        let methods: Vec<&str> = requests.iter().map(|it| it.method().as_str()).collect();
        let only = methods.len() == wanted && methods.iter().all(|method| *method == "MESSAGE");
        let what = "Alice's phone noticed nothing: no BYE, no re-INVITE, no other request";
        if only {
            self.check(true, format!("{what} but the MESSAGE"));
        } else {
            let got = methods.join(", ");
            self.check(false, format!("{what} but the MESSAGE; it got: {got}"));
        }
    }

    /// One unbroken stream of RTP.
    pub(super) fn unbroken(&mut self, seen: &Continuity, new_voice: u8) {
        self.check(
            seen.breaks == 0 && seen.packets > 0,
            format!(
                "RTP to Alice went on: {} packets, {} missing or out of order",
                seen.packets, seen.breaks
            ),
        );
        self.check(
            seen.sources == 1,
            format!(
                "Its packets carry {} SSRC, as those of one phone do",
                seen.sources
            ),
        );
        let drift = seen.worst_drift();
        self.check(
            seen.steps_back == 0 && seen.keeps_time(PACKET) && !seen.seams.is_empty(),
            format!(
                "Its timestamps advanced by the time that passed, within {drift} samples \
                 (a packet has {PACKET})"
            ),
        );
        let marker = seen.seam_to(new_voice).is_some_and(|seam| seam.marker);
        self.check(marker, "Its marker is set where the mobile's voice begins");
    }

    /// Nothing rings and nothing stands on any phone that lives.
    pub(super) fn all_quiet(&mut self, phones: &[&Phone]) {
        let open: Vec<&str> = phones
            .iter()
            .filter(|phone| phone.is_awake())
            .filter(|phone| {
                let calls = phone.all_calls();
                calls
                    .iter()
                    .any(|call| !matches!(call.phase(), Phase::Over(_)))
            })
            .map(|phone| phone.label())
            .collect();
        if open.is_empty() {
            self.check(
                true,
                "Nothing is left ringing, and no call is left on any phone",
            );
        } else {
            self.check(false, format!("A call is left on: {}", open.join(", ")));
        }
    }
}

/// Returns the requests that a phone received for the first time between two moments, but for ACK.
pub(super) fn requests(log: &Log, who: &Phone, from: Duration, until: Duration) -> Vec<Message> {
    let entries = log.of(who.label());
    entries
        .iter()
        .filter(|entry| entry.at >= from && entry.at <= until)
        .filter_map(Entry::received)
        .filter(|message| message.is_request() && *message.method() != Method::Ack)
        .cloned()
        .collect()
}
