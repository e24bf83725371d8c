//! Lamps: Carol's phone watches whether Bob has a call (RFC 4235, RFC 6665).

use std::net::SocketAddr;

use refork::engine::events::{Event, Told};
use refork::engine::settings::{Auth, Domain, Pickup, RegistrarSettings, ServedBy, Settings};
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::admission::{again, guarded};
use crate::people::*;
use crate::table::*;
use crate::transfer::{carol, carols_mobile, refer, three};

/// Answers stand between what is told, and a second.
const TURN: Millis = Millis(1_100);

fn subscribe(who: &str, at: SocketAddr, user: &str, call_id: &str) -> Builder {
    request(Method::Subscribe, who, user, at, call_id).header(Name::Event, "dialog")
}

/// One key of several: each has an id of its own.
fn by_key(number: usize) -> Builder {
    // Of another length each: so their later branches differ.
    let call_id = "watch".repeat(number + 1);
    request(Method::Subscribe, "carol", "bob", carol(), &call_id)
        .header(Name::Event, format_args!("dialog;id={number}"))
        .header(Name::Expires, 600)
}

/// What a document says of each call: `recipient early`, and of none at all nothing.
fn calls(notify: &Message) -> String {
    let text = text(notify);
    let between = |text: &str, from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        Some(rest.split_once(to)?.0.to_owned())
    };
    let dialogs = text.split("<dialog ").skip(1).map(|dialog| {
        let id = between(dialog, "id=\"", "\"").unwrap();
        let direction = between(dialog, "direction=\"", "\"").unwrap_or_default();
        let state = between(dialog, "<state>", "</state>").unwrap();
        format!("{id} {direction} {state}").replace("  ", " ")
    });
    dialogs.collect::<Vec<_>>().join(", ")
}

fn version(notify: &Message) -> u32 {
    let text = text(notify);
    let (_, rest) = text.split_once(" version=\"").unwrap();
    let (_, rest) = match rest.split_once("?>") {
        Some((_, rest)) => rest.split_once("version=\"").unwrap(),
        None => ("", rest),
    };
    rest.split_once('"').unwrap().0.parse().unwrap()
}

impl Table {
    /// Somebody watches a user. Returns the dialog, and what holds at first.
    fn watches(&mut self, who: &str, at: SocketAddr, user: &str) -> (Remote, Message) {
        let wish = subscribe(who, at, user, &format!("{who}-{user}"));
        self.receive(at, wish.header(Name::Expires, 600).end());
        let ok = self.response_to(at, 200);
        assert_eq!(ok.header(Name::Expires), Some("600"));
        let notify = self.request_to(at, Method::Notify);
        self.reply(&notify, 200, at);
        (Remote::of_answer(&ok, at), notify)
    }

    /// Returns all that a phone is told once its time has come, with the turn of each answer.
    fn tells(&mut self, at: SocketAddr) -> Vec<Message> {
        let mut told = Vec::new();
        for _ in 0..TURN.0 / 100 {
            self.pass(Millis(100));
            while let Some(notify) = self.waiting(at, &Method::Notify) {
                self.reply(&notify, 200, at);
                told.push(notify);
            }
        }
        told
    }

    /// The one thing that Carol is told.
    #[track_caller]
    fn tells_carol(&mut self) -> Message {
        let mut told = self.tells(carol());
        assert_eq!(told.len(), 1);
        told.remove(0)
    }

    fn outcomes(&self) -> Vec<Told> {
        let told = self.events.iter().filter_map(|event| match event {
            Event::Notified { told, .. } => Some(*told),
            _ => None,
        });
        told.collect()
    }

    fn bob_rings(&mut self) -> Message {
        self.alice_invites(&audio(alice()));
        let invite = self.request_to(desk(), Method::Invite);
        self.receive(desk(), response(&invite, 180, desk(), "b1").end());
        self.response_to(alice(), 180);
        invite
    }

    fn unsubscribes(&mut self, watcher: &mut Remote) {
        self.unsubscribes_from(watcher, "dialog");
    }

