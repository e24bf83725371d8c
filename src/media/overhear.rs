//! Phones that ring share our ports, and one of them is heard (RFC 3960 3.1). The engine, which knows of all of them,
//! is told where that one is silent and another one sends.

use std::net::{IpAddr, SocketAddr};

use crate::engine::ids::Side;
use crate::engine::ports::{Inside, Other};
use crate::engine::settings::Latch as LatchRule;
use crate::media::clock::Micros;
use crate::media::rtp;
use crate::media::session::{Party, Session};

/// How long who is heard may pause, in microseconds: between two words of an announcement nobody else has the word.
pub(crate) const PAUSE: u64 = 1_000_000;
/// How long it has to begin: where several send at once, its packet need not be the next.
const BEGINS: u64 = 200_000;

#[derive(Debug)]
pub(crate) struct Overhear {
    pub(crate) side: Side,
    others: Vec<Other>,
    /// Since when the one is heard who is.
    from: Micros,
    /// Somebody was overheard, which is told once.
    told: bool,
    news: Option<u32>,
}

impl Session {
    /// Besides who is heard on a side these may send there; until it is configured anew.
    pub(crate) fn overhear(&mut self, side: Side, others: Vec<Other>, now: Micros) {
        let before = self.overhear.take_if(|before| before.side == side);
        self.overhear = (!others.is_empty()).then(|| {
            Box::new(Overhear {
                side,
                others,
                from: before.map_or(now, |before| before.from),
                told: false,
                news: None,
            })
        });
    }
}

impl Overhear {
    /// Returns true for a packet from the very address that one of the others has named. Its sender is overheard.
    pub(crate) fn has(
        &mut self,
        near: &Party,
        stream: usize,
        (source, packet): (SocketAddr, &[u8]),
        now: Micros,
    ) -> bool {
        let named = |other: &&Other| other.rtp.get(stream) == Some(&Some(source));
        let Some(number) = self.others.iter().find(named).map(|other| other.number) else {
            return false;
        };
        // Behind one gateway both may have it.
        if near
            .streams
            .get(stream)
            .is_none_or(|s| s.rtp.is_told(source))
        {
            return false;
        }
        self.note(near, stream, (number, packet), now);
        true
    }

    /// A packet of nobody who is heard: one of the others may be behind a NAT.
    pub(crate) fn may_have(
        &mut self,
        near: &Party,
        stream: usize,
        (source, packet): (SocketAddr, &[u8]),
        latch: LatchRule,
        now: Micros,
    ) {
        let host = source.ip();
        let sends_from = |other: &&Other| other.may_send_from(host, latch);
        let number = self
            .others
            .iter()
            .find(sends_from)
            .map(|other| other.number);
        if let Some(number) = number {
            self.note(near, stream, (number, packet), now);
        }
    }

    /// Takes who is to be told of.
    pub(crate) fn news(&mut self) -> Option<u32> {
        self.news.take()
    }

    pub(crate) fn has_news(&self) -> bool {
        self.news.is_some()
    }

    fn note(&mut self, near: &Party, stream: usize, (number, packet): (u32, &[u8]), now: Micros) {
        let sealed = near
            .streams
            .get(stream)
            .is_some_and(|stream| stream.wishes.inside == Inside::Sealed);
        // RFC 7983: before there are keys, DTLS is all that comes.
        let begins = sealed && packet.first().is_some_and(|first| (20..64).contains(first));
        let speaks = begins || !rtp::is_rtcp(packet) && rtp::parse(packet).is_some();
        let mut streams = near.streams.iter();
        let quiet = now.since(self.from) >= BEGINS
            && streams.all(|stream| !stream.wishes.active || stream.rtp.is_quiet(now, PAUSE));
        if speaks && quiet && !std::mem::replace(&mut self.told, true) {
            self.news = Some(number);
        }
    }
}

impl Other {
    fn may_send_from(&self, host: IpAddr, latch: LatchRule) -> bool {
        let mut named = self.rtp.iter().flatten();
        named.any(|rtp| rtp.ip() == host)
            || latch == LatchRule::Signalling && self.signalling == host
    }
}
