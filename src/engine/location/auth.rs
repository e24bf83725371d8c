//! Digest authentication of requests (RFC 3261 22, RFC 8760).

use std::net::IpAddr;

use super::aor::of_user;
use super::hmac::{hex, keyed_hash};
use super::nonce::Nonces;
use super::offers::{Offer, Offers};
use crate::engine::events::Unproven;
use crate::engine::ids::{Aor, Transport};
use crate::engine::ports::World;
use crate::engine::settings::{Domain, Settings};
use crate::engine::time::Time;
use crate::sip::digest::{self, Algorithm, Credentials};
use crate::sip::{Message, Name, Uri};

/// Credentials looked at in one request.
const CREDENTIALS_MAX: usize = 8;

/// Why a request must come again with credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// 401, or 407 where a proxy asks.
    pub status: u16,
    pub why: Unproven,
    /// WWW-Authenticate or Proxy-Authenticate fields for the response, in the order to write them.
    pub headers: Vec<(Name, String)>,
    /// There were credentials for a nonce that was given to the address that they came from: whoever
    /// sent them is there, by datagram too.
    pub answered: bool,
}

/// In place of an HA1 where there is none.
const NOBODYS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Phones, by the beginning of their User-Agent, that give up where one of several challenges names an
/// algorithm that they do not know, instead of passing it over (RFC 7616 3.7).
const GIVE_UP: [&str; 3] = ["baresip v0.", "baresip v1.", "baresip v2."];

/// Asks for proof of who somebody is, and judges it.
pub struct Authenticator {
    secret: [u8; 32],
    nonces: Nonces,
    offers: Offers,
}

impl Authenticator {
    /// Makes an authenticator. The shards of a node have one secret, and each its own number.
    pub fn new(secret: [u8; 32], shard: u8) -> Self {
        Self {
            secret,
            nonces: Nonces::new(secret, shard),
            offers: Offers::new(secret),
        }
    }

    /// Returns the user of `domain` whose credentials a request carries: an AOR at the host of
    /// `claimed`, whom it says it comes from. The caller decides whether that user may do what is asked.
    ///
    /// Each algorithm is offered whose HA1 is known, MD5 first: RFC 8760 2.3 wants the preferred one on
    /// top, but many phones look at the first challenge only and know nothing but MD5; a client that knows
    /// more finds it below. A phone that would give up there is offered MD5 alone. SHA-512-256, which some
    /// that know SHA-256 give up at, is for users whose hash the configuration gives.
    ///
    /// A nonce may be used again within its life, under another count each time (RFC 7616 3.4); without
    /// `qop`, as RFC 2069 had it, once.
    ///
    /// # Errors
    /// The challenge to answer with. It does not show whether there is such a user, neither by what it
    /// offers nor by how long it takes.
    pub fn authenticate(
        &mut self,
        request: &Message,
        claimed: &Aor,
        domain: &Domain,
        settings: &Settings,
        source: IpAddr,
        now: Time,
        proxy: bool,
        world: &dyn World,
    ) -> Result<Aor, Challenge> {
        let name = if proxy {
            Name::ProxyAuthorization
        } else {
            Name::Authorization
        };
        let (mut why, mut answered) = (Unproven::Missing, false);
        let ours = request
            .fields(name)
            .filter_map(Credentials::parse)
            .filter(|credentials| credentials.realm == &*domain.realm)
            .take(CREDENTIALS_MAX);
        for credentials in ours {
            answered |= self
                .nonces
                .was_given(credentials.nonce, &domain.realm, source, now);
            // First of all: whether a password is right under a nonce that anybody made up is not told.
            let Some(nonce) = self.nonces.read(credentials.nonce, &domain.realm, now) else {
                why = Unproven::Stale;
                continue;
            };
            let Some(aor) = proven(&credentials, request, claimed, domain, settings) else {
                why = Unproven::Wrong;
                continue;
            };
            why = match credentials.count() {
                None => Unproven::Wrong,
                Some(count) if world.spend(nonce, count, now) => return Ok(aor),
                Some(_) => Unproven::Replayed,
            };
            break;
        }
        let nonce = self.nonces.make(&domain.realm, source, now);
        let offer = self.offers.of(claimed, domain, settings);
        let mut challenge = challenge(request, domain, offer, &nonce, proxy, why);
        challenge.answered = answered;
        Err(challenge)
    }

