//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 22): what is hashed, and how it is written.

use std::fmt::Write;

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

use super::params::{is_balanced, split_quoted};

/// A hash of the `algorithm` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha256,
    Sha512_256,
}

impl Algorithm {
    /// Those that are known, the weakest first.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512_256];

    /// Reads the parameter; nothing said is MD5 (RFC 7616 3.4).
    pub fn parse(word: Option<&str>) -> Option<Self> {
        let Some(word) = word else {
            return Some(Self::Md5);
        };
        Self::ALL
            .into_iter()
            .find(|known| word.eq_ignore_ascii_case(known.as_str()))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// Hashes text to lower-case hex.
    pub fn hash(self, text: impl AsRef<[u8]>) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
            Self::Sha512_256 => hex(&Sha512_256::digest(text)),
        }
    }
}

/// An Authorization header taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials<'a> {
    pub username: &'a str,
    pub realm: &'a str,
    pub nonce: &'a str,
    pub uri: &'a str,
    pub response: &'a str,
    pub algorithm: Option<&'a str>,
    pub cnonce: Option<&'a str>,
    pub qop: Option<&'a str>,
    /// As it came: eight hex digits.
    pub nc: Option<&'a str>,
    pub opaque: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads a header value; nothing where it is not Digest or lacks what it must have.
    pub fn parse(value: &'a str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let get = |name: &str| {
            parameters(rest)
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, v)| v)
        };
        Some(Self {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm: get("algorithm"),
            cnonce: get("cnonce"),
            qop: get("qop"),
            nc: get("nc"),
            opaque: get("opaque"),
        })
    }

    /// Returns the nonce count; 0 where there is no `qop` to count for (RFC 7616 3.4). None where it is not
    /// eight hex digits.
    pub fn count(&self) -> Option<u32> {
        if self.qop.is_none() {
            return Some(0);
        }
        let nc = self.nc.filter(|nc| nc.len() == 8)?;
        let digits = nc.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u32::from_str_radix(nc, 16).ok())?
    }

    /// Returns true where the response is what the holder of `ha1` would have sent (RFC 7616 3.4.1).
    /// The comparison takes the same time wherever the two differ.
    pub fn prove(&self, algorithm: Algorithm, ha1: &str, method: &str, body: &[u8]) -> bool {
        let Some(expected) = self.expected(algorithm, ha1, method, body) else {
            return false;
        };
        same(
            expected.as_bytes(),
            self.response.to_ascii_lowercase().as_bytes(),
        )
    }

    fn expected(
        &self,
        algorithm: Algorithm,
        ha1: &str,
        method: &str,
        body: &[u8],
    ) -> Option<String> {
        let ha2 = match self.qop {
            Some(qop) if qop.eq_ignore_ascii_case("auth-int") => {
                let entity = algorithm.hash(body);
                algorithm.hash(format!("{method}:{}:{entity}", self.uri))
            }
            Some(qop) if !qop.eq_ignore_ascii_case("auth") => return None,
            Some(_) | None => algorithm.hash(format!("{method}:{}", self.uri)),
        };
        Some(match self.qop {
            Some(qop) => algorithm.hash(format!(
                "{ha1}:{}:{}:{}:{qop}:{ha2}",
                self.nonce, self.nc?, self.cnonce?
            )),
            // RFC 2069, which old phones still speak.
            None => algorithm.hash(format!("{ha1}:{}:{ha2}", self.nonce)),
        })
    }
}

/// A challenge to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    pub realm: &'a str,
    pub nonce: &'a str,
    pub algorithm: Algorithm,
    pub stale: bool,
}

impl Challenge<'_> {
    /// Writes the value of WWW-Authenticate or Proxy-Authenticate.
    pub fn to_header(&self) -> String {
        format!(
            "Digest realm=\"{}\", nonce=\"{}\", algorithm={}, qop=\"auth\"{}",
            self.realm,
            self.nonce,
            self.algorithm.as_str(),
            if self.stale { ", stale=true" } else { "" }
        )
    }

    /// Reads a challenge, for who has to answer one.
    pub fn parse(value: &str) -> Option<Challenge<'_>> {
        let (scheme, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        let get = |name: &str| {
            parameters(rest)
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, v)| v)
        };
        scheme.eq_ignore_ascii_case("Digest").then_some(())?;
        Some(Challenge {
            realm: get("realm")?,
            nonce: get("nonce")?,
            algorithm: Algorithm::parse(get("algorithm"))?,
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// Writes the Authorization value that answers it with qop `auth`, for the first time.
    pub fn answer(
        &self,
        username: &str,
        ha1: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> String {
        self.answer_again(username, ha1, method, uri, cnonce, 1)
    }

    /// The same for the time numbered `count` (RFC 7616 3.4: nc).
    pub fn answer_again(
        &self,
        username: &str,
        ha1: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
        count: u32,
    ) -> String {
        let (realm, nonce, nc) = (self.realm, self.nonce, format!("{count:08x}"));
        let ha2 = self.algorithm.hash(format!("{method}:{uri}"));
        let response = self
            .algorithm
            .hash(format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{username}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={}, cnonce=\"{cnonce}\", qop=auth, nc={nc}",
            self.algorithm.as_str()
        )
    }
}

/// Returns HA1 (RFC 7616 3.4.2).
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(format!("{user}:{realm}:{password}"))
}

/// Goes through the parameters; of a quoted value what stands between the quotes, as RFC 7616 hashes it.
pub(super) fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    split_quoted(text, b',').filter_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        let value = value.trim();
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"')?,
            None => value,
        };
        let sound = is_balanced(part) && !unescaped_quote(value);
        sound.then_some((name.trim(), value))
    })
}

