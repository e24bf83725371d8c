//! What trusted peers are told of who somebody is (RFC 3325): P-Asserted-Identity, and nobody else is.

use super::presented::by_number;
use super::veil::Veil;
use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::dialog::name_addr;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Flow, Side};
use crate::engine::trust;
use crate::sip::{Address, Message, Name, Params};

/// Octets of what is handed on of a trusted peer's word.
const ASSERTED_MAX: usize = 1024;

/// Returns the values of P-Asserted-Identity for who sent a request: the user that was proven, by the name
/// in From where it is not hidden; of a trusted peer, its word. Nothing is asserted of anybody else, whatever
/// they say of themselves.
pub(crate) fn asserted(request: &Message, asker: &Asker) -> Option<Box<str>> {
    match asker {
        Asker::Proven(user) => {
            let from = request.from();
            let hidden = from
                .uri_parsed()
                .is_ok_and(|uri| uri.host.eq_ignore_ascii_case("anonymous.invalid"));
            Some(name_addr(&Address {
                display: from.display.clone().filter(|_| !hidden),
                uri: user.as_str(),
                params: Params::new(""),
            }))
        }
        Asker::Trusted => {
            let values: Vec<&str> = request.values(Name::PAssertedIdentity).collect();
            let joined = values.join(", ");
            (1..=ASSERTED_MAX)
                .contains(&joined.len())
                .then(|| joined.into())
        }
        Asker::Unasked(_) | Asker::Of(_) | Asker::Says(_) | Asker::Stranger => None,
    }
}

/// Returns what is asserted of a user of ours that is called.
pub(crate) fn asserted_of_called(asker: &Asker) -> Option<Box<str>> {
    match asker {
        Asker::Proven(user) => Some(format!("<{user}>").into()),
        Asker::Unasked(_) | Asker::Trusted | Asker::Of(_) | Asker::Says(_) | Asker::Stranger => {
            None
        }
    }
}

/// Returns what is asserted of who calls, where an endpoint may hear it: a trusted peer; and where the operator
/// takes phones for that too, a phone, but of who wishes to be unnamed (RFC 3325 7).
pub(crate) fn heard_of<'a>(
    asserted: Option<&'a str>,
    wishes: &Veil,
    endpoint: &Endpoint,
    told: bool,
    context: &Context<'_>,
) -> Option<&'a str> {
    let privacy = wishes.privacy();
    let named = !(privacy.user || privacy.header || privacy.id);
    asserted.filter(|_| told || (hears_names(context, endpoint) && named))
}

/// Returns true for a phone, where the operator takes phones for what may hear who somebody is.
pub(crate) fn hears_names(context: &Context<'_>, endpoint: &Endpoint) -> bool {
    context.shared.settings.acl.identity_to_phones && endpoint.through.is_none()
}

impl Conversation {
    /// Returns the line that says who has sent a message of a side, where the other one's phone may know: who is
    /// connected, and who has taken its place (RFC 5876).
    pub(crate) fn asserted_line(
        &self,
        context: &Context<'_>,
        from: Side,
        message: &Message,
    ) -> Vec<u8> {
        self.asserted_and_wishes(context, from, message).0
    }

    /// The same with the wishes of who is named, where a message of ours stands for theirs: whoever is told the name is
    /// to keep it to itself (RFC 3325 7).
    pub(crate) fn identity_lines(
        &self,
        context: &Context<'_>,
        from: Side,
        message: &Message,
    ) -> Vec<u8> {
        let (mut lines, wishes) = self.asserted_and_wishes(context, from, message);
        lines.extend_from_slice(wishes.as_bytes());
        lines
    }

    fn asserted_and_wishes(
        &self,
        context: &Context<'_>,
        from: Side,
        message: &Message,
    ) -> (Vec<u8>, String) {
        let (party, far) = (self.party(from), self.party(from.other()));
        let asserted = match (&party.asker, message.is_request()) {
            (Asker::Proven(_), false) => asserted_of_called(&party.asker),
            (asker, _) => asserted(message, asker),
        };
        let Some(leg) = &far.leg else {
            return <(Vec<u8>, String)>::default();
        };
        let told = is_told(&far.asker, &leg.dialog.flow, context);
        let own = Veil::of(message);
        let heard = [&own, &party.veil].iter().all(|wishes| {
            heard_of(asserted.as_deref(), wishes, &leg.endpoint, told, context).is_some()
        });
        let Some(asserted) = asserted.filter(|_| heard) else {
            return Default::default();
        };
        let wishes = [&own, &party.veil]
            .into_iter()
            .find(|wishes| wishes.value().is_some());
        let name = Name::PAssertedIdentity.as_str();
        let number = by_number(&asserted, leg, &context.shared.settings);
        let asserted = number.unwrap_or(asserted);
        let line = format!("{name}: {asserted}\r\n").into_bytes();
        (
            line,
            wishes.map(|wishes| wishes.line(told)).unwrap_or_default(),
        )
    }

    /// Takes who it is whom a trusted peer names in a message within the dialog (RFC 5876). Returns true where that is
    /// another than before.
    pub(crate) fn names_another(&mut self, side: Side, message: &Message) -> bool {
        let party = self.party_mut(side);
        if party.asker != Asker::Trusted {
            return false;
        }
        let Some(named) = asserted(message, &party.asker) else {
            return false;
        };
        let wishes = Veil::of(message);
        if wishes.value().is_some() {
            party.veil = wishes;
        }
        let before = party.asserted.replace(named);
        let another = before != party.asserted;
        if another && let Some(far) = self.leg_mut(side.other()) {
            // An older name is none any more.
            far.untold = None;
        }
        another
    }

    /// A side that offers nothing new is somebody else now: the other one hears of that in a refresh of its own
    /// session, where it may know.
    pub(crate) fn tell_who(&mut self, context: &mut Context<'_>, from: Side, request: &Message) {
        if !self.names_another(from, request) {
            return;
        }
        self.persist(context);
        let lines = self.identity_lines(context, from, request);
        if !lines.is_empty() && self.party(from.other()).is_up() {
            self.tell_in_refresh(context, from.other(), lines);
        }
    }
}

/// Returns true where a peer may be told: an upstream that is trusted, or an address or certificate that is.
pub(crate) fn is_told(asker: &Asker, flow: &Flow, context: &Context<'_>) -> bool {
    *asker == Asker::Trusted || trust::is_listed(flow, &context.shared.settings, &*context.world)
}
