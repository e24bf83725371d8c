//! Who somebody is whom a trusted peer has named within the call (RFC 5876): the other side is told so in a refresh of
//! its own session, and where that cannot be now, or is put off, as soon as it can.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::{LegId, Side};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::Message;

/// Who puts it off each time is told no more after so many.
const TRIES_MAX: u8 = 5;

/// What a leg is to be told yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Untold {
    lines: Bytes,
    /// Who is so named: it is nobody's name any more once another leg is there.
    of: LegId,
    /// When the next try is due; none while the answer to one is awaited.
    at: Option<Time>,
    tries: u8,
    #[serde(skip)]
    client: Option<ClientId>,
}

impl Untold {
    fn new(lines: Vec<u8>, of: LegId) -> Box<Self> {
        Box::new(Self {
            lines: lines.into(),
            of,
            at: None,
            tries: 0,
            client: None,
        })
    }

    /// What every refresh says as long as it is not known to have arrived.
    pub(super) fn lines(&self) -> Bytes {
        self.lines.clone()
    }

    pub(super) fn is_said_in(&mut self, client: ClientId) {
        (self.at, self.client) = (None, Some(client));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.at
    }

    /// After a restart nobody knows whether it has arrived: it is said once more.
    pub(crate) fn resume(&mut self, now: Time) {
        self.at = Some(now);
    }

    /// The request has another transaction.
    pub(crate) fn waits_for(&mut self, swap: impl FnMut(&mut ClientId)) {
        self.client.iter_mut().for_each(swap);
    }
}

impl Conversation {
    /// A side is to be told something by a refresh of its session.
    pub(crate) fn tell_in_refresh(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        lines: Vec<u8>,
    ) {
        let Some(of) = self.party(side.other()).leg.as_ref().map(|leg| leg.id) else {
            return;
        };
        if let Some(leg) = self.leg_mut(side) {
            leg.untold = Some(Untold::new(lines, of));
        }
        self.say_untold(context, side);
    }

    /// A leg is told nothing of who is not on the other side any more. Returns true where who is named stands aside,
    /// and may have the call again.
    pub(super) fn forget_who_has_left(&mut self, side: Side) -> bool {
        let other = self.party(side.other());
        let there = other.leg.as_ref().map(|leg| leg.id);
        let aside = other.lost.as_ref().map(|lost| lost.old.id);
        let Some(leg) = self.leg_mut(side) else {
            return false;
        };
        let of = |known: Option<LegId>| {
            let untold = leg.untold.as_ref();
            untold.is_some_and(|untold| Some(untold.of) == known)
        };
        let (stands, waits) = (of(there), of(aside));
        if !stands && !waits {
            leg.untold = None;
        }
        waits && !stands
    }

    /// Says it where the dialog is free, else a little later.
    fn say_untold(&mut self, context: &mut Context<'_>, side: Side) {
        if self.party(side).is_up() && !self.refresh(context, side) {
            self.untold_later(context, side, Millis(0));
        }
        self.persist(context);
    }

    /// After so long at least, as its phone wishes.
    fn untold_later(&mut self, context: &mut Context<'_>, side: Side, after: Millis) {
        let at = context.now + self.pause_of_glare(context, side).max(after);
        if let Some(untold) = self.untold(side) {
            (untold.at, untold.client) = (Some(at), None);
        }
    }

    fn untold(&mut self, side: Side) -> Option<&mut Untold> {
        self.leg_mut(side)?.untold.as_deref_mut()
    }

    pub(crate) fn untold_due(&mut self, context: &mut Context<'_>, side: Side) {
        let now = context.now;
        let due = |at: &mut Time| *at <= now;
        let is_due = |untold: &mut Untold| untold.at.take_if(due).is_some();
        if !self.untold(side).is_some_and(is_due) {
            return;
        }
        if self.forget_who_has_left(side) {
            self.untold_later(context, side, Millis(0));
        } else if self.untold(side).is_some() {
            self.say_untold(context, side);
        }
    }

    /// A refresh that said it has its answer, or has none.
    pub(super) fn untold_answered(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        client: ClientId,
        response: Option<&Message>,
    ) {
        let Some(untold) = self
            .untold(side)
            .filter(|untold| untold.client == Some(client))
        else {
            return;
        };
        untold.tries += 1;
        let tries = untold.tries;
        let status = response.map(Message::status);
        // 422 and 491 are no word on what it says, nor is what somebody on the way says of the phone.
        let put_off =
            status.is_none_or(|status| matches!(status, 408 | 422 | 480 | 491 | 500 | 502..=504));
        if put_off && tries < TRIES_MAX {
            let leg = self.party(side).leg.as_ref().zip(response);
            let after = leg.and_then(|(leg, response)| leg.puts_off(response));
            return self.untold_later(context, side, after.unwrap_or_default());
        }
        if let Some(leg) = self.leg_mut(side) {
            leg.untold = None;
        }
        self.persist(context);
    }
}
