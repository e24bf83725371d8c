//! One stream connection: bytes in and out, no decisions.

use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;

use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};

use super::fault::{Fault, Shake};
use super::layer::Layer;
use super::outbox::Outbox;
use super::proxied::{self, Named, NoHeader};
use super::registry::Origin;
use super::speech::Speech;

/// Read from one connection before others have their turn.
const READ_PER_TURN: usize = 64 * 1024;

/// What a connection has to say after a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All that was there is read.
    Drained,
    /// More may be there.
    More,
    /// Nothing can come any more.
    Over(Fault),
}

/// What is known of who the peer is.
pub(super) enum Who {
    /// All: it is the peer of the socket, or whom a proxy has named.
    Known,
    /// A proxy has yet to say it, ahead of all else; what has come of that.
    Header(Vec<u8>),
    /// The request for a WebSocket will say it.
    Request,
}

pub(super) struct Connection {
    pub(super) flow: Flow,
    /// Where the socket's peer is, whoever that speaks for.
    pub(super) accepted_from: SocketAddr,
    /// The address whose place among those of its source is taken.
    pub(super) client: Option<IpAddr>,
    who: Who,
    /// Whom a proxy has named, not told yet.
    named: Option<SocketAddr>,
    pub(super) origin: Origin,
    stream: mio::net::TcpStream,
    layer: Layer,
    speech: Speech,
    outbox: Outbox,
    /// Keep-alives that came, and are not told yet.
    pings: usize,
    oversized: usize,
    /// Not connected yet: what is sent waits.
    opening: bool,
    /// When the handshake began, until all of it is done.
    shaking: Option<Time>,
    /// When anything last came or went, or the connection began.
    active: Time,
    /// When the last whole message came or went, or the connection began: keep-alives are not counted.
    worded: Time,
    /// When the message under way began.
    midway: Option<Time>,
    /// When a peer that came to us began to say nothing, until a message was said to it or by it: its handshake
    /// is no message, but its time begins anew with the end of that.
    silent: Option<Time>,
    /// Since when what has come is not read.
    paused: Option<Time>,
}

impl Connection {
    pub(super) fn new(
        flow: Flow,
        origin: Origin,
        stream: mio::net::TcpStream,
        layer: Layer,
        speech: Speech,
        who: Who,
        now: Time,
    ) -> Self {
        let is_known = matches!(who, Who::Known);
        let shaking = !is_known || layer.is_shaking() || !speech.is_open();
        Self {
            flow,
            accepted_from: flow.peer,
            client: None,
            who,
            named: None,
            origin,
            stream,
            layer,
            speech,
            outbox: Outbox::default(),
            pings: 0,
            oversized: 0,
            opening: origin == Origin::Opened,
            shaking: shaking.then_some(now),
            active: now,
            worded: now,
            midway: None,
            silent: (origin == Origin::Accepted).then_some(now),
            paused: None,
        }
    }

    pub(super) fn source(&mut self) -> &mut mio::net::TcpStream {
        &mut self.stream
    }

    /// Returns why its TLS came to nothing.
    pub(super) fn failure(&self) -> Option<Box<str>> {
        self.layer.failure()
    }

    pub(super) fn is_opening(&self) -> bool {
        self.opening
    }

    /// Returns who the client is, once, where a proxy has said it.
    pub(super) fn take_named(&mut self) -> Option<SocketAddr> {
        self.named.take()
    }

    /// Returns how many messages were too large since it was asked last, where any was.
    pub(super) fn take_oversized(&mut self) -> Option<usize> {
        Some(std::mem::take(&mut self.oversized)).filter(|count| *count > 0)
    }

    /// Returns how many keep-alives have come since it was asked last, where any has.
    pub(super) fn take_pings(&mut self) -> Option<usize> {
        Some(std::mem::take(&mut self.pings)).filter(|count| *count > 0)
    }

