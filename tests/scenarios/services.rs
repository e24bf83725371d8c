//! More of the services of RFC 5359, each by its section.

use std::net::Ipv4Addr;
use std::time::Duration;

use refork::sip::{Message, Method, Name};
use refork::ua::{Call, Ending, Medium, Phone, Reaction};

use crate::stage::{SOON, Stage, answers, connect, hang_up, requests_since, rings, talk};
use crate::wire::{Dialog, Wire, sound_of};

/// Returns the last response with a status that a phone has sent.
fn answered(stage: &Stage, phone: &Phone, status: u16) -> Message {
    let entries = stage.log.of(phone.label());
    let sent = entries.iter().filter(|entry| entry.received().is_none());
    let mut sent = sent.filter_map(|entry| entry.message());
    sent.rfind(|message| message.status() == status)
        .unwrap_or_else(|| panic!("{} has not answered {status}", phone.label()))
        .clone()
}

/// Returns the ids of the dialog of a call that a phone has answered so, as it would tell those who watch its dialogs
/// (RFC 4235): Call-ID, its own tag, and ours.
fn ids(stage: &Stage, phone: &Phone, status: u16) -> [String; 3] {
    let heard = answered(stage, phone, status);
    let tag = |name| {
        let value = heard.header(name).unwrap();
        value.rsplit_once("tag=").unwrap().1.to_owned()
    };
    let (own, ours) = (tag(Name::To), tag(Name::From));
    [heard.call_id().to_owned(), own, ours]
}

/// Names that dialog to us, who are its other end (RFC 3891 3).
fn replaces(stage: &Stage, phone: &Phone, status: u16) -> String {
    let [call_id, own, ours] = ids(stage, phone, status);
    format!("{call_id};to-tag={ours};from-tag={own}")
}

fn heard(call: &Call, voice: u8) -> bool {
    let heard = call.heard();
    let mut heard = heard.iter();
    heard.any(|packet| packet.payload.first() == Some(&voice))
}

/// Bob's phone describes the sound of a server of music in the place of its own, and later its own again.
#[test]
fn section_2_3_music_on_hold() {
    const MUSIC: u8 = 0x55;
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let mut bob = Wire::of(&stage, "bob");
    bob.register(60);
    let server = Wire::at(&stage, "music", Ipv4Addr::new(127, 0, 0, 3));
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let answer = bob.sdp(1, "sendrecv");
    let (mut dialog, invite) = bob.takes(&answer);
    call.wait_up(SOON).unwrap();
    bob.speaks(sound_of(&invite), 0x44, || heard(&call, 0x44));

    let offers = |bob: &mut Wire, dialog: &mut _, sdp: String| {
        let mut offer = bob.within(dialog, Method::Invite);
        offer.sdp = sdp;
        bob.send(&mut offer);
        let ok = bob.response(&offer, |status| status >= 200);
        assert_eq!(ok.status(), 200);
        *dialog = bob.acknowledge(&offer, &ok, "");
        ok
    };
    let music = server.sound.local_addr().unwrap();
    let sdp = bob.sdp_at(music, 2, "sendonly");
    let ok = offers(&mut bob, &mut dialog, sdp);
    let told = String::from_utf8(call.remote_sdp()).unwrap();
    assert!(
        told.contains("a=sendonly") && !told.contains("127.0.0.3"),
        "{told}"
    );
    server.speaks(sound_of(&ok), MUSIC, || heard(&call, MUSIC));
    let sdp = bob.sdp(3, "sendrecv");
    let ok = offers(&mut bob, &mut dialog, sdp);
    bob.hears_voice(alice.profile().voice);
    let before = call.heard().len();
    bob.speaks(sound_of(&ok), 0x44, || {
        let since = &call.heard()[before..];
        since
            .iter()
            .any(|packet| packet.payload.first() == Some(&0x44))
    });
    bob.leave(&mut dialog);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
    bob.register(0);
    stage.finish();
}

