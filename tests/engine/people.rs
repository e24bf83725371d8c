//! Alice calls Bob: what most tests begin with.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use refork::engine::ids::{Aor, Side, Transport};
use refork::engine::ports::{Command, Input, MediaEvent, Witness};
use refork::engine::settings::*;
use refork::engine::time::Millis;
use refork::sip::{Message, Method, Name};

use crate::table::{Remote, Table, phone, request, response, sdp, tcp, text_sdp, with_sdp};

pub fn alice() -> SocketAddr {
    phone("198.51.100.1:5060")
}

/// Bob's desk phone, his mobile, and a third one.
pub fn desk() -> SocketAddr {
    phone("198.51.100.2:5060")
}

pub fn mobile() -> SocketAddr {
    phone("198.51.100.3:5060")
}

pub fn third() -> SocketAddr {
    phone("198.51.100.4:5060")
}

pub fn settings() -> Settings {
    Settings {
        node: "test".into(),
        domains: vec![Domain {
            host: "example.org".into(),
            realm: "example.org".into(),
            served_by: ServedBy::Registrar(RegistrarSettings {
                auth: Auth::None,
                ..RegistrarSettings::default()
            }),
        }],
        names: BTreeMap::from([("urn:uuid:desk".into(), "Bob's desk phone".into())]),
        detect: DetectSettings {
            failure_bye: vec![FailureCause::Sip(503), FailureCause::Q850(38)],
            ..DetectSettings::default()
        },
        restore: RestoreSettings {
            same_first_for: PerKind::both(Millis::from_secs(2)),
            ..RestoreSettings::default()
        },
        notice: NoticeSettings {
            failed: BTreeMap::from([(
                "".into(),
                "{participant} is gone; {undelivered} not delivered.".into(),
            )]),
            ..NoticeSettings::default()
        },
        limits: LimitSettings {
            conversations: 1000,
            ..LimitSettings::default()
        },
        history_keep: Millis::from_secs(3600),
        ..Settings::default()
    }
}

/// A REFER goes to the other side's phone as it came.
pub fn refer_passes() -> Settings {
    Settings {
        refer: ReferPolicy::Pass,
        ..settings()
    }
}

/// What a phone offers or answers for a call.
pub fn audio(at: SocketAddr) -> String {
    sdp(at, 1, "sendrecv")
}

/// Bob has a desk phone and a mobile.
pub fn two() -> Table {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    t
}

/// A target that is not probed, and whose word on who calls is believed where it is `trusted`.
pub fn upstream(target: &str, trusted: bool) -> Upstream {
    Upstream {
        targets: vec![target.into()],
        trusted,
        path: PathMode::Path,
        sources: Vec::new(),
        probe: None,
        ..Upstream::default()
    }
}

pub fn g722(at: SocketAddr) -> String {
    sdp(at, 1, "sendrecv").replace("RTP/AVP 0 8 101", "RTP/AVP 9")
}

pub fn bob() -> Aor {
    Aor::from_canonical("sip:bob@example.org")
}

impl Table {
    /// Registers an endpoint of a user under an instance.
    pub fn register(&mut self, user: &str, at: SocketAddr, instance: &str) {
        self.register_again(user, at, instance, 1);
    }

    pub fn register_again(&mut self, user: &str, at: SocketAddr, instance: &str, cseq: u32) {
        let register = self.register_request(user, at, instance, cseq, 3600);
        self.receive(at, register);
        self.response_to(at, 200);
    }

    /// An endpoint is switched off and on: it registers as for the first time, under another Call-ID.
    pub fn registers_anew(&mut self, user: &str, at: SocketAddr, instance: &str, call_id: &str) {
        let register = self.register_request(user, at, instance, 1, 3600);
        let register = String::from_utf8_lossy(&register)
            .replace(&format!("reg-{instance}"), call_id)
            .replace("z9hG4bKr", &format!("z9hG4bK{call_id}"));
        self.receive(at, register.into());
        self.response_to(at, 200);
    }

