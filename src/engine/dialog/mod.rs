//! Dialogs (RFC 3261 12): who the two ends are, in what order they speak, and how a request gets there.

#[cfg(test)]
mod check;
pub mod failure;
mod life;
mod offer_answer;
pub mod onward;
pub mod proofs;
pub mod reliable;
mod requests;
pub mod session_id;
pub mod session_timer;
#[cfg(test)]
mod tests;

pub use life::{Do, Happens, Life};
pub use offer_answer::{Act, Negotiation, Refusal};
pub use requests::{Admission, Order, Request, Turn, refreshes_target};

use serde::{Deserialize, Serialize};

use self::onward::{By, Known};
use self::proofs::Proofs;
use self::session_id::SessionId;
use crate::engine::ids::Flow;
use crate::sip::{Address, Builder, Message, Method, Name};

/// What a `sips:` URI demands of a dialog (RFC 3261 26.2.2, RFC 5630).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Security {
    #[default]
    None,
    /// Nothing goes over a hop that is not encrypted: the conversation was begun so. The far end itself was
    /// called by a `sip:` URI, as most phones register over TLS.
    Hops,
    /// Beside that, our Contact is a `sips:` one (RFC 3261 8.1.1.8, 12.1.1).
    Contact,
}

impl Security {
    /// Returns what the target of a dialog demands of it.
    pub fn of(target: &str) -> Self {
        if is_sips(target) {
            Self::Contact
        } else {
            Self::None
        }
    }

    /// Returns true where our Contact is a `sips:` one.
    pub fn is_told(self) -> bool {
        self == Self::Contact
    }
}

/// One dialog, seen from our end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dialog {
    pub call_id: Box<str>,
    pub local_tag: Box<str>,
    /// None until the far end has shown its tag.
    pub remote_tag: Option<Box<str>>,
    /// Our From (name-addr without tag), the far end's To.
    pub local: Box<str>,
    pub remote: Box<str>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
    /// Request-URI of what we send: the far end's Contact.
    pub target: Box<str>,
    /// Topmost first (RFC 3261 12.2.1.1).
    pub routes: Vec<Box<str>>,
    /// What the far end was last heard over.
    pub flow: Flow,
    #[serde(default)]
    pub session: SessionId,
    #[serde(default)]
    pub known: Known,
    /// What it was begun with; a `sips:` target demands no less.
    #[serde(default)]
    pub security: Security,
    /// Nobody else can prove what the far end asks for.
    #[serde(default)]
    pub ours_alone: bool,
    /// Where the last request of ours went, where that is not `flow`.
    #[serde(skip)]
    pub went: Option<Flow>,
    /// What those on the way are shown; after a restart they ask again.
    #[serde(skip)]
    pub proofs: Proofs,
    /// The number and the credentials of our last INVITE.
    #[serde(skip)]
    pub credentials: Option<Box<(u32, Vec<u8>)>>,
}

/// Max-Forwards of what begins here (RFC 3261 8.1.1.6).
pub const HOPS: u8 = 70;

/// RFC 3261 12.2.2: a request whose CSeq is not higher than one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfOrder;

