//! What becomes of a packet.

use std::net::SocketAddr;

use crate::engine::ids::Side;
use crate::engine::ports::Inside;
use crate::media::clock::Micros;
use crate::media::counters::{Dropped, Tally};
use crate::media::latch::Verdict;
use crate::media::overhear::Overhear;
use crate::media::payload::{Coding, Mapped, PayloadMap};
use crate::media::rtcp::{self, Passage};
use crate::media::rtp::{self, Header};
use crate::media::session::{Party, Session};
use crate::media::shape;
use crate::media::stream::{Port, Stream};
use crate::media::watch::Heard;

/// Where a packet came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// The side by whose live ports it came.
    pub(crate) side: Side,
    pub(crate) stream: usize,
    pub(crate) port: Port,
    pub(crate) source: SocketAddr,
}

/// Where it goes: to the other side's stream of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forward {
    /// Of our ports on the other side, the one to send from.
    pub(crate) port: Port,
    pub(crate) to: SocketAddr,
    /// Octets of the packet, which was rewritten in place.
    pub(crate) length: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passed {
    pub(crate) forward: Option<Forward>,
    /// `Session::poll` has something to do now.
    pub(crate) attention: bool,
}

impl Session {
    /// Takes the packet in the first `length` octets of `room`, rewrites it in place, and says where it
    /// goes. SRTP wants `GROWTH` octets behind it.
    pub(crate) fn packet(
        &mut self,
        arrival: &Arrival,
        room: &mut [u8],
        length: usize,
        now: Micros,
        tally: &mut Tally,
    ) -> Passed {
        let [caller, callee] = &mut self.sides;
        let (near, far) = match arrival.side {
            Side::Caller => (caller, callee),
            Side::Callee => (callee, caller),
        };
        let packet = &mut room[..length];
        let rings =
            |others: &&mut Box<Overhear>| others.side == arrival.side && arrival.port == Port::Rtp;
        let mut others = self.overhear.as_mut().filter(rings);
        let (stream, source) = (arrival.stream, arrival.source);
        let from_another = others
            .as_mut()
            .is_some_and(|others| others.has(near, stream, (source, packet), now));
        let passed = match from_another {
            true => Err(Dropped::Stranger),
            false => pass(near, far, arrival, packet, now, tally),
        };
        if let Some(others) = others.filter(|_| !from_another)
            && let Err(Dropped::Stranger | Dropped::Forged) = passed
            && !near.is_locked_to(stream, source)
        {
            others.may_have(near, stream, (source, packet), self.rules.latch, now);
        }
        let overheard = self
            .overhear
            .as_ref()
            .is_some_and(|others| others.has_news());
        let unix_us = self.rules.epoch_us + now.0;
        let sealed = passed.and_then(|forward| seal(far, arrival, forward, room, unix_us));
        let forward = match sealed {
            Ok(forward) => Some(forward),
            Err(why) => {
                tally.drop_one(why);
                None
            }
        };
        let asks = near
            .streams
            .get(arrival.stream)
            .is_some_and(|stream| stream.key_frame.is_some());
        let rang = far
            .streams
            .get(arrival.stream)
            .and_then(|stream| stream.tone.as_ref())
            .is_some_and(|tone| tone.is_over());
        Passed {
            forward,
            attention: near.flowing || near.reported || asks || rang || overheard,
        }
    }
}

impl Party {
    fn is_locked_to(&self, stream: usize, source: SocketAddr) -> bool {
        let stream = self.streams.get(stream);
        stream.is_some_and(|stream| stream.rtp.is_locked_to(source))
    }
}

