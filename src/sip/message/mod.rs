//! A message as it came, and an index of its header fields.

mod check;
mod scan;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use smallvec::SmallVec;

use super::params::{digits, find_unquoted, split_bytes};
use super::{Address, Fault, Malformed, Method, Name, Via};

pub(super) use scan::{content_length, head_end};

/// Offsets are 16 bits wide: a datagram is no longer, and a stream's message must not be.
const BYTES_MAX: usize = 65_535;
const FIELDS_MAX: usize = 256;
/// RFC 3261 8.1.1.6: a request passes no more, so no way there or back is longer.
const HOPS_MAX: usize = 70;
const UNKNOWN: u8 = u8::MAX;

/// A request or response. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    bytes: Bytes,
    method: Method,
    status: u16,
    /// Request-URI, or reason phrase.
    line: Span,
    fields: SmallVec<[Indexed; 18]>,
    body: Span,
    core: Core,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    at: u16,
    len: u16,
}

#[derive(Clone, Copy, Debug)]
struct Indexed {
    /// A `Name`, or `UNKNOWN`.
    name: u8,
    name_len: u8,
    name_at: u16,
    value: Span,
}

/// What every message is looked up by.
#[derive(Clone, Copy, Debug, Default)]
struct Core {
    /// The topmost value, where it is sound.
    via: Option<Span>,
    branch: Option<Span>,
    call_id: Span,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
    cseq: u32,
}

/// One header field as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: Option<Name>,
    pub raw_name: &'a str,
    /// Without the line end, trimmed.
    pub value: &'a [u8],
}

/// The Contact header (RFC 3261 20.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts<'a> {
    None,
    Star,
    List(Vec<Address<'a>>),
}

impl Span {
    fn of(&self, bytes: &[u8]) -> usize {
        usize::from(self.at).min(bytes.len())
    }

    fn slice<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.of(bytes)..(usize::from(self.at) + usize::from(self.len)).min(bytes.len())]
    }

    fn text<'a>(&self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.slice(bytes)).unwrap_or("")
    }

    /// Where `part` lies within `whole`, of which it is a slice.
    fn within(whole: &[u8], part: &str) -> Self {
        let at = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        Self {
            at: at as u16,
            len: part.len() as u16,
        }
    }
}

