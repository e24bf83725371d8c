//! Bodies of several parts (RFC 2046 5.1, RFC 5621): the session description is found in them, and another
//! is put in its place; every other octet stays as it came.

use std::ops::Range;

use super::Params;

/// Parts that are looked at, over all levels.
const PARTS_MAX: usize = 16;
/// Multiparts within one another.
const DEPTH_MAX: usize = 4;
/// RFC 2046 5.1.1.
const BOUNDARY_MAX: usize = 70;

/// Where the session description of a body stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    content: Range<usize>,
    /// Of the part's own Content-Length, where it has one.
    length: Option<Range<usize>>,
}

/// Returns true for a body of several parts.
pub fn is_multipart(content_type: &str) -> bool {
    kind(content_type)
        .get(..10)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/"))
}

/// Returns true where a body may be ignored by who does not understand it (RFC 3261 20.11, RFC 5621 3).
pub fn is_optional(disposition: Option<&str>) -> bool {
    let params = disposition.and_then(|value| value.split_once(';'));
    let handling = params.and_then(|(_, params)| Params::new(params).value("handling"));
    handling.is_some_and(|handling| handling.eq_ignore_ascii_case("optional"))
}

/// Finds the session description: the body itself, or a part of it. Of alternatives the last counts, which
/// its sender likes best (RFC 2046 5.1.4), else the first.
pub fn session(content_type: &str, body: &[u8]) -> Option<Spot> {
    if kind(content_type).eq_ignore_ascii_case("application/sdp") {
        return (!body.is_empty()).then_some(Spot {
            content: 0..body.len(),
            length: None,
        });
    }
    let mut left = PARTS_MAX;
    within(content_type, body, 0..body.len(), DEPTH_MAX, &mut left)
}

impl Spot {
    /// Returns the session description.
    pub fn of<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        body.get(self.content.clone()).unwrap_or(&[])
    }

    /// Returns the body with another session description in its place.
    pub fn replaced(&self, body: &[u8], sdp: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() + sdp.len());
        let mut at = 0;
        if let Some(length) = &self.length {
            out.extend_from_slice(&body[..length.start]);
            out.extend_from_slice(sdp.len().to_string().as_bytes());
            at = length.end;
        }
        out.extend_from_slice(&body[at..self.content.start]);
        out.extend_from_slice(sdp);
        out.extend_from_slice(&body[self.content.end..]);
        out
    }
}

fn within(
    content_type: &str,
    body: &[u8],
    at: Range<usize>,
    depth: usize,
    left: &mut usize,
) -> Option<Spot> {
    if depth == 0 || !is_multipart(content_type) {
        return None;
    }
    let (_, params) = content_type.split_once(';')?;
    let boundary = Params::new(params).value("boundary")?;
    if boundary.is_empty() || boundary.len() > BOUNDARY_MAX {
        return None;
    }
    let alternatives = kind(content_type).eq_ignore_ascii_case("multipart/alternative");
    let mut found = None;
    for range in parts(body, at, boundary, left) {
        let Some(part) = Part::read(body, range) else {
            continue;
        };
        let spot = if part.is_session() {
            Some(Spot {
                content: part.content,
                length: part.length,
            })
        } else {
            within(part.content_type, body, part.content, depth - 1, left)
        };
        found = spot.or(found);
        if found.is_some() && !alternatives {
            break;
        }
    }
    found
}

/// Returns the parts between the delimiters, with their header fields. One that is not closed is none.
fn parts(body: &[u8], within: Range<usize>, boundary: &str, left: &mut usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = within.start;
    while at < within.end {
        let rest = &body[at..within.end];
        let end = rest.iter().position(|octet| *octet == b'\n');
        let end = end.map_or(within.end, |newline| at + newline + 1);
        let line = body[at..end].strip_prefix(b"--");
        let tail = line.and_then(|line| line.strip_prefix(boundary.as_bytes()));
        let tail = tail.map(<[u8]>::trim_ascii);
        if let Some(tail) = tail.filter(|tail| tail.is_empty() || *tail == b"--") {
            if let Some(start) = open.take() {
                // The line end before a delimiter is the delimiter's.
                let before = &body[start..at.max(start)];
                let before = before.strip_suffix(b"\n").unwrap_or(before);
                let before = before.strip_suffix(b"\r").unwrap_or(before);
                parts.push(start..start + before.len());
                *left = left.saturating_sub(1);
            }
            if tail == b"--" || *left == 0 {
                break;
            }
            open = Some(end);
        }
        at = end;
    }
    parts
}

