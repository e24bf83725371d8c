//! Reliable provisional responses (RFC 3262), as caller and as callee.

use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method, Name};

use super::Phone;
use super::call::Stage;

/// RFC 3262 3: a response without its PRACK for so long ends the INVITE.
const PRACK_MAX: Millis = Millis(32_000);
/// What waits for a PRACK looks for it again so soon.
const PAUSE: Millis = Millis(150);

/// A provisional response of ours that wants a PRACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reliable {
    pub(crate) rseq: u32,
    since: Time,
    /// It answers the offer.
    pub(crate) answers: bool,
    pub(crate) acknowledged: bool,
}

impl Reliable {
    pub(super) fn new(rseq: u32, answers: bool, since: Time) -> Self {
        Self {
            rseq,
            since,
            answers,
            acknowledged: false,
        }
    }
}

/// Returns true where a message lists an option tag.
pub(super) fn lists(message: &Message, name: Name, tag: &str) -> bool {
    message.values(name).any(|value| value.trim() == tag)
}

impl Phone {
    /// Returns true where its 180 to this INVITE is to be reliable.
    pub(super) fn rings_reliably(&self, invite: &Message) -> bool {
        let both = [Name::Supported, Name::Require];
        self.spec.traits.reliable && both.iter().any(|name| lists(invite, *name, "100rel"))
    }

    /// Returns true where its user must wait with the answer, or the call is given up.
    pub(super) fn waits_for_prack(&mut self, at: usize, now: Time) -> bool {
        let Some(reliable) = self.calls[at].reliable.filter(|it| !it.acknowledged) else {
            return false;
        };
        let given_up = now.since(reliable.since) >= PRACK_MAX;
        if given_up {
            self.decline(at, 504, now);
        } else if let Stage::Ringing { answer, .. } = &mut self.calls[at].stage {
            *answer = Some(now + PAUSE);
        }
        true
    }

    pub(super) fn pracked(&mut self, prack: &Message, at: usize, now: Time) {
        let call = &mut self.calls[at];
        let names = prack.header(Name::RAck).unwrap_or_default();
        let mut parts = names.split_ascii_whitespace();
        let rseq = parts.next().and_then(|number| number.parse().ok());
        let Some(reliable) = call.reliable.as_mut().filter(|it| Some(it.rseq) == rseq) else {
            return self.respond(prack, 481, None, now);
        };
        reliable.acknowledged = true;
        let branch = call.branch.clone();
        self.respond(prack, 200, None, now);
        for server in &mut self.servers {
            if server.request.branch() == Some(&branch) && server.status < 200 {
                server.rest();
            }
        }
    }

    /// A provisional response that wants a PRACK gets one, each once (RFC 3262 4).
    pub(super) fn heard_reliably(&mut self, response: &Message, at: usize, now: Time) {
        if !lists(response, Name::Require, "100rel") {
            return;
        }
        let rseq = response.header(Name::RSeq).unwrap_or_default().to_owned();
        let tag = response.to_tag().map(ToOwned::to_owned);
        let key = (tag.clone().unwrap_or_default(), rseq.clone());
        let call = &mut self.calls[at];
        if call.stage != Stage::Calling || call.pracked.contains(&key) {
            return;
        }
        call.pracked.push(key);
        call.remote_tag = tag;
        call.retarget(response);
        if !response.body().is_empty() {
            call.session.answered(response.body());
        }
        let id = call.id;
        let bytes = self
            .next_within(at, &Method::Prack)
            .header(
                Name::RAck,
                format_args!("{rseq} {} INVITE", response.cseq()),
            )
            .end();
        self.begin(bytes, Some(id), now);
    }
}
