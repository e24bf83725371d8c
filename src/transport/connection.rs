//! One stream connection: bytes in and out, no decisions.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};
use crate::sip::stream::{Frame, FrameError, Framer};

use super::registry::Origin;

/// What waits to be written to one connection. Beyond it the peer does not read, and is as good as gone.
const UNWRITTEN_MAX: usize = 256 * 1024;
/// Read from one connection before others have their turn.
const READ_PER_TURN: usize = 64 * 1024;
/// RFC 5626 3.5.1: the answer to a double CRLF.
const PONG: &[u8] = b"\r\n";

/// What a connection has to say after a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// All that was there is read.
    Drained,
    /// More may be there.
    More,
    /// Nothing can come any more: closed, reset, or framed so that nobody can tell where a message ends.
    Over(Option<FrameError>),
}

/// The connection can't be written to any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

pub(super) struct Connection {
    pub(super) flow: Flow,
    pub(super) origin: Origin,
    stream: mio::net::TcpStream,
    framer: Framer,
    unwritten: VecDeque<Bytes>,
    unwritten_len: usize,
    /// Not connected yet: what is sent waits.
    opening: bool,
    /// When anything last came or went, or the connection began.
    active: Time,
    /// When the message under way began.
    midway: Option<Time>,
}

impl Connection {
    pub(super) fn new(
        flow: Flow,
        origin: Origin,
        stream: mio::net::TcpStream,
        message_size: usize,
        now: Time,
    ) -> Self {
        Self {
            flow,
            origin,
            stream,
            framer: Framer::new(message_size, message_size),
            unwritten: VecDeque::new(),
            unwritten_len: 0,
            opening: origin == Origin::Opened,
            active: now,
            midway: None,
        }
    }

    pub(super) fn source(&mut self) -> &mut mio::net::TcpStream {
        &mut self.stream
    }

    pub(super) fn is_opening(&self) -> bool {
        self.opening
    }

    pub(super) fn idle_for(&self, now: Time) -> Millis {
        now.since(self.active)
    }

    /// Returns how long the message under way has taken so far.
    pub(super) fn midway_for(&self, now: Time) -> Millis {
        self.midway.map_or(Millis(0), |begun| now.since(begun))
    }

    /// Reads up to a turn's worth; whole messages are appended to `messages`, pings are answered.
    pub(super) fn read(
        &mut self,
        room: &mut [u8],
        now: Time,
        messages: &mut Vec<Bytes>,
    ) -> Reading {
        let mut taken = 0;
        while taken < READ_PER_TURN {
            match self.stream.read(room) {
                Ok(0) => return Reading::Over(None),
                Ok(len) => {
                    taken += len;
                    self.active = now;
                    self.framer.push(&room[..len]);
                    if let Err(over) = self.take_frames(now, messages) {
                        return Reading::Over(over);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Reading::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Reading::Over(None),
            }
        }
        Reading::More
    }

    fn take_frames(
        &mut self,
        now: Time,
        messages: &mut Vec<Bytes>,
    ) -> Result<(), Option<FrameError>> {
        let mut any = false;
        while let Some(frame) = self.framer.next_frame() {
            any = true;
            match frame.map_err(Some)? {
                Frame::Message(bytes) => messages.push(bytes),
                Frame::Ping => self
                    .send(Bytes::from_static(PONG), now)
                    .map_err(|Broken| None)?,
                Frame::Pong => {}
            }
        }
        if !self.framer.is_midway() {
            self.midway = None;
        } else if any || self.midway.is_none() {
            self.midway = Some(now);
        }
        Ok(())
    }

    /// Sends, or keeps for later what the kernel does not take now.
    pub(super) fn send(&mut self, bytes: Bytes, now: Time) -> Result<(), Broken> {
        if self.unwritten_len + bytes.len() > UNWRITTEN_MAX {
            return Err(Broken);
        }
        self.unwritten_len += bytes.len();
        self.unwritten.push_back(bytes);
        if self.opening {
            return Ok(());
        }
        self.flush(now)
    }

    /// Writes what waits, as far as the kernel takes it.
    pub(super) fn flush(&mut self, now: Time) -> Result<(), Broken> {
        while let Some(front) = self.unwritten.front_mut() {
            match self.stream.write(front) {
                Ok(0) => return Err(Broken),
                Ok(len) => {
                    self.active = now;
                    self.unwritten_len -= len;
                    front.advance(len);
                    if front.is_empty() {
                        self.unwritten.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Looks whether a connection that was being opened is open now.
    pub(super) fn finish_opening(&mut self, now: Time) -> Result<(), Broken> {
        if let Ok(Some(_)) | Err(_) = self.stream.take_error() {
            return Err(Broken);
        }
        match self.stream.peer_addr() {
            Ok(_) => {
                self.opening = false;
                self.active = now;
                self.flush(now)
            }
            // Not yet: another event comes.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(_) => Err(Broken),
        }
    }
}
