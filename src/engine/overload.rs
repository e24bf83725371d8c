//! Overload control (RFC 6357 3, RFC 7339 in spirit): while the shard is late, what would begin something
//! new is put off with 503, and what stands goes on.
//!
//! ```text
//!             late for a while              in time for a while
//!   (in time) ────────────────► (overloaded) ────────────────► (in time)
//! ```
//! How late the shard is, is told by whoever runs it (`Input::Lateness`), often. One late moment is a
//! machine that was busy elsewhere: only lateness that lasts is an overload, and between the two limits
//! nothing changes.

use super::Engine;
use super::conversation::{aor_key, replaced};
use super::location::aor_in;
use crate::engine::events::Event;
use crate::engine::ids::Flow;
use crate::engine::mint::tag_key;
use crate::engine::ports::World;
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Method, Name};

/// Half of RFC 3261's T1: what waits for longer is soon sent again, and makes more of the same work.
const LATE: Millis = Millis(250);
const IN_TIME: Millis = Millis(50);
/// How long it must last, either way.
const LASTS: Millis = Millis::from_secs(1);
/// What is put off may come back after this, give or take a share, so that it does not come at once.
const PAUSE: Millis = Millis::from_secs(17);
const PAUSE_SHARE: f64 = 0.7;

/// Whether the shard has more to do than it can.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overload {
    on: bool,
    /// Since when each measure has spoken for a change.
    since: Option<Time>,
}

impl Overload {
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Takes a measure. Returns true where it changes something.
    pub(crate) fn measure(&mut self, lateness: Millis, now: Time) -> bool {
        let speaks = if self.on {
            lateness <= IN_TIME
        } else {
            lateness >= LATE
        };
        if !speaks {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let changes = now.since(since) >= LASTS;
        if changes {
            self.on = !self.on;
            self.since = None;
        }
        changes
    }
}

impl Engine {
    pub(super) fn measure(&mut self, lateness: Millis, now: Time) {
        if self.overload.measure(lateness, now) {
            let on = self.overload.is_on();
            self.emit(Event::Overload { on, lateness });
        }
    }

    /// Answers what would begin something new while the shard is late, as cheaply as may be: without a
    /// transaction. Returns what is to be taken all the same.
    pub(super) fn put_off(
        &mut self,
        message: Message,
        flow: Flow,
        now: Time,
        world: &dyn World,
    ) -> Option<Message> {
        if !self.overload.is_on() || !self.begins(&message, flow, now, world) {
            return Some(message);
        }
        let pause = self.shared.mint.jitter(PAUSE, PAUSE_SHARE).as_secs_ceil();
        let out = &mut self.shared.out;
        self.shared
            .transactions
            .put_off(&message, pause, flow, now, out);
        None
    }

    /// Returns true for what begins something that can wait. A phone that repairs its call, one that is known and
    /// stays, and one that is sought, do not; who calls for help (RFC 5390 5, REQ 13) must not.
    fn begins(&self, message: &Message, flow: Flow, now: Time, world: &dyn World) -> bool {
        if !message.is_request() || message.to_tag().is_some() {
            return false;
        }
        let begins = match message.method() {
            Method::Invite => !self.is_repair(message),
            Method::Message | Method::Subscribe | Method::Publish | Method::Refer => true,
            Method::Register => !self.is_known(message, world),
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Options
            | Method::Info
            | Method::Update
            | Method::Prack
            | Method::Notify
            | Method::Other(_) => false,
        };
        begins
            && !self.shared.transactions.knows(message, flow)
            && !self.is_for_help(message, flow, now, world)
    }

    fn is_for_help(&self, message: &Message, flow: Flow, now: Time, world: &dyn World) -> bool {
        let calls = matches!(message.method(), Method::Invite | Method::Message);
        calls && self.emergency(message, flow, now, world).is_some()
    }

    fn is_repair(&self, invite: &Message) -> bool {
        let replaces = invite.header(Name::Replaces).and_then(replaced);
        let key = replaces.and_then(|replaced| tag_key(replaced.local_tag));
        key.is_some_and(|key| self.shared.tags.contains_key(&key))
    }

    fn is_known(&self, register: &Message, world: &dyn World) -> bool {
        let aor = aor_in(register.to().uri, &self.shared.settings);
        aor.is_some_and(|aor| {
            !world.bindings(&aor).is_empty() || !self.found_by(aor_key(&aor)).is_empty()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_that_lasts_and_nothing_in_between() {
        let mut overload = Overload::default();
        let mut now = Time(1_000_000);
        let mut lasts = |lateness, times| {
            let mut changes = 0;
            for _ in 0..times {
                now = now + Millis(100);
                changes += usize::from(overload.measure(Millis(lateness), now));
            }
            (changes, overload.is_on())
        };
        assert_eq!(lasts(249, 50), (0, false));
        assert_eq!(lasts(5_000, 10), (0, false), "not for long");
        assert_eq!(lasts(0, 1), (0, false));
        assert_eq!(lasts(250, 11), (1, true));
        assert_eq!(lasts(51, 50), (0, true), "better, and not good yet");
        assert_eq!(lasts(50, 10), (0, true));
        assert_eq!(lasts(100, 1), (0, true));
        assert_eq!(lasts(50, 11), (1, false));
    }
}
