//! A media relay that relays nothing: it gives ports out, keeps account of them, and tells what a real
//! one would notice of the phones.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use refork::engine::ids::Side;
use refork::engine::ports::{
    Generation, MediaCommand, MediaEvent, MediaId, Other, StreamSettings, Voice,
};
use refork::engine::time::{Millis, Time};

const FIRST_PORT: u16 = 10_000;

/// What the relay sees of the phones.
pub(crate) trait Phones {
    /// Returns where the phone that wants its RTP at `rtp` sends its own to, where its packets arrive.
    /// `signalling` is the other address that they may come from.
    fn media_to(&self, rtp: SocketAddr, signalling: IpAddr) -> Option<SocketAddr>;
    /// Returns true where ICMP answers what is sent to `rtp`.
    fn refuses(&self, rtp: SocketAddr) -> bool;
    /// Returns true where somebody rings and plays something to that port.
    fn plays_early_to(&self, port: u16) -> bool;
    /// Returns true where somebody calls, and waits for what comes from that port before the answer.
    fn listens_early_to(&self, port: u16) -> bool;
}

pub(crate) struct Relay {
    address: IpAddr,
    /// None: it never says that media does not come.
    silence: Option<Millis>,
    /// What one that rings plays may be heard in another's place: the caller knows of one address, and of a session for
    /// each.
    one_voice: bool,
    sessions: BTreeMap<MediaId, [Half; 2]>,
    taken: BTreeSet<u16>,
    /// What was taken by one that has died may be in use at phones yet: the next one begins above.
    first: u16,
    /// So often another one that rings was told of.
    pub(crate) overheard: usize,
    /// Mistakes of the engine in the use of the relay.
    pub(crate) misuse: Vec<String>,
}

#[derive(Default)]
struct Half {
    ports: BTreeMap<Generation, Vec<u16>>,
    live: Option<Live>,
    others: Vec<Other>,
    /// One of those was told of.
    overheard: bool,
    /// Nobody has answered yet: those that ring keep their ports until somebody does.
    rings: bool,
    /// Since when somebody who rings plays, and the caller hears none of it.
    unheard: Option<Time>,
}

/// Who is heard may pause for so long.
const PAUSE: Millis = Millis(1000);
/// By then a caller has heard of early media, and has been seen to wait for it.
const LISTENS_BY: Millis = Millis(2000);
/// By then whoever plays is heard.
const HEARD_BY: Millis = Millis(5000);

struct Live {
    since: Time,
    generation: Generation,
    signalling: IpAddr,
    streams: Vec<StreamSettings>,
    heard: Time,
    /// When something came, whether it had to or not.
    flowed: Time,
    silent: bool,
    /// What need not have come has come.
    plays: bool,
    refused: bool,
    lost: bool,
}

impl Relay {
    pub(crate) fn new(address: IpAddr, silence: Option<Millis>, one_voice: bool) -> Self {
        Self {
            address,
            silence,
            one_voice,
            sessions: BTreeMap::new(),
            taken: BTreeSet::new(),
            first: FIRST_PORT,
            overheard: 0,
            misuse: Vec::new(),
        }
    }

