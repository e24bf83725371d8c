//! Every metric's name and help text. `docs/metrics.md` explains them; a test holds the two together.

/// The name of a metric and the sentence that Prometheus shows with it.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $name:literal, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: $name, help: $help };)*

        /// Every family that Refork exports.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    BUILD_INFO = "refork_build_info", "Always 1; the labels say what runs.";

    CONVERSATIONS = "refork_conversations", "Conversations there are now, by state.";
    STARTED = "refork_conversations_started_total", "Conversations begun by an INVITE.";
    ANSWERED = "refork_conversations_answered_total", "Conversations answered by an endpoint.";
    REBUILT = "refork_conversations_rebuilt_total", "Conversations taken up again from the store.";
    ENDED = "refork_conversations_ended_total", "Conversations ended, by how.";
    LEGS = "refork_legs", "Legs there are now, branches of forks among them.";
    BRANCHES_REFUSED = "refork_branches_refused_total", "Final refusals of endpoints to an INVITE, by class.";

    SUSPICIONS = "refork_suspicions_total", "Suspicions of a lost endpoint, by signal.";
    SUSPICIONS_SETTLED = "refork_suspicions_settled_total", "Suspicions that came to nothing.";
    LOSSES = "refork_losses_total", "Endpoints found lost, by reason.";
    REINVITES = "refork_reinvites_total", "INVITEs sent to restore a conversation.";
    TRANSFERS = "refork_transfers_total", "Transfers that ended, by result.";
    TAKEOVERS = "refork_takeovers_total", "Calls that a phone took over from one that was not lost.";
    RESTORATIONS = "refork_restorations_total", "Restorations that ended, by result.";
    RESTORATION_DURATION = "refork_restoration_duration_seconds", "Time from loss to the new leg.";
    NOTICES = "refork_notices_total", "Notices to survivors, by outcome.";

    RESTORATIONS_WAITING = "refork_restorations_waiting", "Restorations whose next INVITE waits for `restore.rate` now.";
    LOST_DIALOGS = "refork_lost_dialogs", "Lost dialogs now whose phones or upstreams have not answered their BYE.";
    LOST_DIALOGS_FORGOTTEN = "refork_lost_dialogs_forgotten_total", "Lost dialogs forgotten since there were too many, by when.";
    MESSAGES_WAITING = "refork_messages_waiting", "Messages that wait for delivery now.";
    MESSAGE_BYTES_WAITING = "refork_message_bytes_waiting", "Bytes of the messages that wait now.";
    MESSAGES_QUEUED = "refork_messages_queued_total", "Messages kept because the far side was away.";
    MESSAGES_DELIVERED = "refork_messages_delivered_total", "Kept messages that an endpoint took.";
    MESSAGES_REDELIVERED = "refork_messages_redelivered_total", "Messages sent to a second endpoint, which may be seen twice.";
    MESSAGES_REJECTED = "refork_messages_rejected_total", "Messages that an endpoint refused for what they are.";
    MESSAGES_OVERFLOW = "refork_messages_overflow_total", "Messages turned away for want of room.";
    MESSAGES_UNDELIVERED = "refork_messages_undelivered_total", "Messages answered 202 that had not arrived when their conversation ended.";

    TRANSACTIONS = "refork_transactions", "SIP transactions there are now, by role.";
    UPSTREAM_TARGETS = "refork_upstream_targets", "Targets of upstreams, by state.";
    UPSTREAM_PAUSES = "refork_upstream_pauses", "Addresses of upstreams that are left alone, since they asked for it by 503 with Retry-After.";
    NOT_LOCATED = "refork_not_located_total", "Names that DNS had no target for, and whether its last word was used.";
    TARGET_FAILURES = "refork_target_failures_total", "Located targets that failed, by how, and whether another was tried.";
    TRANSACTION_TIMEOUTS = "refork_transaction_timeouts_total", "Transactions that ended without an answer, by method.";
    RETRANSMISSIONS = "refork_retransmissions_total", "SIP messages sent again, by direction.";
    TIMERS = "refork_timers", "Timers set now.";

    MALFORMED = "refork_malformed_total", "Bytes that are no SIP message, or one that makes no sense, by reason.";
    STRAY = "refork_stray_total", "Responses, ACKs and CANCELs that belong to nothing, by what they are.";
    SRTP_LEGS = "refork_srtp_legs_total", "Legs that agreed on SRTP keys, by whether their signalling was encrypted.";
    MEDIA_BARRED = "refork_media_barred_total", "Legs that named an address to which no media is sent at their word, by what is there.";
    WRONG_DOMAIN = "refork_wrong_domain_total", "Requests refused since their domain is not served here.";
    REFUSED = "refork_refused_total", "Requests that Refork itself refused, by method and status.";
    UNPROVEN = "refork_unproven_total", "Requests that did not prove who sent them, by what was wrong.";
    CHALLENGES = "refork_challenges_total", "Challenges of upstreams to requests of ours, by what became of them.";

    LAMPS = "refork_lamps", "Subscriptions of users to the calls of others now.";
    NOTIFIED = "refork_lamp_notifications_total", "NOTIFYs to who watches a user's calls, by what became of them.";

    BINDINGS = "refork_bindings", "Registered contacts there are now.";
    REGISTRATIONS = "refork_registrations_total", "Changes of bindings, by what happened.";

    CONNECTIONS = "refork_connections", "Stream connections open now, by transport.";
    CONNECTIONS_ACCEPTED = "refork_connections_accepted_total", "Stream connections accepted.";
    CONNECTIONS_REFUSED = "refork_connections_refused_total", "Stream connections turned away, by reason.";
    CONNECTIONS_OVERFLOWED = "refork_connections_overflowed_total", "Stream connections closed because the peer did not read.";
    CONNECTIONS_SILENT = "refork_connections_silent_total", "Stream connections closed because the peer came and said nothing.";
    CONNECTIONS_YIELDED = "refork_connections_yielded_total", "Stream connections closed to make place for another, by what was known of their peer.";
    HANDSHAKES_FAILED = "refork_handshakes_failed_total", "TLS and WebSocket handshakes that came to nothing, by reason.";
    DATAGRAMS_RECEIVED = "refork_datagrams_received_total", "SIP datagrams received.";
    DATAGRAMS_SENT = "refork_datagrams_sent_total", "SIP datagrams sent.";
    DATAGRAMS_LOST = "refork_datagrams_lost_total", "SIP datagrams lost since the kernel's queue was full.";
    DATAGRAM_WAIT = "refork_datagram_wait_seconds", "Longest that a SIP datagram waited in the kernel's queue since the last scrape.";
    DATAGRAMS_DROPPED = "refork_datagrams_dropped_total", "SIP datagrams that could not be taken or sent.";
    MAILBOX_OVERFLOWS = "refork_mailbox_overflows_total", "Inputs dropped because a shard's mailbox was full.";
    CERTIFICATE_NOT_AFTER = "refork_tls_certificate_not_after_seconds", "When the first certificate of the listeners ends, in seconds since 1970; 0 without one.";
    OVERLOADED = "refork_overloaded_shards", "Shards that put off what is new, since they are late.";
    GLUTS = "refork_requests_crowded_total", "Requests outside of dialogs refused since too many, or too much, waited for answers, by whose.";
    UNDER_WAY = "refork_requests_under_way_bytes", "Bytes that requests outside of dialogs hold while they wait for answers.";
    CROWDED = "refork_calls_crowded_total", "Calls refused since too many rang that nobody had answered, or stood, by whose.";
    RECORDS = "refork_cdr_records_total", "Records of ended conversations (cdr.file), by what became of them.";
    RELOADS = "refork_reloads_total", "Readings of the configuration while the node ran, by what came of them.";
    OVERLOADS = "refork_overloads_total", "Times that a shard began to put off what is new.";
    LOG_LOST = "refork_log_lines_lost_total", "Lines of the log that could not be written, or were not read in time.";
    SHARD_ANSWER = "refork_shard_answer_seconds", "Time that the slowest shard took to answer this scrape.";

    BANNED = "refork_banned", "Sources that are shut out now.";
    BANS = "refork_bans_total", "Sources shut out, by why.";
    STRIKES = "refork_strikes_total", "Requests that speak of an attack, by what is wrong with them.";
    GATE_DROPPED = "refork_gate_dropped_total", "Datagrams and new connections not looked at, by reason.";
    GATE_CLOSED = "refork_gate_closed_total", "Connections closed because their source was shut out.";

    RELAY_SESSIONS = "refork_relay_sessions", "Media sessions there are now.";
    RELAY_PORTS = "refork_relay_ports", "Media ports, by whether they are used.";
    RELAY_PORTS_REFUSED = "refork_relay_ports_refused_total", "Times that media ports were not given, by whose call they were for.";
    RELAY_PACKETS = "refork_relay_packets_total", "Media packets, by protocol and direction.";
    RELAY_BYTES = "refork_relay_bytes_total", "Payload bytes of media datagrams, by direction.";
    RELAY_DROPPED = "refork_relay_dropped_total", "Media packets not relayed, by reason.";
    RELAY_FILLER = "refork_relay_filler_packets_total", "Packets made to keep a survivor's stream alive.";
    RELAY_RELATCHES = "refork_relay_relatches_total", "Streams that went on from another address without a word of signalling.";
    RELAY_SEAMS = "refork_relay_seams_total", "Sources joined to a stream that another spoke on before.";
    RELAY_UNREACHABLE = "refork_relay_unreachable_total", "ICMP errors that named a place that media is sent to.";

    PROCESS_CPU = "process_cpu_seconds_total", "User and system CPU time.";
    PROCESS_RSS = "process_resident_memory_bytes", "Resident memory.";
    PROCESS_FDS = "process_open_fds", "Open file descriptors.";
    PROCESS_FDS_MAX = "process_max_fds", "Limit of open file descriptors.";
    PROCESS_THREADS = "process_threads", "Threads.";
    PROCESS_START = "process_start_time_seconds", "Start of the process, seconds since the Unix epoch.";
}
