//! What a message is looked up by, made compact.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU128;

use crate::engine::ids::Flow;
use crate::sip::{Message, Method, Name};

/// RFC 3261 8.1.1.7: a branch that begins so is unique.
const COOKIE: &str = "z9hG4bK";

/// A hash so wide that two different things never share one by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lookup(NonZeroU128);

impl Lookup {
    /// A client transaction (RFC 3261 17.1.3).
    pub(super) fn client(branch: &str, method: &Method) -> Self {
        Self::of(('c', branch, method))
    }

    /// The server transaction that a request belongs to (RFC 3261 17.2.3), an ACK or CANCEL that of its
    /// INVITE. The source address belongs to it, so that nobody elsewhere can speak in a transaction
    /// whose branch they have guessed; the port does not, since a NAT or a new connection may change it.
    pub(super) fn server(request: &Message, flow: &Flow) -> Self {
        let method = match request.method() {
            Method::Ack | Method::Cancel => &Method::Invite,
            Method::Invite
            | Method::Bye
            | Method::Options
            | Method::Register
            | Method::Message
            | Method::Info
            | Method::Update
            | Method::Prack
            | Method::Subscribe
            | Method::Notify
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => request.method(),
        };
        let source = flow.peer.ip();
        let via = request.via();
        match via.branch.filter(|branch| is_unique(branch)) {
            Some(branch) => {
                let host = AnyCase(via.host);
                Self::of(('s', branch, host, via.port, method, source))
            }
            // As RFC 2543 has it. The To tag, which differs between an INVITE and its ACK, is left aside:
            // the rest tells every two requests of one client apart.
            None => Self::of((
                'o',
                request.uri(),
                request.from_tag(),
                request.call_id(),
                request.cseq(),
                request.vias().next(),
                method,
                source,
            )),
        }
    }

    /// The same for one whose responses go elsewhere now, of the request or a response to it: what is sent from
    /// there belongs to it too. None where the branch does not say which it is.
    pub(super) fn moved(message: &Message, flow: &Flow) -> Option<Self> {
        let unique = message.via().branch.is_some_and(is_unique);
        unique.then(|| Self::server(message, flow))
    }

    /// The request behind its copies that came by other paths (RFC 3261 8.2.2.2); nothing within a
    /// dialog. A proxy that forks through us to several endpoints sends each its own Request-URI or
    /// its own Route, and those are no copies.
    pub(super) fn merged(request: &Message) -> Option<Self> {
        if request.to_tag().is_some() {
            return None;
        }
        Some(Self::of((
            'm',
            request.call_id(),
            request.from_tag(),
            request.cseq(),
            request.method(),
            request.uri(),
            request.values(Name::Route).next(),
        )))
    }

    /// Returns a To tag for an answer that keeps no state: the same for the same request.
    pub(super) fn tag(request: &Message) -> String {
        let Self(hash) = Self::of((
            't',
            request.call_id(),
            request.from_tag(),
            request.cseq(),
            request.branch(),
        ));
        format!("{:016x}", hash.get() as u64)
    }

    fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let high = hasher.finish();
        hasher.write_u8(0);
        let wide = u128::from(high) << 64 | u128::from(hasher.finish());
        Self(NonZeroU128::new(wide).unwrap_or(NonZeroU128::MIN))
    }
}

/// Text whose case does not matter.
struct AnyCase<'a>(&'a str);

impl Hash for AnyCase<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

fn is_unique(branch: &str) -> bool {
    branch
        .get(..COOKIE.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(COOKIE))
        && branch.len() > COOKIE.len()
}
