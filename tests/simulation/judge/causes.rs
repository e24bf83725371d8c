//! What explains a thing that is wrong without it, by what the phones saw.

use refork::engine::time::{Millis, Time};
use refork::sip::Method;

use super::legs::{Leg, Request};
use super::{Case, FAILED};
use crate::log::{Fault, PhoneId, What};
use crate::phone::Temper;

/// Until a BYE has arrived and is passed on, where both are lost on the way.
pub(super) const ENDING: Millis = Millis(12_000);

pub(super) fn is_offer(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

/// For so long a sign of silence is looked at.
const ASKED: Millis = Millis(20_000);
/// Who is not heard, and holds its dialog, is not asked that more often.
const ASKED_AGAIN: Millis = Millis(29_000);

impl Case<'_> {
    /// Returns true for a phone of whose media alone nothing arrives then, or a moment before.
    pub(super) fn is_unheard(&self, phone: PhoneId, at: Time) -> bool {
        let entries = self.log.entries.iter();
        let mut own = entries.filter(|entry| entry.phone == Some(phone) && entry.at <= at);
        let last =
            own.rfind(|entry| matches!(entry.what, What::Heard | What::Fault(Fault::Unheard)));
        last.is_some_and(|last| matches!(last.what, What::Fault(_)) || at.since(last.at) < ASKED)
    }

    pub(super) fn was_asked_lately(&self, leg: &Leg, request: &Request) -> bool {
        let lately = request.at - ASKED_AGAIN..request.at;
        let mut got = leg
            .got
            .iter()
            .filter(|got| is_offer(&got.method) && !got.news);
        got.any(|got| lately.contains(&got.at))
    }

    /// A server that dies as it ends a call has forgotten it, and its BYE may have been lost. Returns when a phone was
    /// told why its call ends, where the server died so soon after.
    pub(super) fn died_as_it_ended(&self, leg: &Leg) -> Option<Time> {
        let told = leg.got.iter().filter(|got| got.body.starts_with(FAILED));
        let mut told = told.map(|got| got.at);
        told.find(|at| self.restarted(*at, *at + ENDING))
    }

    /// Returns true where a phone took the call, and the other side has refused each session that it was offered
    /// from then on: nobody agrees to who has it now.
    pub(super) fn is_agreed_to_by_nobody(&self, leg: &Leg, until: Time) -> bool {
        let Some(answered) = leg.answered.filter(|_| !leg.outgoing) else {
            return false;
        };
        let since = |got: &&Request| (answered..until).contains(&got.at);
        let others = self.side(leg.talk, leg.side.other());
        let offers = others.flat_map(|other| &other.got).filter(since);
        let mut offers = offers.filter(|got| got.news && is_offer(&got.method));
        let refused = |offer: &Request| matches!(offer.answer, Some((_, 300..)));
        offers.next().is_some_and(refused) && offers.all(refused)
    }

    /// A phone that has forgotten its call, and says 200 to OPTIONS for it all the same, shows so by what it refuses.
    /// Where it is back before it was missed, and none of its media is, that is the next thing which the other side
    /// sends. Returns when that was; never, where nothing was sent.
    pub(super) fn shows_that_it_forgot(
        &self,
        before: &Leg,
        leg: &Leg,
        missed: Time,
    ) -> Option<Time> {
        let (phone, died) = (before.phone, before.died?);
        let odd = self.log.roster[phone].traits.temper == Temper::OptionsAnyway;
        let mut entries = self.log.entries.iter();
        let back = entries.any(|entry| {
            let recovered = matches!(entry.what, What::Recovered);
            entry.phone == Some(phone) && recovered && (died..missed).contains(&entry.at)
        });
        let sent = leg.sent.iter().map(|sent| sent.at).filter(|at| *at >= died);
        let silent = before.is_of_texts();
        (odd && back && silent).then(|| sent.min().unwrap_or(super::FOR_EVER))
    }
}