    /// As `register`, with a preference as it stands in the Contact.
    pub fn register_with_q(&mut self, user: &str, at: SocketAddr, instance: &str, q: &str) {
        let register = self.register_request(user, at, instance, 1, 3600);
        let register = String::from_utf8_lossy(&register).replace(";+sip", &format!(";q={q};+sip"));
        self.receive(at, register.into());
        self.response_to(at, 200);
    }

    pub fn unregister(&mut self, user: &str, at: SocketAddr, instance: &str, cseq: u32) {
        let register = self.register_request(user, at, instance, cseq, 0);
        self.receive(at, register);
        self.response_to(at, 200);
    }

    pub fn register_request(
        &self,
        user: &str,
        at: SocketAddr,
        instance: &str,
        cseq: u32,
        expires: u32,
    ) -> Bytes {
        refork::sip::Builder::request(&Method::Register, "sip:example.org")
            .header(
                Name::Via,
                format_args!(
                    "SIP/2.0/UDP {at};branch=z9hG4bKr{instance}{cseq}{};rport",
                    at.port()
                ),
            )
            .header(Name::MaxForwards, 70)
            .header(
                Name::From,
                format_args!("<sip:{user}@example.org>;tag=r{instance}"),
            )
            .header(Name::To, format_args!("<sip:{user}@example.org>"))
            .header(Name::CallId, format_args!("reg-{instance}"))
            .header(Name::CSeq, format_args!("{cseq} REGISTER"))
            .header(
                Name::Contact,
                format_args!("<sip:{user}@{at}>;+sip.instance=\"<urn:uuid:{instance}>\""),
            )
            .header(Name::UserAgent, format_args!("Phone-{instance}/1"))
            .header(Name::Expires, expires)
            .end()
    }

    /// Alice's INVITE to Bob is on the table.
    pub fn alice_invites(&mut self, body: &str) {
        let invite = request(Method::Invite, "alice", "bob", alice(), "call1");
        self.receive(alice(), with_sdp(invite, body));
    }

    /// Alice and Bob's desk phone talk. Returns both dialogs as the phones keep them.
    pub fn established(&mut self) -> (Remote, Remote) {
        self.established_with(&sdp(alice(), 1, "sendrecv"), &sdp(desk(), 1, "sendrecv"))
    }

    pub fn texting(&mut self) -> (Remote, Remote) {
        self.established_with(&text_sdp(alice()), &text_sdp(desk()))
    }

    pub fn established_with(&mut self, offer: &str, answer: &str) -> (Remote, Remote) {
        if self.site.bindings.get(&bob()).is_none_or(Vec::is_empty) {
            self.register("bob", desk(), "desk");
        }
        self.alice_invites(offer);
        let invite = self.request_to(desk(), Method::Invite);
        self.receive(desk(), with_sdp(answer_to(&invite), answer));
        self.request_to(desk(), Method::Ack);
        let ok = self.response_to(alice(), 200);
        let dialog = Remote::of_answer(&ok, alice());
        self.receive(alice(), dialog.ack(1));
        let other = Remote::of_invite(&invite, desk(), "b1");
        // The other phones end the INVITE that was not answered by them.
        for at in [mobile(), third()] {
            if let Some(invite) = self.waiting(at, &Method::Invite) {
                self.receive(at, response(&invite, 487, at, "gone").end());
                self.discard(at);
            }
        }
        (dialog, other)
    }

    /// The operator declares Bob's endpoint lost: the shortest way into a restoration.
    pub fn bob_is_lost(&mut self) {
        self.is_lost(Side::Callee);
    }

    /// No media comes from Bob's desk phone any more.
    pub fn desk_is_silent(&mut self) {
        let side = Side::Callee;
        self.media_event(|media| MediaEvent::Silent { media, side });
    }

    pub fn desk_is_heard(&mut self) {
        let side = Side::Callee;
        self.media_event(|media| MediaEvent::Flowing { media, side });
    }