    fn unsubscribes_from(&mut self, watcher: &mut Remote, event: &str) {
        let leave = watcher.request(Method::Subscribe);
        let leave = leave.header(Name::Event, event);
        self.receive(watcher.at, leave.header(Name::Expires, 0).end());
        self.response_to(watcher.at, 200);
        let last = self.request_to(watcher.at, Method::Notify);
        let state = last.header(Name::SubscriptionState);
        assert_eq!(state, Some("terminated;reason=timeout"));
        self.reply(&last, 200, watcher.at);
    }
}

#[test]
fn a_lamp_shows_a_call_from_its_ringing_to_its_end() {
    let mut t = three();
    let (mut watcher, first) = t.watches("carol", carol(), "bob");
    assert_eq!((calls(&first), version(&first)), (String::new(), 0));
    assert_eq!(first.header(Name::Event), Some("dialog"));
    assert_eq!(
        first.header(Name::SubscriptionState),
        Some("active;expires=600")
    );
    assert!(text(&first).contains("entity=\"sip:bob@example.org\""));
    let invite = t.bob_rings();
    let ringing = t.tells_carol();
    assert_eq!(calls(&ringing), "1 recipient early");
    assert_eq!(version(&ringing), 1);
    let said = text(&ringing);
    for told in [
        format!("call-id=\"{}\"", invite.call_id()),
        "local-tag=\"".to_owned(),
        format!("remote-tag=\"{}\"", invite.from_tag().unwrap()),
        "<identity display=\"alice\">sip:alice@example.org</identity>".to_owned(),
    ] {
        assert!(said.contains(&told), "{told}: {said}");
    }
    // By the tag of Bob's phone somebody could speak in its dialog once he has answered.
    assert!(!said.contains("\"b1\""), "{said}");
    t.receive(desk(), with_sdp(answer_to(&invite), &audio(desk())));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(alice(), 200);
    let mut a = Remote::of_answer(&ok, alice());
    t.receive(alice(), a.ack(1));
    let answered = t.tells_carol();
    assert_eq!(calls(&answered), "1 recipient confirmed");
    // With whom he talks is nobody's business.
    assert!(!text(&answered).contains("alice") && !text(&answered).contains("tag"));
    t.hangs_up(&mut a);
    let bye = t.request_to(desk(), Method::Bye);
    t.reply(&bye, 200, desk());
    let over = t.tells_carol();
    assert_eq!((calls(&over), version(&over)), ("1 terminated".into(), 3));
    // Told once.
    t.pass(Millis::from_secs(30));
    t.nothing_to(carol());
    t.unsubscribes(&mut watcher);
    assert_eq!(t.outcomes(), [Told::Taken; 5]);
    t.ends_empty();
}

#[test]
fn who_calls_is_shown_too_and_each_call_keeps_its_number() {
    let mut t = three();
    t.register("alice", alice(), "alice");
    let (mut watcher, _) = t.watches("carol", carol(), "alice");
    t.pass(TURN);
    t.alice_invites(&audio(alice()));
    t.pass(Millis(0));
    let trying = t.request_to(carol(), Method::Notify);
    assert_eq!(calls(&trying), "1 initiator trying");
    t.reply(&trying, 200, carol());
    let invite = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&invite, 180, desk(), "b1").end());
    assert_eq!(calls(&t.tells_carol()), "1 initiator early");
    t.receive(desk(), response(&invite, 486, desk(), "b1").end());
    assert_eq!(calls(&t.tells_carol()), "1 terminated");
    t.unsubscribes(&mut watcher);
}

/// RFC 4235 3.10: one NOTIFY at a time, at most one a second, and what it says is what holds by then.
#[test]
fn what_follows_fast_is_told_as_it_ends() {
    let mut t = three();
    let (mut watcher, _) = t.watches("carol", carol(), "bob");
    let invite = t.bob_rings();
    t.pass(Millis(900));
    t.nothing_to(carol());
    t.pass(Millis(100));
    let ringing = t.request_to(carol(), Method::Notify);
    // It has no answer yet: nothing else goes out, however much happens.
    t.receive(desk(), response(&invite, 486, desk(), "b1").end());
    t.pass(Millis::from_secs(3));
    while let Some(again) = t.waiting(carol(), &Method::Notify) {
        assert_eq!(again.cseq(), ringing.cseq(), "the same, sent again");
    }
    t.reply(&ringing, 200, carol());
    t.pass(Millis(0));
    let over = t.request_to(carol(), Method::Notify);
    assert_eq!(calls(&over), "1 terminated");
    t.reply(&over, 200, carol());
    t.discard(desk());
    // A call that is over before its time has come was never seen.
    t.receive(
        alice(),
        with_sdp(
            request(Method::Invite, "alice", "bob", alice(), "call2"),
            &audio(alice()),
        ),
    );
    let second = t.request_to(desk(), Method::Invite);
    t.receive(desk(), response(&second, 180, desk(), "b2").end());
    t.receive(desk(), response(&second, 486, desk(), "b2").end());
    t.pass(Millis::from_secs(5));
    t.nothing_to(carol());
    t.unsubscribes(&mut watcher);
}

