//! A PBX between two phones that register with it through us: it leads each call back to us, and both halves of it are
//! here. It may be away for a while.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use refork::engine::events::Happening;
use refork::engine::ids::{Side, Transport};
use refork::engine::ports::{Command, Input};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::edge::*;
use crate::people::*;
use crate::repair::replaces;
use crate::table::*;

/// A proxy that stays in the dialogs, and what the phones were sent.
pub struct House {
    pub t: Table,
    /// The way to Bob's desk phone.
    path: String,
    pub away: bool,
    /// It shows a Contact of its own, as a PBX with dialogs of its own does.
    own: bool,
    /// It has started anew, and knows no call.
    pub anew: bool,
    /// A phone that agrees to no session.
    pub refuses: Option<SocketAddr>,
    /// One that says nothing to offers for now.
    pub refuses_to_answer: Option<SocketAddr>,
    /// Who was offered a session, and whether within a dialog.
    pub offered: Vec<(SocketAddr, bool)>,
    /// Phones that answer, and what they have to say of their sessions.
    phones: Vec<(SocketAddr, String)>,
    pub told: Vec<(SocketAddr, String)>,
    /// By which the callee's phone was called first.
    pub invite: Option<Message>,
}

fn wishes(probe: Option<Millis>) -> Settings {
    let mut wishes = beyond(PathMode::Path);
    let upstream = wishes.upstreams.get_mut("pbx").unwrap();
    upstream.targets = UpstreamTarget::in_order([format!("sip:{}", pbx())]);
    upstream.probe = probe;
    wishes
}

pub fn probed() -> Settings {
    wishes(Some(Millis::from_secs(10)))
}

/// What a proxy makes of a message: `without` its first header line of that name, and with these lines before the rest.
fn changed(message: &Message, without: &str, with: &[String]) -> bytes::Bytes {
    let text = String::from_utf8(message.bytes().to_vec()).unwrap();
    let (first, rest) = text.split_once("\r\n").unwrap();
    let (head, body) = rest.split_once("\r\n\r\n").unwrap();
    let mut lines: VecDeque<&str> = head.split("\r\n").collect();
    if let Some(at) = lines.iter().position(|line| line.starts_with(without)) {
        lines.remove(at);
    }
    let with = with.iter().map(String::as_str);
    let head: Vec<&str> = std::iter::once(first).chain(with).chain(lines).collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into()
}

impl House {
    fn new(t: Table, path: String, phones: Vec<(SocketAddr, String)>) -> Self {
        Self {
            t,
            path,
            away: false,
            own: false,
            anew: false,
            refuses: None,
            refuses_to_answer: None,
            offered: Vec::new(),
            phones,
            told: Vec::new(),
            invite: None,
        }
    }

    /// Alice's phone talks with Bob's desk phone, or would: neither says anything.
    pub fn quiet(settings: Settings) -> (Self, Remote) {
        let session = |at| sdp(at, 1, "inactive");
        Self::with(Table::new(settings), session, false)
    }

    pub fn texting(settings: Settings) -> (Self, Remote) {
        Self::with(Table::new(settings), text_sdp, false)
    }

    /// The same, by a PBX with dialogs of its own.
    pub fn quiet_within(table: Table) -> (Self, Remote) {
        let session = |at| sdp(at, 1, "inactive");
        Self::with(table, session, true)
    }

    fn with(mut t: Table, session: fn(SocketAddr) -> String, own: bool) -> (Self, Remote) {
        t.register_beyond("alice", alice());
        let path = path_of(&t.register_beyond("bob", desk()));
        t.register_beyond("bob", mobile());
        let phones = [alice(), desk(), mobile()];
        let mut house = Self::new(t, path, phones.map(|at| (at, session(at))).into());
        house.own = own;
        let caller = house.calls("call1");
        (house, caller)
    }

    fn calls(&mut self, call: &str) -> Remote {
        let phone = self.phones.remove(0);
        let invite = first(Method::Invite, "alice", "bob", alice(), call, 1)
            .header(Name::Contact, contact_of("alice", alice()));
        let bytes = with_sdp(invite, &phone.1);
        self.t.receive(alice(), bytes);
        self.lives(1);
        let ok = self.t.response_to(alice(), 200);
        let caller = Remote::of_answer(&ok, alice());
        self.t.receive(alice(), caller.ack(1));
        self.phones.insert(0, phone);
        self.lives(1);
        self.told.clear();
        self.offered.clear();
        caller
    }

