//! The answer to a request on a stream of which nobody can tell where it ends.

use std::net::SocketAddr;

use bytes::Bytes;

use super::message::head_end;
use super::stream::FrameError;
use super::{Builder, Message, Method, reason_phrase};

/// Octets of a header that are looked at: whom to answer stands at its top.
const READ_MAX: usize = 16 * 1024;

impl FrameError {
    /// Returns the status that says what is wrong (RFC 3261 18.3, 21.4.11, 21.5.7).
    pub fn status(self) -> u16 {
        match self {
            Self::Length => 400,
            Self::BodyTooLarge => 413,
            Self::HeadTooLarge => 513,
        }
    }
}

/// Returns the answer to what has come of a request; none to a response or an ACK, and none where the lines that
/// are whole do not say whom to answer. `tag` is for the To header.
pub fn refusal(begun: &[u8], error: FrameError, tag: &str, peer: SocketAddr) -> Option<Bytes> {
    let whole = head_end(begun, 0).filter(|end| *end <= READ_MAX);
    let head = match whole {
        Some(end) => Bytes::copy_from_slice(&begun[..end]),
        // What follows the last whole line is cut off.
        None => {
            let begun = &begun[..begun.len().min(READ_MAX)];
            let end = memchr::memrchr(b'\n', begun)? + 1;
            [&begun[..end], b"\r\n"].concat().into()
        }
    };
    let request = match Message::parse(head) {
        Ok(message) => message,
        Err(malformed) => *malformed.salvaged?,
    };
    if !request.is_request() || *request.method() == Method::Ack {
        return None;
    }
    let status = error.status();
    let answer = Builder::respond(&request, status, reason_phrase(status), Some(tag), peer);
    Some(answer.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "INVITE sip:b@example.org SIP/2.0\r\n\
        Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK1\r\nFrom: <sip:a@example.org>;tag=1\r\n\
        To: <sip:b@example.org>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n";

    fn answer(begun: &str, error: FrameError) -> Option<Message> {
        let peer = "192.0.2.8:40000".parse().unwrap();
        let bytes = refusal(begun.as_bytes(), error, "t", peer)?;
        Some(Message::parse(bytes).unwrap())
    }

    #[test]
    fn a_request_is_answered_by_its_first_lines() {
        for (rest, error, status) in [
            ("Content-Length: -1\r\n\r\n", FrameError::Length, 400),
            ("l: 1\r\nl: 2\r\n\r\nxx", FrameError::Length, 400),
            ("l: 99999999\r\n\r\n", FrameError::BodyTooLarge, 413),
            ("X: yyyyyyyyyyyyyyy", FrameError::HeadTooLarge, 513),
            ("X: yyyyyyyyy\r\n yyyy", FrameError::HeadTooLarge, 513),
        ] {
            let answer = answer(&format!("{HEAD}{rest}"), error).unwrap();
            assert_eq!((answer.status(), answer.cseq()), (status, 7), "{rest}");
            assert_eq!((answer.call_id(), answer.to_tag()), ("c", Some("t")));
            assert_eq!(answer.branch(), Some("z9hG4bK1"));
        }
    }

    #[test]
    fn what_asks_for_nothing_is_not_answered() {
        let length = "l: -1\r\n\r\n";
        for begun in [
            HEAD.replace("INVITE", "ACK") + length,
            HEAD.replace("INVITE sip:b@example.org SIP/2.0", "SIP/2.0 200 OK") + length,
            HEAD.replace("Via", "X-Via") + length,
            "INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/TCP".to_owned(),
            "x".repeat(1000),
            String::new(),
        ] {
            assert!(answer(&begun, FrameError::Length).is_none(), "{begun}");
        }
    }
}