fn pass(
    near: &mut Party,
    far: &mut Party,
    arrival: &Arrival,
    packet: &mut [u8],
    now: Micros,
    tally: &mut Tally,
) -> Result<Forward, Dropped> {
    let known = near.live.is_some() && !near.lost;
    let stream = near
        .streams
        .get_mut(arrival.stream)
        .filter(|stream| known && stream.wishes.active)
        .ok_or(Dropped::NoTarget)?;
    let there = far.live.is_some() && !far.lost;
    let other = far
        .streams
        .get_mut(arrival.stream)
        .filter(|stream| there && stream.wishes.active);

    // While one side has agreed to something else already, what comes is none of it.
    let either = |inside: Inside| {
        let other = other.as_ref().map(|other| other.wishes.inside);
        stream.wishes.inside == inside || other == Some(inside)
    };
    let fax = either(Inside::Fax);
    let opaque = fax || either(Inside::Sealed);
    let control = arrival.port == Port::Rtcp || !fax && rtp::is_rtcp(packet);
    // Before anything is believed: what is forged neither latches nor counts as life.
    let length = stream.unseal(control, packet)?;
    let packet = &mut packet[..length];
    let header = match (opaque, control) {
        (true, _) if fax && shape::is_udptl(packet) => None,
        (true, _) if !fax && shape::is_sealed(packet) => None,
        (true, _) => return Err(Dropped::Malformed),
        (false, true) if rtcp::is_valid(packet) => None,
        (false, true) => return Err(Dropped::Malformed),
        (false, false) => Some(rtp::parse(packet).ok_or(Dropped::Malformed)?),
    };
    let verdict = match (arrival.port, &header) {
        (Port::Rtcp, _) => stream.rtcp.judge(arrival.source, &stream.rtp, now),
        (Port::Rtp, Some(header)) => stream.rtp.judge(arrival.source, Some(header.ssrc), now),
        (Port::Rtp, None) if opaque => {
            let ssrc = (!fax).then(|| rtp::ssrc(packet)).flatten();
            stream.rtp.judge_opaque(arrival.source, ssrc, now)
        }
        (Port::Rtp, None) => stream.rtp.judge(arrival.source, None, now),
    };
    match verdict {
        Verdict::Ours => {}
        Verdict::Moved => {
            tally.relatches += 1;
            stream.rtcp.release();
        }
        Verdict::Stranger => return Err(Dropped::Stranger),
    }
    let heard = near.watch.heard(!control, now);
    near.flowing |= heard == Heard::Flowing;
    near.reported |= heard == Heard::Reports;
    near.silent &= header.is_none();
    let forwarded = match header {
        Some(header) => forward_rtp(stream, other, packet, header, now, tally),
        None if fax => forward_fax(stream, other, packet),
        None if opaque => forward_opaque(stream, other, packet, control, now),
        None => forward_rtcp(stream, other, packet),
    };
    // Who is heard by one stream has refused another, and not the call.
    if !control && near.watch.listens() {
        for stream in &mut near.streams {
            near.flowing |= stream.outlives_refusal(now);
        }
    }
    forwarded
}

/// Encrypts what goes to a side that speaks SRTP.
fn seal(
    far: &mut Party,
    arrival: &Arrival,
    forward: Forward,
    room: &mut [u8],
    unix_us: u64,
) -> Result<Forward, Dropped> {
    let Some(other) = far.streams.get_mut(arrival.stream) else {
        return Ok(forward);
    };
    let control = rtp::is_rtcp(room);
    let length = other.seal(control, room, forward.length, unix_us)?;
    Ok(Forward { length, ..forward })
}

