//! A media relay that relays nothing: it gives ports out, keeps account of them, and tells what a real
//! one would notice of the phones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use refork::engine::ids::Side;
use refork::engine::ports::{Generation, MediaCommand, MediaEvent, MediaId, StreamSettings, Voice};
use refork::engine::time::{Millis, Time};

const FIRST_PORT: u16 = 10_000;

/// What the relay sees of the phones.
pub(crate) trait Phones {
    /// Returns where the phone that wants its RTP at `rtp` sends its own to, where its packets arrive.
    /// `signalling` is the other address that they may come from.
    fn media_to(&self, rtp: SocketAddr, signalling: IpAddr) -> Option<SocketAddr>;
    /// Returns true where ICMP answers what is sent to `rtp`.
    fn refuses(&self, rtp: SocketAddr) -> bool;
}

pub(crate) struct Relay {
    address: IpAddr,
    /// None: it never says that media does not come.
    silence: Option<Millis>,
    sessions: BTreeMap<MediaId, [Half; 2]>,
    taken: BTreeSet<u16>,
    /// Mistakes of the engine in the use of the relay.
    pub(crate) misuse: Vec<String>,
}

#[derive(Default)]
struct Half {
    ports: BTreeMap<Generation, Vec<u16>>,
    live: Option<Live>,
}

struct Live {
    generation: Generation,
    signalling: IpAddr,
    streams: Vec<StreamSettings>,
    heard: Time,
    silent: bool,
    /// What need not have come has come.
    plays: bool,
    refused: bool,
    lost: bool,
}

impl Relay {
    pub(crate) fn new(address: IpAddr, silence: Option<Millis>) -> Self {
        Self {
            address,
            silence,
            sessions: BTreeMap::new(),
            taken: BTreeSet::new(),
            misuse: Vec::new(),
        }
    }

    /// It lives in the server's process, and dies with it.
    pub(crate) fn restart(&mut self) {
        self.sessions.clear();
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
            MediaCommand::Overhear { media, side, .. } => {
                if self
                    .half(media, side)
                    .is_none_or(|half| half.live.is_none())
                {
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
                    let live = half.live.as_ref().is_some_and(|live| !live.lost);
                    if live && half.ports.len() > 1 {
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
            let free = (FIRST_PORT..)
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
        half.live = Some(Live {
            generation,
            signalling,
            streams,
            heard: now,
            silent: false,
            plays: false,
            refused: false,
            lost: false,
        });
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
                let half = &mut halves[side.index()];
                let Some(live) = half.live.as_mut().filter(|live| !live.lost) else {
                    continue;
                };
                let ports = half.ports.get(&live.generation);
                let event = live.look(
                    ports.map_or(&[][..], Vec::as_slice),
                    other_sends,
                    phones,
                    self.silence,
                    now,
                );
                events.extend(event.map(|notice| notice.of(*media, side)));
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

#[cfg(test)]
mod tests {
    use refork::engine::ids::ConversationId;
    use refork::engine::ports::Claim;

    use super::*;

    #[test]
    fn ports_beside_those_in_use_are_told_at_the_end() {
        for (given_back, told) in [(true, 0), (false, 1)] {
            let address = IpAddr::from([10, 0, 0, 1]);
            let mut relay = Relay::new(address, None);
            let (media, side) = (ConversationId(1), Side::Caller);
            let mut does = |command| relay.handle(command, Time(0));
            for generation in [0, 1] {
                does(MediaCommand::Open {
                    media,
                    side,
                    generation,
                    streams: 1,
                    claim: Claim::Known,
                    toward: address,
                    told: None,
                    again: Vec::new(),
                });
            }
            does(MediaCommand::Configure {
                media,
                side,
                generation: 0,
                signalling: address,
                streams: Vec::new(),
            });
            if given_back {
                does(MediaCommand::CloseSide {
                    media,
                    side,
                    generation: 1,
                });
            }
            does(MediaCommand::Close { media });
            assert_eq!(relay.misuse.len(), told, "{:?}", relay.misuse);
        }
    }
}
