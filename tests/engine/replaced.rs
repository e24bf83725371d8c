//! Who transfers is beyond a PBX, and so is who is transferred: what we have is the call between the
//! transferor and one of our users, and the PBX says by an INVITE with Replaces who goes on with it (RFC 5589 7).

use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::settings::*;
use refork::sip::{Builder, Message, Method, Name};

use crate::people::*;
use crate::repair::replaces;
use crate::table::*;
use crate::transfer::{carol, carols_mobile};

fn pbx() -> SocketAddr {
    phone("192.0.2.60:5060")
}

/// Numbers go to a PBX that is believed, or not, in what it says of who calls. Carol has a phone here.
fn house(trusted: bool) -> Table {
    let mut t = Table::new(Settings {
        upstreams: [("pbx".into(), upstream("sip:192.0.2.60", trusted))].into(),
        routes: vec![Route {
            pattern: "sip:+*@*".into(),
            to: "pbx".into(),
            fork: RouteFork::default(),
            emergency: None,
        }],
        ..settings()
    });
    t.register("carol", carol(), "carol");
    t
}

/// The transferor, beyond the PBX, has called Carol. Returns both ends.
fn consults(t: &mut Table) -> (Remote, Remote) {
    let invite = request(Method::Invite, "+43555", "carol", pbx(), "call1");
    t.receive(pbx(), with_sdp(invite, &audio(pbx())));
    let invite = t.request_to(carol(), Method::Invite);
    t.receive(
        carol(),
        with_sdp(answer_at(&invite, carol()), &audio(carol())),
    );
    t.request_to(carol(), Method::Ack);
    let far = Remote::of_answer(&t.response_to(pbx(), 200), pbx());
    t.receive(pbx(), far.ack(1));
    (far, Remote::of_invite(&invite, carol(), "b1"))
}

/// Who is transferred takes the transferor's place.
fn goes_on(who: &str, dialog: &str) -> Builder {
    request(Method::Invite, who, "carol", pbx(), "transfer")
        .header(Name::Replaces, dialog)
        .header(Name::Require, "replaces")
}

fn transferred(t: &Table) -> usize {
    t.happened(|what| matches!(what, Happening::Transferred { .. }))
}

impl Table {
    /// The PBX has its 200, and a BYE in the dialog that was replaced. Returns the new one.
    fn replaced(&mut self, old: &Remote) -> Remote {
        let ok = self.response_to(pbx(), 200);
        assert!(text(&ok).contains("192.0.2.1"), "{}", text(&ok));
        let bye = self.request_to(pbx(), Method::Bye);
        assert_eq!(bye.call_id(), old.call_id);
        self.reply(&bye, 200, pbx());
        let new = Remote::of_answer(&ok, pbx());
        self.receive(pbx(), new.ack(1));
        new
    }

    fn word_of(&mut self, who: &str) -> Message {
        let word = self.request_to(carol(), Method::Message);
        let says = text(&word);
        assert!(
            says.starts_with(&format!("{who} is continuing on ")),
            "{says}"
        );
        self.reply(&word, 200, carol());
        word
    }
}

#[test]
fn a_pbx_that_is_trusted_puts_one_of_its_users_in_anothers_place() {
    let mut t = house(true);
    let (far, mut c) = consults(&mut t);
    let invite = goes_on("+43123", &replaces(&far));
    t.receive(pbx(), with_sdp(invite, &audio(pbx())));
    let mut new = t.replaced(&far);
    assert_eq!(transferred(&t), 1);
    // Carol is told by a word alone whom she talks to now, and what she says goes there.
    t.word_of("+43123");
    t.nothing_to(carol());
    t.calls_on(&mut c, &mut new);
    t.hangs_up(&mut new);
    let bye = t.request_to(carol(), Method::Bye);
    t.reply(&bye, 200, carol());
    t.ends_empty();
}

