//! Max-Forwards goes along with what crosses (RFC 7332 3): what two servers send each other ends.

use bytes::Bytes;
use refork::engine::time::Millis;
use refork::sip::{Message, Method};

use crate::people::*;
use crate::table::*;

/// The same request with so many hops left.
pub fn with_hops(request: &Bytes, hops: u8) -> Bytes {
    let text = String::from_utf8(request.to_vec()).unwrap();
    assert!(text.contains("Max-Forwards: 70"));
    let less = format!("Max-Forwards: {hops}");
    text.replacen("Max-Forwards: 70", &less, 1).into()
}

/// What Alice asks within the dialog.
fn asks(a: &mut Remote, method: &Method, version: u32) -> Bytes {
    let request = a.request(method.clone());
    match method {
        Method::Invite | Method::Update => with_sdp(request, &sdp(alice(), version, "sendonly")),
        Method::Message => request.body("text/plain", b"hello"),
        _ => request.end(),
    }
}

fn is_taken(t: &mut Table, a: &Remote, request: &Message, version: u32) {
    let ok = response(request, 200, desk(), "b1");
    let ok = match request.method() {
        Method::Invite | Method::Update => with_sdp(ok, &sdp(desk(), version, "recvonly")),
        _ => ok.end(),
    };
    t.receive(desk(), ok);
    let ok = t.response_to(alice(), 200);
    if *request.method() == Method::Invite {
        t.request_to(desk(), Method::Ack);
        t.receive(alice(), a.ack(ok.cseq()));
    }
}

#[test]
fn what_crosses_has_one_hop_less_and_ends_with_the_last() {
    for method in [
        Method::Invite,
        Method::Update,
        Method::Message,
        Method::Info,
        Method::Notify,
    ] {
        let mut t = Table::new(settings());
        let (mut a, _) = t.established();
        let last = asks(&mut a, &method, 2);
        t.receive(alice(), with_hops(&last, 0));
        let over = t.response_to(alice(), 483);
        if method == Method::Invite {
            t.receive(alice(), a.ack(over.cseq()));
        }
        t.nothing_to(desk());
        // Nothing stays open by that, and the call stands.
        let few = asks(&mut a, &method, 3);
        t.receive(alice(), with_hops(&few, 7));
        let onward = t.request_to(desk(), method.clone());
        assert_eq!(onward.max_forwards(), Some(6), "{method:?}");
        is_taken(&mut t, &a, &onward, 2);
        t.hangs_up(&mut a);
        // A BYE ends what it is said in, and begins anew.
        let bye = t.request_to(desk(), Method::Bye);
        assert_eq!(bye.max_forwards(), Some(70));
    }
}

#[test]
fn a_text_that_waits_for_another_phone_keeps_its_hops() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.texting();
    t.bob_is_lost();
    let text = a.message("hi");
    t.receive(alice(), with_hops(&text, 5));
    t.response_to(alice(), 202);
    t.discard(mobile());
    t.pass(Millis(2_100));
    t.takes_over(mobile(), "m1", &text_sdp(mobile()));
    let text = t.request_to(mobile(), Method::Message);
    assert_eq!(text.max_forwards(), Some(4));
}
