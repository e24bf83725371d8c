//! Sending within dialogs: where the route set or the target leads (`dialog::onward`), which may take a name to
//! be located first, TCP for what no datagram should carry (RFC 3261 18.1.1), and the next target where one
//! fails (RFC 3263 4.3).
//!
//! ```text
//!  over the flow ─────────────────────────────────────────► sent
//!  there, an address ─────────────► sent ── fails ──► next ──► ... the flow that is heard, where that is left
//!  there, a name ── held ── located ┘
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;

use super::course::Course;
use super::size::{DATAGRAM_MAX, over, to_target};
use crate::engine::conversation::context::{Context, Errand, What};
use crate::engine::dialog::failure::{Verdict, verdict};
use crate::engine::dialog::{Dialog, Security, is_sips};
use crate::engine::events::{Event, TargetFailure};
use crate::engine::ids::{Flow, Transport};
use crate::engine::locating::{Hop, Located};
use crate::engine::ports::{Output, Token};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::{Message, Method};

/// How long a shard goes by what a hop was located at, before it asks the resolver again.
const FRESH: Millis = Millis::from_secs(30);
/// Hops that are remembered.
const HOPS_MAX: usize = 1024;

/// Requests within dialogs of one shard, as far as they are more than sent.
#[derive(Debug, Default)]
pub(crate) struct Within {
    /// What hops were located at, and when it is asked again.
    pub(super) located: BTreeMap<Hop, (Vec<Located>, Time)>,
    asked: HashMap<Token, Hop>,
    held: BTreeMap<Hop, Vec<Held>>,
    /// By the transaction: what may be sent to another target.
    tries: BTreeMap<ClientId, Try>,
    /// Earlier transactions of the same request that may still be answered.
    earlier: BTreeMap<ClientId, Earlier>,
    /// Last targets that have failed, which says nothing while an earlier one may still answer.
    failed: BTreeSet<ClientId>,
}

/// A transaction that another target was given its turn beside.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    /// The transaction that counts for the request.
    now: ClientId,
    /// When it was given up: whoever was asked first knows best.
    since: Time,
    /// Who was asked there is elsewhere now: an answer counts, and its lack says nothing.
    moved: bool,
}

/// Waits for its hop to be located.
#[derive(Debug)]
struct Held {
    /// None: an ACK.
    request: Option<(ClientId, Errand)>,
    bytes: Bytes,
    heard: Flow,
    grows: bool,
    security: Security,
}

/// A request that is out, and has other targets.
#[derive(Debug)]
struct Try {
    errand: Errand,
    bytes: Bytes,
    flow: Flow,
    course: Course,
    /// When the next target has its turn, where this one has said nothing.
    silent_at: Option<Time>,
}

/// A request has another transaction now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewed {
    pub(crate) errand: Errand,
    pub(crate) before: ClientId,
    pub(crate) now: ClientId,
    pub(crate) flow: Flow,
}

/// What becomes of a request that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failed {
    /// It is sent to another target.
    Renewed(Renewed),
    /// Another transaction of it is under way.
    Superseded,
    /// This one, which counts for it, had failed, and no earlier one is left.
    Doubted(ClientId),
    /// It has failed for good.
    Over,
}

impl Within {
    /// Returns true where a request waits for its hop to be located.
    pub(crate) fn holds(&self, client: ClientId) -> bool {
        let is = |held: &Held| held.request.is_some_and(|(known, _)| known == client);
        self.held.values().flatten().any(is)
    }

    /// A request is taken back: one that is not out yet never goes out. Returns its earlier transactions.
    pub(crate) fn withdraw(&mut self, client: ClientId) -> Vec<ClientId> {
        let is = |held: &Held| held.request.is_some_and(|(known, _)| known == client);
        for held in self.held.values_mut() {
            held.retain(|held| !is(held));
        }
        self.tries.remove(&client);
        self.failed.remove(&client);
        let same = |_: &ClientId, earlier: &mut Earlier| earlier.now == client;
        self.earlier
            .extract_if(.., same)
            .map(|(earlier, _)| earlier)
            .collect()
    }

    /// A target has failed in a way that would say something of the dialog. Returns true where that decides
    /// nothing, as one that was asked before may still answer: the later one may know nothing of the dialog.
    fn decides_nothing(&mut self, client: ClientId) -> bool {
        let known = self.earlier.get(&client).copied();
        let current = known.map_or(client, |known| known.now);
        let before = |earlier: &Earlier| {
            let first = known.is_none_or(|known| earlier.since < known.since);
            earlier.now == current && first && !earlier.moved
        };
        if !self.earlier.values().any(before) {
            return false;
        }
        if known.is_some() {
            self.earlier.remove(&client);
        } else {
            self.tries.remove(&client);
            self.failed.insert(client);
        }
        true
    }