impl Dialog {
    /// Makes the dialog of an INVITE that came to us (RFC 3261 12.1.1).
    pub fn of_request(invite: &Message, flow: Flow, local_tag: Box<str>) -> Self {
        let mut session = SessionId::default();
        session.learn(invite);
        Self {
            session,
            call_id: invite.call_id().into(),
            local_tag,
            remote_tag: invite.from_tag().map(Into::into),
            local: name_addr(&invite.to()),
            remote: name_addr(&invite.from()),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()),
            target: contact_uri(invite).unwrap_or_else(|| invite.from().uri.into()),
            routes: invite.values(Name::RecordRoute).map(Into::into).collect(),
            flow,
            known: Known::Phone,
            security: demanded(invite),
            ours_alone: false,
            went: None,
            proofs: Proofs::default(),
            credentials: None,
        }
    }

    /// Returns what is demanded of what goes to the far end.
    pub fn security(&self) -> Security {
        Security::of(&self.target).max(self.security)
    }

    /// Returns what names the next hop of our requests: the topmost Route, else the target (RFC 3261 8.1.2).
    pub fn next_hop(&self) -> (By, &str) {
        match self.routes.first() {
            Some(route) => (By::Route, bare_uri(route)),
            None => (By::Target, &self.target),
        }
    }

    /// A request of ours takes this flow. What leads elsewhere than to where the far end is heard names no
    /// connection: one that closes is opened again.
    pub fn take_way(&mut self, flow: Flow) {
        self.went = (flow != self.flow).then_some(Flow {
            connection: flow.connection.filter(|own| own.is_to_host()),
            ..flow
        });
    }

    /// Returns over what our requests reach the far end, as far as is known.
    pub fn reached_over(&self) -> Flow {
        self.went.unwrap_or(self.flow)
    }

    /// Takes the far end's tag, target and route set from a response to our INVITE (RFC 3261 12.1.2).
    /// `flow` is where it came from.
    pub fn answered_by(&mut self, response: &Message, flow: Flow) {
        if self.remote_tag.as_deref() != response.to_tag() {
            // A proxy has forked: who speaks now counts its own numbers.
            self.remote_cseq = None;
            self.remote_tag = response.to_tag().map(Into::into);
        }
        if let Some(target) = contact_uri(response) {
            self.target = target;
        }
        self.session.learn(response);
        self.routes = response.values(Name::RecordRoute).map(Into::into).collect();
        self.routes.reverse();
        self.follow(flow);
    }

    /// Returns true where the message's Call-ID and tags are this dialog's.
    pub fn owns(&self, request: &Message) -> bool {
        *self.call_id == *request.call_id()
            && request.to_tag() == Some(&self.local_tag)
            && (self.remote_tag.is_none() || self.remote_tag.as_deref() == request.from_tag())
    }

    /// Checks and takes the CSeq of a request of the far end (RFC 3261 12.2.2).
    ///
    /// # Errors
    /// A number that is not higher than the last: the request is old and gets a 500.
    pub fn receive(&mut self, request: &Message) -> Result<(), OutOfOrder> {
        match Order::of(self.remote_cseq, request.cseq()).turn(request.method()) {
            Turn::Take => self.remote_cseq = Some(request.cseq()),
            Turn::OfInvite => {}
            Turn::Stale => return Err(OutOfOrder),
        }
        self.session.learn(request);
        Ok(())
    }

    /// After a restart: our numbers jump beyond all that can have been sent, and the far end's last
    /// request, whose answer may never have left, is taken once more.
    pub fn resume(&mut self, jump: u32) {
        self.local_cseq = self.local_cseq.saturating_add(jump);
        self.remote_cseq = self.remote_cseq.and_then(|last| last.checked_sub(1));
    }

    /// Leaves out numbers of ours that may have been used without its knowledge.
    pub fn skip(&mut self, count: u32) {
        self.local_cseq = self.local_cseq.saturating_add(count);
    }

    /// Takes the new remote target of a target refresh request that is accepted, or of the 2xx to one
    /// (RFC 3261 12.2.1.2, 12.2.2, RFC 6141 4). Returns true where it is another.
    pub fn refresh(&mut self, message: &Message) -> bool {
        if !refreshes_target(message.method()) {
            return false;
        }
        let Some(target) = contact_uri(message) else {
            return false;
        };
        let new = target != self.target;
        self.target = target;
        new
    }

    /// The same, with the flow that a 2xx came over.
    pub fn refresh_over(&mut self, response: &Message, flow: Flow) {
        self.follow(flow);
        let _ = self.refresh(response);
    }

    /// Takes the way that an answer came: of the host that was asked, which over a connection may be another one.
    /// One that comes from elsewhere is an answer, but moves nothing.
    fn follow(&mut self, flow: Flow) {
        let (before, now) = (self.flow.peer.ip(), flow.peer.ip());
        if before.to_canonical() == now.to_canonical() {
            self.flow = flow;
        }
    }

    /// Begins the next request within the dialog, with everything but Contact and body.
    pub fn request(&mut self, method: &Method, via: &str) -> Builder {
        self.carried(method, via, HOPS)
    }

    /// Begins a request that was carried here from another dialog, with what is left of its hops
    /// (RFC 7332 3).
    pub fn carried(&mut self, method: &Method, via: &str, hops: u8) -> Builder {
        self.local_cseq += 1;
        self.write(method, self.local_cseq, via, hops)
    }

    /// Begins the ACK to the 2xx of the INVITE numbered `cseq`, with the credentials of that (RFC 3261
    /// 13.2.2.4): nobody can ask it for others.
    pub fn ack(&self, cseq: u32, via: &str) -> Builder {
        let builder = self.write(&Method::Ack, cseq, via, HOPS);
        match self.credentials.as_deref() {
            Some((of, lines)) if *of == cseq => builder.raw_lines(lines),
            Some(_) | None => builder,
        }
    }

    /// Returns the number under which a request of ours is sent again: the next of this dialog, where it is of
    /// it.
    pub fn number_after(&mut self, request: &Message) -> u32 {
        if self.made(request) {
            self.local_cseq += 1;
            self.local_cseq
        } else {
            request.cseq() + 1
        }
    }

    /// Returns true where a request is one of ours within this dialog.
    pub fn made(&self, request: &Message) -> bool {
        *self.call_id == *request.call_id()
    }

    /// Takes note of what an INVITE of ours shows.
    pub fn keep_credentials(&mut self, cseq: u32, lines: Vec<u8>) {
        self.credentials = (!lines.is_empty()).then(|| Box::new((cseq, lines)));
    }

    fn write(&self, method: &Method, cseq: u32, via: &str, hops: u8) -> Builder {
        // A strict router wants to be the Request-URI, the target goes last (RFC 3261 12.2.1.1).
        let strict = self.routes.first().filter(|route| !is_loose(route));
        let uri = strict.map_or(&*self.target, |route| bare_uri(route));
        let mut builder = Builder::request(method, uri)
            .header(Name::Via, via)
            .header(Name::MaxForwards, hops);
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            builder = builder.header(Name::Route, route);
        }
        if strict.is_some() {
            builder = builder.header(Name::Route, format_args!("<{}>", self.target));
        }
        builder = builder.header(
            Name::From,
            format_args!("{};tag={}", self.local, self.local_tag),
        );
        builder = match &self.remote_tag {
            Some(tag) => builder.header(Name::To, format_args!("{};tag={tag}", self.remote)),
            None => builder.header(Name::To, &self.remote),
        };
        let builder = builder
            .header(Name::CallId, &self.call_id)
            .header(Name::CSeq, format_args!("{cseq} {}", method.as_str()));
        if self.session.ours.is_nil() {
            builder
        } else {
            builder.header(Name::SessionId, self.session)
        }
    }
}

