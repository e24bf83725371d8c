//! RTP's fixed header (RFC 3550 5.1): read and written in place.

/// Octets of the fixed header.
pub(crate) const FIXED: usize = 12;

/// What the relay reads of a packet, and writes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) marker: bool,
    pub(crate) number: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Octets of payload, without header, extension and padding.
    pub(crate) payload: usize,
}

/// Reads a header and checks that everything it claims fits in the packet (RFC 3550 A.1).
pub(crate) fn parse(packet: &[u8]) -> Option<Header> {
    let (fixed, _) = packet.split_first_chunk::<FIXED>()?;
    let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
    if first >> 6 != 2 {
        return None;
    }
    let mut start = FIXED + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(start + 2..start + 4)?;
        start += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    let mut payload = packet.len().checked_sub(start)?;
    if first & 0x20 != 0 {
        let padding = usize::from(*packet.last()?);
        if padding == 0 {
            return None;
        }
        payload = payload.checked_sub(padding)?;
    }
    Some(Header {
        marker: second & 0x80 != 0,
        number: second & 0x7f,
        sequence: u16::from_be_bytes([s0, s1]),
        timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
        ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        payload,
    })
}

/// Returns what a packet carries, without header, extension and padding.
pub(crate) fn payload_mut(packet: &mut [u8]) -> Option<&mut [u8]> {
    let octets = parse(packet)?.payload;
    let padded = packet.first()? & 0x20 != 0;
    let padding = packet.last().filter(|_| padded).copied().unwrap_or(0);
    let end = packet.len().checked_sub(usize::from(padding))?;
    packet.get_mut(end.checked_sub(octets)?..end)
}

/// Writes a header over the one that stands there; the packet's other bits stay.
pub(crate) fn write(packet: &mut [u8], header: &Header) {
    let Some(fixed) = packet.first_chunk_mut::<FIXED>() else {
        return;
    };
    fixed[1] = u8::from(header.marker) << 7 | header.number & 0x7f;
    fixed[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    fixed[4..8].copy_from_slice(&header.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&header.ssrc.to_be_bytes());
}

/// Tells RTCP from RTP on one port (RFC 5761 4): RTP keeps away from payload types 64 to 95.
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first >> 6 == 2)
}

/// Returns the SSRC of what looks like RTP, be its payload encrypted or not.
pub(crate) fn ssrc(packet: &[u8]) -> Option<u32> {
    let (fixed, _) = packet.split_first_chunk::<FIXED>()?;
    let [first, .., c0, c1, c2, c3] = *fixed;
    (first >> 6 == 2 && !is_rtcp(packet)).then(|| u32::from_be_bytes([c0, c1, c2, c3]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![
            first,
            0x80 | 8,
            0x12,
            0x34,
            0,
            0,
            1,
            0,
            0xde,
            0xad,
            0xbe,
            0xef,
        ];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn what_is_carried_is_between_the_extension_and_the_padding() {
        for (first, rest, carried) in [
            (0x80, &[1, 2, 3][..], &[1, 2, 3][..]),
            (0x81, &[9, 9, 9, 9, 1], &[1]),
            (0x90, &[0, 0, 0, 1, 9, 9, 9, 9, 1, 2], &[1, 2]),
            (0xa0, &[1, 2, 0, 2], &[1, 2]),
            (0xa0, &[2, 2], &[]),
        ] {
            let mut packet = packet(first, rest);
            assert_eq!(payload_mut(&mut packet).unwrap(), carried, "{first:x}");
        }
        assert_eq!(
            payload_mut(&mut packet(0xa0, &[1, 3])),
            None,
            "too much padding"
        );
    }

    #[test]
    fn reads_what_stands_there() {
        let header = parse(&packet(0x80, &[1, 2, 3])).unwrap();
        assert_eq!(
            header,
            Header {
                marker: true,
                number: 8,
                sequence: 0x1234,
                timestamp: 256,
                ssrc: 0xdead_beef,
                payload: 3,
            }
        );
    }

    #[test]
    fn counts_payload_without_what_surrounds_it() {
        for (first, rest, payload) in [
            (0x80, &[][..], Some(0)),
            (0x81, &[9, 9, 9, 9, 7][..], Some(1)),
            (0x81, &[9, 9, 9][..], None),
            (0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 5, 6][..], Some(2)),
            (0x90, &[0xbe, 0xde, 0, 2, 1, 2, 3, 4][..], None),
            (0x90, &[0xbe][..], None),
            (0xa0, &[5, 5, 0, 0, 3][..], Some(2)),
            (0xa0, &[5, 5, 0][..], None),
            (0xa0, &[5, 9][..], None),
            (0x40, &[1][..], None),
        ] {
            let found = parse(&packet(first, rest)).map(|h| h.payload);
            assert_eq!(found, payload, "{first:#x} {rest:?}");
        }
    }

    #[test]
    fn tells_rtcp_by_its_type() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x81, 206, 0, 2]));
        assert!(!is_rtcp(&[0x80, 0]));
        assert!(!is_rtcp(&[0x80, 128 | 101]));
        assert!(!is_rtcp(&[22, 254]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn writes_only_what_it_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(header) = parse(&bytes) {
                let mut copy = bytes.clone();
                write(&mut copy, &header);
                prop_assert_eq!(copy, bytes);
            }
        }
    }
}
