//! Keys of the phones' own that an answer names and its offer has not asked for.

use super::line::{Line, lines};
use super::parse::{Keying, Media, Sdp};

/// Returns an answer without the fingerprints, and what goes with them, of streams for which the offer named none: who
/// agrees on keys so has both ends name theirs (RFC 5763 5, RFC 8122 5), and what is said beyond that counts for nothing.
/// A stream under a profile of its own is no answer to such an offer, and stays as it is. None where nothing is left
/// out, or either is no SDP.
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
    // What is said for all streams stays where one of them needs it.
    let mut both = answer.media().iter().zip(&unasked);
    let whole = both.all(|(media, unasked)| *unasked || !ends(media));
    let mut out = String::with_capacity(answer.text.len());
    let sections = answer.media().iter().map(|media| media.text).zip(unasked);
    for (text, plain) in std::iter::once((answer.session(), whole)).chain(sections) {
        for line in lines(text).filter(|line| !(plain && names_keys(line))) {
            out.extend([line, "\r\n"]);
        }
    }
    Some(out)
}

fn names_keys(line: &str) -> bool {
    Line::parse(line).is_some_and(|line| {
        ["fingerprint", "setup", "tls-id", "key-mgmt"]
            .iter()
            .any(|name| line.attribute(name).is_some())
    })
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
        // It is no answer, whatever it names.
        let other = said("", "UDP/TLS/RTP/SAVP", DTLS, "");
        assert_eq!(prints(&plain, &other), None);
        assert_eq!(prints(&plain, &plain), None);
        assert_eq!(prints(&plain, "no session"), None);
    }
}
