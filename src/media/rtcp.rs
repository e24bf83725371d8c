//! RTCP (RFC 3550 6, RFC 4585, RFC 3611), rewritten to fit the lines, in place.
//!
//! What one side says of itself (SSRC, sender reports) is moved onto the line toward the other side;
//! what it says of what it hears (report blocks, feedback) is moved back from the line toward it to
//! the source that speaks on that line. A BYE never passes: it ends a source, and a line outlives
//! its sources; the end of a call is SIP's to tell. Sender reports of a source that is not (or no
//! more) the one that speaks pass as receiver reports, since their timestamps have no meaning there.

use crate::media::line::Shift;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const APP: u8 = 204;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const XR: u8 = 207;

const HEADER: usize = 8;
const SENDER_INFO: usize = 20;
const BLOCK: usize = 24;
/// Seconds from 1900 to 1970 (RFC 3550 4).
const NTP_OFFSET: u64 = 2_208_988_800;

/// A compound packet that is not what it claims to be (RFC 3550 A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Between which lines a compound packet passes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passage {
    /// How the side that sends the RTCP stands on the line toward the other.
    pub(crate) speaks: Option<Shift>,
    /// SSRC of the line toward the other side, once there is one.
    pub(crate) line: Option<u32>,
    /// Packets and payload octets sent on that line.
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    /// How the other side stands on the line that the sending side hears.
    pub(crate) hears: Option<Shift>,
}

/// What is left of a compound packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// Octets to send; zero where nothing is left.
    pub(crate) length: usize,
    /// A sender report is among it.
    pub(crate) sender_report: bool,
}

/// Rewrites a compound packet. Reduced-size ones (RFC 5506) are taken as well.
pub(crate) fn rewrite(bytes: &mut [u8], passage: &Passage) -> Result<Rewritten, Malformed> {
    check(bytes)?;
    let mut done = Rewritten::default();
    let mut read = 0;
    while let Some(length) = bytes.get(read..).and_then(packet_length) {
        let end = (read + length).min(bytes.len());
        let kept = rewrite_one(&mut bytes[read..end], passage, &mut done.sender_report);
        bytes.copy_within(read..read + kept, done.length);
        done.length += kept;
        read = end;
    }
    Ok(done)
}

/// Writes a picture-loss indication (RFC 4585 6.3.1) with the report and name that must go before
/// it, and returns its length.
pub(crate) fn write_key_frame_request(into: &mut [u8; 64], sender: u32, source: u32) -> usize {
    let mut writer = Writer { into, length: 0 };
    writer.put(&[0x80, RR, 0, 1]);
    writer.put(&sender.to_be_bytes());
    writer.name(sender);
    writer.put(&[0x81, PSFB, 0, 2]);
    writer.put(&sender.to_be_bytes());
    writer.put(&source.to_be_bytes());
    writer.length
}

/// A sender report of our own: for a line that we alone speak on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnReport {
    pub(crate) ssrc: u32,
    /// Microseconds since the Unix epoch.
    pub(crate) unix_us: u64,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

/// Writes a sender report (RFC 3550 6.4.1) and the name, and returns its length.
pub(crate) fn write_sender_report(into: &mut [u8; 64], report: &OwnReport) -> usize {
    let mut writer = Writer { into, length: 0 };
    let seconds = report.unix_us / 1_000_000 + NTP_OFFSET;
    let fraction = ((report.unix_us % 1_000_000) << 32) / 1_000_000;
    writer.put(&[0x80, SR, 0, 6]);
    for word in [
        report.ssrc,
        seconds as u32,
        fraction as u32,
        report.timestamp,
        report.packets,
        report.octets,
    ] {
        writer.put(&word.to_be_bytes());
    }
    writer.name(report.ssrc);
    writer.length
}