    /// It lives in the server's process, and dies with it.
    pub(crate) fn restart(&mut self) {
        self.sessions.clear();
        let last = self.taken.last().copied();
        self.first = last.map_or(self.first, |last| self.first.max(last + 2));
        self.taken.clear();
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn ports(&self) -> usize {
        self.taken.len()
    }

    pub(crate) fn handle(&mut self, command: MediaCommand, now: Time) -> Option<MediaEvent> {
        match command {
            MediaCommand::Open {
                media,
                side,
                generation,
                streams,
                claim: _,
                toward: _,
                told,
                again,
            } => {
                let address = told.unwrap_or(self.address);
                Some(self.open(media, side, generation, (address, streams), &again))
            }
            MediaCommand::Configure {
                media,
                side,
                generation,
                signalling,
                streams,
            } => {
                self.configure(media, side, generation, signalling, streams, now);
                None
            }
            MediaCommand::Lost { media, side, .. } => {
                if let Some(live) = self.half(media, side).and_then(|half| half.live.as_mut()) {
                    live.lost = true;
                } else {
                    self.misuse
                        .push(format!("{media} {side:?} lost, but not configured"));
                }
                None
            }
            MediaCommand::Overhear {
                media,
                side,
                others,
            } => {
                let half = self.half(media, side);
                if let Some(half) = half.filter(|half| half.live.is_some()) {
                    (half.others, half.overheard) = (others, false);
                } else {
                    self.misuse
                        .push(format!("{media} {side:?} overheard, but not configured"));
                }
                None
            }
            MediaCommand::Tone { media, side } => Some(MediaEvent::Toned {
                media,
                side,
                whole: true,
            }),
            MediaCommand::CloseStreams {
                media,
                side,
                generation,
                streams,
            } => {
                self.close_streams(media, side, generation, &streams);
                None
            }
            MediaCommand::CloseSide {
                media,
                side,
                generation,
            } => {
                self.close_side(media, side, generation);
                None
            }
            MediaCommand::Close { media } => {
                for half in self.sessions.remove(&media).into_iter().flatten() {
                    let live = half.live.as_ref().filter(|live| !live.lost);
                    // Who calls may not have heard yet that it is to listen.
                    let live = live.is_some_and(|live| now.since(live.since) > LISTENS_BY);
                    if live && half.ports.len() > 1 && !half.rings {
                        self.misuse
                            .push(format!("{media} closed with ports that nobody uses"));
                    }
                    for port in half.ports.into_values().flatten() {
                        self.taken.remove(&port);
                    }
                }
                None
            }
        }
    }

    fn half(&mut self, media: MediaId, side: Side) -> Option<&mut Half> {
        Some(&mut self.sessions.get_mut(&media)?[side.index()])
    }

    fn open(
        &mut self,
        media: MediaId,
        side: Side,
        generation: Generation,
        (address, streams): (IpAddr, usize),
        again: &[u16],
    ) -> MediaEvent {
        let halves = self.sessions.entry(media).or_default();
        let known = &halves[side.index()].ports;
        if let Some((newest, _)) = known.last_key_value()
            && *newest > generation
        {
            self.misuse.push(format!(
                "{media} {side:?} generation {generation} opened after {newest}"
            ));
        }
        let mut ports = known.get(&generation).cloned().unwrap_or_default();
        for stream in 0..streams {
            if ports.get(stream).is_some_and(|port| *port != 0) {
                continue;
            }
            if again.get(stream) == Some(&0) {
                ports.push(0);
                continue;
            }
            let wished = again
                .get(stream)
                .copied()
                .filter(|port| !self.taken.contains(port));
            let free = (self.first..)
                .step_by(2)
                .find(|port| !self.taken.contains(port));
            let port = wished.or(free).expect("ports never run out here");
            self.taken.insert(port);
            match ports.get_mut(stream) {
                Some(closed) => *closed = port,
                None => ports.push(port),
            }
        }
        let result = ports
            .iter()
            .map(|port| SocketAddr::new(address, *port))
            .collect();
        if let Some(half) = self.half(media, side) {
            half.ports.insert(generation, ports);
        }
        MediaEvent::Opened {
            media,
            side,
            generation,
            result: Some(result),
        }
    }

    fn configure(
        &mut self,
        media: MediaId,
        side: Side,
        generation: Generation,
        signalling: IpAddr,
        streams: Vec<StreamSettings>,
        now: Time,
    ) {
        let Some(half) = self
            .half(media, side)
            .filter(|half| half.ports.contains_key(&generation))
        else {
            self.misuse.push(format!(
                "{media} {side:?} generation {generation} configured, but not open"
            ));
            return;
        };
        let since = half.live.as_ref().map_or(now, |live| live.since);
        half.live = Some(Live {
            since,
            generation,
            signalling,
            streams,
            heard: now,
            flowed: now,
            silent: false,
            plays: false,
            refused: false,
            lost: false,
        });
        (half.others, half.overheard) = (Vec::new(), false);
        let younger = half.ports.split_off(&generation);
        let older = std::mem::replace(&mut half.ports, younger);
        for port in older.into_values().flatten() {
            self.taken.remove(&port);
        }
    }

    fn close_streams(
        &mut self,
        media: MediaId,
        side: Side,
        generation: Generation,
        streams: &[usize],
    ) {
        let ports = self
            .half(media, side)
            .and_then(|half| half.ports.get_mut(&generation));
        let mut closed = Vec::new();
        for stream in streams {
            let port = ports.as_deref().and_then(|ports| ports.get(*stream));
            closed.push(port.copied().unwrap_or_default());
        }
        if let Some(ports) = ports {
            streams.iter().for_each(|stream| ports[*stream] = 0);
        }
        for port in closed {
            if !self.taken.remove(&port) {
                self.misuse.push(format!(
                    "{media} {side:?} generation {generation}: a stream closed that is not open"
                ));
            }
        }
    }

    fn close_side(&mut self, media: MediaId, side: Side, generation: Generation) {
        let Some(half) = self.half(media, side) else {
            return;
        };
        let ports = half.ports.remove(&generation).unwrap_or_default();
        if half
            .live
            .as_ref()
            .is_some_and(|live| live.generation == generation)
        {
            half.live = None;
        }
        for port in ports {
            self.taken.remove(&port);
        }
    }

    /// Looks at every stream, as often as it is called.
    pub(crate) fn watch(&mut self, phones: &impl Phones, now: Time) -> Vec<MediaEvent> {
        let mut events = Vec::new();
        for (media, halves) in &mut self.sessions {
            for side in [Side::Caller, Side::Callee] {
                let other_sends = halves[side.other().index()]
                    .live
                    .as_ref()
                    .is_some_and(|live| {
                        !live.lost && live.streams.iter().any(|stream| stream.voice == Voice::Due)
                    });
                let listens = halves[side.other().index()].is_listened_to_early(phones);
                let half = &mut halves[side.index()];
                half.rings = half.ports.len() > 1 && (half.rings || listens);
                let callee = self.one_voice && side == Side::Callee;
                if callee && half.is_overdue(listens, phones, now) {
                    let what = "somebody who rings plays, and the caller hears nobody";
                    self.misuse.push(format!("{media} {side:?}: {what}"));
                }
                let Some(live) = half.live.as_mut().filter(|live| !live.lost) else {
                    continue;
                };
                let ports = half.ports.get(&live.generation);
                let ports = ports.map_or(&[][..], Vec::as_slice);
                let event = live.look(ports, other_sends, phones, self.silence, now);
                events.extend(event.map(|notice| notice.of(*media, side)));
                let silent = now.since(live.flowed) >= PAUSE && !half.overheard;
                let other = silent.then(|| overheard(&half.others, ports, phones));
                if let Some(number) = other.flatten() {
                    half.overheard = true;
                    self.overheard += 1;
                    let (media, side) = (*media, side);
                    events.push(MediaEvent::Overheard {
                        media,
                        side,
                        number,
                    });
                }
            }
        }
        events
    }
}

#[derive(Clone, Copy)]
enum Notice {
    Silent,
    Flowing,
    Unreachable,
}

impl Notice {
    fn of(self, media: MediaId, side: Side) -> MediaEvent {
        match self {
            Self::Silent => MediaEvent::Silent { media, side },
            Self::Flowing => MediaEvent::Flowing { media, side },
            Self::Unreachable => MediaEvent::Unreachable { media, side },
        }
    }
}

/// Returns the first of the others that sends.
fn overheard(others: &[Other], ports: &[u16], phones: &impl Phones) -> Option<u32> {
    let sends = |other: &&Other| {
        let mut places = other.rtp.iter().flatten();
        places.any(|rtp| {
            let to = phones.media_to(*rtp, other.signalling);
            to.is_some_and(|to| ports.contains(&to.port()))
        })
    };
    others.iter().find(sends).map(|other| other.number)
}

impl Half {
    fn all_ports(&self) -> impl Iterator<Item = u16> {
        let ports = self.ports.values().flatten().copied();
        ports.filter(|port| *port != 0)
    }

