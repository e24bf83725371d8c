//! Messages out of a generator, with what they must come to.

#![allow(unreachable_pub, reason = "a module of several test programs")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A message before it is written.
#[derive(Clone, Debug)]
pub struct Draft {
    pub start: Start,
    pub branch: String,
    pub from: Party,
    pub to: Party,
    pub call_id: String,
    pub cseq: u32,
    pub method: &'static str,
    /// Besides those above and Content-Length.
    pub others: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub enum Start {
    Request(String),
    Response(u16, &'static str),
}

/// A From or To.
#[derive(Clone, Debug)]
pub struct Party {
    pub display: Option<&'static str>,
    pub uri: String,
    pub tag: Option<String>,
}

impl Party {
    pub fn text(&self) -> String {
        let display = self.display.map_or(String::new(), |d| format!("{d} "));
        let tag = self.tag.iter().map(|tag| format!(";tag={tag}"));
        format!("{display}<{}>{}", self.uri, tag.collect::<String>())
    }
}

impl Draft {
    /// The header fields in their order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let via = format!("SIP/2.0/UDP 192.0.2.1:5060;branch={}", self.branch);
        let mut fields = vec![
            ("Via", via),
            ("From", self.from.text()),
            ("To", self.to.text()),
            ("Call-ID", self.call_id.clone()),
            ("CSeq", format!("{} {}", self.cseq, self.method)),
        ];
        fields.extend(self.others.iter().cloned());
        fields.push(("Content-Length", self.body.len().to_string()));
        fields
    }

    /// Written by hand, not by the code under test.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = match &self.start {
            Start::Request(uri) => format!("{} {uri} SIP/2.0\r\n", self.method),
            Start::Response(status, reason) => format!("SIP/2.0 {status} {reason}\r\n"),
        };
        for (name, value) in self.fields() {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

const METHODS: &[&str] = &[
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
];
const STATUSES: &[(u16, &str)] = &[
    (100, "Trying"),
    (180, "Ringing"),
    (183, "Session Progress"),
    (200, "OK"),
    (302, "Moved Temporarily"),
    (401, "Unauthorized"),
    (404, "Not Found"),
    (481, "Call/Transaction Does Not Exist"),
    (487, "Request Terminated"),
    (503, "Service Unavailable"),
    (603, "Decline"),
];

pub fn uri() -> impl Strategy<Value = String> {
    let host = prop_oneof![
        "[a-z][a-z0-9]{0,8}\\.example\\.(com|org)",
        (1u8..255, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}.7")),
    ];
    let port = option::of(1u16..).prop_map(|port| port.map_or(String::new(), |p| format!(":{p}")));
    let params = select(&["", ";transport=tcp", ";lr", ";user=phone", ";x=y;z"][..]);
    ("[a-zA-Z0-9_.+-]{1,12}", host, port, params)
        .prop_map(|(user, host, port, params)| format!("sip:{user}@{host}{port}{params}"))
}

fn party(tag: impl Strategy<Value = Option<String>>) -> impl Strategy<Value = Party> {
    let displays = &[
        "Alice",
        "\"Bob B. Baker\"",
        "\"quoted, <with> ;marks\"",
        "Two Words",
    ][..];
    (option::of(select(displays)), uri(), tag).prop_map(|(display, uri, tag)| Party {
        display,
        uri,
        tag,
    })
}

fn other() -> impl Strategy<Value = (&'static str, String)> {
    prop_oneof![
        uri().prop_map(|uri| ("Contact", format!("<{uri}>"))),
        uri().prop_map(|uri| ("Route", format!("<{uri}>"))),
        uri().prop_map(|uri| ("Record-Route", format!("<{uri}>"))),
        (0u8..71).prop_map(|hops| ("X-Hops", hops.to_string())),
        any::<u32>().prop_map(|s| ("Session-Expires", s.to_string())),
        select(&["timer", "replaces, 100rel", "path"][..])
            .prop_map(|v| ("Supported", v.to_owned())),
        "[!-9;-~]([ -~]{0,40}[!-~])?".prop_map(|text| ("Subject", text)),
        "[!-~]([ -~]{0,40}[!-~])?".prop_map(|text| ("X-Anything", text)),
        "[A-Za-z]{1,10}/[0-9.]{1,6}".prop_map(|text| ("User-Agent", text)),
    ]
}

/// Messages whose bodies come from `body`.
pub fn draft(body: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Draft> {
    let start = prop_oneof![
        uri().prop_map(Start::Request),
        select(STATUSES).prop_map(|(status, reason)| Start::Response(status, reason)),
    ];
    let tag = "[a-zA-Z0-9.-]{1,20}";
    (
        start,
        "z9hG4bK[a-zA-Z0-9]{1,16}",
        party(tag.prop_map(Some)),
        party(option::of(tag)),
        "[a-zA-Z0-9-]{1,20}(@[a-z0-9.]{1,10}[a-z])?",
        0..=i32::MAX as u32,
        select(METHODS),
        vec(other(), 0..8),
        body,
    )
        .prop_map(
            |(start, branch, from, to, call_id, cseq, method, others, body)| Draft {
                start,
                branch,
                from,
                to,
                call_id,
                cseq,
                method,
                others,
                body,
            },
        )
}
