//! A directory that is a table, and the interface in front of it.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::admin::{AdminState, Directory, Unanswered, serve};
use crate::engine::endpoint::{Binding, Endpoint, Identity};
use crate::engine::events::{Ending, Entry, Happening, Refuser, Signal};
use crate::engine::health::Health;
use crate::engine::ids::{Aor, ConversationId, Side};
use crate::engine::ports::Command;
use crate::engine::settings::Kind;
use crate::engine::time::{Millis, Time};
use crate::engine::view::{Detail, LegView, Stage, Summary, Trouble, UpstreamView};
use crate::gate::{Ban, Source, Whom, Why};
use crate::metrics::{Metrics, Readings};
use crate::observe::Spans;

#[derive(Default)]
pub(super) struct Table {
    pub(super) details: Vec<Detail>,
    pub(super) bindings: Vec<(Aor, Binding)>,
    pub(super) commands: Arc<Mutex<Vec<Command>>>,
    pub(super) bans: Arc<Mutex<Vec<Ban>>>,
    pub(super) deaf: bool,
    pub(super) hangs: bool,
    pub(super) drains: bool,
}

impl Table {
    fn answer<T>(&self, value: T) -> Result<T, Unanswered> {
        if self.deaf {
            Err(Unanswered)
        } else {
            Ok(value)
        }
    }
}

impl Directory for Table {
    fn is_listening(&self) -> bool {
        !self.drains
    }

    async fn readings(&self) -> Result<Readings, Unanswered> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let mut readings = Readings::default();
        readings.shards.established = self.details.len();
        self.answer(readings)
    }

    async fn list(&self, limit: usize) -> Result<Vec<Summary>, Unanswered> {
        let all = self.details.iter().map(|detail| detail.summary.clone());
        self.answer(all.take(limit).collect())
    }

    async fn detail(&self, id: ConversationId) -> Result<Option<Detail>, Unanswered> {
        let found = self.details.iter().find(|detail| detail.summary.key == id);
        self.answer(found.cloned())
    }

    async fn command(&self, command: Command) -> Result<(), Unanswered> {
        self.commands.lock().unwrap().push(command);
        self.answer(())
    }

    async fn upstreams(&self) -> Result<Vec<UpstreamView>, Unanswered> {
        let view = |state, since, paused| UpstreamView {
            upstream: "pbx".into(),
            target: "sip:pbx.example.net".into(),
            state,
            since,
            paused,
            trouble: (state == Health::Ejected).then(|| Trouble {
                at: Time(59_000),
                peer: "192.0.2.1:5061".parse().unwrap(),
                what: "its certificate has ended".into(),
            }),
        };
        self.answer(vec![
            view(Health::Up, Time(0), Some(Time(90_000))),
            view(Health::Ejected, Time(60_000), None),
        ])
    }

    async fn resume(&self, target: &str) -> Result<bool, Unanswered> {
        self.answer(target == "sip:pbx.example.net;transport=tcp")
    }

    fn bindings(&self, aor: Option<&Aor>, limit: usize) -> Vec<(Aor, Binding)> {
        let wanted = |(of, _): &&(Aor, Binding)| aor.is_none_or(|aor| aor == of);
        self.bindings
            .iter()
            .filter(wanted)
            .take(limit)
            .cloned()
            .collect()
    }

    fn bans(&self, limit: usize) -> Vec<Ban> {
        let bans = self.bans.lock().unwrap();
        bans.iter().take(limit).copied().collect()
    }

    fn ban(&self, source: Source, span: Option<Millis>) -> Option<Ban> {
        let mut bans = self.bans.lock().unwrap();
        let ban = Ban {
            whom: Whom { source, flow: None },
            why: Why::Operator,
            since: Time(1_000),
            until: Time(1_000) + span.unwrap_or(Millis(600_000)),
        };
        // A table of two.
        (bans.len() < 2).then(|| {
            bans.push(ban);
            ban
        })
    }

    fn lift(&self, source: Source) -> bool {
        let mut bans = self.bans.lock().unwrap();
        let before = bans.len();
        bans.retain(|ban| ban.whom.source != source);
        bans.len() < before
    }
}

