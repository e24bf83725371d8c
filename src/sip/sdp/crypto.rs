//! SDES: SRTP keys in `a=crypto` lines (RFC 4568, RFC 6188, RFC 7714).

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The longest key and salt of any suite, in octets.
const LONGEST: usize = 46;
/// RFC 4568 9.1: nine digits.
const TAG_MAX: u32 = 999_999_999;
/// More than any phone offers.
const LINES_MAX: usize = 16;
/// The longest line that is looked at, in octets.
const LINE_MAX: usize = 512;
/// RFC 4568 6.1: octets of an MKI.
const MKI_MAX: u8 = 128;

/// How packets are encrypted and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// RFC 4568 6.2.1.
    AesCm128HmacSha1_80,
    /// RFC 4568 6.2.2.
    AesCm128HmacSha1_32,
    /// RFC 6188.
    AesCm256HmacSha1_80,
    /// RFC 6188.
    AesCm256HmacSha1_32,
    /// RFC 7714.
    AeadAes128Gcm,
    /// RFC 7714.
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite, in the order of the IANA registry.
    pub const ALL: [Self; 6] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::AesCm256HmacSha1_80,
        Self::AesCm256HmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// Returns its name in an `a=crypto` line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Reads a name, in any case (RFC 4568 9.1 spells it in capitals, some phones do not).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|suite| name.eq_ignore_ascii_case(suite.as_str()))
    }

    /// Returns the octets of the master key.
    pub fn key_octets(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 | Self::AeadAes128Gcm => 16,
            Self::AesCm256HmacSha1_80 | Self::AesCm256HmacSha1_32 | Self::AeadAes256Gcm => 32,
        }
    }

    /// Returns the octets of the master salt.
    pub fn salt_octets(self) -> usize {
        match self {
            Self::AesCm128HmacSha1_80
            | Self::AesCm128HmacSha1_32
            | Self::AesCm256HmacSha1_80
            | Self::AesCm256HmacSha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    fn octets(self) -> usize {
        self.key_octets() + self.salt_octets()
    }
}

/// A suite with the master key and salt that one end sends under. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterKey {
    suite: Suite,
    /// Key, then salt, as in the line.
    octets: Box<[u8]>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.as_str())
    }
}

impl MasterKey {
    /// Takes key and salt together. None where they are not as long as the suite says.
    pub fn new(suite: Suite, octets: &[u8]) -> Option<Self> {
        (octets.len() == suite.octets()).then(|| Self {
            suite,
            octets: octets.into(),
        })
    }

    /// Makes a fresh one of random octets.
    pub fn fresh(suite: Suite, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut octets = vec![0; suite.octets()];
        fill(&mut octets);
        Self {
            suite,
            octets: octets.into(),
        }
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub fn key(&self) -> &[u8] {
        let end = self.suite.key_octets().min(self.octets.len());
        &self.octets[..end]
    }

    pub fn salt(&self) -> &[u8] {
        let start = self.suite.key_octets().min(self.octets.len());
        &self.octets[start..]
    }
}

/// One `a=crypto` line that we can take part in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crypto {
    /// Names the line in an answer (RFC 4568 5.1.2).
    pub tag: u32,
    pub key: MasterKey,
}

/// Why a line is passed over. Another one of the same section may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    #[error("crypto line is too long")]
    TooLong,
    #[error("crypto line has no tag, suite and key")]
    Incomplete,
    #[error("crypto tag is not a number of up to nine digits")]
    Tag,
    #[error("crypto suite is not known")]
    Suite,
    #[error("key method is not inline")]
    Method,
    #[error("more than one key in a crypto line")]
    Keys,
    #[error("key is not base64 of the suite's length")]
    Key,
    #[error("key lifetime is not valid")]
    Lifetime,
    #[error("master key identifiers are not spoken")]
    Mki,
    #[error("session parameter is not spoken")]
    Parameter,
}

impl Crypto {
    /// Reads the value of an `a=crypto` attribute.
    ///
    /// A lifetime is allowed and not kept: no call of ours comes near one that is worth its key. With
    /// an MKI, or a session parameter other than `WSH`, the line is refused: packets would look
    /// different (RFC 4568 6.3.7 has unknown parameters refused).
    ///
    /// # Errors
    /// The line is not valid, or asks for what we do not speak.
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        if value.len() > LINE_MAX {
            return Err(CryptoError::TooLong);
        }
        let mut words = value.split_ascii_whitespace();
        let (Some(tag), Some(suite), Some(keys)) = (words.next(), words.next(), words.next())
        else {
            return Err(CryptoError::Incomplete);
        };
        let digits = tag.bytes().all(|octet| octet.is_ascii_digit());
        let tag = tag
            .parse()
            .ok()
            .filter(|tag| digits && *tag <= TAG_MAX)
            .ok_or(CryptoError::Tag)?;
        let suite = Suite::parse(suite).ok_or(CryptoError::Suite)?;
        let (method, info) = keys.split_once(':').ok_or(CryptoError::Method)?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(CryptoError::Method);
        }
        if info.contains(';') {
            return Err(CryptoError::Keys);
        }
        let mut parts = info.split('|');
        let key = parts
            .next()
            .and_then(decode)
            .and_then(|octets| MasterKey::new(suite, &octets))
            .ok_or(CryptoError::Key)?;
        for part in parts {
            match part.split_once(':') {
                None if is_lifetime(part) => {}
                None => return Err(CryptoError::Lifetime),
                Some((_, length)) => {
                    let length: Option<u8> = length.parse().ok();
                    let valid = length.is_some_and(|octets| (1..=MKI_MAX).contains(&octets));
                    return Err(if valid {
                        CryptoError::Mki
                    } else {
                        CryptoError::Key
                    });
                }
            }
        }
        // RFC 4568 6.3.6: a window-size hint changes nothing for who ignores it.
        if words.any(|word| !word.starts_with("WSH=")) {
            return Err(CryptoError::Parameter);
        }
        Ok(Self { tag, key })
    }

    /// Writes the value of an `a=crypto` attribute.
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(128);
        let _ = write!(out, "{} {} inline:", self.tag, self.key.suite.as_str());
        encode(&self.key.octets, &mut out);
        out
    }
}

