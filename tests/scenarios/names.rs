//! Calls to where DNS says (RFC 3263), by a real name server.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use refork::config::Config;
use refork::engine::settings::{PathMode, Route, RouteFork, Upstream, UpstreamTarget};
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};
use refork::ua::{Call, Ending, Medium, Phone, Reaction, Transport};

use crate::dns::NameServer;
use crate::metrics::ask;
use crate::stage::{SOON, Stage, answers, hang_up, pause, talk};

/// Numbers that begin with 4 are behind these targets.
fn behind(config: &mut Config, targets: Vec<UpstreamTarget>, probe: Option<Millis>) {
    let upstream = Upstream {
        path: PathMode::Path,
        targets,
        trusted: false,
        sources: Vec::new(),
        probe,
        ..Upstream::default()
    };
    config.engine.upstreams.insert("pbx".into(), upstream);
    config.engine.routes.push(Route {
        pattern: "sip:4*@*".into(),
        to: "pbx".into(),
        fork: RouteFork::default(),
        emergency: None,
    });
}

fn asks(config: &mut Config, dns: &NameServer) {
    config.dns.servers = vec![dns.at];
    config.dns.timeout = Duration::from_millis(500);
}

/// A server where numbers that begin with 4 are behind this URI. It asks for it at the start, to know who calls
/// from there: what there is not by then it keeps for the second that the zone says.
fn stage(dns: &NameServer, uri: &str) -> Stage {
    Stage::with(|config| {
        asks(config, dns);
        config.engine.fork.failover = Millis(700);
        behind(config, vec![uri.into()], None);
    })
}

/// A port where nobody listens.
fn nobody() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn port(phone: &Phone) -> u16 {
    phone.local().port()
}

fn calls(alice: &Phone) -> Call {
    alice.call("sip:401@example.org", Medium::Audio).unwrap()
}

/// Alice calls, and this one takes the call.
fn is_reached(alice: &Phone, by: &Phone) {
    answers(by);
    let call = calls(alice);
    let taken = by.incoming(SOON).unwrap();
    call.wait_up(SOON).unwrap();
    taken.wait_up(SOON).unwrap();
    talk(&call, &taken);
    hang_up(&call, &taken);
}

#[test]
fn naptr_leads_to_srv_and_past_all_that_fails() {
    let probe = Stage::new();
    let [busy, frozen, last] =
        ["busy", "frozen", "last"].map(|label| probe.server(label, Transport::Udp, false));
    let over_tcp = probe.server("over-tcp", Transport::Tcp, false);
    let ports = [nobody().port(), port(&busy), port(&frozen), port(&last)];
    let [dead, busy_at, frozen_at, last_at] = ports;
    // TLS, which we have no listener for, is what the domain would rather have.
    let records = format!(
        "pbx 60 NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.pbx\n\
         pbx 60 NAPTR 20 10 \"s\" \"SIP+D2U\" \"\" _sip._udp.pbx\n\
         pbx 60 NAPTR 20 20 \"s\" \"SIP+D2T\" \"\" _sip._tcp.pbx\n\
         _sips._tcp.pbx 60 SRV 0 0 5061 ns\n\
         _sip._udp.pbx 60 SRV 40 0 {last_at} one\n\
         _sip._udp.pbx 60 SRV 10 0 {dead} one\n\
         _sip._udp.pbx 60 SRV 20 0 {busy_at} one\n\
         _sip._udp.pbx 60 SRV 30 0 {frozen_at} one\n\
         _sip._tcp.pbx 60 SRV 10 0 {} one\n\
         one 60 A 127.0.0.1",
        port(&over_tcp),
    );
    let dns = NameServer::start(&records);
    let stage = stage(&dns, "sip:pbx.example.net");
    let alice = stage.phone("alice");
    busy.script(|script| script.invite = Reaction::Refuse(503, Duration::ZERO));
    frozen.freeze();
    is_reached(&alice, &last);
    frozen.thaw();
    for failure in ["unreachable", "unavailable", "silent"] {
        let name = format!("refork_target_failures_total{{failure=\"{failure}\",then=\"next\"}}");
        assert_eq!(stage.metric(&name), 1.0, "{failure}");
    }
    // With the last one gone, the next service in the same order.
    frozen.script(|script| script.invite = Reaction::Refuse(503, Duration::ZERO));
    last.kill();
    is_reached(&alice, &over_tcp);
    stage.finish_refused(probe.refusals());
}

#[test]
fn a_name_without_services_has_addresses_of_both_families() {
    let dns = NameServer::start("two 60 A 127.0.0.1\ntwo 60 AAAA ::1");
    // The port is one that only the IPv6 phone has.
    let probe = Stage::new();
    let six = probe.server("six", Transport::Udp, true);
    let stage = stage(&dns, &format!("sip:two.example.net:{}", port(&six)));
    let alice = stage.phone("alice");
    is_reached(&alice, &six);
    let call = alice.call("sip:nobody@example.org", Medium::Audio).unwrap();
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(404));
    stage.finish();
}