    /// Returns the To tag of a response to a request outside of dialogs: the same for each response to
    /// it (RFC 3261 8.2.6.2), with nothing to remember.
    pub(crate) fn tag(&self, request: &Message) -> String {
        let hash = keyed_hash(
            &self.secret,
            &[
                b"tag",
                request.call_id().as_bytes(),
                request.from_tag().unwrap_or("").as_bytes(),
            ],
        );
        hex(&hash, 8)
    }
}

fn challenge(
    request: &Message,
    domain: &Domain,
    offer: Offer,
    nonce: &str,
    proxy: bool,
    why: Unproven,
) -> Challenge {
    let (status, name) = if proxy {
        (407, Name::ProxyAuthenticate)
    } else {
        (401, Name::WwwAuthenticate)
    };
    let offered = Algorithm::ALL.into_iter().zip(offer);
    let offered = offered.filter_map(|(algorithm, offered)| offered.then_some(algorithm));
    let offered: Vec<Algorithm> = offered.collect();
    let alone = offered.contains(&Algorithm::Md5) && gives_up(request);
    let headers = offered
        .into_iter()
        .filter(|algorithm| !alone || *algorithm == Algorithm::Md5)
        .map(|algorithm| {
            let challenge = digest::Challenge {
                realm: &domain.realm,
                nonce,
                algorithm,
                stale: matches!(why, Unproven::Stale | Unproven::Replayed),
            };
            (name, challenge.to_header())
        })
        .collect();
    Challenge {
        status,
        why,
        headers,
        answered: false,
    }
}

/// The libraries of browsers know nothing but MD5, and SIP.js sees the last challenge alone.
fn gives_up(request: &Message) -> bool {
    let via = Transport::parse(request.via().transport);
    let browser = via.is_some_and(Transport::is_web_socket);
    let of_phone = request
        .header(Name::UserAgent)
        .is_some_and(|agent| GIVE_UP.iter().any(|phone| agent.starts_with(phone)));
    browser || of_phone
}

/// Returns the user that the credentials prove, whatever their nonce.
fn proven(
    credentials: &Credentials<'_>,
    request: &Message,
    claimed: &Aor,
    domain: &Domain,
    settings: &Settings,
) -> Option<Aor> {
    let user = credentials
        .username
        .strip_suffix(&*domain.realm)
        .and_then(|user| user.strip_suffix('@'))
        .or_else(|| {
            let (user, host) = credentials.username.rsplit_once('@')?;
            host.eq_ignore_ascii_case(claimed.host()).then_some(user)
        })
        .unwrap_or(credentials.username);
    let aor = of_user(user.as_bytes(), claimed.host());
    let algorithm = Algorithm::parse(credentials.algorithm)?;
    let known = settings.users.get(&aor);
    let known = known.and_then(|known| known.ha1(algorithm));
    // For a name that nobody has the same is done, so that it takes as long.
    let ha1 = known.unwrap_or(NOBODYS);
    let holds = meant_for(credentials.uri, request.uri())
        && credentials.prove(algorithm, ha1, request.method().as_str(), request.body());
    (known.is_some() && holds).then_some(aor)
}

