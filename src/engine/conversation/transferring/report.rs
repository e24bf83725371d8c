//! The subscription that a REFER begins: its sender is told how the call goes (RFC 3515 2.4.4, RFC 6665).
//!
//! ```text
//!  Active ── final, no NOTIFY open ─────────────► Over
//!    │  a final one waits for the open NOTIFY's answer, as every word does (RFC 6665 4.2.2)
//!    └──── 481 or another failure, no answer ───► Over
//! ```

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, What};
use crate::engine::conversation::leg::Leg;
use crate::engine::events::Signal;
use crate::engine::ids::{ConversationId, LegId};
use crate::engine::time::Time;
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name, reason_phrase};

const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// What the sender of a REFER is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reports {
    /// CSeq of the REFER, where it was not the dialog's first (RFC 3515 2.4.6).
    id: Option<u32>,
    until: Time,
    /// The status that was told last.
    told: u16,
    /// A NOTIFY has no answer yet.
    #[serde(skip)]
    open: bool,
    /// What is to be told once it has.
    next: Option<u16>,
    over: bool,
}

impl Leg {
    /// A REFER was accepted in the dialog.
    pub(super) fn subscribe(&mut self, refer: &Message, until: Time) {
        let first = self.reports.is_none();
        self.reports = Some(Box::new(Reports {
            id: (!first).then(|| refer.cseq()),
            until,
            told: 0,
            open: false,
            next: None,
            over: false,
        }));
    }

    /// Tells the sender of the REFER how the call goes; a final status is the last word.
    pub(super) fn report(&mut self, context: &mut Context<'_>, id: ConversationId, status: u16) {
        let Some(reports) = &mut self.reports else {
            return;
        };
        if reports.over || status < 200 && status <= reports.told {
            return;
        }
        if reports.open {
            reports.next = Some(status);
            return;
        }
        reports.told = status;
        reports.over = status >= 200;
        let state = if reports.over {
            "terminated;reason=noresource".to_owned()
        } else {
            let left = reports.until.since(context.now).as_secs_ceil();
            format!("active;expires={left}")
        };
        self.notify(context, id, &state, status);
    }

    /// The dialog, or all of it that is ours, ends now: the last word does not wait.
    pub(crate) fn report_at_last(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        status: u16,
    ) {
        if let Some(reports) = &mut self.reports {
            reports.open = false;
        }
        self.report(context, id, status);
    }

    /// After a restart no NOTIFY is open: what waited for one to be answered goes out.
    pub(crate) fn resume_reports(&mut self, context: &mut Context<'_>, id: ConversationId) {
        if let Some(next) = self
            .reports
            .as_mut()
            .and_then(|reports| reports.next.take())
        {
            self.report(context, id, next);
        }
    }

    fn notify(&mut self, context: &mut Context<'_>, id: ConversationId, state: &str, status: u16) {
        let Some(reports) = &mut self.reports else {
            return;
        };
        reports.open = true;
        let event = match reports.id {
            Some(number) => format!("refer;id={number}"),
            None => "refer".to_owned(),
        };
        let line = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        self.request(context, id, &Method::Notify, What::Report, |builder| {
            builder
                .header(Name::Event, event)
                .header(Name::SubscriptionState, state)
                .body(SIPFRAG, line.as_bytes())
        });
    }

    /// Returns true while a NOTIFY has no answer, or another word is to follow.
    pub(super) fn reports_are_open(&self) -> bool {
        let open = |reports: &Reports| reports.open || reports.next.is_some();
        self.reports.as_deref().is_some_and(open)
    }

    fn reports_end(&mut self) {
        if let Some(reports) = &mut self.reports {
            (reports.open, reports.over, reports.next) = (false, true, None);
        }
    }

    /// A SUBSCRIBE for the reports: longer, or no more of them (RFC 6665 4.1.2.2, 4.1.2.3). Returns false
    /// where it is of another event.
    pub(super) fn resubscribed(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        server: ServerId,
        request: &Message,
    ) -> bool {
        let event = request.header(Name::Event).unwrap_or("");
        let package = event.split(';').next().unwrap_or("").trim();
        let Some(reports) = self.reports.as_mut().filter(|reports| !reports.over) else {
            return false;
        };
        if !package.eq_ignore_ascii_case("refer") {
            return false;
        }
        let left = reports.until.since(context.now).as_secs_ceil();
        let granted = request
            .expires()
            .map_or(left, |asked| left.min(asked.into()));
        let (told, open) = (reports.told, reports.open);
        let contact = context.contact(&self.dialog);
        context.respond(server, 200, "OK", None, |builder| {
            builder
                .header(Name::Contact, contact)
                .header(Name::Expires, granted)
                .end()
        });
        if open {
            return true;
        }
        if granted == 0 {
            self.notify(context, id, "terminated;reason=timeout", told.max(100));
            self.reports_end();
        } else {
            let state = format!("active;expires={granted}");
            self.notify(context, id, &state, told.max(100));
        }
        true
    }
}

impl Conversation {
    /// Returns a leg that reports may be under way to, or that owes an ACK: a live one, one that is put aside,
    /// one that is to take the place of that, one that leaves.
    pub(crate) fn reporting(&mut self, leg: LegId) -> Option<&mut Leg> {
        let parties = self.parties.iter_mut().flat_map(|party| {
            let aside = party.lost.as_mut().into_iter().flat_map(|lost| {
                let branches = lost.fork.branches.iter_mut();
                branches
                    .map(|branch| &mut branch.leg)
                    .chain([&mut lost.old])
            });
            aside.chain(party.leg.as_mut())
        });
        let leaving = self.leaving.iter_mut().map(|leaving| &mut leaving.leg);
        parties.chain(leaving).find(|known| known.id == leg)
    }

    /// The answer to a NOTIFY.
    pub(crate) fn report_response(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        response: &Message,
    ) {
        let id = self.id;
        let Some(leg) = self.reporting(leg).filter(|_| response.status() >= 200) else {
            return;
        };
        if response.status() >= 300 {
            // RFC 6665 4.2.2: nobody wants to know. It says nothing of the call (RFC 5057 5.1).
            leg.reports_end();
        } else if let Some(reports) = &mut leg.reports {
            reports.open = false;
            if let Some(next) = reports.next.take() {
                leg.report(context, id, next);
            }
        }
        self.part(context);
    }

    /// A NOTIFY was not answered: the others need not be sent, and a standing dialog is asked.
    pub(crate) fn report_unanswered(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        signal: Signal,
    ) {
        if let Some(leg) = self.reporting(leg) {
            leg.reports_end();
        }
        if let Some(side) = self.side_of(leg) {
            self.suspect(context, side, signal);
        }
        self.part(context);
    }
}
