//! Who guesses at what a PBX knows, and whose old connections are in the way of new ones.

use std::net::SocketAddr;

use refork::engine::events::{Event, Offence};
use refork::engine::ids::{Aor, Flow};
use refork::engine::settings::PathMode;
use refork::engine::time::Millis;
use refork::sip::{Builder, Message, Method, Name};

use crate::edge::{first, granted, in_front, pbx, register};
use crate::people::*;
use crate::table::*;

impl Table {
    /// Returns the offences since it was asked last: what, and whether its source is proven.
    fn offences(&mut self) -> Vec<(Offence, bool)> {
        let offence = |event: Event| match event {
            Event::Offence { what, proven, .. } => Some((what, proven)),
            _ => None,
        };
        self.events.drain(..).filter_map(offence).collect()
    }

    /// A REGISTER of a phone goes on to the PBX, which answers; returns the offences.
    fn registers(
        &mut self,
        flow: Flow,
        cseq: u32,
        nonce: Option<&str>,
        answer: impl FnOnce(&Message) -> Builder,
    ) -> Vec<(Offence, bool)> {
        let request = register("bob", flow.peer, cseq, 3600);
        let request = match nonce {
            Some(nonce) => request.header(Name::Authorization, credentials("bob", nonce)),
            None => request,
        };
        self.receive_over(flow, request.end());
        let onward = self.request_to(pbx(), Method::Register);
        self.receive(pbx(), answer(&onward).end());
        self.discard(flow.peer);
        self.offences()
    }
}

fn credentials(user: &str, nonce: &str) -> String {
    format!(
        "Digest username=\"{user}\", realm=\"pbx\", nonce=\"{nonce}\", uri=\"sip:x\", response=\"0\""
    )
}

fn asked(nonce: &str) -> impl FnOnce(&Message) -> Builder {
    let challenge = format!("Digest realm=\"pbx\", nonce=\"{nonce}\"");
    move |request| response(request, 401, pbx(), "p").header(Name::WwwAuthenticate, challenge)
}

fn refused(request: &Message) -> Builder {
    response(request, 403, pbx(), "p")
}

const GUESS: (Offence, bool) = (Offence::Credentials, true);

#[test]
fn who_guesses_by_datagram_is_told_by_the_nonce_that_he_was_sent() {
    let mut t = in_front(PathMode::Path);
    let phone = flow(desk());
    assert_eq!(t.registers(phone, 1, None, asked("n1")), []);
    assert_eq!(t.registers(phone, 2, Some("n1"), asked("n2")), [GUESS]);
    assert_eq!(t.registers(phone, 3, Some("n2"), refused), [GUESS]);
    // In another's name: the nonce was sent elsewhere, or never.
    let forged = (Offence::Credentials, false);
    let victim = flow(mobile());
    assert_eq!(t.registers(victim, 1, Some("n2"), asked("n3")), [forged]);
    assert_eq!(
        t.registers(phone, 4, Some("made up"), asked("n4")),
        [forged]
    );
    t.pass(Millis::from_secs(601));
    assert_eq!(t.registers(phone, 5, Some("n4"), asked("n5")), [forged]);
    t.ends_empty();
}

#[test]
fn over_a_connection_a_guess_is_where_it_comes_from() {
    let mut t = in_front(PathMode::Path);
    let phone = tcp(desk(), 1);
    assert_eq!(t.registers(phone, 1, None, asked("n1")), []);
    assert_eq!(
        t.registers(phone, 2, Some("elsewhere"), asked("n2")),
        [GUESS]
    );
    t.ends_empty();
}

