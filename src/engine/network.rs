//! Networks of access lists.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// An address with a prefix length: `192.0.2.0/24`, `2001:db8::/32`, or one address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoNetwork;

impl Network {
    /// Returns true where the address lies within. An IPv4 address that came over an IPv6 socket
    /// (`::ffff:192.0.2.1`, RFC 4291 2.5.5.2) is that IPv4 address.
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.length);
                let differs = u32::from(own) ^ u32::from(other);
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.length);
                let differs = u128::from(own) ^ u128::from(other);
                differs.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Network {
    /// Returns true where every address of its family lies within.
    pub fn is_all(&self) -> bool {
        self.length == 0
    }

    /// Returns true where some address lies within both: one of two networks that share any holds the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (wide, narrow) = if self.length <= other.length {
            (self, other)
        } else {
            (other, self)
        };
        wide.holds(narrow.address)
    }
}

/// Returns what stands for all addresses of one customer: an IPv4 address, or the /64 that one customer of
/// an IPv6 network has. An IPv4 address that came over an IPv6 socket (RFC 4291 2.5.5.2) is that IPv4 address.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| NoNetwork)?
            }
            Some(_) => return Err(NoNetwork),
        };
        (length <= most)
            .then_some(Self { address, length })
            .ok_or(NoNetwork)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_within() {
        for (network, inside, outside) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1"),
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.holds(inside.parse().unwrap()), "{network} {inside}");
            assert!(
                !network.holds(outside.parse().unwrap()),
                "{network} {outside}"
            );
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.is_all() && all.holds("203.0.113.1".parse().unwrap()));
        assert!(!all.holds("2001:db8::1".parse().unwrap()));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.holds("ffff::".parse().unwrap()));
    }

    #[test]
    fn what_has_an_address_in_common() {
        for (one, other, overlap) in [
            ("127.0.0.0/8", "127.0.0.1", true),
            ("10.1.2.3/8", "10.200.0.0/16", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::/48", true),
        ] {
            let [one, other]: [Network; 2] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(one.overlaps(&other), overlap, "{one} {other}");
            assert_eq!(other.overlaps(&one), overlap, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_network() {
        for text in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "[::1]",
            "example.org",
            "/8",
            "10.0.0.0/256",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }
}
