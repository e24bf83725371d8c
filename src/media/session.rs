//! One conversation's media: two sides, the same streams on each. Pure: packets, commands and the
//! time go in, packets and events come out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::engine::ids::Side;
use crate::engine::ports::{Generation, Inside, MediaEvent, MediaId, StreamSettings, Voice};
use crate::engine::settings::Latch as LatchRule;
use crate::media::clock::Micros;
use crate::media::filler::{self, Filler};
use crate::media::overhear::Overhear;
use crate::media::report::{LineState, SessionReport, StreamReport};
use crate::media::rtcp::{self, OwnReport};
use crate::media::sound::{Fill, Sound};
use crate::media::srtp::GROWTH;
use crate::media::stream::{Port, Refused, Stream};
use crate::media::watch::Watch;

/// Microseconds between two words about the same dead target.
const REFUSED_AGAIN: u64 = 1_000_000;
/// The same where it was heard on: a firewall may let nothing in, and all out.
const REFUSED_IN_VAIN: u64 = 30_000_000;

/// What all sessions have in common.
#[derive(Clone, Debug)]
pub(crate) struct SessionRules {
    pub(crate) latch: LatchRule,
    /// In microseconds.
    pub(crate) silence: Option<u64>,
    pub(crate) filler: Fill,
    /// What is heard in place of a notice.
    pub(crate) tone: Arc<Sound>,
    /// The Unix time at our `Micros(0)`, in microseconds.
    pub(crate) epoch_us: u64,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) media: MediaId,
    pub(crate) rules: Arc<SessionRules>,
    pub(crate) sides: [Party; 2],
    /// Who else may send, and is not heard.
    pub(crate) overhear: Option<Box<Overhear>>,
    seed: u64,
}

/// One side.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) live: Option<Generation>,
    pub(crate) lost: bool,
    /// It was put aside by a transfer: who waits for the target hears silence.
    pub(crate) transferred: bool,
    /// It should be heard, and is not: a silence was told, and no RTP has come since.
    pub(crate) silent: bool,
    pub(crate) watch: Watch,
    pub(crate) streams: Vec<Stream>,
    /// Events not yet told.
    pub(crate) flowing: bool,
    pub(crate) reported: bool,
    pub(crate) unreachable: bool,
    /// Tones to it that came to nothing, and that it was sent whole.
    pub(crate) toned: [u8; 2],
}

/// Takes what a session has to say by itself.
pub(crate) trait Outbox {
    fn send(&mut self, side: Side, stream: usize, port: Port, to: SocketAddr, packet: &[u8]);
    fn filled(&mut self);
    fn event(&mut self, event: MediaEvent);
}

/// What `Configure` says of a side.
pub(crate) struct Configuration {
    pub(crate) side: Side,
    pub(crate) generation: Generation,
    pub(crate) signalling: IpAddr,
    pub(crate) streams: Vec<StreamSettings>,
    /// Our ports on this side are IPv4.
    pub(crate) v4: bool,
}

impl Session {
    /// `seed`: chooses the numbers of lines that we start ourselves; not to be guessed by others.
    pub(crate) fn new(media: MediaId, rules: Arc<SessionRules>, seed: u64) -> Self {
        let silence = rules.silence;
        let party = || Party {
            live: None,
            lost: false,
            transferred: false,
            silent: false,
            watch: Watch::new(silence),
            streams: Vec::new(),
            flowing: false,
            reported: false,
            unreachable: false,
            toned: [0; 2],
        };
        Self {
            media,
            rules,
            sides: [party(), party()],
            overhear: None,
            seed,
        }
    }

    /// Returns the live generation of each side.
    pub(crate) fn live(&self) -> [Option<Generation>; 2] {
        [self.sides[0].live, self.sides[1].live]
    }

    /// Makes room for a side's streams.
    pub(crate) fn open(&mut self, side: Side, streams: usize) {
        let seed = self.seed;
        let party = &mut self.sides[side.index()];
        let more = streams.saturating_sub(party.streams.len());
        // Nearly always one, and left at that.
        party.streams.reserve_exact(more);
        for index in party.streams.len()..streams {
            let salt = (index as u64) << 1 | side.index() as u64;
            party.streams.push(Stream::new(mix(seed ^ mix(salt))));
        }
    }

