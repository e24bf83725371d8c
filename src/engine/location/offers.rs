//! Which algorithms a challenge offers.
//!
//! A user is offered those whose HA1 is known. A name that nobody has is offered those of some user of its
//! domain, drawn by the name and always the same, so that a challenge does not tell which names there are:
//! users whose secrets differ in kind differ as much as names that nobody has. A restart draws anew.

use std::collections::BTreeMap;

use super::hmac::keyed_hash;
use crate::engine::ids::Aor;
use crate::engine::location;
use crate::engine::settings::{Credentials, Domain, Settings};
use crate::sip::digest::Algorithm;

/// Whether each algorithm is offered, in the order of `Algorithm::ALL`.
pub(super) type Offer = [bool; Algorithm::ALL.len()];

/// As who has a password: SHA-512-256 is for users whose hash the configuration gives.
const OF_PASSWORD: Offer = [true, true, false];

/// What is offered to whom.
pub(super) struct Offers {
    secret: [u8; 32],
    /// By the host of a domain: how many of its users have each kind of secrets. Counted once: they do not
    /// change.
    kinds: Option<BTreeMap<Box<str>, BTreeMap<Offer, u64>>>,
}

impl Offers {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            kinds: None,
        }
    }

    /// Returns what is offered to whoever claims to be somebody of a domain.
    pub(super) fn of(&mut self, claimed: &Aor, domain: &Domain, settings: &Settings) -> Offer {
        let drawn = self.drawn(claimed, domain, settings);
        settings.users.get(claimed).and_then(of).unwrap_or(drawn)
    }

    fn drawn(&mut self, claimed: &Aor, domain: &Domain, settings: &Settings) -> Offer {
        let kinds = self.kinds.get_or_insert_with(|| count(settings));
        let Some(kinds) = kinds.get(&domain.host) else {
            return OF_PASSWORD;
        };
        let hash = keyed_hash(&self.secret, &[b"offer", claimed.as_str().as_bytes()]);
        let hash = hash.iter().take(8);
        let hash = hash.fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let mut at = hash % kinds.values().sum::<u64>().max(1);
        let mut kinds = kinds.iter();
        let drawn = kinds.find(|(_, count)| match at.checked_sub(**count) {
            None => true,
            Some(rest) => {
                at = rest;
                false
            }
        });
        drawn.map_or(OF_PASSWORD, |(offer, _)| *offer)
    }
}

/// A user with no HA1 at all is as one that does not exist.
fn of(user: &Credentials) -> Option<Offer> {
    let offer = Algorithm::ALL.map(|algorithm| user.ha1(algorithm).is_some());
    offer.contains(&true).then_some(offer)
}

fn count(settings: &Settings) -> BTreeMap<Box<str>, BTreeMap<Offer, u64>> {
    let mut kinds: BTreeMap<Box<str>, BTreeMap<Offer, u64>> = BTreeMap::new();
    for (aor, user) in &settings.users {
        if let (Some(domain), Some(offer)) = (location::domain(aor.host(), settings), of(user)) {
            let of_domain = kinds.entry(domain.host.clone()).or_default();
            *of_domain.entry(offer).or_default() += 1;
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::super::testing::{aor, settings};
    use super::*;

    const MD5: Offer = [true, false, false];
    const SHA: Offer = [false, true, false];

    fn with(users: &[(&str, Offer)]) -> Settings {
        let user = |offer: &Offer| Credentials {
            ha1_md5: offer[0].then(|| "00".into()),
            ha1_sha256: offer[1].then(|| "00".into()),
            ha1_sha512_256: offer[2].then(|| "00".into()),
        };
        let users = users
            .iter()
            .map(|(name, offer)| (aor(name), user(offer)))
            .collect();
        Settings {
            users,
            ..settings()
        }
    }

    fn offered(settings: &Settings, name: &str) -> Offer {
        Offers::new([7; 32]).of(&aor(name), &settings.domains[0], settings)
    }

    #[test]
    fn nobody_is_offered_what_everybody_is() {
        for kind in [MD5, SHA, OF_PASSWORD, [true, true, true]] {
            let here = with(&[("sip:a@example.org", kind), ("sip:b@example.org", kind)]);
            assert_eq!(offered(&here, "sip:a@example.org"), kind);
            assert_eq!(offered(&here, "sip:nobody@example.org"), kind);
        }
        assert_eq!(offered(&with(&[]), "sip:a@example.org"), OF_PASSWORD);
        let here = with(&[("sip:a@example.org", [false; 3])]);
        assert_eq!(offered(&here, "sip:a@example.org"), OF_PASSWORD);
        // Those of another domain say nothing.
        let here = with(&[("sip:a@elsewhere.example", MD5)]);
        assert_eq!(offered(&here, "sip:nobody@example.org"), OF_PASSWORD);
    }

    #[test]
    fn names_that_nobody_has_differ_as_users_do() {
        let here = with(&[
            ("sip:a@example.org", MD5),
            ("sip:b@example.org", SHA),
            ("sip:c@example.org", SHA),
        ]);
        let names = (0..300).map(|number| format!("sip:nobody{number}@example.org"));
        let offers: Vec<Offer> = names.map(|name| offered(&here, &name)).collect();
        let md5 = offers.iter().filter(|offer| **offer == MD5).count();
        let sha = offers.iter().filter(|offer| **offer == SHA).count();
        assert_eq!(md5 + sha, 300);
        assert!((60..140).contains(&md5), "{md5}");
        assert_eq!(
            offered(&here, "sip:nobody1@example.org"),
            offers[1],
            "always the same"
        );
    }
}
