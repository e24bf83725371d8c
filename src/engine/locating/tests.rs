use super::order::by_weight;
use super::*;
use std::collections::BTreeMap;

const ALL: &[Transport] = &[Transport::Udp, Transport::Tcp, Transport::Tls];
const PLAIN: &[Transport] = &[Transport::Udp, Transport::Tcp];

/// A zone as a text: one record a line; `?` where nobody answers.
fn zone(text: &str) -> Answers {
    let mut zone: BTreeMap<Query, Records> = BTreeMap::new();
    let mut silent = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().unwrap();
        match words[..] {
            [] => {}
            [name, "SRV", "?"] => silent.push(Query::Srv(name.into())),
            [name, "NAPTR", "?"] => silent.push(Query::Naptr(name.into())),
            [name, "A", "?"] => silent.push(Query::Addresses(name.into())),
            [name, "A", ip] => {
                let query = Query::Addresses(name.into());
                let records = zone.entry(query).or_default();
                records.addresses.push(ip.parse().unwrap());
            }
            [name, "SRV", _, _, port, target] => {
                let records = zone.entry(Query::Srv(name.into())).or_default();
                records.srv.push(Srv {
                    priority: number(2),
                    weight: number(3),
                    port: port.parse().unwrap(),
                    target: target.trim_end_matches('.').into(),
                });
            }
            [name, "NAPTR", _, _, flags, service, replacement] => {
                let records = zone.entry(Query::Naptr(name.into())).or_default();
                records.naptr.push(Naptr {
                    order: number(2),
                    preference: number(3),
                    flags: flags.into(),
                    service: service.into(),
                    replacement: replacement.trim_end_matches('.').into(),
                });
            }
            _ => panic!("{line}"),
        }
    }
    let found = zone.into_iter().map(|(query, found)| (query, Some(found)));
    found
        .chain(silent.into_iter().map(|query| (query, None)))
        .collect()
}

/// Searches in a zone. Returns the targets and the lookups that it took.
fn locate(uri: &str, speaks: &[Transport], zone: &Answers) -> (String, usize) {
    let hop = Hop::of(&Uri::parse(uri).unwrap()).unwrap();
    let mut search = Search::new(hop, speaks, false);
    let mut lookups = 0;
    for _ in 0..4 {
        let queries = search.queries();
        if queries.is_empty() {
            break;
        }
        lookups += queries.len();
        let found = queries.into_iter().filter_map(|query| {
            let records = zone.get(&query)?.clone();
            Some((query, records))
        });
        search.take(&found.collect(), &mut |_| 0);
    }
    assert!(search.queries().is_empty(), "{uri} takes too many rounds");
    let targets = search.targets().into_iter();
    let targets = targets.map(|(transport, at)| format!("{}:{at}", transport.param()));
    (targets.collect::<Vec<_>>().join(" "), lookups)
}

