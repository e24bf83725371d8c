//! Label values, held to sets that no peer can grow.

use crate::engine::events::{Ending, GaveUp};

/// Methods that have a label of their own; any other is `other`, since a peer may invent methods.
pub(super) const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "REGISTER",
    "MESSAGE",
    "INFO",
    "UPDATE",
    "PRACK",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "PUBLISH",
    "other",
];

/// What belongs to nothing.
pub(super) const STRAYS: [&str; 4] = ["response", "ack", "cancel", "vias"];

/// Transports that have connections.
pub(super) const STREAMS: [&str; 4] = ["tcp", "tls", "ws", "wss"];

/// What becomes of the record of a conversation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    Written,
    /// The file could not be written.
    Failed,
    /// Too many waited for a disk that is too slow.
    Dropped,
}

impl Recording {
    /// The words used in labels, in the order of the variants.
    pub(super) const WORDS: [&'static str; 3] = ["written", "failed", "dropped"];
}

/// Why connections are turned away.
pub const REFUSALS: [&str; 4] = ["limit", "limit_per_ip", "gate", "not_a_proxy"];

/// Why a connection gives way to another.
pub const YIELDED: [&str; 2] = ["silent", "idle"];

/// Why handshakes come to nothing.
pub const HANDSHAKES: [&str; 9] = [
    "certificate",
    "incompatible",
    "alert",
    "nonsense",
    "upgrade",
    "origin",
    "proxy",
    "timeout",
    "left",
];

/// Index into `METHODS`.
pub(super) fn method(name: &str) -> usize {
    METHODS
        .iter()
        .position(|known| *known == name)
        .unwrap_or(METHODS.len() - 1)
}

/// Refusals that every node sees sooner or later; they are there with 0 from the start.
pub(super) const USUAL_REFUSALS: &[(&str, &[u16])] = &[
    ("INVITE", &[403, 404, 407, 480, 481, 488, 491, 500, 503]),
    ("REGISTER", &[400, 401, 403, 404, 423, 503]),
    ("MESSAGE", &[403, 404, 407, 413, 481, 500, 503]),
    ("BYE", &[481]),
    ("other", &[405, 481]),
];

/// How a conversation ended, as the label `how`.
pub(super) const ENDINGS: [&str; 12] = [
    "hung_up",
    "cancelled",
    "failed",
    "restore_timeout",
    "operator",
    "no_media_ports",
    "too_many_restorations",
    "transfer_failed",
    "joined",
    "declined",
    "never_acknowledged",
    "challenged",
];

/// Index into `ENDINGS`.
pub(super) fn ending(how: Ending) -> usize {
    match how {
        Ending::HungUp(_) => 0,
        Ending::Cancelled => 1,
        Ending::Failed(_) => 2,
        Ending::RestoreTimeout(_) => 3,
        Ending::Operator => 4,
        Ending::Gave(GaveUp::NoMediaPorts) => 5,
        Ending::Gave(GaveUp::TooManyRestorations) => 6,
        Ending::Transfer(_) => 7,
        Ending::Joined => 8,
        Ending::Declined(_) => 9,
        Ending::Gave(GaveUp::NeverAcknowledged) => 10,
        Ending::Challenged(_) => 11,
    }
}

/// How a restoration ended, as the label `result`.
pub(super) const RESULTS: [&str; 6] = [
    "same_endpoint",
    "other_endpoint",
    "repaired",
    "timeout",
    "gave_up",
    "declined",
];

/// Which endpoint has the call, the one that had it or another.
pub(super) const ENDPOINTS: [&str; 2] = [RESULTS[0], RESULTS[1]];

/// Seconds; a restoration takes one round trip at best and `restore.timeout` at worst.
pub(super) const RESTORATION_BUCKETS: [f64; 13] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 90.0, 120.0,
];

/// How a transfer ended, as the label `result`.
pub(super) const TRANSFERS: [&str; 2] = ["transferred", "failed"];

/// Index into `RESULTS` of the restoration that an ending cut short, where it did.
///
/// A lack of media ports may end a conversation that was never answered, and a hang-up is nobody's
/// failure: neither counts here.
pub(super) fn failed_restoration(how: Ending) -> Option<usize> {
    match how {
        Ending::RestoreTimeout(_) => Some(3),
        Ending::Gave(GaveUp::TooManyRestorations) => Some(4),
        Ending::Declined(_) => Some(5),
        Ending::HungUp(_)
        | Ending::Cancelled
        | Ending::Failed(_)
        | Ending::Challenged(_)
        | Ending::Operator
        | Ending::Transfer(_)
        | Ending::Joined
        | Ending::Gave(GaveUp::NoMediaPorts | GaveUp::NeverAcknowledged) => None,
    }
}

/// Classes of a final refusal.
pub(super) const CLASSES: [&str; 4] = ["3xx", "4xx", "5xx", "6xx"];

/// Index into `CLASSES`; a code of no class that refuses counts as 4xx (RFC 3261 8.1.3.2).
pub(super) fn class(status: u16) -> usize {
    match status / 100 {
        3 => 0,
        5 => 2,
        6 => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Side;

    #[test]
    fn methods_outside_the_list_share_one_label() {
        for (name, label) in [
            ("INVITE", "INVITE"),
            ("PUBLISH", "PUBLISH"),
            ("invite", "other"),
            ("X1Y2Z3", "other"),
            ("", "other"),
        ] {
            assert_eq!(METHODS[method(name)], label, "{name}");
        }
    }

    #[test]
    fn every_ending_has_its_label() {
        for (how, label, restoration) in [
            (Ending::HungUp(Side::Caller), "hung_up", None),
            (Ending::Cancelled, "cancelled", None),
            (Ending::Failed(486), "failed", None),
            (Ending::Challenged(407), "challenged", None),
            (
                Ending::RestoreTimeout(Side::Callee),
                "restore_timeout",
                Some("timeout"),
            ),
            (Ending::Operator, "operator", None),
            (Ending::Gave(GaveUp::NoMediaPorts), "no_media_ports", None),
            (
                Ending::Gave(GaveUp::TooManyRestorations),
                "too_many_restorations",
                Some("gave_up"),
            ),
            (Ending::Transfer(486), "transfer_failed", None),
            (Ending::Declined(Side::Caller), "declined", Some("declined")),
            (Ending::Joined, "joined", None),
            (
                Ending::Gave(GaveUp::NeverAcknowledged),
                "never_acknowledged",
                None,
            ),
        ] {
            assert_eq!(ENDINGS[ending(how)], label);
            assert_eq!(failed_restoration(how).map(|at| RESULTS[at]), restoration);
        }
    }

    #[test]
    fn refusals_have_a_class() {
        for (status, label) in [
            (302, "3xx"),
            (486, "4xx"),
            (503, "5xx"),
            (603, "6xx"),
            (0, "4xx"),
        ] {
            assert_eq!(CLASSES[class(status)], label, "{status}");
        }
    }
}
