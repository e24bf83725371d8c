//! What trusted peers are told of who somebody is (RFC 3325): P-Asserted-Identity, and nobody else is.

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
    let to_phones = context.shared.settings.acl.identity_to_phones && endpoint.through.is_none();
    let privacy = wishes.privacy();
    let named = !(privacy.user || privacy.header || privacy.id);
    asserted.filter(|_| told || (to_phones && named))
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
        let (party, far) = (self.party(from), self.party(from.other()));
        let asserted = match (&party.asker, message.is_request()) {
            (Asker::Proven(_), false) => asserted_of_called(&party.asker),
            (asker, _) => asserted(message, asker),
        };
        let Some(leg) = &far.leg else {
            return Vec::new();
        };
        let told = is_told(&far.asker, &leg.dialog.flow, context);
        let heard = [&Veil::of(message), &party.veil].iter().all(|wishes| {
            heard_of(asserted.as_deref(), wishes, &leg.endpoint, told, context).is_some()
        });
        match asserted.filter(|_| heard) {
            Some(asserted) => {
                let name = Name::PAssertedIdentity.as_str();
                format!("{name}: {asserted}\r\n").into_bytes()
            }
            None => Vec::new(),
        }
    }
}

/// Returns true where a peer may be told: an upstream that is trusted, or an address or certificate that is.
pub(crate) fn is_told(asker: &Asker, flow: &Flow, context: &Context<'_>) -> bool {
    *asker == Asker::Trusted || trust::is_listed(flow, &context.shared.settings, &*context.world)
}