#[test]
fn the_table_of_rfc_3263_4() {
    let zone = zone(
        "example.com NAPTR 50 50 s SIPS+D2T _sips._tcp.example.com.
         example.com NAPTR 90 50 S sip+d2t _sip._tcp.example.com.
         example.com NAPTR 100 50 s SIP+D2U _sip._udp.example.com.
         _sips._tcp.example.com SRV 0 1 5061 secure.example.com.
         _sip._tcp.example.com SRV 0 1 5060 server1.example.com.
         _sip._tcp.example.com SRV 1 1 5062 server2.example.com.
         _sip._udp.example.com SRV 0 1 5070 server1.example.com.
         secure.example.com A 192.0.2.9
         server1.example.com A 192.0.2.1
         server1.example.com A 2001:db8::1
         server2.example.com A 192.0.2.2
         example.com A 192.0.2.100
         only-srv.com A 192.0.2.30
         _sip._udp.only-srv.com SRV 0 0 5090 server2.example.com.
         _sip._tcp.only-srv.com SRV 0 0 5091 server2.example.com.
         bare.com A 192.0.2.40
         bare.com A 192.0.2.41
         refuses.com A 192.0.2.50
         _sip._udp.refuses.com SRV 0 0 0 .
         enum.com NAPTR 10 10 u E2U+sip .
         enum.com A 192.0.2.60
         odd.com NAPTR 10 10 s SIP+D2S _sip._sctp.odd.com.
         odd.com NAPTR 10 20 s SIP+D2W _sip._ws.odd.com.
         odd.com A 192.0.2.70
         two.com NAPTR 10 20 s SIP+D2U _sip._udp.example.com.
         two.com NAPTR 10 10 s SIP+D2T _sip._tcp.only-srv.com.",
    );
    for (uri, speaks, expected, lookups) in [
        // 4.1: an address, or a port, rules all records but addresses out.
        ("sip:192.0.2.1", ALL, "udp:192.0.2.1:5060", 0),
        ("sip:[2001:db8::1]", ALL, "udp:[2001:db8::1]:5060", 0),
        ("sips:192.0.2.1", ALL, "tls:192.0.2.1:5061", 0),
        ("sip:192.0.2.1;transport=tcp", ALL, "tcp:192.0.2.1:5060", 0),
        ("sips:192.0.2.1;transport=tcp", ALL, "tls:192.0.2.1:5061", 0),
        ("sip:a@example.com:5080", ALL, "udp:192.0.2.100:5080", 1),
        ("sips:a@example.com:5080", ALL, "tls:192.0.2.100:5080", 1),
        (
            "sip:example.com:5080;transport=tcp",
            ALL,
            "tcp:192.0.2.100:5080",
            1,
        ),
        // 4.1: NAPTR says what the domain would rather have.
        ("sip:a@example.com", ALL, "tls:192.0.2.9:5061", 3),
        (
            "sip:a@Example.COM",
            PLAIN,
            "tcp:192.0.2.1:5060 tcp:[2001:db8::1]:5060 tcp:192.0.2.2:5062",
            4,
        ),
        (
            "sip:a@example.com",
            &[Transport::Udp],
            "udp:192.0.2.1:5070 udp:[2001:db8::1]:5070",
            3,
        ),
        ("sips:a@example.com", ALL, "tls:192.0.2.9:5061", 3),
        // 4.2: with a transport named, SRV of that transport.
        (
            "sip:example.com;transport=udp",
            ALL,
            "udp:192.0.2.1:5070 udp:[2001:db8::1]:5070",
            2,
        ),
        (
            "sip:bare.com;transport=tls",
            ALL,
            "tls:192.0.2.40:5061 tls:192.0.2.41:5061",
            2,
        ),
        // No NAPTR: SRV of every transport that we have.
        (
            "sip:only-srv.com",
            PLAIN,
            "udp:192.0.2.2:5090 tcp:192.0.2.2:5091",
            4,
        ),
        (
            "sip:only-srv.com",
            &[Transport::Tcp],
            "tcp:192.0.2.2:5091",
            3,
        ),
        ("sips:only-srv.com", ALL, "tls:192.0.2.30:5061", 3),
        // Neither: the host itself.
        (
            "sip:bare.com",
            ALL,
            "udp:192.0.2.40:5060 udp:192.0.2.41:5060",
            5,
        ),
        (
            "sip:bare.com",
            &[Transport::Tcp],
            "tcp:192.0.2.40:5060 tcp:192.0.2.41:5060",
            3,
        ),
        // Records of another application are none.
        ("sip:enum.com", PLAIN, "udp:192.0.2.60:5060", 4),
        // The domain has nothing that we speak, or says that there is nothing.
        ("sip:odd.com", ALL, "", 1),
        ("sip:refuses.com", &[Transport::Udp], "", 2),
        ("sip:nowhere.com", PLAIN, "", 4),
        // What we cannot speak is not even looked for.
        ("sip:example.com;transport=tls", PLAIN, "", 0),
        ("sips:example.com", PLAIN, "", 0),
        ("sip:192.0.2.1;transport=ws", ALL, "", 0),
        // The same order: one after another, by preference.
        (
            "sip:two.com",
            PLAIN,
            "tcp:192.0.2.2:5091 udp:192.0.2.1:5070 udp:[2001:db8::1]:5070",
            5,
        ),
        // RFC 3261 19.1.1: maddr is where it goes.
        (
            "sip:example.com;maddr=192.0.2.7",
            ALL,
            "udp:192.0.2.7:5060",
            0,
        ),
        (
            "sip:example.com:5070;maddr=[2001:db8::7]",
            ALL,
            "udp:[2001:db8::7]:5070",
            0,
        ),
    ] {
        let (found, took) = locate(uri, speaks, &zone);
        assert_eq!((&*found, took), (expected, lookups), "{uri} {speaks:?}");
    }
}

#[test]
fn what_is_no_next_hop() {
    for uri in ["tel:+15551234", "sip:a@b;transport=sctp", "urn:service:sos"] {
        assert_eq!(Hop::of(&Uri::parse(uri).unwrap()), None, "{uri}");
    }
}