/// Carol has the ids of Bob's dialog from his phone, which mixes: that is with us, and reaches his phone as it came.
#[test]
fn section_2_11_a_third_party_joins() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    let [call_id, own, ours] = ids(&stage, &bob, 200);
    let join = format!("{call_id};to-tag={own};from-tag={ours}");
    let mut carol = Wire::of(&stage, "carol");
    let mut invite = carol.first(Method::Invite, "sip:bob@example.org");
    invite.sdp = carol.sdp(1, "sendrecv");
    invite.more = format!("Join: {join}\r\nRequire: join\r\n");
    let ok = carol.ask(&mut invite);
    assert_eq!(ok.status(), 200);
    let mut dialog = carol.acknowledge(&invite, &ok, "");
    let joined = bob.incoming(SOON).unwrap();
    joined.wait_up(SOON).unwrap();
    let entries = stage.log.of(bob.label());
    let mut invites = entries.iter().filter_map(|entry| entry.received());
    let asked = invites.rfind(|message| *message.method() == Method::Invite);
    assert_eq!(asked.unwrap().other("Join"), Some(&*join));
    carol.hears_voice(bob.profile().voice);
    carol.speaks(sound_of(&ok), 0x55, || heard(&joined, 0x55));
    talk(&call, &taken);
    carol.leave(&mut dialog);
    assert_eq!(joined.wait_over(SOON).unwrap(), Ending::HungUpThere);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn section_2_6_instant_messaging_transfer() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Text);
    assert_eq!(call.message("is this sales?").unwrap(), 200);
    answers(&carol);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    let target = carol.incoming(SOON).unwrap();
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
    taken.hang_up().unwrap();
    assert_eq!(call.message("hello sales").unwrap(), 200);
    let texts = target.wait_texts(1, SOON).unwrap();
    assert_eq!(texts[0].body, "hello sales");
    hang_up(&target, &call);
    stage.finish();
}

/// The phone is busy with another call, and says itself where its calls go meanwhile.
#[test]
fn section_2_8_forwarding_where_it_is_busy() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (before, busy) = connect(&stage.phone("alice-mobile"), &bob, Medium::Audio);
    rings(&bob);
    answers(&carol);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let second = bob.incoming(SOON).unwrap();
    second.forward("sip:carol@example.org").unwrap();
    let taken = carol.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    talk(&call, &taken);
    talk(&before, &busy);
    hang_up(&call, &taken);
    hang_up(&before, &busy);
    stage.finish();
}

/// Bob has called Carol without an offer, and passes Alice on while her phone rings: he alone could answer what Carol
/// offers, so she is called anew.
#[test]
fn section_2_5_to_a_call_without_an_offer_that_rings() {
    let stage = Stage::new();
    let (alice, carol) = (stage.phone("alice"), stage.phone("carol"));
    rings(&carol);
    let mut bob = Wire::of(&stage, "bob");
    bob.register(60);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let answer = bob.sdp(1, "sendrecv");
    let (mut dialog, _) = bob.takes(&answer);
    let mut asking = bob.first(Method::Invite, "sip:carol@example.org");
    bob.prove(&mut asking);
    let rung = bob.response(&asking, |status| status == 180);
    let first = carol.incoming(SOON).unwrap();
    let named = format!(
        "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
        rung.call_id().replace('@', "%40"),
        rung.to_tag().unwrap(),
        rung.from_tag().unwrap()
    );
    let mut refer = bob.within(&mut dialog, Method::Refer);
    refer.more = format!("Refer-To: <sip:carol@example.org?Replaces={named}>\r\n");
    bob.send(&mut refer);
    bob.response(&refer, |status| status == 202);
    let second = carol.incoming(SOON).unwrap();
    bob.cancel(&asking);
    bob.response(&asking, |status| status == 487);
    assert_eq!(first.wait_over(SOON).unwrap(), Ending::Cancelled);
    second.answer().unwrap();
    loop {
        let notify = bob.request(&Method::Notify);
        bob.answer(&notify, 200, "", "", "");
        if notify.body().starts_with(b"SIP/2.0 200") {
            break;
        }
    }
    bob.leave(&mut dialog);
    second.wait_up(SOON).unwrap();
    talk(&call, &second);
    hang_up(&second, &call);
    bob.register(0);
    stage.finish();
}

/// Bob has both on the line; the phone mixes, and the server keeps two calls that know nothing of each other.
#[test]
fn section_2_10_a_third_party_is_added() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    assert_eq!(taken.hold().unwrap(), 200);
    let (added, third) = connect(&bob, &carol, Medium::Audio);
    assert_eq!(taken.resume().unwrap(), 200);
    talk(&call, &taken);
    talk(&added, &third);
    hang_up(&third, &added);
    talk(&call, &taken);
    hang_up(&call, &taken);
    stage.finish();
}

