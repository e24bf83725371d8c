//! Session keys (RFC 3711 4.3) and the ciphers that use them.

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use aes::{Aes128, Aes256};
use aes_gcm::aead::{AeadInOut, Nonce};
use aes_gcm::{Aes128Gcm, Aes256Gcm, Tag};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::sip::sdp::{MasterKey, Suite};

/// Octets of the GCM tag (RFC 7714 13.1).
const GCM_TAG: usize = 16;
/// Octets of the HMAC-SHA1 key (RFC 3711 8.2).
const AUTH_KEY: usize = 20;
/// Blocks of keystream made at once: AES instructions work on several in parallel.
const BLOCKS: usize = 8;
const BLOCK: usize = 16;
/// Octets of RTCP that may come unencrypted under GCM.
const LONGEST_CONTROL: usize = 2048;

/// The two kinds of packets under one master key, by the label of their first session key
/// (RFC 3711 4.3.1, 4.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// A cipher that is keyed. AES keeps its key schedule; no packet derives anything.
pub(super) enum Cipher {
    Cm(Box<CounterMode>),
    Gcm(Box<Gcm>),
}

pub(super) struct CounterMode {
    aes: Aes,
    salt: [u8; 14],
    mac: Hmac<Sha1>,
    /// Octets of the tag.
    tag: usize,
}

pub(super) struct Gcm {
    aes: GcmAes,
    salt: [u8; 12],
}

enum GcmAes {
    Short(Aes128Gcm),
    Long(Aes256Gcm),
}

/// AES of either key length.
pub(super) enum Aes {
    Short(Aes128),
    Long(Aes256),
}

impl Aes {
    /// None where no AES key is so long.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Short),
            32 => Aes256::new_from_slice(key).ok().map(Self::Long),
            _ => None,
        }
    }

    /// Adds the keystream that begins at this counter block (RFC 3711 4.1.1).
    pub(super) fn apply(&self, iv: [u8; BLOCK], data: &mut [u8]) {
        let mut counter = u128::from_be_bytes(iv);
        for chunk in data.chunks_mut(BLOCK * BLOCKS) {
            let mut stream = [Block::<Aes128>::default(); BLOCKS];
            let needed = &mut stream[..chunk.len().div_ceil(BLOCK)];
            for block in needed.iter_mut() {
                block.copy_from_slice(&counter.to_be_bytes());
                counter = counter.wrapping_add(1);
            }
            match self {
                Self::Short(aes) => aes.encrypt_blocks(needed),
                Self::Long(aes) => aes.encrypt_blocks(needed),
            }
            for (octets, key) in chunk.chunks_mut(BLOCK).zip(needed.iter()) {
                for (octet, key) in octets.iter_mut().zip(key) {
                    *octet ^= key;
                }
            }
        }
    }
}

impl Cipher {
    /// Derives the session keys of one kind of packets; the key derivation rate is zero.
    pub(super) fn derive(master: &MasterKey, kind: Kind) -> Option<Self> {
        let base = match kind {
            Kind::Rtp => 0,
            Kind::Rtcp => 3,
        };
        let prf = Aes::new(master.key())?;
        // RFC 7714 11: the shorter salt is padded with zeros on the right.
        let mut salt = [0; 14];
        let known = master.salt();
        salt.get_mut(..known.len())?.copy_from_slice(known);
        let session = |label: u8, out: &mut [u8]| {
            let mut iv = [0; BLOCK];
            iv[..14].copy_from_slice(&salt);
            iv[7] ^= label;
            prf.apply(iv, out);
        };
        let mut key = [0; 32];
        let key = &mut key[..master.suite().key_octets()];
        session(base, key);
        let tag = match master.suite() {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => {
                let mut salt = [0; 12];
                session(base + 2, &mut salt);
                let aes = match master.suite().key_octets() {
                    16 => GcmAes::Short(Aes128Gcm::new_from_slice(key).ok()?),
                    _ => GcmAes::Long(Aes256Gcm::new_from_slice(key).ok()?),
                };
                return Some(Self::Gcm(Box::new(Gcm { aes, salt })));
            }
            // RFC 4568 6.2.2, RFC 6188 4: the short tag is for RTP only.
            Suite::AesCm128HmacSha1_32 | Suite::AesCm256HmacSha1_32 if kind == Kind::Rtp => 4,
            Suite::AesCm128HmacSha1_32
            | Suite::AesCm256HmacSha1_32
            | Suite::AesCm128HmacSha1_80
            | Suite::AesCm256HmacSha1_80 => 10,
        };
        let mut auth = [0; AUTH_KEY];
        session(base + 1, &mut auth);
        let mut salt = [0; 14];
        session(base + 2, &mut salt);
        Some(Self::Cm(Box::new(CounterMode {
            aes: Aes::new(key)?,
            salt,
            mac: Hmac::new_from_slice(&auth).ok()?,
            tag,
        })))
    }