    pub fn calls_once_more(&mut self) {
        self.calls("call2");
    }

    pub fn lives(&mut self, seconds: u64) {
        (0..seconds * 10).for_each(|_| self.tenth());
    }

    pub fn tenth(&mut self) {
        self.t.pass(Millis(100));
        while self.works() {}
    }

    /// Returns false where there was nothing to do.
    fn works(&mut self) -> bool {
        let mut did = false;
        while let Some(message) = self.t.any_to(pbx()) {
            did = true;
            if !self.away {
                self.carries(&message);
            }
        }
        for (at, session) in self.phones.clone() {
            while let Some(message) = self.t.any_to(at) {
                did = true;
                if message.is_request() {
                    self.answers(at, &session, &message);
                }
            }
        }
        did
    }

    fn carries(&mut self, message: &Message) {
        let within = message.is_request() && message.to_tag().is_some();
        if self.anew && within {
            if *message.method() != Method::Ack {
                self.t.reply(message, 481, pbx());
            }
            return;
        }
        let bytes = if !message.is_request() {
            changed(message, "Via:", &[])
        } else if message.to_tag().is_none() && *message.method() == Method::Options {
            return self.t.reply(message, 200, pbx());
        } else {
            let branch = message.branch().unwrap_or("z9hG4bK").to_owned();
            let via = format!("Via: SIP/2.0/UDP {};branch={branch}.p", pbx());
            let own = format!("Record-Route: <sip:{};lr>", pbx());
            if message.to_tag().is_some() {
                changed(message, "Route:", &[via])
            } else {
                let route = format!("Route: {}", self.path);
                let bytes = changed(message, "Route:", &[via, own, route]);
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                text.replacen(message.uri(), OF_BOB, 1).into()
            }
        };
        if !self.own {
            return self.t.receive(pbx(), bytes);
        }
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (ours, own) = (format!("sip:refork@{SERVER}"), format!("sip:{}", pbx()));
        let text = match within {
            true => text.replacen(&own, &ours, 1),
            false => text.replacen(&format!("Contact: <{ours}"), &format!("Contact: <{own}"), 1),
        };
        self.t.receive(pbx(), text.into());
    }

    fn answers(&mut self, at: SocketAddr, session: &str, request: &Message) {
        let what = match request.method() {
            Method::Ack => return,
            Method::Options | Method::Update => None,
            Method::Invite if request.to_tag().is_some() => None,
            Method::Message => Some(format!("MESSAGE {}", text(request))),
            method => Some(method.as_str().to_owned()),
        };
        if *request.method() == Method::Invite && at == desk() {
            self.invite.get_or_insert_with(|| request.clone());
        }
        self.told.extend(what.map(|what| (at, what)));
        let offers = matches!(request.method(), Method::Invite | Method::Update);
        if offers {
            self.offered.push((at, request.to_tag().is_some()));
        }
        if offers && self.refuses_to_answer == Some(at) {
            // It is sent again.
        } else if offers && self.refuses == Some(at) {
            self.t.reply(request, 488, at);
        } else if offers {
            let ok = response(request, 200, at, "b1");
            self.t.receive(at, with_sdp(ok, session));
        } else {
            self.t.reply(request, 200, at);
        }
    }

    fn dies(&mut self, at: SocketAddr) {
        self.phones.retain(|(known, _)| *known != at);
    }

    /// Returns what a phone was told.
    pub fn told(&self, at: SocketAddr) -> Vec<String> {
        let told = self.told.iter().filter(|(to, _)| *to == at);
        told.map(|(_, what)| what.clone()).collect()
    }

    pub fn lost(&self) -> usize {
        self.t
            .happened(|what| matches!(what, Happening::Lost { .. }))
    }

    pub fn ended(&self) -> usize {
        let ended = |what: &Happening| matches!(what, Happening::Ended { .. });
        self.t.happened(ended)
    }

    fn suspected(&self) -> usize {
        self.t
            .happened(|what| matches!(what, Happening::Suspected { .. }))
    }
}

