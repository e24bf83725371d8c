//! Parameters: `;name=value;flag`, of URIs and of header values.

use memchr::{memchr2, memchr3};

use super::cut;

/// The parameters of one URI or header value, as they came (without the first semicolon).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Wraps text that begins after the first semicolon.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// Goes through names and values; quotes of a value are removed.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.raw().map(|part| match cut::once(part, b'=') {
            Some((name, value)) => (
                name.trim_ascii_end(),
                Some(unquoted(value.trim_ascii_start())),
            ),
            None => (part, None),
        })
    }

    /// Goes through the parameters as they came, quotes and all.
    pub fn raw(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        split_quoted(self.0, b';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
    }

    /// Returns a parameter: `Some(None)` where it stands without a value. Names have no case.
    pub fn get(&self, name: &str) -> Option<Option<&'a str>> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Returns a parameter's value.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).flatten()
    }

    /// Returns true where the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// Returns true where each quote and angle bracket has its other half: what is put behind the text
/// stays outside of them.
pub(super) fn is_balanced(text: &str) -> bool {
    if memchr2(b'"', b'<', text.as_bytes()).is_none() {
        return true;
    }
    let (mut quoted, mut angle, mut escaped) = (false, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => angle = true,
            b'>' if !quoted => angle = false,
            _ => {}
        }
    }
    !quoted && !angle
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// Reads a number of digits alone: no sign, no spaces.
pub(super) fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let numeric = text.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| text.parse().ok()).flatten()
}

/// Splits at a separator outside of quotes and angle brackets.
pub(super) fn split_quoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let here = rest.take()?;
        let Some(at) = find_unquoted(here.as_bytes(), separator) else {
            return Some(here);
        };
        rest = Some(&here[at + 1..]);
        Some(&here[..at])
    })
}

/// Splits bytes of any encoding at a separator outside of quotes and angle brackets.
pub(super) fn split_bytes(bytes: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let here = rest.take()?;
        let Some(at) = find_unquoted(here, separator) else {
            return Some(here);
        };
        rest = Some(&here[at + 1..]);
        Some(&here[..at])
    })
}

/// Finds a byte outside of quotes and angle brackets.
pub(super) fn find_unquoted(text: &[u8], wanted: u8) -> Option<usize> {
    // Most text has neither, and up to the first of them nothing needs to be known.
    let from = memchr3(wanted, b'"', b'<', text)?;
    if text[from] == wanted {
        return Some(from);
    }
    let (mut quoted, mut angle, mut escaped) = (false, false, false);
    for (at, byte) in text.iter().enumerate().skip(from) {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            byte if *byte == wanted && !angle => return Some(at),
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    None
}
