//! Whatever comes, in whatever order: nothing is left behind.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Request {
        invite: bool,
        branch: u8,
        tcp: bool,
    },
    Answer {
        status: u16,
        invite: bool,
        cancel: bool,
        branch: u8,
        tag: u8,
    },
    Cancel(u8),
    Receive {
        method: u8,
        branch: u8,
        merged: bool,
        tcp: bool,
    },
    Respond {
        which: u8,
        status: u16,
    },
    Acknowledged(u8),
    Fail {
        tcp: bool,
        whole: bool,
    },
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let status = || prop::sample::select(vec![100, 180, 183, 200, 202, 302, 401, 408, 486, 603]);
    prop_oneof![
        (any::<bool>(), 0u8..4, any::<bool>()).prop_map(|(invite, branch, tcp)| Step::Request {
            invite,
            branch,
            tcp
        }),
        (status(), any::<bool>(), any::<bool>(), 0u8..4, 0u8..2).prop_map(
            |(status, invite, cancel, branch, tag)| Step::Answer {
                status,
                invite,
                cancel,
                branch,
                tag
            }
        ),
        (0u8..8).prop_map(Step::Cancel),
        (0u8..4, 0u8..4, any::<bool>(), any::<bool>()).prop_map(|(method, branch, merged, tcp)| {
            Step::Receive {
                method,
                branch,
                merged,
                tcp,
            }
        }),
        (0u8..8, status()).prop_map(|(which, status)| Step::Respond { which, status }),
        (0u8..8).prop_map(Step::Acknowledged),
        (any::<bool>(), any::<bool>()).prop_map(|(tcp, whole)| Step::Fail { tcp, whole }),
        prop_oneof![0u32..1000, 0u32..40_000, 0u32..200_000].prop_map(Step::Pass),
    ]
}

fn flow(over_tcp: bool) -> Flow {
    if over_tcp { tcp(1) } else { udp() }
}

/// The user of the layer: remembers whom it has to answer and what it may cancel.
#[derive(Default)]
struct User {
    clients: Vec<ClientId>,
    servers: Vec<ServerId>,
    told: u64,
}

impl User {
    fn listen(&mut self, bench: &mut Bench) {
        while let Some(heard) = bench.layer.poll_heard() {
            self.told += 1;
            if let Heard::Request { server, .. } = heard {
                self.servers.push(server);
            }
        }
        bench.out.clear();
    }

    fn take(&mut self, bench: &mut Bench, step: &Step) {
        let Bench {
            layer, now, out, ..
        } = bench;
        let now = *now;
        match step {
            Step::Request {
                invite,
                branch,
                tcp,
            } => {
                let method = if *invite { "INVITE" } else { "MESSAGE" };
                let text = ours(method).replace("Kours", &format!("Kours{branch}"));
                let id = layer.request(text.into(), flow(*tcp), "context", now, out);
                self.clients.push(id);
            }
            Step::Answer {
                status,
                invite,
                cancel,
                branch,
                tag,
            } => {
                let method = match (invite, cancel) {
                    (_, true) => "CANCEL",
                    (true, false) => "INVITE",
                    (false, false) => "MESSAGE",
                };
                let text = answer(*status, method, &format!("t{tag}"))
                    .replace("Kours", &format!("Kours{branch}"));
                layer.receive(parse(&text), udp(), now, out);
            }
            Step::Cancel(which) => {
                if let Some(id) = self.clients.get(usize::from(*which)) {
                    layer.cancel(*id, None, now, out);
                }
            }
            Step::Receive {
                method,
                branch,
                merged,
                tcp,
            } => {
                let method = ["INVITE", "ACK", "CANCEL", "MESSAGE"][usize::from(*method)];
                let mut text = theirs(method, &format!("z9hG4bK{branch}"));
                if !merged {
                    text = text.replace("CSeq: 3", &format!("CSeq: 10{branch}"));
                }
                layer.receive(parse(&text), flow(*tcp), now, out);
            }
            Step::Respond { which, status } => {
                if let Some(id) = self.servers.get(usize::from(*which)) {
                    respond(layer, *id, *status, now, out);
                }
            }
            Step::Acknowledged(which) => {
                if let Some(id) = self.servers.get(usize::from(*which)) {
                    layer.acknowledged(*id);
                }
            }
            Step::Fail { tcp, whole } => {
                let mut flow = flow(*tcp);
                if *whole {
                    flow.connection = None;
                }
                layer.flow_failed(flow.transport, flow.peer, flow.connection, now, out);
            }
            Step::Pass(span) => bench.skip(u64::from(*span)),
        }
        self.listen(bench);
    }
}

fn respond(
    layer: &mut Transactions<&'static str, &'static str>,
    server: ServerId,
    status: u16,
    now: Time,
    out: &mut VecDeque<Output>,
) {
    let Some((request, flow)) = layer.request_of(server) else {
        return layer.respond(server, status, Bytes::new(), now, out);
    };
    let bytes = Builder::respond(request, status, reason_phrase(status), Some("t"), flow.peer);
    layer.respond(server, status, bytes.end(), now, out);
}

impl Bench {
    /// Lets time pass as a driver would, and bounds how often it is woken.
    fn skip(&mut self, span: u64) {
        let end = self.now + Millis(span);
        let mut woken = 0;
        while let Some(due) = self.layer.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.layer.handle_timeout(self.now, &mut self.out);
            woken += 1;
            assert!(woken < 10_000, "a busy loop");
        }
        self.now = end;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_left_behind(steps in prop::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new();
        let mut user = User::default();
        for step in &steps {
            user.take(&mut bench, step);
            let (clients, servers) = bench.layer.counts();
            // Two timers each, at most.
            prop_assert!(bench.layer.timers() <= 2 * (clients + servers));
        }
        // How long an INVITE may ring is the user's to say, either way.
        for client in user.clients.clone() {
            bench.layer.cancel(client, None, bench.now, &mut bench.out);
        }
        for server in user.servers.clone() {
            respond(&mut bench.layer, server, 480, bench.now, &mut bench.out);
        }
        bench.skip(32_000 + 180_000 + 32_000);
        user.listen(&mut bench);
        bench.assert_empty();
        prop_assert!(user.told <= 4 * steps.len() as u64);
    }
}
