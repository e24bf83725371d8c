//! Nonces (RFC 7616 3.3): each proves by a keyed hash that it is ours and when it was made, so nothing is
//! remembered of those that nobody answers.

use std::net::IpAddr;

use super::hmac::{hex, keyed_hash};
use crate::engine::ids::NonceId;
use crate::engine::time::{Millis, Time};

/// How long a nonce is good; then the client is told `stale=true` and comes again by itself.
pub(super) const NONCE_LIFE: Millis = Millis::from_secs(5 * 60);
/// Characters of a nonce: the time, a serial number, 16 bytes and 4 bytes in hex.
pub(super) const NONCE_LEN: usize = 12 + 8 + 32 + 8;
/// Serial numbers of a shard before those of the next begin, in bits: there are 64 shards at most.
const SHARD_BITS: u32 = 26;

/// Makes nonces and knows them again.
pub(super) struct Nonces {
    secret: [u8; 32],
    serial: u32,
}

impl Nonces {
    /// The shards of a node have one secret, and each its own number: no two make the same nonce.
    pub(super) fn new(secret: [u8; 32], shard: u8) -> Self {
        Self {
            secret,
            serial: u32::from(shard) << SHARD_BITS,
        }
    }

    /// Makes a nonce for a realm: the time and a serial number, a keyed hash of them and the realm, and one
    /// of that and whom it is given to.
    pub(super) fn make(&mut self, realm: &str, source: IpAddr, now: Time) -> String {
        self.serial = self.serial.wrapping_add(1);
        let proof = self.proof(
            NonceId {
                made: now,
                serial: self.serial,
            },
            realm,
        );
        let place = self.place(&proof, source);
        proof + &place
    }

    /// Reads a nonce of ours that is not too old. Not of the future either: that one is of another clock.
    /// Whom it was given to does not matter: phones change their networks.
    pub(super) fn read(&self, nonce: &str, realm: &str, now: Time) -> Option<NonceId> {
        let time = u64::from_str_radix(nonce.get(..12)?, 16).ok()?;
        let serial = u32::from_str_radix(nonce.get(12..20)?, 16).ok()?;
        let id = NonceId {
            made: Time(time),
            serial,
        };
        let fresh = id.made <= now && now.since(id.made) <= NONCE_LIFE;
        let ours = nonce.len() == NONCE_LEN && nonce.starts_with(&self.proof(id, realm));
        (fresh && ours).then_some(id)
    }

    /// Returns true for a fresh nonce that was given to a source.
    pub(super) fn was_given(&self, nonce: &str, realm: &str, source: IpAddr, now: Time) -> bool {
        self.read(nonce, realm, now).is_some()
            && nonce
                .split_at_checked(NONCE_LEN - 8)
                .is_some_and(|(proof, place)| place == self.place(proof, source))
    }

    fn proof(&self, id: NonceId, realm: &str) -> String {
        let NonceId { made, serial } = id;
        let hash = keyed_hash(
            &self.secret,
            &[
                b"nonce",
                &made.0.to_be_bytes(),
                &serial.to_be_bytes(),
                realm.as_bytes(),
            ],
        );
        format!("{:012x}{serial:08x}{}", made.0, hex(&hash, 16))
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn shards_know_each_others_nonces_and_never_make_the_same() {
        let (source, now) = (IpAddr::V4(Ipv4Addr::LOCALHOST), Time(1_750_000_000_000));
        let mut ids = std::collections::BTreeSet::new();
        let mut shards: Vec<_> = (0..64).map(|shard| Nonces::new([1; 32], shard)).collect();
        for _ in 0..100 {
            for at in 0..shards.len() {
                let nonce = shards[at].make("r", source, now);
                let known = shards[(at + 1) % 64].read(&nonce, "r", now).unwrap();
                assert!(ids.insert(known), "{known:?}");
            }
        }
    }
}
