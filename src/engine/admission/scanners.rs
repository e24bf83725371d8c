//! What is not worth an answer: programs that look for servers to break into, by the names that they give
//! themselves.

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
