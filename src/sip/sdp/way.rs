//! Where a stream runs that goes between the endpoints, and under which keys of theirs.

use super::line::{Line, lines};
use super::parse::{Keying, Media, Sdp};

/// What says so beside the addresses, the first two of which ICE finds out: RFC 8839 5 (ICE), RFC 8122 5 and RFC 8842 (DTLS), RFC 4975 8 (MSRP).
const ENDS: [&str; 8] = [
    "candidate",
    "rtcp",
    "ice-ufrag",
    "ice-pwd",
    "fingerprint",
    "tls-id",
    "path",
    "key-mgmt",
];

/// The same where the keys that are told are the endpoints' own (RFC 4568).
const KEYS: &str = "crypto";
/// An offer leaves to the other end who opens the connection.
const OPEN: &str = "actpass";

/// Returns true where two descriptions of one side have each of their streams at the same place, by the same
/// credentials of the endpoint. `past_us` tells that all of them are its own; else a relay answers for what it carries,
/// but for keys that the endpoints agree on between them.
pub fn same_ways(one: &[u8], other: &[u8], past_us: bool) -> bool {
    let (Ok(one), Ok(other)) = (Sdp::parse(one), Sdp::parse(other)) else {
        return true;
    };
    let sessions = [one.session(), other.session()];
    let mut both = one.media().iter().zip(other.media());
    both.all(|(one, other)| {
        // ICE finds out by itself where each end is (RFC 8445 7.3.1.3), as long as both know its credentials.
        let mut texts = [one.text, other.text].into_iter().zip(sessions);
        let ice = texts.all(|(text, session)| names_ice(text) || names_ice(session));
        let ends = |text| ends_of(text, past_us, ice);
        let common = ends(sessions[0]) == ends(sessions[1]);
        let goes_on = one.port != 0 && other.port != 0 && !one.is_sip_message();
        let own = |media: &Media<'_>| {
            past_us || !media.is_datagrams() || media.keying() == Keying::EndToEnd
        };
        let place = |media: &Media<'_>| (media.port, media.address);
        let ends = common && ends(one.text) == ends(other.text);
        !goes_on || (ice || place(one) == place(other)) && (ends || !own(one) && !own(other))
    })
}

/// Returns true where a stream of a description has credentials of ICE (RFC 8839 5.4), its own or for all.
pub fn has_ice(said: &[u8]) -> bool {
    Sdp::parse(said).is_ok_and(|sdp| {
        let mut active = sdp.media().iter().filter(|media| media.port != 0);
        names_ice(sdp.session()) || active.any(|media| names_ice(media.text))
    })
}

/// Returns what was an offer as an answer: who takes which part of the connection is decided in that (RFC 4145 4.1), as
/// it was `known` to the reader before, or as goes with the reader's `own`. None where nothing is left open.
pub fn with_role(said: &[u8], known: &[u8], own: &[u8]) -> Option<String> {
    let said = Sdp::parse(said).ok()?;
    let is_open = |line: &&str| role(line) == Some(OPEN);
    let texts =
        || std::iter::once(said.session()).chain(said.media().iter().map(|media| media.text));
    texts().flat_map(lines).find(is_open)?;
    let decided = match (decided_role(known), decided_role(own)) {
        (Some("active"), _) | (None, Some("passive") | None) => "active",
        (Some(_), _) | (None, Some(_)) => "passive",
    };
    let mut out = String::with_capacity(said.text.len());
    for line in texts().flat_map(lines) {
        match is_open(&line) {
            true => out.extend(["a=setup:", decided, "\r\n"]),
            false => out.extend([line, "\r\n"]),
        }
    }
    Some(out)
}

/// Returns the part that a description takes, where it leaves nothing open.
fn decided_role(said: &[u8]) -> Option<&'static str> {
    let said = Sdp::parse(said).ok()?;
    let all = said.media().iter().map(|media| media.text);
    let mut all = std::iter::once(said.session()).chain(all).flat_map(lines);
    all.find_map(|line| match role(line) {
        Some("active") => Some("active"),
        Some("passive") => Some("passive"),
        _ => None,
    })
}

fn role(line: &str) -> Option<&str> {
    Line::parse(line)?.attribute("setup")
}

fn names_ice(text: &str) -> bool {
    let mut all = lines(text).filter_map(Line::parse);
    all.any(|line| line.attribute("ice-ufrag").is_some())
}

fn ends_of(text: &str, past_us: bool, ice: bool) -> Vec<&str> {
    let known = if ice { &ENDS[2..] } else { &ENDS };
    let all = lines(text).filter(|text| {
        Line::parse(text).is_some_and(|line| {
            let says = |name: &str| line.attribute(name).is_some();
            known.iter().any(|name| says(name)) || past_us && says(KEYS)
        })
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(at: &str, port: u16, session: &str, audio: &str) -> String {
        format!(
            "v=0\r\no=- 7 1 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\n{session}\
             m=audio {port} RTP/AVP 0\r\n{audio}"
        )
    }

    #[test]
    fn a_stream_is_where_it_was_or_not() {
        const HOME: &str = "198.51.100.1";
        const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n";
        const UFRAG: &str = "a=ice-ufrag:one\r\n";
        const OTHER_UFRAG: &str = "a=ice-ufrag:two\r\n";
        let one = said(HOME, 4000, "", "");
        for (other, past_us, same) in [
            (said(HOME, 4000, "", "a=sendonly\r\n"), true, true),
            (said(HOME, 4002, "", ""), true, false),
            (said("198.51.100.2", 4000, "", ""), true, false),
            // What is refused is nowhere.
            (said(HOME, 0, "", UFRAG), true, true),
            (said(HOME, 4000, "", UFRAG), true, false),
            (said(HOME, 4000, UFRAG, ""), true, false),
            (said(HOME, 4000, "", KEY), true, false),
            (said(HOME, 4000, "", KEY), false, true),
            (said(HOME, 4000, "", UFRAG), false, true),
        ] {
            let found = same_ways(one.as_bytes(), other.as_bytes(), past_us);
            assert_eq!(found, same, "{other}");
        }
        let [at_home, away] = [4000, 5000].map(|port| said(HOME, port, "", UFRAG));
        assert!(same_ways(at_home.as_bytes(), away.as_bytes(), true));
        let [one, two] = [UFRAG, OTHER_UFRAG].map(|ufrag| said(HOME, 4000, ufrag, ""));
        assert!(!same_ways(one.as_bytes(), two.as_bytes(), true));
        let open = said(HOME, 4000, "", "a=setup:actpass\r\n");
        const ACTIVE: &str = "a=setup:active\r\n";
        const PASSIVE: &str = "a=setup:passive\r\n";
        const EITHER: &str = "a=setup:actpass\r\n";
        for (known, own, decided) in [
            ("", "", "active"),
            (PASSIVE, "", "passive"),
            (ACTIVE, EITHER, "active"),
            // The reader has decided it.
            (EITHER, ACTIVE, "passive"),
            (EITHER, PASSIVE, "active"),
        ] {
            let [known, own] = [known, own].map(|lines| said(HOME, 4000, "", lines));
            let answer = with_role(open.as_bytes(), known.as_bytes(), own.as_bytes()).unwrap();
            assert_eq!(answer, open.replace("actpass", decided));
        }
        assert_eq!(with_role(one.as_bytes(), open.as_bytes(), b""), None);
        assert!(has_ice(one.as_bytes()));
        assert!(!has_ice(said(HOME, 4000, "", KEY).as_bytes()));
    }
}
