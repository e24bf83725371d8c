//! Requests that a phone sends.

use crate::sip::sdp::Direction;
use crate::sip::{Address, Method, Name};

use super::UaError;
use super::agent::Agent;
use super::description::{self, Medium};
use super::dialog::{Dialog, Ending, Phase, Placed, Role};
use super::request::{Draft, Ticket, fresh, random};
use super::rtp::Rtp;
use super::transactions::{Client, GIVE_UP_T1S, Purpose, resend};

pub(super) const SDP: &str = "application/sdp";

impl Agent {
    /// REGISTER (RFC 3261 10.2); 0 seconds takes the binding away.
    pub(super) fn register(&mut self, expires: u32) -> Result<Ticket, UaError> {
        self.register_contact(Some((self.contact(), expires)))
    }

    /// REGISTER with `*` (RFC 3261 10.2.2).
    pub(super) fn unregister_all(&mut self) -> Result<Ticket, UaError> {
        self.register_contact(Some(("*".to_owned(), 0)))
    }

    /// REGISTER without a Contact asks what is registered (RFC 3261 10.2.3).
    pub(super) fn ask_registered(&mut self) -> Result<Ticket, UaError> {
        self.register_contact(None)
    }

    fn register_contact(&mut self, contact: Option<(String, u32)>) -> Result<Ticket, UaError> {
        self.check_awake()?;
        self.registration.1 += 1;
        let mut headers = vec![
            (Name::Allow, self.profile.allow().to_owned()),
            (Name::UserAgent, self.profile.user_agent.clone()),
        ];
        if self.profile.instance.is_some() {
            headers.push((Name::Supported, "gruu".to_owned()));
        }
        if let Some((contact, expires)) = contact {
            headers.push((Name::Contact, contact));
            headers.push((Name::Expires, expires.to_string()));
        }
        let draft = Draft {
            method: Method::Register,
            uri: format!("sip:{}", self.profile.domain),
            routes: Vec::new(),
            from: format!("{};tag={}", self.myself(), fresh()),
            to: self.myself(),
            call_id: self.registration.0.clone(),
            cseq: self.registration.1,
            headers,
            body: None,
        };
        self.request(draft, Purpose::Plain)
    }

    /// INVITE with an offer to a URI, or to a name and a URI in brackets. Returns the call's place.
    pub(super) fn place(&mut self, to: &str, medium: Medium) -> Result<usize, UaError> {
        self.place_with(to, medium, Vec::new())
    }

    /// INVITE with further headers.
    pub(super) fn place_with(
        &mut self,
        to: &str,
        medium: Medium,
        mut headers: Vec<(Name, String)>,
    ) -> Result<usize, UaError> {
        self.check_awake()?;
        headers.extend(self.dialog_headers());
        let uri = Address::parse(to).map_or(to, |address| address.uri);
        let remote = if uri == to {
            format!("<{to}>")
        } else {
            to.to_owned()
        };
        let rtp = self.open_rtp(medium)?;
        let (session, call_id, local_tag) = (random() >> 32, fresh(), fresh());
        let direction = Direction::SendRecv;
        let sections: Vec<_> = rtp.iter().map(Rtp::section).collect();
        let offer = description::write(self.local.ip(), (session, 1), direction, &sections);
        let invite = Draft {
            method: Method::Invite,
            uri: uri.to_owned(),
            routes: Vec::new(),
            from: format!("{};tag={local_tag}", self.myself()),
            to: remote.clone(),
            call_id: call_id.clone(),
            cseq: 1,
            headers,
            body: Some((SDP, offer)),
        };
        let call = self.calls.len();
        self.calls.push(Dialog {
            role: Role::Placed(Placed {
                branch: String::new(),
                invite: invite.clone(),
                cancel: false,
                provisional: false,
            }),
            phase: Phase::Calling,
            call_id,
            local_tag,
            remote_tag: None,
            local: self.myself(),
            remote,
            target: uri.to_owned(),
            routes: Vec::new(),
            local_cseq: 1,
            remote_cseq: 0,
            acks: Vec::new(),
            medium,
            session,
            version: 1,
            direction,
            on_hold: false,
            offering: true,
            remote_sdp: Vec::new(),
            rtp,
            offered: 0,
            texts: Vec::new(),
            reports: Vec::new(),
            seen: true,
        });
        self.request(invite, Purpose::Invite(call))?;
        Ok(call)
    }

