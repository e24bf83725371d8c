//! Legs that have left the conversation, and whose dialogs still stand: of who has transferred the other
//! side, and is expected to hang up (RFC 5589 6.1).

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::ending::ghosts::{Haunt, way_back};
use crate::engine::conversation::ending::parting::Bye;
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::restoring::reach::standing;
use crate::engine::dialog::{Happens, Life};
use crate::engine::ids::{Aor, LegId};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method};

/// Who has transferred and heard of it hangs up by itself; it is given so long.
const LINGER: Millis = Millis::from_secs(4);
/// Legs that leave at a time; the oldest is ended for one more.
const LEAVING_MAX: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leaving {
    pub(crate) leg: Leg,
    pub(crate) until: Time,
    /// Whose it is: the side is somebody else's by now.
    #[serde(default)]
    aor: Option<Aor>,
}

impl Conversation {
    /// Lets a leg go that has no part in the conversation any more.
    pub(super) fn let_go(&mut self, context: &mut Context<'_>, leg: Leg, aor: Option<Aor>) {
        if self.leaving.len() >= LEAVING_MAX {
            let oldest = self.leaving.remove(0);
            self.end_leaving(context, oldest);
        }
        let until = context.now + LINGER;
        self.leaving.push(Leaving { leg, until, aor });
        self.part(context);
    }

    /// Forgets those who have hung up and been told all, and ends those who stay too long.
    pub(crate) fn part(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let done = |leaving: &mut Leaving| {
            let told = !leaving.leg.life.is_up() && !leaving.leg.reports_are_open();
            told || leaving.until <= now
        };
        let over: Vec<Leaving> = self.leaving.extract_if(.., done).collect();
        for leaving in over {
            self.end_leaving(context, leaving);
        }
    }

    pub(crate) fn end_all_leaving(&mut self, context: &mut Context<'_>) {
        for leaving in std::mem::take(&mut self.leaving) {
            self.end_leaving(context, leaving);
        }
    }

    /// Who is asleep, or has no connection any more, has the BYE of a lost dialog: once more when it is back.
    fn end_leaving(&self, context: &mut Context<'_>, leaving: Leaving) {
        let Leaving { mut leg, aor, .. } = leaving;
        let aor = aor.unwrap_or_else(|| self.party(leg.side).aor.clone());
        if !leg.life.is_up() || leg.life == Life::Answered {
            return leg.part(context, self.id, aor, Bye::because(None));
        }
        if standing(context, &leg.dialog.flow).is_none() {
            leg.dialog.flow = way_back(context, &aor, &leg);
        }
        context.forget_tag(&leg.dialog.local_tag);
        leg.bye(context, self.id, &aor, None);
        context.entomb(self.id, aor, leg, Haunt::begun(context.now), false);
    }

    pub(crate) fn is_leaving(&self, leg: LegId) -> bool {
        self.leaving.iter().any(|leaving| leaving.leg.id == leg)
    }

    /// A request of who has left.
    pub(crate) fn leaving_request(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
        request: &Message,
    ) {
        let id = self.id;
        let mut leaving = self.leaving.iter_mut();
        let Some(leg) = leaving
            .find(|leaving| leaving.leg.id == leg)
            .map(|leaving| &mut leaving.leg)
            .filter(|leg| leg.dialog.owns(request))
        else {
            return context.refuse(server, 481, "tags of another dialog");
        };
        if leg.dialog.receive(request).is_err() {
            return context.refuse(server, 500, "CSeq lower than one before");
        }
        match request.method() {
            Method::Bye => {
                let _ = leg.life.take(Happens::Bye);
                context.answer(server, 200, None);
                self.part(context);
            }
            Method::Options | Method::Info | Method::Notify => context.answer(server, 200, None),
            Method::Subscribe if leg.resubscribed(context, id, server, request) => {}
            Method::Invite
            | Method::Update
            | Method::Message
            | Method::Refer
            | Method::Subscribe
            | Method::Publish
            | Method::Prack
            | Method::Register
            | Method::Ack
            | Method::Cancel
            | Method::Other(_) => {
                context.refuse(server, 480, "the other side has been transferred");
            }
        }
    }
}
