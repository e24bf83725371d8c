//! The phones against each other, with no server between: what the judge trusts must be sound itself.

use std::collections::BTreeMap;

use super::*;
use refork::sip::Name;

const START: Time = Time(1_000_000);

/// Two phones and a wire.
struct Pair {
    phones: [Phone; 2],
    now: Time,
    wire: BTreeMap<(Time, u64), (usize, Bytes)>,
    order: u64,
    loss: u64,
    dice: Dice,
    seen: Vec<(usize, Message)>,
    hung_up: usize,
}

impl Pair {
    fn new(traits: [Traits; 2], loss: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut phone = |number: u8, traits| {
            let name = ["a0", "b0"][usize::from(number)];
            let spec = Spec {
                name: name.to_owned(),
                user: name.to_owned(),
                address: SocketAddr::new([10, 0, 0, number + 2].into(), 5060),
                stream: false,
                traits,
            };
            Phone::new(spec, crate::run::SERVER, dice.fork())
        };
        Self {
            phones: [phone(0, traits[0]), phone(1, traits[1])],
            now: START,
            wire: BTreeMap::new(),
            order: 0,
            loss,
            dice: Dice::new(seed + 1),
            seen: Vec::new(),
            hung_up: 0,
        }
    }

    fn flush(&mut self) {
        for from in 0..2 {
            for out in self.phones[from].drain() {
                match out {
                    Out::Note(What::Got(message)) => self.seen.push((from, message)),
                    Out::Note(what) => self.hung_up += usize::from(matches!(what, What::HungUp)),
                    Out::Send(_) if self.dice.percent(self.loss) => {}
                    Out::Send(bytes) => {
                        self.order += 1;
                        let at = self.now + self.dice.span(5, 60);
                        self.wire.insert((at, self.order), (1 - from, bytes));
                    }
                }
            }
        }
    }

    fn run(&mut self, span: Millis) {
        let end = self.now + span;
        self.flush();
        loop {
            let wire = self.wire.first_key_value().map(|((at, _), _)| *at);
            let phones = self.phones.iter().filter_map(Phone::poll_timeout);
            let Some(next) = phones.chain(wire).min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if wire == Some(next)
                && let Some((_, (to, bytes))) = self.wire.pop_first()
            {
                self.phones[to].handle(bytes, self.now);
            }
            for phone in &mut self.phones {
                phone.handle_timeout(self.now);
            }
            self.flush();
        }
        self.now = end;
    }

    /// Returns the statuses of the final responses that a phone got to a method, retransmissions too.
    fn finals(&self, phone: usize, method: &Method) -> Vec<u16> {
        self.seen
            .iter()
            .filter(|(who, message)| *who == phone && message.method() == method)
            .map(|(_, message)| message.status())
            .filter(|status| *status >= 200)
            .collect()
    }

    fn texts(&self, phone: usize) -> Vec<String> {
        let mut branches = Vec::new();
        let mut texts = Vec::new();
        for (who, message) in &self.seen {
            let branch = message.branch().unwrap_or_default().to_owned();
            let text =
                *who == phone && message.is_request() && *message.method() == Method::Message;
            if text && !branches.contains(&branch) {
                branches.push(branch);
                texts.push(String::from_utf8(message.body().to_vec()).unwrap());
            }
        }
        texts
    }

    fn idle(&self) {
        for phone in &self.phones {
            let name = &phone.spec.name;
            assert!(!phone.is_busy(), "{name} has a call left");
            assert_eq!(phone.poll_timeout(), None, "{name} has a timer left");
        }
    }
}

#[test]
fn a_session_survives_a_bad_wire() {
    for seed in 0..20 {
        let mut pair = Pair::new([Traits::perfect(), Traits::of(Temper::Slow)], 20, seed);
        pair.phones[0].call("b0", Kind::Session, pair.now);
        pair.run(Millis(30_000));
        assert!(pair.phones.iter().all(Phone::is_talking), "seed {seed}");
        let said: Vec<_> = (0..5).map(|n| format!("text {n}")).collect();
        for text in &said {
            for phone in 0..2 {
                assert!(pair.phones[phone].say(text, pair.now));
            }
        }
        pair.run(Millis(120_000));
        assert_eq!(pair.texts(0), said, "seed {seed}");
        assert_eq!(pair.texts(1), said, "seed {seed}");
        assert!(pair.phones[1].hang_up(pair.now));
        pair.run(Millis(200_000));
        assert_eq!(pair.hung_up, 1);
        pair.idle();
    }
}

