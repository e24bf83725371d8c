//! Where media never goes by a leg's word. What the relay sends comes from an address of ours, which upstreams and
//! trusted peers believe, and so do we ourselves: nobody may have it sent where SIP is spoken. And who names a port of
//! our relay as its own would have the relay speak to itself.
//!
//! A call that goes by way of us twice, phone to PBX and PBX to phone, rightly has our ports as the addresses of the legs
//! toward the PBX, where that stays out of the media. So an upstream or a trusted peer may name them, and no phone may.
//!
//! Such an address counts as none: nothing is sent there, and what the endpoint sends tells where it is.

use std::net::SocketAddr;

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::events::Event;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::ports::StreamSettings;
use crate::engine::reasons::Barred;

/// Ports of SIP (RFC 3261 18.1).
const SIP: [u16; 2] = [5060, 5061];

impl Context<'_> {
    /// Takes out of what a leg over this flow has said where its media may not be sent. Returns the first such address.
    pub(crate) fn bar(
        &self,
        flow: &Flow,
        streams: &mut [StreamSettings],
    ) -> Option<(Barred, SocketAddr)> {
        let mut found = None;
        for stream in streams {
            for place in [&mut stream.rtp, &mut stream.rtcp] {
                let barred = place.and_then(|at| Some((self.bars(flow, at)?, at)));
                if barred.is_some() {
                    *place = None;
                    found = found.or(barred);
                }
            }
        }
        found
    }

    fn bars(&self, flow: &Flow, at: SocketAddr) -> Option<Barred> {
        let shared = &*self.shared;
        let settings = &shared.settings;
        let world = &*self.world;
        let (ip, port) = (at.ip().to_canonical(), at.port());
        let at = SocketAddr::new(ip, port);
        let of_relay = settings.media.ports.contains(&port);
        let of_sip = SIP.contains(&port);
        let listens = world.listens_on(port);
        let ours = || settings.media.address == Some(ip) || world.is_ours(ip);
        let is_ours = (of_relay || of_sip || listens) && ours();
        if is_ours && listens {
            return Some(Barred::Sip);
        }
        let peers = [&shared.peers, &shared.doubted];
        let source = flow.peer.ip();
        if shared.peers.trusts(flow, settings, world) || shared.doubted.knows(source) {
            return None;
        }
        let believed = || settings.acl.trusts(ip) || peers.iter().any(|peers| peers.knows(ip));
        let speaks = peers.iter().any(|peers| peers.speak_at(at));
        if speaks || of_sip && (is_ours || believed()) {
            Some(Barred::Sip)
        } else if of_relay && is_ours {
            Some(Barred::Relay)
        } else {
            None
        }
    }
}

impl Conversation {
    /// Tells the operator of it, once a leg.
    pub(crate) fn tell_barred(
        &mut self,
        context: &mut Context<'_>,
        (side, leg): (Side, LegId),
        peer: SocketAddr,
        barred: Option<(Barred, SocketAddr)>,
    ) {
        let Some((why, at)) = barred else { return };
        if self.ports[side.index()].barred.replace(leg) != Some(leg) {
            context.emit(Event::Barred { why, at, peer });
        }
    }
}
