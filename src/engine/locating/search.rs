//! One search: the lookups that it takes, three rounds at most, and what comes of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::order::by_weight;
use super::{Hop, Located, Naptr, Srv};
use crate::engine::ids::Transport;

/// More service records of a name are not looked at.
const RECORDS_MAX: usize = 32;
/// Hosts whose addresses are looked up.
const HOSTS_MAX: usize = 16;
/// More targets than these are not tried.
const TARGETS_MAX: usize = 16;

/// One lookup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    Naptr(Box<str>),
    Srv(Box<str>),
    /// A and AAAA.
    Addresses(Box<str>),
}

/// What a lookup found; nothing where there is no such name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub naptr: Vec<Naptr>,
    pub srv: Vec<Srv>,
    pub addresses: Vec<IpAddr>,
}

/// What the lookups of a round found; None where nobody answered.
pub type Answers = BTreeMap<Query, Option<Records>>;

/// A search for the targets of a hop.
#[derive(Debug)]
pub struct Search {
    hop: Hop,
    /// What we can speak, the best first.
    speaks: Vec<Transport>,
    /// IPv6 addresses are tried before IPv4 ones.
    prefers_v6: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// NAPTR of the host.
    Services,
    /// SRV records, the best first: of these transports, at these names.
    Servers(Vec<(Transport, Box<str>)>),
    /// Addresses of these places, the best first.
    Hosts(Vec<Place>),
    Done(Vec<Located>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    transport: Transport,
    host: Box<str>,
    port: u16,
}

impl Search {
    /// Begins a search. `speaks` are the transports that we can open, in the order in which they are liked
    /// where the other end leaves the choice to us.
    pub fn new(hop: Hop, speaks: &[Transport], prefers_v6: bool) -> Self {
        let speaks = speaks.iter().copied();
        let fits = |transport: &Transport| !hop.secure || transport.is_secure();
        let mut search = Self {
            speaks: speaks.filter(fits).collect(),
            hop,
            prefers_v6,
            stage: Stage::Services,
        };
        search.stage = search.first_stage();
        search
    }

    fn first_stage(&self) -> Stage {
        let hop = &self.hop;
        if let Some(numeric) = hop.numeric() {
            let known = self.speaks.contains(&numeric.0);
            return Stage::Done(known.then_some(numeric).into_iter().collect());
        }
        match (hop.transport, hop.port) {
            _ if self.speaks.is_empty() => Stage::Done(Vec::new()),
            (Some(transport), _) if !self.speaks.contains(&transport) => Stage::Done(Vec::new()),
            // RFC 3263 4.2: a port rules service records out.
            (transport, Some(port)) => {
                let transport = transport.or_else(|| self.own_choice());
                self.hosts(transport.map(|transport| self.place(transport, port)))
            }
            (Some(transport), None) => match service_name(transport, &hop.host) {
                Some(name) => Stage::Servers(vec![(transport, name)]),
                None => self.hosts(Some(self.place(transport, transport.default_port()))),
            },
            (None, None) => Stage::Services,
        }
    }

    /// Returns the lookups of the round, none once the search is over.
    pub fn queries(&self) -> Vec<Query> {
        let mut queries: Vec<Query> = match &self.stage {
            Stage::Services => vec![Query::Naptr(self.hop.host.clone())],
            Stage::Servers(names) => {
                let names = names.iter();
                names.map(|(_, name)| Query::Srv(name.clone())).collect()
            }
            Stage::Hosts(places) => {
                let hosts = places.iter().map(|place| place.host.clone());
                hosts.map(Query::Addresses).collect()
            }
            Stage::Done(_) => Vec::new(),
        };
        queries.sort();
        queries.dedup();
        queries
    }

    /// Takes what the lookups of the round found. None where nobody answered, which is not to say that there
    /// is nothing: without NAPTR the services are looked for all the same, but where those may be there the
    /// host itself is not asked in their place.
    pub fn take(&mut self, found: &Answers, dice: &mut dyn FnMut(u32) -> u32) {
        let stage = std::mem::replace(&mut self.stage, Stage::Done(Vec::new()));
        self.stage = match stage {
            Stage::Services => {
                let found = records(found, &Query::Naptr(self.hop.host.clone()));
                self.services(found.map_or(&[], |records| &records.naptr))
            }
            Stage::Servers(names) => self.servers(&names, found, dice),
            Stage::Hosts(places) => Stage::Done(self.addresses(&places, found)),
            Stage::Done(targets) => Stage::Done(targets),
        };
    }

    /// Returns what was found, the first to be tried first.
    pub fn targets(self) -> Vec<Located> {
        match self.stage {
            Stage::Done(targets) => targets,
            Stage::Services | Stage::Servers(_) | Stage::Hosts(_) => Vec::new(),
        }
    }

