//! The frames of a WebSocket (RFC 6455 5.2) on their way to the codec. Of a message that is larger than that takes,
//! it gets the beginning, as one that ends there; the rest is passed over, and the connection goes on.

use bytes::BytesMut;

/// A message is passed over up to this size, in octets; one that is larger goes to the codec as it is, which closes.
const PASSED_OVER_MAX: u64 = 1024 * 1024;
/// RFC 6455 5.2: two octets, a length of eight and a key.
const HEAD_MAX: usize = 14;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CONTROL: u8 = 8;

/// Where in the frames of one connection we are.
pub(super) struct Frames {
    /// Octets of a message that the codec takes.
    max: usize,
    head: [u8; HEAD_MAX],
    /// So much of the head has come.
    begun: usize,
    /// What is left of the frame: for the codec, and for nobody.
    pass: u64,
    skip: u64,
    /// The codec has so much of the message whose last fragment has not come.
    open: Option<u64>,
    /// What is passed on now ends a message before its end.
    cuts: bool,
    /// So much was passed over of a message whose last fragment has not come.
    over: Option<u64>,
}

/// What a whole head says.
struct Head {
    first: u8,
    masked: bool,
    len: u64,
}

impl Frames {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            head: [0; HEAD_MAX],
            begun: 0,
            pass: 0,
            skip: 0,
            open: None,
            cuts: false,
            over: None,
        }
    }

    /// Returns true while a message or another frame is begun and not whole.
    pub(super) fn is_midway(&self) -> bool {
        self.begun > 0 || self.pass + self.skip > 0 || self.open.is_some() || self.over.is_some()
    }

    /// Takes what came, and hands to the codec what is for it. Returns true where that ends with a message that was
    /// cut, which the codec has to read before more is taken; false once nothing is left.
    pub(super) fn take(&mut self, came: &mut &[u8], to: &mut BytesMut) -> bool {
        loop {
            let passed = self.pass.min(came.len() as u64) as usize;
            let (now, rest) = came.split_at(passed);
            to.extend_from_slice(now);
            *came = rest;
            self.pass -= passed as u64;
            if self.pass > 0 {
                return false;
            }
            if std::mem::take(&mut self.cuts) {
                return true;
            }
            let skipped = self.skip.min(came.len() as u64) as usize;
            *came = &came[skipped..];
            self.skip -= skipped as u64;
            let Some((first, rest)) = came.split_first() else {
                return false;
            };
            if self.skip == 0 {
                self.head[self.begun] = *first;
                self.begun += 1;
                *came = rest;
                if let Some(head) = self.whole_head() {
                    self.begins(&head, to);
                    self.begun = 0;
                }
            }
        }
    }

    fn whole_head(&self) -> Option<Head> {
        let [first, second, ..] = self.head;
        let more = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & MASKED != 0;
        let whole = 2 + more + if masked { 4 } else { 0 };
        if self.begun < whole.max(2) {
            return None;
        }
        let octets = self.head[2..2 + more].iter();
        let long = octets.fold(0, |len, octet| len << 8 | u64::from(*octet));
        let len = if more > 0 {
            long
        } else {
            u64::from(second & !MASKED)
        };
        Some(Head { first, masked, len })
    }

    /// A frame begins.
    fn begins(&mut self, head: &Head, to: &mut BytesMut) {
        let (opcode, ends) = (head.first & OPCODE, head.first & FIN != 0);
        if opcode & CONTROL != 0 {
            return self.passes(head, to);
        }
        if let Some(over) = self.over.filter(|_| opcode == CONTINUATION) {
            let over = over.saturating_add(head.len);
            self.over = Some(over).filter(|_| !ends);
            if over > PASSED_OVER_MAX {
                // It continues nothing that the codec knows of.
                return self.passes(head, to);
            }
            self.skip = head.len;
            return;
        }
        self.over = None;
        let before = self.open.filter(|_| opcode == CONTINUATION).unwrap_or(0);
        let size = before.saturating_add(head.len);
        let fits = size <= self.max as u64 || size > PASSED_OVER_MAX || !head.masked;
        if fits {
            self.open = Some(size).filter(|_| !ends);
            // Where it is cut need not be the end of a character, for which the codec would look in a text.
            if opcode == TEXT && !ends {
                self.head[0] = head.first & !OPCODE | BINARY;
            }
            return self.passes(head, to);
        }
        let room = (self.max as u64).saturating_sub(before);
        let kind = if opcode == TEXT { BINARY } else { opcode };
        to.extend_from_slice(&[FIN | head.first & !OPCODE | kind, MASKED | 127]);
        to.extend_from_slice(&room.to_be_bytes());
        to.extend_from_slice(&self.head[self.begun - 4..self.begun]);
        (self.pass, self.skip, self.cuts) = (room, head.len - room, true);
        self.open = None;
        self.over = Some(size).filter(|_| !ends);
    }

    fn passes(&mut self, head: &Head, to: &mut BytesMut) {
        to.extend_from_slice(&self.head[..self.begun]);
        self.pass = head.len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame whose key is 0.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ ..126 => frame.push(MASKED | len as u8),
            len @ 126..0x1_0000 => {
                frame.push(MASKED | 126);
                frame.extend((len as u16).to_be_bytes());
            }
            len => {
                frame.push(MASKED | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn cut(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, MASKED | 127];
        frame.extend((payload.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    /// Returns what the codec gets where it comes in pieces of so many octets, and how many messages were cut.
    fn taken(frames: &[Vec<u8>], piece: usize) -> (Vec<u8>, usize) {
        let (mut gate, mut to, mut cuts) = (Frames::new(200), BytesMut::new(), 0);
        for piece in frames.concat().chunks(piece) {
            let mut came = piece;
            while gate.take(&mut came, &mut to) {
                cuts += 1;
            }
            assert!(came.is_empty());
        }
        assert!(!gate.is_midway());
        (to.to_vec(), cuts)
    }

    #[test]
    fn a_message_that_is_too_large_is_cut_and_the_next_is_whole() {
        let (large, small) = ([b'x'; 300], b"next");
        let ping = frame(0x89, b"?");
        let cases = [
            // In one frame, of either kind.
            (
                vec![frame(0x81, &large), frame(0x81, small)],
                [cut(0x82, &large[..200]), frame(0x81, small)].concat(),
            ),
            (
                vec![frame(0x82, &large), frame(0x82, small)],
                [cut(0x82, &large[..200]), frame(0x82, small)].concat(),
            ),
            // In several, with a ping between them.
            (
                vec![
                    frame(0x01, &large[..150]),
                    frame(0x00, &large[..100]),
                    ping.clone(),
                    frame(0x80, &large[..50]),
                    frame(0x81, small),
                ],
                [
                    frame(0x02, &large[..150]),
                    cut(0x80, &large[..50]),
                    ping,
                    frame(0x81, small),
                ]
                .concat(),
            ),
            // The last fragment alone is too much, and none of it has a place.
            (
                vec![
                    frame(0x02, &large[..200]),
                    frame(0x80, b"y"),
                    frame(0x81, small),
                ],
                [
                    frame(0x02, &large[..200]),
                    cut(0x80, b""),
                    frame(0x81, small),
                ]
                .concat(),
            ),
        ];
        for (frames, expected) in cases {
            for piece in [1, 2, 7, 10_000] {
                assert_eq!(taken(&frames, piece), (expected.clone(), 1), "{piece}");
            }
        }
    }

    #[test]
    fn what_fits_and_what_is_beyond_all_measure_goes_to_the_codec_as_it_is() {
        let fits = vec![
            frame(0x81, &[b'x'; 200]),
            frame(0x89, b""),
            frame(0x82, b""),
        ];
        assert_eq!(taken(&fits, 3), (fits.concat(), 0));
        let beyond = vec![frame(0x82, &vec![0; PASSED_OVER_MAX as usize + 1])];
        assert_eq!(taken(&beyond, 4_096), (beyond.concat(), 0));
        let unmasked = vec![vec![0x82, 126, 1, 0], vec![0; 256]];
        assert_eq!(taken(&unmasked, 5), (unmasked.concat(), 0));
    }
}