fn unescaped_quote(value: &str) -> bool {
    let mut escaped = false;
    value.bytes().any(|byte| {
        let quote = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        quote
    })
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 3.5, and the same input hashed with SHA-256 by another implementation.
    #[test]
    fn the_example_of_the_rfc() {
        for (algorithm, response) in [
            (
                Algorithm::Sha512_256,
                "f23c08ec7334a881f8286e68450ddbd9f0cd91c41481f0e1433604da8113c6dc",
            ),
            (Algorithm::Md5, "6629fae49393a05397450978507c4ef1"),
            (
                Algorithm::Sha256,
                "5abdd07184ba512a22c53f41470e5eea7dcaa3a93a59b630c13dfe0a5dc6e38b",
            ),
        ] {
            let ha1 = ha1(algorithm, "Mufasa", "testrealm@host.com", "Circle Of Life");
            let header = format!(
                "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", uri=\"/dir/index.html\", \
                 algorithm={}, nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", nc=00000001, \
                 cnonce=\"0a4f113b\", qop=auth, response=\"{response}\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
                algorithm.as_str()
            );
            let credentials = Credentials::parse(&header).unwrap();
            assert!(credentials.prove(algorithm, &ha1, "GET", b""));
            assert!(!credentials.prove(algorithm, &ha1, "PUT", b""));
        }
    }

    /// RFC 7616 3.4.2, 3.4.3: auth-int holds the body too.
    #[test]
    fn the_body_is_held_where_the_client_says_so() {
        for algorithm in Algorithm::ALL {
            let (ha1, body) = (ha1(algorithm, "bob", "r", "pw"), b"v=0");
            let ha2 = algorithm.hash(format!("INVITE:sip:x:{}", algorithm.hash(body)));
            let response = algorithm.hash(format!("{ha1}:n:00000001:c:auth-int:{ha2}"));
            let header = format!(
                "Digest username=\"bob\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", qop=auth-int, \
                 nc=00000001, cnonce=\"c\", response=\"{response}\", algorithm={}",
                algorithm.as_str()
            );
            let credentials = Credentials::parse(&header).unwrap();
            assert!(credentials.prove(algorithm, &ha1, "INVITE", body));
            assert!(!credentials.prove(algorithm, &ha1, "INVITE", b"v=1"));
        }
    }

    #[test]
    fn counts_are_eight_hex_digits() {
        for (more, count) in [
            ("qop=auth, nc=0000000a", Some(10)),
            ("qop=auth, nc=FFFFFFFF", Some(u32::MAX)),
            ("qop=auth, nc=1", None),
            ("qop=auth, nc=+0000001", None),
            ("qop=auth", None),
            // RFC 2069 has none.
            ("opaque=x", Some(0)),
        ] {
            let header = format!(
                "Digest username=\"bob\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"0\", {more}"
            );
            assert_eq!(
                Credentials::parse(&header).unwrap().count(),
                count,
                "{more}"
            );
        }
    }

    #[test]
    fn a_quote_out_of_place_is_no_value() {
        let header =
            |nonce: &str| format!("Digest realm=\"a, \\\"b\\\"\", nonce={nonce}, algorithm=MD5");
        let good = header("\"n\"");
        let challenge = Challenge::parse(&good).unwrap();
        assert_eq!((challenge.realm, challenge.nonce), ("a, \\\"b\\\"", "n"));
        for nonce in ["\"n", "n\"", "\"", "\"a\"b\"", "\"a\" b=\"c\""] {
            assert_eq!(Challenge::parse(&header(nonce)), None, "{nonce}");
        }
    }

    #[test]
    fn a_challenge_can_be_answered() {
        let challenge = Challenge {
            realm: "r",
            nonce: "n",
            algorithm: Algorithm::Sha256,
            stale: false,
        };
        let header = challenge.to_header();
        let read = Challenge::parse(&header).unwrap();
        assert_eq!(read, challenge);
        let ha1 = ha1(Algorithm::Sha256, "bob", "r", "pw");
        let answer = read.answer("bob", &ha1, "REGISTER", "sip:x", "c");
        assert!(Credentials::parse(&answer).unwrap().prove(
            Algorithm::Sha256,
            &ha1,
            "REGISTER",
            b""
        ));
    }
}
