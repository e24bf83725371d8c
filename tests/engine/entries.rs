//! What a history says of the endpoints that it is about, as the API and the records have it.

use refork::engine::ids::Side;
use refork::engine::ports::{Input, MediaEvent};
use refork::sip::Method;
use serde_json::Value;

use crate::people::*;
use crate::table::*;

fn entries(t: &Table) -> Vec<Value> {
    let entries = t.history().into_iter();
    entries
        .map(|what| serde_json::to_value(what).unwrap())
        .collect()
}

fn told<'a>(entries: &'a [Value], event: &str) -> Vec<&'a Value> {
    let told = entries.iter().filter(|entry| entry["event"] == event);
    told.collect()
}

#[test]
fn each_entry_names_its_endpoint_and_the_invite_that_it_is_about() {
    let mut t = Table::new(settings());
    t.register("bob", desk(), "desk");
    t.register("bob", mobile(), "mobile");
    let (mut a, _) = t.established();
    let media = t.engine.list(1)[0].key;
    t.input(Input::Media(MediaEvent::Silent {
        media,
        side: Side::Callee,
    }));
    t.request_to(desk(), Method::Options);
    t.input(Input::Media(MediaEvent::Flowing {
        media,
        side: Side::Callee,
    }));
    t.bob_is_lost();
    let first = t.request_to(desk(), Method::Invite);
    t.reply(&first, 480, desk());
    t.takes_over(mobile(), "m1", &audio(mobile()));
    let notice = t.request_to(alice(), Method::Message);
    t.reply(&notice, 200, alice());
    t.receive(alice(), a.message("hi"));
    let hi = t.request_to(mobile(), Method::Message);
    t.reply(&hi, 200, mobile());

    let entries = entries(&t);
    let of = |event: &str| {
        let told = told(&entries, event);
        let named = told.iter().map(|entry| entry["endpoint"].as_str().unwrap());
        named.map(str::to_owned).collect::<Vec<_>>()
    };
    let lost = of("lost");
    let [desk] = &lost[..] else {
        panic!("{entries:#?}")
    };
    assert!(!desk.is_empty());
    assert_eq!(
        (of("suspected"), of("alive")),
        (vec![desk.clone()], vec![desk.clone()])
    );
    // The INVITE that was refused, and the one that was joined.
    let attempt = |event: &str| {
        let told = told(&entries, event);
        told.iter()
            .map(|entry| entry["attempt"].as_u64())
            .collect::<Vec<_>>()
    };
    let asked: Vec<_> = of("reinvited")
        .into_iter()
        .zip(attempt("reinvited"))
        .collect();
    let mobile = of("restored").remove(0);
    let all = [(desk.clone(), Some(1)), (mobile.clone(), Some(2))];
    assert_eq!(asked, all);
    assert_eq!(
        (of("refused"), attempt("refused")),
        (vec![desk.clone()], vec![Some(1)])
    );
    assert_eq!(attempt("restored"), [Some(2)]);
    // Alice's phone was told.
    let told = of("notice").remove(0);
    assert!(!told.is_empty() && told != mobile, "{told}");
    assert_eq!(attempt("answered"), [None]);
}
