//! Prometheus metrics: counts the engine's events, and shows the readings of a scrape.
//!
//! Handles are made once and kept, so that an event costs one atomic addition. Every label value that
//! is known beforehand exists from the start with 0: a rate can be taken over the first increment.

mod family;
mod gate;
mod labels;
mod lamps;
pub mod names;
mod process;
mod readings;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, Registry, TextEncoder};

use crate::engine::events::{
    Barred, Crowd, Event, Forgotten, Glut, Happening, NoticeOutcome, Retransmission, Signal,
    TargetFailure, Unanswered, Unproven,
};
use crate::engine::health::Health;
use crate::engine::ports::Claim;
use crate::engine::settings::Kind;
use crate::engine::view::Stage;
use crate::sip::Fault;

use self::family::{Maker, raise, show};
use self::gate::GateMetrics;
pub use self::labels::{HANDSHAKES, REFUSALS, Recording, YIELDED};
use self::lamps::LampMetrics;
use self::process::ProcessMetrics;
pub use self::readings::{GateReading, Readings, RelayReading, TransportReading};

const KINDS: [Kind; 2] = [Kind::Call, Kind::Session];

/// All metrics of the process. Shared by every shard.
pub struct Metrics {
    registry: Registry,
    conversations: ConversationMetrics,
    messages: MessageMetrics,
    protocol: ProtocolMetrics,
    lamps: LampMetrics,
    read: ReadMetrics,
    /// Readings are set and gathered as one act, or two scrapes at once would mix.
    scrape: Mutex<()>,
}

struct ConversationMetrics {
    started: [IntCounter; 2],
    answered: [IntCounter; 2],
    rebuilt: [IntCounter; 2],
    ended: [[IntCounter; labels::ENDINGS.len()]; 2],
    branches_refused: [IntCounter; labels::CLASSES.len()],
    suspicions: [IntCounter; Signal::ALL.len()],
    suspicions_settled: IntCounter,
    losses: [IntCounter; Signal::ALL.len()],
    reinvites: IntCounter,
    restorations: [IntCounter; labels::RESULTS.len()],
    transfers: [IntCounter; labels::TRANSFERS.len()],
    takeovers: [IntCounter; labels::ENDPOINTS.len()],
    restoration_duration: [Histogram; 2],
    notices: [IntCounter; NoticeOutcome::ALL.len()],
}

struct MessageMetrics {
    queued: IntCounter,
    delivered: IntCounter,
    redelivered: IntCounter,
    rejected: IntCounter,
    overflow: IntCounter,
    undelivered: IntCounter,
}

struct ProtocolMetrics {
    /// Received, sent.
    retransmissions: [IntCounter; 2],
    timeouts: [IntCounter; labels::METHODS.len()],
    /// By state.
    upstreams: [IntGauge; Health::ALL.len()],
    /// What DNS last said was used, nothing was found.
    not_located: [IntCounter; 2],
    /// By failure: another target was tried, none was left.
    target_failures: [[IntCounter; 2]; TargetFailure::WORDS.len()],
    malformed: IntCounterVec,
    stray: IntCounterVec,
    wrong_domain: IntCounter,
    refused: IntCounterVec,
    overloads: IntCounter,
    crowded: [IntCounter; Crowd::ALL.len()],
    gluts: [IntCounter; Glut::ALL.len()],
    forgotten: [IntCounter; Forgotten::ALL.len()],
    /// In force, refused.
    reloads: [IntCounter; 2],
    records: [IntCounter; Recording::WORDS.len()],
    /// Encrypted, clear.
    srtp_legs: [IntCounter; 2],
    media_barred: [IntCounter; Barred::ALL.len()],
    unproven: [IntCounter; Unproven::ALL.len()],
    answered: IntCounter,
    unanswered: [IntCounter; Unanswered::ALL.len()],
    /// Registered, unregistered, expired.
    registrations: [IntCounter; 3],
}