#[test]
fn a_call_is_held_and_taken_back() {
    let mut pair = Pair::new([Traits::perfect(); 2], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(3000));
    let rtp = |phone: &Phone| phone.calls[0].session.rtp;
    let (a, b) = (rtp(&pair.phones[0]), rtp(&pair.phones[1]));
    assert_eq!(pair.phones[0].media_to(a), Some(b));
    assert_eq!(pair.phones[1].media_to(b), Some(a));
    assert!(pair.phones[0].hold(true, pair.now));
    pair.run(Millis(1000));
    assert_eq!(pair.phones[0].media_to(a), Some(b), "music on hold");
    assert_eq!(pair.phones[1].media_to(b), None, "the held one is silent");
    assert!(pair.phones[0].hold(false, pair.now));
    pair.run(Millis(1000));
    assert_eq!(pair.phones[1].media_to(b), Some(a));
    assert!(pair.phones[0].hang_up(pair.now));
    pair.run(Millis(100_000));
    pair.idle();
}

#[test]
fn who_shows_pictures_sends_them_until_it_stops() {
    let mut filming = Traits::perfect();
    filming.speech.camera = true;
    let mut pair = Pair::new([filming; 2], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(3000));
    let picture = |phone: &Phone| {
        let session = &phone.calls[0].session;
        SocketAddr::new(session.rtp.ip(), session.picture_port())
    };
    let (a, b) = (picture(&pair.phones[0]), picture(&pair.phones[1]));
    for shows in [true, false] {
        assert!(pair.phones[0].film(shows, pair.now));
        pair.run(Millis(1000));
        assert_eq!(pair.phones[0].media_to(a), shows.then_some(b));
        assert_eq!(pair.phones[1].media_to(b), shows.then_some(a));
    }
}

