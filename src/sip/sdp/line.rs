//! One line: a letter and its value.

use memchr::memchr;

use crate::sip::cut;

/// A line without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub letter: u8,
    pub value: &'a str,
}

impl<'a> Line<'a> {
    /// Reads `x=value`.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (letter, value) = cut::once(text, b'=')?;
        let [letter] = letter.as_bytes() else {
            return None;
        };
        letter.is_ascii_lowercase().then_some(Self {
            letter: *letter,
            value,
        })
    }

    /// Returns the value of an attribute, empty for a flag.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        if self.letter != b'a' {
            return None;
        }
        match cut::once(self.value, b':') {
            Some((known, value)) if known == name => Some(value.trim_ascii()),
            None if self.value.trim_ascii() == name => Some(""),
            Some(_) | None => None,
        }
    }

    /// Returns name, format and rest of an attribute that is of one format.
    pub(super) fn of_format(&self) -> Option<(&'static str, &'a str, &'a str)> {
        ["rtpmap", "fmtp", "rtcp-fb"].into_iter().find_map(|name| {
            let (number, rest) = self.attribute(name)?.split_once(' ')?;
            (number != "*").then_some((name, number, rest))
        })
    }
}

/// Goes through the lines, bare line feeds and missing last line end allowed.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    cut::each(text, b'\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// Cuts an `m=` line into its kind with the letter, its port, and what follows.
pub(super) fn media_words(line: &str) -> (&str, &str, &str) {
    let word = |text: &'_ str| memchr(b' ', text.as_bytes()).unwrap_or(text.len());
    let (kind, rest) = line.split_at(word(line));
    let rest = rest.trim_start_matches(' ');
    let (port, rest) = rest.split_at(word(rest));
    (kind, port, rest.trim_start_matches(' '))
}
