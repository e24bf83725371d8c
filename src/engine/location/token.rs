//! The token that stands in a Path, a Record-Route or a Contact of ours for a phone that is kept here
//! (RFC 5626 5.2).
//!
//! It is random and known to the binding alone, so nobody can make one up; the address of record beside it
//! is only where to look.

use std::fmt::Write;

use crate::engine::ids::Aor;
use crate::engine::mint::Mint;
use crate::sip::{Address, Uri};

/// What every user part of ours begins with that holds a token.
const MARK: &str = "rf-";
/// Random bytes of a token: the 80 bits of RFC 5626 5.2.
const BYTES: usize = 10;
/// Characters of an address of record that a token is made for.
pub(crate) const AOR_MAX: usize = 160;

pub(crate) fn new(mint: &mut Mint) -> Box<str> {
    mint.hex(BYTES).into()
}

/// Writes the user part that names bindings of `aor` with `token`.
pub(crate) fn user(token: &str, aor: &Aor) -> String {
    let mut text = format!("{MARK}{token}-");
    for byte in aor.as_str().bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads what `user` writes.
fn read(user: &str) -> Option<(&str, Aor)> {
    let (token, hex) = user.strip_prefix(MARK)?.split_once('-')?;
    if token.len() != 2 * BYTES || hex.len() > 2 * AOR_MAX || hex.len() % 2 != 0 || !hex.is_ascii()
    {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok())
        .collect();
    // Anybody can write one: what is none that we would give out is not to stand in a line of ours.
    let aor = String::from_utf8(bytes?).ok()?;
    Uri::parse(&aor).ok()?;
    Some((token, Aor::from_canonical(aor)))
}

/// Returns the token of a URI.
pub(crate) fn of_uri(uri: &str) -> Option<(&str, Aor)> {
    read(Uri::parse(uri).ok()?.user?)
}

/// Returns the token of a Route, Record-Route or Path value.
pub(crate) fn of_value(value: &str) -> Option<&str> {
    let address = Address::parse(value).ok()?;
    let user = Uri::parse(address.uri).ok()?.user?;
    read(user).map(|(token, _)| token)
}

/// Returns the URI of a request for a user as others may know it: a token names nobody.
pub(crate) fn known_as<'a>(uri: &'a str, user: &'a Aor) -> &'a str {
    match of_uri(uri) {
        Some(_) => user.as_str(),
        None => uri,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_part_is_read_as_it_was_written() {
        let mut mint = Mint::new([3; 32]);
        let aor = Aor::from_canonical("sip:b%20o!b@[2001:db8::1]");
        let token = new(&mut mint);
        let uri = format!("sip:{}@192.0.2.1:5060;lr", user(&token, &aor));
        assert_eq!(of_uri(&uri), Some((&*token, aor)));
        assert_eq!(of_value(&format!("<{uri}>")), Some(&*token));
    }

    #[test]
    fn what_is_none_of_ours_names_nobody() {
        let token = "00112233445566778899";
        for user in [
            "bob",
            "rf-",
            "rf-0011-736970",
            "rf-00112233445566778899",
            &format!("rf-{token}-73697"),
            &format!("rf-{token}-7369zz"),
            &format!("rf-{token}-ff"),
            &format!("rf-{token}-"),
            &format!("rf-{token}-626f62"),
            // `sip:a@b>`, a line break, `X: y`.
            &format!("rf-{token}-7369703a6140623e0d0a583a2079"),
            &format!("rf-{token}-{}", "61".repeat(AOR_MAX + 1)),
        ] {
            assert_eq!(of_uri(&format!("sip:{user}@192.0.2.1")), None, "{user}");
        }
    }
}
