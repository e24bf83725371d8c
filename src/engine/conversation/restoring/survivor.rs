//! What the survivor is answered while the other side is lost. It never gets a code that ends its dialog.

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, Shared, end_with};
use crate::engine::conversation::leg::{Leg, Talk, Unacknowledged};
pub(crate) use crate::engine::conversation::session::keys::{self, Role, Telling};
use crate::engine::dialog::{Happens, Negotiation};
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::settings::MediaMode;
use crate::engine::transaction::ServerId;
use crate::sip::sdp::{self, Sdp};
use crate::sip::{Message, Method};

impl Conversation {
    /// A request for the lost side, other than MESSAGE and offers.
    pub(crate) fn answer_for_the_lost(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        request: &Message,
    ) {
        match request.method() {
            // Digits pressed into silence are gone, as they would be on a bad line.
            Method::Options | Method::Info | Method::Notify => {
                self.accept_alone(context, from, server, None)
            }
            Method::Message => context.answer(server, 200, None),
            Method::Refer
            | Method::Subscribe
            | Method::Publish
            | Method::Prack
            | Method::Register
            | Method::Invite
            | Method::Update
            | Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Other(_) => context.refuse(server, 500, "the other side is being restored"),
        }
    }

    /// A re-INVITE or UPDATE is answered with the session that stands; what it wishes (a hold, another
    /// address) is remembered and is part of the offer to the new endpoint.
    pub(crate) fn renegotiate_with_the_standing(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        offer: Option<Box<str>>,
    ) {
        let invite = *request.method() == Method::Invite;
        let late = offer.is_none() && invite;
        let absent = self.party(side.other()).lost.is_some();
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let body = match offer {
            Some(offer) => {
                let told = leg.talk.standing();
                let stand = if absent { stand } else { stand_for };
                let answer =
                    told.and_then(|told| stand(&mut leg.talk, &told, offer, context.shared));
                if answer.is_none() {
                    return context.refuse(
                        server,
                        488,
                        "offer that the session which stands does not answer",
                    );
                }
                answer
            }
            None if invite => leg.talk.tell_standing(),
            None => None,
        };
        let _ = leg.dialog.refresh(request);
        self.accept_alone(context, side, server, body.as_deref());
        let answer_due = late && body.is_some();
        if answer_due && let Some(leg) = self.leg_mut(side) {
            leg.negotiation = Negotiation::Offered;
        }
        if invite {
            self.await_ack(context, side, server, request.cseq(), answer_due);
        }
        self.configure(context, side);
        self.persist(context);
    }
}

impl Conversation {
    /// The ACK to an offer in a 2xx waits for an answer that will not come from the other side: the
    /// session that stands is the answer, else the endpoint repeats its 2xx and hangs up.
    pub(crate) fn acknowledge_with_the_standing(&mut self, context: &mut Context<'_>, side: Side) {
        let id = self.id;
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let Some(ack) = leg.ack.take_if(|ack| ack.waits) else {
            return;
        };
        leg.settle();
        let (told, offer) = (leg.talk.standing(), leg.talk.said.clone());
        let offer = offer.unwrap_or_default();
        // Nothing stands before the first answer: its own formats, on our ports, fit it best.
        let told = told.or_else(|| self.tell(context, side, &offer, Role::Answer));
        let Some(leg) = self.leg_mut(side) else {
            return;
        };
        let answer = told.and_then(|told| stand(&mut leg.talk, &told, offer, context.shared));
        leg.acknowledge(context, id, ack.cseq, answer);
        self.configure(context, side);
    }
}

/// A re-INVITE or UPDATE of who has no part in the conversation for now: the session that stands is the
/// answer.
pub(crate) fn answer_aside(
    context: &mut Context<'_>,
    id: ConversationId,
    leg: &mut Leg,
    server: ServerId,
    request: &Message,
) {
    let invite = *request.method() == Method::Invite;
    let offer = crate::engine::conversation::session::enclosed::sdp_of(request);
    let told = leg.talk.standing();
    let body = match (&offer, told) {
        (Some(offer), Some(told)) => {
            let answer = stand(&mut leg.talk, &told, offer.clone(), context.shared);
            if answer.is_none() {
                return context.refuse(
                    server,
                    488,
                    "offer that the session which stands does not answer",
                );
            }
            answer
        }
        (Some(_), None) => return context.refuse(server, 488, "offer where no session stands"),
        (None, _) if invite => leg.talk.tell_standing(),
        (None, _) => None,
    };
    let _ = leg.dialog.refresh(request);
    let accepting = leg.accepting(context, server);
    context.respond(server, 200, "OK", None, |builder| {
        end_with(
            accepting.write(builder),
            Some("application/sdp"),
            body.as_deref().unwrap_or("").as_bytes(),
        )
    });
    if invite {
        context.shared.transactions.bind(server, (id, leg.id));
        leg.unacknowledged = Some(Unacknowledged {
            server,
            cseq: request.cseq(),
            answer_due: false,
        });
    }
}

