//! `fork`, `detect`, `restore`: what becomes of a conversation.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{DAY, Decimal, HOUR, MINUTE, MS, PerSecond, SECOND, Span, Whole};
use super::text::{FromText, TextOr, text_type};

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fork {
    /// All endpoints at once, by groups of equal q, or one after the other.
    pub(crate) order: Order,
    /// How long an endpoint rings.
    pub(crate) ring_timeout: Span<SECOND, { 10 * MINUTE }>,
    /// One early dialog per branch to the caller, or a single one.
    pub(crate) early_dialogs: EarlyDialogs,
    /// A target that says nothing for so long gives way to the next one of its name or upstream.
    pub(crate) failover: Span<{ 500 * MS }, { 32 * SECOND }>,
    /// Provisional responses may be reliable (RFC 3262).
    pub(crate) reliable_provisionals: bool,
    /// A phone that forwards its calls (3xx): whom it names is called, or the caller is told.
    pub(crate) redirects: Redirects,
    /// Who may take a call that rings another one's phone, by an INVITE with Replaces (RFC 3891).
    pub(crate) pickup: Pickup,
}

impl Default for Fork {
    fn default() -> Self {
        Self {
            order: Order::Parallel,
            ring_timeout: Span(MINUTE),
            early_dialogs: EarlyDialogs::Forward,
            failover: Span(4 * SECOND),
            reliable_provisionals: true,
            redirects: Redirects::Follow,
            pickup: Pickup::Domain,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Parallel,
    Q,
    Serial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EarlyDialogs {
    Forward,
    Single,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Redirects {
    Follow,
    Pass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pickup {
    Domain,
    Own,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refer {
    Execute,
    Pass,
}

/// Turns a feature off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Off;

impl FromText for Off {
    const WHAT: &'static str = "off";

    fn form() -> String {
        "off, or a map".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "off" | "false" => Ok(Self),
            other => Err(format!("`{other}` is neither off nor a map")),
        }
    }

    fn pattern() -> String {
        "^(off|false)$".to_owned()
    }

    fn looks_like() -> &'static [&'static str] {
        &["string", "boolean"]
    }
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("off")
    }
}

text_type!(Off);

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Detect {
    /// With media still flowing: time to register again.
    pub(crate) grace: Span<0, MINUTE>,
    /// A closed connection or an ICMP error is a suspicion.
    pub(crate) transport: bool,
    /// Asking a leg whether it lives: a map, or `off`.
    pub(crate) probe: TextOr<Off, Probe>,
    /// How long a silent leg is waited for whose upstream is silent, too.
    pub(crate) outage: Span<0, HOUR>,
    /// Silence in the media: a map, or `off`.
    pub(crate) media: TextOr<Off, MediaSilence>,
    /// A binding that expires, is removed or fails is a suspicion.
    pub(crate) registration: bool,
    /// Session timers (RFC 4028): a map, or `off`.
    pub(crate) session_timer: TextOr<Off, SessionTimer>,
    /// Causes in a BYE's Reason that say the network failed: 408, q850:27.
    pub(crate) failure_bye: Vec<FailureCause>,
}

impl Default for Detect {
    fn default() -> Self {
        use FailureCause::{Q850, Sip};
        Self {
            grace: Span(5 * SECOND),
            transport: true,
            probe: TextOr::Map(Probe::default()),
            outage: Span(5 * MINUTE),
            media: TextOr::Map(MediaSilence::default()),
            registration: true,
            session_timer: TextOr::Map(SessionTimer::default()),
            failure_bye: vec![Sip(408), Sip(480), Sip(503), Q850(27), Q850(38), Q850(41)],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Probe {
    /// A leg that showed no life for this long is asked.
    pub(crate) interval: Span<SECOND, HOUR>,
    /// How long an answer may take.
    pub(crate) timeout: Span<{ 100 * MS }, MINUTE>,
    /// Unanswered ones in a row that make a loss.
    pub(crate) tries: Whole<1, 20>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval: Span(15 * SECOND),
            timeout: Span(4 * SECOND),
            tries: Whole(2),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MediaSilence {
    /// No RTP for this long is a suspicion.
    pub(crate) silence: Span<{ 500 * MS }, HOUR>,
    /// A silent leg is asked before it counts as lost.
    pub(crate) confirm: bool,
}

impl Default for MediaSilence {
    fn default() -> Self {
        Self {
            silence: Span(3 * SECOND),
            confirm: true,
        }
    }
}

/// RFC 4028.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionTimer {
    /// Session-Expires: a session that nobody refreshes for so long has ended.
    pub(crate) expires: Span<{ 90 * SECOND }, DAY>,
    /// Min-SE: who asks for less gets 422.
    pub(crate) min: Span<{ 90 * SECOND }, DAY>,
    /// Who refreshes where the other end leaves that to us.
    pub(crate) refresher: Refresher,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self {
            expires: Span(30 * MINUTE),
            min: Span(90 * SECOND),
            refresher: Refresher::Auto,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refresher {
    Auto,
    Uac,
    Uas,
}

/// A cause of RFC 3326: a SIP status, or one of Q.850.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureCause {
    Sip(u16),
    Q850(u16),
}

impl FromText for FailureCause {
    const WHAT: &'static str = "a cause";

    fn form() -> String {
        "a SIP status from 300 to 699, or a cause of Q.850 from 1 to 127 as \"q850:27\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let cause = match text.strip_prefix("q850:") {
            Some(cause) => cause
                .parse()
                .ok()
                .filter(|c| (1..=127).contains(c))
                .map(Self::Q850),
            None => text
                .parse()
                .ok()
                .filter(|c| (300..=699).contains(c))
                .map(Self::Sip),
        };
        cause.ok_or_else(|| format!("`{text}` is no cause"))
    }

    fn pattern() -> String {
        "^(q850:[0-9]+|[3-6][0-9][0-9])$".to_owned()
    }

    fn looks_like() -> &'static [&'static str] {
        &["string", "integer"]
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(status) => write!(f, "{status}"),
            Self::Q850(cause) => write!(f, "q850:{cause}"),
        }
    }
}

text_type!(FailureCause);

/// One span for calls and IM sessions, or one for each.
pub(crate) type PerKind<const MIN: u64, const MAX: u64> =
    TextOr<Span<MIN, MAX>, Kinds<Span<MIN, MAX>>>;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kinds<T> {
    /// Of calls.
    pub(crate) audio: Option<T>,
    /// Of IM sessions.
    pub(crate) message: Option<T>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Restore {
    /// The same endpoint first, all at once, or by q.
    pub(crate) order: RestoreOrder,
    /// How long the same endpoint is asked alone; its branch rings on. Or a map per kind.
    pub(crate) same_first_for: PerKind<0, MINUTE>,
    /// The same endpoint is asked to answer by itself (RFC 5373).
    pub(crate) auto_answer: AutoAnswer,
    /// An answering machine must not win.
    pub(crate) avoid_voicemail: bool,
    /// Whose word a 6xx is: the person's, or that of the one endpoint.
    pub(crate) decline: Decline,
    /// An endpoint that is in another conversation here is not asked while that lasts.
    pub(crate) spare_busy: bool,
    /// How long an endpoint rings.
    pub(crate) ring_timeout: Span<SECOND, { 10 * MINUTE }>,
    /// When unreachable endpoints are asked again.
    pub(crate) retry: Retry,
    /// After this the conversation ends. Or a map per kind.
    pub(crate) timeout: PerKind<SECOND, DAY>,
    /// What the survivor hears: `silence`, `tone`, `off` or a .wav file.
    pub(crate) filler: Filler,
    /// After so many the next loss ends the conversation.
    pub(crate) max_per_conversation: Whole<1, 10_000>,
    /// Re-forks of the whole node.
    pub(crate) rate: PerSecond<1, 1_000_000>,
}

impl Default for Restore {
    fn default() -> Self {
        Self {
            order: RestoreOrder::SameFirst,
            same_first_for: TextOr::Map(Kinds {
                audio: Some(Span(2 * SECOND)),
                message: Some(Span(12 * SECOND)),
            }),
            auto_answer: AutoAnswer::Off,
            avoid_voicemail: true,
            decline: Decline::Person,
            spare_busy: false,
            ring_timeout: Span(30 * SECOND),
            retry: Retry::default(),
            timeout: TextOr::Text(Span(MINUTE)),
            filler: Filler::Silence,
            max_per_conversation: Whole(10),
            rate: PerSecond(2500),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RestoreOrder {
    SameFirst,
    All,
    Q,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decline {
    Person,
    Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AutoAnswer {
    Off,
    SameEndpoint,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retry {
    /// Before the second attempt.
    pub(crate) first: Span<{ 10 * MS }, MINUTE>,
    /// Each wait is so many times the one before.
    pub(crate) factor: Decimal<10, 100>,
    /// No wait is longer.
    pub(crate) max: Span<{ 10 * MS }, { 10 * MINUTE }>,
    /// Share of a wait by which it may be longer or shorter.
    pub(crate) jitter: Decimal<0, 9>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Span(500 * MS),
            factor: Decimal(2.0),
            max: Span(8 * SECOND),
            jitter: Decimal(0.2),
        }
    }
}

/// What the survivor hears meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filler {
    Silence,
    Tone,
    Off,
    File(String),
}

impl FromText for Filler {
    const WHAT: &'static str = "a filler";

    fn form() -> String {
        "silence, tone, off, or the path of a .wav file".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "silence" => Ok(Self::Silence),
            "tone" => Ok(Self::Tone),
            "off" | "false" => Ok(Self::Off),
            file if file.ends_with(".wav") => Ok(Self::File(file.to_owned())),
            other => Err(format!("`{other}` is no filler")),
        }
    }

    fn pattern() -> String {
        "^(silence|tone|off|false|.*[.]wav)$".to_owned()
    }
}

impl fmt::Display for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silence => "silence",
            Self::Tone => "tone",
            Self::Off => "off",
            Self::File(file) => file,
        })
    }
}

text_type!(Filler);
