//! What is not worth an answer: programs that look for servers to break into, by the names that they give
//! themselves, and messages with more hops than there can be.

use crate::sip::{Message, Name};

/// How their User-Agent begins, in lower case. Tools that people also use to look after their own
/// servers are not among them.
const SCANNERS: [&str; 8] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sip-scan",
    "sundayddr",
    "siparmyknife",
    "sivus",
    "pplsip",
];

/// RFC 3261 8.1.1.6: a request passes no more, so no way there or back is longer.
const HOPS_MAX: usize = 70;

/// Returns true for a message with more hops than there can be. An answer would have to repeat them, and a
/// dialog to keep them.
pub(crate) fn is_too_long_a_way(message: &Message) -> bool {
    [Name::Via, Name::Route, Name::RecordRoute]
        .into_iter()
        .any(|name| message.values(name).nth(HOPS_MAX).is_some())
}

/// Returns true for a first request of a scanner. It is not answered: an answer is what it looks for.
pub(crate) fn is_of_scanner(message: &Message) -> bool {
    message.is_request()
        && message.to_tag().is_none()
        && message.header(Name::UserAgent).is_some_and(|agent| {
            SCANNERS.iter().any(|scanner| {
                let begin = agent.as_bytes().get(..scanner.len());
                begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scanner.as_bytes()))
            })
        })
}
