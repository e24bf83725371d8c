//! What is wrong with bytes that claim to be SIP.

use super::Message;

/// Why a message is refused; the word is a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    TooLarge,
    TooManyHeaders,
    NotSip,
    StartLine,
    Version,
    RequestUri,
    Scheme,
    HeaderLine,
    MissingHeader,
    RepeatedHeader,
    Via,
    FromTo,
    CallId,
    CSeq,
    MethodMismatch,
    ContentLength,
    Number,
    Contact,
    Date,
}

impl Fault {
    /// Every fault, for the metrics that must exist from the start.
    pub const ALL: [Self; 19] = [
        Self::TooLarge,
        Self::TooManyHeaders,
        Self::NotSip,
        Self::StartLine,
        Self::Version,
        Self::RequestUri,
        Self::Scheme,
        Self::HeaderLine,
        Self::MissingHeader,
        Self::RepeatedHeader,
        Self::Via,
        Self::FromTo,
        Self::CallId,
        Self::CSeq,
        Self::MethodMismatch,
        Self::ContentLength,
        Self::Number,
        Self::Contact,
        Self::Date,
    ];

    /// Returns the word for labels and reason phrases.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::NotSip => "not_sip",
            Self::StartLine => "start_line",
            Self::Version => "version",
            Self::RequestUri => "request_uri",
            Self::Scheme => "scheme",
            Self::HeaderLine => "header_line",
            Self::MissingHeader => "missing_header",
            Self::RepeatedHeader => "repeated_header",
            Self::Via => "via",
            Self::FromTo => "from_to",
            Self::CallId => "call_id",
            Self::CSeq => "cseq",
            Self::MethodMismatch => "method_mismatch",
            Self::ContentLength => "content_length",
            Self::Number => "number",
            Self::Contact => "contact",
            Self::Date => "date",
        }
    }

    /// Returns the status that a request with this fault gets.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::Scheme => 416,
            Self::TooLarge => 513,
            Self::TooManyHeaders
            | Self::NotSip
            | Self::StartLine
            | Self::RequestUri
            | Self::HeaderLine
            | Self::MissingHeader
            | Self::RepeatedHeader
            | Self::Via
            | Self::FromTo
            | Self::CallId
            | Self::CSeq
            | Self::MethodMismatch
            | Self::ContentLength
            | Self::Number
            | Self::Contact
            | Self::Date => 400,
        }
    }
}

/// Bytes that are no message we work with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("malformed SIP message: {}", .reason.as_str())]
pub struct Malformed {
    pub reason: Fault,
    /// What a request gets for it.
    pub status: u16,
    /// A request whose topmost Via is good enough for an answer; anything else of it may be missing.
    pub salvaged: Option<Box<Message>>,
}

impl Malformed {
    pub(super) fn new(reason: Fault) -> Self {
        Self {
            reason,
            status: reason.status(),
            salvaged: None,
        }
    }
}