pub(crate) fn rewrite_for_fuzzing(bytes: &mut [u8], joined: bool) -> Option<usize> {
    let shift = Shift {
        line: 0x0102_0304,
        source: word(bytes, 4).unwrap_or(0),
        sequence: 7,
        timestamp: 160,
        reported: true,
    };
    let passage = Passage {
        speaks: joined.then_some(shift),
        line: joined.then_some(shift.line),
        packets: 1,
        octets: 1,
        hears: joined.then_some(shift),
    };
    rewrite(bytes, &passage).ok().map(|done| done.length)
}

/// Returns true for a compound packet that is what it claims to be.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    check(bytes).is_ok()
}

struct Writer<'a> {
    into: &'a mut [u8; 64],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.into[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// SDES with the CNAME that every compound must have (RFC 3550 6.1): the SSRC in hex, which
    /// tells nobody anything new.
    fn name(&mut self, ssrc: u32) {
        self.put(&[0x81, SDES, 0, 4]);
        self.put(&ssrc.to_be_bytes());
        self.put(&[1, 8]);
        for shift in (0..8).rev() {
            self.put(&[b"0123456789abcdef"[(ssrc >> (4 * shift)) as usize & 15]]);
        }
        self.put(&[0, 0]);
    }
}

/// RFC 3550 A.2: versions and lengths must be right to the last octet, and only the last packet may
/// be padded.
fn check(bytes: &[u8]) -> Result<(), Malformed> {
    let mut at = 0;
    while at < bytes.len() {
        let length = packet_length(&bytes[at..]).ok_or(Malformed)?;
        let packet = bytes.get(at..at + length).ok_or(Malformed)?;
        at += length;
        if packet[0] >> 6 != 2 || !(192..=223).contains(&packet[1]) {
            return Err(Malformed);
        }
        let count = usize::from(packet[0] & 0x1f);
        let needed = match packet[1] {
            SR => HEADER + SENDER_INFO + BLOCK * count,
            RR => HEADER + BLOCK * count,
            SDES => 4 + 8 * count.min(1),
            BYE => 4 + 4 * count,
            RTPFB | PSFB | APP => HEADER + 4,
            XR => HEADER,
            _ => 4,
        };
        let padding = if packet[0] & 0x20 == 0 {
            0
        } else {
            match packet[length - 1] {
                0 => return Err(Malformed),
                padding if at == bytes.len() => usize::from(padding),
                _ => return Err(Malformed),
            }
        };
        if length < needed + padding {
            return Err(Malformed);
        }
    }
    if at == 0 { Err(Malformed) } else { Ok(()) }
}

/// Returns the octets of the packet at the start, as its header says.
fn packet_length(bytes: &[u8]) -> Option<usize> {
    let (header, _) = bytes.split_first_chunk::<4>()?;
    Some(4 * (usize::from(u16::from_be_bytes([header[2], header[3]])) + 1))
}

/// Returns how many octets at the end of a packet that was checked are padding (RFC 3550 6.4.1).
fn padding(packet: &[u8]) -> usize {
    match packet.last() {
        Some(&padding) if packet[0] & 0x20 != 0 => usize::from(padding).min(packet.len()),
        Some(_) | None => 0,
    }
}

