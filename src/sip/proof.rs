//! Challenges answered (RFC 3261 22.1 to 22.3, RFC 7616 3.4, RFC 8760 2.4): the client's half of digest.

use std::fmt;

use super::digest::{Algorithm, ha1, parameters};
use super::{Message, Name};

/// Challenges that are looked at in one response.
const LOOKED_AT: usize = 16;

/// Who asks, a server that answers for itself or a proxy on the way: the two have header fields of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Server,
    Proxy,
}

impl By {
    pub const ALL: [Self; 2] = [Self::Server, Self::Proxy];

    /// Returns the header that a challenge is in.
    pub fn asks(self) -> Name {
        match self {
            Self::Server => Name::WwwAuthenticate,
            Self::Proxy => Name::ProxyAuthenticate,
        }
    }

    /// Returns the header that credentials are in.
    pub fn answers(self) -> Name {
        match self {
            Self::Server => Name::Authorization,
            Self::Proxy => Name::ProxyAuthorization,
        }
    }
}

/// What of the request is hashed (RFC 7616 3.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    /// Servers that are older than qop (RFC 2069).
    None,
    Auth,
    /// The body too.
    AuthInt,
}

/// A challenge as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    pub by: By,
    pub realm: &'a str,
    pub nonce: &'a str,
    /// The credentials were right, and their nonce too old.
    pub stale: bool,
    opaque: Option<&'a str>,
    /// How it is to be answered, and whether the key is one of the session (`-sess`). None: not known here.
    how: Option<(Algorithm, bool, Qop)>,
}

impl<'a> Asked<'a> {
    /// Reads what a 401 or 407 asks, of servers and of proxies, in its order. A response that several have
    /// made has the challenges of all (RFC 3261 16.7 step 7).
    pub fn in_response(response: &'a Message) -> impl Iterator<Item = Self> {
        let of = |by: By| {
            let challenges = response.fields(by.asks());
            challenges.filter_map(move |value| Self::parse(by, value))
        };
        of(By::Server).chain(of(By::Proxy)).take(LOOKED_AT)
    }

    /// Reads one challenge; nothing where it is not Digest or lacks what it must have.
    pub fn parse(by: By, value: &'a str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
        let get = |name: &str| {
            let mut known = parameters(rest);
            known.find(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        // What would escape the quote after it is no value.
        let is_sound = |value: &str| {
            let escapes = value.len() - value.trim_end_matches('\\').len();
            escapes.is_multiple_of(2)
        };
        let get = |name: &str| get(name).map(|(_, value)| value).filter(|v| is_sound(v));
        scheme.eq_ignore_ascii_case("Digest").then_some(())?;
        Some(Self {
            by,
            realm: get("realm")?,
            nonce: get("nonce")?,
            stale: get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            opaque: get("opaque"),
            how: how(get("algorithm"), get("qop")),
        })
    }

    /// Returns true where it can be answered.
    pub fn is_known(&self) -> bool {
        self.how.is_some()
    }
}

fn how(algorithm: Option<&str>, qop: Option<&str>) -> Option<(Algorithm, bool, Qop)> {
    let plain = algorithm.filter(|word| word.to_ascii_lowercase().ends_with("-sess"));
    let plain = plain.map(|word| &word[..word.len() - "-sess".len()]);
    let of_session = plain.is_some();
    let algorithm = Algorithm::parse(plain.or(algorithm))?;
    let offers = |offered: &str, wanted: &str| {
        let mut offered = offered.split(',');
        offered.any(|qop| qop.trim().eq_ignore_ascii_case(wanted))
    };
    let qop = match qop {
        // Its key would be made of a cnonce, which there is none of without qop.
        None if of_session => return None,
        None => Qop::None,
        // What changes a body on the way does it no harm.
        Some(offered) if offers(offered, "auth") => Qop::Auth,
        Some(offered) if offers(offered, "auth-int") => Qop::AuthInt,
        Some(_) => return None,
    };
    Some((algorithm, of_session, qop))
}

/// What a realm is answered with, for as long as its nonce is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    pub by: By,
    pub realm: Box<str>,
    user: Box<str>,
    ha1: Box<str>,
    nonce: Box<str>,
    opaque: Option<Box<str>>,
    algorithm: Algorithm,
    of_session: bool,
    qop: Qop,
    /// One for a nonce: some servers make the key of a session of the first, others of the last one.
    cnonce: Box<str>,
    /// How often the nonce was used (RFC 7616 3.4: nc).
    count: u32,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", self.realm)
    }
}

