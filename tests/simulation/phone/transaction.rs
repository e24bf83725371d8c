//! The phone's transactions (RFC 3261 17): what is sent again, and until when.

use bytes::Bytes;
use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method};

const T2: Millis = Millis(4000);
/// RFC 3261 17.1.2.2: how long an answered request is remembered.
pub(crate) const LINGER: Millis = Millis(32_000);

/// A request that the phone sent.
pub(crate) struct Client {
    pub(crate) branch: String,
    pub(crate) method: Method,
    pub(crate) bytes: Bytes,
    pub(crate) call: Option<u64>,
    pub(crate) cseq: u32,
    /// The ACK of a final response that is no success; there once it came.
    pub(crate) ack: Option<Bytes>,
    pub(crate) state: ClientState,
    interval: Millis,
    again: Option<Time>,
    pub(crate) until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientState {
    Trying,
    Proceeding,
    Done,
}

impl Client {
    pub(crate) fn new(
        request: &Message,
        call: Option<u64>,
        t1: Millis,
        udp: bool,
        now: Time,
    ) -> Self {
        Self {
            branch: request.branch().unwrap_or_default().to_owned(),
            method: request.method().clone(),
            bytes: request.bytes().clone(),
            call,
            cseq: request.cseq(),
            ack: None,
            state: ClientState::Trying,
            interval: t1,
            again: udp.then(|| now + t1),
            until: now + LINGER,
        }
    }

    pub(crate) fn is_within_a_dialog(&self) -> bool {
        let request = Message::parse(self.bytes.clone());
        request.is_ok_and(|request| request.to_tag().is_some())
    }

    pub(crate) fn next(&self) -> Time {
        self.again.map_or(self.until, |again| again.min(self.until))
    }

    /// Returns what is to be sent again now.
    pub(crate) fn due(&mut self, now: Time) -> Option<Bytes> {
        self.again.filter(|again| *again <= now)?;
        self.interval = self.interval.times(2);
        if self.method != Method::Invite {
            self.interval = self.interval.min(T2);
        }
        self.again = Some(now + self.interval);
        Some(self.bytes.clone())
    }

    /// A provisional response came.
    pub(crate) fn proceed(&mut self, now: Time, patience: Millis) {
        if self.state != ClientState::Trying {
            return;
        }
        self.state = ClientState::Proceeding;
        if self.method == Method::Invite {
            self.again = None;
            self.until = now + patience;
        } else {
            self.interval = T2;
        }
    }

    pub(crate) fn done(&mut self, ack: Option<Bytes>, now: Time) {
        self.state = ClientState::Done;
        self.ack = ack;
        self.again = None;
        self.until = now + LINGER;
    }
}

/// A request that the phone got.
pub(crate) struct Server {
    pub(crate) request: Message,
    pub(crate) call: Option<u64>,
    pub(crate) status: u16,
    response: Option<Bytes>,
    /// A slow phone's answer, and when it goes out.
    slow: Option<(Time, u16, Bytes)>,
    t1: Millis,
    interval: Millis,
    again: Option<Time>,
    pub(crate) until: Time,
    pub(crate) acked: bool,
}

impl Server {
    pub(crate) fn new(request: &Message, call: Option<u64>, t1: Millis, now: Time) -> Self {
        Self {
            request: request.clone(),
            call,
            status: 0,
            response: None,
            slow: None,
            t1,
            interval: t1,
            again: None,
            until: now + Millis(600_000),
            acked: false,
        }
    }

    pub(crate) fn matches(&self, request: &Message) -> bool {
        let of_ack = *request.method() == Method::Ack && *self.request.method() == Method::Invite;
        self.request.branch() == request.branch()
            && (of_ack || self.request.method() == request.method())
    }

    pub(crate) fn response(&self) -> Option<Bytes> {
        self.response.clone()
    }

    pub(crate) fn is_open_invite(&self) -> bool {
        *self.request.method() == Method::Invite && self.status < 200
    }

    pub(crate) fn answer_at(&mut self, at: Time, status: u16, bytes: Bytes) {
        self.slow = Some((at, status, bytes));
    }

    /// The response goes out now; a final one to an INVITE is sent again until its ACK comes.
    pub(crate) fn answer(&mut self, status: u16, bytes: Bytes, udp: bool, now: Time) {
        self.slow = None;
        self.status = status;
        self.response = Some(bytes);
        if status < 200 {
            return;
        }
        self.until = now + LINGER;
        (self.again, self.interval) = (None, self.t1);
        // A 2xx is sent again over any transport (RFC 3261 13.3.1.4).
        if *self.request.method() == Method::Invite && (udp || status < 300) {
            self.again = Some(now + self.interval);
        }
    }

    /// A provisional response is sent again until its PRACK comes (RFC 3262 3).
    pub(crate) fn insist(&mut self, now: Time) {
        self.again = Some(now + self.interval);
    }

    pub(crate) fn rest(&mut self) {
        self.again = None;
    }

    pub(crate) fn acknowledged(&mut self, now: Time) {
        self.acked = true;
        self.again = None;
        self.until = now + Millis(5000);
    }

    pub(crate) fn next(&self) -> Time {
        let slow = self.slow.as_ref().map(|(at, ..)| *at);
        [self.again, slow]
            .into_iter()
            .flatten()
            .fold(self.until, Time::min)
    }

    /// Returns a slow answer that is to go out now.
    pub(crate) fn ripe(&mut self, now: Time) -> Option<(u16, Bytes)> {
        self.slow.as_ref().filter(|(at, ..)| *at <= now)?;
        self.slow.take().map(|(_, status, bytes)| (status, bytes))
    }

    pub(crate) fn due(&mut self, now: Time) -> Option<Bytes> {
        self.again.filter(|again| *again <= now)?;
        self.interval = self.interval.times(2).min(T2);
        self.again = Some(now + self.interval);
        self.response.clone()
    }
}