    /// An earlier transaction has failed.
    fn earlier_failed(&mut self, current: ClientId) -> Failed {
        let open = self.earlier.values().any(|earlier| earlier.now == current);
        if !open && self.failed.remove(&current) {
            Failed::Doubted(current)
        } else {
            Failed::Superseded
        }
    }

    /// Counts what waits for a hop.
    pub(crate) fn waiting(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }
}

impl Context<'_> {
    /// Sends a request on its course, as it was written for the course's flow.
    pub(crate) fn send_on(
        &mut self,
        dialog: &mut Dialog,
        course: Course,
        bytes: Bytes,
        errand: Errand,
    ) -> ClientId {
        if !course.sought {
            dialog.take_way(course.flow);
        }
        let bytes = self.shown(dialog, bytes, errand);
        self.send_off(course, bytes, errand)
    }

    /// The same where there is no dialog that is kept.
    pub(crate) fn send_off(&mut self, course: Course, bytes: Bytes, errand: Errand) -> ClientId {
        if course.sought {
            let client = self.shared.transactions.reserve();
            self.hold(course, Some((client, errand)), bytes);
            return client;
        }
        self.send_first(course, bytes, errand)
    }

    /// Sends an ACK on its course. Where it is lost nobody says so: the 2xx comes again, and then it is sent
    /// both ways.
    pub(crate) fn send_alone_on(&mut self, mut course: Course, bytes: Bytes, again: bool) {
        if course.sought {
            return self.hold(course, None, bytes);
        }
        if again && let Some(last) = course.rest.pop_back() {
            self.send_anew(&bytes, last, course.sips(), None);
        }
        // TCP only where it is there: one that is refused would take the ACK with it.
        let first = course.flow;
        if bytes.len() > DATAGRAM_MAX
            && first.transport == Transport::Udp
            && course.grows
            && let Some(tcp) = self.world.open_to(Transport::Tcp, first.peer)
        {
            return self.send_anew(&bytes, tcp, course.sips(), None);
        }
        self.send_alone(bytes, first);
    }

    fn send_anew(&mut self, bytes: &Bytes, flow: Flow, sips: bool, branch: Option<&str>) {
        if let Some(bytes) = self.anew(bytes, &flow, sips, branch) {
            self.send_alone(bytes, flow);
        }
    }

    /// Sends a request again that has grown, over the flow that it took or, where no datagram should carry it now,
    /// over TCP.
    pub(crate) fn send_grown(
        &mut self,
        dialog: &Dialog,
        bytes: Bytes,
        flow: Flow,
        errand: Errand,
    ) -> ClientId {
        let course = Course {
            flow,
            rest: VecDeque::new(),
            ..self.course(dialog)
        };
        self.send_first(course, bytes, errand)
    }

    fn send_first(&mut self, mut course: Course, mut bytes: Bytes, errand: Errand) -> ClientId {
        let mut flow = course.flow;
        if let Some(tcp) = self.grown(&course, bytes.len())
            && let Some(moved) = self.anew(&bytes, &tcp, course.sips(), None)
        {
            course.rest.push_front(flow);
            (flow, bytes) = (tcp, moved);
        }
        let client = self.send(bytes.clone(), flow, errand);
        if course.rest.is_empty() {
            self.insist_on(client, errand);
        } else {
            self.keep(client, errand, bytes, flow, course);
        }
        client
    }

    /// A network that is down for a moment must not leave a phone in a call: a BYE that has no other target goes
    /// out again in spite of an ICMP.
    fn insist_on(&mut self, client: ClientId, errand: Errand) {
        if errand.what == What::Farewell {
            self.shared.transactions.insist(client);
        }
    }

    fn keep(&mut self, client: ClientId, errand: Errand, bytes: Bytes, flow: Flow, course: Course) {
        let usual = may_come_twice(&bytes).then_some(self.shared.settings.fork.failover);
        let patience = course
            .patience
            .or(usual)
            .filter(|_| !course.rest.is_empty());
        let silent_at = patience.map(|patience| self.now + patience);
        let sent = Try {
            errand,
            bytes,
            flow,
            course,
            silent_at,
        };
        self.shared.within.tries.insert(client, sent);
    }

    /// Returns the flow over TCP that a request takes which is too large for the datagram that it is.
    fn grown(&self, course: &Course, len: usize) -> Option<Flow> {
        let hop = course.hop.as_ref()?;
        if len <= DATAGRAM_MAX || course.flow.transport != Transport::Udp || !course.grows {
            return None;
        }
        let known = course
            .rest
            .iter()
            .find(|flow| flow.transport == Transport::Tcp);
        let (target, tcp) = match known {
            Some(known) => ((Transport::Tcp, known.peer), Some(*known)),
            None => {
                let target = (Transport::Tcp, course.flow.peer);
                let from = Some(course.flow.listener);
                let tcp = self.world.flow_to(target.0, target.1, &hop.host, from);
                (target, tcp)
            }
        };
        tcp.filter(|_| !self.shared.shunned.has(&target, self.now))
    }

    /// Writes a request anew for another flow.
    fn anew(&self, bytes: &Bytes, flow: &Flow, sips: bool, branch: Option<&str>) -> Option<Bytes> {
        let contact = self.contact_over(flow, sips);
        over(self, bytes, flow, &contact, branch)
    }

    fn hold(&mut self, course: Course, request: Option<(ClientId, Errand)>, bytes: Bytes) {
        let Some(hop) = course.hop else { return };
        let within = &mut self.shared.within;
        if !within.held.contains_key(&hop) {
            let token = self.shared.mint.token();
            within.asked.insert(token, hop.clone());
            let hop = hop.clone();
            self.shared.out.push_back(Output::Resolve { token, hop });
        }
        self.shared.within.held.entry(hop).or_default().push(Held {
            request,
            bytes,
            heard: course.flow,
            grows: course.grows,
            security: course.security,
        });
    }

    /// Takes what a hop was located at: what waits for that goes out. None where nobody here has asked.
    pub(crate) fn within_located(
        &mut self,
        token: Token,
        targets: &[Located],
    ) -> Option<Vec<Renewed>> {
        let within = &mut self.shared.within;
        let hop = within.asked.remove(&token)?;
        let held = within.held.remove(&hop).unwrap_or_default();
        if within.located.len() >= HOPS_MAX && !within.located.contains_key(&hop) {
            within.located.pop_first();
        }
        let until = self.now + FRESH;
        within
            .located
            .insert(hop.clone(), (targets.to_vec(), until));
        let mut renewed = Vec::new();
        for Held {
            request,
            bytes,
            heard,
            grows,
            security,
        } in held
        {
            let course = Course {
                grows,
                security,
                ..self.toward(hop.clone(), targets, heard)
            };
            let Some(bytes) = self.anew(&bytes, &course.flow, course.sips(), None) else {
                continue;
            };
            match request {
                Some((before, errand)) => {
                    let flow = course.flow;
                    let now = self.send_first(course, bytes, errand);
                    renewed.push(Renewed {
                        errand,
                        before,
                        now,
                        flow,
                    });
                }
                None => self.send_alone_on(course, bytes, false),
            }
        }
        Some(renewed)
    }

    /// A request was answered. Returns the transaction that counts for it; none where the answer does not.
    pub(crate) fn within_answered(
        &mut self,
        client: ClientId,
        response: &Message,
    ) -> Option<ClientId> {
        let within = &mut self.shared.within;
        let earlier = within.earlier.get(&client);
        let current = earlier.map_or(client, |earlier| earlier.now);
        if response.status() < 200 {
            return Some(current);
        }
        let status = response.status();
        let doubtful = status >= 300 && verdict(response.method(), status) != Verdict::Stands;
        if doubtful && within.decides_nothing(client) {
            return None;
        }
        if let Some(sent) = within.tries.remove(&current)
            && current == client
        {
            let target = (sent.flow.transport, sent.flow.peer);
            self.shared.shunned.answered(&target);
        }
        if current != client {
            // The other one is of no use any more.
            self.shared.within.earlier.remove(&client);
            self.cancel(current, None);
        }
        Some(current)
    }

    /// A request failed at its target: the next one has its turn. `speaks`: it says something of the target, as
    /// strangers' requests do not.
    pub(crate) fn within_failed(
        &mut self,
        client: ClientId,
        failure: TargetFailure,
        speaks: bool,
    ) -> Failed {
        let within = &mut self.shared.within;
        if let Some(earlier) = within.earlier.remove(&client) {
            return within.earlier_failed(earlier.now);
        }
        let Some(mut sent) = within.tries.remove(&client) else {
            return Failed::Over;
        };
        let failed = (sent.flow.transport, sent.flow.peer);
        match failure {
            TargetFailure::Unavailable(Some(span)) if speaks => {
                // The flow that the far end is heard over is no address of the hop.
                let located = &self.shared.within.located;
                let has = |hop: &&Hop| {
                    located
                        .get(*hop)
                        .is_some_and(|(at, _)| at.contains(&failed))
                };
                let hop = sent.course.hop.as_ref().filter(has);
                self.asked_for_a_pause(failed, hop, span);
            }
            // RFC 3261 21.5.4: without a Retry-After it says no more of the target than a 500 does.
            TargetFailure::Unavailable(_) => {}
            // A phone that is reached over its flow is no target of a name.
            TargetFailure::Silent | TargetFailure::Unreachable if sent.course.hop.is_none() => {}
            TargetFailure::Silent | TargetFailure::Unreachable => {
                let hop = sent.course.hop.clone();
                self.was_silent(failed, hop.as_ref());
            }
        }
        let next = loop {
            let Some(flow) = sent.course.rest.pop_front() else {
                break None;
            };
            let branch = self.branch_like(&sent.bytes);
            if let Some(branch) = branch
                && let Some(bytes) =
                    self.anew(&sent.bytes, &flow, sent.course.sips(), Some(&branch))
            {
                break Some((flow, bytes));
            }
        };
        if let Some(hop) = &sent.course.hop {
            let name = hop.host.clone();
            self.emit(Event::TargetFailed {
                name,
                target: sent.flow.to_string().into(),
                failure,
                next: next.is_some(),
            });
        }
        let Some((flow, bytes)) = next else {
            let waits = self.shared.within.decides_nothing(client);
            return if waits {
                Failed::Superseded
            } else {
                Failed::Over
            };
        };
        let errand = sent.errand;
        let now = self.send(bytes.clone(), flow, errand);
        if sent.course.rest.is_empty() {
            self.insist_on(now, errand);
        }
        self.keep(now, errand, bytes, flow, sent.course);
        let earlier = &mut self.shared.within.earlier;
        let known = earlier.values_mut().filter(|known| known.now == client);
        known.for_each(|known| known.now = now);
        if self.shared.transactions.is_silent(client) {
            let since = self.now;
            let moved = false;
            earlier.insert(client, Earlier { now, since, moved });
        }
        Failed::Renewed(Renewed {
            errand,
            before: client,
            now,
            flow,
        })
    }

    /// Who was asked is elsewhere now: a request that is open goes there too, as another transaction and under the
    /// same CSeq. None where none is open.
    pub(crate) fn send_elsewhere(
        &mut self,
        before: ClientId,
        flow: Flow,
        target: &str,
    ) -> Option<Renewed> {
        let (bytes, errand) = self.shared.transactions.open(before)?;
        let branch = self.branch_like(&bytes)?;
        let contact = self.contact_over(&flow, is_sips(target));
        let bytes = to_target(self, &bytes, target, &flow, &contact, &branch)?;
        let now = self.send(bytes, flow, errand);
        let (since, moved) = (self.now, true);
        let within = &mut self.shared.within;
        within.tries.remove(&before);
        let earlier = &mut within.earlier;
        // Only the last place is remembered, wherever it goes.
        earlier.retain(|_, known| known.now != before);
        earlier.insert(before, Earlier { now, since, moved });
        Some(Renewed {
            errand,
            before,
            now,
            flow,
        })
    }

    fn branch_like(&mut self, bytes: &Bytes) -> Option<String> {
        let request = Message::parse(bytes.clone()).ok()?;
        let shard = crate::engine::mint::branch_shard(request.branch()?)?;
        Some(self.shared.mint.branch(shard))
    }

    /// Gives the next target its turn where one has said nothing at all, and forgets what is over.
    pub(crate) fn within_sweep(&mut self) -> Vec<Renewed> {
        let now = self.now;
        let mut silent = Vec::new();
        let shared = &mut *self.shared;
        let transactions = &shared.transactions;
        shared.within.tries.retain(|client, sent| {
            if sent.silent_at.take_if(|at| *at <= now).is_some() && transactions.is_silent(*client)
            {
                silent.push(*client);
            }
            transactions.waits(*client)
        });
        let holds = |client| shared.within.holds(client);
        let proving = &mut shared.proving;
        proving.retain(|client| transactions.waits(client) || holds(client));
        let Within {
            earlier, failed, ..
        } = &mut shared.within;
        earlier.retain(|client, kept| transactions.waits(*client) || failed.contains(&kept.now));
        let mut renewed = Vec::new();
        for client in silent {
            if let Failed::Renewed(one) = self.within_failed(client, TargetFailure::Silent, false) {
                renewed.push(one);
            }
        }
        renewed
    }
}

/// Returns true where a request does no harm that two servers bring to the same phone: what is said, pressed or
/// asked for twice does, and goes to the next target only once the one before has failed.
fn may_come_twice(request: &Bytes) -> bool {
    let method = request.split(|byte| *byte == b' ').next();
    let method = method.and_then(|method| std::str::from_utf8(method).ok());
    match method.map(Method::parse) {
        Some(
            Method::Invite
            | Method::Update
            | Method::Options
            | Method::Prack
            | Method::Bye
            | Method::Notify
            | Method::Subscribe
            | Method::Register
            | Method::Ack
            | Method::Cancel,
        ) => true,
        Some(
            Method::Message | Method::Info | Method::Refer | Method::Publish | Method::Other(_),
        )
        | None => false,
    }
}
