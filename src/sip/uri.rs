//! SIP, SIPS and TEL URIs (RFC 3261 19.1, RFC 3966).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use memchr::memchr;

use super::params::digits;
use super::{BadSyntax, Params, cut};

/// A URI's scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme<'a> {
    Sip,
    Sips,
    Tel,
    Other(&'a str),
}

/// A URI taken apart. Of a `tel:` URI the number is the user; of an unknown scheme all is the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    pub scheme: Scheme<'a>,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// IPv6 without brackets.
    pub host: &'a str,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// What follows the question mark.
    pub headers: Option<&'a str>,
}

const URI: BadSyntax = BadSyntax("URI");

impl<'a> Uri<'a> {
    /// Reads a URI.
    ///
    /// # Errors
    /// Bytes that no URI has, no scheme, no host, a port that is no number.
    pub fn parse(text: &'a str) -> Result<Self, BadSyntax> {
        if text
            .bytes()
            .any(|b| b <= b' ' || matches!(b, b'<' | b'>' | b'"') || b == 0x7f)
        {
            return Err(URI);
        }
        let (scheme, rest) = cut::once(text, b':').ok_or(URI)?;
        let valid = scheme
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !valid || rest.is_empty() {
            return Err(URI);
        }
        let scheme = if scheme.eq_ignore_ascii_case("sip") {
            Scheme::Sip
        } else if scheme.eq_ignore_ascii_case("sips") {
            Scheme::Sips
        } else if scheme.eq_ignore_ascii_case("tel") {
            Scheme::Tel
        } else {
            Scheme::Other(scheme)
        };
        let mut uri = Self {
            scheme,
            user: None,
            password: None,
            host: "",
            port: None,
            params: Params::default(),
            headers: None,
        };
        match scheme {
            Scheme::Tel => {
                let (number, params) = cut::once(rest, b';').unwrap_or((rest, ""));
                if number.is_empty() {
                    return Err(URI);
                }
                uri.user = Some(number);
                uri.params = Params::new(params);
            }
            Scheme::Other(_) => uri.host = rest,
            Scheme::Sip | Scheme::Sips => uri.read_sip(rest)?,
        }
        Ok(uri)
    }

    fn read_sip(&mut self, rest: &'a str) -> Result<(), BadSyntax> {
        // The user may hold semicolons and question marks: look for its end first (RFC 3261 25.1).
        let after_user = match cut::last(rest, b'@') {
            Some((userinfo, after)) => {
                let (user, password) = match cut::once(userinfo, b':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                if user.is_empty()
                    || !escapes_are_whole(userinfo)
                    || memchr(b'@', userinfo.as_bytes()).is_some()
                {
                    return Err(URI);
                }
                self.user = Some(user);
                self.password = password;
                after
            }
            None => rest,
        };
        let (before, headers) = match cut::once(after_user, b'?') {
            Some((before, headers)) => (before, Some(headers)),
            None => (after_user, None),
        };
        self.headers = headers;
        let (hostport, params) = cut::once(before, b';').unwrap_or((before, ""));
        self.params = Params::new(params);
        (self.host, self.port) = host_and_port(hostport)?;
        Ok(())
    }

    /// Returns the host where it is an address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Returns the word of the `transport` parameter.
    pub fn transport(&self) -> Option<&'a str> {
        self.params.value("transport")
    }

    /// Returns the user with its escapes undone; bytes that are not UTF-8 are replaced.
    pub fn user_unescaped(&self) -> Cow<'a, str> {
        match self.user.map(octets) {
            Some(Cow::Owned(bytes)) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
            Some(Cow::Borrowed(_)) | None => Cow::Borrowed(self.user.unwrap_or("")),
        }
    }

    /// Goes through the header components, their escapes undone (RFC 3261 19.1.1); what is not UTF-8 is left
    /// out.
    pub fn header_fields(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let parts = self.headers.unwrap_or("").split('&');
        parts.filter_map(|part| {
            let (name, value) = cut::once(part, b'=')?;
            Some((text(octets(name))?, text(octets(value))?))
        })
    }

    /// Compares two URIs by RFC 3261 19.1.4, `tel:` ones by RFC 3966 4.
    pub fn equals(&self, other: &Uri<'_>) -> bool {
        // The text does not name transport, its examples do.
        const MUST_MATCH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        let same_scheme = match (self.scheme, other.scheme) {
            (Scheme::Other(a), Scheme::Other(b)) => a.eq_ignore_ascii_case(b),
            (Scheme::Sip, Scheme::Sip)
            | (Scheme::Sips, Scheme::Sips)
            | (Scheme::Tel, Scheme::Tel) => true,
            (Scheme::Sip | Scheme::Sips | Scheme::Tel | Scheme::Other(_), _) => false,
        };
        let same_param = |name: &str| match (self.params.get(name), other.params.get(name)) {
            (Some(Some(a)), Some(Some(b))) => octets(a).eq_ignore_ascii_case(&octets(b)),
            (a, b) => a.is_some() == b.is_some(),
        };
        same_scheme
            && self.same_user(other)
            && self.password.map(octets) == other.password.map(octets)
            && same_host(self.host, other.host)
            && self.port == other.port
            && MUST_MATCH.iter().all(|name| same_param(name))
            && self
                .params
                .iter()
                .all(|(name, _)| !other.params.has(name) || same_param(name))
            && sorted_headers(self.headers) == sorted_headers(other.headers)
    }

    fn same_user(&self, other: &Uri<'_>) -> bool {
        if self.scheme != Scheme::Tel {
            return self.user.map(octets) == other.user.map(octets);
        }
        let number = |user: Option<&'a str>| user.unwrap_or("").bytes();
        let shown = |b: &u8| !matches!(b, b'-' | b'.' | b'(' | b')');
        let other_number = other.user.unwrap_or("").bytes();
        number(self.user)
            .filter(shown)
            .map(|b| b.to_ascii_lowercase())
            .eq(other_number.filter(shown).map(|b| b.to_ascii_lowercase()))
    }
}

