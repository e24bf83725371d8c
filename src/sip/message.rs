//! A message as it came, and an index of its header fields.

use std::borrow::Cow;

use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;

use super::params::{find_unquoted, split_quoted};
use super::{Address, Fault, Malformed, Method, Name, Uri, Via};

/// Offsets are 16 bits wide: a datagram is no longer, and a stream's message must not be.
const BYTES_MAX: usize = 65_535;
const FIELDS_MAX: usize = 256;
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
    /// Reads one whole datagram or framed message.
    ///
    /// # Errors
    /// What is wrong, the status it gets, and the request itself where it can still be answered.
    pub fn parse(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.len() > BYTES_MAX {
            return Err(Malformed::new(Fault::TooLarge));
        }
        let mut message = index(bytes)?;
        let fault = message.read_core();
        let answerable = message.is_request()
            && message.first(Name::Via).is_some()
            && !matches!(fault, Err(Fault::Via | Fault::MissingHeader));
        match fault.and_then(|()| message.check()) {
            Ok(()) => Ok(message),
            Err(reason) => {
                let mut malformed = Malformed::new(reason);
                if answerable {
                    malformed.salvaged = Some(Box::new(message));
                }
                Err(malformed)
            }
        }
    }

    fn empty() -> Self {
        Self {
            bytes: Bytes::new(),
            method: Method::Ack,
            status: 0,
            line: Span::default(),
            fields: SmallVec::new(),
            body: Span::default(),
            core: Core::default(),
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
        let value = self.header(name).unwrap_or("");
        // Checked at parse; what was salvaged may be broken and is shown as it came.
        Address::parse(value).unwrap_or_else(|_| Address {
            display: None,
            uri: value,
            params: Default::default(),
        })
    }

    /// Returns the topmost Via.
    pub fn via(&self) -> Via<'_> {
        let text = self.vias().next().unwrap_or("");
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

    /// Goes through the values of the fields of a name, as they came.
    pub fn fields(&self, name: Name) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |field| field.name == name as u8)
            .filter_map(|field| std::str::from_utf8(field.value.slice(&self.bytes)).ok())
    }

    /// Goes through the values of a name, comma lists taken apart outside of quotes and brackets.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &str> {
        self.fields(name)
            .flat_map(|field| split_quoted(field, b','))
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
        self.header(Name::MaxForwards)?.parse().ok()
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

    /// Reads what every message must have (RFC 3261 8.1.1).
    fn read_core(&mut self) -> Result<(), Fault> {
        let bytes = self.bytes.clone();
        let places = [Name::Via, Name::CallId, Name::CSeq, Name::From, Name::To].map(|name| {
            self.fields
                .iter()
                .find(|field| field.name == name as u8)
                .map(|field| field.value)
        });
        let [via, call_id, cseq, from, to] = places.map(|place| {
            let value = place.ok_or(Fault::MissingHeader)?;
            std::str::from_utf8(value.slice(&bytes)).map_err(|_| Fault::HeaderLine)
        });
        let via = via?;
        let top = find_unquoted(via, b',').map_or(via, |at| &via[..at]);
        let via = Via::parse(top.trim()).map_err(|_| Fault::Via);
        let mut core = Core::default();
        let via = via?;
        core.branch = via.branch.map(|branch| Span::within(&bytes, branch));
        // Everything is read before the first fault is told, so that a bad request can be answered.
        let call_id = call_id?;
        core.call_id = Span::within(&bytes, call_id);
        let (from, to) = (Address::parse(from?), Address::parse(to?));
        core.from_tag = from
            .as_ref()
            .ok()
            .and_then(Address::tag)
            .map(|tag| Span::within(&bytes, tag));
        core.to_tag = to
            .as_ref()
            .ok()
            .and_then(Address::tag)
            .map(|tag| Span::within(&bytes, tag));
        let cseq = cseq.map(|cseq| {
            let (number, method) = cseq
                .split_once(|c: char| c.is_ascii_whitespace())
                .unwrap_or((cseq, ""));
            (number.parse::<u32>(), Method::parse(method.trim()))
        });
        if let Ok((Ok(number), _)) = &cseq {
            core.cseq = *number;
        }
        self.core = core;
        let (number, method) = cseq?;
        if call_id.is_empty() || call_id.contains(' ') {
            return Err(Fault::CallId);
        }
        let (from, to) = (
            from.map_err(|_| Fault::FromTo)?,
            to.map_err(|_| Fault::FromTo)?,
        );
        if self.is_request() && (from.uri_parsed().is_err() || to.uri_parsed().is_err()) {
            return Err(Fault::FromTo);
        }
        // RFC 3261 8.1.1.5.
        if number.map_err(|_| Fault::CSeq)? > i32::MAX as u32 || method.as_str().is_empty() {
            return Err(Fault::CSeq);
        }
        if self.is_request() {
            if method != self.method {
                return Err(Fault::MethodMismatch);
            }
        } else {
            self.method = method;
        }
        Ok(())
    }

    /// Checks the rest of what is looked at before a request is believed.
    fn check(&self) -> Result<(), Fault> {
        const ONCE: [Name; 6] = [
            Name::From,
            Name::To,
            Name::CallId,
            Name::CSeq,
            Name::MaxForwards,
            Name::ContentType,
        ];
        for name in ONCE {
            if self
                .fields
                .iter()
                .filter(|field| field.name == name as u8)
                .count()
                > 1
            {
                return Err(Fault::RepeatedHeader);
            }
        }
        if !self.is_request() {
            return Ok(());
        }
        for field in self.fields(Name::Via) {
            if split_quoted(field, b',').any(|value| Via::parse(value.trim()).is_err()) {
                return Err(Fault::Via);
            }
        }
        if self.header(Name::MaxForwards).is_some() && self.max_forwards().is_none() {
            return Err(Fault::Number);
        }
        if self
            .header(Name::Expires)
            .is_some_and(|value| delta_seconds(value).is_none())
        {
            return Err(Fault::Number);
        }
        // RFC 3261 19.1.1, table 1: a Request-URI has no headers.
        if Uri::parse(self.uri())
            .map_err(|_| Fault::RequestUri)?
            .headers
            .is_some()
        {
            return Err(Fault::RequestUri);
        }
        for name in [Name::Contact, Name::Route, Name::RecordRoute] {
            for value in self.values(name) {
                if name == Name::Contact && value == "*" {
                    continue;
                }
                let address = Address::parse(value).map_err(|_| Fault::Contact)?;
                // RFC 3261 20.10: a URI with a question mark, comma or semicolon stands in brackets.
                let bare = !value.contains('<');
                if address.uri_parsed().is_err() || bare && address.uri.contains('?') {
                    return Err(Fault::Contact);
                }
            }
        }
        match self.header(Name::Date) {
            Some(date) if !date.ends_with("GMT") => Err(Fault::Date),
            Some(_) | None => Ok(()),
        }
    }
}

