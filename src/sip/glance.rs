//! What a message that was written here is known by. The rest of it is ours too, and is not read again.

use super::{Address, Method, Name, Via};

/// Returns the method of a request and the branch of its topmost Via; nothing for a response, or without a branch.
pub fn request(bytes: &[u8]) -> Option<(Method, &str)> {
    let blank = bytes.iter().position(|byte| *byte == b' ')?;
    let method = str::from_utf8(&bytes[..blank]).ok()?;
    if method.contains('/') {
        return None;
    }
    let branch = Via::parse(first(bytes, Name::Via)?).ok()?.branch?;
    Some((Method::parse(method), branch))
}

/// The same of the start of what may have been sent here, as an ICMP error quotes it: nothing where it ends before the
/// line of the Via does.
pub fn quoted(bytes: &[u8]) -> Option<(Method, &str)> {
    let whole = memchr::memrchr(b'\n', bytes)?;
    request(&bytes[..=whole])
}

/// Returns the tag of the To.
pub fn to_tag(bytes: &[u8]) -> Option<&str> {
    Address::parse(first(bytes, Name::To)?).ok()?.tag()
}

/// Returns the first field of a name.
fn first(bytes: &[u8], name: Name) -> Option<&str> {
    let head = bytes.split(|byte| *byte == b'\n').skip(1);
    let fields = head.take_while(|line| !line.trim_ascii_end().is_empty());
    let value = fields
        .filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?))
        .find(|(known, _)| Name::parse(known.trim_ascii_end()) == Some(name))
        .map(|(_, value)| &value[1..])?;
    str::from_utf8(value.trim_ascii()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:b@example.org SIP/2.0\r\n\
        v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2\r\n\
        From: <sip:a@example.org>;tag=a\r\nTo: <sip:b@example.org>\r\n\r\nTo: <sip:c>;tag=c\r\n";

    #[test]
    fn a_request_is_known_by_method_and_branch() {
        assert_eq!(request(INVITE), Some((Method::Invite, "z9hG4bK1")));
        assert_eq!(to_tag(INVITE), None);
    }

    #[test]
    fn the_start_of_a_request_is_known_once_its_via_is_whole() {
        let via = memchr::memmem::find(INVITE, b"\r\nVia").unwrap() + 2;
        for len in 0..INVITE.len() {
            let whole = (len >= via).then_some((Method::Invite, "z9hG4bK1"));
            assert_eq!(quoted(&INVITE[..len]), whole, "{len}");
        }
    }

    #[test]
    fn a_response_has_a_tag_and_is_no_request() {
        let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
            To: \"B\" <sip:b@example.org;x>;tag=b2\r\n\r\n";
        assert_eq!((request(response), to_tag(response)), (None, Some("b2")));
    }

    #[test]
    fn what_has_no_branch_is_known_by_nothing() {
        for bytes in [
            &b""[..],
            b"BYE",
            b"BYE sip:a SIP/2.0\r\n\r\nVia: SIP/2.0/UDP a;branch=b\r\n",
            b"BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a\r\n\r\n",
        ] {
            assert_eq!(request(bytes), None);
        }
    }
}
