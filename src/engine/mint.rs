//! Every tag, branch and id that Refork invents, each naming the virtual shard that owns it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::engine::ids::{ConversationId, GruuKey, Transport, VIRTUAL_SHARDS, VirtualShard};
use crate::engine::ports::Token;
use crate::engine::time::Millis;

/// RFC 3261 8.1.1.7: what every branch of this standard begins with.
const COOKIE: &str = "z9hG4bK";
/// What every tag of ours begins with, and every branch after the cookie.
const OURS: &str = "rf";

/// Source of everything that must be new and unguessable.
pub struct Mint {
    rng: StdRng,
    tokens: u64,
}

impl Mint {
    /// Makes a mint; the same seed gives the same coins.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: StdRng::from_seed(seed),
            tokens: 0,
        }
    }

    /// Returns an id within a shard.
    pub fn conversation(&mut self, shard: VirtualShard) -> ConversationId {
        let low = self.rng.next_u64() >> 8;
        ConversationId(u64::from(shard.0) << 56 | low)
    }

    /// Returns a From or To tag (RFC 3261 19.3) of a shard.
    pub fn tag(&mut self, shard: VirtualShard) -> Box<str> {
        let mut text = String::with_capacity(20);
        self.coin(&mut text, shard);
        text.into()
    }

    /// Returns a Via branch of a shard.
    pub fn branch(&mut self, shard: VirtualShard) -> String {
        let mut text = String::with_capacity(27);
        text.push_str(COOKIE);
        self.coin(&mut text, shard);
        text
    }

    /// Returns a Call-ID, which names nothing: it shows no address of ours (topology hiding).
    pub fn call_id(&mut self) -> Box<str> {
        self.hex(16).into()
    }

    /// Returns `bytes` random bytes in hex.
    pub fn hex(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes * 2);
        for _ in 0..bytes {
            push_hex(&mut text, &[self.rng.next_u32() as u8]);
        }
        text
    }

    /// Returns an SDP session id (RFC 8866 5.2): numeric, below 2^62 for the phones that parse it signed.
    pub fn session(&mut self) -> u64 {
        self.rng.next_u64() >> 2
    }

    /// Returns 128 random bits.
    pub fn halves(&mut self) -> (u64, u64) {
        (self.rng.next_u64(), self.rng.next_u64())
    }

    /// Returns a key for what must not be guessed, as nonces are.
    pub fn secret(&mut self) -> [u8; 32] {
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        secret
    }

    /// Fills in what must not be guessed, as keys are.
    pub fn fill(&mut self, octets: &mut [u8]) {
        self.rng.fill_bytes(octets);
    }

    /// Returns the name of a question to the world.
    pub fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Returns `span` made longer or shorter by up to `share` of it.
    pub fn jitter(&mut self, span: Millis, share: f64) -> Millis {
        let by = self.rng.random_range(-1.0..=1.0) * share;
        Millis((span.0 as f64 * (1.0 + by)).max(1.0) as u64)
    }

    fn coin(&mut self, text: &mut String, shard: VirtualShard) {
        text.push_str(OURS);
        push_hex(text, &[shard.0]);
        push_hex(text, &self.rng.next_u64().to_be_bytes());
    }
}

fn push_hex(text: &mut String, octets: &[u8]) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    for octet in octets {
        text.push(DIGITS[usize::from(octet >> 4)]);
        text.push(DIGITS[usize::from(octet & 15)]);
    }
}

/// Returns the number within a tag of ours, by which its leg is found.
pub fn tag_key(tag: &str) -> Option<u64> {
    let hex = tag.strip_prefix(OURS)?;
    (hex.len() == 18 && hex.is_ascii()).then(|| u64::from_str_radix(&hex[2..], 16).ok())?
}

/// Returns the shard that a tag of ours names.
pub fn tag_shard(tag: &str) -> Option<VirtualShard> {
    let hex = tag.strip_prefix(OURS)?.get(..2)?;
    shard(u8::from_str_radix(hex, 16).ok()?)
}

/// Returns the shard that a branch of ours names.
pub fn branch_shard(branch: &str) -> Option<VirtualShard> {
    tag_shard(branch.strip_prefix(COOKIE)?)
}