/// Reads delta-seconds; too large is the largest, parameters are left aside.
pub(super) fn delta_seconds(value: &str) -> Option<u32> {
    let value = value.split([';', '(']).next()?.trim();
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u32::MAX))
}

/// Finds the lines, the start line's parts and the body.
fn index(bytes: Bytes) -> Result<Message, Malformed> {
    let bytes = unfold(bytes);
    let malformed = |fault| Err(Malformed::new(fault));
    let Some((line_end, mut at)) = line(&bytes, 0) else {
        return malformed(Fault::NotSip);
    };
    let (method, status, line_span) = match start_line(&bytes[..line_end]) {
        Ok(parts) => parts,
        Err(fault @ (Fault::Version | Fault::StartLine)) => {
            return Err(salvage(&bytes, fault, at));
        }
        Err(fault) => return malformed(fault),
    };
    let mut message = Message {
        method,
        status,
        line: line_span,
        bytes: Bytes::new(),
        fields: SmallVec::new(),
        body: Span::default(),
        core: Core::default(),
    };
    let fault = fields(&bytes, &mut at, &mut message.fields);
    let body = length(&bytes, at, &message);
    message.body = Span {
        at: at as u16,
        len: *body.as_ref().unwrap_or(&0) as u16,
    };
    message.bytes = bytes;
    match fault.and_then(|()| body.map(|_| ())) {
        Ok(()) => Ok(message),
        Err(reason) => {
            let mut malformed = Malformed::new(reason);
            if message.is_request() && message.read_core().is_ok() {
                malformed.salvaged = Some(Box::new(message));
            }
            Err(malformed)
        }
    }
}

/// A request line that is wrong: its headers may still tell whom to answer.
fn salvage(bytes: &Bytes, fault: Fault, mut at: usize) -> Malformed {
    let mut malformed = Malformed::new(fault);
    let mut message = Message {
        bytes: bytes.clone(),
        ..Message::empty()
    };
    let first = bytes
        .split(|b| *b == b' ')
        .next()
        .and_then(|word| std::str::from_utf8(word).ok());
    let is_response = bytes.starts_with(b"SIP/");
    if is_response || fields(bytes, &mut at, &mut message.fields).is_err() {
        return malformed;
    }
    message.method = Method::parse(first.unwrap_or(""));
    if message.read_core().is_ok() {
        malformed.salvaged = Some(Box::new(message));
    }
    malformed
}