/// Returns what an INVITE demands of the dialog that it begins (RFC 3261 12.1.1).
fn demanded(invite: &Message) -> Security {
    let recorded = invite.values(Name::RecordRoute).next();
    if is_sips(invite.uri()) || recorded.is_some_and(|route| is_sips(bare_uri(route))) {
        Security::Contact
    } else {
        Security::None
    }
}

/// Returns true for a `sips:` URI.
pub fn is_sips(uri: &str) -> bool {
    let scheme = uri.split_once(':').map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips"))
}

/// Returns the URI of the first Contact.
pub fn contact_uri(message: &Message) -> Option<Box<str>> {
    let first = message.values(Name::Contact).next()?;
    Address::parse(first).ok().map(|contact| contact.uri.into())
}

/// Returns a From or To as `"display" <uri>`, without its parameters.
pub fn name_addr(address: &Address<'_>) -> Box<str> {
    match &address.display {
        Some(display) if !display.is_empty() => {
            let quoted = display.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{quoted}\" <{}>", address.uri).into()
        }
        Some(_) | None => format!("<{}>", address.uri).into(),
    }
}

/// Returns the URI of a Route or Record-Route.
pub(crate) fn bare_uri(route: &str) -> &str {
    Address::parse(route).map_or(route, |address| address.uri)
}

fn is_loose(route: &str) -> bool {
    Address::parse(route)
        .ok()
        .and_then(|address| address.uri_parsed().ok().map(|uri| uri.params.has("lr")))
        .unwrap_or(true)
}
