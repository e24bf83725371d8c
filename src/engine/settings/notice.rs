//! What a survivor is told of a change, and by what.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct NoticeSettings {
    /// By language; the key "" holds the text for no language in particular.
    pub continued: BTreeMap<Box<str>, Box<str>>,
    pub failed: BTreeMap<Box<str>, Box<str>>,
    /// As `failed`, where `restore.max_per_conversation` is the cause.
    pub too_often: BTreeMap<Box<str>, Box<str>>,
    pub undelivered: BTreeMap<Box<str>, Box<str>>,
    /// What somebody is called who is not to be named, and a phone of theirs (RFC 3323).
    pub anonymous: BTreeMap<Box<str>, Box<str>>,
    pub other_phone: BTreeMap<Box<str>, Box<str>>,
    pub language: Box<str>,
    pub out_of_dialog: bool,
    /// Where no MESSAGE is taken: a tone in the media.
    pub tone: bool,
    /// Who is told nothing: names of endpoints and instances, in lower case, with `*`.
    pub exempt: Vec<Box<str>>,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        let text = |text: &str| BTreeMap::from([("".into(), text.into())]);
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
            language: "en".into(),
            out_of_dialog: true,
            tone: false,
            exempt: Vec::new(),
        }
    }
}
