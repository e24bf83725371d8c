//! Keys of the phones' own that an answer names and its offer has not asked for.

use super::line::lines;
use super::parse::{Keying, Media, Sdp};

/// Returns an answer without the fingerprints, and what goes with them, of streams for which the offer named none: who
/// agrees on keys so has both ends name theirs (RFC 5763 5, RFC 8122 5), and what is said beyond that counts for nothing.
/// What an answer says for all of its streams is said of each that needs it, where not all do (RFC 8866 5.13). A stream
/// under a profile of its own is no answer to such an offer, and stays as it is. None where nothing is left out, or
/// either is no SDP.
pub fn without_unasked(asked: &[u8], answer: &[u8]) -> Option<String> {
    let (asked, answer) = (Sdp::parse(asked).ok()?, Sdp::parse(answer).ok()?);
    let ends = |media: &Media<'_>| media.keying() == Keying::EndToEnd;
    let is_unasked = |(at, media): (usize, &Media<'_>)| {
        ends(media) && !media.must_be_secure() && !asked.media().get(at).is_some_and(ends)
    };
    let unasked: Vec<bool> = answer.media().iter().enumerate().map(is_unasked).collect();
    if !unasked.contains(&true) {
        return None;
    }
    // What is said for all streams stays said so where each of them needs it; else it would be said of the others too.
    let apart: Vec<&str> = lines(answer.session())
        .filter(|line| names_keys(line))
        .collect();
    let mut out = String::with_capacity(answer.text.len());
    let mut put = |line: &str| out.extend([line, "\r\n"]);
    lines(answer.session())
        .filter(|line| !names_keys(line))
        .for_each(&mut put);
    for (media, unasked) in answer.media().iter().zip(unasked) {
        lines(media.text)
            .filter(|line| !(unasked && names_keys(line)))
            .for_each(&mut put);
        // What a stream says itself of the same counts (RFC 8122 5, RFC 4145 4).
        let own = |line: &&&str| lines(media.text).any(|known| attribute(known) == attribute(line));
        if ends(media) && !unasked {
            apart
                .iter()
                .filter(|line| !own(line))
                .for_each(|line| put(line));
        }
    }
    Some(out)
}

fn names_keys(line: &str) -> bool {
    let names = ["fingerprint", "setup", "tls-id", "key-mgmt"];
    attribute(line).is_some_and(|name| names.contains(&name))
}

/// Returns the name of the attribute that a line says.
fn attribute(line: &str) -> Option<&str> {
    let said = line.strip_prefix("a=")?;
    Some(said.split_once(':').map_or(said, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DTLS: &str = "a=setup:active\r\na=fingerprint:sha-256 AA:BB\r\n";

    fn said(session: &str, proto: &str, audio: &str, video: &str) -> String {
        format!(
            "v=0\r\no=- 7 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n{session}\
             m=audio 4000 {proto} 0\r\n{audio}m=video 4002 RTP/AVP 96\r\n{video}"
        )
    }

    #[test]
    fn an_answer_has_fingerprints_where_its_offer_has() {
        let plain = said("", "RTP/AVP", "", "");
        let prints =
            |asked: &str, answer: &str| without_unasked(asked.as_bytes(), answer.as_bytes());
        for answer in [
            said("", "RTP/AVP", DTLS, ""),
            said(DTLS, "RTP/AVP", "", ""),
            said(DTLS, "RTP/AVP", DTLS, DTLS),
        ] {
            assert_eq!(prints(&plain, &answer), Some(plain.clone()), "{answer}");
            // RFC 8643: the offer may be plain and name one.
            let both = said(DTLS, "RTP/AVP", "", "");
            assert_eq!(prints(&both, &answer), None, "{answer}");
        }
        let sound = said("", "RTP/AVP", DTLS, "");
        let answer = said("", "RTP/AVP", DTLS, DTLS);
        assert_eq!(prints(&sound, &answer), Some(sound.clone()));
        // Said for all, it is said of the one that needs it.
        for (own, kept) in [
            ("", DTLS),
            (
                "a=fingerprint:sha-256 CC:DD\r\n",
                "a=fingerprint:sha-256 CC:DD\r\na=setup:active\r\n",
            ),
        ] {
            let answer = said(DTLS, "RTP/AVP", own, "");
            let kept = said("", "RTP/AVP", kept, "");
            assert_eq!(prints(&sound, &answer), Some(kept), "{own}");
        }
        // It is no answer, whatever it names.
        let other = said("", "UDP/TLS/RTP/SAVP", DTLS, "");
        assert_eq!(prints(&plain, &other), None);
        assert_eq!(prints(&plain, &plain), None);
        assert_eq!(prints(&plain, "no session"), None);
    }
}