    pub(super) fn is_shaking(&self) -> bool {
        self.shaking.is_some()
    }

    /// Returns the certificate that the peer has proved to hold.
    pub(super) fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.layer.certificate()
    }

    pub(super) fn idle_for(&self, now: Time) -> Millis {
        now.since(self.active)
    }

    /// Returns for how long nothing but keep-alives has come or gone.
    pub(super) fn wordless_for(&self, now: Time) -> Millis {
        now.since(self.worded)
    }

    /// Returns how long the handshake has taken so far.
    pub(super) fn shaking_for(&self, now: Time) -> Millis {
        self.shaking.map_or(Millis(0), |begun| now.since(begun))
    }

    /// Returns how long the message under way has taken so far.
    pub(super) fn midway_for(&self, now: Time) -> Millis {
        self.midway.map_or(Millis(0), |begun| now.since(begun))
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// The peer's time stands still until it is read again.
    pub(super) fn pause(&mut self, now: Time) {
        self.paused.get_or_insert(now);
    }

    fn resume(&mut self, now: Time) {
        let Some(since) = self.paused.take() else {
            return;
        };
        let away = now.since(since);
        for begun in [&mut self.shaking, &mut self.midway, &mut self.silent] {
            *begun = begun.map(|begun| begun + away);
        }
    }

    /// Returns true where the peer came, and no message was said to it or by it.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// Returns how long the peer has said nothing at all since it came, or since its handshake.
    pub(super) fn silent_for(&self, now: Time) -> Millis {
        self.silent.map_or(Millis(0), |begun| now.since(begun))
    }

    /// Reads up to a turn's worth; whole messages are appended to `messages`, pings are answered.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        now: Time,
        messages: &mut Vec<Bytes>,
    ) -> Reading {
        self.resume(now);
        let mut taken = 0;
        while taken < READ_PER_TURN {
            match self.stream.read(room) {
                Ok(0) => return Reading::Over(self.as_seen(Fault::Ended)),
                Ok(len) => {
                    taken += len;
                    self.active = now;
                    let outcome = self.take(&room[..len], now, messages);
                    if let Err(fault) = outcome.and_then(|()| self.flush(now)) {
                        // What says why may still go out.
                        let _ = self.flush(now);
                        return Reading::Over(self.as_seen(fault));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Reading::Over(self.as_seen(Fault::Ended)),
            }
        }
        Reading::More
    }

    fn take(&mut self, wire: &[u8], now: Time, messages: &mut Vec<Bytes>) -> Result<(), Fault> {
        let Who::Header(begun) = &mut self.who else {
            return self.hear(wire, now, messages);
        };
        begun.extend_from_slice(wire);
        let header = proxied::header(begun).map_err(|NoHeader| Fault::Shake(Shake::Proxy))?;
        let Some((named, len)) = header else {
            return Ok(());
        };
        let rest = begun.split_off(len);
        self.is_named(match named {
            Named::Client(client) => client,
            Named::Proxy => self.flow.peer,
        });
        self.hear(&rest, now, messages)
    }

    fn is_named(&mut self, client: SocketAddr) {
        (self.who, self.named, self.flow.peer) = (Who::Known, Some(client), client);
    }

    /// Returns false while a proxy has yet to say who the client is: until then the flow is nobody's.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.who, Who::Known)
    }

    fn hear(&mut self, wire: &[u8], now: Time, messages: &mut Vec<Bytes>) -> Result<(), Fault> {
        let (speech, midway, silent) = (&mut self.speech, &mut self.midway, &mut self.silent);
        let (mut reply, pings, worded) = (Vec::new(), &mut self.pings, &mut self.worded);
        let (oversized, peer) = (&mut self.oversized, self.flow.peer);
        let taken = self.layer.take(wire, &mut self.outbox, |said| {
            let before = messages.len();
            let progress = speech.take(said, peer, messages, &mut reply)?;
            *pings += progress.pings;
            *oversized += progress.oversized;
            // Anybody can keep a connection alive who has no use for it.
            if messages.len() > before {
                (*silent, *worded) = (None, now);
            }
            if !progress.midway {
                *midway = None;
            } else if progress.any || midway.is_none() {
                *midway = Some(now);
            }
            Ok(())
        });
        // Ahead of all that can go wrong: what does is the client's doing.
        if matches!(self.who, Who::Request)
            && let Some(ip) = self.speech.client()
        {
            // Of the port nothing is said; that of the proxy tells one connection of a client from another.
            self.is_named(SocketAddr::new(ip, self.flow.peer.port()));
        }
        if !reply.is_empty() {
            self.layer.say(reply.into(), &mut self.outbox)?;
        }
        if let Err(Fault::Frame(error)) = taken
            && let Some(answer) = self.speech.refusal(error, self.flow.peer)
        {
            self.layer.say(answer, &mut self.outbox)?;
        }
        taken?;
        self.layer.pump(&mut self.outbox)?;
        if self.shaking.is_some() && !self.layer.is_shaking() && self.speech.is_open() {
            self.shaking = None;
            // From here the first word is due: a handshake is none.
            self.silent = self.silent.map(|_| now);
        }
        Ok(())
    }

    /// A peer that leaves in the midst of a handshake has refused it.
    fn as_seen(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Ended if self.is_shaking() && !self.opening => Fault::Shake(Shake::Left),
            Fault::Ended
            | Fault::Frame(_)
            | Fault::WebSocket
            | Fault::Shake(_)
            | Fault::Overflow => fault,
        }
    }

    /// Sends, or keeps for later what the kernel does not take now.
    pub(super) fn send(&mut self, message: Bytes, now: Time) -> Result<(), Fault> {
        let said = self.speech.write(message)?;
        (self.silent, self.worded) = (None, now);
        self.layer.say(said, &mut self.outbox)?;
        if self.opening {
            return Ok(());
        }
        self.flush(now)
    }

    /// Writes what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self, now: Time) -> Result<(), Fault> {
        match self.outbox.write_to(&mut self.stream) {
            Ok(true) => self.active = now,
            Ok(false) => {}
            Err(_) => return Err(self.as_seen(Fault::Ended)),
        }
        Ok(())
    }

    /// Looks whether a connection that was being opened is open now.
    pub(super) fn finish_opening(&mut self, now: Time) -> Result<(), Fault> {
        if let Ok(Some(_)) | Err(_) = self.stream.take_error() {
            return Err(Fault::Ended);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.opening = false;
                self.active = now;
                if self.is_shaking() {
                    self.shaking = Some(now);
                }
                self.layer.pump(&mut self.outbox)?;
                self.flush(now)
            }
            // Not yet: another event comes.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(_) => Err(Fault::Ended),
        }
    }

    /// Says farewell as far as the kernel takes it without waiting.
    pub(super) fn leave(&mut self) {
        if self.opening {
            return;
        }
        let said = self.speech.leave();
        if !said.is_empty() {
            let _ = self.layer.say(said, &mut self.outbox);
        }
        self.layer.leave(&mut self.outbox);
        let _ = self.outbox.write_to(&mut self.stream);
    }

    /// After the last word: writes what is left of it, says that nothing more comes, and reads on without
    /// listening. To close with something unread resets the connection, and the peer loses what it was told.
    /// Returns false once there is nothing to wait for.
    pub(super) fn linger(&mut self, room: &mut [u8], left: &mut usize) -> bool {
        if self.outbox.write_to(&mut self.stream).is_err() {
            return false;
        }
        if self.outbox.is_empty() && self.stream.shutdown(Shutdown::Write).is_err() {
            return false;
        }
        loop {
            match self.stream.read(room) {
                Ok(0) => return false,
                Ok(len) if len < *left => *left -= len,
                Ok(_) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}
