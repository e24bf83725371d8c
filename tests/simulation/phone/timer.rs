//! The phone's session timer (RFC 4028).

use refork::engine::time::{Millis, Time};
use refork::sip::{Message, Method, Name};

use super::call::Stage;
use super::reliable::lists;
use super::{Phone, What};

/// When the phone refreshes its session, or takes it for dead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub(crate) at: Time,
    expires: u64,
    pub(crate) ours: bool,
}

impl Phone {
    /// Returns what a request of its own says of the timer.
    pub(super) fn asks_for_timer(&self, at: usize) -> Option<String> {
        let wish = Some(self.spec.traits.timer).filter(|wish| *wish > 0)?;
        Some(match self.calls[at].timer {
            Some(timer) if timer.ours => format!("{wish};refresher=uac"),
            Some(_) => format!("{wish};refresher=uas"),
            // Some leave it to whom they call.
            None if is_even(&self.calls[at].call_id) => format!("{wish};refresher=uas"),
            None => wish.to_string(),
        })
    }

    /// Returns what its 2xx says of the timer.
    pub(super) fn agrees_to_timer(&self, request: &Message) -> Option<String> {
        let wish = Some(self.spec.traits.timer).filter(|wish| *wish > 0)?;
        if !lists(request, Name::Supported, "timer") {
            // Whoever knows no timer is refreshed by who does (RFC 4028 9).
            return Some(format!("{wish};refresher=uas"));
        }
        let asked = request.header(Name::SessionExpires);
        let least = request.header(Name::MinSe).and_then(seconds).unwrap_or(90);
        let expires = asked.and_then(seconds);
        let expires = expires.map_or(wish, |asked| asked.min(wish)).max(least);
        let uac = match asked {
            Some(value) if value.contains("refresher=uac") => true,
            Some(value) if value.contains("refresher=uas") => false,
            // It is ours to say: by turns, so that both are met.
            Some(_) | None => is_even(request.call_id()),
        };
        let who = if uac { "uac" } else { "uas" };
        Some(format!("{expires};refresher={who}"))
    }

    /// A 2xx, sent or got, has begun or refreshed the session of a call.
    pub(super) fn timed(&mut self, at: usize, success: &Message, sent: bool, now: Time) {
        if self.spec.traits.timer == 0 {
            return;
        }
        let value = success.header(Name::SessionExpires);
        let uac = value.is_some_and(|value| value.contains("refresher=uac"));
        let expires = value.and_then(seconds);
        self.calls[at].timer = expires.map(|expires| {
            let ours = uac != sent;
            // RFC 4028 10: half of it, or a little before its end.
            let span = if ours {
                expires * 500
            } else {
                1000 * (expires - (expires / 3).min(32))
            };
            Timer {
                at: now + Millis(span),
                expires,
                ours,
            }
        });
    }

    /// It is time to refresh, or no refresh came.
    pub(super) fn time_session(&mut self, at: usize, now: Time) {
        let call = &mut self.calls[at];
        let Some(timer) = call.timer.as_mut().filter(|timer| timer.at <= now) else {
            return;
        };
        // As long as nobody answers, it is tried again.
        timer.at = now + Millis(timer.expires * 250);
        let ours = timer.ours;
        if call.stage != Stage::Live {
            return;
        }
        if !ours {
            self.note(What::Expired);
            return self.bye(at, now);
        }
        if call.changing {
            return;
        }
        call.changing = true;
        if self.spec.traits.update {
            let expires = self.asks_for_timer(at);
            let builder = self.next_within(at, &Method::Update);
            let bytes = self.capable(builder, expires.as_deref()).end();
            let id = self.calls[at].id;
            self.begin(bytes, Some(id), now);
        } else {
            self.invite(at, false, now);
        }
    }
}

/// Returns true for one call in two.
fn is_even(call_id: &str) -> bool {
    let bytes = call_id.bytes();
    bytes
        .fold(0, |sum: u32, byte| sum + u32::from(byte))
        .is_multiple_of(2)
}

fn seconds(value: &str) -> Option<u64> {
    value.split(';').next()?.trim().parse().ok()
}
