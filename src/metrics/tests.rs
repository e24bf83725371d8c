use super::*;
use crate::engine::events::{Barred, Ending, Forgotten, GaveUp, Refuser, TargetFailure, Told};
use crate::engine::ids::{ConversationId, Side};
use crate::engine::time::Millis;
use crate::engine::view::Gauges;

fn render(metrics: &Metrics) -> String {
    metrics.render(&Readings::default(), Duration::ZERO)
}

/// Returns a sample's value by its name and labels as written.
fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find(|line| {
            line.strip_prefix(series)
                .is_some_and(|rest| rest.starts_with(' '))
        })
        .unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line[series.len() + 1..].parse().unwrap()
}

fn happened(what: Happening) -> Event {
    Event::Conversation {
        id: ConversationId(1),
        call_id: "a@b".into(),
        kind: Kind::Call,
        what,
    }
}

fn lost(signal: Signal) -> Happening {
    Happening::Lost {
        side: Side::Callee,
        signal,
        endpoint: "desk".into(),
    }
}

fn restored(same: bool, after: u64) -> Happening {
    Happening::Restored {
        side: Side::Callee,
        endpoint: "desk".into(),
        same,
        after: Millis(after),
        attempt: Some(1),
    }
}

#[test]
fn every_family_is_there_from_the_start() {
    let metrics = Metrics::new("n1");
    metrics.event(&Event::Stray { what: "ack" });
    let text = render(&metrics);
    for family in names::ALL {
        let head = format!("# TYPE {} ", family.name);
        assert!(text.contains(&head), "{} is missing", family.name);
    }
}

#[test]
fn records_are_counted_by_what_became_of_them() {
    let metrics = Metrics::new("n1");
    for (outcome, count, word) in [
        (Recording::Written, 1, "written"),
        (Recording::Failed, 2, "failed"),
        (Recording::Dropped, 3, "dropped"),
    ] {
        metrics.recorded(outcome, count);
        let series = format!("refork_cdr_records_total{{outcome=\"{word}\"}}");
        assert_eq!(value(&render(&metrics), &series), count as f64);
    }
}

#[test]
fn what_belongs_to_nothing_is_there_from_the_start() {
    let text = render(&Metrics::new("n1"));
    for what in ["response", "ack", "cancel", "vias"] {
        assert_eq!(
            value(&text, &format!("refork_stray_total{{what=\"{what}\"}}")),
            0.0
        );
    }
}

