//! Temporary GRUUs (RFC 5627 3.1.2): URIs that name one device of a user, and show neither.
//!
//! The user part is the address of record and the number of the device's registration, sealed (RFC 5627 A has
//! another way to the same): nothing is kept of one, and each REGISTER gets another. They end with the number
//! (`Binding::gruu`), which the device keeps for as long as it is registered by requests of one Call-ID.

use std::fmt::Write;
use std::sync::Arc;

use super::aor::aor_in;
use super::gruu::{Meant, meant};
use super::hmac::keyed_hash;
use crate::engine::endpoint::{Binding, Identity};
use crate::engine::ids::{Aor, GruuKey};
use crate::engine::ports::World;
use crate::engine::settings::Settings;
use crate::engine::time::Time;
use crate::sip::{Message, Uri};

/// What the user part of each begins with.
const MARK: &str = "tgruu.";
/// Bytes that prove it.
const PROOF: usize = 16;
/// Bytes that are another's at each REGISTER, and of the number.
const FRESH: usize = 8;
const NUMBER: usize = 8;
/// What is sealed is a multiple of so many bytes: the length of a name says less then.
const BLOCK: usize = 16;
/// Bytes of an address of record that one is made for.
const AOR_MAX: usize = 160;
const SEALED_MAX: usize = (FRESH + NUMBER + AOR_MAX).next_multiple_of(BLOCK);

/// Returns the number by which a device is known to its temporary GRUUs from a REGISTER on.
pub(super) fn number(
    key: GruuKey,
    aor: &Aor,
    instance: &str,
    register: &Message,
    now: Time,
) -> u64 {
    let of_request = told_apart(key, b"gruu number", register, now);
    let parts: [&[u8]; 4] = [
        b"gruu device",
        &of_request,
        aor.as_str().as_bytes(),
        instance.as_bytes(),
    ];
    let hash = keyed_hash(&key.0, &parts);
    u64::from_be_bytes(std::array::from_fn(|at| hash[at]))
}

/// Returns the temporary GRUU of a binding of `aor` that the answer to a REGISTER gives out; its host is that by
/// which the phone calls itself (RFC 5627 5.4). None for what has no number, or too long a name.
pub(super) fn temporary(
    key: GruuKey,
    aor: &Aor,
    host: &str,
    binding: &Binding,
    register: &Message,
    now: Time,
) -> Option<String> {
    let number = binding.gruu?;
    let fresh = told_apart(key, b"gruu fresh", register, now);
    let user = sealed(key, aor, number, &fresh[..FRESH])?;
    Some(format!("sip:{user}@{host};gr"))
}

/// Returns the device that a temporary GRUU means, as long as it holds.
pub(crate) fn revealed(
    uri: &Uri<'_>,
    now: Time,
    world: &dyn World,
) -> Option<(Aor, Arc<Identity>)> {
    let (aor, number) = opened(world.gruu_key(), uri)?;
    let bindings = world.bindings(&aor);
    let mut live = bindings.iter().filter(|binding| binding.expires > now);
    let binding = live.find(|binding| binding.gruu == Some(number))?;
    Some((aor, binding.endpoint.identity.clone()))
}

/// Returns the address of record that a URI means here, which may be the one within a temporary GRUU.
pub(crate) fn whose(uri: &str, now: Time, settings: &Settings, world: &dyn World) -> Option<Aor> {
    let parsed = Uri::parse(uri).ok()?;
    let revealed = revealed(&parsed, now, world).map(|(aor, _)| aor);
    revealed.or_else(|| aor_in(uri, settings))
}

/// Reads whose a temporary GRUU of ours is or was, and its number.
pub(super) fn opened(key: GruuKey, uri: &Uri<'_>) -> Option<(Aor, u64)> {
    if meant(uri) != Meant::Temporary {
        return None;
    }
    let user = uri.user_unescaped();
    let bytes = unhex(user.strip_prefix(MARK)?)?;
    let (proof, mut sealed) = bytes
        .split_at_checked(PROOF)
        .map(|(proof, sealed)| (proof, sealed.to_vec()))?;
    mask(key, proof, &mut sealed);
    let differs = proof_of(key, &sealed)
        .iter()
        .zip(proof)
        .fold(0, |differs, (a, b)| differs | (a ^ b));
    let (number, name) = sealed.get(FRESH..)?.split_first_chunk::<NUMBER>()?;
    let name = std::str::from_utf8(name).ok().filter(|_| differs == 0)?;
    let aor = format!("sip:{}", name.trim_end_matches('\0'));
    Some((Aor::from_canonical(aor), u64::from_be_bytes(*number)))
}