/// What is set at each scrape.
struct ReadMetrics {
    conversations: [IntGauge; Stage::LIVE.len()],
    legs: IntGauge,
    /// Client, server.
    transactions: [IntGauge; 2],
    timers: IntGauge,
    messages_waiting: IntGauge,
    message_bytes_waiting: IntGauge,
    turns_waiting: IntGauge,
    lost_dialogs: IntGauge,
    under_way: IntGauge,
    upstream_pauses: IntGauge,
    bindings: IntGauge,
    connections: [IntGauge; labels::STREAMS.len()],
    accepted: IntCounter,
    refused: [IntCounter; REFUSALS.len()],
    overflowed: IntCounter,
    silent: IntCounter,
    yielded: [IntCounter; YIELDED.len()],
    handshakes_failed: [IntCounter; HANDSHAKES.len()],
    datagrams_received: IntCounter,
    datagrams_sent: IntCounter,
    datagrams_dropped: IntCounter,
    datagrams_lost: IntCounter,
    datagram_wait: Gauge,
    mailbox_overflows: IntCounter,
    certificate_not_after: IntGauge,
    overloaded: IntGauge,
    gate: GateMetrics,
    shard_answer: Gauge,
    relay_sessions: IntGauge,
    /// Used, free.
    relay_ports: [IntGauge; 2],
    relay_ports_refused: [IntCounter; Claim::ALL.len()],
    /// RTP received and sent, RTCP received and sent.
    relay_packets: [IntCounter; 4],
    /// Received, sent.
    relay_bytes: [IntCounter; 2],
    /// Stranger, malformed, no target, send.
    relay_dropped: [IntCounter; 8],
    relay_filler: IntCounter,
    relay_relatches: IntCounter,
    relay_seams: IntCounter,
    relay_unreachable: IntCounter,
    log_lost: IntCounter,
    process: ProcessMetrics,
}

impl Metrics {
    /// The content type of what `render` returns.
    pub const CONTENT_TYPE: &'static str = prometheus::TEXT_FORMAT;