struct Part<'b> {
    content_type: &'b str,
    disposition: Option<&'b str>,
    encoding: Option<&'b str>,
    length: Option<Range<usize>>,
    content: Range<usize>,
}

impl<'b> Part<'b> {
    fn read(body: &'b [u8], range: Range<usize>) -> Option<Self> {
        let mut part = Self {
            // RFC 2046 5.1.
            content_type: "text/plain",
            disposition: None,
            encoding: None,
            length: None,
            content: range.clone(),
        };
        let mut at = range.start;
        loop {
            let end = field_end(body, at, range.end);
            let field = std::str::from_utf8(&body[at..end]).ok()?;
            if field.trim().is_empty() {
                part.content = end..range.end;
                return Some(part);
            }
            if at == end || end == range.end {
                return None;
            }
            let (name, value) = field.split_once(':')?;
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Content-Type") {
                part.content_type = value;
            } else if name.eq_ignore_ascii_case("Content-Disposition") {
                part.disposition = Some(value);
            } else if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
                part.encoding = Some(value);
            } else if name.eq_ignore_ascii_case("Content-Length") {
                let start = field.find(value).map(|offset| at + offset);
                part.length = start.map(|start| start..start + value.len());
            }
            at = end;
        }
    }

    fn is_session(&self) -> bool {
        let plain = |encoding: &str| {
            ["7bit", "8bit", "binary"]
                .iter()
                .any(|known| encoding.eq_ignore_ascii_case(known))
        };
        // Another disposition than the usual one is another session, as the early one of RFC 3959.
        let ours = self
            .disposition
            .is_none_or(|disposition| kind(disposition).eq_ignore_ascii_case("session"));
        kind(self.content_type).eq_ignore_ascii_case("application/sdp")
            && self.encoding.is_none_or(plain)
            && ours
            && !self.content.is_empty()
    }
}

/// Returns where a header field ends that may be folded.
fn field_end(body: &[u8], at: usize, end: usize) -> usize {
    let mut next = at;
    loop {
        let newline = body[next..end].iter().position(|octet| *octet == b'\n');
        next = newline.map_or(end, |newline| next + newline + 1);
        let empty = body[at..next].trim_ascii().is_empty();
        if empty || next >= end || !matches!(body[next], b' ' | b'\t') {
            return next;
        }
    }
}

