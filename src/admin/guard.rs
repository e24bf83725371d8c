//! Who may ask: a bearer token where one is configured, and no web page of somebody else.
//!
//! Without a token we listen on loopback alone, where a browser on the same machine takes any page to. Orders say
//! what page they are of. Questions of a foreign page are not answered to it, but where the name of its own host
//! leads to loopback by then (DNS rebinding) it is not foreign: only its name tells.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};
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

/// Returns true where nobody else can have made the name by which we are asked: an address, or the name that
/// stands for loopback (RFC 6761 6.3). Browsers never leave it out.
fn is_asked_by_an_own_name(headers: &HeaderMap) -> bool {
    let own = |host: &HeaderValue| {
        let host = host.to_str().unwrap_or_default();
        let Ok(host) = host.parse::<Authority>() else {
            return false;
        };
        let name = host.host();
        let ip = name.trim_start_matches('[').trim_end_matches(']');
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        ip.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
    };
    headers.get_all(header::HOST).iter().all(own)
}

/// Bytes of the path and the headers, and headers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// Refuses what asks with more words than anybody needs. Of what is larger than is read at all (`serve`) the answer has
/// no body.
pub(super) async fn fits(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let lines = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let path = request.uri().path_and_query();
    let path = path.map_or(0, |path| path.as_str().len());
    if headers.len() > HEADERS_MAX || lines.sum::<usize>() + path > HEAD_BYTES_MAX {
        return Refusal::head_too_large().into_response();
    }
    next.run(request).await
}

/// Lets a request pass, or refuses it.
pub(super) async fn check(State(token): State<Token>, request: Request, next: Next) -> Response {
    // No page knows the token.
    if token.0.is_none() && !is_asked_by_an_own_name(request.headers()) {
        let why = "without `admin.token` this is asked by an address or as localhost, not by another name";
        return Refusal::forbidden(why).into_response();
    }
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

    #[test]
    fn a_name_that_anybody_can_make_is_none_of_ours() {
        for (hosts, own) in [
            (&[][..], true),
            (&["127.0.0.1:8080"], true),
            (&["127.0.0.1"], true),
            (&["[::1]:8080"], true),
            (&["192.0.2.7:80"], true),
            (&["localhost:8080"], true),
            (&["LocalHost."], true),
            (&["refork.localhost:8080"], true),
            (&["evil.example"], false),
            (&["evil.example:8080"], false),
            (&["127.0.0.1.evil.example:8080"], false),
            (&["localhost.evil.example"], false),
            (&["notlocalhost"], false),
            (&["127.0.0.1@evil.example"], false),
            (&["127.0.0.1:8080", "evil.example"], false),
            (&[""], false),
            (&["127.0.0.1:8080/x"], false),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().unwrap());
            }
            assert_eq!(is_asked_by_an_own_name(&headers), own, "{hosts:?}");
        }
    }
}