    /// Makes all metrics of a node, with a registry of their own.
    pub fn new(node: &str) -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        make.build_info(node);
        Self {
            conversations: ConversationMetrics::new(&make),
            messages: MessageMetrics::new(&make),
            protocol: ProtocolMetrics::new(&make),
            lamps: LampMetrics::new(&make),
            read: ReadMetrics::new(&make),
            scrape: Mutex::new(()),
            registry,
        }
    }

    /// Counts a reading of the configuration while the node runs.
    pub fn reloaded(&self, in_force: bool) {
        self.protocol.reloads[usize::from(!in_force)].inc();
    }

    /// Counts records of conversations that have ended.
    pub fn recorded(&self, outcome: Recording, records: u64) {
        self.protocol.records[outcome as usize].inc_by(records);
    }

    /// Counts an event.
    pub fn event(&self, event: &Event) {
        let protocol = &self.protocol;
        match event {
            Event::Conversation { kind, what, .. } => self.happening(*kind, what),
            Event::Registered { .. } => protocol.registrations[0].inc(),
            Event::Unregistered { expired, .. } => {
                protocol.registrations[if *expired { 2 } else { 1 }].inc();
            }
            Event::Refused { method, status, .. } => {
                let method = labels::METHODS[labels::method(method)];
                let status = status.to_string();
                protocol.refused.with_label_values(&[method, &status]).inc();
            }
            Event::WrongDomain { .. } => protocol.wrong_domain.inc(),
            Event::Unproven { why, .. } => protocol.unproven[*why as usize].inc(),
            Event::Malformed { reason, .. } => {
                protocol.malformed.with_label_values(&[reason]).inc();
            }
            Event::Crowded { crowd, .. } => protocol.crowded[*crowd as usize].inc(),
            Event::Glut { glut, .. } => protocol.gluts[*glut as usize].inc(),
            Event::Forgotten { when, .. } => protocol.forgotten[*when as usize].inc(),
            Event::Notified { told, .. } => self.lamps.notified(*told),
            Event::Overload { on, .. } => protocol.overloads.inc_by(u64::from(*on)),
            // The gate counts them.
            Event::Offence { .. } => {}
            // Phones have no other fax; and of a setting the log speaks.
            Event::BareFax | Event::NotKept { .. } | Event::NoService { .. } => {}
            Event::Stray { what } => protocol.stray.with_label_values(&[what]).inc(),
            Event::Barred { why, .. } => protocol.media_barred[*why as usize].inc(),
            Event::Keyed { clear } => protocol.srtp_legs[usize::from(*clear)].inc(),
            Event::Retransmitted {
                kind: Retransmission::Received,
            } => protocol.retransmissions[0].inc(),
            Event::Retransmitted {
                kind: Retransmission::Sent,
            } => protocol.retransmissions[1].inc(),
            Event::UpstreamChanged { before, state, .. } => {
                for (health, gauge) in Health::ALL.iter().zip(&protocol.upstreams) {
                    if *before == Some(health.as_str()) {
                        gauge.dec();
                    }
                    if *state == health.as_str() {
                        gauge.inc();
                    }
                }
            }
            // A gauge is read at each scrape.
            Event::UpstreamPaused { .. } | Event::UpstreamPauseOver { .. } => {}
            Event::NotLocated { kept, .. } => protocol.not_located[usize::from(!kept)].inc(),
            Event::TargetFailed { failure, next, .. } => {
                protocol.target_failures[failure.index()][usize::from(!next)].inc();
            }
            Event::Proved => protocol.answered.inc(),
            Event::Unanswered { why, .. } => protocol.unanswered[*why as usize].inc(),
            Event::TransactionTimeout { method } => {
                protocol.timeouts[labels::method(method)].inc();
            }
        }
    }

    fn happening(&self, kind: Kind, what: &Happening) {
        let conversations = &self.conversations;
        let messages = &self.messages;
        let kind = kind as usize;
        match what {
            Happening::Invited { .. } => conversations.started[kind].inc(),
            // None is a number of its own: what rings shows in the legs, what the others lead to is counted.
            Happening::Ringing { .. }
            | Happening::Challenged { .. }
            | Happening::Redirected { .. }
            | Happening::Spared { .. }
            | Happening::Transferring { .. }
            | Happening::LastWord { .. } => {}
            Happening::Refused { status, .. } => {
                conversations.branches_refused[labels::class(*status)].inc();
            }
            Happening::Answered { .. } => conversations.answered[kind].inc(),
            Happening::Suspected { signal, .. } => {
                conversations.suspicions[*signal as usize].inc();
            }
            Happening::Alive { .. } => conversations.suspicions_settled.inc(),
            Happening::Lost { signal, .. } => conversations.losses[*signal as usize].inc(),
            Happening::Reinvited { .. } => conversations.reinvites.inc(),
            Happening::Restored { same, after, .. } => {
                let result = if *same { 0 } else { 1 };
                conversations.restorations[result].inc();
                conversations.restoration_duration[result].observe(after.0 as f64 / 1000.0);
            }
            Happening::Transferred { .. } => conversations.transfers[0].inc(),
            Happening::TransferFailed { .. } => conversations.transfers[1].inc(),
            Happening::Repaired { .. } => conversations.restorations[2].inc(),
            Happening::TakenOver { same, .. } => conversations.takeovers[usize::from(!same)].inc(),
            Happening::Notice { outcome, .. } => conversations.notices[*outcome as usize].inc(),
            Happening::Queued { .. } => messages.queued.inc(),
            Happening::Delivered { .. } => messages.delivered.inc(),
            Happening::Redelivered { .. } => messages.redelivered.inc(),
            Happening::Rejected { .. } => messages.rejected.inc(),
            Happening::Overflow { .. } => messages.overflow.inc(),
            Happening::Rebuilt => conversations.rebuilt[kind].inc(),
            Happening::Ended { how, undelivered } => {
                conversations.ended[kind][labels::ending(*how)].inc();
                messages.undelivered.inc_by(u64::from(*undelivered));
                if let Some(result) = labels::failed_restoration(*how) {
                    conversations.restorations[result].inc();
                }
            }
        }
    }

    /// Returns everything in Prometheus' text format. `took` is how long the slowest shard took to
    /// answer for these readings.
    pub fn render(&self, readings: &Readings, took: Duration) -> String {
        let _one = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.read.set(readings, took);
        self.lamps.set(readings.shards.lamps);
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

impl Maker<'_> {
    fn build_info(&self, node: &str) {
        let info = self.gauges(names::BUILD_INFO, &["version", "node"]);
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), node])
            .set(1);
    }

    fn by_kind(&self, family: names::Family) -> [IntCounter; 2] {
        self.counters_by(family, "kind", KINDS.map(Kind::as_str))
    }
}

