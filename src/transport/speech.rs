//! How messages are told apart on a connection: by their lengths in a stream, or one a WebSocket message.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use crate::engine::mint::hash64;
use crate::sip::stream::{Frame, FrameError, Framer};
use crate::sip::unframed;

use super::fault::Fault;
use super::web::{Door, Heard, Web};

/// RFC 5626 3.5.1: the answer to a double CRLF.
const PONG: &[u8] = b"\r\n";
const PING: &[u8] = b"\r\n\r\n";

pub(super) enum Speech {
    Stream(Framer),
    Web(Box<Web>),
}

impl Speech {
    pub(super) fn stream(message_size: usize) -> Self {
        Self::Stream(Framer::new(message_size, message_size))
    }

    pub(super) fn web_socket(message_size: usize, door: Door) -> Self {
        Self::Web(Box::new(Web::new(message_size, door)))
    }

    /// Returns who the client is, where the request for a WebSocket has said it.
    pub(super) fn client(&self) -> Option<IpAddr> {
        match self {
            Self::Stream(_) => None,
            Self::Web(web) => web.client(),
        }
    }

    /// Returns true once messages can be said.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Stream(_) => true,
            Self::Web(web) => web.is_open(),
        }
    }

    /// Takes what `peer` said. Whole messages are appended to `messages`, answers to pings, to what is too large and
    /// the like to `reply`. Returns whether something is begun and not whole, and whether anything was whole.
    pub(super) fn take(
        &mut self,
        said: &[u8],
        peer: SocketAddr,
        messages: &mut Vec<Bytes>,
        reply: &mut Vec<u8>,
    ) -> Result<Progress, Fault> {
        match self {
            Self::Stream(framer) => {
                framer.push(said);
                let (mut any, mut pings, mut oversized) = (false, 0, 0);
                while let Some(frame) = framer.next_frame() {
                    any = true;
                    match frame.map_err(Fault::Frame)? {
                        Frame::Message(bytes) => messages.push(bytes),
                        Frame::TooLarge(head) => {
                            oversized += 1;
                            let answer = refusal(&head, FrameError::BodyTooLarge, peer);
                            reply.extend_from_slice(&answer.unwrap_or_default());
                        }
                        Frame::Ping => {
                            pings += 1;
                            reply.extend_from_slice(PONG);
                        }
                        Frame::Pong => pings += 1,
                    }
                }
                Ok(Progress {
                    midway: framer.is_midway(),
                    any,
                    pings,
                    oversized,
                })
            }
            Self::Web(web) => {
                let first = messages.len();
                let Heard { whole, oversized } = web.take(said, messages, reply)?;
                let mut answered = 0;
                let heard = messages.drain(first..).collect::<Vec<_>>();
                for message in heard {
                    // RFC 7118 6: the keep-alive of streams may be spoken here, too.
                    if &*message == PING {
                        answered += 1;
                    } else if !message.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                        messages.push(message);
                    }
                }
                for _ in 0..answered {
                    web.say(Bytes::from_static(PONG), reply)?;
                }
                for begun in &oversized {
                    let has_head = memchr::memmem::find(begun, b"\r\n\r\n").is_some();
                    let error = match has_head {
                        true => FrameError::BodyTooLarge,
                        false => FrameError::HeadTooLarge,
                    };
                    if let Some(answer) = refusal(begun, error, peer) {
                        web.say(answer, reply)?;
                    }
                }
                Ok(Progress {
                    midway: web.is_midway(),
                    any: whole > 0,
                    pings: whole - (messages.len() - first) - oversized.len(),
                    oversized: oversized.len(),
                })
            }
        }
    }

    /// Returns what is said to a request of which nobody can tell where it ends.
    pub(super) fn refusal(&self, error: FrameError, peer: SocketAddr) -> Option<Bytes> {
        match self {
            Self::Stream(framer) => refusal(framer.refused(), error, peer),
            // What is beyond all measure; the codec closes with a code that says it (RFC 6455 7.4.1).
            Self::Web(_) => None,
        }
    }

    /// Returns a message as it is said.
    pub(super) fn write(&mut self, message: Bytes) -> Result<Bytes, Fault> {
        match self {
            Self::Stream(_) => Ok(message),
            Self::Web(web) => {
                let mut said = Vec::with_capacity(message.len() + 16);
                web.say(message, &mut said)?;
                Ok(said.into())
            }
        }
    }

    /// Returns what is said at the end.
    pub(super) fn leave(&mut self) -> Bytes {
        match self {
            Self::Stream(_) => Bytes::new(),
            Self::Web(web) => {
                let mut said = Vec::new();
                web.leave(&mut said);
                said.into()
            }
        }
    }
}

fn refusal(begun: &[u8], error: FrameError, peer: SocketAddr) -> Option<Bytes> {
    let tag = format!("{:016x}", hash64(begun));
    unframed::refusal(begun, error, &tag, peer)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) midway: bool,
    pub(super) any: bool,
    /// Keep-alives, and all else that was whole and is no message.
    pub(super) pings: usize,
    /// Messages that were too large, and are answered.
    pub(super) oversized: usize,
}