    /// Returns the octets of the tag.
    pub(super) fn tag(&self) -> usize {
        match self {
            Self::Cm(cm) => cm.tag,
            Self::Gcm(_) => GCM_TAG,
        }
    }
}

impl CounterMode {
    /// RFC 3711 4.1.1.
    pub(super) fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut iv = [0; BLOCK];
        iv[..14].copy_from_slice(&self.salt);
        let mixed = u128::from_be_bytes(iv) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        self.aes.apply(mixed.to_be_bytes(), data);
    }

    /// Writes the tag of `packet` with `trailer` behind it.
    pub(super) fn seal(&self, packet: &[u8], trailer: &[u8], tag: &mut [u8]) {
        let mut mac = self.mac.clone();
        mac.update(packet);
        mac.update(trailer);
        let full = mac.finalize().into_bytes();
        tag.copy_from_slice(&full[..tag.len()]);
    }

    /// Starts a check of a packet, to be ended with one trailer or another.
    pub(super) fn check(&self, packet: &[u8]) -> Check {
        let mut mac = self.mac.clone();
        mac.update(packet);
        Check(mac)
    }
}

/// A tag in the making.
pub(super) struct Check(Hmac<Sha1>);

impl Check {
    /// Compares in constant time.
    pub(super) fn fits(&self, trailer: &[u8], tag: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(trailer);
        mac.verify_truncated_left(tag).is_ok()
    }
}