#[test]
fn the_node_has_its_name() {
    let series = format!(
        "refork_build_info{{node=\"n1\",version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(value(&render(&Metrics::new("n1")), &series), 1.0);
}

#[test]
fn labels_stand_where_their_values_point() {
    let metrics = Metrics::new("n1");
    for signal in Signal::ALL {
        assert_eq!(Signal::ALL[signal as usize], signal);
        metrics.event(&happened(lost(signal)));
        let series = format!("refork_losses_total{{reason=\"{}\"}}", signal.as_str());
        assert_eq!(value(&render(&metrics), &series), 1.0);
    }
    for when in Forgotten::ALL {
        metrics.event(&Event::Forgotten { when, tell: true });
        let word = when.as_str();
        let series = format!("refork_lost_dialogs_forgotten_total{{when=\"{word}\"}}");
        assert_eq!(value(&render(&metrics), &series), 1.0);
    }
    for outcome in NoticeOutcome::ALL {
        assert_eq!(NoticeOutcome::ALL[outcome as usize], outcome);
    }
    for (at, kind) in KINDS.into_iter().enumerate() {
        assert_eq!(kind as usize, at);
    }
}

#[test]
fn an_event_counts_once_in_its_place() {
    let side = Side::Caller;
    let endpoint = || "desk".into();
    let cases = [
        (
            happened(Happening::Invited {
                from: "a".into(),
                to: "b".into(),
            }),
            "refork_conversations_started_total{kind=\"call\"}",
        ),
        (
            happened(Happening::Refused {
                side,
                endpoint: endpoint(),
                status: 603,
                by: Refuser::Endpoint,
                attempt: None,
            }),
            "refork_branches_refused_total{class=\"6xx\"}",
        ),
        (
            happened(Happening::Answered {
                side,
                endpoint: endpoint(),
            }),
            "refork_conversations_answered_total{kind=\"call\"}",
        ),
        (
            happened(Happening::Suspected {
                side,
                signal: Signal::Silence,
                endpoint: endpoint(),
            }),
            "refork_suspicions_total{signal=\"silence\"}",
        ),
        (
            happened(Happening::Alive {
                side,
                endpoint: endpoint(),
            }),
            "refork_suspicions_settled_total",
        ),
        (
            happened(Happening::Reinvited {
                side,
                endpoint: endpoint(),
                attempt: 1,
            }),
            "refork_reinvites_total",
        ),
        (
            happened(Happening::Transferred {
                side,
                endpoint: "x".into(),
            }),
            "refork_transfers_total{result=\"transferred\"}",
        ),
        (
            happened(Happening::TransferFailed { side, status: 486 }),
            "refork_transfers_total{result=\"failed\"}",
        ),
        (
            happened(Happening::Repaired {
                side,
                endpoint: endpoint(),
            }),
            "refork_restorations_total{result=\"repaired\"}",
        ),
        (
            happened(Happening::TakenOver {
                side,
                endpoint: endpoint(),
                same: false,
            }),
            "refork_takeovers_total{to=\"other_endpoint\"}",
        ),
        (
            happened(Happening::Notice {
                side,
                endpoint: endpoint(),
                outcome: NoticeOutcome::Refused,
            }),
            "refork_notices_total{outcome=\"refused\"}",
        ),
        (
            happened(Happening::Queued { from: side }),
            "refork_messages_queued_total",
        ),
        (
            happened(Happening::Delivered {
                from: side,
                endpoint: endpoint(),
            }),
            "refork_messages_delivered_total",
        ),
        (
            happened(Happening::Redelivered {
                from: side,
                endpoint: endpoint(),
            }),
            "refork_messages_redelivered_total",
        ),
        (
            happened(Happening::Rejected {
                from: side,
                status: 415,
                endpoint: Some(endpoint()),
            }),
            "refork_messages_rejected_total",
        ),
        (
            happened(Happening::Overflow { from: side }),
            "refork_messages_overflow_total",
        ),
        (
            happened(Happening::Rebuilt),
            "refork_conversations_rebuilt_total{kind=\"call\"}",
        ),
        (
            happened(Happening::Ended {
                how: Ending::Gave(GaveUp::TooManyRestorations),
                undelivered: 0,
            }),
            "refork_conversations_ended_total{how=\"too_many_restorations\",kind=\"call\"}",
        ),
        (
            Event::Registered {
                aor: "a".into(),
                contact: "c".into(),
                expires: Millis(1),
            },
            "refork_registrations_total{change=\"registered\"}",
        ),
        (
            Event::Unregistered {
                aor: "a".into(),
                contact: "c".into(),
                expired: true,
            },
            "refork_registrations_total{change=\"expired\"}",
        ),
        (
            Event::Unregistered {
                aor: "a".into(),
                contact: "c".into(),
                expired: false,
            },
            "refork_registrations_total{change=\"unregistered\"}",
        ),
        (
            Event::Refused {
                method: "REGISTER".into(),
                status: 401,
                why: "no credentials",
                peer: "p".into(),
            },
            "refork_refused_total{method=\"REGISTER\",status=\"401\"}",
        ),
        (
            Event::WrongDomain {
                method: "REGISTER".into(),
                domain: "d".into(),
                served: "".into(),
                peer: "p".into(),
                tell: false,
            },
            "refork_wrong_domain_total",
        ),
        (
            Event::Barred {
                why: Barred::Sip,
                at: ([192, 0, 2, 50], 5060).into(),
                peer: ([192, 0, 2, 66], 5060).into(),
            },
            "refork_media_barred_total{why=\"sip\"}",
        ),
        (
            Event::Unproven {
                method: "INVITE".into(),
                aor: "a".into(),
                why: Unproven::Wrong,
                peer: ([192, 0, 2, 1], 5060).into(),
            },
            "refork_unproven_total{why=\"wrong\"}",
        ),
        (
            Event::Notified {
                watcher: "a".into(),
                watched: "b".into(),
                told: Told::PutOff,
            },
            "refork_lamp_notifications_total{outcome=\"put_off\"}",
        ),
        (
            Event::Proved,
            "refork_challenges_total{outcome=\"answered\"}",
        ),
        (
            Event::Unanswered {
                upstream: "pbx".into(),
                method: "BYE".into(),
                realm: "r".into(),
                why: Unanswered::Refused,
            },
            "refork_challenges_total{outcome=\"refused\"}",
        ),
        (
            Event::Malformed {
                reason: "via",
                peer: "p".into(),
            },
            "refork_malformed_total{reason=\"via\"}",
        ),
        (
            Event::Retransmitted {
                kind: Retransmission::Sent,
            },
            "refork_retransmissions_total{direction=\"sent\"}",
        ),
        (
            Event::Retransmitted {
                kind: Retransmission::Received,
            },
            "refork_retransmissions_total{direction=\"received\"}",
        ),
        (
            Event::TargetFailed {
                name: "pbx".into(),
                target: "udp:192.0.2.1:5060".into(),
                failure: TargetFailure::Unavailable(None),
                next: true,
            },
            "refork_target_failures_total{failure=\"unavailable\",then=\"next\"}",
        ),
        (
            Event::UpstreamChanged {
                upstream: "pbx".into(),
                target: "sip:pbx.example.net".into(),
                before: None,
                state: "ejected",
                used: false,
            },
            "refork_upstream_targets{state=\"ejected\"}",
        ),
        (
            Event::NotLocated {
                host: "example.net".into(),
                kept: false,
            },
            "refork_not_located_total{then=\"none\"}",
        ),
        (
            Event::TransactionTimeout {
                method: "INVENTED".into(),
            },
            "refork_transaction_timeouts_total{method=\"other\"}",
        ),
    ];
    for (event, series) in cases {
        let metrics = Metrics::new("n1");
        assert_eq!(value(&render(&metrics), series), 0.0, "before {event:?}");
        metrics.event(&event);
        assert_eq!(value(&render(&metrics), series), 1.0, "after {event:?}");
    }
}

#[test]
fn a_restoration_is_timed_by_its_result() {
    let metrics = Metrics::new("n1");
    metrics.event(&happened(restored(true, 300)));
    metrics.event(&happened(restored(false, 5_000)));
    metrics.event(&happened(Happening::Ended {
        how: Ending::RestoreTimeout(Side::Callee),
        undelivered: 3,
    }));
    let text = render(&metrics);
    for (series, expected) in [
        ("refork_restorations_total{result=\"same_endpoint\"}", 1.0),
        ("refork_restorations_total{result=\"other_endpoint\"}", 1.0),
        ("refork_restorations_total{result=\"timeout\"}", 1.0),
        (
            "refork_restoration_duration_seconds_bucket{result=\"same_endpoint\",le=\"0.25\"}",
            0.0,
        ),
        (
            "refork_restoration_duration_seconds_bucket{result=\"same_endpoint\",le=\"0.5\"}",
            1.0,
        ),
        (
            "refork_restoration_duration_seconds_sum{result=\"other_endpoint\"}",
            5.0,
        ),
        ("refork_messages_undelivered_total", 3.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
}

/// Every reading with a value of its own, which `more` raises. A field that is new must be named here.
fn distinct(more: u64) -> Readings {
    let n = |value: u64| value + more;
    let count = |value: u64| n(value) as usize;
    Readings {
        shards: Gauges {
            inviting: count(101),
            established: count(102),
            suspect: count(103),
            restoring: count(104),
            restorations_waiting: count(115),
            lost_dialogs: count(116),
            legs: count(106),
            client_transactions: count(107),
            server_transactions: count(108),
            timers: count(109),
            queued_messages: count(110),
            queued_bytes: count(111),
            overloaded: count(112),
            under_way: count(113),
            lamps: count(117),
            pauses: count(114),
        },
        bindings: n(201),
        certificate_not_after: n(202),
        transport: TransportReading {
            connections: [n(301), n(304), n(305), n(306)],
            accepted: n(302),
            refused: [303, 335, 331, 332].map(n),
            overflowed: n(308),
            silent: n(309),
            yielded: [333, 334].map(n),
            handshakes_failed: [311, 312, 313, 314, 315, 318, 319, 316, 317].map(n),
            datagrams_received: n(304),
            datagrams_sent: n(305),
            datagrams_dropped: n(306),
            datagrams_lost: n(315),
            datagram_wait: Duration::from_secs(n(316)),
            mailbox_overflows: n(307),
        },
        log_lost: n(251),
        gate: GateReading {
            banned_now: n(501),
            dropped_too_much: n(502),
            dropped_banned: n(503),
            dropped_denied: n(521),
            closed: n(504),
            strikes: [511, 512, 513, 514].map(n),
            bans: [521, 522, 523, 524, 525].map(n),
        },
        relay: RelayReading {
            sessions: n(401),
            ports_used: n(402),
            ports: 10_000,
            ports_refused: [421, 422, 423].map(n),
            rtp_received: n(403),
            rtp_sent: n(404),
            rtcp_received: n(405),
            rtcp_sent: n(406),
            bytes_received: n(407),
            bytes_sent: n(408),
            dropped_stranger: n(409),
            dropped_malformed: n(410),
            dropped_no_target: n(411),
            dropped_send: n(412),
            dropped_forged: n(417),
            dropped_replayed: n(418),
            dropped_unsealed: n(419),
            dropped_format: n(423),
            filler: n(413),
            relatches: n(414),
            seams: n(415),
            unreachable: n(416),
        },
    }
}

#[test]
fn readings_set_gauges_and_raise_counters() {
    let series = [
        ("refork_conversations{state=\"inviting\"}", 101),
        ("refork_conversations{state=\"established\"}", 102),
        ("refork_conversations{state=\"suspect\"}", 103),
        ("refork_conversations{state=\"restoring\"}", 104),
        ("refork_legs", 106),
        ("refork_transactions{role=\"client\"}", 107),
        ("refork_transactions{role=\"server\"}", 108),
        ("refork_timers", 109),
        ("refork_messages_waiting", 110),
        ("refork_message_bytes_waiting", 111),
        ("refork_restorations_waiting", 115),
        ("refork_lost_dialogs", 116),
        ("refork_overloaded_shards", 112),
        ("refork_tls_certificate_not_after_seconds", 202),
        ("refork_requests_under_way_bytes", 113),
        ("refork_lamps", 117),
        ("refork_upstream_pauses", 114),
        ("refork_bindings", 201),
        ("refork_log_lines_lost_total", 251),
        ("refork_connections{transport=\"tcp\"}", 301),
        ("refork_connections{transport=\"tls\"}", 304),
        ("refork_connections{transport=\"ws\"}", 305),
        ("refork_connections{transport=\"wss\"}", 306),
        ("refork_connections_accepted_total", 302),
        ("refork_connections_refused_total{reason=\"limit\"}", 303),
        (
            "refork_connections_refused_total{reason=\"limit_per_ip\"}",
            335,
        ),
        ("refork_connections_refused_total{reason=\"gate\"}", 331),
        (
            "refork_connections_refused_total{reason=\"not_a_proxy\"}",
            332,
        ),
        ("refork_connections_overflowed_total", 308),
        ("refork_connections_silent_total", 309),
        ("refork_connections_yielded_total{why=\"silent\"}", 333),
        ("refork_connections_yielded_total{why=\"idle\"}", 334),
        (
            "refork_handshakes_failed_total{reason=\"certificate\"}",
            311,
        ),
        (
            "refork_handshakes_failed_total{reason=\"incompatible\"}",
            312,
        ),
        ("refork_handshakes_failed_total{reason=\"alert\"}", 313),
        ("refork_handshakes_failed_total{reason=\"nonsense\"}", 314),
        ("refork_handshakes_failed_total{reason=\"upgrade\"}", 315),
        ("refork_handshakes_failed_total{reason=\"origin\"}", 318),
        ("refork_handshakes_failed_total{reason=\"proxy\"}", 319),
        ("refork_handshakes_failed_total{reason=\"timeout\"}", 316),
        ("refork_handshakes_failed_total{reason=\"left\"}", 317),
        ("refork_datagrams_received_total", 304),
        ("refork_datagrams_sent_total", 305),
        ("refork_datagrams_dropped_total", 306),
        ("refork_datagrams_lost_total", 315),
        ("refork_datagram_wait_seconds", 316),
        ("refork_mailbox_overflows_total", 307),
        ("refork_banned", 501),
        ("refork_gate_dropped_total{reason=\"rate\"}", 502),
        ("refork_gate_dropped_total{reason=\"banned\"}", 503),
        ("refork_gate_dropped_total{reason=\"denied\"}", 521),
        ("refork_gate_closed_total", 504),
        ("refork_strikes_total{why=\"credentials\"}", 511),
        ("refork_strikes_total{why=\"malformed\"}", 512),
        ("refork_strikes_total{why=\"scanner\"}", 513),
        ("refork_strikes_total{why=\"unknown_user\"}", 514),
        ("refork_bans_total{why=\"credentials\"}", 521),
        ("refork_bans_total{why=\"malformed\"}", 522),
        ("refork_bans_total{why=\"scanner\"}", 523),
        ("refork_bans_total{why=\"unknown_user\"}", 524),
        ("refork_bans_total{why=\"operator\"}", 525),
        ("refork_relay_sessions", 401),
        ("refork_relay_ports{state=\"used\"}", 402),
        ("refork_relay_ports_refused_total{claim=\"standing\"}", 421),
        ("refork_relay_ports_refused_total{claim=\"known\"}", 422),
        ("refork_relay_ports_refused_total{claim=\"stranger\"}", 423),
        (
            "refork_relay_packets_total{direction=\"received\",protocol=\"rtp\"}",
            403,
        ),
        (
            "refork_relay_packets_total{direction=\"sent\",protocol=\"rtp\"}",
            404,
        ),
        (
            "refork_relay_packets_total{direction=\"received\",protocol=\"rtcp\"}",
            405,
        ),
        (
            "refork_relay_packets_total{direction=\"sent\",protocol=\"rtcp\"}",
            406,
        ),
        ("refork_relay_bytes_total{direction=\"received\"}", 407),
        ("refork_relay_bytes_total{direction=\"sent\"}", 408),
        ("refork_relay_dropped_total{reason=\"stranger\"}", 409),
        ("refork_relay_dropped_total{reason=\"malformed\"}", 410),
        ("refork_relay_dropped_total{reason=\"no_target\"}", 411),
        ("refork_relay_dropped_total{reason=\"send\"}", 412),
        ("refork_relay_dropped_total{reason=\"forged\"}", 417),
        ("refork_relay_dropped_total{reason=\"replayed\"}", 418),
        ("refork_relay_dropped_total{reason=\"unsealed\"}", 419),
        ("refork_relay_dropped_total{reason=\"format\"}", 423),
        ("refork_relay_filler_packets_total", 413),
        ("refork_relay_relatches_total", 414),
        ("refork_relay_seams_total", 415),
        ("refork_relay_unreachable_total", 416),
    ];
    let metrics = Metrics::new("n1");
    // A second scrape: gauges show what is now, counters have grown to the total.
    for more in [0, 1_000] {
        let text = metrics.render(&distinct(more), Duration::from_millis(250 + more));
        for (series, least) in series {
            assert_eq!(value(&text, series), (least + more) as f64, "{series}");
        }
        let free = 10_000 - 402 - more;
        assert_eq!(
            value(&text, "refork_relay_ports{state=\"free\"}"),
            free as f64
        );
        let took = (250 + more) as f64 / 1000.0;
        assert_eq!(value(&text, "refork_shard_answer_seconds"), took);
    }
    // A gauge falls with its reading; a total that seems to fall came late.
    let text = render(&metrics);
    assert_eq!(value(&text, "refork_legs"), 0.0);
    assert_eq!(value(&text, "refork_relay_filler_packets_total"), 1_413.0);
}

#[test]
fn a_peer_cannot_grow_the_labels() {
    let metrics = Metrics::new("n1");
    let lines = || render(&metrics).lines().count();
    let refused = |method: String| Event::Refused {
        method: method.into(),
        status: 405,
        why: "unknown method",
        peer: "p".into(),
    };
    let before = lines();
    for n in 0..50 {
        metrics.event(&refused(format!("M{n}")));
        metrics.event(&Event::TransactionTimeout {
            method: format!("M{n}").into(),
        });
    }
    assert_eq!(lines(), before);
}
