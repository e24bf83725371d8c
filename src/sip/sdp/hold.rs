//! A hold that is over, since whoever held is gone (RFC 3264 8.4).

use super::line::lines;
use super::parse::{Direction, Sdp};

const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

/// Returns a description with the streams open again that were only held by the other end: where `holder`
/// said that it would not listen. None where nothing was held, or either is no SDP.
///
/// Whether its author held too cannot be told then; it says so again when it is asked.
pub fn resumed(said: &[u8], holder: &[u8]) -> Option<Vec<u8>> {
    let (said, holder) = (Sdp::parse(said).ok()?, Sdp::parse(holder).ok()?);
    let held: Vec<bool> = said
        .media()
        .iter()
        .zip(holder.media())
        .map(|(media, holder)| {
            // RFC 2543 held by the address 0.0.0.0.
            let silenced = holder.address.is_some_and(|ip| ip.is_unspecified());
            media.port != 0
                && (silenced || !holder.direction.receives())
                && media.direction != Direction::SendRecv
        })
        .collect();
    if !held.contains(&true) {
        return None;
    }
    let mut out = String::with_capacity(said.text.len() + 16);
    let mut push = |line: &str| out.extend([line, "\r\n"]);
    lines(said.session()).for_each(&mut push);
    for (at, media) in said.media().iter().enumerate() {
        let opens = held.get(at).copied().unwrap_or(false);
        for line in lines(media.text) {
            if !(opens && DIRECTIONS.contains(&line.trim())) {
                push(line);
            }
        }
        if opens {
            push("a=sendrecv");
        }
    }
    Some(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(audio: &str, video: &str) -> String {
        format!(
            "v=0\r\no=- 7 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP 0\r\n{audio}m=video 4002 RTP/AVP 96\r\n{video}"
        )
    }

    #[test]
    fn what_was_held_is_open_again_and_nothing_else() {
        let held = said("a=recvonly\r\n", "a=inactive\r\n");
        let holder = said("a=sendonly\r\n", "");
        let opened = resumed(held.as_bytes(), holder.as_bytes()).unwrap();
        let expected = said("a=sendrecv\r\n", "a=inactive\r\n");
        assert_eq!(String::from_utf8(opened).unwrap(), expected);
        let silenced = said("", "").replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
        let opened = resumed(held.as_bytes(), silenced.as_bytes()).unwrap();
        let expected = said("a=sendrecv\r\n", "a=sendrecv\r\n");
        assert_eq!(String::from_utf8(opened).unwrap(), expected);
    }

    #[test]
    fn where_nothing_is_held_nothing_changes() {
        for (said_it, holder) in [
            (said("", ""), said("", "")),
            // It holds by itself.
            (said("a=sendonly\r\n", ""), said("a=recvonly\r\n", "")),
            // It listens for the holder's music, and would speak if it were asked.
            (said("", ""), said("a=sendonly\r\n", "")),
        ] {
            assert_eq!(resumed(said_it.as_bytes(), holder.as_bytes()), None);
        }
        assert_eq!(resumed(b"no session", b"at all"), None);
    }
}