#[test]
fn a_restoration_lets_no_lamp_blink() {
    let mut t = three();
    t.register("alice", alice(), "alice");
    let (mut of_bob, _) = t.watches("carol", carol(), "bob");
    let (mut of_alice, _) = t.watches("carol", carol(), "alice");
    t.established();
    let told: Vec<_> = t.tells(carol()).iter().map(calls).collect();
    assert_eq!(told, ["1 recipient confirmed", "1 initiator confirmed"]);
    t.register("bob", mobile(), "mobile");
    t.bob_is_lost();
    t.discard(desk());
    t.pass(Millis(2_100));
    let invite = t.request_to(mobile(), Method::Invite);
    t.receive(mobile(), response(&invite, 180, mobile(), "m1").end());
    t.pass(Millis::from_secs(3));
    t.nothing_to(carol());
    t.receive(
        mobile(),
        with_sdp(response(&invite, 200, mobile(), "m1"), &audio(mobile())),
    );
    t.request_to(mobile(), Method::Ack);
    t.pass(Millis::from_secs(3));
    t.nothing_to(carol());
    t.unsubscribes(&mut of_bob);
    t.unsubscribes(&mut of_alice);
}

/// Bob transfers Alice to Carol: his lamp goes out once he has left, hers rings, and then shines.
#[test]
fn a_transfer_moves_the_light() {
    let mut t = three();
    t.register("dave", third(), "dave");
    let at = third();
    let (mut of_bob, _) = t.watches("dave", at, "bob");
    let (mut of_carol, _) = t.watches("dave", at, "carol");
    let (_, mut b) = t.established();
    let told: Vec<_> = t.tells(at).iter().map(calls).collect();
    assert_eq!(told, ["1 recipient confirmed"]);
    t.receive(desk(), refer(&mut b, "<sip:carol@example.org>"));
    t.discard(desk());
    let invite = t.request_to(carol(), Method::Invite);
    t.receive(carol(), response(&invite, 180, carol(), "c1").end());
    let rings = t.tells(at);
    let told: Vec<_> = rings.iter().map(calls).collect();
    assert_eq!(told, ["1 recipient early"]);
    assert!(text(&rings[0]).contains("entity=\"sip:carol@example.org\""));
    t.carol_answers(&invite);
    let mut told: Vec<_> = t.tells(at).iter().map(calls).collect();
    told.sort();
    assert_eq!(told, ["1 recipient confirmed", "1 terminated"]);
    t.unsubscribes(&mut of_bob);
    t.unsubscribes(&mut of_carol);
}

#[test]
fn a_call_on_one_worker_lights_a_lamp_on_another() {
    let mut t = Table::of_two_workers(settings());
    t.register("bob", desk(), "desk");
    let mut watchers = Vec::new();
    for number in 0..8 {
        t.receive(carol(), by_key(number).end());
        let ok = t.response_to(carol(), 200);
        let notify = t.request_to(carol(), Method::Notify);
        t.reply(&notify, 200, carol());
        watchers.push((number, Remote::of_answer(&ok, carol())));
    }
    let invite = t.bob_rings();
    let told: Vec<_> = t.tells(carol()).iter().map(calls).collect();
    assert_eq!(told, ["1 recipient early"; 8]);
    t.receive(desk(), response(&invite, 486, desk(), "b1").end());
    let told: Vec<_> = t.tells(carol()).iter().map(calls).collect();
    assert_eq!(told, ["1 terminated"; 8]);
    for (number, watcher) in &mut watchers {
        t.unsubscribes_from(watcher, &format!("dialog;id={number}"));
    }
    t.ends_empty();
}