fn fields(
    bytes: &Bytes,
    at: &mut usize,
    fields: &mut SmallVec<[Indexed; 18]>,
) -> Result<(), Fault> {
    let mut fault = Ok(());
    loop {
        let Some((end, next)) = line(bytes, *at) else {
            // No blank line: what there is, is all there is (RFC 3261 7 wants it, so it is told).
            *at = bytes.len();
            return Err(Fault::HeaderLine);
        };
        let start = *at;
        *at = next;
        if end == start {
            return fault;
        }
        if fields.len() == FIELDS_MAX {
            return Err(Fault::TooManyHeaders);
        }
        match field(bytes, start, end) {
            Some(field) => fields.push(field),
            None => fault = Err(Fault::HeaderLine),
        }
    }
}

fn field(bytes: &[u8], start: usize, end: usize) -> Option<Indexed> {
    let text = &bytes[start..end];
    let colon = memchr(b':', text)?;
    let name = text[..colon].trim_ascii_end();
    let valid = |b: &u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(b);
    if name.is_empty() || name.len() > 255 || !name.iter().all(valid) {
        return None;
    }
    let raw = &text[colon + 1..];
    let value = raw.trim_ascii();
    let at = start + colon + 1 + (raw.len() - raw.trim_ascii_start().len());
    Some(Indexed {
        name: Name::parse(name).map_or(UNKNOWN, |name| name as u8),
        name_len: name.len() as u8,
        name_at: start as u16,
        value: Span {
            at: at as u16,
            len: value.len() as u16,
        },
    })
}

/// Returns the length of the body (RFC 3261 18.3): Content-Length, or all there is.
fn length(bytes: &[u8], at: usize, message: &Message) -> Result<usize, Fault> {
    let there = bytes.len().saturating_sub(at);
    let mut told = None;
    for field in message
        .fields
        .iter()
        .filter(|field| field.name == Name::ContentLength as u8)
    {
        let value =
            std::str::from_utf8(field.value.slice(bytes)).map_err(|_| Fault::ContentLength)?;
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let value = value
            .parse::<usize>()
            .ok()
            .filter(|_| digits)
            .ok_or(Fault::ContentLength)?;
        if told.is_some_and(|told| told != value) {
            return Err(Fault::ContentLength);
        }
        told = Some(value);
    }
    match told {
        Some(told) if told > there => Err(Fault::ContentLength),
        Some(told) => Ok(told),
        None => Ok(there),
    }
}

/// Returns the end of the line that begins at `at`, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let newline = memchr(b'\n', rest)?;
    let end = at + newline;
    let text_end = if newline > 0 && bytes[end - 1] == b'\r' {
        end - 1
    } else {
        end
    };
    Some((text_end, end + 1))
}

fn start_line(text: &[u8]) -> Result<(Method, u16, Span), Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::NotSip)?;
    if let Some(rest) = text.strip_prefix("SIP/2.0 ") {
        let (code, phrase) = rest.split_at_checked(3).ok_or(Fault::StartLine)?;
        let status = code.parse::<u16>().map_err(|_| Fault::StartLine)?;
        if !(100..700).contains(&status) || !(phrase.is_empty() || phrase.starts_with(' ')) {
            return Err(Fault::StartLine);
        }
        let phrase = phrase.trim_start();
        return Ok((Method::Ack, status, Span::within(text.as_bytes(), phrase)));
    }
    let (method, rest) = text.split_once(' ').ok_or(Fault::NotSip)?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b);
    if method.is_empty() || !method.bytes().all(token) {
        return Err(Fault::NotSip);
    }
    let (uri, version) = rest.rsplit_once(' ').ok_or(Fault::NotSip)?;
    match version {
        "SIP/2.0" => {}
        "" => return Err(Fault::StartLine),
        _ if version.starts_with("SIP/") => return Err(Fault::Version),
        _ => return Err(Fault::NotSip),
    }
    if uri.is_empty() || uri.contains(' ') {
        return Err(Fault::StartLine);
    }
    Ok((Method::parse(method), 0, Span::within(text.as_bytes(), uri)))
}

/// Undoes line folding (RFC 3261 7.3.1): the line end within a value becomes spaces.
fn unfold(bytes: Bytes) -> Bytes {
    let head_end = memchr::memmem::find(&bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    let folds = |at: usize| matches!(bytes.get(at + 1), Some(b' ' | b'\t'));
    let head = &bytes[..head_end];
    if !memchr::memchr_iter(b'\n', head).any(folds) {
        return bytes;
    }
    let mut copy: Cow<'_, [u8]> = Cow::Borrowed(&bytes);
    for at in memchr::memchr_iter(b'\n', head).filter(|at| folds(*at)) {
        let copy = copy.to_mut();
        copy[at] = b' ';
        if at > 0 && copy[at - 1] == b'\r' {
            copy[at - 1] = b' ';
        }
    }
    Bytes::from(copy.into_owned())
}
