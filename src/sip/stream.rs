//! Messages out of a byte stream (RFC 3261 18.3), and the keep-alives between them (RFC 5626 3.5.1).

use bytes::{Bytes, BytesMut};

use super::Name;

/// What came out of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
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
    #[error("body larger than the limit")]
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
    head_max: usize,
    body_max: usize,
}

impl Framer {
    /// Makes a framer with limits in bytes.
    pub fn new(head_max: usize, body_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            head_max,
            body_max,
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns true while a message is begun and not whole.
    pub fn is_midway(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Returns the next whole frame.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        if self.scanned == 0 {
            match self.keep_alive() {
                KeepAlive::Frame(frame) => return Some(Ok(frame)),
                KeepAlive::Wait => return None,
                KeepAlive::None => {}
            }
        }
        let from = self.scanned.saturating_sub(3);
        let Some(blank) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            self.scanned = self.buffer.len();
            return (self.buffer.len() > self.head_max).then_some(Err(FrameError::HeadTooLarge));
        };
        let head = from + blank + 4;
        if head > self.head_max {
            return Some(Err(FrameError::HeadTooLarge));
        }
        let length = match content_length(&self.buffer[..head]) {
            Ok(length) => length,
            Err(error) => return Some(Err(error)),
        };
        if length > self.body_max {
            return Some(Err(FrameError::BodyTooLarge));
        }
        if self.buffer.len() < head + length {
            // So that the next look finds the same blank line again.
            self.scanned = head - 1;
            return None;
        }
        self.scanned = 0;
        Some(Ok(Frame::Message(
            self.buffer.split_to(head + length).freeze(),
        )))
    }

    fn keep_alive(&mut self) -> KeepAlive {
        match &self.buffer[..self.buffer.len().min(4)] {
            b"\r\n\r\n" => {
                let _ = self.buffer.split_to(4);
                KeepAlive::Frame(Frame::Ping)
            }
            [] => KeepAlive::Wait,
            // Half a ping may be a whole pong: the next byte tells, or the next read.
            b"\r" | b"\r\n\r" => KeepAlive::Wait,
            [b'\r', b'\n', ..] => {
                let _ = self.buffer.split_to(2);
                KeepAlive::Frame(Frame::Pong)
            }
            _ => KeepAlive::None,
        }
    }
}

enum KeepAlive {
    Frame(Frame),
    Wait,
    None,
}

fn content_length(head: &[u8]) -> Result<usize, FrameError> {
    let mut told = None;
    for line in head.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        if Name::parse(line[..colon].trim_ascii()) != Some(Name::ContentLength) {
            continue;
        }
        let value = line[colon + 1..].trim_ascii();
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(FrameError::Length);
        }
        let value = std::str::from_utf8(value)
            .ok()
            .and_then(|value| value.parse::<usize>().ok());
        let value = value.ok_or(FrameError::BodyTooLarge)?;
        if told.is_some_and(|told| told != value) {
            return Err(FrameError::Length);
        }
        told = Some(value);
    }
    // RFC 3261 20.14: it must be there on streams; without it nothing can follow, so there is no body.
    Ok(told.unwrap_or(0))
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
            (b"A b SIP/2.0\r\nl: 101\r\n\r\n", FrameError::BodyTooLarge),
            (&[b'a'; 101], FrameError::HeadTooLarge),
        ] {
            let mut framer = Framer::new(100, 100);
            framer.push(bytes);
            assert_eq!(framer.next_frame(), Some(Err(error)));
        }
    }
}
