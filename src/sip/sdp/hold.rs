//! A hold that is over, since whoever held is gone (RFC 3264 8.4).

use super::line::lines;
use super::parse::{Direction, Media, Sdp};

const DIRECTIONS: [&str; 4] = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];

/// Returns what the author of a description wishes of each stream, by what it was `told` last and what it wished
/// `before`. A direction that it leaves out although the other end takes part in it is held by itself; one in which
/// the other end takes no part is as it was before.
pub fn wishes(said: &[u8], told: Option<&[u8]>, before: &[Direction]) -> Vec<Direction> {
    let Ok(said) = Sdp::parse(said) else {
        return before.to_vec();
    };
    let told = told.and_then(|told| Sdp::parse(told).ok());
    let told = told.as_ref().map_or(&[][..], |told| told.media());
    let wish = |(at, media): (usize, &Media<'_>)| {
        let before = before.get(at).copied().unwrap_or_default();
        let told = told.get(at).filter(|told| told.port != 0);
        let there = told.map_or_else(Direction::default, |told| told.direction);
        let (sends, receives) = (media.does().sends(), media.does().receives());
        Direction::of(
            sends || !there.receives() && before.sends(),
            receives || !there.sends() && before.receives(),
        )
    };
    said.media().iter().enumerate().map(wish).collect()
}

/// Returns a description with the streams open again that were held by the other end, as far as its author wishes:
/// where `holder` said that it would not listen, or not speak. None where nothing was held, or either is no SDP.
///
/// Whether its author would hold too cannot be told where it has only answered; it says so when it is asked.
pub fn resumed(said: &[u8], holder: &[u8], wishes: &[Direction]) -> Option<Vec<u8>> {
    let (said, holder) = (Sdp::parse(said).ok()?, Sdp::parse(holder).ok()?);
    let both = said.media().iter().zip(holder.media()).enumerate();
    let opened = both.map(|(at, (media, holder))| {
        let wish = wishes.get(at).copied().unwrap_or_default();
        // Where it only listened, its author's ear is closed by no more than that (RFC 3264 6.1).
        let is_held =
            media.port != 0 && holder.does() != Direction::SendRecv && media.does() != wish;
        is_held.then_some(wish)
    });
    let opened: Vec<Option<Direction>> = opened.collect();
    if opened.iter().all(Option::is_none) {
        return None;
    }
    let mut out = String::with_capacity(said.text.len() + 16);
    let mut push = |line: &str| out.extend([line, "\r\n"]);
    lines(said.session()).for_each(&mut push);
    for (at, media) in said.media().iter().enumerate() {
        let opens = opened.get(at).copied().flatten();
        for line in lines(media.text) {
            if !(opens.is_some() && DIRECTIONS.contains(&line.trim())) {
                push(line);
            }
        }
        if let Some(wish) = opens {
            push(&format!("a={}", wish.as_str()));
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
        let opened = resumed(held.as_bytes(), holder.as_bytes(), &[]).unwrap();
        let expected = said("a=sendrecv\r\n", "a=inactive\r\n");
        assert_eq!(String::from_utf8(opened).unwrap(), expected);
        // One that only listened never spoke.
        let unheard = said("a=sendonly\r\n", "");
        let deaf = said("a=recvonly\r\n", "");
        let opened = resumed(unheard.as_bytes(), deaf.as_bytes(), &[]).unwrap();
        let expected = said("a=sendrecv\r\n", "");
        assert_eq!(String::from_utf8(opened).unwrap(), expected);
        let silenced = said("", "").replace("c=IN IP4 198.51.100.1", "c=IN IP4 0.0.0.0");
        let opened = resumed(held.as_bytes(), silenced.as_bytes(), &[]).unwrap();
        let expected = said("a=sendrecv\r\n", "a=sendrecv\r\n");
        assert_eq!(String::from_utf8(opened).unwrap(), expected);
    }

    #[test]
    fn a_hold_is_whose_it_was_that_narrowed_the_stream_first() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        // What it was told last, what it says then, and what it wishes by that.
        let table = [
            (None, "sendrecv", SendRecv),
            // The other holds, and refreshes that, and so does this one.
            (Some("sendonly"), "recvonly", SendRecv),
            (Some("inactive"), "inactive", SendRecv),
            (Some("inactive"), "inactive", SendRecv),
            (Some("sendrecv"), "sendrecv", SendRecv),
            // This one holds, and is told of a hold by way of answer and of refresh.
            (Some("sendrecv"), "inactive", Inactive),
            (Some("inactive"), "inactive", Inactive),
            (Some("inactive"), "sendonly", SendOnly),
            (Some("inactive"), "sendonly", SendOnly),
            (Some("recvonly"), "sendonly", SendOnly),
            // Both do: it may not listen, and would not speak.
            (Some("sendonly"), "inactive", SendOnly),
            (Some("inactive"), "sendrecv", SendRecv),
            (Some("sendrecv"), "recvonly", RecvOnly),
        ];
        let line = |direction: &str| format!("a={direction}\r\n");
        let mut wished = Vec::new();
        for (told, says, expected) in table {
            let told = told.map(|told| said(&line(told), ""));
            let says = said(&line(says), "");
            let told = told.as_deref().map(str::as_bytes);
            wished = wishes(says.as_bytes(), told, &wished);
            assert_eq!(wished, [expected, SendRecv], "{told:?} {says}");
        }
        let held = said("a=inactive\r\n", "a=inactive\r\n");
        let opened = resumed(held.as_bytes(), held.as_bytes(), &[SendOnly, Inactive]);
        let expected = said("a=sendonly\r\n", "a=inactive\r\n");
        assert_eq!(String::from_utf8(opened.unwrap()).unwrap(), expected);
    }

    #[test]
    fn where_nothing_is_held_nothing_changes() {
        use Direction::{SendOnly, SendRecv};
        for (said_it, holder, wish) in [
            (said("", ""), said("", ""), SendRecv),
            // It holds by itself.
            (
                said("a=sendonly\r\n", ""),
                said("a=recvonly\r\n", ""),
                SendOnly,
            ),
            // It listens for the holder's music, and would speak if it were asked.
            (said("", ""), said("a=sendonly\r\n", ""), SendRecv),
        ] {
            assert_eq!(
                resumed(said_it.as_bytes(), holder.as_bytes(), &[wish]),
                None
            );
        }
        assert_eq!(resumed(b"no session", b"at all", &[]), None);
    }
}
