//! Credentials and challenges. They belong to one leg; but what lies beyond an upstream asks its own users for
//! proof, and only they can give it: between a phone and the upstream that serves its domain both cross.
//!
//! Who somebody is to us decides (`Asker`), not the From alone: it may name nobody, and the request be in the
//! name of a user of the upstream's all the same.

use crate::engine::asker::Asker;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::{Conversation, Party};
use crate::engine::ids::{Aor, LegId, Side};
use crate::engine::location::{self, Tried};
use crate::engine::routing::{self, Destination};
use crate::engine::settings::{ServedBy, Settings};
use crate::sip::{Message, Method, Name};

const PROOF: [Name; 5] = [
    Name::Authorization,
    Name::ProxyAuthorization,
    Name::WwwAuthenticate,
    Name::ProxyAuthenticate,
    Name::AuthenticationInfo,
];

/// Returns the upstream that serves the domain of a user.
pub(crate) fn upstream_of<'s>(aor: &Aor, settings: &'s Settings) -> Option<&'s str> {
    match &location::domain(aor.host(), settings)?.served_by {
        ServedBy::Upstream(upstream) => Some(upstream),
        ServedBy::Registrar(_) => None,
    }
}

/// Returns true where an upstream asks somebody for proof, and not us: it knows them, or would, or it serves the
/// domain of their address.
pub(crate) fn is_judged_by(
    upstream: &str,
    asker: &Asker,
    aor: Option<&Aor>,
    settings: &Settings,
) -> bool {
    let of_domain = || aor.and_then(|aor| upstream_of(aor, settings));
    asker.upstream().or_else(of_domain) == Some(upstream)
}

/// Returns the lines that are credentials or a challenge.
pub(crate) fn proof(message: &Message) -> Vec<u8> {
    let mut lines = Vec::new();
    for name in PROOF {
        for value in message.raw_fields(name) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

/// Returns true where there is a challenge among lines that cross.
pub(crate) fn is_challenge(lines: &[u8]) -> bool {
    [Name::WwwAuthenticate, Name::ProxyAuthenticate]
        .into_iter()
        .any(|name| memchr::memmem::find(lines, name.as_str().as_bytes()).is_some())
}

impl Conversation {
    /// Whom an upstream calls, or lets call, it can be asked for when they are lost, where it has let them
    /// register through here: a From alone would have us call any number that somebody outside writes there.
    pub(crate) fn vouched_for(&mut self, context: &Context<'_>, destination: &Destination) {
        let settings = &context.shared.settings;
        let caller = self.party_mut(Side::Caller);
        let own = upstream_of(&caller.aor, settings);
        let goes_on = own.is_some() && destination.upstream.as_deref() == own;
        let bindings = context.world.bindings(&caller.aor);
        let is_user = bindings.iter().any(|known| known.expires > context.now);
        if is_user && (goes_on || destination.asked_by.is_some()) {
            caller.asked = Some(caller.aor.as_str().into());
        }
        if destination.asked_by.is_some() {
            let callee = self.party_mut(Side::Callee);
            callee.asked = Some(callee.aor.as_str().into());
        }
    }

    /// Returns the lines of a request of this side, or of the answer to one, that cross.
    pub(crate) fn lines_for(
        &self,
        context: &Context<'_>,
        asker: Side,
        message: &Message,
    ) -> Vec<u8> {
        let from = match message.is_request() {
            true => asker,
            false => asker.other(),
        };
        let mut lines = self.lines_of(context, from, message);
        lines.extend(self.proof_for(context, asker, message));
        lines
    }

    /// Returns those of them that are credentials or a challenge.
    pub(crate) fn proof_for(
        &self,
        context: &Context<'_>,
        asker: Side,
        message: &Message,
    ) -> Vec<u8> {
        match self.proves_to(context, asker, self.party(asker.other()).leg.as_ref()) {
            true => proof(message),
            false => Vec::new(),
        }
    }

    /// Returns true where who calls is the one that proves itself to whoever a branch of the first fork has asked.
    pub(crate) fn asker_proves(&self, context: &Context<'_>, leg: LegId) -> bool {
        let first = self.invitation.as_ref();
        let branch = first.and_then(|first| first.fork.find(leg));
        self.proves_to(context, Side::Caller, branch.map(|branch| &branch.leg))
    }

    /// The same of a side, and a leg of the other one.
    pub(crate) fn proves_to(&self, context: &Context<'_>, asker: Side, leg: Option<&Leg>) -> bool {
        leg.is_some_and(|leg| {
            let through = leg.endpoint.through.as_deref();
            !leg.dialog.ours_alone && self.proves_through(context, asker, through)
        })
    }

    /// Takes note of what the upstream says of the credentials of the INVITE.
    pub(crate) fn judge_proof(&self, context: &mut Context<'_>, leg: LegId, response: &Message) {
        let (Some(invitation), Some(caller)) = (&self.invitation, &self.party(Side::Caller).leg)
        else {
            return;
        };
        if response.status() < 200 || !self.asker_proves(context, leg) {
            return;
        }
        let lines = &invitation.lines.to_judge;
        let tried = Tried::in_lines(lines, &Method::Invite, &caller.dialog.flow);
        for event in tried.judged(response, context.now, context.world) {
            context.emit(event);
        }
    }

    /// Returns true where that way leads to the upstream that judges the asker.
    pub(crate) fn proves_through(
        &self,
        context: &Context<'_>,
        asker: Side,
        through: Option<&str>,
    ) -> bool {
        let settings = &context.shared.settings;
        through.is_some_and(|through| {
            let Party { asker, aor, .. } = self.party(asker);
            let mut upstreams = settings.upstreams.keys();
            upstreams.any(|upstream| {
                is_judged_by(upstream, asker, Some(aor), settings)
                    && routing::hops(upstream, settings).any(|hop| hop == through)
            })
        })
    }
}