/// What spreads first requests over the shards. Whoever knows it can aim all that they send at one. It lasts as
/// long as conversations do, so that the copies of a request that one began with find it after a restart.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardKey(pub [u8; 32]);

impl std::fmt::Debug for ShardKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardKey").finish_non_exhaustive()
    }
}

/// What a store keeps, and all keys come from that last as long. Who finds one of them out has no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

impl Secret {
    /// Returns the key that spreads first requests.
    pub fn shard_key(self) -> ShardKey {
        ShardKey(self.derived(b"shards"))
    }

    /// Returns the key of temporary GRUUs.
    pub fn gruu_key(self) -> GruuKey {
        GruuKey(self.derived(b"gruus"))
    }

    fn derived(self, label: &[u8]) -> [u8; 32] {
        let hash = Sha256::new().chain_update(self.0).chain_update(label);
        hash.finalize().into()
    }
}

/// Returns the shard of what carries no tag of ours.
pub fn hash_shard(key: ShardKey, of: impl Hash) -> VirtualShard {
    VirtualShard((hash64((key.0, of)) % u64::from(VIRTUAL_SHARDS)) as u8)
}

/// Returns what stands for a phone's tag where others are told of its dialog: an INVITE may name it so in its
/// Replaces, and it is of no use in a request within the dialog.
pub fn veiled(key: ShardKey, tag: &str) -> String {
    format!("{:016x}", hash64((key.0, "veiled", tag)))
}

/// Returns a hash that is the same on every machine and at every start.
pub fn hash64(key: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Names a peer, as `World::leg` is told of it.
pub fn peer_number(transport: Transport, peer: SocketAddr) -> u64 {
    hash64((transport, peer)).max(1)
}

fn shard(number: u8) -> Option<VirtualShard> {
    (number < VIRTUAL_SHARDS).then_some(VirtualShard(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_know_the_key_cannot_aim() {
        let key = ShardKey([7; 32]);
        let all_at_one: Vec<_> = (0..100_000)
            .map(|number| format!("call-{number}"))
            .filter(|call| hash_shard(key, call) == VirtualShard(3))
            .collect();
        let mut hit = [0_usize; VIRTUAL_SHARDS as usize];
        for call in &all_at_one {
            hit[usize::from(hash_shard(ShardKey([8; 32]), call).0)] += 1;
        }
        let even = all_at_one.len() / hit.len();
        assert!(
            even > 20 && hit.iter().all(|hits| *hits < 3 * even),
            "{hit:?}"
        );
    }

    #[test]
    fn keys_of_a_secret_are_not_one_another() {
        let secret = Secret([7; 32]);
        let (shards, gruus) = (secret.shard_key(), secret.gruu_key());
        assert_eq!((shards, gruus), (secret.shard_key(), secret.gruu_key()));
        assert_ne!(shards.0, gruus.0);
        assert_ne!(shards.0, secret.0);
        assert_ne!(Secret([8; 32]).gruu_key(), gruus);
    }

    #[test]
    fn tags_and_branches_name_their_shard() {
        let mut mint = Mint::new([7; 32]);
        for number in 0..VIRTUAL_SHARDS {
            let shard = VirtualShard(number);
            let tag = mint.tag(shard);
            assert_eq!(tag_shard(&tag), Some(shard));
            assert!(tag_key(&tag).is_some());
            assert_eq!(branch_shard(&mint.branch(shard)), Some(shard));
            assert_eq!(mint.conversation(shard).shard(), shard);
        }
    }

    #[test]
    fn what_is_not_ours_names_none() {
        for tag in [
            "",
            "rf",
            "rfzz",
            "abc",
            "rfff0000000000000000",
            "rf0",
            "rf00\u{e9}00000000000000",
        ] {
            assert!(tag_shard(tag).is_none() || tag_key(tag).is_none(), "{tag}");
        }
        assert_eq!(branch_shard("z9hG4bK776asdhds"), None);
        assert_eq!(branch_shard("rf00"), None);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let mut mint = Mint::new([1; 32]);
        for _ in 0..1000 {
            let span = mint.jitter(Millis(1000), 0.2);
            assert!((800..=1200).contains(&span.0), "{span:?}");
        }
    }
}