#[test]
fn section_2_12_find_me() {
    let stage = Stage::new();
    let (alice, desk, mobile) = (stage.phone("alice"), stage.desk(), stage.mobile());
    rings(&desk);
    rings(&mobile);
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    let here = desk.incoming(SOON).unwrap();
    let there = mobile.incoming(SOON).unwrap();
    here.refuse(480).unwrap();
    there.answer().unwrap();
    call.wait_up(SOON).unwrap();
    talk(&call, &there);
    hang_up(&call, &there);
    stage.finish();
}

#[test]
fn section_2_13_incoming_call_screening() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    bob.script(|script| script.invite = Reaction::Refuse(603, Duration::ZERO));
    let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(603));
    stage.finish();
}

/// Alice may not call there, and the server tells her so itself.
#[test]
fn section_2_14_outgoing_call_screening() {
    let stage = Stage::new();
    let alice = stage.phone("alice");
    let call = alice
        .call("sip:premium@elsewhere.example", Medium::Audio)
        .unwrap();
    let ending = call.wait_over(SOON).unwrap();
    assert!(matches!(ending, Ending::Refused(403 | 404)), "{ending:?}");
    stage.finish();
}

/// Carol's phone has the place of the server where calls are parked. To fetch Alice there Bob calls it, and it
/// transfers; by a Replaces of its own he does not get her, for her dialog with it is none of his.
#[test]
fn section_2_15_call_park() {
    let stage = Stage::new();
    let (alice, bob, park) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    answers(&park);
    let (call, taken) = connect(&alice, &bob, Medium::Audio);
    assert_eq!(taken.hold().unwrap(), 200);
    assert_eq!(taken.transfer("sip:carol@example.org").unwrap(), 202);
    let parked = park.incoming(SOON).unwrap();
    assert_eq!(taken.wait_transferred(SOON).unwrap(), 200);
    taken.hang_up().unwrap();
    talk(&call, &parked);

    let headers = vec![
        (Name::Require, "replaces".to_owned()),
        (Name::Replaces, replaces(&stage, &park, 200)),
    ];
    let fetched = bob
        .call_with("sip:alice@example.org", Medium::Audio, headers)
        .unwrap();
    assert_eq!(fetched.wait_over(SOON).unwrap(), Ending::Refused(403));
    talk(&call, &parked);

    let (fetching, asked) = connect(&bob, &park, Medium::Audio);
    let since = stage.log.now();
    assert_eq!(parked.transfer_to(&asked).unwrap(), 202);
    assert_eq!(parked.wait_transferred(SOON).unwrap(), 200);
    parked.hang_up().unwrap();
    asked.wait_over(SOON).unwrap();
    talk(&call, &fetching);
    // Her phone is told with whom she talks now, and rings for nobody.
    let asked = requests_since(&stage.log, &alice, since);
    assert!(!asked.contains(&Method::Refer), "{asked:?}");
    assert_eq!(alice.calls(), 1);
    hang_up(&fetching, &call);
    stage.finish();
}

/// A phone with a lamp for Bob. Returns its subscription.
fn watches_bob(watcher: &mut Wire) -> Dialog {
    let mut subscribe = watcher.first(Method::Subscribe, "sip:bob@example.org");
    subscribe.more = "Event: dialog\r\nExpires: 600\r\n".into();
    let ok = watcher.ask(&mut subscribe);
    assert_eq!(ok.status(), 200);
    Dialog::begun(&subscribe, &ok)
}

/// Waits until the lamp shows what a document is to have in it, and returns that.
fn shown(watcher: &mut Wire, wanted: &str) -> String {
    loop {
        let notify = watcher.request(&Method::Notify);
        watcher.answer(&notify, 200, "", "", "");
        let document = String::from_utf8(notify.body().to_vec()).unwrap();
        if document.contains(wanted) {
            return document;
        }
    }
}

fn watches_no_more(watcher: &mut Wire, mut subscription: Dialog) {
    let mut leave = watcher.within(&mut subscription, Method::Subscribe);
    leave.more = "Event: dialog\r\nExpires: 0\r\n".into();
    watcher.send(&mut leave);
    let ok = watcher.response(&leave, |status| status >= 200);
    assert_eq!(ok.status(), 200);
    loop {
        let notify = watcher.request(&Method::Notify);
        watcher.answer(&notify, 200, "", "", "");
        let state = notify.header(Name::SubscriptionState).unwrap();
        if state == "terminated;reason=timeout" {
            return;
        }
    }
}

