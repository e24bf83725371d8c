//! Texts in CPIM (RFC 3862) that ask what becomes of them (RFC 5438), and the word that one was not delivered.

use std::fmt::Write;

/// The namespace of the headers that ask.
const IMDN: &str = "urn:ietf:params:imdn";
/// Octets of CPIM headers that are looked at, and of a value that is said again.
const HEADERS_MAX: usize = 8192;
const VALUE_MAX: usize = 512;

/// What a text says of itself, where its sender wants to know that it was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    from: &'a str,
    to: &'a str,
    original_to: Option<&'a str>,
    message_id: &'a str,
}

/// RFC 5438 11.1.9.
const NAMESPACE: &str = "urn:ietf:params:xml:ns:imdn";

/// Returns true for the media type of CPIM (RFC 3862 3).
pub fn is_cpim(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("message/cpim")
}

impl<'a> Asked<'a> {
    /// Reads the headers of a CPIM body. None where it asks for no negative delivery notification, or where
    /// none could be written: it has no Message-ID, or does not say whom it is from and for.
    pub fn of(body: &'a [u8]) -> Option<Self> {
        let head = &body[..body.len().min(HEADERS_MAX)];
        let ends = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().filter_map(|end| {
            let mut at = head.windows(end.len());
            at.position(|window| window == end)
        });
        let head = str::from_utf8(&head[..ends.min()?]).ok()?;
        let fields = || {
            let fields = head.lines().filter_map(|line| line.split_once(':'));
            fields.map(|(name, value)| (name.trim(), value.trim()))
        };
        let get = |name: &str| {
            let mut fields = fields();
            let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value)
                .filter(|value| is_sound(value))
        };
        // RFC 3862 2.4: the prefix is the sender's choice.
        let prefix = fields().find_map(|(name, value)| {
            let (prefix, uri) = value.split_once('<')?;
            let is_ours = name.eq_ignore_ascii_case("NS") && uri.trim_end_matches('>') == IMDN;
            is_ours.then(|| prefix.trim())
        })?;
        let imdn = |name: &str| get(&format!("{prefix}.{name}"));
        let wishes = imdn("Disposition-Notification")?;
        let negative = wishes.split(',').any(|wish| {
            let wish = wish.split(';').next().unwrap_or("").trim();
            wish.eq_ignore_ascii_case("negative-delivery")
        });
        negative.then_some(())?;
        Some(Self {
            from: get("From")?,
            to: get("To")?,
            original_to: imdn("Original-To"),
            message_id: imdn("Message-ID")?,
        })
    }

    /// Writes the CPIM body that tells its sender that it was not delivered (RFC 5438 7.2.1.1, 11.1.9), under a
    /// Message-ID of its own. It asks for no notification itself. `when` is a time of RFC 3339.
    pub fn failed(&self, message_id: &str, when: &str) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n");
        let original = self.original_to.unwrap_or(self.to);
        let _ = write!(
            xml,
            "<imdn xmlns=\"{NAMESPACE}\">\r\n<message-id>{}</message-id>\r\n\
             <datetime>{when}</datetime>\r\n<recipient-uri>{}</recipient-uri>\r\n\
             <original-recipient-uri>{}</original-recipient-uri>\r\n\
             <delivery-notification><status><failed/></status></delivery-notification>\r\n</imdn>\r\n",
            escaped(self.message_id),
            escaped(uri(self.to)),
            escaped(uri(original)),
        );
        format!(
            "From: {}\r\nTo: {}\r\nNS: imdn <{IMDN}>\r\nimdn.Message-ID: {message_id}\r\n\
             DateTime: {when}\r\n\r\nContent-Type: message/imdn+xml\r\n\
             Content-Disposition: notification\r\nContent-Length: {}\r\n\r\n{xml}",
            self.to,
            self.from,
            xml.len(),
        )
    }
}

fn is_sound(value: &str) -> bool {
    !value.is_empty() && value.len() <= VALUE_MAX && !value.contains(char::is_control)
}

/// Returns what stands between the angle brackets.
fn uri(address: &str) -> &str {
    let inner = address.rsplit_once('<').map_or(address, |(_, uri)| uri);
    inner.split('>').next().unwrap_or(inner).trim()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "From: Alice <im:alice@example.org>\r\nTo: Bob & Co <im:bob@example.org>\r\n\
        NS: d <urn:ietf:params:imdn>\r\nd.Message-ID: 34<jk\r\nDateTime: 2026-04-04T12:16:49-05:00\r\n\
        d.Disposition-Notification: positive-delivery, negative-delivery;x=y\r\n";

    fn body(head: &str) -> String {
        format!("{head}\r\nContent-type: text/plain\r\n\r\nTo: nobody\r\n")
    }

    #[test]
    fn who_asks_is_told_in_the_words_of_the_rfc() {
        let body = body(HEAD);
        let asked = Asked::of(body.as_bytes()).unwrap();
        let told = asked.failed("77", "2026-11-28T23:00:00.000Z");
        let (head, rest) = told.split_once("\r\n\r\n").unwrap();
        assert_eq!(
            head,
            "From: Bob & Co <im:bob@example.org>\r\nTo: Alice <im:alice@example.org>\r\n\
             NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 77\r\n\
             DateTime: 2026-11-28T23:00:00.000Z"
        );
        let (mime, xml) = rest.split_once("\r\n\r\n").unwrap();
        assert!(mime.ends_with(&format!("Content-Length: {}", xml.len())));
        for part in [
            "<message-id>34&lt;jk</message-id>",
            "<datetime>2026-11-28T23:00:00.000Z</datetime>",
            "<recipient-uri>im:bob@example.org</recipient-uri>",
            "<original-recipient-uri>im:bob@example.org</original-recipient-uri>",
            "<delivery-notification><status><failed/></status></delivery-notification>",
        ] {
            assert!(xml.contains(part), "{part} in {xml}");
        }
        // What is told asks for nothing.
        assert_eq!(Asked::of(told.as_bytes()), None);
    }

    #[test]
    fn who_does_not_ask_or_cannot_be_told_is_not() {
        let without = |line: &str| {
            let lines = HEAD.lines().filter(|known| !known.starts_with(line));
            body(&lines.map(|line| format!("{line}\r\n")).collect::<String>())
        };
        for line in ["From", "To", "NS", "d.Message-ID", "d.Disposition"] {
            assert_eq!(Asked::of(without(line).as_bytes()), None, "{line}");
        }
        assert!(Asked::of(without("DateTime").as_bytes()).is_some());
        let unix = body(HEAD).replace("\r\n", "\n");
        assert!(Asked::of(unix.as_bytes()).is_some());
        let others = body(HEAD).replace("negative-delivery", "display");
        assert_eq!(Asked::of(others.as_bytes()), None);
        let foreign = body(HEAD).replace(IMDN, "urn:x");
        assert_eq!(Asked::of(foreign.as_bytes()), None);
        assert_eq!(Asked::of(HEAD.as_bytes()), None, "its headers do not end");
        assert_eq!(Asked::of(b""), None);
        let long = body(&HEAD.replace("34<jk", &"x".repeat(VALUE_MAX + 1)));
        assert_eq!(Asked::of(long.as_bytes()), None);
    }
}
