//! What an INVITE of a re-fork asks beyond a first one: Replaces, to be answered by itself, no voicemail.

use crate::engine::conversation::leg::Leg;
use crate::sip::{Address, Builder, Message, Name};

/// What an INVITE of a re-fork asks beyond a first one.
pub(super) struct Wishes {
    replaces: Option<String>,
    auto_answer: bool,
    no_voicemail: bool,
}

pub(super) fn wishes(replaced: Option<&Leg>, auto_answer: bool, no_voicemail: bool) -> Wishes {
    Wishes {
        replaces: replaced.and_then(|leg| {
            // RFC 3891 6.1: the tags as the one who is asked sees them.
            let remote = leg.dialog.remote_tag.as_deref()?;
            Some(format!(
                "{};to-tag={remote};from-tag={}",
                leg.dialog.call_id, leg.dialog.local_tag
            ))
        }),
        auto_answer,
        no_voicemail,
    }
}

impl Wishes {
    pub(super) fn write(self, mut builder: Builder) -> Builder {
        if let Some(replaces) = self.replaces {
            builder = builder.header(Name::Replaces, replaces);
        }
        if self.auto_answer {
            // RFC 5373, and what phones go by that do not know it: Call-Info those of Snom, Grandstream and
            // AudioCodes, Alert-Info those of Yealink, Gigaset, Mitel and of Polycom. The URI is one that
            // nobody fetches a tone from.
            builder = builder
                .header(Name::AnswerMode, "Auto")
                .header(Name::CallInfo, "<sip:refork>;answer-after=0")
                .header(
                    Name::AlertInfo,
                    "<sip:refork>;info=alert-autoanswer;answer-after=0;delay=0",
                );
        }
        if self.no_voicemail {
            // RFC 3840 10, RFC 3841: an answering machine must not win.
            builder = builder.header(Name::RejectContact, "*;automata, *;actor=\"msg-taker\"");
        }
        builder
    }
}

/// Returns true where an answering machine took the call, by the Contact of its 2xx (RFC 3840 10.2, 10.6).
pub(super) fn is_machine(response: &Message) -> bool {
    let contact = response.values(Name::Contact).next();
    let Some(contact) = contact.and_then(|contact| Address::parse(contact).ok()) else {
        return false;
    };
    let params = contact.params;
    let automata = params.get("automata");
    let yes = |value: Option<&str>| value.is_none_or(|value| !value.eq_ignore_ascii_case("false"));
    let actors = params.value("actor").unwrap_or("");
    automata.is_some_and(yes)
        || actors
            .split(',')
            .any(|actor| actor.trim().eq_ignore_ascii_case("msg-taker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_known_by_their_contact() {
        for (params, expected) in [
            ("", false),
            (";automata", true),
            (";AUTOMATA=\"TRUE\"", true),
            (";automata=\"FALSE\"", false),
            (";actor=\"msg-taker\"", true),
            (";actor=\"attendant,MSG-TAKER\"", true),
            (";actor=\"principal\"", false),
            (";x=\";automata\"", false),
        ] {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:c@192.0.2.9>{params}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let response = Message::parse(text.into_bytes().into()).unwrap();
            assert_eq!(is_machine(&response), expected, "{params}");
        }
    }
}