    /// Takes up lines of before a restart.
    pub(crate) fn resume(&mut self, side: Side, lines: &[LineState], now: Micros) {
        let unix_ms = self.unix_ms(now);
        for (stream, state) in self.sides[side.index()].streams.iter_mut().zip(lines) {
            let age_ms = unix_ms.saturating_sub(state.at_ms);
            stream.line.resume(state, age_ms, now);
        }
    }

    /// The side's streams are these now.
    pub(crate) fn configure(&mut self, told: Configuration, now: Micros) {
        let signalling = (self.rules.latch == LatchRule::Signalling).then_some(told.signalling);
        self.open(told.side, told.streams.len());
        self.overhear.take_if(|others| others.side == told.side);
        let unix_us = self.rules.epoch_us + now.0;
        let [caller, callee] = &mut self.sides;
        let (near, far) = match told.side {
            Side::Caller => (caller, callee),
            Side::Callee => (callee, caller),
        };
        let anew = near.live != Some(told.generation);
        if anew {
            near.watch.forget();
            (near.flowing, near.reported) = (false, false);
            near.unreachable = false;
        }
        near.live = Some(told.generation);
        near.lost = false;
        near.silent = false;
        let mut settings = told.streams.into_iter();
        for (index, stream) in near.streams.iter_mut().enumerate() {
            let new = settings.next();
            if anew {
                stream.refused = None;
            }
            if new.is_some() || anew {
                let [rtp, rtcp] = new.as_ref().map_or([None; 2], |new| [new.rtp, new.rtcp]);
                let sendable = |to: Option<SocketAddr>| {
                    to.filter(|to| is_sendable(*to, told.v4) && !is_own(*to, told.signalling))
                };
                let allowed = [rtp.map(|to| to.ip()), signalling];
                stream.rtp.signalled(sendable(rtp), allowed, anew, now);
                stream.rtcp.signalled(sendable(rtcp), anew, now);
            }
            match new {
                Some(mut new) => {
                    let keys = new.srtp.take();
                    stream.wishes = new.into();
                    if keys.is_some() {
                        stream.line.start_as_own(now);
                    }
                    stream.secure_with(keys, unix_us);
                }
                None => stream.wishes.active = false,
            }
            stream.away &= stream.wishes.active;
            if let Some(other) = far.streams.get_mut(index) {
                if anew {
                    // Both ways: what the new endpoint says, and what it was not there to hear.
                    other.line.cut();
                    stream.line.cut();
                }
                stream.map_with(other);
            }
        }
        let has = |voice: Voice| {
            let mut streams = near.streams.iter();
            streams.any(|stream| stream.wishes.active && stream.wishes.voice == voice)
        };
        match (has(Voice::Due), has(Voice::Perhaps)) {
            (true, _) => near.watch.expect(now),
            (false, true) => near.watch.expect_once_heard(now),
            (false, false) => near.watch.pause(),
        }
        self.refill(now);
    }

    /// The side's endpoint is lost.
    pub(crate) fn lose(&mut self, side: Side, now: Micros) {
        self.put_aside(side, false, now);
    }

    /// The side goes on to somebody else.
    pub(crate) fn transfer(&mut self, side: Side, now: Micros) {
        self.put_aside(side, true, now);
    }

    fn put_aside(&mut self, side: Side, transferred: bool, now: Micros) {
        let near = &mut self.sides[side.index()];
        near.lost = true;
        near.transferred = transferred;
        near.silent = false;
        (near.flowing, near.reported) = (false, false);
        near.unreachable = false;
        near.watch.forget();
        near.end_tones();
        for stream in &mut near.streams {
            stream.away = stream.wishes.active;
            stream.hushed = false;
            stream.key_frame = None;
        }
        for stream in &mut self.sides[side.other().index()].streams {
            stream.line.cut();
        }
        self.refill(now);
    }

    /// The side's live ports are gone.
    pub(crate) fn unplug(&mut self, side: Side, now: Micros) {
        self.sides[side.index()].live = None;
        self.sides[side.index()].watch.forget();
        self.sides[side.index()].end_tones();
        self.refill(now);
    }