fn forward_rtp(
    stream: &mut Stream,
    other: Option<&mut Stream>,
    packet: &mut [u8],
    mut header: Header,
    now: Micros,
    tally: &mut Tally,
) -> Result<Forward, Dropped> {
    let mapped = stream.format(header.number);
    stream
        .reception
        .note(&header, mapped.clock, mapped.coding.is_timed(), now);
    let other = other.ok_or(Dropped::NoTarget)?;
    let to = other.rtp.target().filter(|_| other.wishes.receives);
    let Some(to) = to else {
        // What is not sent leaves no hole: the line goes on by a seam.
        other.line.cut();
        return Err(Dropped::NoTarget);
    };
    let number = mapped.to.ok_or(Dropped::Format)?;
    let place = other
        .line
        .place(&header, mapped.clock, now)
        .ok_or(Dropped::Malformed)?;
    stream.away = false;
    stream.hushed = mapped.coding == Coding::Noise;
    other.filler = None;
    if mapped.coding.speaks() {
        other.spoken = Some((number, mapped.coding));
    }
    if place.seam {
        tally.seams += 1;
        if stream.wishes.video {
            stream.key_frame = Some(header.ssrc);
        } else {
            // RFC 3551 4.1: a talkspurt begins. In video the marker ends a frame, and stays.
            header.marker = true;
        }
    }
    header.number = number;
    header.sequence = place.sequence;
    header.timestamp = place.timestamp;
    header.ssrc = place.ssrc;
    rtp::write(packet, &header);
    if let Some(tone) = &mut other.tone {
        tone.is_carried(&mapped, packet);
    }
    Ok(Forward {
        port: Port::Rtp,
        to,
        length: packet.len(),
    })
}

fn forward_rtcp(
    stream: &Stream,
    other: Option<&mut Stream>,
    packet: &mut [u8],
) -> Result<Forward, Dropped> {
    let line = other.as_ref().map(|other| &other.line);
    let passage = Passage {
        speaks: line.and_then(|line| line.shift()),
        line: line.and_then(|line| line.ssrc()),
        packets: line.map_or(0, |line| line.packets() as u32),
        octets: line.map_or(0, |line| line.octets() as u32),
        hears: stream.line.shift(),
    };
    let rewritten = rtcp::rewrite(packet, &passage).map_err(|_| Dropped::Malformed)?;
    let other = other.ok_or(Dropped::NoTarget)?;
    let (port, to) = other.rtcp_target().ok_or(Dropped::NoTarget)?;
    if rewritten.length == 0 {
        return Err(Dropped::NoTarget);
    }
    if rewritten.sender_report {
        other.line.set_reported();
    }
    Ok(Forward {
        port,
        to,
        length: rewritten.length,
    })
}

fn forward_opaque(
    stream: &mut Stream,
    other: Option<&mut Stream>,
    packet: &[u8],
    control: bool,
    now: Micros,
) -> Result<Forward, Dropped> {
    let header = (!control).then(|| rtp::parse(packet)).flatten();
    let header = header.map(|header| (header, stream.format(header.number)));
    if let Some((header, mapped)) = &header {
        let timed = mapped.coding.is_timed();
        stream.reception.note(header, mapped.clock, timed, now);
    }
    let other = other.ok_or(Dropped::NoTarget)?;
    let (port, to) = if control {
        other.rtcp_target()
    } else {
        other.rtp.target().map(|to| (Port::Rtp, to))
    }
    .ok_or(Dropped::NoTarget)?;
    stream.away = false;
    if let Some((header, mapped)) = &header {
        other.line.passes(header, mapped.clock, now);
    }
    Ok(Forward {
        port,
        to,
        length: packet.len(),
    })
}

fn forward_fax(
    stream: &mut Stream,
    other: Option<&mut Stream>,
    packet: &[u8],
) -> Result<Forward, Dropped> {
    stream.reception.count(packet.len());
    let to = other.and_then(|other| other.rtp.target());
    stream.away = false;
    Ok(Forward {
        port: Port::Rtp,
        to: to.ok_or(Dropped::NoTarget)?,
        length: packet.len(),
    })
}

impl Stream {
    /// Pairs the formats of the two sides.
    pub(crate) fn map_with(&mut self, other: &mut Self) {
        self.map = PayloadMap::between(&self.wishes.sends(), &other.wishes.takes());
        other.map = PayloadMap::between(&other.wishes.sends(), &self.wishes.takes());
    }

    fn format(&self, number: u8) -> Mapped {
        let clock = if self.wishes.video { 90_000 } else { 8000 };
        self.map.get(number, clock)
    }
}

#[cfg(test)]
#[path = "tests/forward.rs"]
mod tests;
