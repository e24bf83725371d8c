//! The lamps of a phone (RFC 4235): it subscribes at the PBX behind the server, which tells it over whichever worker
//! has the message.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use refork::engine::mint::branch_shard;
use refork::engine::settings::{Domain, PathMode, ServedBy, Upstream};
use refork::sip::{Builder, Message, Method, Name};
use refork::ua::Transport;

use crate::stage::{SOON, Stage};

const DOMAIN: &str = "lamps.example";
/// At least so many, and more until both workers have had some.
const LAMPS: u32 = 8;
/// So many that one worker has all of them once in 2^63 runs, or where there is but one.
const LAMPS_MAX: u32 = 64;

/// One end: what it is sent comes in the order in which it is asked for.
struct End {
    socket: UdpSocket,
    server: SocketAddr,
    sent: u32,
}

impl End {
    fn bind(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let turn = Duration::from_millis(100);
        socket.set_read_timeout(Some(turn)).unwrap();
        Self {
            socket,
            server,
            sent: 0,
        }
    }

    fn at(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Returns the first message that is one of those meant; copies of others are passed over.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "the test's own deadline")]
    fn hears(&self, what: &str, meant: impl Fn(&Message) -> bool) -> Message {
        let mut bytes = [0; 4096];
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            let Ok(len) = self.socket.recv(&mut bytes) else {
                continue;
            };
            let message = Message::parse(bytes[..len].to_vec().into()).unwrap();
            if meant(&message) {
                return message;
            }
        }
        panic!("{} hears no {what}", self.at());
    }

    #[track_caller]
    fn asked(&self, method: &Method, call_id: &str, cseq: u32) -> Message {
        let what = format!("{method:?} {cseq} of {call_id}");
        self.hears(&what, |message| {
            message.is_request()
                && message.method() == method
                && message.call_id() == call_id
                && message.cseq() == cseq
        })
    }

    /// Sends a request, which the far end answers in its time.
    fn asks(&mut self, method: &Method, uri: &str, of: &Dialog<'_>, more: &[(Name, &str)]) {
        self.sent += 1;
        let name = method.as_str();
        let (at, branch) = (self.at(), self.sent);
        let mut request = Builder::request(method, uri)
            .header(
                Name::Via,
                format_args!(
                    "SIP/2.0/UDP {at};branch=z9hG4bK{branch}-{};rport",
                    at.port()
                ),
            )
            .header(Name::MaxForwards, 70)
            .header(Name::From, of.from)
            .header(Name::To, of.to)
            .header(Name::CallId, of.call_id)
            .header(Name::CSeq, format_args!("{} {name}", of.cseq));
        for (name, value) in more {
            request = request.header(*name, value);
        }
        self.socket.send_to(&request.end(), self.server).unwrap();
    }

    #[track_caller]
    fn accepts(&self, request: &Message, more: &[(Name, &str)]) {
        let mut ok = Builder::respond(request, 200, "OK", Some("pbx"), self.server);
        for (name, value) in more {
            ok = ok.header(*name, value);
        }
        let ok = ok
            .copy(request, Name::RecordRoute)
            .copy(request, Name::Path);
        self.socket.send_to(&ok.end(), self.server).unwrap();
    }

    #[track_caller]
    fn is_accepted(&self, call_id: &str, cseq: u32) -> Message {
        self.hears(&format!("200 to {cseq} of {call_id}"), |message| {
            message.status() == 200 && message.call_id() == call_id && message.cseq() == cseq
        })
    }
}

struct Dialog<'a> {
    call_id: &'a str,
    cseq: u32,
    from: &'a str,
    to: &'a str,
}

fn registers(phone: &mut End, pbx: &End, cseq: u32, expires: &str) {
    let bob = format!("<sip:bob@{DOMAIN}>");
    let from = format!("{bob};tag=r");
    let dialog = Dialog {
        call_id: "registers",
        cseq,
        from: &from,
        to: &bob,
    };
    let contact = format!(
        "<sip:bob@{}>;+sip.instance=\"<urn:uuid:lamps>\"",
        phone.at()
    );
    let more = [(Name::Contact, &*contact), (Name::Expires, expires)];
    phone.asks(&Method::Register, &format!("sip:{DOMAIN}"), &dialog, &more);
    let request = pbx.asked(&Method::Register, "registers", cseq);
    match expires {
        "0" => pbx.accepts(&request, &[]),
        _ => pbx.accepts(
            &request,
            &[(Name::Contact, &format!("{contact};expires={expires}"))],
        ),
    }
    phone.is_accepted("registers", cseq);
}

