//! Datagrams: received in batches, sent one by one, and the ICMP errors that come back for them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::sip::stun;

use super::counters::Counters;
use super::sys::{self, Arrived, BATCH, QUOTED_MAX, QueuedError};

/// Tries to send one datagram: each may meet the error of another that was sent before.
const SEND_TRIES: usize = 4;
/// Errors taken off the queue in one go; forged ones must not keep a shard from its work.
const ERRORS_MAX: usize = 256;

/// A datagram that may hold a message.
#[derive(Debug)]
pub struct Datagram {
    pub peer: SocketAddr,
    pub bytes: Bytes,
}

/// ICMP says that nobody takes what goes to a peer. Anybody can forge that who knows its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    pub peer: SocketAddr,
    /// The start of what was sent, as far as it is quoted.
    pub quoted: Bytes,
}

/// What a read says of the kernel's queue of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// More may wait.
    pub more: bool,
    /// When the first of the batch came, since the Unix epoch by the wall clock.
    pub since: Option<Duration>,
    /// How many more datagrams have found it full.
    pub lost: u32,
}

/// What became of a datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Done,
    /// The kernel has no room for it, or it is larger than a datagram can be.
    Dropped,
    /// There is no way to the peer.
    Unreachable,
}

/// Where datagrams are received into; one a shard serves all its sockets.
pub struct Room {
    buffer: Vec<u8>,
    size: usize,
    arrived: Vec<Arrived>,
}

impl Room {
    /// Makes room for datagrams of up to `size` bytes; larger ones are dropped.
    pub fn new(size: usize) -> Self {
        let size = size.max(1);
        Self {
            buffer: vec![0; BATCH * size],
            size,
            arrived: Vec::with_capacity(BATCH),
        }
    }
}

/// One worker's socket of a UDP listener.
pub struct Udp {
    socket: mio::net::UdpSocket,
    /// How many datagrams had found the queue full when it was last read; it wraps.
    lost: u32,
}

impl Udp {
    /// Takes over a socket and asks for word when it can be read.
    ///
    /// # Errors
    /// The poll does not take it.
    pub fn new(socket: std::net::UdpSocket, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = mio::net::UdpSocket::from_std(socket);
        socket.register(registry, token, Interest::READABLE)?;
        Ok(Self { socket, lost: 0 })
    }

    /// Takes one batch of datagrams, of those that somebody wants to hear. Returns what waits behind it, and
    /// how long it waited itself.
    ///
    /// What holds only line ends is a keep-alive, empty ones are one too: neither wants an answer over
    /// UDP (RFC 5626 3.5.1 asks for one over streams only). STUN is answered at once (3.5.2). Whose keep-alives
    /// came is appended to `kept`.
    pub fn receive(
        &mut self,
        room: &mut Room,
        counters: &Counters,
        unreachable: &mut Vec<Unreached>,
        hears: &dyn Fn(SocketAddr, &[u8]) -> bool,
        kept: &mut Vec<SocketAddr>,
        into: &mut Vec<Datagram>,
    ) -> Queued {
        let batch = sys::receive(&self.socket, &mut room.buffer, room.size, &mut room.arrived);
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Queued::default(),
            // The error of something sent before stood in the way: what arrived is behind it.
            Err(_) => {
                self.errors(unreachable);
                return Queued {
                    more: true,
                    ..Queued::default()
                };
            }
        };
        let total = batch.lost.unwrap_or(self.lost);
        let lost = total.wrapping_sub(std::mem::replace(&mut self.lost, total));
        Counters::add_many(&counters.datagrams_lost, lost.into());
        for (arrived, place) in room.arrived.iter().zip(room.buffer.chunks_exact(room.size)) {
            Counters::add(&counters.datagrams_received);
            let Some(peer) = arrived.peer.filter(|_| !arrived.truncated) else {
                if let Some(peer) = arrived.peer {
                    tracing::debug!(%peer, most = room.size, "datagram that is too large");
                }
                Counters::add(&counters.datagrams_dropped);
                continue;
            };
            let bytes = &place[..arrived.len];
            if stun::is_stun(bytes) {
                if !hears(peer, bytes) {
                    continue;
                }
                // Like any datagram, the answer may be lost: who asked asks again.
                let answer = stun::answer(bytes, peer);
                kept.extend(answer.is_some().then_some(peer));
                let sent = answer.and_then(|answer| self.socket.send_to(&answer, peer).ok());
                if sent.is_some() {
                    Counters::add(&counters.datagrams_sent);
                }
                continue;
            }
            let bytes = without_keep_alive(bytes);
            if !hears(peer, bytes) {
                continue;
            }
            if bytes.is_empty() {
                kept.push(peer);
            } else {
                let bytes = Bytes::copy_from_slice(bytes);
                into.push(Datagram { peer, bytes });
            }
        }
        Queued {
            more: room.arrived.len() == BATCH,
            since: batch.since,
            lost,
        }
    }

    /// Empties the error queue: who is not there is appended to `unreachable`. Returns true where
    /// there was any error at all.
    pub fn errors(&self, unreachable: &mut Vec<Unreached>) -> bool {
        let mut any = false;
        let mut room = [0; QUOTED_MAX];
        for _ in 0..ERRORS_MAX {
            match sys::next_error(&self.socket, &mut room) {
                Some(QueuedError::Nobody(peer, len)) => {
                    let quoted = &room[..len];
                    let same = |known: &Unreached| known.peer == peer && known.quoted == quoted;
                    if !unreachable.iter().any(same) {
                        let quoted = Bytes::copy_from_slice(quoted);
                        unreachable.push(Unreached { peer, quoted });
                    }
                }
                Some(QueuedError::Other) => {}
                None => break,
            }
            any = true;
        }
        any
    }

    /// Sends one datagram. Errors of others that stand in the way are put into `unreachable`, and the
    /// datagram is sent again.
    pub fn send(
        &self,
        bytes: &[u8],
        peer: SocketAddr,
        counters: &Counters,
        unreachable: &mut Vec<Unreached>,
    ) -> Sent {
        let mut others = false;
        for _ in 0..SEND_TRIES {
            let Err(error) = self.socket.send_to(bytes, peer) else {
                Counters::add(&counters.datagrams_sent);
                return Sent::Done;
            };
            let full = matches!(
                error.raw_os_error(),
                Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)
            );
            others = self.errors(unreachable);
            if full || error.raw_os_error() == Some(libc::EMSGSIZE) && !others {
                Counters::add(&counters.datagrams_dropped);
                return Sent::Dropped;
            }
        }
        Counters::add(&counters.datagrams_dropped);
        // Errors of others, which may be forged, say nothing of this one.
        if others {
            Sent::Dropped
        } else {
            Sent::Unreachable
        }
    }
}

/// Takes line ends and zeroes off the front: phones send them to keep a NAT's binding open.
fn without_keep_alive(bytes: &[u8]) -> &[u8] {
    let begin = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    begin.map_or(&[], |begin| &bytes[begin..])
}