impl ConversationMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let signals = Signal::ALL.map(Signal::as_str);
        let ended = make.counters(names::ENDED, &["kind", "how"]);
        Self {
            started: make.by_kind(names::STARTED),
            answered: make.by_kind(names::ANSWERED),
            rebuilt: make.by_kind(names::REBUILT),
            ended: KINDS.map(|kind| {
                labels::ENDINGS.map(|how| ended.with_label_values(&[kind.as_str(), how]))
            }),
            branches_refused: make.counters_by(names::BRANCHES_REFUSED, "class", labels::CLASSES),
            suspicions: make.counters_by(names::SUSPICIONS, "signal", signals),
            suspicions_settled: make.counter(names::SUSPICIONS_SETTLED),
            losses: make.counters_by(names::LOSSES, "reason", signals),
            reinvites: make.counter(names::REINVITES),
            restorations: make.counters_by(names::RESTORATIONS, "result", labels::RESULTS),
            transfers: make.counters_by(names::TRANSFERS, "result", labels::TRANSFERS),
            takeovers: make.counters_by(names::TAKEOVERS, "to", labels::ENDPOINTS),
            restoration_duration: make.histograms_by(
                names::RESTORATION_DURATION,
                "result",
                labels::ENDPOINTS,
                &labels::RESTORATION_BUCKETS,
            ),
            notices: make.counters_by(
                names::NOTICES,
                "outcome",
                NoticeOutcome::ALL.map(NoticeOutcome::as_str),
            ),
        }
    }
}

impl MessageMetrics {
    fn new(make: &Maker<'_>) -> Self {
        Self {
            queued: make.counter(names::MESSAGES_QUEUED),
            delivered: make.counter(names::MESSAGES_DELIVERED),
            redelivered: make.counter(names::MESSAGES_REDELIVERED),
            rejected: make.counter(names::MESSAGES_REJECTED),
            overflow: make.counter(names::MESSAGES_OVERFLOW),
            undelivered: make.counter(names::MESSAGES_UNDELIVERED),
        }
    }
}

impl ProtocolMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let refused = make.counters(names::REFUSED, &["method", "status"]);
        for (method, statuses) in labels::USUAL_REFUSALS {
            for status in *statuses {
                refused.with_label_values(&[*method, &status.to_string()]);
            }
        }
        let failures = make.counters(names::TARGET_FAILURES, &["failure", "then"]);
        let challenges = make.counters(names::CHALLENGES, &["outcome"]);
        let malformed = make.counters(names::MALFORMED, &["reason"]);
        for fault in Fault::ALL {
            malformed.with_label_values(&[fault.as_str()]);
        }
        let stray = make.counters(names::STRAY, &["what"]);
        for what in labels::STRAYS {
            stray.with_label_values(&[what]);
        }
        Self {
            retransmissions: make.counters_by(
                names::RETRANSMISSIONS,
                "direction",
                ["received", "sent"],
            ),
            timeouts: make.counters_by(names::TRANSACTION_TIMEOUTS, "method", labels::METHODS),
            upstreams: make.gauges_by(
                names::UPSTREAM_TARGETS,
                "state",
                Health::ALL.map(Health::as_str),
            ),
            not_located: make.counters_by(names::NOT_LOCATED, "then", ["kept", "none"]),
            target_failures: TargetFailure::WORDS.map(|failure| {
                ["next", "none"].map(|then| failures.with_label_values(&[failure, then]))
            }),
            malformed,
            wrong_domain: make.counter(names::WRONG_DOMAIN),
            overloads: make.counter(names::OVERLOADS),
            gluts: make.counters_by(names::GLUTS, "of", Glut::ALL.map(Glut::as_str)),
            forgotten: make.counters_by(
                names::LOST_DIALOGS_FORGOTTEN,
                "when",
                Forgotten::ALL.map(Forgotten::as_str),
            ),
            crowded: make.counters_by(names::CROWDED, "of", Crowd::ALL.map(Crowd::as_str)),
            reloads: make.counters_by(names::RELOADS, "outcome", ["in_force", "refused"]),
            records: make.counters_by(names::RECORDS, "outcome", Recording::WORDS),
            stray,
            refused,
            media_barred: make.counters_by(
                names::MEDIA_BARRED,
                "why",
                Barred::ALL.map(Barred::as_str),
            ),
            srtp_legs: make.counters_by(names::SRTP_LEGS, "signalling", ["encrypted", "clear"]),
            answered: challenges.with_label_values(&["answered"]),
            unanswered: Unanswered::ALL.map(|why| challenges.with_label_values(&[why.as_str()])),
            unproven: make.counters_by(names::UNPROVEN, "why", Unproven::ALL.map(Unproven::as_str)),
            registrations: make.counters_by(
                names::REGISTRATIONS,
                "change",
                ["registered", "unregistered", "expired"],
            ),
        }
    }
}

