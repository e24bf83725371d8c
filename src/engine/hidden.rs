//! Addresses that a NAT hides: those of another network than the one that a message came from.

use std::net::IpAddr;

/// Returns true for a private address where the far end is heard from outside of that network: it is that
/// network's own, and leads nowhere or to somebody else's phone.
pub(crate) fn is_hidden(ip: IpAddr, source: IpAddr) -> bool {
    let network = network(ip.to_canonical());
    network != Network::Public && network != self::network(source.to_canonical())
}

/// Which network an address is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Public,
    Loopback,
    LinkLocal,
    /// RFC 1918, by their first octet.
    Private(u8),
    /// RFC 6598: between a provider's NAT and its customers.
    Shared,
    /// RFC 4193.
    UniqueLocal,
}

fn network(ip: IpAddr) -> Network {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [127, ..] => Network::Loopback,
            [169, 254, ..] => Network::LinkLocal,
            [first @ 10, ..] | [first @ 172, 16..=31, ..] | [first @ 192, 168, ..] => {
                Network::Private(first)
            }
            [100, 64..=127, ..] => Network::Shared,
            [..] => Network::Public,
        },
        IpAddr::V6(ip) if ip.is_loopback() => Network::Loopback,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Network::LinkLocal,
        IpAddr::V6(ip) if ip.is_unique_local() => Network::UniqueLocal,
        IpAddr::V6(_) => Network::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_elsewhere_is_hidden() {
        for (ip, source, hidden) in [
            ("192.168.1.7", "198.51.100.7", true),
            ("192.168.1.7", "192.168.9.1", false),
            ("192.168.1.7", "10.0.0.1", true),
            ("100.64.0.9", "198.51.100.7", true),
            ("203.0.113.9", "198.51.100.7", false),
            ("203.0.113.9", "10.0.0.1", false),
            ("fd00::1", "2001:db8::1", true),
            ("fd00::1", "fd00::2", false),
            ("::ffff:10.0.0.1", "10.0.0.2", false),
        ] {
            let [ip, source]: [IpAddr; 2] = [ip, source].map(|ip| ip.parse().unwrap());
            assert_eq!(is_hidden(ip, source), hidden, "{ip} {source}");
        }
    }
}
