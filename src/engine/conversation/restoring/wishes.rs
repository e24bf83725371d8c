//! What an INVITE of a re-fork asks beyond a first one: Replaces, to be answered by itself, no voicemail.

use crate::engine::conversation::leg::Leg;
use crate::sip::{Builder, Name};

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
