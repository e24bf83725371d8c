//! What responses to a phone's requests do.

use crate::sip::{Message, Method, Name};

use super::agent::Agent;
use super::dialog::{Ack, Ending, Phase, Role};
use super::request::{Draft, fresh};
use super::transactions::Purpose;

impl Agent {
    pub(super) fn on_response(&mut self, response: &Message) {
        let status = response.status();
        let is_invite = *response.method() == Method::Invite;
        let Some(client) = self.transactions.client(response) else {
            return;
        };
        let (purpose, ticket) = (client.purpose, client.ticket);
        if status < 200 {
            if is_invite && client.ends.is_some() {
                // RFC 3261 17.1.1.2: it may ring for ever now.
                client.resend = None;
                client.ends = Some(std::time::Duration::MAX);
            }
            self.on_provisional(purpose, response);
            return;
        }
        let first = client.ends.take().is_some();
        client.resend = None;
        if is_invite && status >= 300 {
            let (link, branch, mut draft) =
                (client.link, client.branch.clone(), client.draft.clone());
            let known = client.ack.clone();
            let ack = known.unwrap_or_else(|| {
                // RFC 3261 17.1.1.3.
                draft.method = Method::Ack;
                draft.to = response.header(Name::To).unwrap_or("").to_owned();
                draft.headers.clear();
                draft.body = None;
                draft.write(&self.via(&branch))
            });
            if let Some(client) = self.transactions.client(response) {
                client.ack = Some(ack.clone());
            }
            self.send(link, ack);
        }
        if is_invite && status < 300 {
            self.on_success(purpose, response);
        }
        if !first {
            return;
        }
        if matches!(status, 401 | 407) && self.log_in(response) {
            return;
        }
        self.outcomes.insert(ticket, Some(response.clone()));
        if status >= 300
            && let Purpose::Invite(call) = purpose
        {
            let dialog = &mut self.calls[call];
            let cancelled = matches!(&dialog.role, Role::Placed(placed) if placed.cancel);
            dialog.end(if cancelled && status == 487 {
                Ending::Cancelled
            } else {
                Ending::Refused(status)
            });
        }
    }

    /// Sends the request once more with credentials. Returns false where that makes no sense.
    fn log_in(&mut self, response: &Message) -> bool {
        let Some(client) = self.transactions.client(response) else {
            return false;
        };
        if client.draft.is_authorized() {
            return false;
        }
        let (purpose, ticket, draft) = (client.purpose, client.ticket, client.draft.clone());
        let (user, password) = (&self.profile.user, &self.profile.password);
        let Some(mut draft) = draft.authorized(response, user, password) else {
            return false;
        };
        draft.cseq += 1;
        match purpose {
            Purpose::Reinvite(call) => self.calls[call].local_cseq = draft.cseq,
            Purpose::Plain if draft.method == Method::Register => self.registration.1 = draft.cseq,
            Purpose::Plain | Purpose::Bye => {
                let mut calls = self.calls.iter_mut();
                if let Some(call) = calls.find(|call| call.call_id == draft.call_id) {
                    call.local_cseq = draft.cseq;
                }
            }
            Purpose::Invite(_) => {}
        }
        self.transmit(draft, purpose, format!("z9hG4bK{}", fresh()), ticket)
            .is_ok()
    }

    fn on_provisional(&mut self, purpose: Purpose, response: &Message) {
        let Purpose::Invite(call) = purpose else {
            return;
        };
        let dialog = &mut self.calls[call];
        if response.status() > 100 && dialog.phase == Phase::Calling {
            dialog.phase = Phase::Ringing;
        }
        let Role::Placed(placed) = &mut dialog.role else {
            return;
        };
        let due = placed.cancel && !placed.provisional;
        placed.provisional = true;
        if due {
            // The way to the server was there a moment ago; if it is gone, the INVITE times out.
            let _ = self.send_cancel(call);
        }
    }