#[test]
fn a_nonce_that_is_too_old_is_no_guess() {
    let mut t = in_front(PathMode::Path);
    let phone = tcp(desk(), 1);
    let stale = |request: &Message| {
        let challenge = "Digest realm=\"pbx\", nonce=\"n2\", stale=true";
        response(request, 401, pbx(), "p").header(Name::WwwAuthenticate, challenge)
    };
    assert_eq!(t.registers(phone, 1, Some("n1"), stale), []);
    let granted = |request: &Message| granted(request, 1800);
    assert_eq!(t.registers(phone, 2, Some("n2"), granted), []);
    // Started anew, it knows nothing of the nonce, and does not say so.
    assert_eq!(t.registers(phone, 3, Some("n2"), asked("n3")), []);
    // But who has an account of his own guesses no other's password by it.
    let request = register("bob", desk(), 4, 3600);
    let request = request.header(Name::Authorization, credentials("carol", "n2"));
    t.receive_over(phone, request.end());
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), asked("n4")(&onward).end());
    assert_eq!(t.offences(), [GUESS]);
    // Another realm's first challenge.
    let other = |request: &Message| {
        let challenge = "Digest realm=\"proxy\", nonce=\"p1\"";
        response(request, 407, pbx(), "p").header(Name::ProxyAuthenticate, challenge)
    };
    assert_eq!(t.registers(phone, 5, Some("n4"), other), []);
}

#[test]
fn calls_and_texts_are_no_way_to_guess_either() {
    let mut t = in_front(PathMode::Path);
    let phone = tcp(alice(), 1);
    for (cseq, method) in [
        (1, Method::Invite),
        (2, Method::Message),
        (3, Method::Options),
    ] {
        for (nonce, expected) in [(None, vec![]), (Some("n"), vec![GUESS])] {
            let call_id = format!("{cseq}{}", nonce.unwrap_or(""));
            let mut request = first(method.clone(), "alice", "bob", alice(), &call_id, cseq)
                .header(Name::Contact, format_args!("<sip:alice@{}>", alice()));
            if let Some(nonce) = nonce {
                let credentials = credentials("alice", nonce);
                request = request.header(Name::ProxyAuthorization, credentials);
            }
            let bytes = match method {
                Method::Invite => with_sdp(request, &audio(alice())),
                _ => request.body("text/plain", b"hi"),
            };
            t.receive_over(phone, bytes);
            let onward = t.request_to(pbx(), method.clone());
            let challenge = "Digest realm=\"pbx\", nonce=\"n\"";
            let asked = response(&onward, 407, pbx(), "p");
            let asked = asked.header(Name::ProxyAuthenticate, challenge);
            t.receive(pbx(), asked.end());
            t.response_to(alice(), 407);
            assert_eq!(t.offences(), expected, "{method:?} {nonce:?}");
            t.discard(pbx());
            t.discard(alice());
        }
    }
    t.ends_empty();
}

#[test]
fn nobody_keeps_anothers_phone_from_registering() {
    let mut t = in_front(PathMode::Path);
    let stranger = phone("198.51.100.66:5060");
    for number in 0..20 {
        let call_id = format!("s{number}");
        let request = first(Method::Register, "bob", "", stranger, &call_id, 1)
            .header(Name::Contact, format_args!("<sip:bob@{stranger}>"));
        t.receive(stranger, request.end());
    }
    t.response_to(stranger, 500);
    t.discard(pbx());
    // The PBX has not answered any of them yet.
    t.receive(desk(), register("bob", desk(), 1, 3600).end());
    let onward = t.request_to(pbx(), Method::Register);
    t.receive(pbx(), granted(&onward, 1800).end());
    t.response_to(desk(), 200);
}

/// After each loss such a phone has a new port, and it names no instance.
#[test]
fn a_phone_is_not_shut_out_by_the_connections_that_it_lost() {
    let mut t = in_front(PathMode::Path);
    let contact = |at: SocketAddr| format!("<sip:bob@{at};transport=tcp>");
    for number in 1..40 {
        let at: SocketAddr = ([198, 51, 100, 9], 40_000 + number).into();
        let call_id = format!("r{number}");
        let request = first(Method::Register, "bob", "", at, &call_id, 1)
            .header(Name::Contact, contact(at))
            .header(Name::Expires, 3600);
        t.receive_over(tcp(at, number.into()), request.end());
        let onward = t.request_to(pbx(), Method::Register);
        t.receive(pbx(), granted(&onward, 1800).end());
        t.response_to(at, 200);
        let aor = Aor::from_canonical("sip:bob@pbx.example.net");
        let kept = &t.site.bindings[&aor];
        assert!(kept.len() <= 32);
        assert!(
            kept.iter()
                .any(|b| *b.endpoint.contact == *contact(at).trim_matches(['<', '>']))
        );
        t.site.open.remove(&at);
    }
}