impl Message {
    /// Reads one whole datagram or framed message. One with more hops than there can be is not read to its
    /// end, and cannot be answered.
    ///
    /// # Errors
    /// What is wrong, the status it gets, and the request itself where it can still be answered.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() > BYTES_MAX {
            // Its head may still tell whom to answer.
            let salvaged = match Self::parse(bytes.slice(..BYTES_MAX)) {
                Ok(message) => message.is_request().then(|| Box::new(message)),
                Err(malformed) => malformed.salvaged,
            };
            return Err(Malformed {
                salvaged,
                ..Malformed::new(Fault::TooLarge)
            });
        }
        let (mut message, fault) = scan::scan(bytes).map_err(Malformed::new)?;
        let core = message.read_core();
        match fault.and(core).and_then(|()| message.check()) {
            Ok(()) => Ok(message),
            Err(reason) => {
                let mut malformed = Malformed::new(reason);
                if message.is_request() && message.core.via.is_some() {
                    malformed.salvaged = Some(Box::new(message));
                }
                Err(malformed)
            }
        }
    }

    pub fn is_request(&self) -> bool {
        self.status == 0
    }

    /// Returns the method; of a response that of its CSeq.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the Request-URI, empty for a response.
    pub fn uri(&self) -> &str {
        if self.is_request() {
            self.line.text(&self.bytes)
        } else {
            ""
        }
    }

    /// Returns the status, 0 for a request.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the reason phrase, empty for a request.
    pub fn reason_phrase(&self) -> &str {
        if self.is_request() {
            ""
        } else {
            self.line.text(&self.bytes)
        }
    }

    pub fn call_id(&self) -> &str {
        self.core.call_id.text(&self.bytes)
    }

    pub fn cseq(&self) -> u32 {
        self.core.cseq
    }

    /// Returns the branch of the topmost Via.
    pub fn branch(&self) -> Option<&str> {
        self.core.branch.map(|span| span.text(&self.bytes))
    }

    pub fn from_tag(&self) -> Option<&str> {
        self.core.from_tag.map(|span| span.text(&self.bytes))
    }

    pub fn to_tag(&self) -> Option<&str> {
        self.core.to_tag.map(|span| span.text(&self.bytes))
    }

    pub fn from(&self) -> Address<'_> {
        self.address(Name::From)
    }

    pub fn to(&self) -> Address<'_> {
        self.address(Name::To)
    }

    fn address(&self, name: Name) -> Address<'_> {
        let value = self.first(name).and_then(readable).unwrap_or("");
        // Checked at parse; what was salvaged may be broken and is shown as it came.
        Address::parse(value).unwrap_or_else(|_| Address {
            display: None,
            uri: value,
            params: Default::default(),
        })
    }

    /// Returns the topmost Via.
    pub fn via(&self) -> Via<'_> {
        let text = self.core.via.map_or("", |span| span.text(&self.bytes));
        Via::parse(text).unwrap_or_else(|_| Via {
            transport: "",
            host: "",
            port: None,
            branch: None,
            rport: None,
            received: None,
            params: Default::default(),
        })
    }

    /// Goes through the Via values, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = &str> {
        self.values(Name::Via)
    }

    /// Returns the first field's value; nothing where there is none or it is not UTF-8.
    pub fn header(&self, name: Name) -> Option<&str> {
        std::str::from_utf8(self.first(name)?).ok()
    }

    /// Goes through the values of the fields of a name, as they came; what is not UTF-8 is left out.
    pub fn fields(&self, name: Name) -> impl Iterator<Item = &str> {
        self.raw_fields(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
    }

    /// Goes through the values of the fields of a name, byte for byte.
    pub fn raw_fields(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.fields
            .iter()
            .filter(move |field| field.name == name as u8)
            .map(|field| field.value.slice(&self.bytes))
    }

    /// Goes through the values of a name, comma lists taken apart outside of quotes and brackets.
    /// A display name that is not UTF-8 is left out, the rest of its value is not.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        self.raw_fields(name)
            .flat_map(|field| split_bytes(field, b','))
            .filter_map(readable)
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    /// Returns the first value of a header that `Name` does not know.
    pub fn other(&self, name: &str) -> Option<&str> {
        self.all()
            .find(|field| field.name.is_none() && field.raw_name.eq_ignore_ascii_case(name))
            .and_then(|field| std::str::from_utf8(field.value).ok())
    }

    /// Goes through all header fields in their order.
    pub fn all(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|field| {
            let name_at = usize::from(field.name_at);
            let raw = &self.bytes[name_at..name_at + usize::from(field.name_len)];
            Field {
                name: (field.name != UNKNOWN).then(|| Name::parse(raw)).flatten(),
                raw_name: std::str::from_utf8(raw).unwrap_or(""),
                value: field.value.slice(&self.bytes),
            }
        })
    }

    /// Returns the lines of all header fields as they came, but those that stay behind.
    pub fn lines_but(&self, stays: impl Fn(&Field<'_>) -> bool) -> Vec<u8> {
        let mut lines = Vec::new();
        for field in self.all().filter(|field| !stays(field)) {
            lines.extend_from_slice(field.raw_name.as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(field.value);
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }

    /// Returns true where a list header names a token, in any case.
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(token))
    }

    /// Reads the Contact header.
    ///
    /// # Errors
    /// A value that is no address, or `*` beside others.
    pub fn contacts(&self) -> Result<Contacts<'_>, Malformed> {
        let mut list = Vec::new();
        let mut star = false;
        for value in self.values(Name::Contact) {
            if value == "*" {
                star = true;
            } else {
                list.push(Address::parse(value).map_err(|_| Malformed::new(Fault::Contact))?);
            }
        }
        match (star, list.is_empty()) {
            (true, true) => Ok(Contacts::Star),
            (true, false) => Err(Malformed::new(Fault::Contact)),
            (false, true) => Ok(Contacts::None),
            (false, false) => Ok(Contacts::List(list)),
        }
    }

    /// Returns Expires in seconds; a number too large is the largest (RFC 3261 20.19).
    pub fn expires(&self) -> Option<u32> {
        self.header(Name::Expires).and_then(delta_seconds)
    }

    pub fn max_forwards(&self) -> Option<u8> {
        digits(self.header(Name::MaxForwards)?)
    }

    pub fn content_type(&self) -> Option<&str> {
        self.header(Name::ContentType)
    }

    pub fn body(&self) -> &[u8] {
        self.body.slice(&self.bytes)
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn first(&self, name: Name) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| field.name == name as u8)?;
        Some(field.value.slice(&self.bytes))
    }
}

/// Reads delta-seconds; too large is the largest, parameters are left aside.
pub(super) fn delta_seconds(value: &str) -> Option<u32> {
    let value = value.split([';', '(']).next()?.trim();
    let numeric = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| value.parse().unwrap_or(u32::MAX))
}

/// Returns a value as text; where a display name is in some other encoding, from its address on.
fn readable(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().or_else(|| {
        let at = find_unquoted(value, b'<')?;
        std::str::from_utf8(&value[at..]).ok()
    })
}
