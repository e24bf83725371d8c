//! An offer of ours alone that has no answer yet (`What::Wish`), and what becomes of it: agreed to, refused, put off, or
//! taken back with all else that was asked in its dialog.

use crate::engine::conversation::context::{Context, What, end_with};
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::dialog::Negotiation;
use crate::engine::ids::ConversationId;
use crate::engine::transaction::ClientId;
use crate::sip::Method;

#[derive(Clone, Debug)]
pub(crate) struct OpenWish {
    client: ClientId,
    /// What was told before.
    before: Talk,
    /// Its phone was to be told what stands in any case.
    lent: bool,
}

impl OpenWish {
    /// The request has another transaction.
    pub(crate) fn waits_for(&mut self, swap: impl Fn(&mut ClientId)) {
        swap(&mut self.client);
    }
}

impl Leg {
    /// Offers what `talk` says by now. Whether it arrives is not known before its answer, nor after a restart: its phone
    /// is told once more then.
    pub(crate) fn offer_alone(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        method: &Method,
        (negotiation, before): (Negotiation, Talk),
        told: &str,
    ) {
        let lent = self.lent;
        self.lent = true;
        self.ask_alone(context, id, method, (negotiation, before, lent), told);
    }

    /// Asks for an offer, by an INVITE that brings none.
    pub(super) fn ask_for_its_own(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        negotiation: Negotiation,
    ) {
        let open = (negotiation, self.talk.clone(), self.lent);
        self.ask_alone(context, id, &Method::Invite, open, "");
    }

    fn ask_alone(
        &mut self,
        context: &mut Context<'_>,
        id: ConversationId,
        method: &Method,
        (negotiation, before, lent): (Negotiation, Talk, bool),
        told: &str,
    ) {
        self.negotiation = negotiation;
        let client = self.request(context, id, method, What::Wish, |builder| {
            let kind = (!told.is_empty()).then_some("application/sdp");
            end_with(builder, kind, told.as_bytes())
        });
        self.open_wish = Some(Box::new(OpenWish {
            client,
            before,
            lent,
        }));
    }

    /// That very one is over. Returns what it was before; none where it is another, or was taken back.
    pub(super) fn wish_over(&mut self, client: ClientId) -> Option<Box<OpenWish>> {
        self.open_wish.take_if(|open| open.client == client)
    }

    /// Its phone has agreed to nothing, and all is as it was (RFC 6141).
    pub(super) fn unwish(&mut self, open: OpenWish) {
        self.talk.back_to(open.before);
        self.lent = open.lent;
    }

    /// The same where its phone may have agreed.
    pub(super) fn wish_unheard(&mut self, open: OpenWish) {
        self.talk.back_to(open.before);
    }

    /// It is taken back, and its phone may agree yet: it is told once that can be, and of what stands by then.
    pub(crate) fn wish_later(&mut self, context: &Context<'_>) {
        if let Some(open) = self.open_wish.take() {
            self.wish_unheard(*open);
            self.wish.at = Some(context.now);
        }
    }
}
