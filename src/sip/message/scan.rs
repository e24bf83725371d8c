//! One pass over the bytes: the start line's parts, the lines of the header, the body.

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr_iter, memchr2};
use smallvec::SmallVec;

use super::{Core, FIELDS_MAX, HOPS_MAX, Indexed, Message, Span, UNKNOWN};
use crate::sip::params::split_bytes;
use crate::sip::{Fault, Method, Name};

/// Header fields that stand once; a second one is no list (RFC 3261 7.3.1).
const ONCE: u128 = bit(Name::From)
    | bit(Name::To)
    | bit(Name::CallId)
    | bit(Name::CSeq)
    | bit(Name::MaxForwards)
    | bit(Name::ContentType);

/// Header fields that have a value for each hop.
const OF_HOPS: [Name; 3] = [Name::Via, Name::Route, Name::RecordRoute];

const fn bit(name: Name) -> u128 {
    1 << name as u8
}

/// Finds the parts of a message. What can be told although something is wrong comes with the fault.
///
/// # Errors
/// Neither a request nor a response that could be worked with or answered.
pub(super) fn scan(mut bytes: Bytes) -> Result<(Message, Result<(), Fault>), Fault> {
    // RFC 3261 7.5.
    let before = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n'));
    let before = before.count();
    bytes.advance(before);
    let first = line(&bytes, 0).ok_or(Fault::NotSip)?;
    let (start, mut fault) = start_line(&bytes[..first.end])?;
    let mut fields = SmallVec::new();
    let mut at = first.next;
    let mut found = index(&bytes, &mut at, &mut fields);
    if found == Err(Stop::Folded) {
        bytes = unfold(&bytes, first.next);
        fields.clear();
        at = first.next;
        found = index(&bytes, &mut at, &mut fields);
    }
    let found = match found {
        Ok(()) => Ok(()),
        Err(Stop::Folded) => Err(Fault::HeaderLine),
        Err(Stop::Wrong(fault)) => Err(fault),
        // An answer would have to repeat them, and costs more than the question.
        Err(Stop::TooFar) => return Err(Fault::TooManyHeaders),
    };
    fault = fault.and(found);
    let lengths = fields
        .iter()
        .filter(|field| field.name == Name::ContentLength as u8)
        .map(|field| field.value.slice(&bytes));
    let there = bytes.len() - at;
    // RFC 3261 18.3: Content-Length, or all there is.
    let len = match content_length(lengths) {
        Ok(Some(told)) if told <= there as u64 => told as usize,
        Ok(None) => there,
        Ok(Some(_)) | Err(_) => {
            fault = fault.and(Err(Fault::ContentLength));
            0
        }
    };
    let body = Span {
        at: at as u16,
        len: len as u16,
    };
    let message = Message {
        bytes,
        method: start.method,
        status: start.status,
        line: start.line,
        fields,
        body,
        core: Core::default(),
    };
    Ok((message, fault))
}

/// Returns the length that the values of Content-Length agree on.
///
/// # Errors
/// No number, or two that differ.
pub(in crate::sip) fn content_length<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<u64>, Fault> {
    let mut told = None;
    for value in values {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::ContentLength);
        }
        // A number that is too large is one all the same.
        let value = value.iter().fold(0u64, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add((digit - b'0').into())
        });
        if told.is_some_and(|told| told != value) {
            return Err(Fault::ContentLength);
        }
        told = Some(value);
    }
    Ok(told)
}

/// Returns where the body begins: behind the first empty line, its line ends CRLF or bare line feeds.
/// Datagrams and streams read it alike, so that no message can hide in another.
pub(in crate::sip) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr_iter(b'\n', bytes.get(from..)?)
        .map(|at| from + at + 1)
        .find_map(|next| match bytes.get(next..)? {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        })
}

struct Line {
    end: usize,
    next: usize,
    /// A carriage return stands within it, which some take for its end.
    stray: bool,
}

/// Returns the line that begins at `at`.
fn line(bytes: &[u8], at: usize) -> Option<Line> {
    let rest = bytes.get(at..)?;
    let hit = memchr2(b'\r', b'\n', rest)?;
    match rest[hit..] {
        [b'\n', ..] => Some(Line {
            end: at + hit,
            next: at + hit + 1,
            stray: false,
        }),
        [b'\r', b'\n', ..] => Some(Line {
            end: at + hit,
            next: at + hit + 2,
            stray: false,
        }),
        _ => {
            let feed = hit + memchr(b'\n', &rest[hit..])?;
            Some(Line {
                end: at + feed,
                next: at + feed + 1,
                stray: true,
            })
        }
    }
}

struct Start {
    method: Method,
    status: u16,
    /// Request-URI, or reason phrase.
    line: Span,
}