#[test]
fn it_does_so_too_where_carol_has_called_the_transferor() {
    let mut t = house(true);
    let invite = request(Method::Invite, "carol", "+43555", carol(), "call1");
    t.receive(carol(), with_sdp(invite, &audio(carol())));
    let invite = t.request_to(pbx(), Method::Invite);
    let ok = response(&invite, 200, pbx(), "f1");
    t.receive(pbx(), with_sdp(ok, &audio(pbx())));
    t.request_to(pbx(), Method::Ack);
    let mut c = Remote::of_answer(&t.response_to(carol(), 200), carol());
    t.receive(carol(), c.ack(1));
    let far = Remote::of_invite(&invite, pbx(), "f1");
    t.receive(
        pbx(),
        with_sdp(goes_on("+43123", &replaces(&far)), &audio(pbx())),
    );
    let mut new = t.replaced(&far);
    t.word_of("+43123");
    t.calls_on(&mut c, &mut new);
    // It is the other person's call now: what the PBX says of it is for Carol's next phone as well.
    t.register("carol", carols_mobile(), "cm");
    t.receive(pbx(), new.message("there?"));
    let there = t.request_to(carol(), Method::Message);
    t.knows_no_call(&there, carol());
    t.response_to(pbx(), 202);
    t.discard(carol());
    t.pass(refork::engine::time::Millis(2_100));
    let again = t.request_to(carols_mobile(), Method::Invite);
    assert!(again.header(Name::From).unwrap().contains("+43123@"));
}

#[test]
fn a_restart_keeps_who_was_put_there() {
    let mut t = house(true);
    let (far, mut c) = consults(&mut t);
    t.receive(
        pbx(),
        with_sdp(goes_on("+43123", &replaces(&far)), &audio(pbx())),
    );
    let mut new = t.replaced(&far);
    t.word_of("+43123");
    t.restart();
    t.calls_on(&mut c, &mut new);
}

#[test]
fn the_transferor_itself_repairs_its_own_call() {
    let mut t = house(true);
    let (far, mut c) = consults(&mut t);
    t.receive(
        pbx(),
        with_sdp(goes_on("+43555", &replaces(&far)), &audio(pbx())),
    );
    let mut new = t.replaced(&far);
    assert_eq!(transferred(&t), 0);
    t.calls_on(&mut c, &mut new);
}

#[test]
fn strangers_and_who_does_not_know_the_dialog_replace_nothing() {
    for trusted in [true, false] {
        let mut t = house(trusted);
        let (far, mut c) = consults(&mut t);
        let right = replaces(&far);
        let wrong = [
            right.replace("call1", "call2"),
            right.replace("from-tag=t", "from-tag=x"),
            right.replace("to-tag=", "to-tag=x"),
        ];
        for (n, dialog) in wrong.iter().enumerate() {
            let invite = request(Method::Invite, "+43123", "carol", pbx(), &format!("w{n}"));
            let invite = invite.header(Name::Replaces, dialog);
            t.receive(pbx(), with_sdp(invite, &audio(pbx())));
            t.response_to(pbx(), 481);
        }
        let stranger = phone("203.0.113.66:5060");
        let invite = request(Method::Invite, "+43123", "carol", stranger, "s1");
        let invite = invite.header(Name::Replaces, &right);
        t.receive(stranger, with_sdp(invite, &audio(stranger)));
        t.response_to(stranger, 403);
        if !trusted {
            t.receive(pbx(), with_sdp(goes_on("+43123", &right), &audio(pbx())));
            t.response_to(pbx(), 403);
        }
        t.nothing_to(carol());
        assert_eq!(transferred(&t), 0);
        t.calls_on(&mut c, &mut far.clone());
    }
}

#[test]
fn a_session_that_does_not_fit_changes_nothing() {
    let mut t = house(true);
    let (mut far, mut c) = consults(&mut t);
    let without_sound = audio(pbx()).replace("m=audio 4000", "m=audio 0");
    t.receive(
        pbx(),
        with_sdp(goes_on("+43123", &replaces(&far)), &without_sound),
    );
    t.response_to(pbx(), 488);
    t.nothing_to(carol());
    t.nothing_to(pbx());
    t.calls_on(&mut c, &mut far);
}
