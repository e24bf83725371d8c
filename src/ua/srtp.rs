//! SRTP as a phone does it: AES-128 in counter mode with an HMAC-SHA1 tag of 80 bits (RFC 3711, RFC 4568
//! 6.2.1). Written for itself, so that it cannot agree with the relay on a mistake.

use std::fmt;

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::sip::sdp::{Crypto, MasterKey, Suite};

use super::request::random;

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
const TAG: usize = 10;
const HEADER: usize = 12;

/// What one end sends under: it encrypts on one side and decrypts on the other.
pub(super) struct Line {
    cipher: Aes128,
    salt: u128,
    mac: Hmac<Sha1>,
    /// The source that speaks, its highest sequence number, and how often that rolled over.
    source: Option<(u32, u16, u32)>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

/// Makes a line of a description with a fresh key.
pub(super) fn fresh(tag: u32) -> Crypto {
    let key = MasterKey::fresh(SUITE, |octets| {
        for octet in octets {
            *octet = random() as u8;
        }
    });
    Crypto { tag, key }
}

/// Returns the first line that we speak.
pub(super) fn spoken(lines: Vec<Crypto>) -> Option<Crypto> {
    lines.into_iter().find(|line| line.key.suite() == SUITE)
}

impl Line {
    /// Derives the session keys (RFC 3711 4.3).
    pub(super) fn new(master: &MasterKey) -> Option<Self> {
        let prf = Aes128::new_from_slice(master.key()).ok()?;
        let mut octets = [0; 16];
        octets[..14].copy_from_slice(master.salt().first_chunk::<14>()?);
        let salt = u128::from_be_bytes(octets);
        let derived = |label: u8| {
            let mut out = [0; 32];
            stream(&prf, salt ^ u128::from(label) << 64, &mut out);
            out
        };
        let (cipher, mac, salt) = (derived(0), derived(1), derived(2));
        let mut octets = [0; 16];
        octets[..14].copy_from_slice(&salt[..14]);
        Some(Self {
            cipher: Aes128::new_from_slice(&cipher[..16]).ok()?,
            salt: u128::from_be_bytes(octets),
            mac: Hmac::new_from_slice(&mac[..20]).ok()?,
            source: None,
        })
    }

    /// Encrypts a packet and adds its tag.
    pub(super) fn seal(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let Some((ssrc, sequence)) = names(&packet) else {
            return packet;
        };
        let rolled = self.rolled(ssrc, sequence);
        self.apply(ssrc, sequence, rolled, &mut packet);
        let tag = self.tag(&packet, rolled);
        packet.extend_from_slice(&tag);
        self.note(ssrc, sequence, rolled);
        packet
    }

    /// Checks a packet's tag and decrypts it; none where it is not of this line.
    pub(super) fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (packet, tag) = packet.split_at_checked(packet.len().checked_sub(TAG)?)?;
        let (ssrc, sequence) = names(packet)?;
        let rolled = self.rolled(ssrc, sequence);
        if self.tag(packet, rolled) != tag {
            return None;
        }
        let mut packet = packet.to_vec();
        self.apply(ssrc, sequence, rolled, &mut packet);
        self.note(ssrc, sequence, rolled);
        Some(packet)
    }

    /// Guesses the rollover counter (RFC 3711 3.3.1).
    fn rolled(&self, ssrc: u32, sequence: u16) -> u32 {
        match self.source {
            Some((known, highest, rolled)) if known == ssrc => {
                if highest > sequence && highest - sequence > 0x8000 {
                    rolled.wrapping_add(1)
                } else if sequence > highest && sequence - highest > 0x8000 {
                    rolled.wrapping_sub(1)
                } else {
                    rolled
                }
            }
            Some(_) | None => 0,
        }
    }

    fn note(&mut self, ssrc: u32, sequence: u16, rolled: u32) {
        let ahead = match self.source {
            Some((known, highest, before)) if known == ssrc => {
                (rolled, sequence) > (before, highest)
            }
            Some(_) | None => true,
        };
        if ahead {
            self.source = Some((ssrc, sequence, rolled));
        }
    }

    /// RFC 3711 4.1.1: the block that the keystream begins with is the salt, the SSRC and the index.
    fn apply(&self, ssrc: u32, sequence: u16, rolled: u32, packet: &mut [u8]) {
        let index = u128::from(rolled) << 16 | u128::from(sequence);
        let first = self.salt ^ u128::from(ssrc) << 64 ^ index << 16;
        stream(&self.cipher, first, &mut packet[HEADER..]);
    }

    fn tag(&self, packet: &[u8], rolled: u32) -> [u8; TAG] {
        let mut mac = self.mac.clone();
        mac.update(packet);
        mac.update(&rolled.to_be_bytes());
        let whole = mac.finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole[..TAG]);
        tag
    }
}

/// Adds the keystream that begins with this counter.
fn stream(cipher: &Aes128, first: u128, data: &mut [u8]) {
    for (counter, chunk) in (0u128..).zip(data.chunks_mut(16)) {
        let mut block = Block::<Aes128>::default();
        block.copy_from_slice(&first.wrapping_add(counter).to_be_bytes());
        cipher.encrypt_block(&mut block);
        for (octet, key) in chunk.iter_mut().zip(&block) {
            *octet ^= key;
        }
    }
}

/// Returns SSRC and sequence number; our peers send neither extension nor contributing sources.
fn names(packet: &[u8]) -> Option<(u32, u16)> {
    let header: &[u8; HEADER] = packet.first_chunk()?;
    let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    Some((ssrc, u16::from_be_bytes([header[2], header[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// The packet of libsrtp's own test (test/srtp_driver.c, `srtp_validate`).
    #[test]
    fn agrees_with_libsrtp() {
        let key = octets("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
        let key = MasterKey::new(SUITE, &key).unwrap();
        let plain = octets("800f1234decafbadcafebabe abababababababababababababababab");
        let sealed = octets(
            "800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
        );
        assert_eq!(Line::new(&key).unwrap().seal(plain.clone()), sealed);
        assert_eq!(Line::new(&key).unwrap().open(&sealed), Some(plain));
        let mut forged = sealed;
        forged[20] ^= 1;
        assert_eq!(Line::new(&key).unwrap().open(&forged), None);
    }

    #[test]
    fn counts_over_the_wrap() {
        let key = fresh(1).key;
        let (mut near, mut far) = (Line::new(&key).unwrap(), Line::new(&key).unwrap());
        for number in 65_500..65_600u32 {
            let mut packet = vec![0x80; 40];
            packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            let sealed = near.seal(packet.clone());
            if number % 7 != 0 {
                assert_eq!(far.open(&sealed), Some(packet));
            }
        }
        assert_eq!(near.source.map(|(_, _, rolled)| rolled), Some(1));
    }
}