impl super::Media<'_> {
    /// Returns the section's `a=crypto` lines that we can take part in, in the order of preference.
    pub fn crypto(&self) -> Vec<Crypto> {
        super::line::lines(self.text)
            .filter_map(super::line::Line::parse)
            .filter_map(|line| line.attribute("crypto"))
            .take(LINES_MAX)
            .filter_map(|value| Crypto::parse(value).ok())
            .collect()
    }
}

/// RFC 4568 6.1: a number of packets, or a power of two; not beyond RFC 3711 9.2.
fn is_lifetime(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(power) => power.parse().is_ok_and(|power: u8| power <= 48),
        None => text
            .parse()
            .is_ok_and(|packets: u64| packets > 0 && packets <= 1 << 48),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648 4); padding may be left out, as old phones do.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(LONGEST);
    let (mut bits, mut count) = (0u32, 0);
    for octet in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == octet)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
        if out.len() > LONGEST {
            return None;
        }
    }
    (bits == 0 && count < 6).then_some(out)
}

fn encode(octets: &[u8], out: &mut String) {
    for chunk in octets.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..4 {
            if index <= chunk.len() {
                let value = bits >> (18 - 6 * index) & 0x3f;
                out.push(char::from(ALPHABET[value as usize]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4568 6.1 shows this one.
    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    #[test]
    fn reads_what_phones_write() {
        let line = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20");
        let crypto = Crypto::parse(&line).unwrap();
        assert_eq!(crypto.tag, 1);
        assert_eq!(crypto.key.suite(), Suite::AesCm128HmacSha1_80);
        assert_eq!(crypto.key.key(), b"wDfvg&T+)xG7@fb5");
        assert_eq!(crypto.key.salt(), b"jU,RaA}\\|p0%*#");
        let plain = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        assert_eq!(crypto.write(), plain);
    }

    #[test]
    fn refuses_what_it_does_not_speak() {
        let all = "AES_CM_128_HMAC_SHA1_80";
        for (line, expected) in [
            (String::new(), CryptoError::Incomplete),
            (format!("1 {all}"), CryptoError::Incomplete),
            (format!("x {all} inline:{KEY}"), CryptoError::Tag),
            (format!("+1 {all} inline:{KEY}"), CryptoError::Tag),
            (format!("1000000000 {all} inline:{KEY}"), CryptoError::Tag),
            (
                format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
                CryptoError::Suite,
            ),
            (format!("1 {all} uri:{KEY}"), CryptoError::Method),
            (format!("1 {all} {KEY}"), CryptoError::Method),
            (
                format!("1 {all} inline:{KEY};inline:{KEY}"),
                CryptoError::Keys,
            ),
            (format!("1 {all} inline:{}", &KEY[1..]), CryptoError::Key),
            (format!("1 {all} inline:{KEY}AAAA"), CryptoError::Key),
            (format!("1 {all} inline:!{}", &KEY[1..]), CryptoError::Key),
            (format!("1 AEAD_AES_128_GCM inline:{KEY}"), CryptoError::Key),
            (format!("1 {all} inline:{KEY}|2^49"), CryptoError::Lifetime),
            (format!("1 {all} inline:{KEY}|0"), CryptoError::Lifetime),
            (format!("1 {all} inline:{KEY}|2^20|1:4"), CryptoError::Mki),
            (format!("1 {all} inline:{KEY}|1:129"), CryptoError::Key),
            (
                format!("1 {all} inline:{KEY} UNENCRYPTED_SRTP"),
                CryptoError::Parameter,
            ),
            (
                format!("1 {all} inline:{KEY} KDR=1"),
                CryptoError::Parameter,
            ),
            ("1 ".repeat(300), CryptoError::TooLong),
        ] {
            assert_eq!(Crypto::parse(&line), Err(expected), "{line}");
        }
        assert!(Crypto::parse(&format!("7 {all} inline:{KEY} WSH=128")).is_ok());
    }

    #[test]
    fn shows_no_key() {
        let key = MasterKey::fresh(Suite::AeadAes128Gcm, |octets| octets.fill(0xab));
        let shown = format!("{key:?}");
        assert_eq!(shown, "MasterKey(AEAD_AES_128_GCM)");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn reads_what_it_writes(tag in 0..=TAG_MAX, suite in 0..6usize, octets in prop::array::uniform32(any::<u8>())) {
            let key = MasterKey::fresh(Suite::ALL[suite], |into| {
                for (at, octet) in into.iter_mut().enumerate() {
                    *octet = octets[at % 32];
                }
            });
            let crypto = Crypto { tag, key };
            prop_assert_eq!(Crypto::parse(&crypto.write()), Ok(crypto));
        }

        #[test]
        fn never_panics(value in "\\PC{0,80}", key in "[A-Za-z0-9+/=|:;]{0,80}") {
            let _ = Crypto::parse(&value);
            let _ = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"));
        }
    }
}
