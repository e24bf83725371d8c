//! Deadlines of one shard.

use crate::engine::time::Time;

const DIGIT_BITS: u32 = 6;
/// Slots of a level, one bit each in its map.
const SLOTS: usize = 1 << DIGIT_BITS;
/// Enough digits for every `Time`, so that nothing overflows the wheel.
const LEVELS: usize = 11;
const NONE: u32 = u32::MAX;

/// A timer that was set. It names nothing any more once the timer went off or was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    index: u32,
    generation: u32,
}

/// A hierarchical timer wheel, millisecond by millisecond. Setting and cancelling cost the same
/// however many timers stand.
///
/// A time is read as digits of six bits. A timer lies on the level of the highest digit in which its
/// time differs from the wheel's own, in the slot of that digit; when the wheel gets there, the slot
/// is dealt out to the levels below. So timers of the same time always share a slot, in the order
/// in which they were set.
#[derive(Debug)]
pub struct Timers<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    len: usize,
    levels: Box<[Level; LEVELS]>,
    /// Everything before has gone off.
    elapsed: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: u64,
    generation: u32,
    prev: u32,
    next: u32,
    level: u8,
    slot: u8,
    item: Option<T>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    occupied: u64,
    slots: [List; SLOTS],
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List {
    head: NONE,
    tail: NONE,
};

impl<T> Timers<T> {
    /// Makes an empty wheel that stands at `now`.
    pub fn new(now: Time) -> Self {
        let level = Level {
            occupied: 0,
            slots: [EMPTY; SLOTS],
        };
        Self {
            entries: Vec::new(),
            free: NONE,
            len: 0,
            levels: Box::new([level; LEVELS]),
            elapsed: now.0,
        }
    }

