//! Calls that a provider brings, by telephone numbers.

use std::net::Ipv4Addr;

use refork::config;
use refork::sip::Method;

use crate::stage::Stage;
use crate::wire::Wire;

const PROVIDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Bob has a number, and whatever else begins with + goes to the provider.
fn office() -> Stage {
    let own = "domains: { example.org: {} }\n\
        users: { sip:bob@example.org: { password: long enough, numbers: [\"+49 30\", \"+49-30-111\"] } }\n";
    let refused = config::parse(own, "x", &|_| None).unwrap_err().to_string();
    assert!(
        refused.contains("`+49 30` is no telephone number"),
        "{refused}"
    );
    let own = own.replace("\"+49 30\", ", "");
    let own = format!(
        "listen: [ \"udp://127.0.0.1:5060\" ]\n{own}upstreams: {{ provider: {{ targets: [\"sip:{PROVIDER}\"] }} }}\n\
         routes: [ {{ match: \"sip:+*@*\", to: provider }} ]\n"
    );
    let own = config::parse(&own, "x", &|_| None).unwrap().engine;
    Stage::with(|config| {
        config.engine.numbers = own.numbers;
        config.engine.upstreams = own.upstreams;
        config.engine.routes = own.routes;
    })
}

#[test]
fn a_provider_reaches_whose_number_it_is_and_itself_never() {
    let stage = office();
    let mut bob = Wire::of(&stage, "bob");
    bob.register(60);
    let mut provider = Wire::at(&stage, "provider", PROVIDER);
    let here = stage.sip(refork::ua::Transport::Udp, false);
    for uri in [
        format!("sip:+4930111@{here}"),
        format!("sip:+4930111;npdi@{here};user=phone"),
        "sip:+49-30-111@example.org".to_owned(),
        "sip:+4930111@provider.example".to_owned(),
        "tel:+49-30-111".to_owned(),
    ] {
        let mut invite = provider.first(Method::Invite, &uri);
        invite.sdp = provider.sdp(1, "sendrecv");
        provider.send(&mut invite);
        let rung = bob.request(&Method::Invite);
        bob.answer(&rung, 486, "busy", "", "");
        bob.request(&Method::Ack);
        let refused = provider.response(&invite, |status| status >= 200);
        assert_eq!(refused.status(), 486, "{uri}");
    }
    for uri in [
        format!("sip:+4930999@{here}"),
        "sip:+4930999@example.org".to_owned(),
        "tel:+4930999".to_owned(),
    ] {
        let mut invite = provider.first(Method::Invite, &uri);
        invite.sdp = provider.sdp(1, "sendrecv");
        provider.send(&mut invite);
        let refused = provider.response(&invite, |status| status >= 200);
        assert_eq!(refused.status(), 404, "{uri}");
    }
}