#[test]
fn while_the_pbx_is_away_nobody_is_lost_and_then_all_goes_on() {
    for probe in [Some(Millis::from_secs(10)), None] {
        for seconds in [12, 40, 200] {
            let (mut house, mut caller) = House::quiet(wishes(probe));
            house.away = true;
            house.lives(seconds);
            house.away = false;
            house.lives(60);
            assert_eq!((house.lost(), &*house.told), (0, &[][..]), "{seconds} s");
            assert!(seconds < 40 || house.suspected() == 2, "by both halves");
            let alive = |what: &Happening| matches!(what, Happening::Alive { .. });
            assert_eq!(house.t.happened(alive), house.suspected());
            house.t.receive(alice(), caller.request(Method::Bye).end());
            house.lives(1);
            assert_eq!(house.told(desk()), ["BYE"]);
            assert_eq!(house.ended(), 2);
        }
    }
}

#[test]
fn one_that_is_away_for_longer_is_given_up() {
    let (mut house, _) = House::quiet(probed());
    house.away = true;
    house.lives(300);
    assert_eq!(house.lost(), 0);
    house.lives(60);
    assert_eq!(house.lost(), 2);
    let mut wishes = probed();
    wishes.detect.outage = Millis(0);
    let (mut house, _) = House::quiet(wishes);
    house.away = true;
    house.lives(40);
    assert_eq!(house.lost(), 2);
}

#[test]
fn texts_wait_for_the_pbx_and_keep_their_order() {
    for seconds in [12, 45] {
        let (mut house, mut caller) = House::texting(probed());
        house.away = true;
        for words in ["one", "two", "three"] {
            let message = caller.message(words);
            house.t.receive(alice(), message);
            house.phones.remove(0);
            house.lives(4);
            house.t.response_to(alice(), 202);
            house.phones.insert(0, (alice(), text_sdp(alice())));
        }
        house.lives(seconds - 12);
        house.away = false;
        house.lives(40);
        let texts = ["MESSAGE one", "MESSAGE two", "MESSAGE three"];
        assert_eq!(
            (house.lost(), house.told(desk())),
            (0, texts.map(str::to_owned).into())
        );
        assert_eq!(
            (house.told(alice()).len(), house.told(mobile()).len()),
            (0, 0)
        );
    }
}

#[test]
fn where_the_phone_is_lost_meanwhile_its_own_half_alone_restores_it() {
    let (mut house, mut caller) = House::quiet(probed());
    house.away = true;
    house.dies(desk());
    house.lives(40);
    assert_eq!(house.lost(), 1);
    assert_eq!(house.told(mobile()), ["INVITE"]);
    assert_eq!(house.told(alice()).len(), 0);
    house.away = false;
    house.lives(60);
    assert_eq!(house.lost(), 1);
    assert_eq!(house.told(mobile()), ["INVITE"]);
    house.t.receive(alice(), caller.request(Method::Bye).end());
    house.lives(1);
    assert_eq!(house.told(mobile()), ["INVITE", "BYE"]);
    let asked = house.told(alice()).into_iter();
    assert_eq!(asked.filter(|what| what.starts_with("INVITE")).count(), 0);
}

#[test]
fn who_hangs_up_meanwhile_has_the_other_one_told_once_the_pbx_is_back() {
    for restart in [false, true] {
        let (mut house, mut caller) = House::quiet(probed());
        house.away = true;
        house.lives(5);
        house.t.receive(alice(), caller.request(Method::Bye).end());
        house.lives(45);
        if restart {
            house.t.restart();
            house.lives(20);
        }
        assert!(house.told.is_empty());
        house.away = false;
        house.lives(12);
        assert_eq!(house.told(desk()), ["BYE"], "{restart}");
        assert_eq!(house.ended(), 2);
        house.lives(70);
        assert!(house.t.store.is_empty());
    }
}

/// At once, and after 1, 2, 4, 8, 16 and 32 minutes; and once more at each restart.
#[test]
fn restarts_do_not_begin_anew_with_what_a_pbx_is_told_by_time() {
    let (mut house, [_, mut callee]) = called_from(pbx(), wishes(None));
    house.t.receive(desk(), callee.request(Method::Bye).end());
    let mut told = BTreeSet::new();
    for second in 0..2 * 3600 {
        house.t.pass(Millis(1000));
        while let Some(asked) = house.t.waiting(pbx(), &Method::Bye) {
            told.insert(asked.cseq());
        }
        if [100, 300].contains(&second) {
            assert_eq!(house.t.store.len(), 1);
            house.t.restart();
        }
    }
    assert_eq!(told.len(), 7 + 2);
    assert!(house.t.store.is_empty());
}