    /// Sets a timer. A time that has passed counts as the last one that went off.
    ///
    /// # Panics
    /// With four thousand million timers.
    pub fn insert(&mut self, at: Time, item: T) -> TimerId {
        let at = at.0.max(self.elapsed);
        let index = self.take_entry(at, item);
        self.link(index);
        self.len += 1;
        TimerId {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    /// Takes a timer back, where it has not gone off yet.
    pub fn cancel(&mut self, id: TimerId) -> Option<T> {
        let entry = self.entries.get(id.index as usize)?;
        if entry.generation != id.generation || entry.item.is_none() {
            return None;
        }
        self.unlink(id.index);
        self.release(id.index)
    }

    /// Returns what is due at `now`, by time and then in the order it was set.
    pub fn pop_due(&mut self, now: Time) -> Option<T> {
        loop {
            let Some((level, slot, start)) = self.first_slot().filter(|first| first.2 <= now.0)
            else {
                self.elapsed = self.elapsed.max(now.0);
                return None;
            };
            self.elapsed = start;
            if level == 0 {
                let index = self.levels[0].slots[slot].head;
                self.unlink(index);
                return self.release(index);
            }
            self.deal_out(level, slot);
        }
    }

    /// Returns when `pop_due` is wanted: not after the first timer is due, and perhaps before, where
    /// a slot has to be dealt out first. At most ten calls too many come to one timer.
    pub fn next_due(&self) -> Option<Time> {
        self.first_slot().map(|(_, _, start)| Time(start))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns level, slot and beginning of the slot that comes first.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        let slot = self.levels[level].occupied.trailing_zeros();
        let shift = level as u32 * DIGIT_BITS;
        let above = self
            .elapsed
            .checked_shr(shift + DIGIT_BITS)
            .map_or(0, |high| high << (shift + DIGIT_BITS));
        Some((level, slot as usize, above | u64::from(slot) << shift))
    }

    /// Moves a slot's timers down, in their order.
    fn deal_out(&mut self, level: usize, slot: usize) {
        let mut index = std::mem::replace(&mut self.levels[level].slots[slot], EMPTY).head;
        self.levels[level].occupied &= !(1 << slot);
        while index != NONE {
            let next = self.entries[index as usize].next;
            self.link(index);
            index = next;
        }
    }

    /// Appends an entry to the slot of its time.
    fn link(&mut self, index: u32) {
        let at = self.entries[index as usize].at;
        let differing = (at ^ self.elapsed).checked_ilog2().unwrap_or(0);
        let level = (differing / DIGIT_BITS) as usize;
        let slot = (at >> (level as u32 * DIGIT_BITS)) as usize % SLOTS;
        let list = &mut self.levels[level].slots[slot];
        let prev = std::mem::replace(&mut list.tail, index);
        if prev == NONE {
            list.head = index;
        } else {
            self.entries[prev as usize].next = index;
        }
        self.levels[level].occupied |= 1 << slot;
        let entry = &mut self.entries[index as usize];
        (entry.prev, entry.next) = (prev, NONE);
        (entry.level, entry.slot) = (level as u8, slot as u8);
    }

    fn unlink(&mut self, index: u32) {
        let entry = &self.entries[index as usize];
        let (prev, next) = (entry.prev, entry.next);
        let (level, slot) = (usize::from(entry.level), usize::from(entry.slot));
        if next != NONE {
            self.entries[next as usize].prev = prev;
        } else {
            self.levels[level].slots[slot].tail = prev;
        }
        if prev != NONE {
            self.entries[prev as usize].next = next;
        } else {
            self.levels[level].slots[slot].head = next;
        }
        if prev == NONE && next == NONE {
            self.levels[level].occupied &= !(1 << slot);
        }
    }

    fn take_entry(&mut self, at: u64, item: T) -> u32 {
        let index = self.free;
        if let Some(entry) = self.entries.get_mut(index as usize) {
            self.free = entry.next;
            (entry.at, entry.item) = (at, Some(item));
            return index;
        }
        let index = self.entries.len() as u32;
        assert!(index != NONE, "too many timers");
        self.entries.push(Entry {
            at,
            generation: 0,
            prev: NONE,
            next: NONE,
            level: 0,
            slot: 0,
            item: Some(item),
        });
        index
    }

    fn release(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.len -= 1;
        entry.item.take()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::time::Millis;

    #[test]
    fn timers_go_off_by_time_and_then_in_order() {
        let mut timers = Timers::new(Time(1000));
        for (at, item) in [
            (1500, 'c'),
            (1100, 'a'),
            (1500, 'd'),
            (1100, 'b'),
            (900_000, 'e'),
        ] {
            timers.insert(Time(at), item);
        }
        assert_eq!(timers.pop_due(Time(1099)), None);
        assert_eq!(timers.pop_due(Time(1100)), Some('a'));
        timers.insert(Time(1500), 'x');
        let rest: String = std::iter::from_fn(|| timers.pop_due(Time(2000))).collect();
        assert_eq!(rest, "bcdx");
        assert_eq!(timers.pop_due(Time(u64::MAX)), Some('e'));
        assert!(timers.is_empty());
        assert_eq!(timers.next_due(), None);
    }

    #[test]
    fn a_timer_that_is_gone_is_not_cancelled() {
        let mut timers = Timers::new(Time(0));
        let first = timers.insert(Time(5), 1);
        assert_eq!(timers.pop_due(Time(5)), Some(1));
        assert_eq!(timers.cancel(first), None);
        let second = timers.insert(Time(9), 2);
        assert_eq!(timers.cancel(first), None, "the place has another owner");
        assert_eq!(timers.cancel(second), Some(2));
        assert_eq!(timers.cancel(second), None);
        assert!(timers.is_empty());
    }

    #[test]
    fn the_end_of_time_can_be_waited_for() {
        let mut timers = Timers::new(Time(u64::MAX - 70));
        timers.insert(Time(u64::MAX), ());
        assert_eq!(timers.pop_due(Time(u64::MAX - 1)), None);
        assert_eq!(timers.pop_due(Time(u64::MAX)), Some(()));
        timers.insert(Time(u64::MAX), ());
        assert_eq!(timers.next_due(), Some(Time(u64::MAX)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Cancel(usize),
        Pop(u64),
        /// Go to where `next_due` points.
        Follow,
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = || prop_oneof![0u64..10, 0u64..200, 0u64..100_000, 0u64..1 << 45];
        prop_oneof![
            4 => span().prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Cancel),
            1 => span().prop_map(Step::Pop),
            2 => Just(Step::Follow),
        ]
    }

    /// What the wheel is held against: the same, plainly.
    struct Model {
        wheel: Timers<u64>,
        plain: BTreeMap<(u64, u64), TimerId>,
        /// Every timer there ever was: its place in `plain`.
        set: Vec<((u64, u64), TimerId)>,
        now: u64,
    }

    impl Model {
        fn take(&mut self, step: &Step) {
            match step {
                Step::Insert(span) => {
                    let number = self.set.len() as u64;
                    let at = self.now.saturating_add(*span);
                    let id = self.wheel.insert(Time(at), number);
                    self.plain.insert((at, number), id);
                    self.set.push(((at, number), id));
                }
                Step::Cancel(which) if !self.set.is_empty() => {
                    let (place, id) = self.set[which % self.set.len()];
                    let there = self.plain.remove(&place).map(|_| place.1);
                    assert_eq!(self.wheel.cancel(id), there);
                }
                Step::Cancel(_) => {}
                Step::Pop(span) => {
                    self.now = self.now.saturating_add(*span);
                    self.drain();
                }
                Step::Follow => {
                    let first = self.plain.keys().next().map(|place| place.0);
                    let mut calls = 0;
                    while let Some(Time(due)) = self.wheel.next_due() {
                        assert!(Some(due) <= first, "too late");
                        assert!(due >= self.now);
                        self.now = due;
                        calls += 1;
                        if Some(due) == first {
                            break;
                        }
                        assert_eq!(self.wheel.pop_due(Time(due)), None);
                    }
                    assert!(calls <= LEVELS, "{calls} calls to reach one timer");
                    self.drain();
                }
            }
            assert_eq!(self.wheel.len(), self.plain.len());
            assert_eq!(self.wheel.next_due().is_none(), self.plain.is_empty());
        }

        fn drain(&mut self) {
            while let Some(number) = self.wheel.pop_due(Time(self.now)) {
                let first = self.plain.pop_first().map(|(place, _)| place);
                assert_eq!(first.map(|place| place.1), Some(number));
                assert!(first <= Some((self.now, u64::MAX)));
            }
            let first = self.plain.keys().next();
            assert!(first.is_none_or(|place| place.0 > self.now));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_wheel_does_what_an_ordered_map_does(
            start in prop_oneof![Just(0), Just(1_700_000_000_000), any::<u64>()],
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut model = Model {
                wheel: Timers::new(Time(start)),
                plain: BTreeMap::new(),
                set: Vec::new(),
                now: start,
            };
            for step in &steps {
                model.take(step);
            }
        }
    }

    #[test]
    fn a_time_that_has_passed_counts_as_now() {
        let mut timers = Timers::new(Time(100));
        timers.insert(Time(100) + Millis(1), "first");
        timers.insert(Time(50), "late");
        assert_eq!(timers.next_due(), Some(Time(100)));
        assert_eq!(timers.pop_due(Time(200)), Some("late"));
        assert_eq!(timers.pop_due(Time(200)), Some("first"));
    }
}
