//! The packets' way through a relay thread: read, judged and rewritten by the session, sent.

use std::io;

use mio::Token;
use mio::event::Event;

use crate::media::clock::Micros;
use crate::media::counters::Dropped;
use crate::media::desk::Desk;
use crate::media::forward::Arrival;
use crate::media::place::PairId;
use crate::media::rtp;
use crate::media::session::Outbox;
use crate::media::srtp::GROWTH;
use crate::media::stream::Port;
use crate::media::sys;
use crate::media::wires::Way;

/// The longest datagram that is relayed, in octets.
const LONGEST: usize = 2048;
/// Packets read of one socket before the others have their turn.
const BURST: usize = 16;
/// Entries read of one error queue in a turn.
const ERRORS: usize = 16;

/// Room for a datagram, one octet more by which one that is too long shows, and what SRTP adds.
pub(crate) struct Buffer([u8; LONGEST + 1 + GROWTH]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; LONGEST + 1 + GROWTH])
    }
}

impl Desk {
    /// A socket can be read, or has an error to tell.
    pub(crate) fn ready(&mut self, event: &Event, now: Micros) {
        if event.is_error() {
            self.read_errors(event.token(), now);
        }
        self.read(event.token(), now);
    }

    /// Reads on where the last turn stopped.
    pub(crate) fn read_on(&mut self, now: Micros) {
        for _ in 0..self.unread.len() {
            let Some(token) = self.unread.pop_front() else {
                return;
            };
            let (id, port) = PairId::of(token);
            if let Some(pair) = self.pairs.get_mut(id) {
                pair.set_waiting(port, false);
                self.read(token, now);
            }
        }
    }

    fn read(&mut self, token: Token, now: Micros) {
        let (id, port) = PairId::of(token);
        let Some(pair) = self.pairs.get(id) else {
            return;
        };
        // What comes to a pair at rest, or of a generation that is not live, is for nobody.
        let mut current = pair.place.and_then(|place| {
            let entry = self.entries.get_mut(place.slot)?;
            let live = entry.session.live();
            let current = live[place.side.index()] == Some(place.generation);
            current.then_some((place, entry, live))
        });
        let mut attention = false;
        let mut drained = false;
        for _ in 0..BURST {
            let received = pair.socket(port).recv_from(&mut self.buffer.0[..=LONGEST]);
            let (length, source) = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drained = true;
                    break;
                }
                // The ICMP error of something sent before: the error queue tells what of.
                Err(_) => continue,
            };
            let packet = &self.buffer.0[..length];
            self.tally.bytes_received += length as u64;
            if port == Port::Rtcp || rtp::is_rtcp(packet) {
                self.tally.rtcp_received += 1;
            } else {
                self.tally.rtp_received += 1;
            }
            if length > LONGEST {
                self.tally.drop_one(Dropped::Malformed);
                continue;
            }
            let Some((place, entry, live)) = &mut current else {
                self.tally.drop_one(Dropped::NoTarget);
                continue;
            };
            // Two sides that are told each other's ports of ours would hear themselves for ever.
            let is_ours = |ip| self.routes.is_ours(ip, now);
            if entry.wires.has(source, &self.pairs, is_ours) {
                self.tally.drop_one(Dropped::Stranger);
                continue;
            }
            let stream = usize::from(place.stream);
            let arrival = Arrival {
                side: place.side,
                stream,
                port,
                source,
            };
            let room = &mut self.buffer.0;
            let passed = entry
                .session
                .packet(&arrival, room, length, now, &mut self.tally);
            attention |= passed.attention;
            if let Some(forward) = passed.forward {
                let mut way = Way {
                    wires: &entry.wires,
                    pairs: &self.pairs,
                    live: *live,
                    tally: &mut self.tally,
                    events: &mut self.events,
                };
                let packet = &self.buffer.0[..forward.length];
                let side = place.side.other();
                way.send(side, stream, forward.port, forward.to, packet);
            }
        }
        let slot = current.filter(|_| attention).map(|(place, ..)| place.slot);
        if !drained
            && let Some(pair) = self.pairs.get_mut(id)
            && pair.set_waiting(port, true)
        {
            self.unread.push_back(token);
        }
        if let Some(slot) = slot {
            self.attend(slot, now);
        }
    }

    /// Reads what ICMP said of packets that this socket sent.
    fn read_errors(&mut self, token: Token, now: Micros) {
        let (id, port) = PairId::of(token);
        let Some(pair) = self.pairs.get(id) else {
            return;
        };
        let mut current = pair.place.and_then(|place| {
            let entry = self.entries.get_mut(place.slot)?;
            let live = entry.session.live()[place.side.index()];
            (live == Some(place.generation)).then_some((place, entry))
        });
        let mut attention = false;
        for _ in 0..ERRORS {
            let Some(error) = sys::next_error(pair.socket(port)) else {
                break;
            };
            let Some(target) = error.destination.filter(|_| error.unreachable) else {
                continue;
            };
            self.tally.unreachable += 1;
            if let Some((place, entry)) = &mut current {
                let stream = usize::from(place.stream);
                attention |= entry.session.refused(place.side, stream, target, now);
            }
        }
        if let Some((place, _)) = current.filter(|_| attention) {
            self.attend(place.slot, now);
        }
    }
}
