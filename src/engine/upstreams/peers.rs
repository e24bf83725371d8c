//! Upstreams at the addresses that their names have: those that are believed, as whom the configuration lists is,
//! and the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::engine::ids::Flow;
use crate::engine::locating::{Hop, Located};
use crate::engine::mint::Mint;
use crate::engine::network::Network;
use crate::engine::ports::{Output, Token, World};
use crate::engine::settings::Settings;
use crate::engine::time::{Millis, Time};
use crate::engine::trust;
use crate::sip::Uri;

/// How often the names of upstreams are looked up.
const REFRESH: Millis = Millis::from_secs(60);
/// How long an address is believed that no look-up has shown since.
const KEEP: Millis = Millis::from_secs(15 * 60);
/// Addresses known of all upstreams.
const ADDRESSES_MAX: usize = 4096;

/// The addresses of upstreams: of all that are trusted, or of all that are not.
pub(crate) struct Peers {
    known: BTreeMap<IpAddr, Known>,
    /// Where they call from, beside the addresses of their targets.
    sources: Vec<(Network, Box<str>)>,
    /// Those that must be located, and whose they are.
    names: Vec<(Hop, BTreeSet<Box<str>>)>,
    /// Questions, and which of the names each is about.
    asked: Vec<(Token, usize)>,
    next: Time,
}

/// One address, by the upstreams that have it.
#[derive(Default)]
struct Known(BTreeMap<Box<str>, Shown>);

/// Where one of them is there.
struct Shown {
    /// When a look-up last showed it. None: the configuration names it itself.
    seen: Option<Time>,
    ports: BTreeSet<u16>,
}

impl Known {
    fn shows(&mut self, name: &str, port: u16, seen: Option<Time>) {
        let shown = self.0.entry(name.into()).or_insert_with(|| Shown {
            seen,
            ports: BTreeSet::new(),
        });
        // What the configuration names stays.
        shown.seen = shown.seen.and(seen);
        shown.ports.insert(port);
    }
}

impl Peers {
    pub(crate) fn of(settings: &Settings, trusted: bool) -> Self {
        let mut peers = Self {
            known: BTreeMap::new(),
            sources: Vec::new(),
            names: Vec::new(),
            asked: Vec::new(),
            next: Time(0),
        };
        let upstreams = settings
            .upstreams
            .iter()
            .filter(|(_, upstream)| upstream.trusted == trusted);
        let sources = upstreams.clone().flat_map(|(name, upstream)| {
            let sources = upstream.sources.iter();
            sources.map(|source| (*source, name.clone()))
        });
        peers.sources = sources.collect();
        let targets = upstreams.flat_map(|(name, upstream)| {
            let targets = upstream.targets.iter();
            targets.map(move |target| (name, target))
        });
        for (name, target) in targets {
            let Ok(uri) = Uri::parse(&target.uri) else {
                continue;
            };
            let Some(hop) = Hop::of(&uri) else { continue };
            match hop.numeric() {
                Some((_, at)) => {
                    let known = peers.known.entry(at.ip().to_canonical());
                    known.or_default().shows(name, at.port(), None);
                }
                None => {
                    let of = peers.names.iter_mut().find(|(known, _)| *known == hop);
                    match of {
                        Some((_, of)) => {
                            of.insert(name.clone());
                        }
                        None => peers.names.push((hop, [name.clone()].into())),
                    }
                }
            }
        }
        peers
    }

    /// Returns true where a request over the flow is believed in what it says of its sender.
    pub(crate) fn trusts(&self, flow: &Flow, settings: &Settings, world: &dyn World) -> bool {
        self.knows(flow.peer.ip()) || trust::is_listed(flow, settings, world)
    }

    /// Returns true for an address of one of them.
    pub(crate) fn knows(&self, source: IpAddr) -> bool {
        self.known.contains_key(&source.to_canonical()) || self.from(source).next().is_some()
    }

    /// Returns true where one of them is spoken to.
    pub(crate) fn speak_at(&self, place: SocketAddr) -> bool {
        let known = self.known.get(&place.ip().to_canonical());
        known.is_some_and(|Known(of)| of.values().any(|it| it.ports.contains(&place.port())))
    }

