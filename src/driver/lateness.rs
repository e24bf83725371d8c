//! How late a shard is.

use crate::engine::time::{Millis, Time};

/// SIP sends what was lost again after T1 at the earliest (RFC 3261 17.1.1.1).
const SENT_AGAIN_AFTER: Millis = Millis(500);
/// How often the engine is told while nothing changes.
const TOLD_EVERY: Millis = Millis(100);

/// The worst of what waits: a timer that was due, a turn that took long (what arrived meanwhile waited for
/// it), the datagrams in the kernel's queue and those that it had no room for, and the shard's own mail,
/// measured by a mark that goes through the mailbox like any other.
#[derive(Debug)]
pub(super) struct Lateness {
    turn_begun: Time,
    worst: Millis,
    /// When the mark that is under way was posted.
    marked: Option<Time>,
    told: Time,
}

impl Lateness {
    pub(super) fn new(now: Time) -> Self {
        Self {
            turn_begun: now,
            worst: Millis(0),
            marked: None,
            told: now,
        }
    }

    pub(super) fn begin_turn(&mut self, now: Time) {
        self.turn_begun = now;
    }

    /// A timer that was due then is fired now.
    pub(super) fn fired(&mut self, due: Time, now: Time) {
        self.note(now.since(due));
    }

    /// A datagram has waited for so long to be read.
    pub(super) fn waited(&mut self, wait: Millis) {
        self.note(wait);
    }

    /// The kernel had no room for datagrams.
    pub(super) fn lost(&mut self) {
        self.note(SENT_AGAIN_AFTER);
    }

    /// Returns true where a mark is to be posted: none is under way.
    pub(super) fn marks(&mut self, now: Time) -> bool {
        let marks = self.marked.is_none();
        if marks {
            self.marked = Some(now);
        }
        marks
    }

    /// The mark has come through the mailbox, or nothing is left in it.
    pub(super) fn mark_came(&mut self, now: Time) {
        if let Some(posted) = self.marked.take() {
            self.note(now.since(posted));
        }
    }

    /// Returns what to tell the engine at the end of a turn, where it is time to.
    pub(super) fn end_turn(&mut self, now: Time) -> Option<Millis> {
        self.note(now.since(self.turn_begun));
        // A mark that has not come yet is as old as the mail before it.
        if let Some(posted) = self.marked {
            self.note(now.since(posted));
        }
        if now.since(self.told) < TOLD_EVERY {
            return None;
        }
        self.told = now;
        Some(std::mem::take(&mut self.worst))
    }

    fn note(&mut self, lateness: Millis) {
        self.worst = self.worst.max(lateness);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_since_it_was_told() {
        let mut lateness = Lateness::new(Time(0));
        lateness.begin_turn(Time(100));
        lateness.fired(Time(60), Time(100));
        assert_eq!(lateness.end_turn(Time(110)), Some(Millis(40)));
        lateness.begin_turn(Time(120));
        assert_eq!(lateness.end_turn(Time(150)), None, "told a moment ago");
        lateness.begin_turn(Time(200));
        assert_eq!(lateness.end_turn(Time(220)), Some(Millis(30)));
    }

    #[test]
    fn what_waits_in_the_kernel_and_what_it_had_no_room_for() {
        let mut lateness = Lateness::new(Time(0));
        lateness.begin_turn(Time(100));
        lateness.waited(Millis(300));
        lateness.waited(Millis(20));
        assert_eq!(lateness.end_turn(Time(101)), Some(Millis(300)));
        lateness.begin_turn(Time(300));
        lateness.lost();
        assert_eq!(lateness.end_turn(Time(300)), Some(Millis(500)));
    }

    #[test]
    fn mail_that_waits_is_as_late_as_the_mark_in_it() {
        let mut lateness = Lateness::new(Time(0));
        assert!(lateness.marks(Time(0)) && !lateness.marks(Time(10)));
        lateness.begin_turn(Time(300));
        assert_eq!(lateness.end_turn(Time(310)), Some(Millis(310)));
        lateness.mark_came(Time(320));
        lateness.begin_turn(Time(450));
        assert_eq!(lateness.end_turn(Time(451)), Some(Millis(320)));
        assert!(lateness.marks(Time(460)));
        lateness.mark_came(Time(460));
        lateness.begin_turn(Time(600));
        assert_eq!(lateness.end_turn(Time(600)), Some(Millis(0)));
    }
}
