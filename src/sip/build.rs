//! Writing messages: one buffer, filled once.

use std::fmt::{self, Display, Write};
use std::net::SocketAddr;

use bytes::Bytes;

use super::message::Field;
use super::{Message, Method, Name, cut, keep_every};

/// A message being written.
pub struct Builder(Vec<u8>);

impl Write for Builder {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Builder {
    /// Begins a request.
    pub fn request(method: &Method, uri: &str) -> Self {
        let mut builder = Self(Vec::with_capacity(1024));
        builder.parts(&[method.as_str(), " "]);
        let at = builder.0.len();
        builder.parts(&[uri]);
        builder.keep_to_the_line(at);
        builder.parts(&[" SIP/2.0\r\n"]);
        builder
    }

    /// Begins a response.
    pub fn response(status: u16, reason: &str) -> Self {
        let mut builder = Self(Vec::with_capacity(1024));
        let _ = write!(builder, "SIP/2.0 {status} ");
        builder.line(|builder| builder.parts(&[reason]));
        builder
    }

    /// Begins the response to a request: its Via fields with `received` and `rport` on the topmost
    /// (RFC 3261 18.2.1, RFC 3581 4), From, To with `to_tag` where it has none, Call-ID and CSeq.
    pub fn respond(
        request: &Message,
        status: u16,
        reason: &str,
        to_tag: Option<&str>,
        source: SocketAddr,
    ) -> Self {
        let mut builder = Self::response(status, reason);
        let mut vias = request.vias();
        if let Some(top) = vias.next() {
            builder.stamped_via(request, top, source, status);
        }
        for via in vias {
            builder.parts(&["Via: ", via, "\r\n"]);
        }
        builder = builder.copy(request, Name::From);
        if let Some(to) = request.raw_fields(Name::To).next() {
            let tag = to_tag.filter(|_| request.to_tag().is_none() && status > 100);
            builder.parts(&["To: "]);
            match tag.and_then(|_| without_tag(request)) {
                Some(to) => builder.parts(&[&to]),
                None => builder.0.extend_from_slice(to),
            }
            if let Some(tag) = tag {
                builder.parts(&[";tag=", tag]);
            }
            builder.parts(&["\r\n"]);
        }
        builder
            .copy(request, Name::CallId)
            .copy(request, Name::CSeq)
    }

    fn stamped_via(&mut self, request: &Message, top: &str, source: SocketAddr, status: u16) {
        let via = request.via();
        // RFC 6223 4.3, 4.4: a registration or a dialog is what is kept alive.
        let lasts = matches!(request.method(), Method::Register | Method::Invite);
        let keeps = lasts && (101..300).contains(&status) && via.params.get("keep") == Some(None);
        let wants_rport = via.rport.is_some();
        let same_host = via
            .host
            .parse()
            .is_ok_and(|host: std::net::IpAddr| host == source.ip());
        let head = cut::once(top, b';').map_or(top, |(head, _)| head);
        self.parts(&["Via: ", head]);
        for part in via.params.raw() {
            let name = cut::once(part, b'=')
                .map_or(part, |(name, _)| name)
                .trim_ascii_end();
            let ours = name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received");
            if keeps && name.eq_ignore_ascii_case("keep") {
                let reliable = !via.transport.eq_ignore_ascii_case("UDP");
                let _ = write!(self, ";keep={}", keep_every(reliable));
            } else if !ours {
                self.parts(&[";", part]);
            }
        }
        if wants_rport {
            let _ = write!(self, ";rport={}", source.port());
        }
        if wants_rport || !same_host {
            let _ = write!(self, ";received={}", source.ip());
        }
        self.parts(&["\r\n"]);
    }

    /// Writes a header field; a line end within the value becomes spaces.
    pub fn header(self, name: Name, value: impl Display) -> Self {
        self.other(name.as_str(), value)
    }

    /// Writes a header field whose name `Name` does not know; a line end within the value becomes spaces.
    pub fn other(mut self, name: &str, value: impl Display) -> Self {
        self.line(|builder| {
            let _ = write!(builder, "{name}: {value}");
        });
        self
    }

    /// Copies every field of a name, as it came.
    pub fn copy(mut self, from: &Message, name: Name) -> Self {
        for value in from.raw_fields(name) {
            self.parts(&[name.as_str(), ": "]);
            self.0.extend_from_slice(value);
            self.parts(&["\r\n"]);
        }
        self
    }

    /// Copies one field, byte for byte.
    pub fn raw(mut self, field: &Field<'_>) -> Self {
        self.parts(&[field.raw_name, ": "]);
        self.0.extend_from_slice(field.value);
        self.parts(&["\r\n"]);
        self
    }

    /// Writes whole header lines, each with its line end.
    pub fn raw_lines(mut self, lines: &[u8]) -> Self {
        self.0.extend_from_slice(lines);
        self
    }

    /// Ends the message with a body.
    pub fn body(mut self, content_type: &str, body: &[u8]) -> Bytes {
        self = self.header(Name::ContentType, content_type);
        let _ = write!(self, "Content-Length: {}\r\n\r\n", body.len());
        self.0.extend_from_slice(body);
        Bytes::from(self.0)
    }

    /// Ends the message without a body.
    pub fn end(mut self) -> Bytes {
        self.parts(&["Content-Length: 0\r\n\r\n"]);
        Bytes::from(self.0)
    }

    fn line(&mut self, write: impl FnOnce(&mut Self)) {
        let at = self.0.len();
        write(self);
        self.keep_to_the_line(at);
        self.parts(&["\r\n"]);
    }

    /// What came from outside, unescaped perhaps, must not begin another header field.
    fn keep_to_the_line(&mut self, at: usize) {
        let written = &mut self.0[at..];
        if memchr::memchr2(b'\r', b'\n', written).is_some() {
            for byte in written.iter_mut().filter(|b| matches!(b, b'\r' | b'\n')) {
                *byte = b' ';
            }
        }
    }

    fn parts(&mut self, parts: &[&str]) {
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }
}

/// Returns the To of a request without a tag that says nothing, where it has one: ours is to stand alone (RFC 3261
/// 8.2.6.2).
fn without_tag(request: &Message) -> Option<String> {
    let (text, params) = (request.header(Name::To)?, request.to().params);
    if !params.has("tag") {
        return None;
    }
    let params_text = params.as_str().trim_ascii_end();
    let head = text.trim_ascii_end().strip_suffix(params_text)?;
    let head = head.trim_ascii_end().trim_end_matches(';');
    let mut to = head.trim_ascii_end().to_owned();
    for param in params.raw() {
        let name = param.split('=').next().unwrap_or(param);
        if !name.trim_ascii_end().eq_ignore_ascii_case("tag") {
            to.push(';');
            to.push_str(param);
        }
    }
    Some(to)
}
