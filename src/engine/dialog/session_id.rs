//! Session-ID (RFC 7989): one name of a conversation on every leg of it, made of a UUID of each end.
//!
//! We speak for both ends: where a phone names none, we do it in its place, and each keeps its own whatever
//! becomes of the other's phone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sip::{Message, Name, Params};

/// A UUID as two halves; nil where it is not known (RFC 7989 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uuid(u64, u64);

impl Uuid {
    /// Makes a random one (RFC 9562 5.4) of random bits.
    pub fn random(high: u64, low: u64) -> Self {
        let version = high & !0xf000 | 0x4000;
        let variant = low & !(0b11 << 62) | 0b10 << 62;
        Self(version, variant)
    }

    pub fn is_nil(self) -> bool {
        self == Self::default()
    }

    /// Reads 32 hexadecimal digits in lower case, as the RFC wants them.
    fn parse(text: &str) -> Option<Self> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digits) {
            return None;
        }
        let half = |text| u64::from_str_radix(text, 16).ok();
        Some(Self(half(&text[..16])?, half(&text[16..])?))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// Both ends' UUIDs, seen from our end of a dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionId {
    /// Of the end that we speak for.
    pub ours: Uuid,
    /// Of the far end.
    pub theirs: Uuid,
}

impl SessionId {
    /// Reads a message of the far end; none where it has no Session-ID, or no sound one.
    pub fn of(message: &Message) -> Option<Self> {
        let value = message.header(Name::SessionId)?;
        let (local, params) = value.split_once(';').unwrap_or((value, ""));
        let remote = Params::new(params).value("remote").and_then(Uuid::parse);
        Some(Self {
            ours: remote.unwrap_or_default(),
            theirs: Uuid::parse(local.trim())?,
        })
    }

    /// Takes what the far end calls itself.
    pub(super) fn learn(&mut self, message: &Message) {
        let known = Self::of(message).map(|named| named.theirs);
        if let Some(theirs) = known.filter(|uuid| !uuid.is_nil()) {
            self.theirs = theirs;
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};remote={}", self.ours, self.theirs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_as_it_is_written_and_nothing_else_is() {
        let uuid = Uuid::random(u64::MAX, 0);
        assert_eq!(uuid.to_string(), "ffffffffffff4fff8000000000000000");
        assert_eq!(Uuid::parse(&uuid.to_string()), Some(uuid));
        for none in [
            "",
            "ffffffffffff4fff800000000000000",
            "FFFFFFFFFFFF4FFF8000000000000000",
            "ffffffff-ffff-4fff-8000-00000000",
            "+fffffffffff4fff8000000000000000",
        ] {
            assert_eq!(Uuid::parse(none), None, "{none}");
        }
        assert!(Uuid::parse(&"0".repeat(32)).unwrap().is_nil());
    }
}