fn same_host(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || matches!((a.parse::<Ipv6Addr>(), b.parse::<Ipv6Addr>()), (Ok(a), Ok(b)) if a == b)
}

/// The header components, for a comparison that no order matters to.
fn sorted_headers(headers: Option<&str>) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = headers
        .unwrap_or("")
        .split('&')
        .map(|part| octets(part).to_ascii_lowercase())
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort();
    parts
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; the host comes without brackets.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), BadSyntax> {
    let text = text.trim_ascii();
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = cut::once(rest, b']').ok_or(URI)?;
        host.parse::<Ipv6Addr>().map_err(|_| URI)?;
        match rest.trim_ascii_start().strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.trim_ascii().is_empty() => (host, None),
            None => return Err(URI),
        }
    } else {
        let (host, port) = match cut::once(text, b':') {
            Some((host, port)) => (host.trim_ascii_end(), Some(port)),
            None => (text, None),
        };
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(valid) {
            return Err(URI);
        }
        (host, port)
    };
    let port = match port {
        Some(port) => Some(digits(port.trim_ascii()).ok_or(URI)?),
        None => None,
    };
    Ok((host, port))
}

fn escapes_are_whole(text: &str) -> bool {
    cut::each(text, b'%').skip(1).all(|rest| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Undoes the escapes.
fn octets(text: &str) -> Cow<'_, [u8]> {
    if memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        });
        match hex {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            Some(_) | None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(bytes)
}

fn text(octets: Cow<'_, [u8]>) -> Option<Cow<'_, str>> {
    match octets {
        Cow::Borrowed(octets) => std::str::from_utf8(octets).ok().map(Cow::Borrowed),
        Cow::Owned(octets) => String::from_utf8(octets).ok().map(Cow::Owned),
    }
}

fn nibble(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_components_come_without_their_escapes() {
        let uri = Uri::parse(
            "sip:a@b?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2&subject=a%20b&n&bad=%FF",
        )
        .unwrap();
        let fields: Vec<_> = uri.header_fields().collect();
        let expected = [("Replaces", "x@y;to-tag=1;from-tag=2"), ("subject", "a b")];
        assert_eq!(
            fields,
            expected.map(|(name, value)| (name.into(), value.into()))
        );
        assert_eq!(Uri::parse("sip:a@b").unwrap().header_fields().count(), 0);
    }

    #[test]
    fn parts() {
        let uri =
            Uri::parse("sip:user;par=u%40example.net:pw@example.com:5070;transport=tcp;lr?to=x")
                .unwrap();
        assert_eq!(
            (uri.user, uri.password),
            (Some("user;par=u%40example.net"), Some("pw"))
        );
        assert_eq!(
            (uri.host, uri.port, uri.transport()),
            ("example.com", Some(5070), Some("tcp"))
        );
        assert!(uri.params.has("lr"));
        assert_eq!(uri.headers, Some("to=x"));
        let uri = Uri::parse("sip:[2001:db8::10]:5060").unwrap();
        assert_eq!((uri.host, uri.port), ("2001:db8::10", Some(5060)));
        assert_eq!(
            Uri::parse("tel:+1-201-555;x=y").unwrap().user,
            Some("+1-201-555")
        );
        for bad in [
            "",
            "sip",
            "sip:",
            "sip:a b@c",
            "<sip:a@b>",
            "sip:2001:db8::10",
            "sip:a@b:99999",
            "sip:a%4@b",
            "sip:@b",
            "1sip:a",
        ] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn comparison_of_rfc_3261_19_1_4() {
        for (a, b, same) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
                true,
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com;newparam=5",
                true,
            ),
            (
                "sip:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
                false,
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:carol@chicago.com", "sips:carol@chicago.com", false),
            ("sip:a@b;user=phone", "sip:a@b", false),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com;transport=udp",
                false,
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
                false,
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
                true,
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
                true,
            ),
            ("sip:a@b?x=1&x=1", "sip:a@b?x=1&y=1", false),
            ("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2", true),
            ("sip:a%fe@b", "sip:a%ff@b", false),
            ("sip:[2001:db8::1]", "sip:[2001:DB8:0::1]", true),
            ("tel:+1-201-555-0123", "tel:+1.201(555)0123", true),
            ("tel:+1-201-555-0123", "tel:+1-201-555-0124", false),
        ] {
            assert_eq!(
                Uri::parse(a).unwrap().equals(&Uri::parse(b).unwrap()),
                same,
                "{a} {b}"
            );
        }
    }
}
