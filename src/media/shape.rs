//! What a datagram has to look like that is carried unread. Whoever describes a fax or a stream under keys of its own
//! says where that is to go, and by us it comes from an address that others trust: so nothing else may go that way, and
//! least of all SIP.

/// Octets of the header of a DTLS record (RFC 6347 4.1).
const RECORD: usize = 13;
/// The least that the ciphertext of a DTLS 1.3 record has (RFC 9147 4.2.3).
const CIPHERTEXT: usize = 16;
/// Octets of the header of a STUN message (RFC 8489 5).
const STUN: usize = 20;
/// Octets of the least SRTP and SRTCP (RFC 3711).
const SRTP: usize = 12;

/// Returns true for what comes on a stream whose keys the endpoints agree on: STUN, DTLS, or what looks like SRTP or
/// SRTCP, told apart by the first octet (RFC 7983 7).
pub(crate) fn is_sealed(packet: &[u8]) -> bool {
    match packet {
        [0..=3, ..] => is_stun(packet),
        [20..=26, 0xfe, ..] => is_record(packet),
        [32..=63, ..] => is_short_record(packet),
        [128..=191, ..] => packet.len() >= SRTP,
        _ => false,
    }
}

fn is_stun(packet: &[u8]) -> bool {
    let Some(&[_, _, high, low, ..]) = packet.first_chunk::<STUN>() else {
        return false;
    };
    packet.len() - STUN == usize::from(u16::from_be_bytes([high, low]))
}

/// Several may share a datagram: the first is looked at.
fn is_record(packet: &[u8]) -> bool {
    let Some(&[kind, .., high, low]) = packet.first_chunk::<RECORD>() else {
        return false;
    };
    // RFC 9146 4: with an id of the connection before the length.
    let named = kind == 25;
    named || packet.len() - RECORD >= usize::from(u16::from_be_bytes([high, low]))
}

/// DTLS 1.3 (RFC 9147 4): as all write it, without an id of the connection and with a length.
fn is_short_record(packet: &[u8]) -> bool {
    const ID: u8 = 0x10;
    const LONG: u8 = 0x08;
    const LENGTH: u8 = 0x04;
    let Some(flags) = packet
        .first()
        .filter(|flags| *flags & (ID | LENGTH) == LENGTH)
    else {
        return false;
    };
    let sequence = if flags & LONG == 0 { 1 } else { 2 };
    let Some(&[high, low]) = packet.get(1 + sequence..).and_then(<[u8]>::first_chunk) else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    length >= CIPHERTEXT && packet.len() - (3 + sequence) >= length
}

/// Returns true for a UDPTL packet (ITU-T T.38 9.1): a number, a primary packet, and what makes up for losses.
pub(crate) fn is_udptl(packet: &[u8]) -> bool {
    packet.get(2..).and_then(after_udptl) == Some(&[])
}

/// Reads what follows the number; returns what is left over.
fn after_udptl(rest: &[u8]) -> Option<&[u8]> {
    let (primary, rest) = field(rest)?;
    if !is_internet_fax(primary) {
        return None;
    }
    let (recovery, mut rest) = rest.split_first()?;
    if recovery & 0x80 == 0 {
        // No packets of before, which some do not even say.
        if rest.is_empty() {
            return Some(rest);
        }
        let (count, after) = length(rest)?;
        rest = after;
        for _ in 0..count {
            (_, rest) = field(rest)?;
        }
        return Some(rest);
    }
    // Parity: a small number with its length, and a list.
    let (span, after) = field(rest)?;
    if span.len() != 1 {
        return None;
    }
    let (count, mut rest) = length(after)?;
    for _ in 0..count {
        (_, rest) = field(rest)?;
    }
    Some(rest)
}

/// What has no data is its type alone. So no text is taken for one: its characters are below 128.
fn is_internet_fax(packet: &[u8]) -> bool {
    packet.first().is_none_or(|first| first & 0x80 != 0) || packet.len() <= 2
}

/// Splits off octets with their number before them.
fn field(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (octets, rest) = length(from)?;
    rest.split_at_checked(octets)
}