#[test]
fn what_was_asked_within_a_call_ends_with_the_connection() {
    let mut pair = Pair::new([Traits::perfect(), Traits::of(Temper::Slow)], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    let calls = pair.phones[0].clients.len();
    pair.phones[0].is_cut_off(pair.now);
    assert_eq!(
        pair.phones[0].clients.len(),
        calls,
        "it may yet be answered"
    );
    pair.run(Millis(30_000));
    assert!(pair.phones[0].hold(true, pair.now));
    for client in &mut pair.phones[0].clients {
        client.proceed(pair.now, PATIENCE);
    }
    assert!(pair.phones[0].calls[0].changing);
    pair.phones[0].is_cut_off(pair.now);
    assert!(!pair.phones[0].calls[0].changing, "nothing is under way");
}

#[test]
fn what_is_asked_within_a_call_fails_where_the_connection_is_refused() {
    let mut pair = Pair::new([Traits::perfect(), Traits::perfect()], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(30_000));
    assert!(pair.phones[0].hold(true, pair.now));
    let asked = pair.phones[0].clients.last().unwrap().bytes.clone();
    pair.phones[0].is_refused(&asked.slice(1..), pair.now);
    assert!(pair.phones[0].calls[0].changing);
    pair.phones[0].is_refused(&asked, pair.now);
    assert!(!pair.phones[0].calls[0].changing, "nothing is under way");
}

#[test]
fn a_ringing_phone_is_cancelled() {
    let mut pair = Pair::new([Traits::perfect(), Traits::of(Temper::NeverAnswers)], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(5000));
    assert!(pair.phones[0].hang_up(pair.now));
    pair.run(Millis(100_000));
    assert_eq!(pair.finals(0, &Method::Invite), [487]);
    assert_eq!(pair.finals(0, &Method::Cancel), [200]);
    pair.idle();
}

#[test]
fn a_phone_rings_no_longer_than_its_user_bears() {
    let mut pair = Pair::new([Traits::perfect(), Traits::of(Temper::NeverAnswers)], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(200_000));
    assert_eq!(pair.finals(0, &Method::Invite), [480]);
    pair.idle();
}

#[test]
fn tempers_refuse() {
    for (temper, status) in [(Temper::Busy, 486), (Temper::Declines, 603)] {
        let mut pair = Pair::new([Traits::perfect(), Traits::of(temper)], 0, 1);
        pair.phones[0].call("b0", Kind::Call, pair.now);
        pair.run(Millis(100_000));
        assert_eq!(pair.finals(0, &Method::Invite), [status]);
        pair.idle();
    }
}

#[test]
fn one_that_answers_twice_gets_an_ack_for_each() {
    let mut pair = Pair::new([Traits::perfect(), Traits::of(Temper::AnswersTwice)], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(10_000));
    assert_eq!(pair.finals(0, &Method::Invite), [200, 200]);
    let acks = pair
        .seen
        .iter()
        .filter(|(_, message)| message.is_request() && *message.method() == Method::Ack);
    assert_eq!(acks.count(), 2);
}

#[test]
fn a_dialog_is_replaced_and_its_holder_ends_the_old() {
    let mut pair = Pair::new([Traits::perfect(); 2], 0, 1);
    pair.phones[0].call("b0", Kind::Session, pair.now);
    pair.run(Millis(5000));
    let old = &pair.phones[1].calls[0];
    let replaces = format!(
        "{};to-tag={};from-tag={}",
        old.call_id,
        old.local_tag,
        old.remote_tag.clone().unwrap()
    );
    let invite = |replaces: &str, n: u32| {
        let body = "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n\
                    m=message 5060 sip null\r\n";
        refork::sip::Builder::request(&Method::Invite, "sip:b0@10.0.0.3")
            .header(
                Name::Via,
                format_args!("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx{n}"),
            )
            .header(Name::From, "<sip:a0@sim.test>;tag=new")
            .header(Name::To, "<sip:b0@sim.test>")
            .header(Name::CallId, format_args!("new{n}"))
            .header(Name::CSeq, "1 INVITE")
            .header(Name::Contact, "<sip:10.0.0.1>")
            .header(Name::Replaces, replaces)
            .body("application/sdp", body.as_bytes())
    };
    pair.phones[1].handle(invite("nothing;to-tag=a;from-tag=b", 1), pair.now);
    pair.phones[1].handle(invite(&replaces, 2), pair.now);
    let mut statuses = Vec::new();
    for out in pair.phones[1].drain() {
        if let Out::Send(bytes) = out {
            statuses.push(Message::parse(bytes).unwrap().status());
        }
    }
    assert_eq!(statuses, [481, 200]);
    let tag = pair.phones[1].calls[1].local_tag.clone();
    let ack = refork::sip::Builder::request(&Method::Ack, "sip:b0@10.0.0.3")
        .header(Name::Via, "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKy")
        .header(Name::From, "<sip:a0@sim.test>;tag=new")
        .header(Name::To, format_args!("<sip:b0@sim.test>;tag={tag}"))
        .header(Name::CallId, "new2")
        .header(Name::CSeq, "1 ACK")
        .end();
    pair.phones[1].handle(ack, pair.now);
    pair.run(Millis(5000));
    assert!(!pair.phones[0].is_busy(), "the old dialog was ended");
    assert!(pair.phones[1].is_talking(), "the new one stands");
}

/// Nobody has heard its 2xx, nor the BYE after it: the same INVITE begins another dialog, with a tag of its own.
#[test]
fn an_invite_that_comes_again_after_the_bye_begins_another_dialog() {
    let mut pair = Pair::new([Traits::perfect(); 2], 0, 1);
    let phone = &mut pair.phones[1];
    let invite = refork::sip::Builder::request(&Method::Invite, "sip:b0@10.0.0.3")
        .header(Name::Via, "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx")
        .header(Name::From, "<sip:a0@sim.test>;tag=new")
        .header(Name::To, "<sip:b0@sim.test>")
        .header(Name::CallId, "new")
        .header(Name::CSeq, "1 INVITE")
        .header(Name::Contact, "<sip:10.0.0.1>")
        .end();
    let (mut tags, mut now) = (Vec::new(), START);
    for _ in 0..2 {
        phone.handle(invite.clone(), now);
        for _ in 0..80 {
            now = now + Millis(500);
            phone.handle_timeout(now);
        }
        for out in phone.drain() {
            let Out::Send(bytes) = out else { continue };
            let message = Message::parse(bytes).unwrap();
            if !message.is_request() && message.status() == 200 {
                tags.extend(message.to_tag().map(ToOwned::to_owned));
            }
        }
        tags.dedup();
    }
    assert_eq!(tags.len(), 2, "{tags:?}");
}

#[test]
fn a_2xx_that_is_never_acknowledged_ends_in_a_bye() {
    let mut pair = Pair::new([Traits::perfect(); 2], 0, 1);
    pair.phones[0].call("b0", Kind::Call, pair.now);
    pair.run(Millis(500));
    pair.phones[0].forget_all();
    pair.run(Millis(100_000));
    let byes = pair.seen.iter().filter(|(who, message)| {
        *who == 0 && message.is_request() && *message.method() == Method::Bye
    });
    assert!(byes.count() >= 1);
    pair.idle();
}

#[test]
fn a_phone_that_rings_reliably_is_answered_after_its_prack() {
    let traits = Traits {
        reliable: true,
        ..Traits::perfect()
    };
    for seed in 0..20 {
        let mut pair = Pair::new([traits; 2], 20, seed);
        pair.phones[0].call("b0", Kind::Call, pair.now);
        pair.run(Millis(30_000));
        assert!(pair.phones.iter().all(Phone::is_talking), "seed {seed}");
        let pracked = |(who, message): &(usize, Message)| {
            *who == 1 && message.is_request() && *message.method() == Method::Prack
        };
        let prack = pair.seen.iter().position(pracked).unwrap();
        let answered = |(who, message): &(usize, Message)| {
            *who == 0 && message.status() == 200 && *message.method() == Method::Invite
        };
        assert!(prack < pair.seen.iter().position(answered).unwrap());
    }
}

#[test]
fn an_offer_meets_the_invite_by_which_a_phone_calls() {
    let traits = Traits {
        reliable: true,
        answer_after: Millis(20_000),
        ..Traits::perfect()
    };
    let mut seen = Vec::new();
    // Every second one answers the offer as it rings.
    for numbers in 0..2 {
        let mut pair = Pair::new([traits; 2], 0, 1);
        for _ in 0..numbers {
            pair.phones[1].number();
        }
        pair.phones[0].call("b0", Kind::Call, pair.now);
        pair.run(Millis(5000));
        for method in [Method::Invite, Method::Update] {
            let builder = pair.phones[1].next_within(0, &method);
            let offer = pair.phones[1].calls[0].session.offer(true);
            let request = builder.body("application/sdp", offer.as_bytes());
            pair.phones[0].handle(request, pair.now);
        }
        let statuses = pair.phones[0].drain().into_iter();
        let statuses = statuses.filter_map(|out| match out {
            Out::Send(bytes) => Some(Message::parse(bytes).unwrap().status()),
            Out::Note(_) => None,
        });
        seen.push(statuses.collect::<Vec<_>>());
    }
    seen.sort();
    assert_eq!(seen, [[491, 200], [491, 491]]);
}

#[test]
fn a_session_is_refreshed_by_one_of_the_two_and_ends_without() {
    for (timers, update) in [([90, 90], true), ([90, 120], false)] {
        let traits = timers.map(|timer| Traits {
            timer,
            update,
            ..Traits::perfect()
        });
        let mut pair = Pair::new(traits, 0, 1);
        pair.phones[0].call("b0", Kind::Call, pair.now);
        pair.run(Millis(300_000));
        assert!(pair.phones.iter().all(Phone::is_talking));
        let refreshes = |(_, message): &&(usize, Message)| {
            message.to_tag().is_some() && message.header(Name::SessionExpires).is_some()
        };
        assert!(pair.seen.iter().filter(refreshes).count() >= 6);
        // Nothing arrives any more: whoever waits for the refresh takes the other for gone.
        pair.loss = 100;
        pair.run(Millis(100_000));
        assert!(!pair.phones.iter().all(Phone::is_talking));
    }
}
