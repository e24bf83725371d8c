//! Where media never goes by a leg's word. What the relay sends comes from an address of ours, which upstreams and
//! trusted peers believe, and so do we ourselves: nobody may have it sent where SIP is spoken. And where both ends of a
//! call name ports of our relay as their own, the relay would speak to itself.
//!
//! A call that goes by way of us twice, phone to PBX and PBX to phone, rightly has our ports as the addresses of the legs
//! toward the PBX, where that stays out of the media; so has one that somebody else puts together (RFC 3725). One end of
//! each is a phone then, and a ring of calls has none. An upstream or a trusted peer may name them at both ends.
//!
//! Nothing is sent to such an address: its port counts as none, and what the endpoint sends tells where it is.

use std::net::{IpAddr, SocketAddr};

use super::media;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::events::Event;
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::ports::StreamSettings;
use crate::engine::reasons::Barred;
use crate::sip::sdp::Sdp;

/// Ports of SIP (RFC 3261 18.1).
const SIP: [u16; 2] = [5060, 5061];

impl Context<'_> {
    /// Returns what the relay is told of a leg's streams by what it has `said`, and the other end has: no address of who
    /// is to hear nothing, nor one where its media may not be sent, of which the first comes with them.
    pub(crate) fn streams_of(
        &self,
        leg: &Leg,
        (said, talk): (&str, &Talk),
        other: Option<&str>,
    ) -> (Vec<StreamSettings>, Option<(Barred, SocketAddr)>) {
        let mut streams = media::streams(said, talk, other);
        leg.hushes(&mut streams);
        let barred = self.bar(&leg.dialog.flow, &mut streams, other);
        (streams, barred)
    }

    fn bar(
        &self,
        flow: &Flow,
        streams: &mut [StreamSettings],
        other: Option<&str>,
    ) -> Option<(Barred, SocketAddr)> {
        let mut found = None;
        for stream in streams {
            for place in [&mut stream.rtp, &mut stream.rtcp] {
                let Some(at) = *place else { continue };
                let Some(why) = self.bars(flow, at) else {
                    continue;
                };
                if why == Barred::Relay && !other.is_some_and(|said| self.is_of_relay(said)) {
                    continue;
                }
                *place = Some(SocketAddr::new(at.ip(), 0));
                found = found.or(Some((why, at)));
            }
        }
        found
    }

    /// Returns true where a description names a port of our relay.
    fn is_of_relay(&self, said: &str) -> bool {
        let Ok(sdp) = Sdp::parse(said.as_bytes()) else {
            return false;
        };
        let ports = &self.shared.settings.media.ports;
        let mut media = sdp.media().iter().filter(|media| media.port != 0);
        media.any(|media| {
            let ip = media.address.map(|ip| ip.to_canonical());
            ports.contains(&media.port) && ip.is_some_and(|ip| self.is_our_host(ip))
        })
    }

    fn is_our_host(&self, ip: IpAddr) -> bool {
        self.shared.settings.media.address == Some(ip) || self.world.is_ours(ip)
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
        let is_ours = (of_relay || of_sip || listens) && self.is_our_host(ip);
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
