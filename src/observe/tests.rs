use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::level_filters::LevelFilter;

use super::*;
use crate::engine::events::Signal;
use crate::engine::ids::Side;
use crate::engine::time::Millis;

const ID: ConversationId = ConversationId(7);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what is logged meanwhile, as lines for people or as objects.
fn logged_by(level: LevelFilter, json: bool, act: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    if json {
        let log = log.json().flatten_event(true).with_span_list(false);
        tracing::subscriber::with_default(log.finish(), act);
    } else {
        tracing::subscriber::with_default(log.without_time().finish(), act);
    }
    let bytes = lines.0.lock().unwrap().clone();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn told(what: Happening) -> Event {
    Event::Conversation {
        id: ID,
        call_id: "a@b\r\nforged".into(),
        kind: Kind::Call,
        what,
    }
}

/// Logs happenings of one conversation and returns the lines at `level` and above.
fn logged(level: LevelFilter, happenings: &[Happening]) -> Vec<String> {
    logged_by(level, false, || {
        let spans = Spans::default();
        for what in happenings {
            spans.log(Some(ID), &told(what.clone()), Time(0));
        }
    })
}

fn invited() -> Happening {
    Happening::Invited {
        from: "sip:a@x".into(),
        to: "sip:b@x".into(),
    }
}

fn ended() -> Happening {
    Happening::Ended {
        how: Ending::HungUp(Side::Caller),
        undelivered: 0,
    }
}

fn a_call() -> Vec<Happening> {
    let endpoint: Box<str> = "desk".into();
    let side = Side::Callee;
    vec![
        invited(),
        Happening::Ringing {
            side,
            endpoint: endpoint.clone(),
            attempt: None,
        },
        Happening::Answered {
            side,
            endpoint: endpoint.clone(),
        },
        Happening::Suspected {
            side,
            signal: Signal::Silence,
            endpoint: endpoint.clone(),
        },
        Happening::Lost {
            side,
            signal: Signal::ProbeTimeout,
            endpoint: endpoint.clone(),
        },
        Happening::Reinvited {
            side,
            endpoint: endpoint.clone(),
            attempt: 1,
        },
        Happening::Restored {
            side,
            endpoint,
            same: true,
            after: Millis(400),
            attempt: Some(1),
        },
        ended(),
    ]
}

#[test]
fn a_call_is_five_lines_at_info() {
    let lines = logged(LevelFilter::INFO, &a_call());
    let words = ["invited", "answered", "lost", "restored", "ended"];
    assert_eq!(lines.len(), words.len(), "{lines:#?}");
    for (line, word) in lines.iter().zip(words) {
        let span = r"conversation{id=0000000000000007 call_id=a@b\r\nforged}: ";
        let (_, said) = line.split_once(span).unwrap_or_else(|| panic!("{line}"));
        // Once is enough.
        assert!(said.contains(word) && !said.contains("a@b"), "{line}");
        assert_eq!(line.matches("0007").count(), 1, "{line}");
    }
}

#[test]
fn debug_has_the_rest() {
    assert_eq!(logged(LevelFilter::DEBUG, &a_call()).len(), 8);
}

#[test]
fn a_peer_cannot_forge_a_line() {
    let lines = logged(LevelFilter::INFO, &a_call()[..1]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(r"call_id=a@b\r\nforged"), "{}", lines[0]);
}

#[test]
fn an_object_has_the_conversation_in_its_span() {
    let lines = logged_by(LevelFilter::DEBUG, true, || {
        let spans = Spans::default();
        spans.log(Some(ID), &told(invited()), Time(0));
        let kind = Retransmission::Sent;
        spans.log(Some(ID), &Event::Retransmitted { kind }, Time(0));
        spans.log(None, &Event::Retransmitted { kind }, Time(0));
    });
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let span = serde_json::json!({
        "name": "conversation",
        "id": "0000000000000007",
        "call_id": r"a@b\r\nforged",
    });
    let spans: Vec<_> = lines.iter().map(|line| line.get("span")).collect();
    assert_eq!(spans, [Some(&span), Some(&span), None]);
    assert_eq!(lines[0]["from"], "sip:a@x");
    assert!(lines[0].get("call_id").is_none(), "{}", lines[0]);
}

#[test]
fn other_threads_write_into_the_same_span() {
    let lines = logged_by(LevelFilter::WARN, false, || {
        let spans = Spans::default();
        spans.log(Some(ID), &told(invited()), Time(0));
        tracing::warn!(parent: &spans.of(ID), "no media ports");
        // Its first word is still to come.
        tracing::warn!(parent: &spans.of(ConversationId(8)), "cannot be taken up again");
    });
    let ours = r" WARN conversation{id=0000000000000007 call_id=a@b\r\nforged}: ";
    let other = " WARN conversation{id=0000000000000008}: ";
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with(ours), "{}", lines[0]);
    assert!(lines[1].starts_with(other), "{}", lines[1]);
}

#[test]
fn a_span_stands_until_all_is_said() {
    let after = |ms: u64| Time(5_000) + Millis(ms);
    let lines = logged_by(LevelFilter::DEBUG, false, || {
        let spans = Spans::default();
        let timeout = Event::TransactionTimeout {
            method: "BYE".into(),
        };
        for what in [invited(), ended()] {
            spans.log(Some(ID), &told(what), after(0));
        }
        spans.sweep(after(32_000));
        assert_eq!(spans.count(), 1);
        spans.log(Some(ID), &timeout, after(32_000));
        spans.sweep(after(40_000));
        assert_eq!(spans.count(), 0);
    });
    let last = lines.last().unwrap();
    assert!(last.contains("call_id=a@b"), "{last}");
    assert!(
        last.ends_with(r#"transaction timed out method=BYE"#),
        "{last}"
    );
}

#[test]
fn of_many_that_end_at_once_the_oldest_go() {
    logged_by(LevelFilter::WARN, false, || {
        let spans = Spans::default();
        for number in 0..1_000 {
            let id = ConversationId(number);
            spans.begin(id, "a@b");
            spans.end(id, Time(number));
        }
        // All are of the same virtual shard.
        assert_eq!(spans.count(), 256);
    });
}

#[test]
fn a_pause_of_an_upstream_is_one_line() {
    let lines = logged_by(LevelFilter::WARN, false, || {
        let paused = Event::UpstreamPaused {
            upstream: "pbx".into(),
            target: "sip:pbx.example.net".into(),
            address: "udp:192.0.2.1:5060".into(),
            span: Millis(19_500),
        };
        Spans::default().log(None, &paused, Time(0));
    });
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].ends_with(
            "upstream asks to be left alone upstream=pbx target=sip:pbx.example.net \
             address=udp:192.0.2.1:5060 pause_s=20"
        ),
        "{}",
        lines[0]
    );
}

#[test]
fn without_a_log_there_is_no_span() {
    let lines = logged_by(LevelFilter::OFF, false, || {
        let spans = Spans::default();
        for what in a_call() {
            spans.log(Some(ID), &told(what), Time(0));
            assert_eq!(spans.count(), 0);
        }
        assert!(spans.of(ID).is_disabled());
    });
    assert!(lines.is_empty(), "{lines:#?}");
}