    /// A 2xx to an INVITE of ours: acknowledged each time that it comes (RFC 3261 13.2.2.4).
    fn on_success(&mut self, purpose: Purpose, response: &Message) {
        let (Purpose::Invite(call) | Purpose::Reinvite(call)) = purpose else {
            return;
        };
        let cseq = response.cseq();
        let dialog = &mut self.calls[call];
        let other = dialog.remote_tag.is_some()
            && dialog.remote_tag.as_deref() != response.to_tag()
            && purpose == Purpose::Invite(call)
            && dialog.is_standing();
        if other {
            self.refuse_second_answer(call, response);
            return;
        }
        if let Some(ack) = dialog.acks.iter().find(|ack| ack.cseq == cseq) {
            let (link, bytes) = (ack.link, ack.bytes.clone());
            self.send(link, bytes);
            return;
        }
        dialog.refresh_target(response);
        if purpose == Purpose::Invite(call) {
            dialog.remote_tag = response.to_tag().map(str::to_owned);
            // RFC 3261 12.1.2: the caller's route set is the Record-Route turned round.
            dialog.routes = response
                .values(Name::RecordRoute)
                .map(str::to_owned)
                .collect();
            dialog.routes.reverse();
        }
        let ack = Draft {
            method: Method::Ack,
            uri: dialog.target.clone(),
            routes: dialog.routes.clone(),
            from: dialog.local_value(),
            to: dialog.remote_value(),
            call_id: dialog.call_id.clone(),
            cseq,
            headers: Vec::new(),
            body: None,
        };
        let bytes = ack.write(&self.via(&format!("z9hG4bK{}", fresh())));
        let Ok(link) = self.link_for(&ack.routes, &ack.uri) else {
            return;
        };
        self.send(link, bytes.clone());
        let (now, script) = (self.now(), self.profile.script.clone());
        let dialog = &mut self.calls[call];
        dialog.acks.push(Ack { cseq, link, bytes });
        if dialog.offering {
            dialog.offering = false;
            dialog.apply(response.body(), &script, now);
        }
        if purpose == Purpose::Reinvite(call) {
            return;
        }
        let cancelled = matches!(&dialog.role, Role::Placed(placed) if placed.cancel);
        if !dialog.is_over() {
            dialog.phase = Phase::Up;
        }
        if cancelled {
            // The answer overtook our CANCEL (RFC 3261 9.1).
            let _ = self.in_dialog(call, Method::Bye, Vec::new(), None);
            self.calls[call].phase = Phase::Over(Ending::Cancelled);
        }
    }

    /// A second answer to one INVITE of ours: ACK and BYE (RFC 3261 13.2.2.4).
    fn refuse_second_answer(&mut self, call: usize, response: &Message) {
        let dialog = &self.calls[call];
        let target = response
            .values(Name::Contact)
            .next()
            .and_then(|value| crate::sip::Address::parse(value).ok())
            .map_or(dialog.target.as_str(), |contact| contact.uri);
        let mut draft = Draft {
            method: Method::Ack,
            uri: target.to_owned(),
            routes: Vec::new(),
            from: dialog.local_value(),
            to: response.header(Name::To).unwrap_or("").to_owned(),
            call_id: dialog.call_id.clone(),
            cseq: response.cseq(),
            headers: Vec::new(),
            body: None,
        };
        if let Ok(link) = self.link_for(&draft.routes, &draft.uri) {
            let ack = draft.write(&self.via(&format!("z9hG4bK{}", fresh())));
            self.send(link, ack);
            draft.method = Method::Bye;
            draft.cseq += 1;
            let ticket = self.ticket();
            let branch = format!("z9hG4bK{}", fresh());
            // The ticket is nobody's; a phone that can't send it leaves the other end to time out.
            let _ = self.transmit(draft, Purpose::Bye, branch, ticket);
        }
    }
}