    /// Returns true where a target of that one is, or was lately: what it is called by may lead to a few of its addresses
    /// at a time.
    pub(crate) fn stands_at(&self, name: &str, place: IpAddr) -> bool {
        let known = self.known.get(&place.to_canonical());
        known.is_some_and(|Known(of)| of.contains_key(name))
    }

    /// Returns the upstreams that call from there.
    fn from(&self, source: IpAddr) -> impl Iterator<Item = &Box<str>> {
        let sources = self.sources.iter();
        let holding = sources.filter(move |(network, _)| network.holds(source));
        holding.map(|(_, name)| name)
    }

    /// Returns whose address it is: the names of upstreams. Where several share a host, those that have its very
    /// port, and none where that is nobody's: it is one of them, and which cannot be told.
    pub(crate) fn at(&self, source: SocketAddr) -> Vec<Box<str>> {
        let of = self.known.get(&source.ip().to_canonical());
        let of = of.map(|Known(of)| of);
        let alone = of.is_some_and(|of| of.len() == 1);
        let there = of
            .into_iter()
            .flatten()
            .filter(|(_, shown)| alone || shown.ports.contains(&source.port()));
        let there = there.map(|(name, _)| name).chain(self.from(source.ip()));
        let there: BTreeSet<&Box<str>> = there.collect();
        there.into_iter().cloned().collect()
    }

    /// Asks anew where the upstreams are, when it is time.
    pub(crate) fn refresh(&mut self, now: Time, mint: &mut Mint) -> Vec<Output> {
        if now < self.next || self.names.is_empty() {
            return Vec::new();
        }
        self.next = now + REFRESH;
        self.known.retain(|_, Known(of)| {
            of.retain(|_, shown| shown.seen.is_none_or(|seen| seen + KEEP > now));
            !of.is_empty()
        });
        // An answer that comes after the next question is of no use.
        self.asked.clear();
        let names = self.names.iter().enumerate();
        let questions = names.map(|(at, (hop, _))| {
            let (token, hop) = (mint.token(), hop.clone());
            self.asked.push((token, at));
            Output::Resolve { token, hop }
        });
        questions.collect()
    }