/// Returns what a document says of the call that rings.
fn said<'d>(document: &'d str, attribute: &str) -> &'d str {
    let (_, rest) = document.split_once(&format!("{attribute}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

/// Carol's phone watches Bob's calls by way of us, and takes the one that rings. Call and subscription are each on one
/// of two workers, as their Call-IDs fall.
#[test]
fn section_2_16_a_lamp_shows_the_call_that_is_picked_up() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    let mut carol = Wire::of(&stage, "carol");
    for _ in 0..4 {
        let subscription = watches_bob(&mut carol);
        rings(&bob);
        let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
        let ringing = bob.incoming(SOON).unwrap();
        call.wait_ringing(SOON).unwrap();
        let document = shown(&mut carol, "<state>early</state>");
        assert!(
            document.contains(">sip:alice@example.org</identity>"),
            "{document}"
        );
        let [call_id, own, ours] =
            ["call-id", "local-tag", "remote-tag"].map(|name| said(&document, name));
        let mut invite = carol.first(Method::Invite, said(&document, "<target uri"));
        invite.sdp = carol.sdp(1, "sendrecv");
        invite.more = format!(
            "Require: replaces\r\nReplaces: {call_id};to-tag={ours};from-tag={own};early-only\r\n"
        );
        let ok = carol.ask(&mut invite);
        assert_eq!(ok.status(), 200);
        let mut dialog = carol.acknowledge(&invite, &ok, "");
        call.wait_up(SOON).unwrap();
        assert_eq!(ringing.wait_over(SOON).unwrap(), Ending::Cancelled);
        carol.speaks(sound_of(&ok), 0x55, || heard(&call, 0x55));
        carol.leave(&mut dialog);
        assert_eq!(call.wait_over(SOON).unwrap(), Ending::HungUpThere);
        shown(&mut carol, "<state>terminated</state>");
        watches_no_more(&mut carol, subscription);
    }
    stage.finish();
}

#[test]
fn section_2_16_call_pickup() {
    let stage = Stage::new();
    let (alice, bob, carol) = (stage.phone("alice"), stage.desk(), stage.phone("carol"));
    for _ in 0..4 {
        rings(&bob);
        let call = alice.call("sip:bob@example.org", Medium::Audio).unwrap();
        let ringing = bob.incoming(SOON).unwrap();
        call.wait_ringing(SOON).unwrap();
        let replaces = format!("{};early-only", replaces(&stage, &bob, 180));
        let headers = vec![
            (Name::Require, "replaces".to_owned()),
            (Name::Replaces, replaces),
        ];
        let picked = carol
            .call_with("sip:alice@example.org", Medium::Audio, headers)
            .unwrap();
        picked.wait_up(SOON).unwrap();
        call.wait_up(SOON).unwrap();
        assert_eq!(ringing.wait_over(SOON).unwrap(), Ending::Cancelled);
        talk(&call, &picked);
        hang_up(&picked, &call);
    }
    stage.finish();
}

/// Bob is busy; Alice's phone watches until he is free, and calls again.
#[test]
fn section_2_17_automatic_redial() {
    let stage = Stage::new();
    let (carol, bob) = (stage.phone("carol"), stage.desk());
    let mut alice = Wire::of(&stage, "alice");
    for _ in 0..3 {
        let (call, taken) = connect(&carol, &bob, Medium::Audio);
        rings(&bob);
        let mut invite = alice.first(Method::Invite, "sip:bob@example.org");
        invite.sdp = alice.sdp(1, "sendrecv");
        alice.prove(&mut invite);
        bob.incoming(SOON).unwrap().refuse(486).unwrap();
        let busy = alice.response(&invite, |status| status >= 200);
        assert_eq!(busy.status(), 486);

        let subscription = watches_bob(&mut alice);
        shown(&mut alice, "<state>confirmed</state>");
        talk(&call, &taken);
        hang_up(&call, &taken);
        let free = shown(&mut alice, "<state>terminated</state>");
        assert_eq!(free.matches("<dialog ").count(), 1, "{free}");
        watches_no_more(&mut alice, subscription);

        answers(&bob);
        let offer = alice.sdp(1, "sendrecv");
        let (mut dialog, _) = alice.call("sip:bob@example.org", &offer);
        let taken = bob.incoming(SOON).unwrap();
        taken.wait_up(SOON).unwrap();
        alice.hears_voice(bob.profile().voice);
        alice.leave(&mut dialog);
        assert_eq!(taken.wait_over(SOON).unwrap(), Ending::HungUpThere);
    }
    stage.finish();
}

/// Whoever is no user of the domain, or has not proven to be one, watches nobody.
#[test]
fn strangers_watch_nobody() {
    let stage = Stage::new();
    let mut mallory = Wire::of(&stage, "mallory");
    let mut subscribe = mallory.first(Method::Subscribe, "sip:bob@example.org");
    subscribe.more = "Event: dialog\r\n".into();
    mallory.send(&mut subscribe);
    let asked = mallory.response(&subscribe, |status| status >= 200);
    assert_eq!(asked.status(), 407);
    let mut presence = mallory.first(Method::Subscribe, "sip:bob@example.org");
    presence.more = "Event: presence\r\n".into();
    mallory.send(&mut presence);
    let refused = mallory.response(&presence, |status| status >= 200);
    assert_eq!(refused.status(), 489);
    stage.finish();
}

/// A REFER outside of any dialog is refused; whoever has Alice call Bob from a page rings both (RFC 3725 4.1).
#[test]
fn section_2_18_click_to_dial() {
    let stage = Stage::new();
    let (alice, bob) = (stage.phone("alice"), stage.desk());
    answers(&alice);
    answers(&bob);
    let mut page = Wire::of(&stage, "carol");
    let mut refer = page.first(Method::Refer, "sip:alice@example.org");
    refer.more = "Refer-To: <sip:bob@example.org>\r\n".into();
    page.send(&mut refer);
    let refused = page.response(&refer, |status| status >= 200);
    assert_eq!(refused.status(), 405);
    let allowed = refused.header(Name::Allow).unwrap();
    assert!(allowed.contains("INVITE"), "{allowed}");

    let mut first = page.first(Method::Invite, "sip:alice@example.org");
    let offered = page.ask(&mut first);
    assert_eq!(offered.status(), 200);
    let offer = String::from_utf8(offered.body().to_vec()).unwrap();
    let (mut to_bob, answered) = page.call("sip:bob@example.org", &offer);
    let answer = String::from_utf8(answered.body().to_vec()).unwrap();
    let mut to_alice = page.acknowledge(&first, &offered, &answer);
    let (hers, his) = (alice.incoming(SOON).unwrap(), bob.incoming(SOON).unwrap());
    hers.wait_up(SOON).unwrap();
    his.wait_up(SOON).unwrap();
    talk(&hers, &his);
    assert!(page.hears_nothing(), "their sound goes past the page");
    page.leave(&mut to_bob);
    page.leave(&mut to_alice);
    assert_eq!(hers.wait_over(SOON).unwrap(), Ending::HungUpThere);
    assert_eq!(his.wait_over(SOON).unwrap(), Ending::HungUpThere);
    stage.finish();
}

/// RFC 5627: a URI that leads to the desk phone alone, and shows nobody that it is Bob's; it ends with the binding.
#[test]
fn a_phone_is_called_by_its_temporary_gruu() {
    let stage = Stage::new();
    let (alice, desk, mobile) = (stage.phone("alice"), stage.desk(), stage.mobile());
    answers(&desk);
    let temporary = |phone: &Phone| {
        let told = phone.registered().unwrap();
        let mut contacts = told.values(Name::Contact);
        let own = contacts.find(|contact| contact.contains("00000000000d>"));
        let (_, gruu) = own.unwrap().split_once(";temp-gruu=\"").unwrap();
        format!("<{}>", gruu.split('"').next().unwrap())
    };
    let (first, second) = (temporary(&desk), temporary(&desk));
    assert_ne!(first, second);
    for gruu in [&first, &second] {
        assert!(!gruu.contains("bob"), "{gruu}");
        let call = alice.call(gruu, Medium::Audio).unwrap();
        let taken = desk.incoming(SOON).unwrap();
        call.wait_up(SOON).unwrap();
        talk(&call, &taken);
        hang_up(&call, &taken);
    }
    assert_eq!(mobile.calls(), 0);
    assert_eq!(desk.unregister_all().unwrap(), 200);
    assert_eq!(mobile.register().unwrap(), 200);
    let call = alice.call(&first, Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(404));
    assert_eq!(desk.register().unwrap(), 200);
    let call = alice.call(&second, Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(404));
    stage.finish();
}
