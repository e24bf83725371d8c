//! The counts of nonces that have been used (RFC 7616 3.4): each proves something once, whichever shard it comes to.

use std::collections::BTreeMap;

use super::nonce::NONCE_LIFE;
use crate::engine::ids::NonceId;
use crate::engine::time::Time;

/// Nonces whose counts are remembered; the oldest is not accepted any more for one more.
const REMEMBERED_MAX: usize = 65_536;
/// Counts that may be behind the highest: what overtakes on the way is no replay.
const WINDOW: u32 = 128;
/// More than come in the meantime.
const FORGOTTEN_AT_ONCE: usize = 8;

/// Of the nonces that were answered with the right password, which counts came.
#[derive(Debug, Default)]
pub struct SpentNonces {
    used: BTreeMap<NonceId, Counts>,
    /// What is not younger is accepted only where its counts are remembered.
    forgotten: Option<NonceId>,
}

/// The counts of one nonce that were used.
#[derive(Clone, Copy, Debug)]
struct Counts {
    top: u32,
    /// Bit n: `top - n` was used.
    used: u128,
}

impl SpentNonces {
    /// Uses a count of a nonce up. Returns false where it was used before, or may have been.
    pub fn spend(&mut self, nonce: NonceId, count: u32, now: Time) -> bool {
        // A few at a time: others wait for this.
        for _ in 0..FORGOTTEN_AT_ONCE {
            let old = |oldest: &NonceId| now.since(oldest.made) > NONCE_LIFE;
            let Some(oldest) = self.used.first_entry().filter(|oldest| old(oldest.key())) else {
                break;
            };
            oldest.remove();
        }
        if let Some(counts) = self.used.get_mut(&nonce) {
            return counts.take(count);
        }
        if self.forgotten.is_some_and(|forgotten| nonce <= forgotten) {
            return false;
        }
        self.used.insert(
            nonce,
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
    use std::net::IpAddr;

    use super::super::nonce::Nonces;
    use super::*;
    use crate::engine::time::Millis;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOW: Time = Time(1_750_000_000_000);

    #[test]
    fn each_count_once_in_any_order() {
        let (mut nonces, mut spent) = (Nonces::new([1; 32], 0), SpentNonces::default());
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
            assert_eq!(spent.spend(made, count, NOW), new, "{count}");
        }
        // Another nonce of the same moment has counts of its own.
        let other = nonces.make("r", SOURCE, NOW);
        assert_ne!(other, nonce);
        let other = nonces.read(&other, "r", NOW).unwrap();
        assert!(spent.spend(other, 1, NOW));
    }

    #[test]
    fn what_is_forgotten_is_not_accepted() {
        let (mut nonces, mut spent) = (Nonces::new([1; 32], 0), SpentNonces::default());
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
            assert!(spent.spend(*one, 1, now));
        }
        assert_eq!(spent.used.len(), REMEMBERED_MAX);
        assert!(spent.spend(spare, 1, now), "the youngest");
        assert_eq!(spent.used.len(), REMEMBERED_MAX);
        assert!(!spent.spend(made[0], 2, now), "the oldest had to go");
        assert!(spent.spend(made[1], 2, now) && !spent.spend(made[1], 2, now));
        // Who is too old by itself takes no place.
        assert!(spent.spend(spare, 3, late + Millis(500)));
        assert!(spent.used.len() < REMEMBERED_MAX);
    }
}
