//! Messages out of a byte stream (RFC 3261 18.3), and the keep-alives between them (RFC 5626 3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use super::Name;
use super::message::{content_length, head_end};

/// A body that is larger than the limit is passed over up to this size, in octets, and the stream goes on behind it.
const PASSED_OVER_MAX: u64 = 1024 * 1024;

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    /// The header of a message whose body is larger than the limit. The body is passed over.
    TooLarge(Bytes),
    /// A double CRLF: the peer wants a single one back.
    Ping,
    /// A single CRLF: the answer to ours.
    Pong,
}

/// The stream can't be read on: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("header larger than the limit")]
    HeadTooLarge,
    #[error("body much larger than the limit")]
    BodyTooLarge,
    /// Without a sound length nobody can tell where the next message begins.
    #[error("content-length missing or wrong")]
    Length,
}

/// Cuts a stream into messages, at whatever places its pieces arrive.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    /// Bytes of the buffer that hold no end of a header.
    scanned: usize,
    /// Length of the message that is begun, once its header is whole.
    whole: Option<usize>,
    /// Octets yet to come of a body that is passed over.
    passed_over: usize,
    /// A CRLF was told as a pong, and may have been the first half of a ping.
    halved: bool,
    broken: bool,
    /// What had come of the message that broke it.
    refused: Bytes,
    head_max: usize,
    body_max: usize,
}

impl Framer {
    /// Makes a framer with limits in bytes.
    pub fn new(head_max: usize, body_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            whole: None,
            passed_over: 0,
            halved: false,
            broken: false,
            refused: Bytes::new(),
            head_max,
            body_max,
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Returns true while a message is begun and not whole.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty() || self.passed_over > 0
    }

    /// Returns what had come of the message after which there is no other.
    pub fn refused(&self) -> &[u8] {
        &self.refused
    }

    /// Returns the next whole frame. After an error there is none: the stream is to be closed.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        let over = self.passed_over.min(self.buffer.len());
        self.buffer.advance(over);
        self.passed_over -= over;
        let whole = match self.whole {
            Some(whole) => whole,
            None => match self.begin()? {
                Ok(Begun::Message(whole)) => whole,
                Ok(Begun::TooLarge { head, body }) => {
                    (self.passed_over, self.scanned) = (body, 0);
                    let head = self.buffer.split_to(head).freeze();
                    return Some(Ok(Frame::TooLarge(head)));
                }
                Ok(Begun::KeepAlive(frame)) => return Some(Ok(frame)),
                Err(error) => {
                    self.broken = true;
                    self.refused = self.buffer.split().freeze();
                    self.scanned = 0;
                    return Some(Err(error));
                }
            },
        };
        if self.buffer.len() < whole {
            self.whole = Some(whole);
            return None;
        }
        self.whole = None;
        self.scanned = 0;
        let message = self.buffer.split_to(whole).freeze();
        Some(Ok(Frame::Message(message)))
    }

    fn begin(&mut self) -> Option<Result<Begun, FrameError>> {
        if self.scanned == 0 {
            match self.keep_alive() {
                KeepAlive::Frame(frame) => return Some(Ok(Begun::KeepAlive(frame))),
                KeepAlive::Wait => return None,
                KeepAlive::None => self.halved = false,
            }
        }
        let Some(head) = head_end(&self.buffer, self.scanned.saturating_sub(3)) else {
            self.scanned = self.buffer.len();
            return (self.scanned > self.head_max).then_some(Err(FrameError::HeadTooLarge));
        };
        if head > self.head_max {
            return Some(Err(FrameError::HeadTooLarge));
        }
        // RFC 3261 20.14: it must be there on streams; without it nothing can follow, so there is no body.
        match content_length(lengths(&self.buffer[..head])) {
            Ok(Some(told)) if told > PASSED_OVER_MAX.max(self.body_max as u64) => {
                Some(Err(FrameError::BodyTooLarge))
            }
            Ok(told) => {
                let body = told.unwrap_or(0) as usize;
                Some(Ok(match body > self.body_max {
                    true => Begun::TooLarge { head, body },
                    false => Begun::Message(head + body),
                }))
            }
            Err(_) => Some(Err(FrameError::Length)),
        }
    }

    fn keep_alive(&mut self) -> KeepAlive {
        // A bare line feed means nothing.
        let feeds = self.buffer.iter().take_while(|b| **b == b'\n').count();
        self.buffer.advance(feeds);
        match &self.buffer[..self.buffer.len().min(4)] {
            b"\r\n\r\n" => {
                self.buffer.advance(4);
                self.halved = false;
                KeepAlive::Frame(Frame::Ping)
            }
            [] | b"\r" | b"\r\n\r" => KeepAlive::Wait,
            [b'\r', b'\n', rest @ ..] => {
                // Whether this is a pong or half a ping the next read tells; a ping is answered in any case.
                let ping = self.halved;
                self.halved = !ping && rest.is_empty();
                self.buffer.advance(2);
                KeepAlive::Frame(if ping { Frame::Ping } else { Frame::Pong })
            }
            _ => KeepAlive::None,
        }
    }
}

