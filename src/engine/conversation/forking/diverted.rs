//! Diversion (RFC 5806): who has diverted a call before it came here. Nothing proves it, so it is taken of
//! peers that are trusted alone.

use crate::sip::{Address, Message, Name};

/// Values that are handed on, and octets of each.
const VALUES_MAX: usize = 10;
const VALUE_MAX: usize = 512;

/// The values of Diversion, the last one who diverted first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Diverted(Vec<Box<str>>);

impl Diverted {
    /// Reads a request of a peer, where its word is believed.
    pub(crate) fn of(request: &Message, believed: bool) -> Self {
        if !believed {
            return Self::default();
        }
        let values = request.values(Name::Diversion).take(VALUES_MAX);
        let sound = |value: &&str| value.len() <= VALUE_MAX && Address::parse(value).is_ok();
        Self(values.filter(sound).map(Into::into).collect())
    }

    /// Writes the header lines; who is not trusted is not told of those who want to stay unnamed.
    pub(crate) fn lines(&self, trusted: bool) -> String {
        let shown = self.0.iter().filter(|value| trusted || !is_private(value));
        let name = Name::Diversion.as_str();
        shown
            .flat_map(|value| [name, ": ", value, "\r\n"])
            .collect()
    }
}

/// RFC 5806 4: `full`, `name` or `uri`; one of which nothing is known hides, too.
fn is_private(value: &str) -> bool {
    Address::parse(value).is_ok_and(|address| {
        let privacy = address.params.value("privacy");
        privacy.is_some_and(|privacy| !privacy.eq_ignore_ascii_case("off"))
    })
}