#[test]
fn nobody_is_told_of_a_change_who_goes_on_with_the_phone_of_the_other_half() {
    let (mut house, _) = House::quiet(probed());
    let conversation = house.t.engine.list(9)[1].key;
    let side = Side::Callee;
    let lost = Command::DeclareLost { conversation, side };
    house.t.input(Input::Command(lost));
    house.lives(10);
    assert_eq!(house.told(desk()), ["INVITE", "BYE"]);
    assert!(house.told(alice()).is_empty(), "{:?}", house.told);
    let same = |what: &Happening| matches!(what, Happening::Restored { same: true, .. });
    assert_eq!(house.t.happened(same), 1);
}

/// Somebody at the PBX, or beyond it, talks with Bob's desk phone.
fn called_from_beyond(settings: Settings) -> House {
    called_from(pbx(), settings).0
}

/// Somebody who calls by way of the PBX from there. Returns the two ends of the call, too.
fn called_from(at: SocketAddr, settings: Settings) -> (House, [Remote; 2]) {
    let mut t = Table::new(settings);
    let named = vec![(Transport::Udp, pbx())];
    t.names.insert("pbx.example.net".into(), named);
    let path = path_of(&t.register_beyond("bob", desk()));
    // By then it is known where the name leads.
    t.pass(Millis(1_100));
    while let Some(probe) = t.waiting(pbx(), &Method::Options) {
        t.reply(&probe, 200, pbx());
    }
    let invite = invite_by(&path, OF_BOB, "c1").to_vec();
    let invite = String::from_utf8(invite).unwrap();
    let own = |at| format!("Contact: <sip:{at}>");
    t.receive(at, invite.replacen(&own(pbx()), &own(at), 1).into());
    let invite = t.request_to(desk(), Method::Invite);
    let quiet = sdp(desk(), 1, "inactive");
    t.receive(desk(), with_sdp(answer_to(&invite), &quiet));
    t.request_to(desk(), Method::Ack);
    let ok = t.response_to(at, 200);
    let ends = [
        Remote::of_answer(&ok, at),
        Remote::of_invite(&invite, desk(), "b1"),
    ];
    t.receive(at, ends[0].ack(1));
    let mut house = House::new(t, path, vec![(desk(), quiet)]);
    house.away = true;
    (house, ends)
}

/// The upstream answers its probes by that, or not at all; whoever is beyond says nothing, and is lost as soon as ever
/// where it is not the upstream's silence.
#[test]
fn whose_silence_it_is_a_probe_of_the_upstream_says() {
    let tenth = Some(Millis::from_secs(10));
    for (answer, probe, lost) in [
        (Some(200), tenth, 1),
        // It is there, and takes no calls.
        (Some(503), tenth, 1),
        (Some(408), tenth, 1),
        (None, tenth, 0),
        (None, None, 1),
    ] {
        let mut house = called_from_beyond(wishes(probe));
        for _ in 0..260 {
            house.lives_without_pbx();
            while let Some(asked) = house.t.any_to(pbx()) {
                let own = asked.is_request() && asked.to_tag().is_none();
                if let Some(status) = answer
                    && own
                    && *asked.method() == Method::Options
                {
                    house.t.reply(&asked, status, pbx());
                }
            }
        }
        assert_eq!(house.lost(), lost, "{answer:?} {probe:?}");
        assert_eq!(house.suspected(), 1);
    }
}

/// A caller may come by way of an upstream and be reached past it: it is at another address that its `sources` name. The
/// upstream's own name may lead to another of its addresses each time that it is asked for.
#[test]
fn a_silent_upstream_says_nothing_of_who_is_reached_past_it() {
    let trunk = phone("203.0.113.77:5060");
    for (at, by_name, turns, lost) in [
        (trunk, false, false, 1),
        (pbx(), false, false, 0),
        (pbx(), true, false, 0),
        (pbx(), true, true, 0),
    ] {
        let mut settings = probed();
        let upstream = settings.upstreams.get_mut("pbx").unwrap();
        upstream.sources = vec!["203.0.113.0/24".parse().unwrap()];
        if by_name {
            let named = format!("sip:pbx.example.net:{}", pbx().port());
            upstream.targets = UpstreamTarget::in_order([named]);
        }
        let (mut house, _) = called_from(at, settings);
        if turns {
            let other = vec![(Transport::Udp, phone("203.0.113.78:5070"))];
            house.t.names.insert("pbx.example.net".into(), other);
        }
        // Names are looked up each minute.
        for _ in 0..1000 {
            house.lives_without_pbx();
        }
        assert_eq!(house.lost(), lost, "{at} {by_name} {turns}");
        assert_eq!(house.suspected(), 1);
    }
}

