//! STUN on a SIP port, as far as RFC 5626 8 wants it: who asks is told the address that it is seen from
//! (RFC 8489). It keeps a NAT's binding, and shows a phone that it has another one.

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attributes that must be understood and are: those of authentication, which a keep-alive does without.
const KNOWN: [u16; 4] = [0x0006, 0x0008, 0x0014, 0x0015];
/// Types below it must be understood.
const OPTIONAL: u16 = 0x8000;
/// Unknown ones named in an answer, so that it stays small.
const NAMED_MAX: usize = 4;

/// Returns true where a datagram is STUN's: no SIP message begins so (RFC 8489 5).
pub fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[0] < 4 && word(bytes, 4) == Some(COOKIE)
}

/// Answers a binding request of `peer`. None for all else, which is passed over in silence.
pub fn answer(bytes: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
    if !is_stun(bytes) || half(bytes, 0)? != BINDING_REQUEST {
        return None;
    }
    let attributes = bytes.get(HEADER..)?;
    if usize::from(half(bytes, 2)?) != attributes.len() || attributes.len() % 4 != 0 {
        return None;
    }
    let transaction = bytes.get(8..HEADER)?;
    let unknown = unknown(attributes)?;
    Some(if unknown.is_empty() {
        message(BINDING_SUCCESS, transaction, &mapped(peer, transaction))
    } else {
        message(BINDING_ERROR, transaction, &refused(&unknown))
    })
}

/// Returns the attributes that must be understood and are not; none where they have no sound lengths.
fn unknown(mut rest: &[u8]) -> Option<Vec<u16>> {
    let mut unknown = Vec::new();
    while !rest.is_empty() {
        let kind = half(rest, 0)?;
        let len = usize::from(half(rest, 2)?);
        if kind < OPTIONAL && !KNOWN.contains(&kind) && unknown.len() < NAMED_MAX {
            unknown.push(kind);
        }
        rest = rest.get(4 + len.next_multiple_of(4)..)?;
    }
    Some(unknown)
}

/// RFC 8489 14.2: not in the clear, lest a NAT rewrite it.
fn mapped(peer: SocketAddr, transaction: &[u8]) -> Vec<u8> {
    let mut key = COOKIE.to_be_bytes().to_vec();
    key.extend_from_slice(transaction);
    let (family, address) = match peer.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let port = peer.port() ^ (COOKIE >> 16) as u16;
    let mut value = vec![0, family];
    value.extend_from_slice(&port.to_be_bytes());
    value.extend(address.iter().zip(&key).map(|(byte, key)| byte ^ key));
    attribute(XOR_MAPPED_ADDRESS, &value)
}

/// 420, and which they are (RFC 8489 6.3.1).
fn refused(unknown: &[u16]) -> Vec<u8> {
    let mut value = vec![0, 0, 4, 20];
    value.extend_from_slice(b"Unknown Attribute");
    let mut attributes = attribute(ERROR_CODE, &value);
    let kinds: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
    attributes.extend(attribute(UNKNOWN_ATTRIBUTES, &kinds));
    attributes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, transaction: &[u8], attributes: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    bytes.extend_from_slice(&COOKIE.to_be_bytes());
    bytes.extend_from_slice(transaction);
    bytes.extend_from_slice(attributes);
    bytes
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(found.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(found.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction of RFC 5769's samples.
    const TRANSACTION: [u8; 12] = [
        0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
    ];

    fn request(attributes: &[u8]) -> Vec<u8> {
        message(BINDING_REQUEST, &TRANSACTION, attributes)
    }

    #[test]
    fn the_addresses_of_rfc_5769() {
        for (peer, value) in [
            (
                "192.0.2.1:32853",
                &[0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43][..],
            ),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &[
                    0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc,
                    0x25, 0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
                ],
            ),
        ] {
            let answer = answer(&request(&[]), peer.parse().unwrap()).unwrap();
            let expected = message(
                BINDING_SUCCESS,
                &TRANSACTION,
                &attribute(XOR_MAPPED_ADDRESS, value),
            );
            assert_eq!(answer, expected, "{peer}");
        }
    }

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let peer = "192.0.2.1:5060".parse().unwrap();
        let harmless = [
            attribute(0x0006, b"user:name"),
            attribute(0x8022, b"a phone"),
        ]
        .concat();
        let fine = answer(&request(&harmless), peer).unwrap();
        assert_eq!(half(&fine, 0), Some(BINDING_SUCCESS));
        let strange = [attribute(0x0003, &[0; 4]), harmless].concat();
        let refused = answer(&request(&strange), peer).unwrap();
        assert_eq!(half(&refused, 0), Some(BINDING_ERROR));
        assert!(refused.ends_with(&[0x00, 0x0a, 0x00, 0x02, 0x00, 0x03, 0x00, 0x00]));
        // Whatever is asked, little comes back.
        let many: Vec<u8> = (0x100..0x200_u16)
            .flat_map(|kind| attribute(kind, &[]))
            .collect();
        assert!(answer(&request(&many), peer).unwrap().len() <= 64);
    }

    #[test]
    fn nothing_else_is_answered() {
        let peer = "192.0.2.1:5060".parse().unwrap();
        let whole = request(&attribute(0x8022, b"phone"));
        assert!(answer(&whole, peer).is_some());
        for len in 0..whole.len() {
            assert_eq!(answer(&whole[..len], peer), None, "cut at {len}");
        }
        for (at, byte) in [(0, 1), (1, 2), (3, 4), (4, 0), (23, 200)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(answer(&other, peer), None, "{byte} at {at}");
        }
        let answered = answer(&whole, peer).unwrap();
        assert!(is_stun(&answered));
        assert_eq!(answer(&answered, peer), None, "no answer to an answer");
        assert!(!is_stun(b"REGISTER sip:example.org SIP/2.0\r\n"));
        assert!(!is_stun(&[0; 40]), "zeroes are a keep-alive of their own");
    }
}