#[test]
fn ipv6_first_where_it_is_preferred() {
    let found = zone("h A 192.0.2.1\nh A 2001:db8::1");
    let hop = Hop::of(&Uri::parse("sip:h:5060").unwrap()).unwrap();
    let mut search = Search::new(hop, ALL, true);
    search.take(&found, &mut |_| 0);
    let first = search.targets()[0].1;
    assert!(first.is_ipv6(), "{first}");
}

#[test]
fn who_does_not_answer_has_not_said_that_there_is_nothing() {
    for (text, uri, expected) in [
        // The host may be anything where its services are.
        (
            "_sip._udp.a.com SRV ?\na.com A 192.0.2.1",
            "sip:a.com;transport=udp",
            "",
        ),
        ("_sip._tcp.a.com SRV ?\na.com A 192.0.2.1", "sip:a.com", ""),
        // What was found of several services is a way.
        (
            "_sip._tcp.a.com SRV ?\n_sip._udp.a.com SRV 0 0 5070 b.com\nb.com A 192.0.2.2",
            "sip:a.com",
            "udp:192.0.2.2:5070",
        ),
        // Services need no NAPTR.
        (
            "a.com NAPTR ?\n_sip._udp.a.com SRV 0 0 5070 b.com\nb.com A 192.0.2.2",
            "sip:a.com",
            "udp:192.0.2.2:5070",
        ),
        (
            "a.com NAPTR ?\na.com A 192.0.2.1",
            "sip:a.com",
            "udp:192.0.2.1:5060",
        ),
        // Of two machines the one that is known is asked.
        (
            "_sip._udp.a.com SRV 0 0 5070 b.com\n_sip._udp.a.com SRV 1 0 5070 c.com\n\
             b.com A ?\nc.com A 192.0.2.3",
            "sip:a.com;transport=udp",
            "udp:192.0.2.3:5070",
        ),
        ("a.com A ?", "sip:a.com:5070", ""),
    ] {
        assert_eq!(locate(uri, ALL, &zone(text)).0, expected, "{text}");
    }
}

#[test]
fn a_flood_of_records_is_cut() {
    let mut text = String::new();
    for n in 0..200 {
        text += &format!("_sip._udp.many.com SRV {n} 0 5060 h{n}.many.com.\n");
        for m in 0..5 {
            text += &format!("h{n}.many.com A 192.0.2.{}\n", m + n);
        }
    }
    let (found, lookups) = locate("sip:many.com;transport=udp", ALL, &zone(&text));
    assert_eq!(found.split(' ').count(), 16);
    assert_eq!(lookups, 1 + 16);
}

fn srv(name: &str, priority: u16, weight: u16) -> Srv {
    Srv {
        priority,
        weight,
        port: 5060,
        target: name.into(),
    }
}

fn names(records: Vec<Srv>) -> String {
    records
        .into_iter()
        .map(|record| record.target.into_string())
        .collect()
}

/// RFC 2782: the first whose running sum of weights is not less than what was thrown.
#[test]
fn weights_are_drawn_by_the_dice() {
    let records = || {
        vec![
            srv("a", 1, 10),
            srv("b", 0, 60),
            srv("c", 0, 0),
            srv("d", 0, 20),
        ]
    };
    for (throws, order) in [
        ([0, 0, 0, 0], "cbda"),
        ([80, 60, 0, 0], "dbca"),
        ([61, 0, 1, 0], "dcba"),
        ([1, 20, 0, 10], "bdca"),
    ] {
        let mut throws = throws.into_iter();
        let mut asked = Vec::new();
        let sorted = by_weight(records(), &mut |most| {
            asked.push(most);
            throws.next().unwrap()
        });
        assert_eq!(names(sorted), order, "{asked:?}");
        assert_eq!(asked[0], 80);
    }
}

#[test]
fn weights_are_shares() {
    let mut state = 1u64;
    let mut dice = |most: u32| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 33) % (u64::from(most) + 1)) as u32
    };
    let mut first = [0; 2];
    for _ in 0..4000 {
        let sorted = by_weight(vec![srv("a", 0, 3), srv("b", 0, 1)], &mut dice);
        first[usize::from(&*sorted[0].target == "b")] += 1;
    }
    // Zero is a throw too: four of five.
    assert!((3000..3400).contains(&first[0]), "{first:?}");
}
