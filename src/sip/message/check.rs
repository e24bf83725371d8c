//! What a message must have and be before it is believed.

use super::{Message, Span, delta_seconds, readable};
use crate::sip::params::{digits, find_unquoted, split_bytes};
use crate::sip::{Address, Fault, Method, Name, Uri, Via};

impl Message {
    /// Reads what every message must have (RFC 3261 8.1.1). As much as can be read is there even where
    /// this tells of a fault, so that a bad request can be answered.
    pub(super) fn read_core(&mut self) -> Result<(), Fault> {
        let bytes = self.bytes.clone();
        let [via, call_id, cseq, from, to] =
            [Name::Via, Name::CallId, Name::CSeq, Name::From, Name::To].map(|name| {
                let field = self.fields.iter().find(|field| field.name == name as u8);
                field.map(|field| field.value.slice(&bytes))
            });
        let via = via.map_or(Err(Fault::MissingHeader), |via| {
            let top = find_unquoted(via, b',').map_or(via, |at| &via[..at]);
            let top = std::str::from_utf8(top)
                .map_err(|_| Fault::Via)?
                .trim_ascii();
            let via = Via::parse(top).map_err(|_| Fault::Via)?;
            self.core.via = Some(Span::within(&bytes, top));
            self.core.branch = via.branch.map(|branch| Span::within(&bytes, branch));
            Ok(())
        });
        let call_id = call_id.map_or(Err(Fault::MissingHeader), |value| {
            let value = std::str::from_utf8(value).map_err(|_| Fault::CallId)?;
            if value.is_empty() || value.contains(|c: char| c.is_ascii_whitespace()) {
                return Err(Fault::CallId);
            }
            self.core.call_id = Span::within(&bytes, value);
            Ok(())
        });
        let from = self.read_party(&bytes, from).map(|tag| {
            self.core.from_tag = tag;
        });
        let to = self.read_party(&bytes, to).map(|tag| {
            self.core.to_tag = tag;
        });
        let cseq = cseq
            .ok_or(Fault::MissingHeader)
            .and_then(|value| self.read_cseq(value));
        via.and(call_id).and(from).and(to).and(cseq)
    }

    /// Returns the tag of a From or To.
    fn read_party(&self, bytes: &[u8], value: Option<&[u8]>) -> Result<Option<Span>, Fault> {
        let value = value.ok_or(Fault::MissingHeader)?;
        let value = readable(value).ok_or(Fault::FromTo)?;
        let address = Address::parse(value).map_err(|_| Fault::FromTo)?;
        if self.is_request() && address.uri_parsed().is_err() {
            return Err(Fault::FromTo);
        }
        Ok(address.tag().map(|tag| Span::within(bytes, tag)))
    }

    fn read_cseq(&mut self, value: &[u8]) -> Result<(), Fault> {
        let value = std::str::from_utf8(value).map_err(|_| Fault::CSeq)?;
        let (number, method) = value
            .split_once(|c: char| c.is_ascii_whitespace())
            .ok_or(Fault::CSeq)?;
        // RFC 3261 8.1.1.5.
        self.core.cseq = digits(number)
            .filter(|number| *number <= i32::MAX as u32)
            .ok_or(Fault::CSeq)?;
        let method = method.trim_ascii();
        if !self.is_request() {
            self.method = Method::parse(method);
        } else if method != self.method.as_str() {
            return Err(Fault::MethodMismatch);
        }
        match self.method.as_str() {
            "" => Err(Fault::CSeq),
            _ => Ok(()),
        }
    }

    /// Checks the rest of what is looked at before a request is believed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !self.is_request() {
            return Ok(());
        }
        let sound = |value: &[u8]| {
            std::str::from_utf8(value).is_ok_and(|value| Via::parse(value.trim_ascii()).is_ok())
        };
        let hops = self.raw_fields(Name::Via);
        // The topmost has been read.
        let mut beyond = hops.flat_map(|field| split_bytes(field, b',')).skip(1);
        if !beyond.all(sound) {
            return Err(Fault::Via);
        }
        if self.first(Name::MaxForwards).is_some() && self.max_forwards().is_none() {
            return Err(Fault::Number);
        }
        if self
            .header(Name::Expires)
            .is_some_and(|value| delta_seconds(value).is_none())
        {
            return Err(Fault::Number);
        }
        // RFC 3261 19.1.1, table 1: a Request-URI has no headers.
        let uri = Uri::parse(self.uri()).map_err(|_| Fault::RequestUri)?;
        if uri.headers.is_some() {
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
