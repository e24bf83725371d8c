//! The interface as a client sees it: over a socket, in front of a directory that is a table.

mod table;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::table::{Server, Table, some};
use crate::engine::ids::{ConversationId, Side};
use crate::engine::ports::Command;

#[tokio::test]
async fn metrics_show_what_the_shards_read() {
    let server = Server::start(some(), None).await;
    let (status, head, body) = server.ask("GET /metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(
        body.contains("refork_conversations{state=\"established\"} 3\n"),
        "{body}"
    );
}

#[tokio::test]
async fn ready_means_bound_and_answering() {
    for (table, status) in [
        (some(), 200),
        (
            Table {
                deaf: true,
                ..some()
            },
            503,
        ),
        (
            Table {
                drains: true,
                ..some()
            },
            503,
        ),
    ] {
        let server = Server::start(table, None).await;
        assert_eq!(server.ask("GET /readyz", "").await.0, status);
        assert_eq!(server.ask("GET /healthz", "").await.0, 200);
    }
}

#[tokio::test]
async fn connections_that_are_idle_leave_a_place_for_who_comes() {
    let server = Server::start(some(), None).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 1000]).await.unwrap() > 0);
        idle.push(stream);
    }
    let asked = server.ask("GET /readyz", "");
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), asked).await;
    assert_eq!(answer.unwrap().0, 200);
}

#[tokio::test]
async fn a_node_that_drains_says_so() {
    let table = Table {
        drains: true,
        ..some()
    };
    let server = Server::start(table, None).await;
    let (_, _, body) = server.ask("GET /readyz", "").await;
    assert!(body.contains("draining"), "{body}");
}