#[test]
fn what_is_asked_for_otherwise_is_refused() {
    let is = |name, value| (name, Some(value));
    for (event, more, status, tells) in [
        ("presence", "", 489, is(Name::AllowEvents, "dialog, refer")),
        ("dialog;call-id=\"a\"", "", 489, (Name::Warning, None)),
        ("dialog;sla", "", 489, (Name::Warning, None)),
        (
            "dialog;include-session-description",
            "",
            200,
            is(Name::Expires, "600"),
        ),
        (
            "dialog;id=7",
            "Expires: 7200",
            200,
            is(Name::Expires, "600"),
        ),
        ("Dialog", "Expires: 60", 200, is(Name::Expires, "60")),
        ("dialog", "Expires: 59", 423, is(Name::MinExpires, "60")),
        (
            "dialog",
            "Accept: application/pidf+xml",
            406,
            (Name::Warning, None),
        ),
        (
            "dialog",
            "Accept: application/pidf+xml, application/dialog-info+xml;q=0.5",
            200,
            (Name::Warning, None),
        ),
        ("dialog", "Accept: */*", 200, (Name::Warning, None)),
        (
            "dialog",
            "Require: eventlist",
            420,
            is(Name::Unsupported, "eventlist"),
        ),
        ("dialog", "Expires: 0", 200, is(Name::Expires, "0")),
    ] {
        let mut t = three();
        let wish = request(Method::Subscribe, "carol", "bob", carol(), "watch");
        let wish = wish.header(Name::Event, event);
        let line = if more.is_empty() {
            String::new()
        } else {
            format!("{more}\r\n")
        };
        t.receive(carol(), wish.raw_lines(line.as_bytes()).end());
        let answer = t.response_to(carol(), status);
        let (name, value) = tells;
        assert_eq!(answer.header(name), value, "{event} {more}");
        if status == 200 {
            let notify = t.request_to(carol(), Method::Notify);
            let told = if event.contains("id=7") {
                "dialog;id=7"
            } else {
                "dialog"
            };
            assert_eq!(notify.header(Name::Event), Some(told));
            let once = more == "Expires: 0";
            let state = notify.header(Name::SubscriptionState).unwrap();
            assert_eq!(state.starts_with("terminated"), once, "{state}");
            t.reply(&notify, 200, carol());
        } else {
            t.nothing_to(carol());
        }
    }
    let mut t = three();
    let wish = subscribe("carol", carol(), "bob", "watch");
    t.receive(carol(), wish.body("application/xml", b"<filter/>"));
    let unread = t.response_to(carol(), 415);
    assert_eq!(unread.raw_fields(Name::Accept).count(), 1);
    t.receive(
        carol(),
        subscribe("carol", carol(), "nobody", "watch2").end(),
    );
    t.response_to(carol(), 404);
}

#[test]
fn only_users_of_the_domain_watch_and_only_where_they_may() {
    let registrar = |lamps| {
        ServedBy::Registrar(RegistrarSettings {
            auth: Auth::None,
            lamps,
            ..RegistrarSettings::default()
        })
    };
    let domain = |host: &str, lamps| Domain {
        host: host.into(),
        realm: host.into(),
        served_by: registrar(lamps),
    };
    for (lamps, from, status) in [
        (true, "carol@example.org", 200),
        (true, "carol@other.example", 403),
        (true, "carol@example.net", 403),
        (false, "carol@example.org", 489),
        (false, "carol@example.net", 489),
    ] {
        let mut t = Table::new(Settings {
            domains: vec![domain("example.org", lamps), domain("other.example", true)],
            ..settings()
        });
        t.register("bob", desk(), "desk");
        let wish = subscribe("carol", carol(), "bob", "watch").end();
        let wish = String::from_utf8(wish.to_vec()).unwrap();
        let wish = wish.replace("sip:carol@example.org>;tag", &format!("sip:{from}>;tag"));
        t.receive(carol(), wish.into());
        let answer = t.response_to(carol(), status);
        // RFC 6665 8.4: what is not served is not named.
        let events = answer.header(Name::AllowEvents);
        assert_eq!(events, (status == 489).then_some("refer"));
        if status != 200 {
            t.nothing_to(carol());
        }
    }
}

