//! Reliable provisional responses (RFC 3262) of an early dialog: those that we send, and those we hear.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::settings::TimerSettings;
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Method, Name};

/// Responses that may wait for the PRACK of one before them.
const WAITING_MAX: usize = 8;
/// Early dialogs of one INVITE, as proxies make them.
const HEARD_MAX: usize = 8;
/// RFC 3262 3: how long the PRACK may take.
const ATTEMPTS: u64 = 64;

/// What a PRACK is for (RFC 3262 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RAck {
    pub rseq: u32,
    /// Of the INVITE.
    pub cseq: u32,
}

impl RAck {
    /// Reads it. None where there is none, or it names a request that is no INVITE.
    pub fn of(request: &Message) -> Option<Self> {
        let mut parts = request.header(Name::RAck)?.split_ascii_whitespace();
        let (rseq, cseq, method) = (parts.next()?, parts.next()?, parts.next()?);
        let invite = Method::parse(method) == Method::Invite && parts.next().is_none();
        invite.then_some(Self {
            rseq: rseq.parse().ok()?,
            cseq: cseq.parse().ok()?,
        })
    }
}

/// Returns the number of a response that wants a PRACK (RFC 3262 4).
pub fn rseq(response: &Message) -> Option<u32> {
    let reliable = (101..200).contains(&response.status())
        && *response.method() == Method::Invite
        && response.to_tag().is_some()
        && response.has_token(Name::Require, "100rel");
    response
        .header(Name::RSeq)
        .filter(|_| reliable)
        .and_then(|number| number.trim().parse().ok())
}

/// What a response brings of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    Nothing,
    /// To the INVITE's offer.
    Answer,
    /// The INVITE had none; the PRACK brings the answer.
    Offer,
}

/// Responses that we send in one early dialog, one at a time.
///
/// ```text
///          sent                    T1, 2*T1, 4*T1 ...
///   (none) ─────► first is out ◄──────────────┐
///      ▲            │  │  └───── sent again ──┘
///      │  its PRACK │  │ 64*T1: the INVITE is refused
///      └────────────┘  ▼
///    the next is out
/// ```
#[derive(Debug)]
pub struct Sent {
    /// The number given last.
    last: u32,
    /// The number that had its PRACK last.
    acknowledged: Option<u32>,
    /// The first is out, the others wait.
    queue: VecDeque<Provisional>,
    again: Time,
    pause: Millis,
    until: Time,
}

#[derive(Clone, Debug)]
struct Provisional {
    rseq: u32,
    status: u16,
    bytes: Bytes,
    carries: Carries,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// The response goes out again.
    Again(u16, Bytes),
    /// RFC 3262 3: no PRACK in 64*T1, the INVITE gets a 5xx.
    GiveUp,
}

/// A PRACK that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub carried: Carries,
    /// The response that has its turn now.
    pub next: Option<(u16, Bytes)>,
}

impl Sent {
    /// Begins behind a number that was never given.
    pub fn after(last: u32) -> Self {
        Self {
            last: last & 0x7fff_ffff,
            acknowledged: None,
            queue: VecDeque::new(),
            again: Time(0),
            pause: Millis(0),
            until: Time(0),
        }
    }

    /// Returns the number that the next response has, where there is room for one.
    pub fn number(&self) -> Option<u32> {
        (self.queue.len() < WAITING_MAX).then_some(self.last + 1)
    }

    /// Takes a response with that number. Returns true where it goes out at once.
    pub fn push(
        &mut self,
        status: u16,
        bytes: Bytes,
        carries: Carries,
        now: Time,
        timers: &TimerSettings,
    ) -> bool {
        self.last += 1;
        self.queue.push_back(Provisional {
            rseq: self.last,
            status,
            bytes,
            carries,
        });
        let first = self.queue.len() == 1;
        if first {
            self.start(now, timers);
        }
        first
    }

    /// Takes a PRACK. None where it is for no response that is out.
    pub fn acknowledge(
        &mut self,
        rseq: u32,
        now: Time,
        timers: &TimerSettings,
    ) -> Option<Acknowledged> {
        let out = self.out().filter(|(known, _)| *known == rseq)?;
        self.queue.pop_front();
        self.acknowledged = Some(rseq);
        self.start(now, timers);
        Some(Acknowledged {
            carried: out.1,
            next: self
                .queue
                .front()
                .map(|next| (next.status, next.bytes.clone())),
        })
    }

    /// Returns number and load of the response that is out.
    pub fn out(&self) -> Option<(u32, Carries)> {
        self.queue.front().map(|out| (out.rseq, out.carries))
    }

    /// Returns the number whose PRACK may come, be it once more: its 200 may have been lost.
    pub fn latest(&self) -> Option<u32> {
        self.out().map(|(rseq, _)| rseq).or(self.acknowledged)
    }

    /// The dialog is over: nothing goes out in it any more.
    pub fn forget(&mut self) {
        self.queue.clear();
    }

    /// RFC 3262 3: no 2xx goes out while a response with a session description has no PRACK.
    pub fn holds_success(&self) -> bool {
        let mut queue = self.queue.iter();
        queue.any(|response| response.carries != Carries::Nothing)
    }

    /// Returns when something is due.
    pub fn next(&self) -> Option<Time> {
        let out = self.queue.front();
        out.map(|_| self.again.min(self.until))
    }

    /// Returns what is due.
    pub fn due(&mut self, now: Time) -> Due {
        let Some(out) = self.queue.front() else {
            return Due::Nothing;
        };
        if self.until <= now {
            return Due::GiveUp;
        }
        if self.again > now {
            return Due::Nothing;
        }
        // RFC 3262 3: it doubles without an end but the last.
        self.pause = self.pause.times(2);
        self.again = now + self.pause;
        Due::Again(out.status, out.bytes.clone())
    }

    fn start(&mut self, now: Time, timers: &TimerSettings) {
        self.pause = timers.t1;
        self.again = now + timers.t1;
        self.until = now + timers.t1.times(ATTEMPTS);
    }
}

/// The numbers heard last, by the far end's tag.
#[derive(Clone, Debug, Default)]
pub struct Heard(Vec<(Box<str>, u32)>);

/// What becomes of a reliable response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It has its effect, and gets a PRACK.
    Take,
    /// It came before: its PRACK is under way.
    Again,
    /// One before it is missing: it comes again after that.
    Gap,
    /// No more early dialogs of one INVITE are followed.
    TooMany,
}

impl Heard {
    /// Takes the number of a response (RFC 3262 4).
    pub fn take(&mut self, tag: &str, rseq: u32) -> Order {
        let Some((_, last)) = self.0.iter_mut().find(|(known, _)| **known == *tag) else {
            if self.0.len() >= HEARD_MAX {
                return Order::TooMany;
            }
            self.0.push((tag.into(), rseq));
            return Order::Take;
        };
        if rseq <= *last {
            Order::Again
        } else if Some(rseq) == last.checked_add(1) {
            *last = rseq;
            Order::Take
        } else {
            Order::Gap
        }
    }
}
