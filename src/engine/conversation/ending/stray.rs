//! What a phone says to an INVITE that nobody waits for any more. After a 2xx its dialog ends before it has begun;
//! where it rings reliably it has its PRACK.

use crate::engine::conversation::carrying::course::Course;
use crate::engine::conversation::context::{Context, Errand, What};
use crate::engine::dialog::Security;
use crate::engine::dialog::bare_uri;
use crate::engine::dialog::onward::{By, Known};
use crate::engine::dialog::reliable::rseq;
use crate::engine::ids::{ConversationId, Flow, LegId};
use crate::engine::mint::{branch_shard, tag_key};
use crate::engine::time::Time;
use crate::sip::{Address, Builder, Message, Method, Name, Uri};

/// Requests of ours may have gone in its early dialog, a PRACK or two, and been forgotten with its branch: the
/// BYE's number is beyond theirs. A gap is no error (RFC 3261 12.2.2).
pub(super) const CSEQ_GAP: u32 = 100;

/// Ends the dialog of a 2xx that nobody waits for, by messages made from the response alone: ACK, then
/// BYE (RFC 3261 13.2.2.4, 15). `reason` is the BYE's (RFC 3326).
pub(crate) fn acknowledge_and_leave(
    context: &mut Context<'_>,
    response: &Message,
    flow: Flow,
    bye: Leaving,
    reason: Option<&str>,
) {
    let Some(stray) = Stray::of(response) else {
        return;
    };
    let course = match bye {
        // Whoever forges a 2xx is not to choose whom we write to.
        Leaving::Once => Course::over(flow, Security::of(&stray.target)),
        Leaving::Surely => stray.course(context, flow),
    };
    if bye == Leaving::Surely {
        let ack = stray.request(context, &course, &Method::Ack, response.cseq());
        context.send_alone_on(course.clone(), ack.end(), false);
    }
    let cseq = response.cseq().saturating_add(CSEQ_GAP);
    let builder = stray.request(context, &course, &Method::Bye, cseq);
    let bytes = match reason {
        Some(reason) => builder.header(Name::Reason, reason).end(),
        None => builder.end(),
    };
    if bye == Leaving::Once {
        context.send_alone(bytes, flow);
    } else {
        context.send_off(course, bytes, stray.errand());
    }
}

/// A phone rings reliably that nobody waits for, as one that has our CANCEL and pays no heed: it has its PRACK all
/// the same (RFC 3262 4), and sends its response no more. One that comes again before it has the PRACK gets one
/// more under the same number; to the phone only the first is new.
pub(crate) fn acknowledge_ringing(context: &mut Context<'_>, response: &Message, flow: Flow) {
    let Some(number) = rseq(response) else { return };
    let key = response.from_tag().and_then(tag_key);
    // In a dialog that stands it would be out of order.
    if key.is_none_or(|key| context.shared.tags.contains_key(&key)) {
        return;
    }
    let Some(stray) = Stray::of(response).filter(|_| context.shared.strays.take(context.now))
    else {
        return;
    };
    // Each response has a number of its own, one above that of the last, and so has each PRACK.
    let beyond = CSEQ_GAP / 2 + number % (CSEQ_GAP / 2);
    let course = stray.course(context, flow);
    let cseq = response.cseq().saturating_add(beyond);
    let rack = format!("{number} {} INVITE", response.cseq());
    let prack = stray.request(context, &course, &Method::Prack, cseq);
    let bytes = prack.header(Name::RAck, rack).end();
    context.send_off(course, bytes, stray.errand());
}

/// A response to an INVITE of ours that nobody waits for, and where its dialog is.
struct Stray<'a> {
    response: &'a Message,
    id: ConversationId,
    target: String,
    /// As they came: the last one is the first hop.
    routes: Vec<&'a str>,
}

impl<'a> Stray<'a> {
    fn of(response: &'a Message) -> Option<Self> {
        let shard = response.branch().and_then(branch_shard)?;
        let contact = response.values(Name::Contact).next();
        let target = contact
            .and_then(|contact| Address::parse(contact).ok())
            .map_or_else(
                || response.to().uri.to_owned(),
                |contact| contact.uri.to_owned(),
            );
        Uri::parse(&target).ok()?;
        Some(Self {
            response,
            id: ConversationId(u64::from(shard.0) << 56),
            target,
            routes: response.values(Name::RecordRoute).collect(),
        })
    }

    fn course(&self, context: &mut Context<'_>, flow: Flow) -> Course {
        let security = Security::of(&self.target);
        match self.routes.last() {
            Some(first) => {
                let first = bare_uri(first);
                context.course_to(By::Route, first, flow, Known::Phone, security)
            }
            None => context.course_to(By::Target, &self.target, flow, Known::Phone, security),
        }
    }

    fn request(
        &self,
        context: &mut Context<'_>,
        course: &Course,
        method: &Method,
        cseq: u32,
    ) -> Builder {
        let via = context.via(self.id, &course.flow);
        let mut builder = Builder::request(method, &self.target)
            .header(Name::Via, via)
            .header(Name::MaxForwards, 70);
        for route in self.routes.iter().rev() {
            builder = builder.header(Name::Route, route);
        }
        builder
            .copy(self.response, Name::From)
            .copy(self.response, Name::To)
            .copy(self.response, Name::CallId)
            .header(Name::CSeq, format_args!("{cseq} {}", method.as_str()))
    }

    fn errand(&self) -> Errand {
        Errand {
            conversation: self.id,
            leg: LegId(u32::MAX),
            what: What::Farewell,
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

/// Every stray 2xx or reliable response is answered, perhaps to a victim: so many a second and no more.
const STRAYS_A_SECOND: u32 = 50;

/// What they have had answered in this second.
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
