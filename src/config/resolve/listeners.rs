//! `listen` and `advertise`.

use std::net::SocketAddr;

use super::{Check, door, key};
use crate::config::file::{Advertise, AdvertiseTo, Dscp, File, FromText, ListenAt, TextOr};
use crate::config::resolved::Listener;
use crate::config::tree::Step;
use crate::engine::ids::Transport;

const LISTENERS_MAX: usize = 64;

pub(super) fn resolve(file: &File, check: &mut Check<'_>) -> Vec<Listener> {
    if file.listen.is_empty() && check.is_whole(&key("listen")) {
        check.problem(
            &key("listen"),
            "there is no listener",
            "name one, or leave the key out",
        );
    }
    if file.listen.len() > LISTENERS_MAX {
        check.problem(
            &key("listen"),
            format!("there are more than {LISTENERS_MAX} listeners"),
            "",
        );
    }
    let told = told(file, check);
    let mut listeners: Vec<Listener> = Vec::new();
    for (index, entry) in file.listen.iter().enumerate() {
        let path = [Step::Key("listen"), Step::Item(index)];
        let (at, dscp, own) = match entry {
            TextOr::Text(at) => (*at, None, None),
            TextOr::Map(long) => (long.at, long.dscp, long.advertise),
        };
        let (proxies, origins) = match entry {
            TextOr::Text(_) => (None, Vec::new()),
            TextOr::Map(long) => door::resolve(long, &path, check),
        };
        let spoken = match entry {
            TextOr::Map(long) if long.proxies_end_tls => Transport::Tls,
            TextOr::Text(_) | TextOr::Map(_) => at.transport,
        };
        check_listener(at, &listeners, &path, check);
        let advertise = match own.unwrap_or_else(|| told.of(at)) {
            AdvertiseTo::Auto => None,
            AdvertiseTo::Address(ip, port) => {
                if ip.is_ipv4() != at.at.is_ipv4() && own.is_some() {
                    check.problem(
                        &[path[0], path[1], Step::Key("advertise")],
                        format!("{ip} is of another address family than the listener"),
                        "",
                    );
                }
                if port.is_none() && at.at.port() == 0 {
                    check.problem(
                        &path,
                        format!("{ip} is advertised without a port, and port 0 is any free one"),
                        "give one of them a port",
                    );
                }
                // Told to all listeners, it is meant for those of its family.
                (ip.is_ipv4() == at.at.is_ipv4())
                    .then(|| SocketAddr::new(ip, port.unwrap_or_else(|| at.at.port())))
            }
        };
        if let TextOr::Map(long) = entry
            && door::is_told_of_tls(long)
            && advertise.is_none()
        {
            check.problem(
                &[path[0], path[1], Step::Key("proxies_end_tls")],
                "peers would be told of TLS at the listener itself, which speaks none",
                "say in `advertise` where the proxies are reached, as 203.0.113.5:5061",
            );
        }
        if at.transport == Transport::Ws && proxies.is_none() && !at.at.ip().is_loopback() {
            let what = "pages over https, the only ones that have a microphone, cannot open ws, and passwords and calls \
                        go over it in the clear; listen on wss, or name in `proxies` who ends TLS";
            check.warn_at(&path, what);
        }
        listeners.push(Listener {
            transport: at.transport,
            spoken,
            at: at.at,
            advertise,
            dscp: dscp.unwrap_or(Dscp::SIGNALLING).0,
            proxies,
            origins,
        });
    }
    if let Advertise::Text(AdvertiseTo::Address(ip, _)) = &file.advertise
        && check.is_whole(&key("listen"))
        && !listeners.iter().any(|l| l.at.is_ipv4() == ip.is_ipv4())
    {
        let (family, all) = if ip.is_ipv4() {
            ("IPv4", "0.0.0.0")
        } else {
            ("IPv6", "[::]")
        };
        check.problem(
            &key("advertise"),
            format!("{ip} would be told to nobody: there is no listener for {family}"),
            &format!("add one to `listen`, as udp://{all}:5060, or advertise the other family"),
        );
    }
    listeners
}

fn check_listener(at: ListenAt, before: &[Listener], path: &[Step<'_>], check: &mut Check<'_>) {
    let twice = at.at.port() != 0
        && before
            .iter()
            .any(|l| l.at == at.at && l.transport == at.transport);
    if twice {
        check.problem(path, format!("{at} is listed twice"), "keep one of them");
    }
}

/// What `advertise` says, by listener.
enum Told {
    All(AdvertiseTo),
    Each(Vec<(ListenAt, AdvertiseTo)>),
}

impl Told {
    fn of(&self, listener: ListenAt) -> AdvertiseTo {
        match self {
            Self::All(to) => *to,
            Self::Each(each) => each
                .iter()
                .find(|(at, _)| *at == listener)
                .map_or(AdvertiseTo::Auto, |(_, to)| *to),
        }
    }
}

fn told(file: &File, check: &mut Check<'_>) -> Told {
    let map = match &file.advertise {
        Advertise::Text(to) => return Told::All(*to),
        Advertise::Map(map) => map,
    };
    let known: Vec<ListenAt> = file
        .listen
        .iter()
        .map(|l| match l {
            TextOr::Text(at) => *at,
            TextOr::Map(long) => long.at,
        })
        .collect();
    let mut each = Vec::new();
    for (name, to) in &map.0 {
        let path = [Step::Key("advertise"), Step::Key(name)];
        match ListenAt::from_text(name) {
            Err(what) => check.key_problem(&path, what, &ListenAt::form()),
            Ok(at) if !known.contains(&at) => check.key_problem(
                &path,
                "there is no such listener",
                "the key is a listener as it stands under `listen`",
            ),
            Ok(at) => {
                if let AdvertiseTo::Address(ip, _) = to
                    && ip.is_ipv4() != at.at.is_ipv4()
                {
                    check.problem(
                        &path,
                        format!("{ip} is of another address family than the listener"),
                        "",
                    );
                }
                each.push((at, *to));
            }
        }
    }
    Told::Each(each)
}
