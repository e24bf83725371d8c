//! One call or IM session of a phone: its dialog (RFC 3261 12) and what became of it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::sip::sdp::Direction;
use crate::sip::{Message, Name};

use super::description::{self, Medium, Section};
use super::net::Link;
use super::profile::Script;
use super::request::Draft;
use super::rtp::Rtp;

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Placed, nobody rings yet.
    Calling,
    /// It rings, here or there.
    Ringing,
    /// Answered here, the ACK is not yet here.
    Answered,
    Up,
    Over(Ending),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The final response to the INVITE, given here or by the other end.
    Refused(u16),
    /// By CANCEL, of either end.
    Cancelled,
    /// BYE sent.
    HungUpHere,
    /// BYE received.
    HungUpThere,
    /// Another INVITE took its place (RFC 3891).
    Replaced,
    /// The INVITE was never answered.
    NoAnswer,
}

/// A text that a phone received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub at: Duration,
    /// The From header as it came.
    pub from: String,
    pub content_type: String,
    pub body: String,
}

impl Text {
    pub(super) fn of(message: &Message, at: Duration) -> Self {
        Self {
            at,
            from: message.header(Name::From).unwrap_or("").to_owned(),
            content_type: message.content_type().unwrap_or("").to_owned(),
            body: String::from_utf8_lossy(message.body()).into_owned(),
        }
    }
}

/// What a script wants done later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Answer,
    Refuse(u16),
}

/// What only the one who called has.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) branch: String,
    pub(super) invite: Draft,
    /// CANCEL must wait for a provisional response (RFC 3261 9.1).
    pub(super) cancel: bool,
    pub(super) provisional: bool,
}

/// What only the one who was called has.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) invite: Message,
    pub(super) link: Link,
    pub(super) todo: Option<(Duration, Todo)>,
}

#[derive(Debug)]
pub(super) enum Role {
    Placed(Placed),
    Taken(Taken),
}

/// An ACK to a 2xx, to be sent again for each of its retransmissions (RFC 3261 13.2.2.4).
#[derive(Debug)]
pub(super) struct Ack {
    pub(super) cseq: u32,
    pub(super) link: Link,
    pub(super) bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Dialog {
    pub(super) role: Role,
    pub(super) phase: Phase,
    pub(super) call_id: String,
    pub(super) local_tag: String,
    pub(super) remote_tag: Option<String>,
    /// From and To values without tags.
    pub(super) local: String,
    pub(super) remote: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) local_cseq: u32,
    pub(super) remote_cseq: u32,
    pub(super) acks: Vec<Ack>,
    pub(super) medium: Medium,
    pub(super) session: u64,
    pub(super) version: u32,
    /// What our last description said; a held call says sendonly or inactive.
    pub(super) direction: Direction,
    pub(super) on_hold: bool,
    /// Our offer waits for its answer.
    pub(super) offering: bool,
    pub(super) remote_sdp: Vec<u8>,
    /// By `m=` line; none of text.
    pub(super) rtp: Vec<Rtp>,
    /// Sections that the other end has offered: an answer has as many (RFC 3264 6).
    pub(super) offered: usize,
    pub(super) texts: Vec<Text>,
    /// What became of our REFERs, as NOTIFYs told.
    pub(super) reports: Vec<u16>,
    /// Somebody asked for it with `Phone::incoming`.
    pub(super) seen: bool,
}

impl Dialog {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over(_))
    }

    /// Returns true where the dialog is confirmed and not over.
    pub(super) fn is_standing(&self) -> bool {
        matches!(self.phase, Phase::Answered | Phase::Up)
    }

    /// Returns true for a request that belongs to this dialog (RFC 3261 12.2.2).
    pub(super) fn owns(&self, request: &Message) -> bool {
        self.call_id == request.call_id()
            && request.to_tag() == Some(&self.local_tag)
            && request.from_tag() == self.remote_tag.as_deref()
    }

    pub(super) fn end(&mut self, how: Ending) {
        if !self.is_over() {
            self.phase = Phase::Over(how);
        }
        for rtp in &mut self.rtp {
            rtp.close();
        }
    }

    /// Takes the peer's Contact as the new remote target (RFC 3261 12.2.1.2).
    pub(super) fn refresh_target(&mut self, message: &Message) {
        let contact = message
            .values(Name::Contact)
            .next()
            .and_then(|value| crate::sip::Address::parse(value).ok());
        if let Some(contact) = contact {
            self.target = contact.uri.to_owned();
        }
    }

    /// Writes our description as it stands.
    pub(super) fn describe(&self, address: IpAddr) -> Vec<u8> {
        let mut sections: Vec<Section> = self.rtp.iter().map(Rtp::section).collect();
        if sections.len() < self.offered && self.medium != Medium::Text {
            sections.resize(self.offered, Section::default());
        }
        let version = (self.session, self.version);
        description::write(address, version, self.direction, &sections)
    }

    /// Takes what the other end described, and speaks or is silent as both agreed.
    pub(super) fn apply(&mut self, description: &[u8], script: &Script, now: Duration) {
        let Some(remote) = description::read(description) else {
            return;
        };
        self.remote_sdp = description.to_vec();
        for (rtp, remote) in self.rtp.iter_mut().zip(&remote.streams) {
            let runs = rtp.agree(remote, script.srtp);
            let speaking = script.speaks && self.direction.sends() && remote.direction.receives();
            rtp.set(remote.rtp.filter(|_| runs), speaking, now);
        }
    }

    pub(super) fn local_value(&self) -> String {
        format!("{};tag={}", self.local, self.local_tag)
    }

    pub(super) fn remote_value(&self) -> String {
        match &self.remote_tag {
            Some(tag) => format!("{};tag={tag}", self.remote),
            None => self.remote.clone(),
        }
    }
}