/// What an INVITE with Replaces has to name is told to those alone who may pick up.
#[test]
fn who_may_not_pick_up_is_told_that_it_rings_and_no_more() {
    for (pickup, who, whole) in [
        (Pickup::Domain, "carol", true),
        (Pickup::Own, "carol", false),
        (Pickup::Own, "bob", true),
        (Pickup::Off, "bob", false),
    ] {
        let mut wishes = settings();
        wishes.fork.pickup = pickup;
        let mut t = Table::new(wishes);
        t.register("bob", desk(), "desk");
        t.watches(who, carol(), "bob");
        t.bob_rings();
        let ringing = t.tells_carol();
        assert_eq!(calls(&ringing), "1 recipient early");
        let said = text(&ringing);
        assert_eq!(said.contains("remote-tag"), whole, "{pickup:?} {who}");
        assert_eq!(said.contains("alice"), whole, "{pickup:?} {who}");
    }
}

/// What was sent to where the phone was says nothing of where it is.
#[test]
fn a_refresh_outlives_the_notify_that_it_crosses() {
    let mut t = three();
    let (mut watcher, _) = t.watches("carol", carol(), "bob");
    t.pass(TURN);
    t.bob_rings();
    t.pass(TURN);
    assert!(t.discard(carol()) > 0, "a NOTIFY that nobody answers");
    let there = SocketAddr::new(carol().ip(), 5099);
    let again = watcher.request(Method::Subscribe);
    let again = again.header(Name::Event, "dialog");
    t.receive(there, again.header(Name::Expires, 600).end());
    t.response_to(there, 200);
    for _ in 0..330 {
        t.pass(Millis(100));
    }
    let notify = t.request_to(there, Method::Notify);
    assert!(
        calls(&notify).starts_with("1 recipient early"),
        "{}",
        calls(&notify)
    );
    t.reply(&notify, 200, there);
    t.discard(carol());
    t.discard(there);
    watcher.at = there;
    t.unsubscribes(&mut watcher);
}

#[test]
fn a_subscription_lasts_as_long_as_it_is_refreshed() {
    let mut t = three();
    let (mut watcher, _) = t.watches("carol", carol(), "bob");
    for _ in 0..3 {
        t.pass(Millis::from_secs(500));
        let again = watcher.request(Method::Subscribe);
        let again = again.header(Name::Event, "dialog");
        t.receive(carol(), again.header(Name::Expires, 600).end());
        t.response_to(carol(), 200);
        // Asked, it is told at once, new or not (RFC 6665 4.2.1.2).
        let notify = t.request_to(carol(), Method::Notify);
        let state = notify.header(Name::SubscriptionState);
        assert_eq!(state, Some("active;expires=600"));
        t.reply(&notify, 200, carol());
    }
    // Of another subscription, and one that is old.
    let other = watcher.request(Method::Subscribe);
    t.receive(carol(), other.header(Name::Event, "dialog;id=1").end());
    t.response_to(carol(), 481);
    let old = watcher.numbered(Method::Subscribe, 1);
    t.receive(carol(), old.header(Name::Event, "dialog").end());
    t.response_to(carol(), 500);
    let brief = watcher.request(Method::Subscribe);
    let brief = brief.header(Name::Event, "dialog");
    t.receive(carol(), brief.header(Name::Expires, 5).end());
    t.response_to(carol(), 423);
    t.pass(Millis::from_secs(601));
    let last = t.request_to(carol(), Method::Notify);
    let state = last.header(Name::SubscriptionState);
    assert_eq!(state, Some("terminated;reason=timeout"));
    t.reply(&last, 200, carol());
    t.discard(carol());
    // Over: the phone has to subscribe anew.
    let late = watcher.request(Method::Subscribe);
    t.receive(carol(), late.header(Name::Event, "dialog").end());
    t.response_to(carol(), 481);
    t.ends_empty();
}

