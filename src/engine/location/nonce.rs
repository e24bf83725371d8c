//! Nonces (RFC 7616 3.3): each proves by a keyed hash that it is ours and when it was made, so nothing is
//! remembered of those that nobody answers. Of one that was answered with the right password, the counts
//! that have been used are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::hmac::{hex, keyed_hash};
use crate::engine::time::{Millis, Time};

/// How long a nonce is good; then the client is told `stale=true` and comes again by itself.
pub(super) const NONCE_LIFE: Millis = Millis::from_secs(5 * 60);
/// Characters of a nonce: the time, a serial number, 16 bytes and 4 bytes in hex.
pub(super) const NONCE_LEN: usize = 12 + 8 + 32 + 8;
/// Nonces whose counts are remembered; the oldest is not accepted any more for one more.
const REMEMBERED_MAX: usize = 65_536;
/// Counts that may be behind the highest: what overtakes on the way is no replay.
const WINDOW: u32 = 128;

/// Makes nonces and knows them again.
pub(super) struct Nonces {
    secret: [u8; 32],
    serial: u32,
    used: BTreeMap<Made, Counts>,
    /// What is not younger is accepted only where its counts are remembered.
    forgotten: Option<Made>,
}

/// When a nonce was made, and which of that moment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made(Time, u32);

/// The counts of one nonce that were used.
#[derive(Clone, Copy, Debug)]
struct Counts {
    top: u32,
    /// Bit n: `top - n` was used.
    used: u128,
}

impl Nonces {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            serial: 0,
            used: BTreeMap::new(),
            forgotten: None,
        }
    }

    /// Makes a nonce for a realm: the time and a serial number, a keyed hash of them and the realm, and one
    /// of that and whom it is given to.
    pub(super) fn make(&mut self, realm: &str, source: IpAddr, now: Time) -> String {
        self.serial = self.serial.wrapping_add(1);
        let proof = self.proof(Made(now, self.serial), realm);
        let place = self.place(&proof, source);
        proof + &place
    }

    /// Reads a nonce of ours that is not too old. Not of the future either: that one is of another clock.
    /// Whom it was given to does not matter: phones change their networks.
    pub(super) fn read(&self, nonce: &str, realm: &str, now: Time) -> Option<Made> {
        let time = u64::from_str_radix(nonce.get(..12)?, 16).ok()?;
        let serial = u32::from_str_radix(nonce.get(12..20)?, 16).ok()?;
        let made = Made(Time(time), serial);
        let fresh = made.0 <= now && now.since(made.0) <= NONCE_LIFE;
        let ours = nonce.len() == NONCE_LEN && nonce.starts_with(&self.proof(made, realm));
        (fresh && ours).then_some(made)
    }

    /// Returns true for a fresh nonce that was given to a source.
    pub(super) fn was_given(&self, nonce: &str, realm: &str, source: IpAddr, now: Time) -> bool {
        self.read(nonce, realm, now).is_some()
            && nonce
                .split_at_checked(NONCE_LEN - 8)
                .is_some_and(|(proof, place)| place == self.place(proof, source))
    }

    /// Uses a count of a nonce up. Returns false where it was used before, or may have been.
    pub(super) fn take(&mut self, made: Made, count: u32, now: Time) -> bool {
        while let Some(oldest) = self.used.first_entry() {
            if now.since(oldest.key().0) <= NONCE_LIFE {
                break;
            }
            oldest.remove();
        }
        if let Some(counts) = self.used.get_mut(&made) {
            return counts.take(count);
        }
        if self.forgotten.is_some_and(|forgotten| made <= forgotten) {
            return false;
        }
        self.used.insert(
            made,
            Counts {
                top: count,
                used: 1,
            },
        );
        if self.used.len() > REMEMBERED_MAX {
            self.forgotten = self.used.pop_first().map(|(oldest, _)| oldest);
        }
        true
    }

    fn proof(&self, made: Made, realm: &str) -> String {
        let Made(time, serial) = made;
        let hash = keyed_hash(
            &self.secret,
            &[
                b"nonce",
                &time.0.to_be_bytes(),
                &serial.to_be_bytes(),
                realm.as_bytes(),
            ],
        );
        format!("{:012x}{serial:08x}{}", time.0, hex(&hash, 16))
    }

    fn place(&self, proof: &str, source: IpAddr) -> String {
        let source = source.to_canonical().to_string();
        let hash = keyed_hash(
            &self.secret,
            &[b"place", proof.as_bytes(), source.as_bytes()],
        );
        hex(&hash, 4)
    }
}

impl Counts {
    fn take(&mut self, count: u32) -> bool {
        if count > self.top {
            let ahead = count - self.top;
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.top = count;
            return true;
        }
        let behind = self.top - count;
        let is_new = behind < WINDOW && self.used >> behind & 1 == 0;
        if is_new {
            self.used |= 1 << behind;
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOW: Time = Time(1_750_000_000_000);

    #[test]
    fn each_count_once_in_any_order() {
        let mut nonces = Nonces::new([1; 32]);
        let nonce = nonces.make("r", SOURCE, NOW);
        let made = nonces.read(&nonce, "r", NOW).unwrap();
        for (count, new) in [
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (200, true),
            // Just within the window, and just beyond.
            (73, true),
            (73, false),
            (72, false),
            (0, false),
            (u32::MAX, true),
            (200, false),
            (u32::MAX, false),
            (u32::MAX - 1, true),
        ] {
            assert_eq!(nonces.take(made, count, NOW), new, "{count}");
        }
        // Another nonce of the same moment has counts of its own.
        let other = nonces.make("r", SOURCE, NOW);
        assert_ne!(other, nonce);
        let other = nonces.read(&other, "r", NOW).unwrap();
        assert!(nonces.take(other, 1, NOW));
    }

    #[test]
    fn what_is_forgotten_is_not_accepted() {
        let mut nonces = Nonces::new([1; 32]);
        let mut made = Vec::new();
        for at in 0..=REMEMBERED_MAX as u64 {
            let now = NOW + Millis(at % 1000);
            let nonce = nonces.make("r", SOURCE, now);
            made.push(nonces.read(&nonce, "r", NOW + Millis(1000)).unwrap());
        }
        made.sort();
        let (late, now) = (NOW + NONCE_LIFE, NOW + Millis(1000));
        let spare = made.pop().unwrap();
        for one in &made {
            assert!(nonces.take(*one, 1, now));
        }
        assert_eq!(nonces.used.len(), REMEMBERED_MAX);
        assert!(nonces.take(spare, 1, now), "the youngest");
        assert_eq!(nonces.used.len(), REMEMBERED_MAX);
        assert!(!nonces.take(made[0], 2, now), "the oldest had to go");
        assert!(nonces.take(made[1], 2, now) && !nonces.take(made[1], 2, now));
        // Who is too old by itself takes no place.
        assert!(nonces.take(spare, 3, late + Millis(500)));
        assert!(nonces.used.len() < REMEMBERED_MAX);
    }
}
