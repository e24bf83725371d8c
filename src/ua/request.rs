//! A request before it is written: what is needed to write it once more with credentials.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;

use crate::sip::digest::{self, Challenge};
use crate::sip::{Builder, Message, Method, Name};

/// Names a request whose final response somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub(super) u64);

/// A request without its Via.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) method: Method,
    pub(super) uri: String,
    pub(super) routes: Vec<String>,
    /// Whole header values, tags included.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) call_id: String,
    pub(super) cseq: u32,
    pub(super) headers: Vec<(Name, String)>,
    /// Content type and content.
    pub(super) body: Option<(&'static str, Vec<u8>)>,
}

impl Draft {
    pub(super) fn write(&self, via: &str) -> Bytes {
        let mut builder = Builder::request(&self.method, &self.uri).header(Name::Via, via);
        for route in &self.routes {
            builder = builder.header(Name::Route, route);
        }
        builder = builder
            .header(Name::MaxForwards, 70)
            .header(Name::From, &self.from)
            .header(Name::To, &self.to)
            .header(Name::CallId, &self.call_id)
            .header(
                Name::CSeq,
                format_args!("{} {}", self.cseq, self.method.as_str()),
            );
        for (name, value) in &self.headers {
            builder = builder.header(*name, value);
        }
        match &self.body {
            Some((kind, body)) => builder.body(kind, body),
            None => builder.end(),
        }
    }

    /// Returns true where it carries credentials already: another challenge is a refusal.
    pub(super) fn is_authorized(&self) -> bool {
        self.headers
            .iter()
            .any(|(name, _)| matches!(name, Name::Authorization | Name::ProxyAuthorization))
    }

    /// Answers the first challenge that we know the algorithm of (RFC 3261 22.2, RFC 8760 2.6).
    pub(super) fn authorized(
        &self,
        challenged: &Message,
        user: &str,
        password: &str,
    ) -> Option<Self> {
        let (challenge, answer) = match challenged.status() {
            401 => (Name::WwwAuthenticate, Name::Authorization),
            407 => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
            _ => return None,
        };
        let challenge = challenged.fields(challenge).find_map(Challenge::parse)?;
        let ha1 = digest::ha1(challenge.algorithm, user, challenge.realm, password);
        let mut draft = self.clone();
        draft.headers.push((
            answer,
            challenge.answer(user, &ha1, self.method.as_str(), &self.uri, &fresh()),
        ));
        Some(draft)
    }
}

/// Makes a word for tags, branches and Call-IDs.
pub(super) fn fresh() -> String {
    format!("{:016x}", random())
}

/// Draws a number; the standard library seeds its hash maps well enough for a phone.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once() {
        let draft = Draft {
            method: Method::Register,
            uri: "sip:example.org".into(),
            routes: Vec::new(),
            from: "<sip:bob@example.org>;tag=1".into(),
            to: "<sip:bob@example.org>".into(),
            call_id: "c".into(),
            cseq: 1,
            headers: Vec::new(),
            body: None,
        };
        let challenged = Builder::response(401, "Unauthorized")
            .header(Name::Via, "SIP/2.0/UDP a;branch=z9hG4bKx")
            .header(Name::From, &draft.from)
            .header(Name::To, "<sip:bob@example.org>;tag=2")
            .header(Name::CallId, "c")
            .header(Name::CSeq, "1 REGISTER")
            .header(
                Name::WwwAuthenticate,
                "Digest realm=\"r\", nonce=\"n\", algorithm=SHA3-512",
            )
            .header(
                Name::WwwAuthenticate,
                "Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"",
            )
            .end();
        let challenged = Message::parse(challenged).unwrap();
        let answer = draft.authorized(&challenged, "bob", "secret").unwrap();
        assert!(!draft.is_authorized() && answer.is_authorized());
        let (_, value) = &answer.headers[0];
        let ha1 = digest::ha1(digest::Algorithm::Sha256, "bob", "r", "secret");
        let credentials = digest::Credentials::parse(value).unwrap();
        assert!(credentials.prove(digest::Algorithm::Sha256, &ha1, "REGISTER", b""));
    }
}
