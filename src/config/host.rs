//! What this machine says to a configuration: the same file may be right on another one.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;

use super::Config;
use crate::engine::locating::Hop;
use crate::engine::settings::MediaMode;
use crate::sip::Uri;

const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

type Ports = RangeInclusive<u16>;

/// Returns what is to be told at a start, and by a check, beside what the file itself shows. It sends nothing.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.engine.media.mode == MediaMode::Relay {
        let [ephemeral, reserved] =
            [EPHEMERAL, RESERVED].map(|path| fs::read_to_string(path).unwrap_or_default());
        warnings.extend(of_ports(&config.media.ports, &ephemeral, &reserved));
    }
    warnings.extend(of_itself(config));
    warnings
}

/// The kernel gives ports of its range to whatever program names none, unless they are reserved.
fn of_ports(media: &Ports, ephemeral: &str, listed: &str) -> Option<String> {
    let mut ends = ephemeral.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else {
        return None;
    };
    let reserved: Vec<Ports> = listed.trim().split(',').filter_map(range).collect();
    let open = |port: &u16| !reserved.iter().any(|ports| ports.contains(port));
    let (from, to) = (first.max(*media.start()), last.min(*media.end()));
    (from..=to).find(open)?;
    // The sysctl takes the whole list.
    let before = match listed.trim() {
        "" => String::new(),
        listed => format!("{listed},"),
    };
    Some(format!(
        "`media.ports` ({}-{}): the kernel gives ports of these to other programs \
         (net.ipv4.ip_local_port_range is {first} {last}), which then lack for media: reserve them, \
         sysctl net.ipv4.ip_local_reserved_ports={before}{from}-{to}, or choose ports beside that range",
        media.start(),
        media.end(),
    ))
}

/// Reads `8080` or `9148-9150`.
fn range(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

/// A listener on all addresses is at each of this machine's.
fn of_itself(config: &Config) -> Vec<String> {
    let upstreams = config.engine.upstreams.iter();
    let targets = upstreams.flat_map(|(name, upstream)| {
        let targets = upstream.targets.iter();
        targets.map(move |target| (format!("`upstreams.{name}.targets`"), &*target.uri))
    });
    let endpoints = config.engine.endpoints.iter();
    let contacts = endpoints.map(|fixed| ("`endpoints`".to_owned(), &*fixed.contact));
    let itself = |(key, uri): (String, &str)| {
        let (transport, at) = Hop::of(&Uri::parse(uri).ok()?)?.numeric()?;
        let mut listeners = config.listeners.iter();
        let listener = listeners.find(|listener| {
            let own = listener.at;
            listener.transport == transport
                && own.ip().is_unspecified()
                && own.is_ipv4() == at.is_ipv4()
                && own.port() == at.port()
        })?;
        (toward(at)? == at.ip()).then(|| {
            format!(
                "{key}: `{uri}` is an address of this machine, where Refork itself listens \
                 ({}://{}): calls would come back to it",
                transport.param(),
                listener.at,
            )
        })
    };
    targets.chain(contacts).filter_map(itself).collect()
}

/// Returns the address that the kernel sends from: to an address of its own, that one.
fn toward(at: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if at.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(at).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_kernel_gives_away_are_told_of() {
        let own = 10_000..=32_767;
        for (ephemeral, reserved, told) in [
            ("32768\t60999\n", "\n", None),
            ("", "", None),
            (
                "1024\t65535\n",
                "\n",
                Some("ip_local_reserved_ports=10000-32767"),
            ),
            (
                "30000\t60999\n",
                "8080\n",
                Some("ip_local_reserved_ports=8080,30000-32767"),
            ),
            ("1024\t65535\n", "8080,10000-32767\n", None),
            ("1024\t65535\n", "10000-20000,20001-40000\n", None),
            (
                "1024\t65535\n",
                "10000-20000,20002-40000\n",
                Some("1024 65535"),
            ),
        ] {
            let warning = of_ports(&own, ephemeral, reserved);
            match told {
                None => assert_eq!(warning, None, "{ephemeral} {reserved}"),
                Some(part) => assert!(warning.unwrap().contains(part), "{ephemeral} {reserved}"),
            }
        }
    }

    #[test]
    fn the_kernel_says_which_addresses_are_its_own() {
        for (at, own) in [("127.0.0.1:9", true), ("127.0.0.9:9", false)] {
            let at: SocketAddr = at.parse().unwrap();
            assert_eq!(toward(at) == Some(at.ip()), own, "{at}");
        }
    }
}