impl Proof {
    /// Makes what a challenge is answered with. None where its algorithm, or all its qop, are not known.
    pub fn of(asked: &Asked<'_>, user: &str, password: &str, cnonce: &str) -> Option<Self> {
        let (algorithm, of_session, qop) = asked.how?;
        Some(Self {
            by: asked.by,
            realm: asked.realm.into(),
            user: user.into(),
            ha1: ha1(algorithm, user, asked.realm, password).into(),
            nonce: asked.nonce.into(),
            opaque: asked.opaque.map(Into::into),
            algorithm,
            of_session,
            qop,
            cnonce: cnonce.into(),
            count: 0,
        })
    }

    /// Returns true where it is for who asks, by that nonce.
    pub fn is_of(&self, asked: &Asked<'_>) -> bool {
        self.is_for(asked) && *self.nonce == *asked.nonce
    }

    /// Returns true where it is for who asks, by this nonce or another.
    pub fn is_for(&self, asked: &Asked<'_>) -> bool {
        self.by == asked.by && *self.realm == *asked.realm
    }

    /// The server wants another nonce from now on (RFC 7616 3.5: nextnonce).
    pub fn goes_on_with(&mut self, nonce: &str, cnonce: &str) {
        (self.nonce, self.cnonce, self.count) = (nonce.into(), cnonce.into(), 0);
    }

    /// Writes the value of Authorization or Proxy-Authorization for a request, and counts it.
    pub fn answer(&mut self, method: &str, uri: &str, body: &[u8]) -> String {
        let Self {
            user,
            realm,
            nonce,
            cnonce,
            ..
        } = self;
        let hash = |text: String| self.algorithm.hash(text);
        let ha1 = match self.of_session {
            true => hash(format!("{}:{nonce}:{cnonce}", self.ha1)),
            false => self.ha1.to_string(),
        };
        let ha2 = match self.qop {
            Qop::AuthInt => hash(format!("{method}:{uri}:{}", self.algorithm.hash(body))),
            Qop::Auth | Qop::None => hash(format!("{method}:{uri}")),
        };
        self.count = self.count.saturating_add(1);
        let nc = format!("{:08x}", self.count);
        let (response, used) = match self.qop {
            Qop::None => (hash(format!("{ha1}:{nonce}:{ha2}")), String::new()),
            Qop::Auth | Qop::AuthInt => {
                let qop = match self.qop {
                    Qop::AuthInt => "auth-int",
                    Qop::Auth | Qop::None => "auth",
                };
                (
                    hash(format!("{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}")),
                    format!(", cnonce=\"{cnonce}\", qop={qop}, nc={nc}"),
                )
            }
        };
        let sess = if self.of_session { "-sess" } else { "" };
        let algorithm = self.algorithm.as_str();
        let opaque = self.opaque.as_ref();
        let opaque = opaque.map_or_else(String::new, |known| format!(", opaque=\"{known}\""));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={algorithm}{sess}{used}{opaque}"
        )
    }
}