    /// RFC 3263 4.1: of the services that both ends have, those of the lowest order; the others of a lower
    /// order are what the domain would rather have, but we cannot speak.
    fn services(&self, records: &[Naptr]) -> Stage {
        let records = records.iter().take(RECORDS_MAX);
        let sip: Vec<(&Naptr, Transport)> = records
            .filter_map(|record| Some((record, record.transport()?)))
            .collect();
        if sip.is_empty() {
            return self.every_service();
        }
        let mut ours: Vec<(&Naptr, Transport)> = sip
            .into_iter()
            .filter(|(record, transport)| {
                let sought = record.flags.eq_ignore_ascii_case("s");
                sought && !record.replacement.is_empty() && self.speaks.contains(transport)
            })
            .collect();
        ours.sort_by_key(|(record, _)| (record.order, record.preference));
        let Some((best, _)) = ours.first() else {
            // The domain says how it is reached, and it is in no way that we have.
            return Stage::Done(Vec::new());
        };
        let order = best.order;
        let same = ours.iter().take_while(|(record, _)| record.order == order);
        let name = |record: &Naptr| record.replacement.to_ascii_lowercase().into();
        Stage::Servers(same.map(|(record, t)| (*t, name(record))).collect())
    }

    /// RFC 3263 4.1: without NAPTR, a transport whose SRV records are there is one that the domain has.
    fn every_service(&self) -> Stage {
        let speaks = self.speaks.iter();
        let names = speaks.filter_map(|t| Some((*t, service_name(*t, &self.hop.host)?)));
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            return Stage::Done(Vec::new());
        }
        Stage::Servers(names)
    }

    fn servers(
        &self,
        names: &[(Transport, Box<str>)],
        found: &Answers,
        dice: &mut dyn FnMut(u32) -> u32,
    ) -> Stage {
        let (mut places, mut any, mut unknown) = (Vec::new(), false, false);
        for (transport, name) in names {
            let query = Query::Srv(name.clone());
            unknown |= found.get(&query).is_some_and(Option::is_none);
            let Some(records) = records(found, &query) else {
                continue;
            };
            any |= !records.srv.is_empty();
            let mut records = records.srv.clone();
            records.truncate(RECORDS_MAX);
            for record in by_weight(records, dice) {
                // RFC 2782: the root as target says that the service is not to be had.
                if !record.target.is_empty() && record.port != 0 {
                    places.push(Place {
                        transport: *transport,
                        host: record.target.to_ascii_lowercase().into(),
                        port: record.port,
                    });
                }
            }
        }
        if any || unknown {
            return self.hosts(places);
        }
        // RFC 3263 4.2: no SRV records, so the host itself.
        let transport = match names {
            [(only, _)] => Some(*only),
            _ => self.own_choice(),
        };
        self.hosts(transport.map(|transport| self.place(transport, transport.default_port())))
    }

    fn addresses(&self, places: &[Place], found: &Answers) -> Vec<Located> {
        let mut targets = Vec::new();
        for place in places {
            let records = records(found, &Query::Addresses(place.host.clone()));
            let mut addresses = records.map_or_else(Vec::new, |r| r.addresses.clone());
            addresses.sort_by_key(|ip| ip.is_ipv6() != self.prefers_v6);
            for ip in addresses {
                let target = (place.transport, SocketAddr::new(ip, place.port));
                if targets.len() < TARGETS_MAX && !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        targets
    }

    /// What the host is asked over where nothing says what it speaks (RFC 3263 4.1): UDP, or TLS for
    /// `sips:`; else what we have.
    fn own_choice(&self) -> Option<Transport> {
        let usual = self.hop.fallback();
        let first = self.speaks.first().copied();
        self.speaks.contains(&usual).then_some(usual).or(first)
    }

    fn place(&self, transport: Transport, port: u16) -> Place {
        Place {
            transport,
            host: self.hop.host.clone(),
            port,
        }
    }

    fn hosts(&self, places: impl IntoIterator<Item = Place>) -> Stage {
        let places: Vec<Place> = places.into_iter().take(HOSTS_MAX).collect();
        if places.is_empty() {
            return Stage::Done(Vec::new());
        }
        Stage::Hosts(places)
    }
}

fn records<'a>(found: &'a Answers, query: &Query) -> Option<&'a Records> {
    found.get(query)?.as_ref()
}

/// Returns the name of a host's SRV records (RFC 3263 4.1). A WebSocket has none.
fn service_name(transport: Transport, host: &str) -> Option<Box<str>> {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws | Transport::Wss => return None,
    };
    Some(format!("{service}.{host}").into())
}
