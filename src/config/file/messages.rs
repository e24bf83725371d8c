//! `notice` and `messages`: what people are told, and what they tell each other.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{DAY, GIB, HOUR, KIB, MIB, MINUTE, MS, SECOND, Size, Span, Whole};
use super::text::{FromText, Ordered, TextOr, text_type};

/// One text, or a map from language to text.
pub(crate) type NoticeText = TextOr<Template, Ordered<Template>>;

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notice {
    /// When the conversation goes on elsewhere.
    pub(crate) continued: NoticeText,
    /// When nobody came back.
    pub(crate) failed: NoticeText,
    /// When somebody was lost once more than `restore.max_per_conversation` lets them be.
    pub(crate) too_often: NoticeText,
    /// When somebody was found again, and messages were not delivered meanwhile.
    pub(crate) undelivered: NoticeText,
    /// `{participant}` where that is not to be named.
    pub(crate) anonymous: NoticeText,
    /// `{endpoint}` of who is not to be named.
    pub(crate) other_phone: NoticeText,
    /// Used where the survivor asks for no language that there is.
    pub(crate) language: String,
    /// What else is tried, in order, where a MESSAGE in the dialog is refused.
    pub(crate) fallback: Vec<Fallback>,
    /// Phones that are told nothing, by the name shown or the instance; `*` is any run of characters.
    pub(crate) exempt: Vec<Pattern>,
}

impl Default for Notice {
    fn default() -> Self {
        let text = |text: &str| TextOr::Text(Template(text.to_owned()));
        Self {
            continued: text("{participant} is continuing on {endpoint}."),
            failed: text(
                "{participant} could not be reached again. {undelivered} messages were not delivered.",
            ),
            too_often: text(
                "{participant} was lost too often, and the call is given up. {undelivered} messages were not delivered.",
            ),
            undelivered: text("{undelivered} messages to {participant} were not delivered."),
            anonymous: text("Anonymous"),
            other_phone: text("another phone"),
            language: "en".to_owned(),
            fallback: vec![Fallback::OutOfDialog],
            exempt: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fallback {
    OutOfDialog,
    /// No effect in this version.
    Tone,
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) String);

const PLACEHOLDERS: [&str; 3] = ["participant", "endpoint", "undelivered"];
/// Characters; what a MESSAGE over UDP can carry.
const TEMPLATE_MAX: usize = 500;

impl FromText for Template {
    const WHAT: &'static str = "a text";

    fn form() -> String {
        format!(
            "up to {TEMPLATE_MAX} characters; placeholders are {{participant}}, {{endpoint}} and {{undelivered}}"
        )
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the text is empty".to_owned());
        }
        if text.chars().count() > TEMPLATE_MAX {
            return Err("the text is too long".to_owned());
        }
        if text.chars().any(|c| c.is_control() && c != '\n') {
            return Err("the text has control characters".to_owned());
        }
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (inside, after) = rest[at..]
                .strip_prefix('{')
                .and_then(|r| r.split_once('}'))
                .ok_or("a brace stands alone")?;
            if !PLACEHOLDERS.contains(&inside) {
                return Err(format!("`{{{inside}}}` is no placeholder"));
            }
            rest = after;
        }
        Ok(Self(text.to_owned()))
    }

    fn pattern() -> String {
        "^([^{}]|[{](participant|endpoint|undelivered)[}])+$".to_owned()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(Template);

/// Text with `*` for any run of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

const PATTERN_MAX: usize = 200;

impl FromText for Pattern {
    const WHAT: &'static str = "a pattern";

    fn form() -> String {
        format!(
            "up to {PATTERN_MAX} characters of a phone's name or instance; `*` is any run of them"
        )
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.chars().count() > PATTERN_MAX {
            return Err("the pattern is empty or too long".to_owned());
        }
        if text.chars().any(char::is_control) {
            return Err("the pattern has control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn pattern() -> String {
        format!("^.{{1,{PATTERN_MAX}}}$")
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(Pattern);

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Messages {
    /// Without an answer for this long the far leg is suspect, and the message is queued.
    pub(crate) suspect_after: Span<{ 100 * MS }, { 30 * SECOND }>,
    /// Messages that wait for an endpoint.
    pub(crate) queue: Queue,
    /// Undelivered messages wait for the next registration. No effect in this version.
    pub(crate) store_and_forward: bool,
    /// Idle time after which messages outside a dialog begin a new conversation. No effect in this
    /// version.
    pub(crate) page_idle: Span<SECOND, DAY>,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            suspect_after: Span(2 * SECOND),
            queue: Queue::default(),
            store_and_forward: true,
            page_idle: Span(15 * MINUTE),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Queue {
    /// Messages of one conversation.
    pub(crate) per_conversation: Whole<1, 100_000>,
    /// Their size.
    pub(crate) bytes_per_conversation: Size<KIB, GIB>,
    /// The size of all on this node.
    pub(crate) total_bytes: Size<KIB, { 64 * GIB }>,
    /// Older ones are dropped.
    pub(crate) max_age: Span<SECOND, { 30 * DAY }>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            per_conversation: Whole(200),
            bytes_per_conversation: Size(MIB),
            total_bytes: Size(256 * MIB),
            max_age: Span(HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_know_their_placeholders() {
        for text in [
            "{participant} is on {endpoint}",
            "{undelivered}",
            "moved",
            "a\nb",
        ] {
            assert!(Template::from_text(text).is_ok(), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}",
            "{name}",
            "{ endpoint }",
            "{endpoint",
            "a}b{",
            "\u{7}",
        ] {
            assert!(Template::from_text(text).is_err(), "{text}");
        }
        assert!(Template::from_text(&"x".repeat(501)).is_err());
    }
}