#[test]
fn a_restart_forgets_it_and_the_phone_subscribes_anew() {
    let mut t = three();
    let (mut watcher, _) = t.watches("carol", carol(), "bob");
    t.established();
    t.tells_carol();
    t.restart();
    let again = watcher.request(Method::Subscribe);
    t.receive(carol(), again.header(Name::Event, "dialog").end());
    t.response_to(carol(), 481);
    // The call stands, and so it is shown.
    t.receive(carol(), subscribe("carol", carol(), "bob", "anew").end());
    t.response_to(carol(), 200);
    let first = t.request_to(carol(), Method::Notify);
    assert_eq!(calls(&first), "1 recipient confirmed");
}

/// RFC 6665 4.2.2, RFC 5057 5.1.
#[test]
fn a_notify_that_fails_ends_the_subscription_or_comes_again() {
    for (status, told, goes_on) in [
        (481, Told::Refused, false),
        (489, Told::Refused, false),
        (404, Told::Refused, false),
        (500, Told::PutOff, true),
        (0, Told::Unanswered, false),
    ] {
        let mut t = three();
        let (mut watcher, _) = t.watches("carol", carol(), "bob");
        t.bob_rings();
        t.pass(TURN);
        let notify = t.request_to(carol(), Method::Notify);
        if status == 0 {
            t.pass(Millis::from_secs(40));
            t.discard(carol());
        } else {
            let refusal = response(&notify, status, carol(), "x");
            t.receive(carol(), refusal.header(Name::RetryAfter, 5).end());
        }
        assert_eq!(t.outcomes().last(), Some(&told), "{status}");
        assert_eq!(t.engine.gauges().lamps, usize::from(goes_on), "{status}");
        if goes_on {
            t.pass(Millis(4_900));
            t.nothing_to(carol());
            t.pass(Millis(200));
            let again = t.request_to(carol(), Method::Notify);
            assert_eq!(calls(&again), "1 recipient early");
            assert!(again.cseq() > notify.cseq());
        } else {
            let late = watcher.request(Method::Subscribe);
            t.receive(carol(), late.header(Name::Event, "dialog").end());
            t.response_to(carol(), 481);
        }
    }
}

/// Behind a proxy it goes where the route set leads; over a connection that is closed by another that the phone has
/// registered over since.
#[test]
fn a_notify_takes_the_way_of_the_dialog() {
    let mut t = three();
    let wish = subscribe("carol", carol(), "bob", "watch");
    let wish = wish.header(Name::RecordRoute, "<sip:203.0.113.99;lr>");
    t.receive(carol(), wish.end());
    let ok = t.response_to(carol(), 200);
    assert_eq!(ok.header(Name::RecordRoute), Some("<sip:203.0.113.99;lr>"));
    let notify = t.request_to(phone("203.0.113.99:5060"), Method::Notify);
    assert_eq!(notify.header(Name::Route), Some("<sip:203.0.113.99;lr>"));
    assert_eq!(notify.uri(), format!("sip:carol@{}", carol()));
}

#[test]
fn a_session_of_text_lights_no_lamp() {
    let mut t = three();
    t.watches("carol", carol(), "bob");
    t.texting();
    t.pass(Millis::from_secs(3));
    t.nothing_to(carol());
}

#[test]
fn a_user_has_so_many_subscriptions_and_no_more() {
    let mut t = three();
    for number in 0..501 {
        let wish = request(
            Method::Subscribe,
            "carol",
            "bob",
            carol(),
            &format!("w{number}"),
        )
        .header(Name::Event, format_args!("dialog;id={number}"));
        t.receive(carol(), wish.end());
        let answer = t.response_to(carol(), if number < 500 { 200 } else { 500 });
        if answer.status() == 500 {
            assert!(answer.header(Name::RetryAfter).is_some());
            break;
        }
        let notify = t.request_to(carol(), Method::Notify);
        t.reply(&notify, 200, carol());
    }
    assert_eq!(t.engine.gauges().lamps, 500);
}