/// Returns true where the digest's `uri` names what the Request-URI does (RFC 3261 22.4 rule 4): the
/// same user and host. Ports and parameters may differ, since proxies and phones add and drop them.
fn meant_for(uri: &str, request_uri: &str) -> bool {
    if uri == request_uri {
        return true;
    }
    match (Uri::parse(uri), Uri::parse(request_uri)) {
        (Ok(a), Ok(b)) => {
            a.user_unescaped() == b.user_unescaped() && a.host.eq_ignore_ascii_case(b.host)
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::nonce::{NONCE_LEN, NONCE_LIFE};
    use super::super::testing::{Book, START, aor, message, settings};
    use super::*;
    use crate::engine::time::Millis;

    const SOURCE: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 7);

    /// One shard's, and what all shards share.
    struct Desk {
        authenticator: Authenticator,
        book: Rc<Book>,
    }

    impl Desk {
        fn new(secret: [u8; 32], shard: u8) -> Self {
            Self {
                authenticator: Authenticator::new(secret, shard),
                book: Rc::default(),
            }
        }
    }

    fn request(authorization: &str) -> Message {
        message(&format!(
            "INVITE sip:bob@example.org SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\n\
             From: <sip:alice@example.org>;tag=1\nTo: <sip:bob@example.org>\nCall-ID: c\n\
             CSeq: 1 INVITE\n{authorization}"
        ))
    }

    fn header(challenge: &Challenge, at: usize) -> digest::Challenge<'_> {
        digest::Challenge::parse(&challenge.headers[at].1).unwrap()
    }

    fn ha1(algorithm: Algorithm, user: &str) -> String {
        digest::ha1(algorithm, user, "example.org", "secret")
    }

    fn judge(desk: &mut Desk, header: &str, now: Time) -> Result<Aor, Challenge> {
        let settings = settings();
        let request = request(header);
        let claimed = aor("sip:alice@example.org");
        desk.authenticator.authenticate(
            &request,
            &claimed,
            &settings.domains[0],
            &settings,
            SOURCE.into(),
            now,
            true,
            &*desk.book,
        )
    }

    #[test]
    fn a_proxy_asks_with_its_own_headers() {
        let mut desk = Desk::new([1; 32], 0);
        let challenge = judge(&mut desk, "", START).unwrap_err();
        assert_eq!((challenge.status, challenge.why), (407, Unproven::Missing));
        assert_eq!(challenge.headers.len(), 2);
        assert!(
            challenge
                .headers
                .iter()
                .all(|(name, _)| *name == Name::ProxyAuthenticate)
        );
        for at in 0..2 {
            let challenge = judge(&mut desk, "", START).unwrap_err();
            let asked = header(&challenge, at);
            let ha1 = ha1(asked.algorithm, "alice");
            let answer = asked.answer("alice", &ha1, "INVITE", "sip:bob@example.org", "x");
            let proxy = judge(
                &mut desk,
                &format!("Proxy-Authorization: {answer}\n"),
                START,
            );
            assert_eq!(proxy, Ok(aor("sip:alice@example.org")));
            // Of no use in the other header.
            let other = judge(&mut desk, &format!("Authorization: {answer}\n"), START);
            assert_eq!(other.unwrap_err().why, Unproven::Missing);
        }
    }

    #[test]
    fn a_browser_is_offered_md5_alone() {
        let (mut desk, settings) = (Desk::new([1; 32], 0), settings());
        for (transport, offers) in [("WS", 1), ("WSS", 1), ("TLS", 2)] {
            let request = message(&format!(
                "REGISTER sip:example.org SIP/2.0\nVia: SIP/2.0/{transport} h;branch=z9hG4bK1\n\
                 From: <sip:alice@example.org>;tag=1\nTo: <sip:alice@example.org>\nCall-ID: c\n\
                 CSeq: 1 REGISTER\n"
            ));
            let claimed = aor("sip:alice@example.org");
            let domain = &settings.domains[0];
            let challenge = desk.authenticator.authenticate(
                &request,
                &claimed,
                domain,
                &settings,
                SOURCE.into(),
                START,
                false,
                &*desk.book,
            );
            let challenge = challenge.unwrap_err();
            assert_eq!(challenge.headers.len(), offers, "{transport}");
            assert_eq!(header(&challenge, 0).algorithm, Algorithm::Md5);
        }
    }

    #[test]
    fn only_the_right_credentials_prove_anything() {
        let mut desk = Desk::new([1; 32], 0);
        let challenge = judge(&mut desk, "", START).unwrap_err();
        let asked = header(&challenge, 0);
        let right = ha1(asked.algorithm, "alice");
        let mut count = 0;
        let mut answer = |user: &str, ha1: &str, method: &str, uri: &str| {
            count += 1;
            let answer = asked.answer_again(user, ha1, method, uri, "x", count);
            judge(
                &mut desk,
                &format!("Proxy-Authorization: {answer}\n"),
                START,
            )
        };
        let here = "sip:bob@example.org";
        let alice = Ok(aor("sip:alice@example.org"));
        assert_eq!(answer("alice", &right, "INVITE", here), alice);
        assert_eq!(
            answer(
                "alice",
                &right,
                "INVITE",
                "sip:bob@EXAMPLE.org:5060;transport=udp"
            ),
            alice
        );
        let bob = ha1(asked.algorithm, "bob");
        assert_eq!(
            answer("bob", &bob, "INVITE", here),
            Ok(aor("sip:bob@example.org"))
        );
        assert_eq!(
            answer("alice@example.org", &right, "INVITE", here),
            alice,
            "user@realm, with the HA1 of the user alone"
        );
        for wrong in [
            answer("alice", &bob, "INVITE", here),
            answer("alice", &right, "REGISTER", here),
            answer("alice", &right, "INVITE", "sip:carol@example.org"),
            answer("alice", &right, "INVITE", "sip:bob@example.com"),
            answer("nobody", &right, "INVITE", here),
            // Knows SHA-256 only, and this is MD5.
            answer("carol", &ha1(Algorithm::Md5, "carol"), "INVITE", here),
        ] {
            let challenge = wrong.unwrap_err();
            assert_eq!(challenge.why, Unproven::Wrong);
            assert!(!header(&challenge, 0).stale);
        }
    }

    #[test]
    fn a_nonce_grows_old() {
        let mut desk = Desk::new([1; 32], 0);
        let challenge = judge(&mut desk, "", START).unwrap_err();
        let asked = header(&challenge, 0);
        let counted = |nonce: &str, count| {
            let asked = digest::Challenge {
                nonce,
                ..asked.clone()
            };
            let (right, uri) = (ha1(asked.algorithm, "alice"), "sip:bob@example.org");
            let answer = asked.answer_again("alice", &right, "INVITE", uri, "x", count);
            format!("Proxy-Authorization: {answer}\n")
        };
        let answer = |nonce: &str| counted(nonce, 1);
        let ours = answer(asked.nonce);
        for (count, at) in [(2, START), (1, START + NONCE_LIFE)] {
            let counted = counted(asked.nonce, count);
            assert!(judge(&mut desk, &counted, at).is_ok(), "in any order");
            // Whoever has read it on the way cannot use it.
            let again = judge(&mut desk, &counted, at).unwrap_err();
            assert_eq!(again.why, Unproven::Replayed);
            assert!(header(&again, 0).stale, "the phone comes again by itself");
        }
        // Too old, of the future, of another secret, no nonce of ours, one with its time changed.
        let later = format!("{:012x}{}", START.0 + 1, &asked.nonce[12..]);
        let mut other = Desk::new([2; 32], 0);
        let accents = "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}";
        for (of_another, credentials, at) in [
            (false, &ours, START + NONCE_LIFE + Millis(1)),
            (false, &ours, START - Millis(1)),
            (true, &ours, START),
            (false, &answer("x"), START),
            (false, &answer(accents), START),
            (false, &answer(&later), START + Millis(1)),
        ] {
            let judged = if of_another { &mut other } else { &mut desk };
            let challenge = judge(judged, credentials, at).unwrap_err();
            assert_eq!(challenge.why, Unproven::Stale);
            assert!(header(&challenge, 0).stale);
        }
    }

    #[test]
    fn a_nonce_shows_whom_it_was_given_to() {
        let mut desk = Desk::new([1; 32], 0);
        let challenge = judge(&mut desk, "", START).unwrap_err();
        assert!(!challenge.answered);
        let asked = header(&challenge, 0);
        assert_eq!(asked.nonce.len(), NONCE_LEN);
        let wrong = asked.answer("alice", "guess", "INVITE", "sip:bob@example.org", "x");
        let right = ha1(asked.algorithm, "alice");
        let right = asked.answer("alice", &right, "INVITE", "sip:bob@example.org", "x");
        let settings = settings();
        let mut from = |credentials: &str, source: [u8; 4], now| {
            let request = request(&format!("Proxy-Authorization: {credentials}\n"));
            let (claimed, domain) = (aor("sip:alice@example.org"), &settings.domains[0]);
            desk.authenticator.authenticate(
                &request,
                &claimed,
                domain,
                &settings,
                source.into(),
                now,
                true,
                &*desk.book,
            )
        };
        let elsewhere = [192, 0, 2, 8];
        assert!(from(&wrong, SOURCE.octets(), START).unwrap_err().answered);
        assert!(!from(&wrong, elsewhere, START).unwrap_err().answered);
        let late = START + NONCE_LIFE + Millis(1);
        assert!(!from(&wrong, SOURCE.octets(), late).unwrap_err().answered);
        assert!(from(&right, elsewhere, START).is_ok(), "phones move");
    }

    #[test]
    fn what_one_shard_has_taken_no_other_takes() {
        let mut first = Desk::new([1; 32], 0);
        let mut second = Desk::new([1; 32], 1);
        second.book = Rc::clone(&first.book);
        let challenge = judge(&mut first, "", START).unwrap_err();
        let asked = header(&challenge, 0);
        let ha1 = ha1(asked.algorithm, "alice");
        let answer = asked.answer("alice", &ha1, "INVITE", "sip:bob@example.org", "x");
        let answer = format!("Proxy-Authorization: {answer}\n");
        assert!(judge(&mut second, &answer, START).is_ok());
        for desk in [&mut first, &mut second] {
            let again = judge(desk, &answer, START).unwrap_err();
            assert_eq!(again.why, Unproven::Replayed);
        }
    }
}
