//! An upstream asks us for proof of a text outside of any dialog (RFC 3261 22.2, RFC 3428).

use bytes::Bytes;
use refork::engine::events::Unanswered;
use refork::engine::settings::Settings;
use refork::sip::{Message, Method, Name};

use crate::people::*;
use crate::proofs::*;
use crate::table::*;

fn page(call_id: &str, text: &[u8]) -> Bytes {
    let page = request(Method::Message, "alice", "401", alice(), call_id);
    page.body("text/plain", text)
}

fn without_account() -> Settings {
    let mut settings = with_account(&[]);
    for upstream in settings.upstreams.values_mut() {
        upstream.account = None;
    }
    settings
}

/// Alice is told that it may not be, and nothing that she could answer.
#[track_caller]
fn refused(t: &mut Table) {
    let refused = t.response_to(alice(), 403);
    for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
        assert_eq!(refused.header(name), None);
    }
    t.nothing_to(TRUNK());
    t.ends_empty();
}

#[test]
fn it_goes_out_again_with_the_account() {
    let mut t = Table::new(with_account(&[]));
    t.receive(alice(), page("m1", b"hello"));
    let bare = t.request_to(TRUNK(), Method::Message);
    assert_eq!(bare.header(Name::ProxyAuthorization), None);
    asks(&mut t, &bare, 407, &[(Name::ProxyAuthenticate, NONCE)]);
    t.nothing_to(alice());
    let proven = t.request_to(TRUNK(), Method::Message);
    let known = |message: &Message| {
        let from = message.header(Name::From).unwrap().to_owned();
        (message.call_id().to_owned(), from, message.body().to_vec())
    };
    assert_eq!(known(&proven), known(&bare));
    assert_ne!(proven.branch(), bare.branch());
    assert_eq!((bare.cseq(), proven.cseq()), (1, 2));
    assert_eq!(shown_to_proxy(&proven), ("n1".into(), 1));
    // A server beyond the proxy asks too, and both are shown theirs.
    let server = "Digest realm=\"server\", nonce=\"s1\", qop=\"auth\"";
    asks(&mut t, &proven, 401, &[(Name::WwwAuthenticate, server)]);
    let both = t.request_to(TRUNK(), Method::Message);
    assert_eq!((both.cseq(), shown_to_proxy(&both)), (3, ("n1".into(), 2)));
    assert!(both.header(Name::Authorization).unwrap().contains("\"s1\""));
    t.reply(&both, 202, TRUNK());
    t.response_to(alice(), 202);
    t.ends_empty();
}

#[test]
fn what_is_too_large_for_a_datagram_with_it_goes_over_tcp() {
    let mut t = Table::new(with_account(&[]));
    t.receive(alice(), page("m1", &[b'x'; 900]));
    let bare = t.request_to(TRUNK(), Method::Message);
    assert!(bare.bytes().len() < 1300, "{}", bare.bytes().len());
    asks(&mut t, &bare, 407, &[(Name::ProxyAuthenticate, NONCE)]);
    let proven = t.request_to(TRUNK(), Method::Message);
    assert!(proven.bytes().len() > 1300, "{}", proven.bytes().len());
    assert!(proven.header(Name::Via).unwrap().starts_with("SIP/2.0/TCP"));
}

#[test]
fn who_asks_without_end_or_cannot_be_answered_is_refused_for_the_sender() {
    for (settings, why) in [
        (with_account(&[]), Unanswered::Refused),
        (with_account(&["elsewhere"]), Unanswered::Realm),
        (without_account(), Unanswered::NoAccount),
    ] {
        let mut t = Table::new(settings);
        t.receive(alice(), page("m1", b"hello"));
        let mut asked = 0;
        while let Some(text) = t.waiting(TRUNK(), &Method::Message) {
            asked += 1;
            assert!(asked < 4, "it is shown for ever");
            asks(&mut t, &text, 407, &[(Name::ProxyAuthenticate, NONCE)]);
        }
        assert_eq!(asked, if why == Unanswered::Refused { 2 } else { 1 });
        assert_eq!(unanswered(&t), [why]);
        refused(&mut t);
    }
}

#[test]
fn a_phone_that_asks_is_shown_nothing() {
    let mut t = Table::new(with_account(&[]));
    t.register("bob", third(), "third");
    let page = request(Method::Message, "alice", "bob", alice(), "m1");
    t.receive(alice(), page.body("text/plain", b"hello"));
    let text = t.request_to(third(), Method::Message);
    let asked = response(&text, 401, third(), "x").header(Name::WwwAuthenticate, NONCE);
    t.receive(third(), asked.end());
    t.nothing_to(third());
    refused(&mut t);
}