impl ReadMetrics {
    fn new(make: &Maker<'_>) -> Self {
        let packets = make.counters(names::RELAY_PACKETS, &["protocol", "direction"]);
        Self {
            conversations: make.gauges_by(
                names::CONVERSATIONS,
                "state",
                Stage::LIVE.map(Stage::as_str),
            ),
            legs: make.gauge(names::LEGS),
            transactions: make.gauges_by(names::TRANSACTIONS, "role", ["client", "server"]),
            timers: make.gauge(names::TIMERS),
            messages_waiting: make.gauge(names::MESSAGES_WAITING),
            message_bytes_waiting: make.gauge(names::MESSAGE_BYTES_WAITING),
            turns_waiting: make.gauge(names::RESTORATIONS_WAITING),
            lost_dialogs: make.gauge(names::LOST_DIALOGS),
            under_way: make.gauge(names::UNDER_WAY),
            upstream_pauses: make.gauge(names::UPSTREAM_PAUSES),
            bindings: make.gauge(names::BINDINGS),
            connections: make.gauges_by(names::CONNECTIONS, "transport", labels::STREAMS),
            accepted: make.counter(names::CONNECTIONS_ACCEPTED),
            refused: make.counters_by(names::CONNECTIONS_REFUSED, "reason", REFUSALS),
            overflowed: make.counter(names::CONNECTIONS_OVERFLOWED),
            silent: make.counter(names::CONNECTIONS_SILENT),
            yielded: make.counters_by(names::CONNECTIONS_YIELDED, "why", YIELDED),
            handshakes_failed: make.counters_by(names::HANDSHAKES_FAILED, "reason", HANDSHAKES),
            datagrams_received: make.counter(names::DATAGRAMS_RECEIVED),
            datagrams_sent: make.counter(names::DATAGRAMS_SENT),
            datagrams_dropped: make.counter(names::DATAGRAMS_DROPPED),
            datagrams_lost: make.counter(names::DATAGRAMS_LOST),
            datagram_wait: make.float(names::DATAGRAM_WAIT),
            mailbox_overflows: make.counter(names::MAILBOX_OVERFLOWS),
            certificate_not_after: make.gauge(names::CERTIFICATE_NOT_AFTER),
            overloaded: make.gauge(names::OVERLOADED),
            gate: GateMetrics::new(make),
            shard_answer: make.float(names::SHARD_ANSWER),
            relay_sessions: make.gauge(names::RELAY_SESSIONS),
            relay_ports: make.gauges_by(names::RELAY_PORTS, "state", ["used", "free"]),
            relay_ports_refused: make.counters_by(
                names::RELAY_PORTS_REFUSED,
                "claim",
                Claim::ALL.map(Claim::as_str),
            ),
            relay_packets: [
                ["rtp", "received"],
                ["rtp", "sent"],
                ["rtcp", "received"],
                ["rtcp", "sent"],
            ]
            .map(|values| packets.with_label_values(&values)),
            relay_bytes: make.counters_by(names::RELAY_BYTES, "direction", ["received", "sent"]),
            relay_dropped: make.counters_by(
                names::RELAY_DROPPED,
                "reason",
                [
                    "stranger",
                    "malformed",
                    "no_target",
                    "send",
                    "forged",
                    "replayed",
                    "unsealed",
                    "format",
                ],
            ),
            relay_filler: make.counter(names::RELAY_FILLER),
            relay_relatches: make.counter(names::RELAY_RELATCHES),
            relay_seams: make.counter(names::RELAY_SEAMS),
            relay_unreachable: make.counter(names::RELAY_UNREACHABLE),
            log_lost: make.counter(names::LOG_LOST),
            process: ProcessMetrics::new(make),
        }
    }