    /// A request within a dialog (RFC 3261 12.2.1.1).
    pub(super) fn in_dialog(
        &mut self,
        call: usize,
        method: Method,
        mut headers: Vec<(Name, String)>,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Ticket, UaError> {
        self.check_awake()?;
        let purpose = if method == Method::Invite {
            Purpose::Reinvite(call)
        } else if method == Method::Bye {
            Purpose::Bye
        } else {
            Purpose::Plain
        };
        if purpose == Purpose::Reinvite(call) {
            headers.extend(self.dialog_headers());
        }
        let dialog = &mut self.calls[call];
        if !dialog.is_standing() {
            return Err(UaError::OutOfPlace("a request within a dialog"));
        }
        dialog.local_cseq += 1;
        let draft = Draft {
            method,
            uri: dialog.target.clone(),
            routes: dialog.routes.clone(),
            from: dialog.local_value(),
            to: dialog.remote_value(),
            call_id: dialog.call_id.clone(),
            cseq: dialog.local_cseq,
            headers,
            body,
        };
        if purpose == Purpose::Bye {
            dialog.end(Ending::HungUpHere);
        }
        self.request(draft, purpose)
    }

    /// Re-INVITE that puts the call on hold, or takes it back.
    pub(super) fn hold(&mut self, call: usize, on_hold: bool) -> Result<Ticket, UaError> {
        let address = self.local.ip();
        let dialog = &mut self.calls[call];
        dialog.on_hold = on_hold;
        dialog.direction = if on_hold {
            Direction::SendOnly
        } else {
            Direction::SendRecv
        };
        dialog.version += 1;
        dialog.offering = true;
        let offer = dialog.describe(address);
        self.in_dialog(call, Method::Invite, Vec::new(), Some((SDP, offer)))
    }

    /// Re-INVITE that adds pictures, or takes them out (RFC 3264 8.1, 8.2).
    pub(super) fn show(&mut self, call: usize, pictures: bool) -> Result<Ticket, UaError> {
        let address = self.local.ip();
        let more = match pictures {
            true => self.open_rtp(Medium::Video)?.pop(),
            false => None,
        };
        let dialog = &mut self.calls[call];
        if let Some(old) = dialog.rtp.get_mut(1) {
            old.close();
        }
        if let Some(more) = more {
            dialog.rtp.truncate(1);
            dialog.rtp.push(more);
        }
        dialog.version += 1;
        dialog.offering = true;
        let offer = dialog.describe(address);
        self.in_dialog(call, Method::Invite, Vec::new(), Some((SDP, offer)))
    }

    /// CANCEL (RFC 3261 9.1), now or as soon as it may be sent.
    pub(super) fn cancel(&mut self, call: usize) -> Result<(), UaError> {
        self.check_awake()?;
        let dialog = &mut self.calls[call];
        let Role::Placed(placed) = &mut dialog.role else {
            return Err(UaError::OutOfPlace(
                "CANCEL of a call that was not placed here",
            ));
        };
        if !matches!(dialog.phase, Phase::Calling | Phase::Ringing) {
            return Err(UaError::OutOfPlace("CANCEL"));
        }
        placed.cancel = true;
        if placed.provisional {
            self.send_cancel(call)?;
        }
        Ok(())
    }

    pub(super) fn send_cancel(&mut self, call: usize) -> Result<(), UaError> {
        let Role::Placed(placed) = &self.calls[call].role else {
            return Ok(());
        };
        let mut draft = placed.invite.clone();
        draft.method = Method::Cancel;
        draft.headers.clear();
        draft.body = None;
        let branch = placed.branch.clone();
        self.request_on(draft, Purpose::Plain, branch)?;
        Ok(())
    }

    /// MESSAGE outside of a dialog (RFC 3428).
    pub(super) fn page(&mut self, to: &str, text: &str) -> Result<Ticket, UaError> {
        self.check_awake()?;
        let draft = Draft {
            method: Method::Message,
            uri: to.to_owned(),
            routes: Vec::new(),
            from: format!("{};tag={}", self.myself(), fresh()),
            to: format!("<{to}>"),
            call_id: fresh(),
            cseq: 1,
            headers: Vec::new(),
            body: Some(("text/plain", text.as_bytes().to_vec())),
        };
        self.request(draft, Purpose::Plain)
    }

    fn request(&mut self, draft: Draft, purpose: Purpose) -> Result<Ticket, UaError> {
        self.request_on(draft, purpose, format!("z9hG4bK{}", fresh()))
    }

    fn request_on(
        &mut self,
        draft: Draft,
        purpose: Purpose,
        branch: String,
    ) -> Result<Ticket, UaError> {
        let ticket = self.ticket();
        self.transmit(draft, purpose, branch, ticket)?;
        Ok(ticket)
    }

    /// Sends a request under a ticket that was given before: a second try with credentials.
    pub(super) fn transmit(
        &mut self,
        draft: Draft,
        purpose: Purpose,
        branch: String,
        ticket: Ticket,
    ) -> Result<(), UaError> {
        let link = self.link_for(&draft.routes, &draft.uri)?;
        let bytes = draft.write(&self.via(&branch));
        if let Purpose::Invite(call) = purpose {
            let dialog = &mut self.calls[call];
            dialog.local_cseq = draft.cseq;
            if let Role::Placed(placed) = &mut dialog.role {
                placed.branch.clone_from(&branch);
                placed.invite = draft.clone();
            }
        }
        let (now, t1) = (self.now(), self.profile.t1);
        self.transactions.add_client(Client {
            branch,
            resend: resend(&draft.method, link, now, t1),
            ends: Some(now + t1 * GIVE_UP_T1S),
            draft,
            bytes: bytes.clone(),
            link,
            purpose,
            ticket,
            ack: None,
        });
        self.send(link, bytes);
        Ok(())
    }

    pub(super) fn via(&self, branch: &str) -> String {
        let transport = self.profile.transport.as_str();
        format!(
            "SIP/2.0/{transport} {};branch={branch};rport",
            self.sent_by()
        )
    }

    pub(super) fn dialog_headers(&self) -> Vec<(Name, String)> {
        let mut headers = vec![
            (Name::Contact, self.contact()),
            (Name::Allow, self.profile.allow().to_owned()),
            (Name::UserAgent, self.profile.user_agent.clone()),
        ];
        if self.profile.script.knows_replaces {
            headers.push((Name::Supported, "replaces".to_owned()));
        }
        headers
    }
}
