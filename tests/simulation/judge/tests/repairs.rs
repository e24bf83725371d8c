//! A phone goes on by itself from another address, by an INVITE that takes the place of its dialog.

use super::peace::formats;
use super::*;

const NOBODY_ASKED: &str = "that nobody asked for";

/// B has moved, and calls in the place of its dialog with a session of its own; A is offered so many others meanwhile.
fn repaired(replaces: bool, session: &str, offered: u32) -> Story {
    let mut story = Story::new();
    let (branch, known) = ("z9hG4bKica", formats(1, "0 8"));
    let (method, of) = (Method::Invite, ("ca", 1, branch));
    story.request(1000, A, method, "ca", 1, branch, "", &known, true);
    story.answer(2000, B, "cb");
    story.described(2000, A, (200, Method::Invite), of, &known, false);
    story.ack(2010, A, "ca", true);
    story.add(10_000, B, What::Fault(Fault::Moved));
    let offer = formats(1, session);
    let invite = Builder::request(&Method::Invite, "sip:x@y")
        .header(Name::Via, "SIP/2.0/UDP 10.0.0.9;branch=z9hG4bKicr")
        .header(Name::From, "<sip:f@x>;tag=f")
        .header(Name::To, "<sip:t@x>")
        .header(Name::CallId, "cr")
        .header(Name::CSeq, "1 INVITE");
    let invite = if replaces {
        invite.header(Name::Replaces, "cb;to-tag=t;from-tag=f")
    } else {
        invite
    };
    let invite = invite.body("application/sdp", offer.as_bytes());
    story.message(10_100, B, invite, true);
    for number in 0..offered {
        let at = 10_200 + 100 * u64::from(number);
        let now = [
            &*formats(2 + number, session),
            &*formats(2 + number, session),
        ];
        story.offers(at, (A, "ca"), now, 200, false);
    }
    let of = ("cr", 1, "z9hG4bKicr");
    story.described(10_500, B, (200, Method::Invite), of, &offer, false);
    story.ack(10_510, B, "cr", true);
    story.inside(10_510, B, "cb", (Method::Bye, ""), Some(200), true);
    story
}

#[test]
fn the_survivor_is_asked_where_the_session_is_news_to_it_and_once() {
    let told = |session, offered| repaired(true, session, offered).end(60_000, &[(B, "cr")]);
    spotless(&told("0 8", 0));
    spotless(&told("9", 1));
    finds(&told("0 8", 1), NOBODY_ASKED);
    finds(&told("9", 2), NOBODY_ASKED);
}

#[test]
fn it_is_the_call_that_it_was() {
    let scrape = |begun: u32| {
        format!(
            "refork_conversations_started_total{{kind=\"call\"}} {begun}\n\
             refork_conversations_answered_total{{kind=\"call\"}} 1\n\
             refork_conversations_ended_total{{kind=\"call\",how=\"hung_up\"}} {begun}\n\
             refork_takeovers_total{{endpoint=\"same_endpoint\"}} 1\n"
        )
    };
    let mut story = repaired(true, "0 8", 0);
    story.end(60_000, &[(B, "cr")]);
    spotless(&counted(&story.log, &scrape(1)));
    finds(&counted(&story.log, &scrape(2)), "conversations begun");
}

#[test]
fn the_survivor_is_not_hung_up_on_as_the_old_dialog_ends() {
    let mut story = repaired(true, "0 8", 0);
    story.got(11_000, A, "ca", Method::Bye);
    finds(&judge(&story.log), "BYE although nothing was over");
    // Without the header it is a call of its own, and who talks to whom then nobody follows.
    let mut story = repaired(false, "0 8", 0);
    story.got(11_000, A, "ca", Method::Bye);
    spotless(&judge(&story.log));
}