#[test]
fn answers_are_kept_as_long_as_their_zone_says() {
    let mut dns = NameServer::start("");
    let stage = stage(&dns, "sip:pbx.example.net;transport=udp");
    let alice = stage.phone("alice");
    let old = stage.server("old", Transport::Udp, false);
    let new = stage.server("new", Transport::Udp, false);
    let records = |ttl: u32, phone: &Phone| {
        let at = port(phone);
        format!("_sip._udp.pbx {ttl} SRV 0 0 {at} one\none 3600 A 127.0.0.1")
    };
    // That there is no such name is kept for the second that the zone says, and no longer.
    let call = calls(&alice);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(480));
    dns.change(&records(1, &old));
    answers(&old);
    answers(&new);
    let ends = stage.log.now() + SOON;
    loop {
        assert!(
            stage.log.now() < ends,
            "what was not there is never looked for again"
        );
        let call = calls(&alice);
        if call.wait_up(Duration::from_millis(500)).is_ok() {
            call.hang_up().unwrap();
            break;
        }
        pause();
    }
    // It has moved; the old answer stands for a second.
    dns.change(&records(3600, &new));
    let ends = stage.log.now() + SOON;
    while new.calls() == 0 {
        assert!(stage.log.now() < ends, "the old answer is never forgotten");
        let call = calls(&alice);
        call.wait_up(SOON).unwrap();
        call.hang_up().unwrap();
        pause();
    }
    // The name server is gone, and the answer stands.
    dns.stop();
    let before = new.calls();
    let call = calls(&alice);
    call.wait_up(SOON).unwrap();
    assert_eq!(new.calls(), before + 1);
    assert_eq!(call.hang_up().unwrap(), 200);
    stage.finish();
}

#[test]
fn the_last_word_of_a_name_server_outlives_it() {
    let probe = Stage::new();
    let bob = probe.server("pbx", Transport::Udp, false);
    let at = port(&bob);
    let mut dns = NameServer::start(&format!(
        "_sip._udp.pbx 1 SRV 0 0 {at} one\none 1 A 127.0.0.1"
    ));
    let stage = stage(&dns, "sip:pbx.example.net;transport=udp");
    let alice = stage.phone("alice");
    is_reached(&alice, &bob);
    dns.stop();
    let kept = "refork_not_located_total{then=\"kept\"}";
    let ends = stage.log.now() + SOON;
    while stage.metric(kept) == 0.0 {
        assert!(stage.log.now() < ends, "the answer never expires");
        is_reached(&alice, &bob);
    }
    stage.finish();
}

#[test]
fn trouble_with_the_services_is_no_word_that_there_are_none() {
    let mut dns = NameServer::start("");
    let host = "one 1 A 127.0.0.1\npbx 1 A 127.0.0.1";
    // Nothing is known yet: the host of that name is not asked in place of its services.
    dns.ail(host, "_udp.pbx");
    let stage = stage(&dns, "sip:pbx.example.net;transport=udp");
    let alice = stage.phone("alice");
    let bob = stage.server("pbx", Transport::Udp, false);
    let at = port(&bob);
    let call = calls(&alice);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(480));
    let failed = "refork_target_failures_total{failure=\"unreachable\",then=\"none\"}";
    assert_eq!(stage.metric(failed), 0.0);
    // What is known goes on to be.
    dns.change(&format!("_sip._udp.pbx 1 SRV 0 0 {at} one\n{host}"));
    is_reached(&alice, &bob);
    dns.ail(host, "_udp.pbx");
    let kept = "refork_not_located_total{then=\"kept\"}";
    let ends = stage.log.now() + SOON;
    while stage.metric(kept) < 3.0 {
        assert!(stage.log.now() < ends, "the answer never expires");
        is_reached(&alice, &bob);
    }
    stage.finish();
}

#[test]
fn a_message_goes_past_what_fails() {
    let probe = Stage::new();
    let bob = probe.server("pbx", Transport::Udp, false);
    let (dead, at) = (nobody().port(), port(&bob));
    let dns = NameServer::start(&format!(
        "_sip._udp.pbx 60 SRV 0 0 {dead} one\n_sip._udp.pbx 60 SRV 1 0 {at} one\none 60 A 127.0.0.1"
    ));
    let stage = stage(&dns, "sip:pbx.example.net;transport=udp");
    let alice = stage.phone("alice");
    assert_eq!(
        alice.page("sip:401@example.org", "are you there?").unwrap(),
        200
    );
    assert_eq!(bob.texts().len(), 1);
    stage.finish();
}