#[tokio::test]
async fn conversations_are_listed_and_filtered() {
    let server = Server::start(some(), None).await;
    let ids = |value: &Value| {
        value["conversations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                one["id"]
                    .as_str()
                    .unwrap()
                    .trim_start_matches('0')
                    .to_owned()
            })
            .collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("", vec!["ab", "cd", "ef"]),
        ("?limit=1", vec!["ab"]),
        ("?state=ended", vec!["cd"]),
        ("?state=inviting&limit=1", vec!["ef"]),
        ("?state=restoring", vec![]),
    ] {
        let (status, value) = server
            .json(&format!("GET /api/v1/conversations{query}"))
            .await;
        assert_eq!(
            (status, ids(&value)),
            (200, expected.iter().map(|id| (*id).to_owned()).collect()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn one_conversation_has_its_history() {
    let server = Server::start(some(), None).await;
    let (status, value) = server
        .json("GET /api/v1/conversations/00000000000000ab")
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        value,
        json!({
            "id": "00000000000000ab", "kind": "call", "state": "established",
            "from": "sip:alice@example.org", "to": "sip:bob@example.org",
            "call_id": "1@example.org",
            "started": "1970-01-01T00:00:01.000Z",
            "answered": "1970-01-01T00:00:02.500Z",
            "ended": null,
            "restorations": 1, "queued": 0,
            "legs": [{
                "side": "callee", "state": "confirmed", "endpoint": "Desk",
                "contact": "sip:bob@127.0.0.1:5080", "flow": "udp:127.0.0.1:5080",
                "call_id": "2@refork",
                "session_id": "11;remote=22",
            }],
            "history": [
                { "at": "1970-01-01T00:00:03.001Z", "event": "lost", "side": "callee",
                  "signal": "silence", "endpoint": "Desk" },
                { "at": "1970-01-01T00:00:03.201Z", "event": "refused", "side": "callee",
                  "endpoint": "Desk", "status": 480, "by": "network" },
                { "at": "1970-01-01T00:00:03.501Z", "event": "restored", "side": "callee",
                  "endpoint": "Mobile", "same": false, "after": 500, "attempt": 1 },
                { "at": "1970-01-01T00:00:09.000Z", "event": "ended",
                  "how": { "hung_up": "caller" }, "undelivered": 0 },
            ],
        })
    );
}

#[tokio::test]
async fn orders_reach_the_shard_once() {
    let table = some();
    let commands = table.commands.clone();
    let server = Server::start(table, None).await;
    let base = "/api/v1/conversations/00000000000000ab";
    let (lost, _) = server.json(&format!("POST {base}/lost?side=callee")).await;
    let (hung_up, _) = server.json(&format!("DELETE {base}")).await;
    assert_eq!((lost, hung_up), (202, 202));
    let conversation = ConversationId(0xab);
    assert_eq!(
        *commands.lock().unwrap(),
        [
            Command::DeclareLost {
                conversation,
                side: Side::Callee
            },
            Command::HangUp { conversation },
        ]
    );
}

#[tokio::test]
async fn refusals_are_json_and_order_nothing() {
    let table = some();
    let commands = table.commands.clone();
    let server = Server::start(table, None).await;
    let base = "/api/v1/conversations";
    for (line, status, error) in [
        (format!("GET {base}/00000000000000aa"), 404, "not_found"),
        (format!("GET {base}/nonsense"), 404, "not_found"),
        ("GET /nowhere".to_owned(), 404, "not_found"),
        (format!("PUT {base}"), 405, "method_not_allowed"),
        ("POST /metrics".to_owned(), 405, "method_not_allowed"),
        (format!("GET {base}?limit=0"), 400, "bad_request"),
        (format!("GET {base}?limit=1001"), 400, "bad_request"),
        (format!("GET {base}?limit=-1"), 400, "bad_request"),
        (format!("GET {base}?state=asleep"), 400, "bad_request"),
        (format!("GET {base}?stat=ended"), 400, "bad_request"),
        (format!("POST {base}/ab/lost"), 400, "bad_request"),
        (format!("POST {base}/ab/lost?side=both"), 400, "bad_request"),
        (format!("POST {base}/aa/lost?side=caller"), 404, "not_found"),
        (format!("POST {base}/cd/lost?side=caller"), 409, "conflict"),
        (format!("POST {base}/ef/lost?side=caller"), 409, "conflict"),
        (format!("DELETE {base}/cd"), 409, "conflict"),
    ] {
        let (got, value) = server.json(&line).await;
        assert_eq!(
            (got, value["error"].as_str()),
            (status, Some(error)),
            "{line}"
        );
        assert!(!value["message"].as_str().unwrap().is_empty(), "{line}");
    }
    assert!(commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bindings_are_shown_by_aor() {
    let server = Server::start(some(), None).await;
    let (_, all) = server.json("GET /api/v1/bindings").await;
    assert_eq!(all["bindings"].as_array().unwrap().len(), 2);
    let (_, one) = server
        .json("GET /api/v1/bindings?aor=sip:bob%40example.org")
        .await;
    assert_eq!(
        one,
        json!({ "bindings": [{
            "aor": "sip:bob@example.org", "contact": "sip:bob@127.0.0.1:5080",
            "name": "Desk", "instance": "urn:uuid:1", "reg_id": 1, "q": 0.7,
            "flow": null, "path": [], "user_agent": "phone",
            "registered": "1970-01-01T00:00:00.000Z",
            "expires": "1970-01-01T00:01:00.000Z",
        }]})
    );
}

#[tokio::test]
async fn upstreams_are_shown_with_their_state() {
    let server = Server::start(some(), None).await;
    let (_, all) = server.json("GET /api/v1/upstreams").await;
    let (upstream, target) = ("pbx", "sip:pbx.example.net");
    assert_eq!(
        all,
        json!({ "upstreams": [
            { "upstream": upstream, "target": target, "state": "up", "since": null,
              "paused": "1970-01-01T00:01:30.000Z", "error": null },
            { "upstream": upstream, "target": target, "state": "ejected",
              "since": "1970-01-01T00:01:00.000Z", "paused": null,
              "error": { "at": "1970-01-01T00:00:59.000Z", "peer": "192.0.2.1:5061",
                         "what": "its certificate has ended" } },
        ]})
    );
}

#[tokio::test]
async fn the_pause_of_an_upstream_is_lifted() {
    let path = "DELETE /api/v1/upstreams/pauses";
    let server = Server::start(some(), None).await;
    for (query, status) in [
        ("?target=sip:pbx.example.net%3Btransport=tcp", 204),
        ("?target=sip:pbx.example.net;transport=tcp", 204),
        ("?target=sip:other.example.net", 404),
        ("", 400),
        ("?upstream=pbx", 400),
    ] {
        let (got, ..) = server.ask(&format!("{path}{query}"), "").await;
        assert_eq!(got, status, "{query}");
    }
    assert_eq!(server.json(&path.replace("DELETE", "GET")).await.0, 405);
    let deaf = Table {
        deaf: true,
        ..some()
    };
    let server = Server::start(deaf, None).await;
    let (status, _) = server.json(&format!("{path}?target=sip:x")).await;
    assert_eq!(status, 503);
}

#[tokio::test]
async fn a_token_guards_all_but_health() {
    let server = Server::start(some(), Some("s3cret")).await;
    let right = "Authorization: Bearer s3cret\r\n";
    for (line, headers, status) in [
        ("GET /healthz", "", 200),
        ("GET /readyz", "", 200),
        ("GET /metrics", "", 401),
        ("GET /metrics", right, 200),
        ("GET /api/v1/conversations", "", 401),
        ("GET /api/v1/bindings", "Authorization: Bearer x\r\n", 401),
        ("GET /api/v1/upstreams", "", 401),
        ("DELETE /api/v1/upstreams/pauses?target=x", "", 401),
        ("DELETE /api/v1/conversations/ab", "", 401),
        ("DELETE /api/v1/conversations/ab", right, 202),
    ] {
        let (got, head, _) = server.ask(line, headers).await;
        assert_eq!(got, status, "{line}");
        assert_eq!(head.contains("www-authenticate: bearer"), got == 401);
    }
}

#[tokio::test]
async fn a_web_page_cannot_order() {
    let table = some();
    let commands = table.commands.clone();
    let server = Server::start(table, None).await;
    let origin = "Origin: http://evil.example\r\n";
    let (status, ..) = server.ask("DELETE /api/v1/conversations/ab", origin).await;
    assert_eq!(status, 403);
    assert!(commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_web_page_cannot_ask_by_a_name_that_leads_here() {
    let right = "Authorization: Bearer s3cret\r\n";
    for (token, host, status) in [
        (None, "evil.example:8080", 403),
        (None, "localhost:8080", 200),
        (Some("s3cret"), "refork.example.org", 200),
    ] {
        let server = Server::start(some(), token).await;
        for path in ["/metrics", "/api/v1/bindings", "/api/v1/conversations"] {
            let line = format!("GET {path}");
            let (got, _, body) = server.ask_as(host, &line, right).await;
            assert_eq!(got, status, "{line} {host}");
            assert_eq!(status == 403, body.contains("admin.token"), "{body}");
        }
        // Whether it lives may be asked by any name.
        assert_eq!(server.ask_as(host, "GET /readyz", "").await.0, 200);
    }
}

#[tokio::test]
async fn a_shard_that_is_gone_makes_503() {
    let deaf = Table {
        deaf: true,
        ..some()
    };
    let server = Server::start(deaf, None).await;
    for line in [
        "GET /metrics",
        "GET /api/v1/conversations",
        "GET /api/v1/conversations/ab",
        "DELETE /api/v1/conversations/ab",
    ] {
        assert_eq!(server.json(line).await.0, 503, "{line}");
    }
}

#[tokio::test]
async fn a_shard_that_hangs_is_not_ready() {
    let hangs = Table {
        hangs: true,
        ..some()
    };
    let server = Server::start(hangs, None).await;
    assert_eq!(server.json("GET /readyz").await.0, 503);
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = Server::start(some(), None).await;
    let long = format!("X: {}\r\n", "a".repeat(64 * 1024));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{long}\r\n");
    // The server may close before it has read everything, which fails the write.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn a_shutdown_closes_idle_connections() {
    let server = Server::start(some(), None).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn bans_are_listed_made_and_lifted() {
    let server = Server::start(some(), None).await;
    let path = "/api/v1/bans";
    let (status, made) = server
        .json(&format!("POST {path}?source=2001:db8::7&for_ms=5000"))
        .await;
    let ban = json!({
        "source": "2001:db8::/64",
        "flow": null,
        "why": "operator",
        "since": "1970-01-01T00:00:01.000Z",
        "until": "1970-01-01T00:00:06.000Z",
    });
    assert_eq!((status, &made), (201, &ban));
    let (status, _) = server.json(&format!("POST {path}?source=192.0.2.1")).await;
    assert_eq!(status, 201);
    let (status, full) = server.json(&format!("POST {path}?source=192.0.2.2")).await;
    assert_eq!((status, &full["error"]), (409, &json!("conflict")));
    let (_, listed) = server.json(&format!("GET {path}")).await;
    assert_eq!(listed["bans"].as_array().unwrap().len(), 2);
    assert_eq!(listed["bans"][0], ban);
    let (_, listed) = server.json(&format!("GET {path}?limit=1")).await;
    assert_eq!(listed["bans"].as_array().unwrap().len(), 1);
    let lift = format!("DELETE {path}?source=2001:db8::/64");
    assert_eq!(server.ask(&lift, "").await.0, 204);
    assert_eq!(server.json(&lift).await.0, 404);
    for wrong in [
        format!("POST {path}"),
        format!("POST {path}?source=somebody"),
        format!("POST {path}?source=192.0.2.0/24"),
        format!("POST {path}?source=192.0.2.1&for_ms=0"),
        format!("POST {path}?source=192.0.2.1&for_ms=99999999999"),
        format!("DELETE {path}"),
        format!("GET {path}?limit=0"),
    ] {
        assert_eq!(server.json(&wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_told_so() {
    let server = Server::start(some(), None).await;
    let lines = |count: usize, len: usize| {
        let value = "x".repeat(len);
        (0..count)
            .map(|number| format!("X-{number}: {value}\r\n"))
            .collect::<String>()
    };
    for (headers, status) in [
        (lines(10, 1_500), 200),
        (lines(62, 10), 200),
        (lines(63, 10), 431),
        (lines(12, 1_500), 431),
    ] {
        let (got, head, body) = server.ask("GET /api/v1/bindings", &headers).await;
        assert_eq!(got, status, "{}", headers.len());
        if status == 431 {
            assert!(head.contains("content-type: application/json"), "{head}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"], "head_too_large");
        }
    }
}
