//! `application/dialog-info+xml` (RFC 4235 4): the calls of a user as they are now, always all of them.
//!
//! Of a call that others may take it tells who calls and which dialog an INVITE with Replaces has to name; of any
//! other no more than that it is.

use std::fmt::Write;

use crate::engine::board::Light;
use crate::engine::ids::{Aor, Side};
use crate::engine::mint::{ShardKey, veiled};
use crate::sip::Address;

pub(super) const CONTENT_TYPE: &str = "application/dialog-info+xml";
/// Calls of one user that are told.
const DIALOGS_MAX: usize = 16;

/// One call in it.
pub(super) struct Shown<'a> {
    /// Which it is within the subscription, over all that becomes of it.
    pub(super) number: u32,
    pub(super) side: Side,
    /// None: it is over, which is told once.
    pub(super) light: Option<&'a Light>,
}

/// Writes the document of a user. `whole`: the watcher may take calls that ring; the key veils the tags of phones,
/// whose dialogs nobody else may speak in.
pub(super) fn document(
    user: &Aor,
    version: u32,
    shown: &[Shown<'_>],
    whole: Option<ShardKey>,
) -> String {
    let user = Escaped(user.as_str());
    let mut text = format!(
        "<?xml version=\"1.0\"?>\r\n<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" \
         version=\"{version}\" state=\"full\" entity=\"{user}\">\r\n"
    );
    for shown in shown.iter().take(DIALOGS_MAX) {
        let _ = write!(text, "<dialog id=\"{}\"", shown.number);
        let Some(light) = shown.light else {
            text.push_str("><state>terminated</state></dialog>\r\n");
            continue;
        };
        let rings = light.rings.as_ref().filter(|_| whole.is_some());
        if let Some((early, key)) = rings.zip(whole) {
            let _ = write!(
                text,
                " call-id=\"{}\" local-tag=\"{}\" remote-tag=\"{}\"",
                Escaped(&early.call_id),
                veiled(key, &early.local_tag),
                Escaped(&early.remote_tag)
            );
        }
        let direction = match shown.side {
            Side::Caller => "initiator",
            Side::Callee => "recipient",
        };
        let state = light.state.as_str();
        let _ = write!(
            text,
            " direction=\"{direction}\"><state>{state}</state>\
             <local><identity>{user}</identity><target uri=\"{user}\"/></local>"
        );
        let caller = rings.and_then(|early| Address::parse(&early.remote).ok());
        if let Some(caller) = caller {
            let named = caller.display.filter(|name| !name.is_empty());
            let name = named.map(|name| format!(" display=\"{}\"", Escaped(&name)));
            let (name, uri) = (name.unwrap_or_default(), Escaped(caller.uri));
            // Who hides has no address to be asked at; what asks for the user's call finds it by its Replaces.
            let _ = write!(
                text,
                "<remote><identity{name}>{uri}</identity><target uri=\"{user}\"/></remote>"
            );
        }
        text.push_str("</dialog>\r\n");
    }
    text.push_str("</dialog-info>\r\n");
    text
}

/// Text within an element or an attribute. What XML 1.0 has no place for is left out.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&apos;")?,
                '\u{fffe}' | '\u{ffff}' => {}
                char if char.is_control() => {}
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::board::{Early, LightState};

    #[test]
    fn nothing_from_outside_ends_an_element() {
        let user = Aor::from_canonical("sip:o'hara&co@example.org");
        let light = Light {
            state: LightState::Early,
            rings: Some(Box::new(Early {
                call_id: "a<b>\"c\u{1}".into(),
                local_tag: "x&y".into(),
                remote_tag: "rf00".into(),
                remote: "\"</identity> \\\"A\\\"\" <sip:a&b@example.net>".into(),
            })),
        };
        let call = |side, light| Shown {
            number: 7,
            side,
            light,
        };
        let shown = [call(Side::Callee, Some(&light)), call(Side::Caller, None)];
        let text = document(&user, 3, &shown, Some(ShardKey::default()));
        let wanted = "<?xml version=\"1.0\"?>\r\n\
            <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"3\" state=\"full\" \
            entity=\"sip:o&apos;hara&amp;co@example.org\">\r\n\
            <dialog id=\"7\" call-id=\"a&lt;b&gt;&quot;c\" local-tag=\"VEILED\" remote-tag=\"rf00\" \
            direction=\"recipient\"><state>early</state>\
            <local><identity>sip:o&apos;hara&amp;co@example.org</identity>\
            <target uri=\"sip:o&apos;hara&amp;co@example.org\"/></local>\
            <remote><identity display=\"&lt;/identity&gt; &quot;A&quot;\">sip:a&amp;b@example.net</identity>\
            <target uri=\"sip:o&apos;hara&amp;co@example.org\"/></remote></dialog>\r\n\
            <dialog id=\"7\"><state>terminated</state></dialog>\r\n\
            </dialog-info>\r\n";
        let wanted = wanted.replace("VEILED", &veiled(ShardKey::default(), "x&y"));
        assert_eq!(text, wanted);
        assert!(!text.contains("x&amp;y"), "{text}");
        let text = document(&user, 3, &shown, None);
        assert!(
            !text.contains("remote") && !text.contains("call-id"),
            "{text}"
        );
    }

    #[test]
    fn of_many_calls_some_are_told() {
        let light = Light {
            state: LightState::Confirmed,
            rings: None,
        };
        let shown: Vec<_> = (0..100)
            .map(|number| Shown {
                number,
                side: Side::Caller,
                light: Some(&light),
            })
            .collect();
        let user = Aor::from_canonical("sip:bob@example.org");
        let text = document(&user, 0, &shown, Some(ShardKey::default()));
        assert_eq!(text.matches("</dialog>").count(), DIALOGS_MAX);
        assert!(text.contains("<state>confirmed</state>"));
    }
}