/// Rewrites one packet and returns how much of its front stays.
fn rewrite_one(packet: &mut [u8], passage: &Passage, sender_report: &mut bool) -> usize {
    let count = usize::from(packet[0] & 0x1f);
    let whole = packet.len();
    // Padding is nobody's report.
    let end = whole - padding(packet);
    let said = &mut packet[..end];
    match said[1] {
        SR => {
            let from = word(packet, 4);
            let speaks = passage.speaks.filter(|s| Some(s.source) == from);
            passage.own(packet, 4);
            for index in 0..count {
                passage.block(packet, HEADER + SENDER_INFO + BLOCK * index);
            }
            if let Some(speaks) = speaks {
                if let Some(timestamp) = word(packet, 16) {
                    put(packet, 16, timestamp.wrapping_add(speaks.timestamp));
                }
                put(packet, 20, passage.packets);
                put(packet, 24, passage.octets);
                *sender_report = true;
                packet.len()
            } else {
                packet[1] = RR;
                packet.copy_within(HEADER + SENDER_INFO.., HEADER);
                shorten(packet, packet.len() - SENDER_INFO)
            }
        }
        RR => {
            passage.own(packet, 4);
            for index in 0..count {
                passage.block(packet, HEADER + BLOCK * index);
            }
            packet.len()
        }
        SDES => {
            passage.chunks(said, count);
            whole
        }
        BYE => 0,
        RTPFB => {
            passage.own(said, 4);
            let known = passage.heard(said, 8);
            match count {
                // RFC 4585 6.2.1: a generic NACK names sequence numbers.
                1 if known => each(said, 12, 4, |entry| passage.sequence(entry, 0)),
                // RFC 5104 4.2: TMMBR and TMMBN.
                3 | 4 => each(said, 12, 8, |entry| passage.heard(entry, 0)),
                _ => {}
            }
            whole
        }
        PSFB => {
            passage.own(said, 4);
            passage.heard(said, 8);
            match count {
                // RFC 5104 4.3: FIR, TSTR, TSTN, VBCM name their SSRC inside.
                4..=7 => each(said, 12, 8, |entry| passage.heard(entry, 0)),
                15 if said.get(12..16) == Some(b"REMB") => {
                    each(said, 20, 4, |entry| passage.heard(entry, 0));
                }
                _ => {}
            }
            whole
        }
        XR => {
            passage.own(said, 4);
            passage.extended(said);
            whole
        }
        APP => {
            passage.own(said, 4);
            whole
        }
        _ => {
            if let (Some(speaks), true) = (passage.speaks, said.len() >= HEADER)
                && word(said, 4) == Some(speaks.source)
            {
                put(said, 4, speaks.line);
            }
            whole
        }
    }
}

impl Passage {
    /// The SSRC by which the sending side speaks.
    fn own(&self, packet: &mut [u8], at: usize) {
        if let Some(line) = self.line {
            put(packet, at, line);
        }
    }

    /// The SSRC of something that the sending side hears.
    fn heard(&self, packet: &mut [u8], at: usize) -> bool {
        let Some(hears) = self.hears.filter(|h| Some(h.line) == word(packet, at)) else {
            return false;
        };
        put(packet, at, hears.source);
        true
    }

    /// A sequence number of what the sending side hears.
    fn sequence(&self, packet: &mut [u8], at: usize) {
        if let (Some(hears), Some([high, low])) = (
            self.hears,
            packet
                .get(at..at + 2)
                .and_then(|b| b.first_chunk::<2>())
                .copied(),
        ) {
            let sequence = u16::from_be_bytes([high, low]).wrapping_sub(hears.sequence);
            packet[at..at + 2].copy_from_slice(&sequence.to_be_bytes());
        }
    }

    /// A report block (RFC 3550 6.4.1).
    fn block(&self, packet: &mut [u8], at: usize) {
        if !self.heard(packet, at) {
            return;
        }
        let Some(hears) = self.hears else { return };
        if let Some(highest) = word(packet, at + 8) {
            let (cycles, low) = ((highest >> 16) as u16, highest as u16);
            let moved = low.wrapping_sub(hears.sequence);
            let cycles = cycles.saturating_sub(u16::from(moved > low));
            put(packet, at + 8, u32::from(cycles) << 16 | u32::from(moved));
        }
        if !hears.reported {
            // It answers a sender report of a source that is gone.
            put(packet, at + 16, 0);
            put(packet, at + 20, 0);
        }
    }