    /// Takes the answer to a question of `refresh`. Returns false where it is none.
    pub(crate) fn on_resolved(&mut self, token: Token, targets: &[Located], now: Time) -> bool {
        let Some(at) = self.asked.iter().position(|(asked, _)| *asked == token) else {
            return false;
        };
        let (_, name) = self.asked.swap_remove(at);
        let Some((_, of)) = self.names.get(name) else {
            return true;
        };
        for (_, address) in targets {
            let ip = address.ip().to_canonical();
            if self.known.len() < ADDRESSES_MAX || self.known.contains_key(&ip) {
                let known = self.known.entry(ip).or_default();
                for name in of {
                    known.shows(name, address.port(), Some(now));
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Transport;
    use crate::engine::settings::{PathMode, Upstream};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn settings(targets: &[&str], trusted: bool) -> Settings {
        let upstream = Upstream {
            targets: targets.iter().map(|target| (*target).into()).collect(),
            sources: Vec::new(),
            trusted,
            path: PathMode::Path,
            probe: None,
            ..Upstream::default()
        };
        Settings {
            upstreams: [("pbx".into(), upstream)].into(),
            ..Settings::default()
        }
    }

    #[test]
    fn an_address_in_the_configuration_is_known_from_the_start() {
        let here = settings(&["sip:192.0.2.1:5070", "sip:[2001:db8::1]"], true);
        let mut peers = Peers::of(&here, true);
        for (source, trusted) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("2001:db8::1", true),
            ("192.0.2.2", false),
        ] {
            assert_eq!(peers.knows(ip(source)), trusted, "{source}");
            let of = peers.at(SocketAddr::new(ip(source), 40_000));
            assert_eq!(of == ["pbx".into()], trusted, "{source}: {of:?}");
        }
        assert!(peers.refresh(Time(0), &mut Mint::new([1; 32])).is_empty());
        let here = settings(&["sip:192.0.2.1:5070"], false);
        assert!(!Peers::of(&here, true).knows(ip("192.0.2.1")));
        assert!(Peers::of(&here, false).knows(ip("192.0.2.1")));
    }

    #[test]
    fn upstreams_that_share_a_host_are_told_apart_by_their_ports() {
        let mut here = settings(&["sip:192.0.2.1:5060"], true);
        let trunk = settings(&["sip:192.0.2.1:5080"], true);
        let trunk = trunk.upstreams.into_values().next().unwrap();
        here.upstreams.insert("trunk".into(), trunk);
        let peers = Peers::of(&here, true);
        for (port, of) in [(5060, &["pbx"][..]), (5080, &["trunk"]), (40_000, &[])] {
            let known = peers.at(SocketAddr::new(ip("192.0.2.1"), port));
            let known: Vec<&str> = known.iter().map(|name| &**name).collect();
            assert_eq!(known, of, "{port}");
        }
        assert!(peers.knows(ip("192.0.2.1")));
    }

    #[test]
    fn who_calls_from_elsewhere_is_known_by_that_too() {
        let mut here = settings(&["sip:192.0.2.1"], true);
        let sources = ["198.51.100.0/24".parse().unwrap()];
        here.upstreams.values_mut().next().unwrap().sources = sources.into();
        let peers = Peers::of(&here, true);
        for (source, is) in [
            ("192.0.2.1", true),
            ("198.51.100.7", true),
            ("::ffff:198.51.100.7", true),
            ("198.51.101.7", false),
        ] {
            assert_eq!(peers.knows(ip(source)), is, "{source}");
            let of = peers.at(SocketAddr::new(ip(source), 40_000));
            assert_eq!(of == ["pbx".into()], is, "{source}: {of:?}");
        }
        assert!(!Peers::of(&here, false).knows(ip("198.51.100.7")));
    }

    #[test]
    fn a_name_is_looked_up_again_and_again() {
        let here = settings(&["sip:pbx.example:5070;transport=tcp"], true);
        let (mut peers, mut mint) = (Peers::of(&here, true), Mint::new([1; 32]));
        let mut ask = |peers: &mut Peers, now| {
            let asked = peers.refresh(now, &mut mint).pop()?;
            let Output::Resolve { token, hop } = asked else {
                panic!("{asked:?}");
            };
            assert_eq!((&*hop.host, hop.port), ("pbx.example", Some(5070)));
            assert_eq!(hop.transport, Some(Transport::Tcp));
            Some(token)
        };
        let answer = |text: &str| vec![(Transport::Tcp, SocketAddr::new(ip(text), 5070))];
        let now = Time(1_000_000);
        let first = ask(&mut peers, now).unwrap();
        assert_eq!(ask(&mut peers, now), None, "it was asked a moment ago");
        assert!(!peers.on_resolved(Token(first.0 ^ 1), &answer("192.0.2.9"), now));
        assert!(peers.on_resolved(first, &answer("192.0.2.1"), now));
        assert!(!peers.on_resolved(first, &answer("192.0.2.9"), now), "once");
        assert!(peers.knows(ip("192.0.2.1")));
        assert_eq!(peers.at(SocketAddr::new(ip("192.0.2.1"), 5070)).len(), 1);
        assert!(!peers.knows(ip("192.0.2.9")));
        // It has moved: the old address is believed for a while.
        let second = ask(&mut peers, now + REFRESH).unwrap();
        assert!(peers.on_resolved(second, &answer("192.0.2.2"), now + REFRESH));
        assert!(peers.knows(ip("192.0.2.1")) && peers.knows(ip("192.0.2.2")));
        // A resolver that fails takes nothing away before that.
        let third = ask(&mut peers, now + KEEP).unwrap();
        assert!(peers.on_resolved(third, &[], now + KEEP));
        assert!(!peers.knows(ip("192.0.2.1")) && peers.knows(ip("192.0.2.2")));
    }
}