/// RFC 5589 7: the PBX has one beyond it take the place of a phone that is here.
#[test]
fn who_takes_a_place_from_beyond_the_pbx_is_waited_for_as_who_has_called_from_there() {
    let (mut house, [_, callee]) = called_from(pbx(), probed());
    let invite = first(Method::Invite, "carol", "alice", pbx(), "taking", 1)
        .header(Name::Contact, format_args!("<sip:{}>", pbx()))
        .header(Name::Replaces, replaces(&callee));
    let quiet = sdp(pbx(), 1, "inactive");
    house.t.receive(pbx(), with_sdp(invite, &quiet));
    let ok = house.t.response_to(pbx(), 200);
    house.t.receive(pbx(), Remote::of_answer(&ok, pbx()).ack(1));
    for _ in 0..400 {
        house.lives_without_pbx();
    }
    assert_eq!((house.lost(), house.suspected()), (0, 2));
}

/// RFC 5359 2.16: a user whose phone is at the PBX takes a call that rings at a phone which is here, with an offer or
/// without one.
#[test]
fn who_picks_up_by_way_of_the_pbx_is_waited_for_as_who_has_called_from_there() {
    for offers in [true, false] {
        let mut t = Table::new(probed());
        t.register("bob", desk(), "desk");
        let quiet = |at| sdp(at, 1, "inactive");
        t.alice_invites(&quiet(alice()));
        let rings = t.request_to(desk(), Method::Invite);
        t.receive(desk(), response(&rings, 180, desk(), "b1").end());
        t.response_to(alice(), 180);
        let (call_id, ours) = (rings.call_id(), rings.from_tag().unwrap());
        let named = format!("{call_id};to-tag={ours};from-tag=b1;early-only");
        let takes = request(Method::Invite, "carol", "alice", pbx(), "pickup")
            .header(Name::Replaces, named);
        let takes = match offers {
            true => with_sdp(takes, &quiet(pbx())),
            false => takes.end(),
        };
        t.receive(pbx(), takes);
        let ok = t.response_to(pbx(), 200);
        let carol = Remote::of_answer(&ok, pbx());
        let ack = match offers {
            true => carol.ack(1),
            false => with_sdp(carol.numbered(Method::Ack, 1), &quiet(pbx())),
        };
        t.receive(pbx(), ack);
        let ok = t.response_to(alice(), 200);
        t.receive(alice(), Remote::of_answer(&ok, alice()).ack(1));
        t.discard(desk());
        let mut house = House::new(t, String::new(), Vec::new());
        house.away = true;
        for _ in 0..400 {
            house.t.pass(Millis(100));
            while let Some(asked) = house.t.any_to(alice()) {
                house.answers(alice(), &quiet(alice()), &asked);
            }
        }
        assert_eq!((house.lost(), house.suspected()), (0, 1), "{offers}");
    }
}

/// What is asked of somebody beyond gets ICMP at once, or nothing; the upstream answers its own probes so much later.
#[test]
fn a_living_upstream_is_waited_for_no_longer_than_its_answer_takes() {
    for (refused, later, within) in [
        (true, 0, 12),
        (false, 0, 30),
        (false, 30, 48),
        // So late that it counts for a probe that failed.
        (false, 60, 60),
    ] {
        let mut house = called_from_beyond(probed());
        let mut answers = VecDeque::new();
        for tick in 0..within * 10 {
            house.lives_without_pbx();
            while let Some(asked) = house.t.any_to(pbx()) {
                if asked.is_request() && asked.to_tag().is_none() {
                    answers.push_back((tick + later, asked));
                } else if refused && *asked.method() == Method::Options {
                    house.t.icmp(pbx());
                }
            }
            while answers.front().is_some_and(|(due, _)| *due <= tick) {
                let (_, asked) = answers.pop_front().unwrap();
                house.t.reply(&asked, 200, pbx());
            }
            if refused && tick == 20 {
                house.t.icmp(pbx());
            }
        }
        assert_eq!(house.lost(), 1, "{refused} {later}");
    }
}

impl House {
    fn lives_without_pbx(&mut self) {
        self.t.pass(Millis(100));
        while let Some(request) = self.t.any_to(desk()) {
            self.answers(desk(), &sdp(desk(), 1, "inactive"), &request);
        }
    }
}
