//! Guesses at what an upstream knows: credentials that pass through here on their way to it, and what it says
//! of them. It sees us and not who guesses, so that whoever guesses is to be shut out here.
//!
//! | the upstream's answer | to | is |
//! | --- | --- | --- |
//! | 401, 407 | no credentials for that realm | how every client begins |
//! | 401, 407 with `stale=true` | any | a nonce that is too old |
//! | 401, 407 | credentials by which their user was let in before from there | the same, of an upstream that does not say `stale` or was started anew |
//! | 401, 407 | other credentials | a guess |
//! | 403 to a REGISTER | credentials by which nobody was let in | a guess |
//!
//! Over a connection a guess is where it comes from. By datagram it is where the nonce that it answers was
//! sent.

use std::net::IpAddr;

use crate::engine::events::{Event, Offence, Unproven};
use crate::engine::ids::Flow;
use crate::engine::mint::hash64;
use crate::engine::ports::World;
use crate::engine::time::{Millis, Time};
use crate::sip::digest::{Challenge, Credentials};
use crate::sip::{Message, Method, Name};

/// How long a nonce that was handed on shows that whoever answers it is where it was sent.
const HANDED: Millis = Millis::from_secs(10 * 60);
/// How long somebody who was let in may come again with the same nonce.
const LET_IN: Millis = Millis::from_secs(2 * 3600);
/// Credentials, and challenges, looked at in one message.
const LOOKED_AT: usize = 8;

/// Credentials of a request that went on to an upstream.
pub(crate) struct Tried<'a> {
    credentials: Vec<Credentials<'a>>,
    method: &'a Method,
    from: &'a Flow,
}

impl<'a> Tried<'a> {
    /// Reads those of a request that came over a flow.
    pub(crate) fn of(request: &'a Message, from: &'a Flow) -> Self {
        let values = request.fields(Name::Authorization);
        let values = values.chain(request.fields(Name::ProxyAuthorization));
        Self::new(values, request.method(), from)
    }

    /// Reads those among header lines of a request.
    pub(crate) fn in_lines(lines: &'a [u8], method: &'a Method, from: &'a Flow) -> Self {
        let names = [Name::Authorization, Name::ProxyAuthorization];
        Self::new(values(lines, names), method, from)
    }

    /// Returns true where the challenge among header lines of the upstream's answer refuses credentials that have let
    /// nobody in before.
    pub(crate) fn is_refused(&self, lines: &[u8], now: Time, world: &dyn World) -> bool {
        let names = [Name::WwwAuthenticate, Name::ProxyAuthenticate];
        let asked = challenges(values(lines, names));
        self.guess(now, world, |shown| refuses(&asked, shown))
            .is_some()
    }

    fn new(values: impl Iterator<Item = &'a str>, method: &'a Method, from: &'a Flow) -> Self {
        let credentials = values.filter_map(Credentials::parse);
        Self {
            credentials: credentials.take(LOOKED_AT).collect(),
            method,
            from,
        }
    }

    /// Takes note of the upstream's final answer. Returns what is to be told of it: nothing, or a guess.
    pub(crate) fn judged(
        &self,
        response: &Message,
        now: Time,
        world: &mut dyn World,
    ) -> Vec<Event> {
        let guess = match response.status() {
            200..300 => {
                for credentials in &self.credentials {
                    world.mark(self.let_in(credentials), LET_IN, now);
                }
                None
            }
            401 | 407 => {
                let asked = response.fields(Name::WwwAuthenticate);
                let asked = asked.chain(response.fields(Name::ProxyAuthenticate));
                let asked = challenges(asked);
                let guess = self.guess(now, world, |shown| refuses(&asked, shown));
                let by_datagram = !self.from.transport.is_reliable();
                for challenge in asked.iter().filter(|_| by_datagram) {
                    world.mark(self.handed(challenge.nonce), HANDED, now);
                }
                guess
            }
            403 if *self.method == Method::Register => self.guess(now, world, |_| true),
            _ => None,
        };
        let Some((credentials, proven)) = guess else {
            return Vec::new();
        };
        let Credentials {
            username, realm, ..
        } = credentials;
        vec![
            Event::Unproven {
                method: self.method.as_str().into(),
                aor: format!("sip:{username}@{realm}").into(),
                why: Unproven::Wrong,
                peer: self.from.peer,
            },
            Event::Offence {
                what: Offence::Credentials,
                flow: *self.from,
                proven,
            },
        ]
    }

    /// Returns the first credentials that are refused and have let nobody in before, and whether they
    /// surely come from there.
    fn guess(
        &self,
        now: Time,
        world: &dyn World,
        is_refused: impl Fn(&Credentials<'_>) -> bool,
    ) -> Option<(&Credentials<'a>, bool)> {
        let wrong = |credentials: &&Credentials<'_>| {
            is_refused(credentials) && !world.is_marked(self.let_in(credentials), now)
        };
        let wrong = self.credentials.iter().find(wrong)?;
        let proven =
            self.from.transport.is_reliable() || world.is_marked(self.handed(wrong.nonce), now);
        Some((wrong, proven))
    }

    fn let_in(&self, credentials: &Credentials<'_>) -> u64 {
        let Credentials {
            username,
            realm,
            nonce,
            ..
        } = credentials;
        hash64(("let in", username, realm, nonce, self.source()))
    }

    fn handed(&self, nonce: &str) -> u64 {
        hash64(("handed", nonce, self.source()))
    }

    fn source(&self) -> IpAddr {
        self.from.peer.ip().to_canonical()
    }
}

/// Returns the values of two headers among header lines.
fn values(lines: &[u8], names: [Name; 2]) -> impl Iterator<Item = &str> {
    let lines = lines.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        let mut wanted = names.iter();
        let is = wanted.any(|wanted| name.eq_ignore_ascii_case(wanted.as_str()));
        is.then_some(value)
    })
}

fn challenges<'c>(values: impl Iterator<Item = &'c str>) -> Vec<Challenge<'c>> {
    values
        .filter_map(Challenge::parse)
        .take(LOOKED_AT)
        .collect()
}

/// Returns true where credentials are asked for again, and not since their nonce is too old.
fn refuses(asked: &[Challenge<'_>], shown: &Credentials<'_>) -> bool {
    let mut again = asked.iter().filter(|c| c.realm == shown.realm);
    let first = again.next();
    first.is_some_and(|first| !first.stale) && again.all(|other| !other.stale)
}