    /// SDES chunks (RFC 3550 6.5): an SSRC, items, a null, all padded to words.
    fn chunks(&self, packet: &mut [u8], count: usize) {
        let mut at = 4;
        for index in 0..count {
            let Some(ssrc) = word(packet, at) else { return };
            if index == 0 || self.speaks.is_some_and(|s| s.source == ssrc) {
                self.own(packet, at);
            }
            at += 4;
            while let Some(&kind) = packet.get(at) {
                if kind == 0 {
                    at = (at / 4 + 1) * 4;
                    break;
                }
                let Some(&length) = packet.get(at + 1) else {
                    return;
                };
                at += 2 + usize::from(length);
            }
        }
    }

    /// Extended report blocks (RFC 3611 4).
    fn extended(&self, packet: &mut [u8]) {
        let mut at = HEADER;
        while let Some(length) = packet.get(at..).and_then(packet_length) {
            let Some(block) = packet.get_mut(at..at + length) else {
                return;
            };
            at += length;
            match block[0] {
                // Loss, duplicates, receipt times, statistics: SSRC, begin_seq, end_seq.
                1 | 2 | 3 | 6 => {
                    let known = self.heard(block, 4);
                    if known {
                        self.sequence(block, 8);
                        self.sequence(block, 10);
                    }
                }
                // DLRR: sub-blocks of SSRC, LRR, DLRR.
                5 => each(block, 4, 12, |entry| self.heard(entry, 0)),
                // VoIP metrics.
                7 => {
                    self.heard(block, 4);
                }
                _ => {}
            }
        }
    }
}

fn each<T>(packet: &mut [u8], from: usize, size: usize, mut act: impl FnMut(&mut [u8]) -> T) {
    if let Some(entries) = packet.get_mut(from..) {
        for entry in entries.chunks_exact_mut(size) {
            act(entry);
        }
    }
}

