//! What the realms on the way of a dialog want to be shown (RFC 3261 22.3): each that has asked once is shown
//! it with every request from then on, as long as it takes it.

use crate::engine::events::Unanswered;
use crate::sip::proof::{Asked, By, Proof, next_nonce};
use crate::sip::{Message, Name};

/// Realms that one request is proven to.
const REALMS_MAX: usize = 4;
/// How often one request is sent again with other credentials.
const ROUNDS_MAX: u8 = 6;

/// With whose name and password challenges are answered.
#[derive(Clone, Copy)]
pub struct As<'a> {
    pub user: &'a str,
    pub password: &'a str,
    /// The realms that are answered; none: all.
    pub realms: &'a [Box<str>],
}

/// What is shown to whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proofs {
    known: Vec<Proof>,
    /// Who asks through us proves itself: what crosses is shown nothing of ours.
    pub others_prove: bool,
}

/// How often one request has been sent again, and for whom.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds {
    asked: Vec<(By, Box<str>, u8)>,
    rounds: u8,
}

impl Proofs {
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Takes the challenges of a response to a request.
    ///
    /// # Errors
    /// There is none that another try could meet: what it fails for, and whose realm that is.
    pub fn learn(
        &mut self,
        response: &Message,
        rounds: &mut Rounds,
        own: As<'_>,
        mut cnonce: impl FnMut() -> String,
    ) -> Result<(), (Unanswered, Box<str>)> {
        let mut failed = (Unanswered::Unreadable, Box::from(""));
        let mut met: Vec<Asked<'_>> = Vec::new();
        for asked in Asked::in_response(response) {
            // RFC 8760 2.4: the first of a realm that is known here counts.
            if met
                .iter()
                .any(|met| met.by == asked.by && met.realm == asked.realm)
            {
                continue;
            }
            match self.take(&asked, rounds, own, &mut cnonce) {
                Ok(()) => met.push(asked),
                Err(why) => failed = (why, asked.realm.into()),
            }
        }
        if met.is_empty() {
            return Err(failed);
        }
        rounds.rounds += 1;
        if rounds.rounds > ROUNDS_MAX {
            return Err((Unanswered::TooOften, met[0].realm.into()));
        }
        Ok(())
    }

    fn take(
        &mut self,
        asked: &Asked<'_>,
        rounds: &mut Rounds,
        own: As<'_>,
        cnonce: &mut impl FnMut() -> String,
    ) -> Result<(), Unanswered> {
        let mut named = own.realms.iter();
        if !own.realms.is_empty() && !named.any(|realm| **realm == *asked.realm) {
            return Err(Unanswered::Realm);
        }
        let Some(proof) = Proof::of(asked, own.user, own.password, &cnonce()) else {
            return Err(Unanswered::Algorithm);
        };
        let known = self.known.iter().position(|known| known.is_for(asked));
        let shown_in_vain = known.is_some_and(|at| self.known[at].is_of(asked));
        let may = rounds.may_show(asked);
        if shown_in_vain || !may {
            self.known.retain(|known| !known.is_for(asked));
            return Err(Unanswered::Refused);
        }
        match known {
            Some(at) => self.known[at] = proof,
            None if self.known.len() >= REALMS_MAX => return Err(Unanswered::TooOften),
            None => self.known.push(proof),
        }
        rounds.shown(asked);
        Ok(())
    }

    /// Writes the lines that a request is proven by, to all realms that have asked.
    pub fn lines(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<u8> {
        let mut lines = Vec::new();
        for proof in &mut self.known {
            let value = proof.answer(method, uri, body);
            let name = proof.by.answers().as_str();
            lines.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        lines
    }

    /// A server that was shown something names the nonce that it wants from now on (RFC 7616 3.5).
    pub fn go_on(&mut self, response: &Message, cnonce: impl FnOnce() -> String) {
        let mut servers = self.known.iter_mut().filter(|known| known.by == By::Server);
        // The header names no realm.
        let (Some(proof), None) = (servers.next(), servers.next()) else {
            return;
        };
        if let Some(nonce) = response
            .header(Name::AuthenticationInfo)
            .and_then(next_nonce)
        {
            proof.goes_on_with(nonce, &cnonce());
        }
    }
}

impl Rounds {
    /// What was shown of an earlier nonce says nothing of the password. Once it was made for this very request,
    /// only a nonce that is said to be stale is worth another try, once.
    fn may_show(&self, asked: &Asked<'_>) -> bool {
        match self.times(asked) {
            0 => true,
            1 => asked.stale,
            _ => false,
        }
    }

    fn times(&self, asked: &Asked<'_>) -> u8 {
        let mut known = self.asked.iter();
        let known = known.find(|(by, realm, _)| *by == asked.by && **realm == *asked.realm);
        known.map_or(0, |(.., times)| *times)
    }

    fn shown(&mut self, asked: &Asked<'_>) {
        let mut known = self.asked.iter_mut();
        match known.find(|(by, realm, _)| *by == asked.by && **realm == *asked.realm) {
            Some((.., times)) => *times += 1,
            None => self.asked.push((asked.by, asked.realm.into(), 1)),
        }
    }
}