enum Begun {
    /// Of this length.
    Message(usize),
    TooLarge {
        head: usize,
        body: usize,
    },
    KeepAlive(Frame),
}

enum KeepAlive {
    Frame(Frame),
    Wait,
    None,
}

/// Goes through the values of Content-Length; a folded line belongs to the one before it.
fn lengths(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        loop {
            let feed = memchr::memchr(b'\n', head.get(at..)?)?;
            at += feed + 1;
            if !matches!(head.get(at), Some(b' ' | b'\t')) {
                return Some(&head[start..at]);
            }
        }
    })
    .filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let name = Name::parse(line[..colon].trim_ascii_end())?;
        (name == Name::ContentLength).then(|| line[colon + 1..].trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl : 4\r\nX: 1\r\n\r\nbody";

    fn frames(framer: &mut Framer) -> Vec<Result<Frame, FrameError>> {
        std::iter::from_fn(|| framer.next_frame()).collect()
    }

    #[test]
    fn splits_at_every_byte() {
        let mut stream = b"\r\n\r\n".to_vec();
        stream.extend_from_slice(MESSAGE);
        stream.extend_from_slice(b"\r\n");
        stream.extend_from_slice(MESSAGE);
        let whole = vec![
            Ok(Frame::Ping),
            Ok(Frame::Message(Bytes::from_static(MESSAGE))),
            Ok(Frame::Pong),
            Ok(Frame::Message(Bytes::from_static(MESSAGE))),
        ];
        for cut in 5..stream.len() {
            let mut framer = Framer::new(1000, 1000);
            framer.push(&stream[..cut]);
            let mut got = frames(&mut framer);
            framer.push(&stream[cut..]);
            got.extend(frames(&mut framer));
            assert_eq!(got, whole, "cut at {cut}");
        }
        let mut framer = Framer::new(1000, 1000);
        let mut got = Vec::new();
        for (at, byte) in stream[4..].iter().enumerate() {
            framer.push(&[*byte]);
            if at + 1 != MESSAGE.len() + 2 {
                got.extend(frames(&mut framer));
            }
        }
        got.extend(frames(&mut framer));
        assert_eq!(got, whole[1..]);
    }

    #[test]
    fn a_ping_is_answered_wherever_it_is_cut() {
        for cut in 0..4 {
            let mut framer = Framer::new(1000, 1000);
            framer.push(&b"\r\n\r\n"[..cut]);
            let mut got = frames(&mut framer);
            framer.push(&b"\r\n\r\n"[cut..]);
            got.extend(frames(&mut framer));
            let pings = got.iter().filter(|frame| **frame == Ok(Frame::Ping));
            assert_eq!(pings.count(), 1, "cut at {cut}: {got:?}");
            assert!(!framer.is_midway());
        }
    }

    #[test]
    fn no_message_hides_in_another() {
        for (stream, heads) in [
            // Legal space, in front of the colon and folded.
            (
                "A b SIP/2.0\r\nContent-Length : 3\r\n\r\nxyzC d SIP/2.0\r\nl: 0\r\n\r\n",
                &["A", "C"][..],
            ),
            (
                "A b SIP/2.0\r\nContent-Length:\r\n\t 3\r\n\r\nxyzC d SIP/2.0\r\nl: 0\r\n\r\n",
                &["A", "C"],
            ),
            // No Content-Length but a word in another value.
            (
                "A b SIP/2.0\r\nX: 1\r\n Content-Length: 20\r\n\r\nC d SIP/2.0\r\nl: 0\r\n\r\n",
                &["A", "C"],
            ),
            // Bare line feeds end a header here and in the parser alike.
            (
                "A b SIP/2.0\nl: 0\n\nC d SIP/2.0\r\nl: 0\r\n\r\n",
                &["A", "C"],
            ),
            (
                "A b SIP/2.0\r\nl: 2\n\r\nxyC d SIP/2.0\r\n\r\n",
                &["A", "C"],
            ),
            // A second request as a body is a body.
            (
                "A b SIP/2.0\r\nl: 20\r\n\r\nC d SIP/2.0\r\nl: 0\r\n\r",
                &["A"],
            ),
        ] {
            let mut framer = Framer::new(1000, 1000);
            framer.push(stream.as_bytes());
            let got: Vec<_> = frames(&mut framer)
                .into_iter()
                .map(|frame| match frame {
                    Ok(Frame::Message(bytes)) => char::from(bytes[0]).to_string(),
                    other => format!("{other:?}"),
                })
                .collect();
            assert_eq!(got, heads, "{stream:?}");
            assert!(!framer.is_midway(), "{stream:?}");
        }
    }

    #[test]
    fn a_body_that_is_too_large_is_passed_over() {
        let head = b"A b SIP/2.0\r\nl: 5000\r\n\r\n";
        // What stands in the body is no message.
        let mut stream = [&head[..], &MESSAGE.repeat(200)[..5000]].concat();
        let end = stream.len();
        stream.extend_from_slice(MESSAGE);
        for cut in [
            1,
            head.len() - 1,
            head.len(),
            head.len() + 1,
            3000,
            end - 1,
            end,
            end + 1,
        ] {
            let mut framer = Framer::new(100, 100);
            framer.push(&stream[..cut]);
            let mut got = frames(&mut framer);
            assert_eq!(framer.is_midway(), cut != end, "cut at {cut}");
            assert!(framer.buffer.len() < 100, "none of it is kept");
            framer.push(&stream[cut..]);
            got.extend(frames(&mut framer));
            let refused = Ok(Frame::TooLarge(Bytes::from_static(head)));
            let next = Ok(Frame::Message(Bytes::from_static(MESSAGE)));
            assert_eq!(got, [refused, next], "cut at {cut}");
            assert!(!framer.is_midway());
        }
    }

    #[test]
    fn what_closes_a_stream() {
        for (bytes, error) in [
            (
                &b"A b SIP/2.0\r\nContent-Length: -1\r\n\r\n"[..],
                FrameError::Length,
            ),
            (
                b"A b SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\nxx",
                FrameError::Length,
            ),
            (
                b"A b SIP/2.0\r\nl: 18446744073709551616\r\n\r\n",
                FrameError::BodyTooLarge,
            ),
            (
                b"A b SIP/2.0\r\nl: 1048577\r\n\r\n",
                FrameError::BodyTooLarge,
            ),
            (&[b'a'; 101], FrameError::HeadTooLarge),
        ] {
            let mut framer = Framer::new(100, 100);
            framer.push(bytes);
            assert_eq!(framer.next_frame(), Some(Err(error)));
            framer.push(MESSAGE);
            assert_eq!(framer.next_frame(), None, "nothing after an error");
        }
    }
}