/// Writes the length that a packet is cut to, and returns it.
fn shorten(packet: &mut [u8], length: usize) -> usize {
    let words = (length / 4 - 1) as u16;
    packet[2..4].copy_from_slice(&words.to_be_bytes());
    length
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .first_chunk::<4>()
        .map(|b| u32::from_be_bytes(*b))
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHONE: u32 = 0x0000_0b0b;
    const LINE: u32 = 0x1111_1111;
    const FAR: u32 = 0x0000_0a0a;
    const FAR_LINE: u32 = 0x2222_2222;

    fn passage() -> Passage {
        Passage {
            speaks: Some(Shift {
                line: LINE,
                source: PHONE,
                sequence: 100,
                timestamp: 1000,
                reported: false,
            }),
            line: Some(LINE),
            packets: 77,
            octets: 7700,
            hears: Some(Shift {
                line: FAR_LINE,
                source: FAR,
                sequence: 50,
                timestamp: 5,
                reported: true,
            }),
        }
    }

    fn rtcp(kind: u8, count: u8, words: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0x80 | count, kind, 0, words.len() as u8];
        for word in words {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    fn pass(parts: &[Vec<u8>], passage: &Passage) -> Result<Vec<u8>, Malformed> {
        let mut bytes = parts.concat();
        let rewritten = rewrite(&mut bytes, passage)?;
        bytes.truncate(rewritten.length);
        Ok(bytes)
    }

    fn block(ssrc: u32, highest: u32, lsr: u32) -> [u32; 6] {
        [ssrc, 0x0100_0002, highest, 9, lsr, lsr]
    }

    fn name(ssrc: u32) -> Vec<u8> {
        // CNAME "a@b": type, length, three octets, and three nulls.
        rtcp(SDES, 1, &[ssrc, 0x0103_6140, 0x6200_0000])
    }

    #[test]
    fn a_report_moves_onto_the_lines() {
        let info = [PHONE, 11, 12, 5000, 3, 300];
        let told = [&info[..], &block(FAR_LINE, 0x0001_0010, 4)].concat();
        let passed = pass(&[rtcp(SR, 1, &told), name(PHONE)], &passage()).unwrap();
        // 16 less 50 is below the wrap, so in the cycle before.
        let info = [LINE, 11, 12, 6000, 77, 7700];
        let expected = [&info[..], &block(FAR, 0x0000_ffde, 4)].concat();
        assert_eq!(passed, [rtcp(SR, 1, &expected), name(LINE)].concat());
    }

    #[test]
    fn a_report_of_a_source_that_does_not_speak_is_no_sender_report() {
        let mut quiet = passage();
        quiet.speaks = None;
        let told = [&[PHONE, 11, 12, 5000, 3, 300][..], &block(FAR_LINE, 60, 4)].concat();
        let passed = pass(&[rtcp(SR, 1, &told), name(PHONE)], &quiet).unwrap();
        let expected = [&[LINE][..], &block(FAR, 10, 4)].concat();
        assert_eq!(passed, [rtcp(RR, 1, &expected), name(LINE)].concat());
    }

    #[test]
    fn an_answer_to_a_report_that_was_never_passed_says_nothing() {
        let mut fresh = passage();
        fresh.hears.as_mut().unwrap().reported = false;
        let told = [&[PHONE][..], &block(FAR_LINE, 60, 4)].concat();
        let passed = pass(&[rtcp(RR, 1, &told)], &fresh).unwrap();
        let expected = [&[LINE][..], &block(FAR, 10, 0)].concat();
        assert_eq!(passed, rtcp(RR, 1, &expected));
    }

    #[test]
    fn a_bye_never_passes() {
        let bye = rtcp(BYE, 1, &[PHONE]);
        let passed = pass(&[rtcp(RR, 0, &[PHONE]), bye.clone()], &passage()).unwrap();
        assert_eq!(passed, rtcp(RR, 0, &[LINE]));
        assert!(pass(&[bye], &passage()).unwrap().is_empty());
    }

    #[test]
    fn feedback_finds_the_source() {
        let remb = u32::from_be_bytes(*b"REMB");
        for (sent, expected) in [
            // Picture loss.
            (
                rtcp(PSFB, 1, &[PHONE, FAR_LINE]),
                rtcp(PSFB, 1, &[LINE, FAR]),
            ),
            // Full intra request: the SSRC is inside.
            (
                rtcp(PSFB, 4, &[PHONE, 0, FAR_LINE, 7 << 24]),
                rtcp(PSFB, 4, &[LINE, 0, FAR, 7 << 24]),
            ),
            // Bandwidth.
            (
                rtcp(PSFB, 15, &[PHONE, 0, remb, 0x0100_0001, FAR_LINE]),
                rtcp(PSFB, 15, &[LINE, 0, remb, 0x0100_0001, FAR]),
            ),
            // Two lost packets: 60 and 1 are 10 and 65487 at the source.
            (
                rtcp(RTPFB, 1, &[PHONE, FAR_LINE, 60 << 16 | 3, 1 << 16]),
                rtcp(RTPFB, 1, &[LINE, FAR, 10 << 16 | 3, 65_487 << 16]),
            ),
            // Of something that we did not send.
            (
                rtcp(RTPFB, 1, &[PHONE, 99, 60 << 16]),
                rtcp(RTPFB, 1, &[LINE, 99, 60 << 16]),
            ),
            // Statistics and voice metrics.
            (
                rtcp(XR, 0, &[PHONE, 0x0600_0002, FAR_LINE, 60 << 16 | 70]),
                rtcp(XR, 0, &[LINE, 0x0600_0002, FAR, 10 << 16 | 20]),
            ),
            (
                rtcp(XR, 0, &[PHONE, 0x0500_0003, FAR_LINE, 1, 2]),
                rtcp(XR, 0, &[LINE, 0x0500_0003, FAR, 1, 2]),
            ),
        ] {
            let passed = pass(std::slice::from_ref(&sent), &passage()).unwrap();
            assert_eq!(passed, expected, "{sent:x?}");
        }
    }

    #[test]
    fn padding_is_nobodys_report() {
        // A block that says it goes on into the padding, where something looks like the SSRC that we know.
        for (kind, count, told) in [
            (XR, 0, [PHONE, 0x06d1_0001, FAR_LINE, 8]),
            (RTPFB, 3, [PHONE, 0, FAR_LINE, 8]),
            (PSFB, 4, [PHONE, 0, FAR_LINE, 8]),
        ] {
            let mut sent = rtcp(kind, count, &told);
            sent[0] |= 0x20;
            let mut expected = sent.clone();
            expected[4..8].copy_from_slice(&LINE.to_be_bytes());
            let passed = pass(&[sent], &passage()).unwrap();
            assert_eq!(passed, expected, "{kind}");
        }
    }

    #[test]
    fn what_does_not_add_up_is_malformed() {
        let good = rtcp(RR, 0, &[PHONE]);
        let padded = |padding: u8| {
            let mut bytes = rtcp(RR, 0, &[PHONE, u32::from(padding)]);
            bytes[0] |= 0x20;
            bytes
        };
        for (bytes, why) in [
            (vec![], "empty"),
            (good[..7].to_vec(), "cut"),
            (vec![0x80, RR], "no length"),
            (rtcp(RR, 1, &[PHONE]), "a block is missing"),
            (rtcp(SR, 0, &[PHONE, 1, 2, 3]), "sender info is missing"),
            (rtcp(BYE, 2, &[PHONE]), "an SSRC is missing"),
            ([&good[..], &[0x40, RR, 0, 0]].concat(), "version"),
            ([&good[..], &[0x80, 0, 0, 0]].concat(), "type"),
            (padded(0), "no padding"),
            (padded(8), "padding over the SSRC"),
            ([padded(4), good.clone()].concat(), "padding in the middle"),
        ] {
            assert!(pass(&[bytes], &passage()).is_err(), "{why}");
        }
        assert!(pass(&[good.clone(), padded(4)], &passage()).is_ok());
    }

    #[test]
    fn what_we_write_ourselves_is_valid() {
        let mut bytes = [0; 64];
        let length = write_key_frame_request(&mut bytes, LINE, PHONE);
        assert!(is_valid(&bytes[..length]));
        assert_eq!(
            bytes[length - 12..length],
            rtcp(PSFB, 1, &[LINE, PHONE])[..]
        );
        let report = OwnReport {
            ssrc: LINE,
            unix_us: 1_500_000,
            timestamp: 5,
            packets: 6,
            octets: 7,
        };
        let length = write_sender_report(&mut bytes, &report);
        assert!(is_valid(&bytes[..length]));
        let info = [LINE, 2_208_988_801, 1 << 31, 5, 6, 7];
        assert_eq!(bytes[..28], rtcp(SR, 0, &info)[..]);
        assert_eq!(&bytes[length - 10..length], b"11111111\0\0");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_octets_do_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            if let Ok(rewritten) = rewrite(&mut bytes, &passage()) {
                prop_assert!(rewritten.length <= length);
            }
        }

        #[test]
        fn what_passes_stays_whole(
            parts in proptest::collection::vec(
                (192..=223u8, 0..32u8, proptest::collection::vec(any::<u32>(), 0..12)),
                1..6,
            ),
            speaks in any::<bool>(),
        ) {
            let bytes: Vec<_> = parts.iter().map(|(kind, count, w)| rtcp(*kind, *count, w)).collect();
            let mut passage = passage();
            if !speaks {
                passage.speaks = None;
            }
            if let Ok(passed) = pass(&bytes, &passage) {
                prop_assert!(passed.is_empty() || is_valid(&passed));
                let byes = parts.iter().filter(|(kind, ..)| *kind == BYE).count();
                prop_assert!(byes == 0 || passed.len() < bytes.concat().len());
            }
        }
    }
}
