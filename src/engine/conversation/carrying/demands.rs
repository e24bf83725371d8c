//! What a request demands of who takes it, by Require (RFC 3261 8.2.2.3).

use crate::engine::conversation::context::{Context, joined};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Method, Name};

/// Returns true where we are the one who takes a request within a dialog; others go on to the far end, which
/// answers for itself.
fn is_ours(method: &Method) -> bool {
    match method {
        Method::Invite | Method::Update | Method::Prack | Method::Message | Method::Refer => true,
        // A farewell is none the less one.
        Method::Bye
        | Method::Ack
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Info
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Other(_) => false,
    }
}

/// Returns true where a body is in an encoding; of a session description we know none (RFC 3261 20.12).
pub(crate) fn is_encoded(message: &Message) -> bool {
    let mut encodings = message.values(Name::ContentEncoding);
    encodings.any(|encoding| !encoding.eq_ignore_ascii_case("identity"))
}

impl Context<'_> {
    /// Refuses a request within a dialog that demands of us what we do not have. Returns false where it
    /// demands no such thing.
    pub(crate) fn refuse_demands(&mut self, server: ServerId, request: &Message) -> bool {
        let describes = matches!(
            request.method(),
            Method::Invite | Method::Update | Method::Prack
        );
        if describes && is_encoded(request) {
            self.refuse(server, 415, "session description in an encoding");
            return true;
        }
        let own = self.supported();
        let known = |name: &&str| {
            let mut own = own.split(',').map(str::trim);
            own.any(|own| own.eq_ignore_ascii_case(name))
        };
        if !is_ours(request.method()) || request.values(Name::Require).all(|name| known(&name)) {
            return false;
        }
        let unknown = request.values(Name::Require).filter(|name| !known(name));
        let unknown = joined(unknown);
        self.refuse_extension(server, "extension that is not supported", &unknown);
        true
    }
}

/// Returns the lines by which a request that is carried demands something of the far end, or by which that
/// says what it has not got.
pub(crate) fn demands(message: &Message) -> Vec<u8> {
    let name = match message.is_request() {
        true => Name::Require,
        false if message.status() == 420 => Name::Unsupported,
        false => return Vec::new(),
    };
    let values = message.values(name);
    values
        .flat_map(|value| format!("{}: {value}\r\n", name.as_str()).into_bytes())
        .collect()
}