/// Returns a value without its parameters.
fn kind(value: &str) -> &str {
    value.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0";
    const PLACE: &str = "--b\r\nContent-Type: application/pidf+xml\r\n\
                         Content-ID: <alice@example.org>\r\n\r\n<presence/>\r\n";

    fn part(headers: &str, content: &str) -> String {
        format!("--b\r\n{headers}\r\n\r\n{content}\r\n")
    }

    fn sdp_part(headers: &str) -> String {
        part(&format!("Content-Type: application/sdp{headers}"), SDP)
    }

    fn found<'b>(content_type: &str, body: &'b str) -> Option<&'b str> {
        let spot = session(content_type, body.as_bytes())?;
        std::str::from_utf8(spot.of(body.as_bytes())).ok()
    }

    const MIXED: &str = "multipart/mixed; boundary=b";

    #[test]
    fn the_session_is_found_beside_other_parts() {
        let end = "--b--\r\n";
        for (content_type, body, expected) in [
            ("application/sdp", SDP.to_owned(), true),
            ("APPLICATION/SDP; charset=utf-8", SDP.to_owned(), true),
            ("application/sdp", String::new(), false),
            ("text/plain", SDP.to_owned(), false),
            (MIXED, sdp_part("") + PLACE + end, true),
            (MIXED, PLACE.to_owned() + &sdp_part("") + end, true),
            (
                "Multipart/Related;type=x;boundary=\"b\"",
                sdp_part("") + end,
                true,
            ),
            (
                MIXED,
                format!("preamble\r\n{}{end}epilogue", sdp_part("")),
                true,
            ),
            (MIXED, sdp_part("").replace("\r\n", "\n") + end, false),
            (
                MIXED,
                sdp_part("\r\nContent-Disposition: session") + end,
                true,
            ),
            (
                MIXED,
                sdp_part("\r\nContent-Disposition: early-session") + end,
                false,
            ),
            (
                MIXED,
                sdp_part("\r\nContent-Transfer-Encoding: 8bit") + end,
                true,
            ),
            (
                MIXED,
                sdp_part("\r\nContent-Transfer-Encoding: base64") + end,
                false,
            ),
            (
                MIXED,
                part("Content-Type:\r\n  application/sdp", SDP) + end,
                true,
            ),
            // No part without its end, no part without a header of its own kind, no boundary.
            (MIXED, sdp_part(""), false),
            (MIXED, part("", SDP) + end, false),
            ("multipart/mixed", sdp_part("") + end, false),
            ("multipart/mixed; boundary=\"\"", sdp_part("") + end, false),
            ("multipart/mixed; boundary=c", sdp_part("") + end, false),
            (MIXED, PLACE.to_owned() + end, false),
        ] {
            let found = found(content_type, &body);
            let expected = expected.then_some(SDP);
            // Line ends of its own are the body's.
            let found = found.filter(|found| *found == SDP);
            assert_eq!(found, expected, "{content_type}\n{body}");
        }
    }

    #[test]
    fn of_alternatives_the_last_counts() {
        let other = part("Content-Type: application/sdp", "v=0\r\ns=other");
        let body = other + &sdp_part("") + "--b--";
        assert_eq!(found("multipart/alternative; boundary=b", &body), Some(SDP));
        assert_eq!(found(MIXED, &body), Some("v=0\r\ns=other"));
    }

    #[test]
    fn it_is_looked_for_so_deep_and_so_far() {
        let nested = |levels: usize| {
            let mut body = sdp_part("").replace("--b", "--b0") + "--b0--\r\n";
            for level in 1..levels {
                let inner = format!("multipart/mixed; boundary=b{}", level - 1);
                body = format!(
                    "--b{level}\r\nContent-Type: {inner}\r\n\r\n{body}\r\n--b{level}--\r\n"
                );
            }
            let outer = format!("multipart/mixed; boundary=b{}", levels - 1);
            found(&outer, &body).map(str::to_owned)
        };
        for (levels, reached) in [(1, true), (DEPTH_MAX, true), (DEPTH_MAX + 1, false)] {
            assert_eq!(nested(levels).is_some(), reached, "{levels}");
        }
        for (before, reached) in [(PARTS_MAX - 1, true), (PARTS_MAX, false)] {
            let body = PLACE.repeat(before) + &sdp_part("") + "--b--";
            assert_eq!(found(MIXED, &body).is_some(), reached, "{before}");
        }
    }

    #[test]
    fn what_is_put_in_its_place_changes_nothing_else() {
        let length = format!("\r\nContent-Length: {}", SDP.len());
        for headers in ["", &length] {
            let body = PLACE.to_owned() + &sdp_part(headers) + PLACE + "--b--\r\n";
            let spot = session(MIXED, body.as_bytes()).unwrap();
            let replaced = spot.replaced(body.as_bytes(), b"v=0\r\n");
            let expected = body
                .replace(SDP, "v=0\r\n")
                .replace(&format!("Length: {}", SDP.len()), "Length: 5");
            assert_eq!(String::from_utf8(replaced).unwrap(), expected);
        }
    }

    #[test]
    fn a_body_is_optional_where_it_says_so() {
        for (disposition, optional) in [
            (None, false),
            (Some("render"), false),
            (Some("render;handling=required"), false),
            (Some("render; handling=optional"), true),
            (Some("by-reference;HANDLING=Optional"), true),
        ] {
            assert_eq!(is_optional(disposition), optional, "{disposition:?}");
        }
    }

    #[test]
    fn no_octets_panic() {
        let body = PLACE.to_owned() + &sdp_part("\r\nContent-Length: 5") + "--b--\r\n";
        for at in 0..body.len() {
            for octet in [b'\n', b'\r', b'-', b':', 0xff] {
                let mut damaged = body.clone().into_bytes();
                damaged[at] = octet;
                for body in [&damaged[..], &damaged[..at]] {
                    if let Some(spot) = session(MIXED, body) {
                        let _ = spot.replaced(body, b"v=0\r\n");
                    }
                }
            }
        }
    }
}