    fn is_listened_to_early(&self, phones: &impl Phones) -> bool {
        self.all_ports().any(|port| phones.listens_early_to(port))
    }

    /// Returns true, once, where somebody plays for whom the caller waits, and for too long nobody has been heard.
    fn is_overdue(&mut self, listens: bool, phones: &impl Phones, now: Time) -> bool {
        let plays = listens && self.all_ports().any(|port| phones.plays_early_to(port));
        let flowed = self.live.as_ref().map(|live| live.flowed);
        if !plays {
            self.unheard = None;
            return false;
        }
        let since = *self.unheard.get_or_insert(now);
        let since = flowed.map_or(since, |flowed| flowed.max(since));
        let overdue = now.since(since) >= HEARD_BY;
        if overdue {
            self.unheard = Some(Time(u64::MAX / 2));
        }
        overdue
    }
}

impl Live {
    fn look(
        &mut self,
        ports: &[u16],
        other_sends: bool,
        phones: &impl Phones,
        silence: Option<Millis>,
        now: Time,
    ) -> Option<Notice> {
        let active = |stream: &&StreamSettings| stream.active;
        let places = || {
            self.streams
                .iter()
                .filter(active)
                .filter_map(|stream| stream.rtp)
        };
        let flows = places().any(|rtp| {
            phones
                .media_to(rtp, self.signalling)
                .is_some_and(|to| ports.contains(&to.port()))
        });
        if flows {
            self.flowed = now;
        }
        let refused = other_sends && places().any(|rtp| phones.refuses(rtp));
        let expected = self
            .streams
            .iter()
            .filter(|stream| stream.active && stream.rtp.is_some())
            .any(|stream| match stream.voice {
                Voice::None => false,
                Voice::Perhaps => self.plays,
                Voice::Due => true,
            });
        if refused && !self.refused {
            self.refused = true;
            return Some(Notice::Unreachable);
        }
        let may_play = self
            .streams
            .iter()
            .any(|stream| stream.voice == Voice::Perhaps);
        if flows && !expected && may_play {
            (self.plays, self.heard) = (true, now);
            return Some(Notice::Flowing);
        }
        if flows || !expected {
            self.heard = now;
            return std::mem::take(&mut self.silent).then_some(Notice::Flowing);
        }
        if silence.is_some_and(|silence| now.since(self.heard) >= silence) && !self.silent {
            self.silent = true;
            return Some(Notice::Silent);
        }
        None
    }
}
