//! An upstream that asks us for proof of a text outside of any dialog.

use super::{Addressee, Passages};
use crate::engine::conversation::context::Context;
use crate::engine::transaction::ClientId;
use crate::sip::Message;

impl Passages {
    /// An upstream asks us for proof. Returns true where the request has gone out again, with the account that we
    /// have there.
    pub(super) fn proves_again(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        client: ClientId,
        response: &Message,
    ) -> bool {
        let Some(passage) = self.standing.get_mut(&number) else {
            return false;
        };
        let mut tries = passage.tries.iter();
        let at = tries.position(|sent| sent.client == client);
        let Some(at) = at.filter(|_| passage.proves.is_none()) else {
            return false;
        };
        let to = &mut passage.tries[at].to;
        let shown = (&mut to.proofs, &mut to.rounds);
        if !context.proves_outside(&to.endpoint, shown, response) {
            return false;
        }
        let asked = passage.tries.swap_remove(at);
        passage.out -= 1;
        let to = Addressee {
            cseq: asked.to.cseq + 1,
            ..asked.to
        };
        let Some(mut passage) = self.standing.remove(&number) else {
            return false;
        };
        let (flow, rest, grown) = (asked.flow, asked.rest, asked.grown);
        self.send(context, number, &mut passage, to, flow, rest, grown);
        self.standing.insert(number, passage);
        true
    }
}