    /// ICMP says that nobody takes what one of our ports on this side sent there. Returns true where
    /// that is news.
    pub(crate) fn refused(
        &mut self,
        side: Side,
        stream: usize,
        target: SocketAddr,
        now: Micros,
    ) -> bool {
        let near = &mut self.sides[side.index()];
        if near.lost || near.live.is_none() {
            return false;
        }
        let Some(stream) = near.streams.get_mut(stream) else {
            return false;
        };
        // Only the RTP target counts: many phones never open an RTCP port.
        if stream.rtp.target() != Some(target) {
            return false;
        }
        let again = |known: &Refused| match known.silent {
            true => REFUSED_AGAIN,
            false => REFUSED_IN_VAIN,
        };
        let known = stream
            .refused
            .as_deref()
            .is_some_and(|known| known.by == target && now.since(known.told) < again(known));
        if known {
            return false;
        }
        stream.refused = Some(Box::new(Refused {
            by: target,
            told: now,
            silent: true,
        }));
        near.unreachable = true;
        true
    }

    /// Does what is due, and says what is to be said.
    pub(crate) fn poll(&mut self, now: Micros, out: &mut impl Outbox) {
        let media = self.media;
        let mut fell_silent = false;
        for side in [Side::Caller, Side::Callee] {
            let near = &mut self.sides[side.index()];
            if std::mem::take(&mut near.flowing) {
                out.event(MediaEvent::Flowing { media, side });
            }
            if std::mem::take(&mut near.reported) {
                out.event(MediaEvent::Reported { media, side });
            }
            if near.watch.due(now) {
                out.event(MediaEvent::Silent { media, side });
                near.silent = true;
                fell_silent = true;
            }
            if std::mem::take(&mut near.unreachable) {
                out.event(MediaEvent::Unreachable { media, side });
            }
        }
        if let Some(others) = &mut self.overhear
            && let Some(number) = others.news()
        {
            let side = others.side;
            out.event(MediaEvent::Overheard {
                media,
                side,
                number,
            });
        }
        self.let_tones_go_alone(now);
        if fell_silent {
            // Who hears nothing hangs up by itself, and that may be sooner than the other side is known to be lost.
            self.refill(now);
        }
        for side in [Side::Caller, Side::Callee] {
            let near = &mut self.sides[side.index()];
            for (index, stream) in near.streams.iter_mut().enumerate() {
                let unix_us = self.rules.epoch_us + now.0;
                stream.ask_for_key_frame(side, index, unix_us, out);
                stream.fill(side, index, self.rules.epoch_us, now, out);
            }
        }
        self.attend_tones(now, out);
    }

    /// Returns when `poll` has something to do next.
    pub(crate) fn deadline(&self) -> Option<Micros> {
        let fillers = self
            .sides
            .iter()
            .flat_map(|party| &party.streams)
            .filter_map(|stream| stream.filler.as_deref().map(Filler::deadline));
        let watches = self.sides.iter().filter_map(|party| party.watch.deadline());
        fillers.chain(watches).chain(self.tone_deadline()).min()
    }

    /// Returns counters and lines; `port` tells our RTP port of a side and stream.
    pub(crate) fn report(&self, port: impl Fn(Side, usize) -> u16) -> SessionReport {
        let side = |side: Side| {
            let streams = &self.sides[side.index()].streams;
            let report = |(index, stream): (usize, &Stream)| StreamReport {
                received: stream.reception.received(),
                sent_packets: stream.line.packets(),
                sent_octets: stream.line.octets(),
                port: port(side, index),
                line: stream.line.state(|at| self.unix_ms(at)),
            };
            streams.iter().enumerate().map(report).collect()
        };
        SessionReport {
            sides: [side(Side::Caller), side(Side::Callee)],
        }
    }

    fn unix_ms(&self, at: Micros) -> u64 {
        (self.rules.epoch_us + at.0) / 1000
    }

    /// Starts and stops fillers so that they are where they should be.
    pub(crate) fn refill(&mut self, now: Micros) {
        let rule = &self.rules.filler;
        for side in [Side::Caller, Side::Callee] {
            let [caller, callee] = &mut self.sides;
            let (hears, speaks) = match side {
                Side::Caller => (caller, &*callee),
                Side::Callee => (callee, &*caller),
            };
            let reachable = hears.live.is_some() && !hears.lost;
            for (index, stream) in hears.streams.iter_mut().enumerate() {
                let from = speaks.streams.get(index);
                let away = from.is_some_and(|from| from.away);
                let mute = speaks.silent
                    && from.is_some_and(|from| {
                        from.wishes.voice != Voice::None && !from.hushed && !from.away
                    });
                let filled = !matches!(rule, Fill::Off) && (away || mute);
                let rings = stream.tone.as_ref().is_some_and(|tone| tone.alone);
                let wanted =
                    (filled || rings) && reachable && from.is_some_and(|from| stream.hears(from));
                let Some(format) = stream.fillable().filter(|_| wanted) else {
                    stream.filler = None;
                    continue;
                };
                let (ptime, line) = (stream.wishes.ptime, &stream.line);
                let filler = stream
                    .filler
                    .get_or_insert_with(|| Box::new(Filler::start(format, ptime, line, now)));
                // One that is only silent may be back at any moment.
                if let Some(sound) = rule.sound().filter(|_| away && !speaks.transferred) {
                    filler.says(sound);
                }
            }
        }
    }
}