/// RFC 6665 4.2.1.3: who watches proves to be a user, and so does whoever refreshes it from somewhere else.
#[test]
fn who_watches_has_a_password_and_nobody_else_moves_the_subscription() {
    let mut t = Table::new(guarded());
    let wish = subscribe("carol", carol(), "bob", "watch").end();
    t.receive(carol(), wish.clone());
    let challenged = t.response_to(carol(), 407);
    t.receive(carol(), again(&wish, &challenged, "carol"));
    let ok = t.response_to(carol(), 200);
    let notify = t.request_to(carol(), Method::Notify);
    t.reply(&notify, 200, carol());
    let mut watcher = Remote::of_answer(&ok, carol());

    let elsewhere = phone("198.51.100.77:5060");
    watcher.at = elsewhere;
    let moved = watcher.request(Method::Subscribe);
    let moved = moved.header(Name::Event, "dialog").end();
    t.receive(elsewhere, moved.clone());
    let challenged = t.response_to(elsewhere, 407);
    t.receive(elsewhere, again(&moved, &challenged, "bob"));
    t.response_to(elsewhere, 403);
    t.pass(TURN);
    t.nothing_to(elsewhere);
    let later = watcher.request(Method::Subscribe);
    let later = later.header(Name::Event, "dialog").end();
    t.receive(elsewhere, later.clone());
    let challenged = t.response_to(elsewhere, 407);
    t.receive(elsewhere, again(&later, &challenged, "carol"));
    t.response_to(elsewhere, 200);
    t.request_to(elsewhere, Method::Notify);
    t.nothing_to(carol());
}

#[test]
fn a_phone_whose_connection_closes_is_told_over_the_next() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    let registers = |t: &mut Table, at: SocketAddr, connection, cseq| {
        let register = t.register_request("carol", at, "carol", cseq, 3600);
        t.receive_over(tcp(at, connection), register);
        t.response_to(at, 200);
    };
    registers(&mut t, carol(), 1, 1);
    let wish = subscribe("carol", carol(), "bob", "watch");
    t.receive_over(tcp(carol(), 1), wish.end());
    t.response_to(carol(), 200);
    let notify = t.request_to(carol(), Method::Notify);
    t.receive_over(tcp(carol(), 1), response(&notify, 200, carol(), "x").end());
    t.closed(carol(), 1);
    registers(&mut t, carols_mobile(), 2, 2);
    t.bob_rings();
    t.pass(TURN);
    t.closed(carol(), 1);
    let notify = t.request_to(carols_mobile(), Method::Notify);
    assert_eq!(calls(&notify), "1 recipient early");
    assert_eq!(t.reached_over[&carols_mobile()], tcp(carols_mobile(), 2));
}

/// Where a phone's address has changed it is not asked first where it was: over UDP nobody there says so.
#[test]
fn a_phone_that_registers_elsewhere_is_told_there_at_once() {
    let mut t = three();
    t.watches("carol", carol(), "bob");
    t.pass(TURN);
    t.register_again("carol", carols_mobile(), "carol", 2);
    t.bob_rings();
    t.pass(TURN);
    t.nothing_to(carol());
    let notify = t.request_to(carols_mobile(), Method::Notify);
    assert_eq!(calls(&notify), "1 recipient early");
    assert_eq!(notify.uri(), format!("sip:carol@{}", carols_mobile()));
}

/// What was on its way to where the phone was ends nothing.
#[test]
fn a_phone_that_moves_while_it_is_told_is_told_again() {
    let mut t = three();
    t.watches("carol", carol(), "bob");
    t.pass(TURN);
    t.bob_rings();
    t.pass(TURN);
    assert!(t.discard(carol()) > 0, "a NOTIFY that nobody answers");
    t.register_again("carol", carols_mobile(), "carol", 2);
    for _ in 0..330 {
        t.pass(Millis(100));
    }
    let notify = t.request_to(carols_mobile(), Method::Notify);
    assert_eq!(calls(&notify), "1 recipient early");
    assert_eq!(t.engine.gauges().lamps, 1);
}

/// Who subscribes over another flow than it has registered over stays there.
#[test]
fn who_never_registered_where_it_subscribed_is_told_there() {
    let mut t = three();
    let there = phone("198.51.100.77:5060");
    t.watches("carol", there, "bob");
    t.pass(TURN);
    t.bob_rings();
    t.pass(TURN);
    t.request_to(there, Method::Notify);
    t.nothing_to(carol());
}

