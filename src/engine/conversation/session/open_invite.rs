//! An INVITE within a dialog that waits for the other side's answer, kept over a restart.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::Flow;
use crate::engine::transaction::ServerId;
use crate::sip::Message;

/// An INVITE of theirs that has waited for the other side's answer. Who has had a 100 does not send it again by itself
/// (RFC 3261 17.1.1.2), and would wait for ever if a restart forgot it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenInvite {
    request: Bytes,
    flow: Flow,
}

impl Conversation {
    /// Keeps an INVITE for as long as it waits. A connection ends with us, and with it the INVITE.
    pub(super) fn keep_open_invite(&mut self, context: &mut Context<'_>, server: ServerId) {
        let asked = context.shared.transactions.request_of(server);
        let asked = asked.filter(|(_, flow)| !flow.transport.is_reliable());
        self.open_invite = asked.map(|(request, flow)| {
            let request = request.bytes().clone();
            Box::new(OpenInvite { request, flow })
        });
        if self.open_invite.is_some() {
            self.persist(context);
        }
    }

    /// It has its answer, and is not to be taken once more.
    pub(crate) fn forget_answered(&mut self, context: &mut Context<'_>) {
        if self.renegotiation.is_none() && self.open_invite.take().is_some() {
            self.persist(context);
        }
    }

    /// After a restart: it is taken as if it had come again.
    pub(crate) fn take_open_invite(&mut self, context: &mut Context<'_>) {
        let Some(open) = self.open_invite.take() else {
            return;
        };
        if let Ok(request) = Message::parse(open.request) {
            let (flow, now) = (open.flow, context.now);
            let shared = &mut *context.shared;
            shared
                .transactions
                .receive(request, flow, now, &mut shared.out);
        }
    }
}
