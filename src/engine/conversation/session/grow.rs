//! An offer within a dialog that has more streams than there are ports for, or brings one back that was refused:
//! it waits for the relay. So does a request for an offer where the session has had no streams yet (RFC 3725 4.4).

use std::net::SocketAddr;

use super::media::{self, PortState};
use super::refused::Streams;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::toward::reach;
use crate::engine::events::{Crowd, Event};
use crate::engine::ids::Side;
use crate::engine::ports::{Generation, MediaCommand};
use crate::engine::transaction::ServerId;

/// An offer that waits for ports. A restart takes the INVITE that carried it once more (`open_invite`), and forgets
/// an UPDATE, which comes again.
#[derive(Debug)]
pub(crate) struct Growing {
    from: Side,
    server: ServerId,
    /// None where it is to come with the answer.
    offer: Option<Box<str>>,
    /// How many streams there are with those.
    streams: usize,
    /// By side: of which ports more are asked.
    waits: [Option<Generation>; 2],
}

impl Conversation {
    /// Asks the relay for the ports that an offer needs beyond those there are. Returns true where the
    /// offer waits for them now.
    pub(super) fn grow(
        &mut self,
        context: &mut Context<'_>,
        from: Side,
        server: ServerId,
        offer: Option<&str>,
    ) -> bool {
        let mode = context.shared.settings.media.mode;
        let known = [from, from.other()].map(|side| self.ports[side.index()].addresses.len());
        let wanted = match offer {
            // What comes may bring back what was refused.
            None if known != [0; 2] => Streams::first(known[0].max(known[1])),
            None => Streams::first(media::streams_needed(None, mode)),
            Some(offer) => media::streams_wanted(offer, mode),
        };
        let streams = wanted.count();
        let lack = |ports: &media::Ports| match ports.state {
            PortState::Open => ports.lack(wanted),
            PortState::None | PortState::Failed => streams > 0,
            // What is taken again after a restart is all there is for now.
            PortState::Opening => false,
        };
        let lacks = |side: Side| self.party(side).leg.is_some() && lack(&self.ports[side.index()]);
        if !(lacks(from) || lacks(from.other())) || self.has_too_many(context, streams) {
            return false;
        }
        let mut waits = [None; 2];
        for side in [from, from.other()] {
            let leg = self.party(side).leg.as_ref();
            let Some(flow) = leg.map(|leg| leg.dialog.flow) else {
                continue;
            };
            let toward = flow.peer.ip();
            let reach = reach(context, &flow);
            let (id, claim) = (self.id, self.claim(side));
            let ports = &mut self.ports[side.index()];
            if !lack(ports) {
                continue;
            }
            let command = if ports.state == PortState::Open {
                MediaCommand::Open {
                    media: id,
                    side,
                    generation: ports.generation,
                    streams,
                    claim,
                    toward,
                    told: ports.told(),
                    again: Vec::new(),
                }
            } else {
                ports.reach = Some(reach);
                ports.open(id, side, streams, claim, toward)
            };
            waits[side.index()] = Some(ports.generation);
            self.media(context, command);
        }
        if waits == [None; 2] {
            return false;
        }
        self.growing = Some(Box::new(Growing {
            from,
            server,
            offer: offer.map(Box::from),
            streams,
            waits,
        }));
        self.keep_open_invite(context, server);
        true
    }

    /// Returns true where the limit of who made the call leaves no room for so many streams: those that there are ports
    /// for stand, and the others are refused, which is told once a call.
    fn has_too_many(&mut self, context: &mut Context<'_>, streams: usize) -> bool {
        let Some(asker) = self.made_by else {
            return false;
        };
        let limits = &context.shared.settings.limits;
        let unknown = self.party(Side::Caller).asker.is_unknown();
        let (most, crowd) = match unknown {
            true => (limits.streams_per_ip, Crowd::AddressStreams),
            false => (limits.streams_per_user, Crowd::UserStreams),
        };
        let more = streams.saturating_sub(self.relayed());
        if more == 0 || context.world.streaming(asker) + more <= most {
            return false;
        }
        if std::mem::replace(&mut self.crowded, true) {
            return true;
        }
        let party = self.party(Side::Caller);
        let peer = party.leg.as_ref().map(|leg| leg.dialog.flow.to_string());
        context.emit(Event::Crowded {
            crowd,
            from: party.aor.as_str().into(),
            peer: peer.unwrap_or_default().into(),
            tell: true,
        });
        true
    }