/// A phone that is switched off ends nothing, and subscribes anew; its user has room for so many.
#[test]
fn what_a_phone_had_before_it_was_switched_off_is_forgotten() {
    for mut t in [three(), Table::of_two_workers(settings())] {
        t.register("bob", desk(), "desk");
        t.register("carol", carol(), "carol");
        for start in 0..12 {
            let call_id = "boot".repeat(start + 1);
            let wish = subscribe("carol", carol(), "bob", &call_id);
            t.receive(carol(), wish.header(Name::Expires, 600).end());
            t.response_to(carol(), 200);
            let notify = t.request_to(carol(), Method::Notify);
            t.reply(&notify, 200, carol());
        }
        assert_eq!(t.site.watching.values().sum::<usize>(), 2);
        t.bob_rings();
        let told: Vec<_> = t.tells(carol()).iter().map(calls).collect();
        assert_eq!(told, ["1 recipient early"; 2]);
    }
}

/// Two keys of one phone may show the same user, and a second phone of the watcher's has lamps of its own.
#[test]
fn keys_that_are_refreshed_are_no_leftovers() {
    let mut t = three();
    t.register("carol", carols_mobile(), "mobile");
    let mut keys = Vec::new();
    for (key, at) in [(1, carol()), (2, carol()), (3, carols_mobile())] {
        let wish = subscribe("carol", at, "bob", &"key".repeat(key));
        t.receive(at, wish.header(Name::Expires, 600).end());
        let ok = t.response_to(at, 200);
        let notify = t.request_to(at, Method::Notify);
        t.reply(&notify, 200, at);
        keys.push(Remote::of_answer(&ok, at));
    }
    for _ in 0..3 {
        t.pass(Millis::from_secs(300));
        for key in &mut keys {
            let again = key.request(Method::Subscribe);
            let again = again.header(Name::Event, "dialog");
            t.receive(key.at, again.header(Name::Expires, 600).end());
            t.response_to(key.at, 200);
            let notify = t.request_to(key.at, Method::Notify);
            t.reply(&notify, 200, key.at);
        }
    }
    assert_eq!(t.engine.gauges().lamps, 3);
}

/// A mailbox may have no room for the word that something has changed.
#[test]
fn what_one_worker_was_not_told_of_it_sees_for_itself() {
    let mut t = Table::of_two_workers(settings());
    t.register("bob", desk(), "desk");
    for number in 0..8 {
        t.receive(carol(), by_key(number).end());
        t.response_to(carol(), 200);
        let notify = t.request_to(carol(), Method::Notify);
        t.reply(&notify, 200, carol());
    }
    t.lights_lost = true;
    t.bob_rings();
    let told = t.tells(carol()).len();
    assert!(
        (1..8).contains(&told),
        "{told} are at the call's own worker"
    );
    let mut late = 0;
    for _ in 0..31 {
        late += t.tells(carol()).len();
    }
    assert_eq!(told + late, 8);
}

/// Whom a call is forwarded to has it shown on their lamp, and who is shown it may take it: by the rules of whose
/// phone rings, not of whom it was for.
#[test]
fn a_forwarded_call_is_picked_up_by_those_who_see_it_ring() {
    for (pickup, who, at, status) in [
        (Pickup::Own, "carol", carols_mobile(), 200),
        (Pickup::Own, "bob", mobile(), 403),
        (Pickup::Domain, "dave", third(), 200),
    ] {
        let mut wishes = settings();
        wishes.fork.pickup = pickup;
        let mut t = crate::forwarding::with(wishes);
        t.watches("carol", carols_mobile(), "carol");
        t.pass(TURN);
        t.alice_invites(&audio(alice()));
        let first = t.request_to(desk(), Method::Invite);
        t.forwards(&first, desk(), &["<sip:carol@example.org>"]);
        let invite = t.request_to(carol(), Method::Invite);
        t.receive(carol(), response(&invite, 180, carol(), "c1").end());
        let shown = t.tells(carols_mobile());
        let said = text(&shown[0]);
        let quoted = |name: &str| {
            let (_, rest) = said.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.to_owned()
        };
        let [id, theirs, ours] = ["call-id", "local-tag", "remote-tag"].map(quoted);
        let wish = request(Method::Invite, who, "carol", at, "pickup").header(
            Name::Replaces,
            format_args!("{id};to-tag={ours};from-tag={theirs};early-only"),
        );
        t.receive(at, with_sdp(wish, &audio(at)));
        t.response_to(at, status);
    }
}
