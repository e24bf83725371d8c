//! A phone or gateway may give a name in place of the address that its media is at (RFC 8866 5.7). It is looked up
//! beside all else: until it is known, and where it cannot be, its media is at home where its first packets come from
//! (RFC 4961), which its signalling vouches for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::ids::{Side, Transport};
use crate::engine::locating::{Hop, Located};
use crate::engine::ports::{Output, Token};
use crate::sip::sdp::Sdp;

/// Where a name is that an endpoint has given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    host: Box<str>,
    at: IpAddr,
}

/// A name that is being looked up for a side.
#[derive(Debug)]
pub(crate) struct Naming {
    token: Token,
    side: Side,
    host: Box<str>,
}

impl Named {
    /// Puts the address in the place of the name.
    pub(crate) fn locate(&self, sdp: &mut Sdp<'_>) {
        sdp.locate(&self.host, self.at);
    }
}

impl Conversation {
    /// Has the name looked up that a side has given for where its media is. Of several the first: the others are
    /// found by what comes from them.
    pub(crate) fn locate_media(&mut self, context: &mut Context<'_>, side: Side) {
        let Some(talk) = self.party(side).leg.as_ref().map(|leg| &leg.talk) else {
            return;
        };
        let sdp = Sdp::parse(talk.said.as_deref().unwrap_or_default().as_bytes());
        let named = sdp.as_ref().ok().and_then(|sdp| {
            let mut streams = sdp.media().iter().filter(|media| media.port != 0);
            streams.find_map(|media| Some((media.host?, media.port)))
        });
        let Some((host, port)) = named else { return };
        let is_known = talk
            .named
            .as_ref()
            .is_some_and(|known| *known.host == *host);
        let is_asked = |one: &Naming| one.side == side && *one.host == *host;
        if is_known || self.naming.iter().any(is_asked) {
            return;
        }
        let hop = Hop {
            host: host.to_ascii_lowercase().into(),
            // RFC 3263 4.2: with a port, addresses alone are looked up.
            port: Some(port),
            transport: Some(Transport::Udp),
            secure: false,
        };
        let host = host.into();
        self.forget_naming(context, Some(side));
        let token = context.ask(self.id);
        self.naming.push(Naming { token, side, host });
        let out = &mut context.shared.out;
        out.push_back(Output::Resolve { token, hop });
    }

    /// Takes where a name is, in the family of our ports for that side.
    pub(crate) fn media_located(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) {
        let Some(at) = self.naming.iter().position(|one| one.token == token) else {
            return;
        };
        let Naming { side, host, .. } = self.naming.swap_remove(at);
        let ours = self.ports[side.index()].addresses.first();
        let v4 = ours.map(|address| address.is_ipv4());
        let mut found = targets.iter().map(|(_, at)| at.ip());
        let Some(at) = found.find(|at| v4.is_none_or(|v4| at.is_ipv4() == v4)) else {
            return;
        };
        if let Some(leg) = self.leg_mut(side) {
            leg.talk.named = Some(Box::new(Named { host, at }));
            self.configure(context, side);
        }
    }

    /// Looks up no more names, of a side or of both.
    pub(crate) fn forget_naming(&mut self, context: &mut Context<'_>, of: Option<Side>) {
        self.naming.retain(|one| {
            let goes = of.is_none_or(|side| side == one.side);
            if goes {
                context.shared.asked.remove(&one.token);
            }
            !goes
        });
    }
}