/// Returns the nonce that a server wants from now on, by the value of its Authentication-Info.
pub fn next_nonce(value: &str) -> Option<&str> {
    let mut known = parameters(value);
    let next = known.find(|(name, _)| name.eq_ignore_ascii_case("nextnonce"));
    next.map(|(_, nonce)| nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::digest::Credentials;

    const NONCE: &str = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn challenge(more: &str) -> String {
        format!("Digest realm=\"http-auth@example.org\", nonce=\"{NONCE}\"{more}")
    }

    fn proof(more: &str) -> Option<Proof> {
        let text = challenge(more);
        let asked = Asked::parse(By::Server, &text)?;
        let proof = Proof::of(&asked, "Mufasa", "Circle of Life", CNONCE);
        assert_eq!(proof.is_some(), asked.is_known());
        proof
    }

    /// RFC 7616 3.9.1; what is of a session, or holds the body, as another implementation hashes it.
    #[test]
    fn the_example_of_the_rfc_and_its_kin() {
        for (algorithm, qop, expected) in [
            ("MD5", "auth,auth-int", "8ca523f5e9506fed4657c9700eebdbec"),
            ("MD5", "auth-int", "3835b139d1606d821f6f96713d044ded"),
            ("md5-sess", "auth", "e783283f46242139c486a698fec7211d"),
            ("MD5-sess", "auth-int", "95a97f9edf077a8935ef998409f66850"),
            (
                "SHA-256",
                "auth-int, auth",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
            (
                "SHA-256-sess",
                "auth",
                "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7",
            ),
            (
                "SHA-512-256-sess",
                "auth-int",
                "b0298a54e3165e9a68059b5199519de0c413ba1009fe63cbadc6467c348ed236",
            ),
        ] {
            let more = format!(", algorithm={algorithm}, qop=\"{qop}\", opaque=\"o\"");
            let answer = proof(&more)
                .unwrap()
                .answer("GET", "/dir/index.html", b"v=0");
            let read = Credentials::parse(&answer).unwrap();
            assert_eq!(read.response, expected, "{more}");
            assert_eq!((read.opaque, read.nc), (Some("o"), Some("00000001")));
            assert!(read.algorithm.unwrap().eq_ignore_ascii_case(algorithm));
        }
    }

    #[test]
    fn what_is_not_known_is_not_answered() {
        for more in [
            ", algorithm=SHA-1, qop=\"auth\"",
            ", algorithm=-sess, qop=\"auth\"",
            ", algorithm=MD5, qop=\"auth-conf\"",
            ", algorithm=MD5-sess",
        ] {
            assert_eq!(proof(more), None, "{more}");
        }
        for no_digest in [
            "Basic realm=\"r\"",
            "Digest realm=\"r\"",
            "Digest realm=r\\, nonce=n",
        ] {
            assert_eq!(Asked::parse(By::Proxy, no_digest), None, "{no_digest}");
        }
    }

    /// RFC 2617 3.2.2.1.
    #[test]
    fn servers_older_than_qop_are_told_no_count() {
        let answer = proof("").unwrap().answer("GET", "/dir/index.html", b"");
        let read = Credentials::parse(&answer).unwrap();
        assert_eq!((read.nc, read.cnonce, read.qop), (None, None, None));
        let ha1 = ha1(
            Algorithm::Md5,
            "Mufasa",
            "http-auth@example.org",
            "Circle of Life",
        );
        assert!(read.prove(Algorithm::Md5, &ha1, "GET", b""));
    }

    #[test]
    fn each_use_of_a_nonce_is_counted_and_a_new_one_from_one() {
        let mut proof = proof(", qop=\"auth\"").unwrap();
        let mut count = || {
            let answer = proof.answer("INVITE", "sip:x", b"");
            Credentials::parse(&answer).unwrap().count().unwrap()
        };
        assert_eq!([count(), count(), count()], [1, 2, 3]);
        proof.goes_on_with("n2", "c2");
        let answer = proof.answer("INVITE", "sip:x", b"");
        let read = Credentials::parse(&answer).unwrap();
        assert_eq!(
            (read.nonce, read.cnonce, read.count()),
            ("n2", Some("c2"), Some(1))
        );
        assert_eq!(
            next_nonce("qop=auth, nextnonce=\"n3\", nc=00000001"),
            Some("n3")
        );
        assert_eq!(next_nonce("rspauth=\"0\""), None);
    }
}