impl Stream {
    /// Returns true where something of ours can be sent to it in the place of the other side's voice.
    pub(crate) fn hears(&self, from: &Self) -> bool {
        self.wishes.active
            && self.wishes.receives
            && self.wishes.inside == Inside::Rtp
            && self.rtp.target().is_some()
            && from.wishes.inside == Inside::Rtp
    }

    fn ask_for_key_frame(&mut self, side: Side, index: usize, unix_us: u64, out: &mut impl Outbox) {
        let Some(source) = self.key_frame.take() else {
            return;
        };
        if let Some((port, to)) = self.rtcp_target() {
            let mut packet = [0; 64];
            let length = rtcp::write_key_frame_request(&mut packet, self.line.own_ssrc(), source);
            self.send_control(&packet[..length], side, index, (port, to), unix_us, out);
        }
    }

    fn fill(
        &mut self,
        side: Side,
        index: usize,
        epoch_us: u64,
        now: Micros,
        out: &mut impl Outbox,
    ) {
        if self.filler.is_none() {
            return;
        }
        let Some(to) = self.rtp.target() else {
            self.filler = None;
            return;
        };
        let mut report_due = false;
        let mut packet = [0; filler::LONGEST + GROWTH];
        while let Some(filler) = &mut self.filler {
            let Some(room) = packet.first_chunk_mut() else {
                return;
            };
            let Some(length) = filler.poll(&mut self.line, room, now) else {
                report_due = filler.report_due(now);
                break;
            };
            if let Some(tone) = &mut self.tone {
                tone.write_over(filler.coding(), &mut packet[..length]);
            }
            if let Ok(length) = self.seal(false, &mut packet, length, epoch_us + now.0) {
                out.send(side, index, Port::Rtp, to, &packet[..length]);
                out.filled();
            }
        }
        if !report_due {
            return;
        }
        if let (Some(timestamp), Some((port, to))) =
            (self.line.timestamp_at(now), self.rtcp_target())
        {
            let report = OwnReport {
                ssrc: self.line.own_ssrc(),
                unix_us: epoch_us + now.0,
                timestamp,
                packets: self.line.packets() as u32,
                octets: self.line.octets() as u32,
            };
            let mut packet = [0; 64];
            let length = rtcp::write_sender_report(&mut packet, &report);
            self.send_control(
                &packet[..length],
                side,
                index,
                (port, to),
                report.unix_us,
                out,
            );
        }
    }

    /// Sends RTCP of our own.
    fn send_control(
        &mut self,
        packet: &[u8],
        side: Side,
        index: usize,
        (port, to): (Port, SocketAddr),
        unix_us: u64,
        out: &mut impl Outbox,
    ) {
        let mut room = [0; 64 + GROWTH];
        room[..packet.len()].copy_from_slice(packet);
        if let Ok(length) = self.seal(true, &mut room, packet.len(), unix_us) {
            out.send(side, index, port, to, &room[..length]);
        }
    }
}

/// Whether something can be sent there at all: not to a hold of old (`c=0.0.0.0`), a group, or the
/// other family.
fn is_sendable(to: SocketAddr, v4: bool) -> bool {
    let whole_network = to.ip() == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    to.port() != 0
        && to.is_ipv4() == v4
        && !to.ip().is_unspecified()
        && !to.ip().is_multicast()
        && !whole_network
}

/// Whether it is this machine's own, named by somebody on another one: a phone that takes itself for
/// offline, or one who wants to reach what listens here for this machine alone.
fn is_own(to: SocketAddr, signalling: IpAddr) -> bool {
    to.ip().is_loopback() && !signalling.is_loopback()
}

/// Spreads a seed's bits (splitmix64).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
