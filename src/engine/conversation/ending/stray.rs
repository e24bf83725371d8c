//! A 2xx that nobody waits for: its dialog ends before it has begun.

use crate::engine::conversation::carrying::course::Course;
use crate::engine::conversation::context::{Context, Errand, What, is_sips};
use crate::engine::dialog::bare_uri;
use crate::engine::dialog::onward::{By, Known};
use crate::engine::ids::{ConversationId, Flow, LegId};
use crate::engine::mint::branch_shard;
use crate::engine::time::Time;
use crate::sip::{Address, Builder, Message, Method, Name, Uri};

/// Requests of ours may have gone in its early dialog, a PRACK or two, and been forgotten with its branch: the
/// BYE's number is beyond theirs. A gap is no error (RFC 3261 12.2.2).
const CSEQ_GAP: u32 = 100;

/// Ends the dialog of a 2xx that nobody waits for, by messages made from the response alone: ACK, then
/// BYE (RFC 3261 13.2.2.4, 15). `reason` is the BYE's (RFC 3326).
pub(crate) fn acknowledge_and_leave(
    context: &mut Context<'_>,
    response: &Message,
    flow: Flow,
    bye: Leaving,
    reason: Option<&str>,
) {
    let Some(shard) = response.branch().and_then(branch_shard) else {
        return;
    };
    let id = ConversationId(u64::from(shard.0) << 56);
    let target = response
        .values(Name::Contact)
        .next()
        .and_then(|contact| Address::parse(contact).ok())
        .map_or_else(
            || response.to().uri.to_owned(),
            |contact| contact.uri.to_owned(),
        );
    if Uri::parse(&target).is_err() {
        return;
    }
    let routes: Vec<&str> = response.values(Name::RecordRoute).collect();
    let course = match (bye, routes.last()) {
        // Whoever forges a 2xx is not to choose whom we write to.
        (Leaving::Once, _) => Course::over(flow, is_sips(&target)),
        (Leaving::Surely, Some(first)) => {
            let first = bare_uri(first);
            context.course_to(By::Route, first, flow, Known::Phone, is_sips(&target))
        }
        (Leaving::Surely, None) => {
            context.course_to(By::Target, &target, flow, Known::Phone, is_sips(&target))
        }
    };
    for (method, cseq) in [
        (Method::Ack, response.cseq()),
        (Method::Bye, response.cseq().saturating_add(CSEQ_GAP)),
    ] {
        let via = context.via(id, &course.flow);
        let mut builder = Builder::request(&method, &target)
            .header(Name::Via, via)
            .header(Name::MaxForwards, 70);
        for route in routes.iter().rev() {
            builder = builder.header(Name::Route, route);
        }
        builder = builder
            .copy(response, Name::From)
            .copy(response, Name::To)
            .copy(response, Name::CallId)
            .header(Name::CSeq, format_args!("{cseq} {}", method.as_str()));
        if method == Method::Ack {
            if bye == Leaving::Surely {
                context.send_alone_on(course.clone(), builder.end(), false);
            }
            continue;
        }
        let bytes = match reason {
            Some(reason) => builder.header(Name::Reason, reason).end(),
            None => builder.end(),
        };
        if bye == Leaving::Once {
            context.send_alone(bytes, flow);
        } else {
            let errand = Errand {
                conversation: id,
                leg: LegId(u32::MAX),
                what: What::Farewell,
            };
            context.send_off(course.clone(), bytes, errand);
        }
    }
}

/// How the BYE of a 2xx that nobody waits for goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// In a transaction: its INVITE is known to be ours.
    Surely,
    /// Without one: anybody may have forged the 2xx. There is no ACK either, so that whoever has not
    /// forged it, and did not get the BYE, sends the 2xx again and is answered again.
    Once,
}

/// Every stray 2xx is answered, perhaps to a victim: so many a second and no more.
const STRAYS_A_SECOND: u32 = 50;

/// What stray 2xx have had answered in this second.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    second: u64,
    answered: u32,
}

impl Strays {
    /// Returns true where one more may be answered.
    pub(crate) fn take(&mut self, now: Time) -> bool {
        let second = now.0 / 1000;
        if self.second != second {
            *self = Self {
                second,
                answered: 0,
            };
        }
        self.answered += 1;
        self.answered <= STRAYS_A_SECOND
    }
}
