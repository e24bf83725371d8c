//! An INVITE of theirs that waits: a re-INVITE for the other side's answer or for ports, one with Replaces for the
//! other side's consent. Who has had a 100 does not send it again by itself (RFC 3261 17.1.1.2), and would wait for
//! ever if a restart forgot it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::media::{PortState, Ports};
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method};

/// Whoever has waited for longer has given up (RFC 3261 16.6, timer C), and would not acknowledge an answer.
const WAITS_MAX: Millis = Millis::from_secs(180);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenInvite {
    request: Bytes,
    flow: Flow,
    #[serde(default)]
    since: Time,
    /// The transaction that it waits in. After a restart it has none, until it is taken once more.
    #[serde(skip)]
    server: Option<ServerId>,
}

impl Conversation {
    /// Keeps an INVITE for as long as it waits. A connection ends with us, and with it the INVITE.
    pub(crate) fn keep_open_invite(&mut self, context: &mut Context<'_>, server: ServerId) {
        let asked = context.shared.transactions.request_of(server);
        let Some((request, flow)) = asked.filter(|(request, flow)| {
            *request.method() == Method::Invite && !flow.transport.is_reliable()
        }) else {
            return;
        };
        let known = self.open_invite.as_ref();
        if known.is_some_and(|known| known.server == Some(server)) {
            return;
        }
        self.open_invite = Some(Box::new(OpenInvite {
            request: request.bytes().clone(),
            flow,
            since: context.now,
            server: Some(server),
        }));
        self.persist(context);
    }

    /// One that has its answer is not to be taken once more.
    pub(crate) fn forget_answered(&mut self, context: &mut Context<'_>) {
        let transactions = &context.shared.transactions;
        let answered = |open: &mut Box<OpenInvite>| {
            open.server
                .is_some_and(|server| transactions.request_of(server).is_none())
        };
        if self.open_invite.take_if(answered).is_some() {
            self.persist(context);
        }
    }

    /// After a restart: it is taken as if it had come again, once there are the ports that there were.
    pub(crate) fn take_open_invite(&mut self, context: &mut Context<'_>) {
        let opening = |ports: &Ports| ports.state == PortState::Opening;
        if self.ports.iter().any(opening) {
            return;
        }
        let untaken = |open: &mut Box<OpenInvite>| open.server.is_none();
        let Some(open) = self.open_invite.take_if(untaken) else {
            return;
        };
        self.persist(context);
        if context.now.since(open.since) > WAITS_MAX {
            return;
        }
        if let Ok(request) = Message::parse(open.request) {
            let (flow, now) = (open.flow, context.now);
            let shared = &mut *context.shared;
            shared
                .transactions
                .receive(request, flow, now, &mut shared.out);
        }
    }
}