    /// Returns how many streams of it the relay carries, or is to carry.
    pub(crate) fn relayed(&self) -> usize {
        let open = |ports: &media::Ports| {
            let addresses = ports.addresses.iter();
            addresses.filter(|at| at.port() != 0).count()
        };
        let open = self.ports.iter().map(open);
        let asked = self.invitation.as_ref().map(|asked| asked.streams);
        let more = self.growing.as_ref().map(|growing| growing.streams);
        open.chain(asked).chain(more).max().unwrap_or(0)
    }

    /// The relay has given what an offer waits for, or has nothing to give: then the offer goes on with
    /// the streams that there are ports for. Returns true where nobody else waits for these.
    pub(crate) fn grown(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        generation: Generation,
    ) -> bool {
        let Some(growing) = &mut self.growing else {
            return false;
        };
        if growing.waits[side.index()] != Some(generation) {
            return false;
        }
        growing.waits[side.index()] = None;
        if growing.waits != [None; 2] {
            return true;
        }
        let Some(growing) = self.growing.take() else {
            return true;
        };
        let request = context.shared.transactions.request_of(growing.server);
        let Some(request) = request.map(|(request, _)| request.clone()) else {
            self.settle_negotiations(growing.from);
            return true;
        };
        let (from, server) = (growing.from, growing.server);
        self.offer_across(context, from, server, &request, growing.offer);
        true
    }

    /// A side is gone while an offer waits for ports.
    pub(super) fn settle_growing(&mut self, context: &mut Context<'_>, lost: Side) {
        let Some(growing) = self.growing.take() else {
            return;
        };
        if let Some(aside) = &mut self.party_mut(lost).lost
            && aside.old_ports.state == PortState::Opening
        {
            // Nobody waits for them any more.
            aside.old_ports.state = PortState::Failed;
        }
        self.settle_negotiations(growing.from);
        if growing.from == lost {
            // It asked and is gone; should it live, it may ask again.
            return context.answer(growing.server, 500, None);
        }
        let request = context.shared.transactions.request_of(growing.server);
        if let Some(request) = request.map(|(request, _)| request.clone()) {
            let (from, server, offer) = (growing.from, growing.server, growing.offer);
            self.renegotiate_with_the_standing(context, from, server, &request, offer);
        }
    }

    /// The offer that waits for ports is taken back. Returns false where it is another one.
    pub(super) fn growing_cancelled(
        &mut self,
        context: &mut Context<'_>,
        server: ServerId,
    ) -> bool {
        let Some(growing) = self.growing.take_if(|growing| growing.server == server) else {
            return false;
        };
        context.answer(server, 487, None);
        self.settle_negotiations(growing.from);
        true
    }

    /// The end: whoever waits is told.
    pub(super) fn drop_growing(&mut self, context: &mut Context<'_>) {
        if let Some(growing) = self.growing.take() {
            context.answer(growing.server, 481, None);
        }
    }
}

impl media::Ports {
    /// Takes what the relay answered. Ports that stand are kept whatever becomes of those beside them.
    pub(crate) fn opened(&mut self, result: Option<Vec<SocketAddr>>) {
        match (self.state, result) {
            (PortState::Open, Some(addresses)) if addresses.len() < self.addresses.len() => {}
            (PortState::Open, None) => {}
            (_, Some(addresses)) => {
                self.addresses = addresses;
                self.state = PortState::Open;
            }
            (PortState::None | PortState::Opening | PortState::Failed, None) => {
                self.state = PortState::Failed;
            }
        }
    }
}
