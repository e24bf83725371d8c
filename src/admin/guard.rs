//! Who may ask: a bearer token where one is configured, and no web page of somebody else.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// The configured token, kept as its hash only.
#[derive(Clone)]
pub(super) struct Token(Option<[u8; 32]>);

impl Token {
    pub(super) fn new(token: Option<&str>) -> Self {
        Self(token.map(|token| Sha256::digest(token).into()))
    }

    /// Returns true where no token is configured or this one is right. Hashes are compared, all of
    /// them, so that the time says nothing about the token or its length.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = self.0 else { return true };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| bearer(value.as_bytes()))
            .unwrap_or_default();
        let given: [u8; 32] = Sha256::digest(given).into();
        let difference = expected
            .iter()
            .zip(given)
            .fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// Returns the token of an Authorization value; the scheme is in any case (RFC 9110 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked("bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
}

/// Lets a request pass, or refuses it.
pub(super) async fn check(State(token): State<Token>, request: Request, next: Next) -> Response {
    // A browser names the page that sends an order. No page of ours sends any yet, and on loopback
    // without a token any page open on the same machine could.
    let orders = !matches!(*request.method(), Method::GET | Method::HEAD);
    if orders && request.headers().contains_key(header::ORIGIN) {
        return Refusal::forbidden("orders from web pages are not taken").into_response();
    }
    if !token.admits(request.headers()) {
        return Refusal::unauthorized().into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_token_is_admitted() {
        for (configured, given, admitted) in [
            (None, None, true),
            (None, Some("Bearer anything"), true),
            (Some("s3cret"), None, false),
            (Some("s3cret"), Some("Bearer s3cret"), true),
            (Some("s3cret"), Some("bearer  s3cret "), true),
            (Some("s3cret"), Some("Bearer s3cre"), false),
            (Some("s3cret"), Some("Bearer s3cret1"), false),
            (Some("s3cret"), Some("Basic s3cret"), false),
            (Some("s3cret"), Some("s3cret"), false),
            (Some("s3cret"), Some("Bearer "), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::AUTHORIZATION, given.parse().unwrap());
            }
            let token = Token::new(configured);
            assert_eq!(token.admits(&headers), admitted, "{configured:?} {given:?}");
        }
    }
}