#[test]
fn the_pbx_lights_the_lamps_of_a_phone_wherever_it_is() {
    // The PBX is there before the server, and learns from its requests where that is.
    let mut pbx = End::bind(([127, 0, 0, 1], 9).into());
    let target = format!("sip:{}", pbx.at());
    let stage = Stage::with(|config| {
        let upstream = Upstream {
            targets: vec![target.as_str().into()],
            trusted: true,
            path: PathMode::Path,
            sources: Vec::new(),
            probe: None,
            ..Upstream::default()
        };
        config.engine.upstreams.insert("pbx".into(), upstream);
        let domain = Domain {
            host: DOMAIN.into(),
            realm: DOMAIN.into(),
            served_by: ServedBy::Upstream("pbx".into()),
        };
        config.engine.domains.push(domain);
    });
    let server = stage.sip(Transport::Udp, false);
    pbx.server = server;
    let mut phone = End::bind(server);
    registers(&mut phone, &pbx, 1, "600");
    let mut lamps: Vec<[String; 4]> = Vec::new();
    let (mut routes, mut workers) = (Vec::new(), BTreeSet::new());
    let contact = format!("<sip:bob@{}>", phone.at());
    for number in 0..LAMPS_MAX {
        if number >= LAMPS && workers.len() == 2 {
            break;
        }
        let user = format!("<sip:20{number}@{DOMAIN}>");
        lamps.push([
            format!("lamp-{number}"),
            format!("<sip:bob@{DOMAIN}>;tag=l"),
            format!("{user};tag=pbx"),
            user,
        ]);
        let Some([call_id, bob, _, user]) = lamps.last() else {
            unreachable!("one was put there")
        };
        let dialog = Dialog {
            call_id,
            cseq: 1,
            from: bob,
            to: user,
        };
        let more = [
            (Name::Contact, &*contact),
            (Name::Event, "dialog"),
            (Name::Expires, "600"),
        ];
        let uri = user.trim_matches(['<', '>']);
        phone.asks(&Method::Subscribe, uri, &dialog, &more);
        let subscribe = pbx.asked(&Method::Subscribe, call_id, 1);
        assert_eq!(subscribe.uri(), uri);
        assert_eq!(subscribe.header(Name::Event), Some("dialog"));
        let shard = branch_shard(subscribe.via().branch.unwrap()).unwrap();
        workers.insert(shard.0 % 2);
        routes.push(subscribe.header(Name::RecordRoute).unwrap().to_owned());
        pbx.accepts(
            &subscribe,
            &[
                (Name::Contact, &format!("<{target}>")),
                (Name::Expires, "600"),
            ],
        );
        assert_eq!(phone.is_accepted(call_id, 1).to_tag(), Some("pbx"));
    }
    assert_eq!(workers.len(), 2, "a worker carries all of them");
    let tells = |pbx: &mut End, phone: &End, cseq: u32, state: &str| {
        for ([call_id, bob, their, _], route) in lamps.iter().zip(&routes) {
            let dialog = Dialog {
                call_id,
                cseq,
                from: their,
                to: bob,
            };
            let more = [
                (Name::Route, &**route),
                (Name::Event, "dialog"),
                (Name::SubscriptionState, state),
                (Name::Contact, &format!("<{target}>")),
            ];
            pbx.asks(
                &Method::Notify,
                contact.trim_matches(['<', '>']),
                &dialog,
                &more,
            );
            let notify = phone.asked(&Method::Notify, call_id, cseq);
            assert_eq!(notify.header(Name::SubscriptionState), Some(state));
            phone.accepts(&notify, &[]);
            pbx.is_accepted(call_id, cseq);
        }
    };
    tells(&mut pbx, &phone, 1, "active;expires=600");
    // It is somewhere else now, where nobody is told but it.
    let mut moved = End::bind(server);
    registers(&mut moved, &pbx, 2, "600");
    tells(&mut pbx, &moved, 2, "active;expires=500");
    for ([call_id, bob, their, _], route) in lamps.iter().zip(&routes) {
        let dialog = Dialog {
            call_id,
            cseq: 2,
            from: bob,
            to: their,
        };
        let more = [
            (Name::Route, &**route),
            (Name::Event, "dialog"),
            (Name::Expires, "0"),
        ];
        moved.asks(&Method::Subscribe, &target, &dialog, &more);
        let over = pbx.asked(&Method::Subscribe, call_id, 2);
        assert_eq!(over.header(Name::Expires), Some("0"));
        pbx.accepts(&over, &[]);
        moved.is_accepted(call_id, 2);
    }
    tells(&mut pbx, &moved, 3, "terminated;reason=timeout");
    registers(&mut moved, &pbx, 3, "0");
    stage.finish();
}