impl Conversation {
    /// The ACK of who has no part in the conversation for now.
    pub(crate) fn acknowledged_aside(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        request: &Message,
    ) {
        if self.picker_acknowledges(context, leg, request) {
            return;
        }
        let Some(leg) = self.reporting(leg) else {
            return;
        };
        let waiting = leg
            .unacknowledged
            .take_if(|waiting| waiting.cseq == request.cseq());
        if let Some(waiting) = waiting {
            let _ = leg.life.take(Happens::Ack);
            context.shared.transactions.acknowledged(waiting.server);
        }
    }

    /// Our 2xx was never acknowledged by who has no part in the conversation for now. Who was to take somebody's
    /// place has not got the call (RFC 3261 13.3.1.4).
    pub(crate) fn unacknowledged_aside(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        server: ServerId,
    ) {
        if self.picker_is_silent(context, leg) {
            return;
        }
        let Some(known) = self.reporting(leg) else {
            return;
        };
        let ours = |waiting: &mut Unacknowledged| waiting.server == server;
        if known.unacknowledged.take_if(ours).is_none() {
            return;
        }
        let _ = known.life.take(Happens::NoAck);
        let Some(side) = self.branch_side(leg) else {
            return;
        };
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let joining = lost.joining.take_if(|joining| joining.leg == leg);
        let branch = lost.fork.take(leg);
        self.unask(context, side.other(), joining);
        if let Some(branch) = branch {
            self.drop_branch(context, branch, None);
        }
        self.go_on(context, side);
    }
}

/// Returns the answer to an offer that the endpoint made before: what it was told, with one line of keys
/// a stream (RFC 4568 5.1.2) where that was an offer with several.
pub(crate) fn answer_again(talk: &mut Talk, shared: &mut Shared) -> Option<Box<str>> {
    let told = talk.standing()?;
    if talk.keys.is_empty() && talk.told.as_ref() == Some(&told) {
        return Some(told);
    }
    let offer = talk.said.clone()?;
    stand_for(talk, &told, offer, shared)
}

/// Makes the answer to an offer out of what was told before, under the keys that the offer goes with, where nobody is
/// at the other end; its version is one more where it reads otherwise.
pub(crate) fn stand(
    talk: &mut Talk,
    told: &str,
    offer: Box<str>,
    shared: &mut Shared,
) -> Option<Box<str>> {
    let answer = sdp::answer_as_asked(told.as_bytes(), offer.as_bytes())?;
    answered(talk, answer, offer, shared)
}

/// The same out of what the other end wishes.
pub(crate) fn stand_for(
    talk: &mut Talk,
    told: &str,
    offer: Box<str>,
    shared: &mut Shared,
) -> Option<Box<str>> {
    let answer = sdp::answer_with(told.as_bytes(), offer.as_bytes())?;
    answered(talk, answer, offer, shared)
}

fn answered(
    talk: &mut Talk,
    answer: Vec<u8>,
    offer: Box<str>,
    shared: &mut Shared,
) -> Option<Box<str>> {
    if sdp::is_mute(offer.as_bytes(), &answer) {
        return None;
    }
    talk.offers(offer);
    talk.asked = false;
    let answer = if shared.settings.media.mode == MediaMode::Relay {
        keys::cover(talk, answer, &mut Telling::new(shared, Role::Answer))?
    } else {
        answer
    };
    let known = talk.told.as_deref();
    if let Some(told) = known.filter(|told| told.as_bytes() == answer) {
        return Some(told.into());
    }
    let version = talk.next_version();
    let answer = Sdp::parse(&answer).ok()?.with_version(version);
    let answer: Box<str> = String::from_utf8(answer).ok()?.into();
    talk.version = version;
    talk.told = Some(answer.clone());
    Some(answer)
}
