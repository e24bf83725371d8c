//! The packets' way through a relay thread: read, judged and rewritten by the session, sent.

use std::io;

use mio::Token;
use mio::event::Event;

use crate::media::clock::Micros;
use crate::media::counters::Dropped;
use crate::media::desk::{Desk, Entry};
use crate::media::forward::Arrival;
use crate::media::place::Place;
use crate::media::rtp;
use crate::media::session::Outbox;
use crate::media::stream::Port;
use crate::media::sys;
use crate::media::wires::Way;

/// The longest datagram that is relayed, in octets.
const LONGEST: usize = 2048;
/// Packets read of one socket before the others have their turn.
const BURST: usize = 16;
/// Entries read of one error queue in a turn.
const ERRORS: usize = 16;

/// Room for a datagram, and one octet more by which one that is too long shows.
pub(crate) struct Buffer([u8; LONGEST + 1]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; LONGEST + 1])
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
            let place = Place::of(token);
            if let Some(pair) = self.entry_at(&place).and_then(|e| e.wires.pair_mut(&place)) {
                pair.set_waiting(place.port, false);
                self.read(token, now);
            }
        }
    }

    fn read(&mut self, token: Token, now: Micros) {
        let place = Place::of(token);
        let Some(entry) = self
            .entries
            .get_mut(place.slot as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let live = entry.session.live();
        let current = live[place.side.index()].map(Place::fold) == Some(place.generation);
        let mut attention = false;
        let mut drained = false;
        for _ in 0..BURST {
            let Some(pair) = entry.wires.pair_mut(&place) else {
                return;
            };
            let received = pair.socket(place.port).recv_from(&mut self.buffer.0);
            let (length, source) = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drained = true;
                    break;
                }
                // The ICMP error of something sent before: the error queue tells what of.
                Err(_) => continue,
            };
            let packet = &mut self.buffer.0[..length];
            self.tally.bytes_received += length as u64;
            if place.port == Port::Rtcp || rtp::is_rtcp(packet) {
                self.tally.rtcp_received += 1;
            } else {
                self.tally.rtp_received += 1;
            }
            if length > LONGEST {
                self.tally.drop_one(Dropped::Malformed);
                continue;
            }
            if !current {
                self.tally.drop_one(Dropped::NoTarget);
                continue;
            }
            let arrival = Arrival {
                side: place.side,
                stream: place.stream,
                port: place.port,
                source,
            };
            let passed = entry.session.packet(&arrival, packet, now, &mut self.tally);
            attention |= passed.attention;
            if let Some(forward) = passed.forward {
                let mut way = Way {
                    wires: &entry.wires,
                    live,
                    tally: &mut self.tally,
                    events: &self.events,
                };
                let packet = &packet[..forward.length];
                let side = place.side.other();
                way.send(side, place.stream, forward.port, forward.to, packet);
            }
        }
        if !drained
            && let Some(pair) = entry.wires.pair_mut(&place)
            && pair.set_waiting(place.port, true)
        {
            self.unread.push_back(token);
        }
        if attention {
            self.attend(place.slot, now);
        }
    }

    /// Reads what ICMP said of packets that this socket sent.
    fn read_errors(&mut self, token: Token, now: Micros) {
        let place = Place::of(token);
        let Some(entry) = self
            .entries
            .get_mut(place.slot as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let live = entry.session.live()[place.side.index()].map(Place::fold);
        let mut attention = false;
        for _ in 0..ERRORS {
            let pair = entry.wires.pair_mut(&place);
            let Some(error) = pair.and_then(|pair| sys::next_error(pair.socket(place.port))) else {
                break;
            };
            let Some(target) = error.destination.filter(|_| error.unreachable) else {
                continue;
            };
            self.tally.unreachable += 1;
            if live == Some(place.generation) {
                let session = &mut entry.session;
                attention |= session.refused(place.side, place.stream, target, now);
            }
        }
        if attention {
            self.attend(place.slot, now);
        }
    }

    fn entry_at(&mut self, place: &Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.slot as usize)?.as_mut()
    }
}
