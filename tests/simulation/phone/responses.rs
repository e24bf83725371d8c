//! The phone as user agent client.

use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method, Name};

use super::call::Stage;
use super::reliable::lists;
use super::transaction::{Client, ClientState};
use super::{EXPIRES_S, PATIENCE, Phone};

impl Phone {
    pub(super) fn handle_response(&mut self, response: &Message, now: Time) {
        let found = self.clients.iter().position(|client| {
            Some(&*client.branch) == response.branch() && client.method == *response.method()
        });
        let Some(at) = found else {
            return self.success_again(response);
        };
        let client = &mut self.clients[at];
        if client.state == ClientState::Done {
            if let Some(ack) = client.ack.clone() {
                self.send(ack);
            } else {
                self.success_again(response);
            }
            return;
        }
        if response.status() < 200 {
            client.proceed(now, PATIENCE);
            let call = client.call.filter(|_| client.method == Method::Invite);
            if let Some(at) = call.and_then(|id| self.find(id)) {
                self.heard_reliably(response, at, now);
                let call = &mut self.calls[at];
                if call.stage == Stage::Calling && !lists(response, Name::Require, "100rel") {
                    call.session.hears(response.body());
                }
            }
            return;
        }
        let refused_invite = client.method == Method::Invite && response.status() >= 300;
        let ack = refused_invite.then(|| Self::refusal_ack(&client.bytes, response));
        client.done(ack.clone(), now);
        let (method, call, cseq) = (client.method.clone(), client.call, client.cseq);
        if let Some(ack) = ack {
            self.send(ack);
        }
        let at = call.and_then(|id| self.find(id));
        match (method, at) {
            (Method::Register, _) => self.registered(response.status(), now),
            (Method::Invite, Some(at)) if self.calls[at].stage == Stage::Calling => {
                self.invite_answered(response, at, now);
            }
            (Method::Invite | Method::Update, Some(at)) => {
                self.change_answered(response, at, cseq, now);
            }
            (Method::Bye, Some(at)) => {
                self.calls.remove(at);
            }
            (Method::Message, Some(at)) => {
                self.calls[at].texting = false;
                if !self.ends_dialog(response, at) {
                    self.next_text(at, now);
                }
            }
            // The INVITE's own answer says what became of it.
            (Method::Cancel, _) => {}
            (_, _) => {}
        }
    }

    /// A 2xx to an INVITE that has been answered: its ACK was lost.
    fn success_again(&mut self, response: &Message) {
        if *response.method() != Method::Invite || response.status() / 100 != 2 {
            return;
        }
        let ack = self
            .calls
            .iter()
            .filter(|call| call.call_id == response.call_id())
            .filter_map(|call| call.ack.clone())
            .find(|(cseq, _)| *cseq == response.cseq());
        if let Some((_, ack)) = ack {
            self.send(ack);
        }
    }

    fn registered(&mut self, status: u16, now: Time) {
        if self.registration.wanted {
            let wait = match status / 100 {
                2 => Millis::from_secs(EXPIRES_S / 2),
                _ => Millis::from_secs(5),
            };
            self.registration.at = Some(now + wait);
        }
    }

    fn invite_answered(&mut self, response: &Message, at: usize, now: Time) {
        if response.status() >= 300 {
            let call = self.calls.remove(at);
            return self.is_not_replaced(call, now);
        }
        self.calls[at].remote_tag = response.to_tag().map(ToOwned::to_owned);
        self.calls[at].retarget(response);
        self.calls[at].session.answered(response.body());
        self.calls[at].stage = Stage::Live;
        self.timed(at, response, false, now);
        self.acknowledge(at, response.cseq(), None);
        self.next_text(at, now);
        self.takes_its_place(at, now);
    }

    fn change_answered(&mut self, response: &Message, at: usize, cseq: u32, now: Time) {
        self.calls[at].changing = false;
        match response.status() {
            200..300 => {
                self.calls[at].retarget(response);
                self.calls[at].session.answered(response.body());
                self.timed(at, response, false, now);
                if *response.method() == Method::Invite {
                    self.acknowledge(at, cseq, None);
                }
            }
            // Glare, or not now (RFC 3261 14.1): once more.
            491 | 500 if self.calls[at].stage != Stage::Ending => {
                self.calls[at].change_at = Some(now + self.dice.span(2100, 4000));
            }
            _ => {
                if !self.ends_dialog(response, at) {
                    self.calls[at].session.refused();
                }
            }
        }
    }

    /// RFC 3261 12.2.1.2, RFC 5057: some codes end the dialog; the phone drops it without a word.
    fn ends_dialog(&mut self, response: &Message, at: usize) -> bool {
        let ends = matches!(
            response.status(),
            404 | 408 | 410 | 416 | 481..=485 | 502 | 604
        );
        if ends && self.calls[at].stage == Stage::Live {
            self.calls.remove(at);
        }
        ends
    }

    /// A request of ours had no answer at all.
    pub(super) fn unanswered(&mut self, client: &Client, now: Time) {
        let at = client.call.and_then(|id| self.find(id));
        match (&client.method, at) {
            (Method::Register, _) if self.registration.wanted => {
                self.registration.at = Some(now + Millis(2000));
            }
            (Method::Invite, Some(at)) if self.calls[at].stage == Stage::Calling => {
                let call = self.calls.remove(at);
                self.is_not_replaced(call, now);
            }
            (Method::Invite | Method::Update, Some(at)) => self.calls[at].changing = false,
            (Method::Bye, Some(at)) => {
                self.calls.remove(at);
            }
            (Method::Message, Some(at)) => {
                self.calls[at].texting = false;
                self.next_text(at, now);
            }
            (_, _) => {}
        }
    }
}