pub(super) fn detail(key: u64, stage: Stage) -> Detail {
    let id = ConversationId(key);
    let ended = (stage == Stage::Ended).then_some(Time(9_000));
    Detail {
        summary: Summary {
            id: id.to_string(),
            key: id,
            kind: Kind::Call,
            stage,
            from: "sip:alice@example.org".into(),
            to: "sip:bob@example.org".into(),
            call_id: "1@example.org".into(),
            started: Time(1_000),
            answered: (stage != Stage::Inviting).then_some(Time(2_500)),
            ended,
            restorations: 1,
            queued: 0,
        },
        legs: vec![LegView {
            side: Side::Callee,
            state: "confirmed",
            endpoint: "Desk".into(),
            contact: "sip:bob@127.0.0.1:5080".into(),
            flow: "udp:127.0.0.1:5080".into(),
            call_id: "2@refork".into(),
            session_id: "11;remote=22".into(),
        }],
        history: vec![
            Entry {
                at: Time(3_001),
                what: Happening::Lost {
                    side: Side::Callee,
                    signal: Signal::Silence,
                    endpoint: "Desk".into(),
                },
            },
            Entry {
                at: Time(3_201),
                what: Happening::Refused {
                    side: Side::Callee,
                    endpoint: "Desk".into(),
                    status: 480,
                    by: Refuser::Network,
                    attempt: None,
                },
            },
            Entry {
                at: Time(3_501),
                what: Happening::Restored {
                    side: Side::Callee,
                    endpoint: "Mobile".into(),
                    same: false,
                    after: Millis(500),
                    attempt: Some(1),
                },
            },
            Entry {
                at: Time(9_000),
                what: Happening::Ended {
                    how: Ending::HungUp(Side::Caller),
                    undelivered: 0,
                },
            },
        ],
    }
}

pub(super) fn binding(aor: &str) -> (Aor, Binding) {
    let binding = Binding {
        endpoint: Endpoint {
            identity: Identity::Instance("urn:uuid:1".into()).into(),
            contact: "sip:bob@127.0.0.1:5080".into(),
            flow: None,
            path: Vec::new(),
            through: None,
            name: "Desk".into(),
        },
        reg_id: Some(1),
        q: 700,
        expires: Time(60_000),
        call_id: "r".into(),
        cseq: 1,
        user_agent: "phone".into(),
        params: "".into(),
        allow: "".into(),
        registered: Time(0),
        token: None,
        gruu: None,
        timed: false,
    };
    (Aor::from_canonical(aor), binding)
}

/// The interface on a free port of the loopback.
pub(super) struct Server {
    pub(super) address: std::net::SocketAddr,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(directory: Table, token: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = AdminState {
            directory,
            metrics: Arc::new(Metrics::new("n1")),
            spans: Spans::default(),
            token: token.map(Into::into),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, state, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    /// Sends one request and returns status, head and body.
    pub(super) async fn ask(&self, line: &str, headers: &str) -> (u16, String, String) {
        let host = self.address.to_string();
        self.ask_as(&host, line, headers).await
    }

    pub(super) async fn ask_as(
        &self,
        host: &str,
        line: &str,
        headers: &str,
    ) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    pub(super) async fn json(&self, line: &str) -> (u16, Value) {
        let (status, head, body) = self.ask(line, "").await;
        assert!(
            head.contains("content-type: application/json"),
            "{line}: {head}"
        );
        (status, serde_json::from_str(&body).unwrap())
    }
}

pub(super) fn some() -> Table {
    Table {
        details: vec![
            detail(0xab, Stage::Established),
            detail(0xcd, Stage::Ended),
            detail(0xef, Stage::Inviting),
        ],
        bindings: vec![
            binding("sip:alice@example.org"),
            binding("sip:bob@example.org"),
        ],
        ..Table::default()
    }
}