impl Gcm {
    /// RFC 7714 8.1 and 9.1: two zeros, the SSRC, and 48 bits of index (of SRTCP's, 31).
    pub(super) fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        let mut nonce = self.salt;
        let ssrc = ssrc.to_be_bytes();
        let index = index.to_be_bytes();
        for (octet, mixed) in nonce[2..6].iter_mut().zip(ssrc) {
            *octet ^= mixed;
        }
        for (octet, mixed) in nonce[6..].iter_mut().zip(&index[2..]) {
            *octet ^= mixed;
        }
        nonce
    }

    pub(super) fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Option<Tag> {
        let nonce = Nonce::<Aes128Gcm>::from(nonce);
        match &self.aes {
            GcmAes::Short(aes) => aes.encrypt_inout_detached(&nonce, aad, data.into()),
            GcmAes::Long(aes) => aes.encrypt_inout_detached(&nonce, aad, data.into()),
        }
        .ok()
    }

    /// Checks a packet that is not encrypted (RFC 7714 9.3): all of it is only authenticated.
    pub(super) fn verify(
        &self,
        nonce: [u8; 12],
        packet: &[u8],
        trailer: [u8; 4],
        tag: &[u8],
    ) -> bool {
        let mut aad = [0; LONGEST_CONTROL];
        let end = packet.len() + trailer.len();
        let Some(room) = aad.get_mut(..end) else {
            return false;
        };
        room[..packet.len()].copy_from_slice(packet);
        room[packet.len()..].copy_from_slice(&trailer);
        self.open(nonce, room, &mut [], tag)
    }

    /// Leaves the data as it was where the tag does not fit.
    pub(super) fn open(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8], tag: &[u8]) -> bool {
        let nonce = Nonce::<Aes128Gcm>::from(nonce);
        let Ok(tag) = <[u8; GCM_TAG]>::try_from(tag).map(Tag::from) else {
            return false;
        };
        match &self.aes {
            GcmAes::Short(aes) => aes.decrypt_inout_detached(&nonce, aad, data.into(), &tag),
            GcmAes::Long(aes) => aes.decrypt_inout_detached(&nonce, aad, data.into(), &tag),
        }
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        let octet = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(octet).collect()
    }

    fn cm(cipher: Option<Cipher>) -> CounterMode {
        match cipher {
            Some(Cipher::Cm(cm)) => *cm,
            Some(Cipher::Gcm(_)) | None => panic!("counter mode"),
        }
    }

    /// RFC 3711 B.2.
    #[test]
    fn makes_the_keystream_of_the_rfc() {
        let aes = Aes::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"));
        let mut data = vec![0; 0xff02 * 16];
        aes.apply(iv, &mut data);
        assert_eq!(data[..16], hex("E03EAD0935C95E80E166B16DD92B4EB4"));
        assert_eq!(data[16..32], hex("D23513162B02D0F72A43A2FE4A5F97AB"));
        assert_eq!(
            data[0xfeff * 16..][..16],
            hex("EC8CDF7398607CB0F2D21675EA9EA1E4")
        );
    }

    /// RFC 3711 B.3.
    #[test]
    fn derives_the_keys_of_the_rfc() {
        let octets = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey::new(Suite::AesCm128HmacSha1_80, &octets).unwrap();
        let cipher = cm(Cipher::derive(&master, Kind::Rtp));
        assert_eq!(cipher.salt[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        let mut block = [0; 16];
        cipher.aes.apply([0; 16], &mut block);
        let expected = Aes::new(&hex("C61E7A93744F39EE10734AFE3FF7A087")).unwrap();
        let mut other = [0; 16];
        expected.apply([0; 16], &mut other);
        assert_eq!(block, other);
        let auth = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
        let mut mac: Hmac<Sha1> = Hmac::new_from_slice(&auth).unwrap();
        mac.update(b"packet");
        let mut tag = [0; 10];
        cipher.seal(b"pac", b"ket", &mut tag);
        assert_eq!(mac.finalize().into_bytes()[..10], tag);
    }

    /// RFC 6188 7.2.
    #[test]
    fn derives_the_long_keys_of_the_rfc() {
        let octets = hex(
            "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6
             3b04803de51ee7c96423ab5b78d2",
        );
        let master = MasterKey::new(Suite::AesCm256HmacSha1_80, &octets).unwrap();
        let cipher = cm(Cipher::derive(&master, Kind::Rtp));
        assert_eq!(cipher.salt[..], hex("fa31791685ca444a9e07c6c64e93"));
        let key = hex("5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4");
        let (mut ours, mut theirs) = ([0; 16], [0; 16]);
        cipher.aes.apply([7; 16], &mut ours);
        Aes::new(&key).unwrap().apply([7; 16], &mut theirs);
        assert_eq!(ours, theirs);
    }

    /// RFC 7714 16.1.1 and 16.2.1.
    #[test]
    fn seals_as_the_rfc_does() {
        let salt = hex("517569642070726f2071756f").try_into().unwrap();
        let header = hex("8040f17b8041f8d35501a0b2");
        let plain = b"Gallia est omnis divisa in partes tres";
        let short: Vec<u8> = (0..16).collect();
        let long: Vec<u8> = (0..32).collect();
        let cases = [
            (
                GcmAes::Short(Aes128Gcm::new_from_slice(&short).unwrap()),
                "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
                 899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                GcmAes::Long(Aes256Gcm::new_from_slice(&long).unwrap()),
                "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
                 7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (aes, expected) in cases {
            let gcm = Gcm { aes, salt };
            let nonce = gcm.nonce(0x5501_a0b2, 0xf17b);
            let mut data = plain.to_vec();
            let tag = gcm.seal(nonce, &header, &mut data).unwrap();
            data.extend_from_slice(&tag);
            assert_eq!(data, hex(expected));
        }
    }
}