/// Splits off a length (ITU-T X.691 10.9); none where it is more than a datagram has.
fn length(from: &[u8]) -> Option<(usize, &[u8])> {
    match from {
        [short @ 0..=0x7f, rest @ ..] => Some((usize::from(*short), rest)),
        [high @ 0x80..=0xbf, low, rest @ ..] => {
            let length = u16::from_be_bytes([high & 0x3f, *low]);
            Some((usize::from(length), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIP: [&[u8]; 4] = [
        b"INVITE sip:00900666@192.0.2.50 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\r\n",
        b"\r\n\r\nINVITE sip:1@192.0.2.50 SIP/2.0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\r\n",
    ];

    #[test]
    fn what_comes_under_keys_of_the_phones_is_known_by_its_first_octets() {
        let stun = [&[0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42][..], &[7; 16]].concat();
        let hello = [&[22, 0xfe, 0xfd][..], &[0; 8], &[0, 3, 1, 2, 3]].concat();
        let two = [&hello[..], &hello].concat();
        let short = [&[0x2f, 0, 9, 0, 16][..], &[3; 16]].concat();
        let named = [&[25, 0xfe, 0xfd][..], &[3; 30]].concat();
        let srtp = [0x80; 12];
        for good in [&stun[..], &hello, &two, &short, &named, &srtp, &[191; 40]] {
            assert!(is_sealed(good), "{good:02x?}");
        }
        let version = [&[22, 3, 3][..], &[0; 20]].concat();
        // SNMP, of which the first octet may be that of DTLS 1.3.
        let snmp = [&[0x30, 0x26, 2, 1, 1, 4, 6][..], b"public", &[0xa0; 30]].concat();
        let dns = [&[3, 7, 1, 0, 0, 1][..], &[0; 30]].concat();
        for bad in [
            &[][..],
            &stun[..23],
            &hello[..15],
            &hello[..12],
            &version,
            &short[..20],
            &srtp[..11],
            &snmp,
            &dns,
            &[19; 40],
            &[64; 40],
            &[192; 40],
        ] {
            assert!(!is_sealed(bad), "{bad:02x?}");
        }
        for text in SIP {
            assert!(!is_sealed(text), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_fax_is_a_number_a_packet_and_what_makes_up_for_losses() {
        for good in [
            &[0, 1, 1, 6, 0][..],
            &[0, 1, 1, 6, 0, 0],
            // No packet at all keeps a way open.
            &[0, 1, 0, 0, 0],
            &[0xff, 0xff, 3, 0xc0, 1, 0x80, 0, 2, 1, 6, 2, 0x30, 0],
            &[&[0, 2, 0x80, 200][..], &[0xc0; 200], &[0, 0]].concat(),
            &[0, 3, 3, 0xc0, 1, 0x80, 0x80, 1, 3, 2, 1, 9, 2, 9, 9],
        ] {
            assert!(is_udptl(good), "{good:02x?}");
        }
        for bad in [
            &[][..],
            &[0, 1],
            &[0, 1, 1],
            &[0, 1, 1, 6],
            &[0, 1, 1, 6, 0, 0, 0],
            &[0, 1, 3, 6, 6, 6, 0, 0],
            &[0, 1, 1, 6, 0, 2, 1, 6],
            &[0, 3, 1, 6, 0x80, 2, 3, 3, 0],
            &[0, 3, 1, 6, 0x80, 1, 3],
            &[0, 3, 0xc1, 6, 0, 0],
        ] {
            assert!(!is_udptl(bad), "{bad:02x?}");
        }
        for text in SIP {
            assert!(!is_udptl(text), "{}", text.escape_ascii());
        }
        // One whose lengths are made to fit is known by its type.
        let mut fits = b"INVITE ".to_vec();
        fits.resize(3 + usize::from(b'V'), b'x');
        fits.extend([0, 0]);
        assert!(!is_udptl(&fits));
        fits[3] = 0xc0;
        assert!(is_udptl(&fits));
    }
}
