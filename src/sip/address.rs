//! Name-addr and addr-spec (RFC 3261 20.10): From, To, Contact, Route.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::params::{find_unquoted, is_balanced};
use super::{BadSyntax, Params, Uri, cut};

/// A display name, a URI as it came, and header parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    pub display: Option<Cow<'a, str>>,
    /// Without angle brackets.
    pub uri: &'a str,
    pub params: Params<'a>,
}

const ADDRESS: BadSyntax = BadSyntax("address");

impl<'a> Address<'a> {
    /// Reads one value. Without angle brackets, semicolons begin header parameters (RFC 3261 20.10).
    ///
    /// # Errors
    /// Unbalanced quotes or brackets, no URI, text between the parts.
    pub fn parse(text: &'a str) -> Result<Self, BadSyntax> {
        let text = text.trim_ascii();
        let (display, rest) = read_display(text)?;
        let (uri, params) = match rest.strip_prefix('<') {
            Some(rest) => {
                let (uri, after) = cut::once(rest, b'>').ok_or(ADDRESS)?;
                (uri, after.trim_ascii_start())
            }
            None => match memchr(b';', rest.as_bytes()) {
                Some(at) => (rest[..at].trim_ascii_end(), &rest[at..]),
                None => (rest, ""),
            },
        };
        let params = match params.strip_prefix(';') {
            Some(params) => params,
            None if params.is_empty() => "",
            None => return Err(ADDRESS),
        };
        if uri.is_empty() || memchr2(b'<', b'"', uri.as_bytes()).is_some() || !is_balanced(params) {
            return Err(ADDRESS);
        }
        Ok(Self {
            display,
            uri,
            params: Params::new(params),
        })
    }

    /// Reads the URI.
    ///
    /// # Errors
    /// It does not follow its grammar.
    pub fn uri_parsed(&self) -> Result<Uri<'a>, BadSyntax> {
        Uri::parse(self.uri)
    }

    /// Returns the tag of a From or To; an empty one is none.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }
}

/// Returns the display name with its escapes undone, and what follows it.
fn read_display(text: &str) -> Result<(Option<Cow<'_, str>>, &str), BadSyntax> {
    if let Some(rest) = text.strip_prefix('"') {
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let end = end.ok_or(ADDRESS)?;
        let after = rest[end + 1..].trim_ascii_start();
        if !after.starts_with('<') {
            return Err(ADDRESS);
        }
        return Ok((Some(unescaped(&rest[..end])), after));
    }
    let Some(at) = find_angle(text) else {
        return Ok((None, text));
    };
    let display = text[..at].trim_ascii();
    // RFC 3261 25.1: tokens and spaces only.
    let valid = |b: u8| b.is_ascii_alphanumeric() || b" \t-.!%*_+`'~".contains(&b) || b >= 0x80;
    if !display.bytes().all(valid) {
        return Err(ADDRESS);
    }
    let display = (!display.is_empty()).then_some(Cow::Borrowed(display));
    Ok((display, &text[at..]))
}

fn find_angle(text: &str) -> Option<usize> {
    let at = memchr(b'<', text.as_bytes())?;
    // Angle brackets within a parameter's quotes are not the address's.
    match find_unquoted(&text.as_bytes()[..at], b';') {
        Some(_) => None,
        None => Some(at),
    }
}

fn unescaped(quoted: &str) -> Cow<'_, str> {
    if !quoted.contains('\\') {
        return Cow::Borrowed(quoted);
    }
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        text.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, display, uri, tag) in [
            ("<sip:a@b>", None, "sip:a@b", None),
            ("sip:a@b;tag=x", None, "sip:a@b", Some("x")),
            (
                "Anna B <sip:a@b;p=1>;tag=x",
                Some("Anna B"),
                "sip:a@b;p=1",
                Some("x"),
            ),
            (
                "\"A \\\"q\\\" <x>\" <sip:a@b> ; TAG = x",
                Some("A \"q\" <x>"),
                "sip:a@b",
                Some("x"),
            ),
            ("\"\"<sip:a@b>", Some(""), "sip:a@b", None),
            ("sip:a@b;x=\"<y>\";tag=z", None, "sip:a@b", Some("z")),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.display.as_deref(), display, "{text}");
            assert_eq!((address.uri, address.tag()), (uri, tag), "{text}");
        }
        for bad in [
            "",
            "\"Mr. J. User <sip:j@b>",
            "<sip:a@b",
            "Bell, Alexander <sip:a@b>",
            "\"x\" sip:a@b",
            "<sip:a@b> x",
            "<>",
            "<sip:a@b>;x=\"y",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