fn start_line(text: &[u8]) -> Result<(Start, Result<(), Fault>), Fault> {
    if text.len() >= 4 && text[..4].eq_ignore_ascii_case(b"SIP/") {
        return Ok((status_line(text)?, Ok(())));
    }
    let space = memchr(b' ', text).ok_or(Fault::NotSip)?;
    let method = &text[..space];
    if method.is_empty() || !method.iter().all(is_token) {
        return Err(Fault::NotSip);
    }
    let method = Method::parse(std::str::from_utf8(method).map_err(|_| Fault::NotSip)?);
    let last = text.iter().rposition(|b| *b == b' ').unwrap_or(space);
    let version = &text[last + 1..];
    let uri = Span {
        at: (space + 1) as u16,
        len: last.saturating_sub(space + 1) as u16,
    };
    let start = Start {
        method,
        status: 0,
        line: uri,
    };
    let fault = match version {
        _ if version.eq_ignore_ascii_case(b"SIP/2.0") => {
            let uri = uri.slice(text);
            // What is wrong beyond that is told by the URI's own grammar.
            let visible = |b: &u8| *b > b' ' && *b != 0x7f;
            if !uri.is_empty() && uri.iter().all(visible) {
                Ok(())
            } else {
                Err(Fault::StartLine)
            }
        }
        [] => Err(Fault::StartLine),
        _ if version.len() >= 4 && version[..4].eq_ignore_ascii_case(b"SIP/") => {
            Err(Fault::Version)
        }
        _ => return Err(Fault::NotSip),
    };
    Ok((start, fault))
}

fn status_line(text: &[u8]) -> Result<Start, Fault> {
    const VERSION: &[u8] = b"SIP/2.0 ";
    if text.len() < VERSION.len() || !text[..VERSION.len()].eq_ignore_ascii_case(VERSION) {
        return Err(Fault::Version);
    }
    let rest = &text[VERSION.len()..];
    let [
        a @ b'1'..=b'6',
        b @ b'0'..=b'9',
        c @ b'0'..=b'9',
        phrase @ ..,
    ] = rest
    else {
        return Err(Fault::StartLine);
    };
    if !phrase.is_empty() && phrase[0] != b' ' {
        return Err(Fault::StartLine);
    }
    let status = [a, b, c]
        .iter()
        .fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'));
    let phrase = phrase.trim_ascii_start();
    Ok(Start {
        // That of its CSeq, once it is read.
        method: Method::Ack,
        status,
        line: Span {
            at: (text.len() - phrase.len()) as u16,
            len: phrase.len() as u16,
        },
    })
}

#[derive(PartialEq, Eq)]
enum Stop {
    /// A value goes on in the next line.
    Folded,
    /// It has more hops than there can be: the rest is not looked at.
    TooFar,
    Wrong(Fault),
}

fn index(bytes: &[u8], at: &mut usize, fields: &mut SmallVec<[Indexed; 18]>) -> Result<(), Stop> {
    let mut fault = Ok(());
    let mut seen = 0u128;
    let mut hops = [0; OF_HOPS.len()];
    loop {
        let Some(Line { end, next, stray }) = line(bytes, *at) else {
            // No blank line: what there is, is all there is (RFC 3261 7 wants it, so it is told).
            *at = bytes.len();
            return Err(Stop::Wrong(Fault::HeaderLine));
        };
        let start = *at;
        *at = next;
        if end == start {
            return fault;
        }
        if matches!(bytes[start], b' ' | b'\t') && !fields.is_empty() {
            return Err(Stop::Folded);
        }
        if fields.len() == FIELDS_MAX {
            *at = bytes.len();
            return Err(Stop::Wrong(Fault::TooManyHeaders));
        }
        match field(bytes, start, end) {
            Some(field) if !stray => {
                if field.name != UNKNOWN {
                    let bit = 1 << field.name;
                    if seen & bit & ONCE != 0 {
                        fault = Err(Stop::Wrong(Fault::RepeatedHeader));
                    }
                    seen |= bit;
                }
                let list = OF_HOPS.iter().position(|name| *name as u8 == field.name);
                if let Some(list) = list {
                    let values = split_bytes(field.value.slice(bytes), b',');
                    hops[list] += values.take(HOPS_MAX + 1).count();
                    if hops[list] > HOPS_MAX {
                        return Err(Stop::TooFar);
                    }
                }
                fields.push(field);
            }
            Some(_) | None => fault = Err(Stop::Wrong(Fault::HeaderLine)),
        }
    }
}

fn field(bytes: &[u8], start: usize, end: usize) -> Option<Indexed> {
    let text = &bytes[start..end];
    let colon = memchr(b':', text)?;
    let name = text[..colon].trim_ascii_end();
    if name.is_empty() || name.len() > 255 || !name.iter().all(is_token) {
        return None;
    }
    let raw = &text[colon + 1..];
    let value = raw.trim_ascii();
    let at = end - raw.trim_ascii_start().len();
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

/// Undoes line folding (RFC 3261 7.3.1): the line end within a value becomes spaces. The body stays.
fn unfold(bytes: &[u8], mut at: usize) -> Bytes {
    let mut copy = bytes.to_vec();
    // What has been folded in is not looked at again: a value may be thousands of lines.
    let mut from = at;
    while let Some(Line { end, next, .. }) = line(&copy, from) {
        if end == at {
            break;
        }
        if matches!(copy.get(next), Some(b' ' | b'\t')) {
            copy[end..next].fill(b' ');
        } else {
            at = next;
        }
        from = next;
    }
    Bytes::from(copy)
}

/// Returns true for a byte of a token (RFC 3261 25.1).
fn is_token(byte: &u8) -> bool {
    const TOKEN: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < 256 {
            let byte = at as u8;
            table[at] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
                );
            at += 1;
        }
        table
    };
    TOKEN[usize::from(*byte)]
}
