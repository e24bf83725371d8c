//! The port pairs of one session, and how packets leave by them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::engine::ids::Side;
use crate::engine::ports::{Generation, MediaEvent};
use crate::media::counters::Tally;
use crate::media::pairs::Pairs;
use crate::media::place::PairId;
use crate::media::rtp;
use crate::media::session::Outbox;
use crate::media::sockets::Local;
use crate::media::stream::Port;

/// By side, the generations of ports that stand.
#[derive(Default)]
pub(crate) struct Wires {
    pub(crate) legs: [Vec<Leg>; 2],
}

/// The ports of one generation of a side.
pub(crate) struct Leg {
    pub(crate) generation: Generation,
    pub(crate) local: Local,
    /// By stream; none of a stream that was refused.
    pub(crate) pairs: Vec<Option<PairId>>,
}

impl Leg {
    pub(crate) fn pair(&self, stream: usize) -> Option<PairId> {
        self.pairs.get(stream).copied().flatten()
    }
}

impl Wires {
    pub(crate) fn leg(&self, side: Side, generation: Generation) -> Option<&Leg> {
        self.legs[side.index()]
            .iter()
            .find(|leg| leg.generation == generation)
    }

    /// Returns true for a port of these themselves. `is_ours` tells what is an address of this machine, where they are
    /// bound to all.
    pub(crate) fn has(
        &self,
        source: SocketAddr,
        pairs: &Pairs,
        mut is_ours: impl FnMut(IpAddr) -> bool,
    ) -> bool {
        let ip = source.ip();
        self.legs.iter().flatten().any(|leg| {
            let Local { bind, told } = leg.local;
            let known = ip == bind || ip == told;
            let ours = leg.pairs.iter().flatten();
            (known || bind.is_unspecified())
                && ours
                    .filter_map(|id| pairs.get(*id))
                    .any(|pair| pair.port == source.port() & !1)
                && (known || is_ours(ip))
        })
    }
}

/// The way out of a session, by its live ports.
pub(crate) struct Way<'a> {
    pub(crate) wires: &'a Wires,
    pub(crate) pairs: &'a Pairs,
    /// By side.
    pub(crate) live: [Option<Generation>; 2],
    pub(crate) tally: &'a mut Tally,
    pub(crate) events: &'a mut Vec<MediaEvent>,
}

impl Outbox for Way<'_> {
    fn send(&mut self, side: Side, stream: usize, port: Port, to: SocketAddr, packet: &[u8]) {
        let pair = self.live[side.index()]
            .and_then(|generation| self.wires.leg(side, generation))
            .and_then(|leg| leg.pair(stream))
            .and_then(|id| self.pairs.get(id));
        let Some(pair) = pair else {
            self.tally.dropped_no_target += 1;
            return;
        };
        let socket = pair.socket(port);
        let sent = match socket.send_to(packet, to) {
            // Any other error may be that of a packet before, told by ICMP (ip(7)): it is cleared
            // by being told, and this one was not sent.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => socket.send_to(packet, to),
            sent => sent,
        };
        match sent {
            Ok(_) if rtp::is_rtcp(packet) => self.tally.rtcp_sent += 1,
            Ok(_) => self.tally.rtp_sent += 1,
            Err(_) => {
                self.tally.dropped_send += 1;
                return;
            }
        }
        self.tally.bytes_sent += packet.len() as u64;
    }

    fn filled(&mut self) {
        self.tally.filler += 1;
    }

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }
}