    /// A phone knows nothing of the call: it says so of a text or a digit, and of the offer by which its dialog is
    /// asked then. No BYE of it comes.
    pub fn knows_no_call(&mut self, request: &Message, at: SocketAddr) {
        self.reply(request, 481, at);
        let asked = self.next_to(at);
        assert!(matches!(asked.method(), Method::Invite | Method::Update));
        self.reply(&asked, 481, at);
        self.pass(Millis(700));
    }

    pub fn alice_is_lost(&mut self) {
        self.is_lost(Side::Caller);
    }

    fn is_lost(&mut self, side: Side) {
        let conversation = self.engine.list(1)[0].key;
        self.input(Input::Command(Command::DeclareLost { conversation, side }));
    }

    /// Alice goes on at her third phone; before Bob's desk phone has read of it, Bob is at his mobile.
    /// Returns the word about Alice, which has reached the mobile.
    pub fn both_have_moved(&mut self) -> Message {
        self.register("alice", third(), "laptop");
        self.established();
        self.alice_is_lost();
        self.pass(Millis(2_100));
        self.takes_over(third(), "a2", &audio(third()));
        self.request_to(desk(), Method::Message);
        self.bob_is_lost();
        self.discard(desk());
        self.pass(Millis(2_100));
        self.takes_over(mobile(), "m1", &audio(mobile()));
        self.request_to(mobile(), Method::Message)
    }

    /// A phone takes the INVITE of a re-fork; the survivor must not have noticed.
    pub fn takes_over(&mut self, at: SocketAddr, tag: &str, answer: &str) -> Remote {
        let invite = self.request_to(at, Method::Invite);
        self.receive(at, with_sdp(response(&invite, 200, at, tag), answer));
        let ack = self.request_to(at, Method::Ack);
        assert_eq!(ack.cseq(), invite.cseq());
        Remote::of_invite(&invite, at, tag)
    }

    /// Its user puts the receiver down, and is heard.
    pub fn hangs_up(&mut self, who: &mut Remote) {
        self.receive(who.at, who.request(Method::Bye).end());
        self.response_to(who.at, 200);
    }

    /// Answers a request of ours with a status.
    pub fn reply(&mut self, request: &Message, status: u16, at: SocketAddr) {
        self.receive(at, response(request, status, at, "x1").end());
    }

    /// ICMP says that nobody listens there, and quotes what was asked there last, as Linux does.
    pub fn icmp(&mut self, peer: SocketAddr) {
        let mut out = self.out.iter().rev();
        let last = out.find(|(to, _, _)| *to == peer);
        let quoted = last.map_or_else(Bytes::new, |(_, asked, _)| asked.bytes().clone());
        self.out.retain(|(to, asked, rings)| {
            *to != peer || *rings && *asked.method() == Method::Invite
        });
        self.icmp_quoting(peer, &quoted);
    }

    /// The same by a host that quotes no more than that, or by who forges it.
    pub fn icmp_quoting(&mut self, peer: SocketAddr, quoted: &[u8]) {
        self.input(Input::Unreachable {
            transport: Transport::Udp,
            peer,
            witness: Witness::Icmp(Bytes::copy_from_slice(&quoted[..quoted.len().min(520)])),
        });
    }

    pub fn closed(&mut self, peer: SocketAddr, connection: u64) {
        self.site.open.remove(&peer);
        self.input(Input::Closed {
            flow: tcp(peer, connection),
        });
    }
}

/// A 200 of Bob's desk phone, which can do what phones can.
pub fn answer_to(invite: &Message) -> refork::sip::Builder {
    answer_at(invite, desk())
}

/// The same of a phone at another place.
pub fn answer_at(invite: &Message, at: SocketAddr) -> refork::sip::Builder {
    response(invite, 200, at, "b1")
        .header(
            Name::Allow,
            "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, UPDATE",
        )
        .header(Name::Supported, "replaces")
}