    fn set(&self, readings: &Readings, took: Duration) {
        let shards = &readings.shards;
        let by_stage = [
            shards.inviting,
            shards.established,
            shards.suspect,
            shards.restoring,
        ];
        for (gauge, count) in self.conversations.iter().zip(by_stage) {
            show(gauge, count as u64);
        }
        show(&self.legs, shards.legs as u64);
        show(&self.transactions[0], shards.client_transactions as u64);
        show(&self.transactions[1], shards.server_transactions as u64);
        show(&self.timers, shards.timers as u64);
        show(&self.messages_waiting, shards.queued_messages as u64);
        show(&self.message_bytes_waiting, shards.queued_bytes as u64);
        show(&self.turns_waiting, shards.restorations_waiting as u64);
        show(&self.lost_dialogs, shards.lost_dialogs as u64);
        show(&self.under_way, shards.under_way as u64);
        show(&self.upstream_pauses, shards.pauses as u64);
        show(&self.overloaded, shards.overloaded as u64);
        show(&self.bindings, readings.bindings);
        show(&self.certificate_not_after, readings.certificate_not_after);
        self.shard_answer.set(took.as_secs_f64());
        self.set_transport(&readings.transport);
        self.gate.set(&readings.gate);
        self.set_relay(&readings.relay);
        raise(&self.log_lost, readings.log_lost);
        self.process.set();
    }

    fn set_transport(&self, transport: &TransportReading) {
        for (shown, open) in self.connections.iter().zip(transport.connections) {
            show(shown, open);
        }
        raise(&self.overflowed, transport.overflowed);
        raise(&self.silent, transport.silent);
        for (shown, yielded) in self.yielded.iter().zip(transport.yielded) {
            raise(shown, yielded);
        }
        let failed = self.handshakes_failed.iter();
        for (shown, failed) in failed.zip(transport.handshakes_failed) {
            raise(shown, failed);
        }
        raise(&self.accepted, transport.accepted);
        for (shown, refused) in self.refused.iter().zip(transport.refused) {
            raise(shown, refused);
        }
        raise(&self.datagrams_received, transport.datagrams_received);
        raise(&self.datagrams_sent, transport.datagrams_sent);
        raise(&self.datagrams_dropped, transport.datagrams_dropped);
        raise(&self.datagrams_lost, transport.datagrams_lost);
        self.datagram_wait
            .set(transport.datagram_wait.as_secs_f64());
        raise(&self.mailbox_overflows, transport.mailbox_overflows);
    }

    fn set_relay(&self, relay: &RelayReading) {
        show(&self.relay_sessions, relay.sessions);
        show(&self.relay_ports[0], relay.ports_used);
        let free = relay.ports.saturating_sub(relay.ports_used);
        show(&self.relay_ports[1], free);
        for (shown, refused) in self.relay_ports_refused.iter().zip(relay.ports_refused) {
            raise(shown, refused);
        }
        raise(&self.relay_packets[0], relay.rtp_received);
        raise(&self.relay_packets[1], relay.rtp_sent);
        raise(&self.relay_packets[2], relay.rtcp_received);
        raise(&self.relay_packets[3], relay.rtcp_sent);
        raise(&self.relay_bytes[0], relay.bytes_received);
        raise(&self.relay_bytes[1], relay.bytes_sent);
        raise(&self.relay_dropped[0], relay.dropped_stranger);
        raise(&self.relay_dropped[1], relay.dropped_malformed);
        raise(&self.relay_dropped[2], relay.dropped_no_target);
        raise(&self.relay_dropped[3], relay.dropped_send);
        raise(&self.relay_dropped[4], relay.dropped_forged);
        raise(&self.relay_dropped[5], relay.dropped_replayed);
        raise(&self.relay_dropped[6], relay.dropped_unsealed);
        raise(&self.relay_dropped[7], relay.dropped_format);
        raise(&self.relay_filler, relay.filler);
        raise(&self.relay_relatches, relay.relatches);
        raise(&self.relay_seams, relay.seams);
        raise(&self.relay_unreachable, relay.unreachable);
    }
}

#[cfg(test)]
mod tests;