/// Encrypts under the proof of what is within (as RFC 5297 does, with HMAC in the place of AES): of two that
/// are alike the sealed ones are alike, and nothing else of them shows.
fn sealed(key: GruuKey, aor: &Aor, number: u64, fresh: &[u8]) -> Option<String> {
    let name = aor.as_str().strip_prefix("sip:")?;
    if name.len() > AOR_MAX {
        return None;
    }
    let mut text = [fresh, &number.to_be_bytes(), name.as_bytes()].concat();
    text.resize(text.len().next_multiple_of(BLOCK), 0);
    let proof = proof_of(key, &text);
    mask(key, &proof, &mut text);
    let all = [&proof[..], &text].concat();
    let mut user = MARK.to_owned();
    for byte in all {
        let _ = write!(user, "{byte:02x}");
    }
    Some(user)
}

fn proof_of(key: GruuKey, text: &[u8]) -> [u8; PROOF] {
    let hash = keyed_hash(&key.0, &[b"gruu proof", text]);
    std::array::from_fn(|at| hash[at])
}

fn mask(key: GruuKey, proof: &[u8], text: &mut [u8]) {
    for (number, part) in text.chunks_mut(32).enumerate() {
        let number = (number as u64).to_be_bytes();
        let stream = keyed_hash(&key.0, &[b"gruu mask", proof, &number]);
        for (byte, with) in part.iter_mut().zip(stream) {
            *byte ^= with;
        }
    }
}

/// A REGISTER is not told apart from its copies, but from all others.
fn told_apart(key: GruuKey, label: &[u8], register: &Message, now: Time) -> [u8; 32] {
    let parts: [&[u8]; 4] = [
        label,
        register.call_id().as_bytes(),
        &register.cseq().to_be_bytes(),
        &now.0.to_be_bytes(),
    ];
    keyed_hash(&key.0, &parts)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let fits = text.len() <= 2 * (PROOF + SEALED_MAX) && text.len().is_multiple_of(2);
    if !fits || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: GruuKey = GruuKey([5; 32]);

    fn of(user: &str) -> Option<(Aor, u64)> {
        let uri = format!("sip:{user}@example.org;gr");
        opened(KEY, &Uri::parse(&uri).unwrap())
    }

    #[test]
    fn what_is_sealed_is_opened_and_shows_nothing() {
        for name in ["b@h", "bob@example.org", &format!("{}@h", "x".repeat(158))] {
            let aor = Aor::from_canonical(format!("sip:{name}"));
            let user = sealed(KEY, &aor, 7, &[1; FRESH]).unwrap();
            assert_eq!(of(&user), Some((aor.clone(), 7)));
            let other = sealed(KEY, &aor, 7, &[2; FRESH]).unwrap();
            assert_eq!(of(&other), of(&user));
            // Nothing that two of one device have in common.
            let same = user.bytes().zip(other.bytes()).skip(MARK.len());
            let (same, all) = (same.clone().filter(|(a, b)| a == b).count(), same.count());
            assert!(same * 4 < all, "{user} {other}");
            assert_eq!(
                opened(
                    GruuKey([6; 32]),
                    &Uri::parse(&format!("sip:{user}@h;gr")).unwrap()
                ),
                None
            );
        }
        let long = Aor::from_canonical(format!("sip:{}@h", "x".repeat(159)));
        assert_eq!(sealed(KEY, &long, 7, &[1; FRESH]), None);
    }

    #[test]
    fn no_byte_of_one_may_be_another() {
        let aor = Aor::from_canonical("sip:bob@example.org");
        let user = sealed(KEY, &aor, 7, &[1; FRESH]).unwrap();
        for at in MARK.len()..user.len() {
            let other = if &user[at..=at] == "0" { "1" } else { "0" };
            let forged = format!("{}{other}{}", &user[..at], &user[at + 1..]);
            assert_eq!(of(&forged), None, "{forged}");
        }
        for short in MARK.len()..user.len() {
            assert_eq!(of(&user[..short]), None);
        }
        let bare = format!("sip:{user}@example.org");
        assert_eq!(opened(KEY, &Uri::parse(&bare).unwrap()), None);
    }

    proptest! {
        #[test]
        fn whatever_is_made_up_means_nobody(text in "\\PC{0,40}", bytes in "([0-9a-f]{2}){0,300}") {
            for user in [format!("{MARK}{text}"), format!("{MARK}{bytes}"), text] {
                if let Ok(uri) = Uri::parse(&format!("sip:{user}@h;gr")) {
                    prop_assert_eq!(opened(KEY, &uri), None);
                }
            }
        }
    }
}