#[test]
fn an_upstream_that_is_down_is_put_out_and_comes_back() {
    let probe = Stage::new();
    let pbx = probe.server("pbx", Transport::Udp, false);
    let stage = Stage::with(|config| {
        config.engine.fork.failover = Millis(300);
        let target = format!("sip:{}", pbx.local());
        behind(config, vec![target.as_str().into()], Some(Millis(1_000)));
    });
    let alice = stage.phone("alice");
    let targets = |state: &str| format!("refork_upstream_targets{{state=\"{state}\"}}");
    stage.wait_metric(&targets("up"), 1.0);
    is_reached(&alice, &pbx);
    pbx.freeze();
    stage.wait_metric(&targets("ejected"), 1.0);
    let call = calls(&alice);
    assert_eq!(call.wait_over(SOON).unwrap(), Ending::Refused(500));
    pbx.thaw();
    stage.wait_metric(&targets("up"), 1.0);
    is_reached(&alice, &pbx);
    stage.finish();
}

/// A PBX that lives, and takes no calls: by a 503 for an hour.
struct Overloaded {
    at: SocketAddr,
    invites: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Overloaded {
    fn start(status: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let turn = Duration::from_millis(50);
        socket.set_read_timeout(Some(turn)).unwrap();
        let (invites, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (at, counted, ends) = (socket.local_addr().unwrap(), invites.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while !ends.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else {
                    continue;
                };
                let request = Message::parse(bytes[..len].to_vec().into()).unwrap();
                let answer =
                    |status, reason| Builder::respond(&request, status, reason, Some("b1"), from);
                let method = request.method();
                let answer = if *method == Method::Invite {
                    counted.fetch_add(1, Ordering::Relaxed);
                    let refusal = answer(status, "Not now");
                    match status {
                        503 => refusal.header(Name::RetryAfter, 3600).end(),
                        _ => refusal.end(),
                    }
                } else if *method == Method::Options {
                    answer(200, "OK").end()
                } else {
                    continue;
                };
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self {
            at,
            invites,
            over,
            thread,
        }
    }

    /// Returns how many INVITEs it was sent.
    fn finish(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.invites.load(Ordering::Relaxed)
    }
}

#[test]
fn an_upstream_that_asks_for_a_pause_has_it_from_all_workers() {
    let (pbx, other) = (Overloaded::start(503), Overloaded::start(486));
    let stage = Stage::with(|config| {
        let targets = [&pbx, &other].map(|pbx| format!("sip:{}", pbx.at));
        behind(
            config,
            UpstreamTarget::in_order(targets),
            Some(Millis(1_000)),
        );
    });
    let alice = stage.phone("alice");
    let refused = || assert_eq!(calls(&alice).wait_over(SOON).unwrap(), Ending::Refused(486));
    let paused = || ask(stage.admin(), "GET", "/api/v1/upstreams").contains("\"paused\":\"20");
    assert!(!paused());
    refused();
    // The scrape asks every worker: what was told before that has arrived.
    stage.wait_metric("refork_upstream_pauses", 1.0);
    assert!(paused());
    // The hash of a Call-ID says which worker has it.
    for _ in 0..8 {
        refused();
    }
    // The operator has it asked again, and it asks for the same again.
    let lift = format!("/api/v1/upstreams/pauses?target=sip:{}", pbx.at);
    ask(stage.admin(), "DELETE", &lift);
    assert!(!paused());
    stage.wait_metric("refork_upstream_pauses", 0.0);
    refused();
    stage.wait_metric("refork_upstream_pauses", 1.0);
    stage.finish_refused(12);
    assert_eq!((pbx.finish(), other.finish()), (2, 10));
}

/// RFC 3261 18.2.2: nobody listens where the request came from any more, and the name in its Via is elsewhere.
#[test]
fn a_response_finds_its_way_by_the_name_in_the_via() {
    let (old, new) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let socket = UdpSocket::bind((Ipv4Addr::from(new), 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let dns = NameServer::start("sbc 60 A 127.0.0.2");
    let stage = Stage::with(|config| {
        asks(config, &dns);
        config.engine.acl.trusted = vec!["127.0.0.1".parse().unwrap()];
    });
    let server = stage.sip(Transport::Udp, false);
    let from = UdpSocket::bind((Ipv4Addr::from(old), 0)).unwrap();
    let request = format!(
        "OPTIONS sip:{server} SIP/2.0\r\n\
         Via: SIP/2.0/UDP sbc.example.net:{port};branch=z9hG4bKaway\r\n\
         Max-Forwards: 70\r\nFrom: <sip:sbc@example.net>;tag=1\r\nTo: <sip:{server}>\r\n\
         Call-ID: away\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    from.send_to(request.as_bytes(), server).unwrap();
    let mut bytes = [0; 4096];
    let (len, by) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(by, server);
    assert!(bytes[..len].starts_with(b"SIP/2.0 200 "));
    stage.finish();
}
