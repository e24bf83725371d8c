//! Sources and flows that are shut out for a while, and the strikes that lead there.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;

use super::source::{Origin, Source};
use crate::config::BanConfig;
use crate::engine::events::Offence;
use crate::engine::time::{Millis, Time};

/// Sources and flows that are shut out at a time.
const BANS_MAX: usize = 64 * 1024;
/// Sources and flows with strikes at a time.
const STRUCK_MAX: usize = 16 * 1024;
/// Of so many that happen to come first, the one with the fewest strikes makes room for another.
const LOOKED_AT: usize = 32;

/// Why somebody is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The last of too many.
    Offence(Offence),
    Operator,
}

impl Why {
    /// Returns the word used in logs and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offence(offence) => offence.as_str(),
            Self::Operator => "operator",
        }
    }
}

/// Who is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whom {
    pub source: Source,
    /// Of the source this flow alone.
    pub flow: Option<Origin>,
}

impl Whom {
    /// All that comes from a source and is not known.
    pub(super) fn source(source: Source) -> Self {
        Self { source, flow: None }
    }

    pub(super) fn flow(flow: Origin) -> Self {
        Self {
            source: flow.source(),
            flow: Some(flow),
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.flow {
            None => self.source.fmt(f),
            Some(flow) => flow.fmt(f),
        }
    }
}

/// One who is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    pub whom: Whom,
    pub why: Why,
    pub since: Time,
    pub until: Time,
}

/// What stands against a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) source: Option<Why>,
    pub(super) flow: Option<Why>,
}

/// Offences in this window and in the one before, as a sliding window counts them.
#[derive(Clone, Copy, Debug)]
struct Strikes {
    begun: Time,
    now: u32,
    before: u32,
}

impl Strikes {
    fn new(at: Time) -> Self {
        Self {
            begun: at,
            now: 0,
            before: 0,
        }
    }

    /// Counts so many more, and returns how many there were within `window`: of the window before, the
    /// share that still lies within.
    fn add(&mut self, times: u32, window: Millis, at: Time) -> u32 {
        let passed = at.since(self.begun).0;
        let window = window.0.max(1);
        if passed >= 2 * window {
            *self = Self::new(at);
        } else if passed >= window {
            self.begun = self.begun + Millis(window);
            (self.before, self.now) = (self.now, 0);
        }
        self.now = self.now.saturating_add(times);
        let left = window.saturating_sub(at.since(self.begun).0);
        let before = u64::from(self.before) * left / window;
        self.now.saturating_add(before as u32)
    }

    fn is_over(&self, window: Millis, now: Time) -> bool {
        now.since(self.begun) >= window.times(2)
    }
}

#[derive(Debug)]
pub(super) struct Bans {
    banned: DashMap<Whom, Ban>,
    /// How many there are: nobody is looked up while it is zero.
    count: AtomicUsize,
    /// Grows with each ban: connections of who is banned are to be closed.
    generation: AtomicU64,
    /// Never on the way of a message: an offence is the end of its own.
    strikes: Mutex<HashMap<Whom, Strikes>>,
}

impl Bans {
    pub(super) fn new() -> Self {
        Self {
            banned: DashMap::new(),
            count: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            strikes: Mutex::default(),
        }
    }

    /// Returns why a flow or its source is shut out, where it is.
    pub(super) fn hold(&self, from: Origin, now: Time) -> Held {
        if self.count() == 0 {
            return Held::default();
        }
        Held {
            source: self.why(Whom::source(from.source()), now),
            flow: self.why(Whom::flow(from), now),
        }
    }

    fn why(&self, whom: Whom, now: Time) -> Option<Why> {
        let ban = self.banned.get(&whom)?;
        (ban.until > now).then_some(ban.why)
    }

    /// Has it looked anew which connections are to be closed.
    pub(super) fn look_again(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts an offence whose source is proven, as so many. Returns the ban that it led to.
    pub(super) fn strike(
        &self,
        config: &BanConfig,
        whom: Whom,
        times: u32,
        offence: Offence,
        now: Time,
    ) -> Option<Ban> {
        if self.why(whom, now).is_some() {
            return None;
        }
        let window = span(config.within);
        let mut strikes = lock(&self.strikes);
        if strikes.len() >= STRUCK_MAX && !strikes.contains_key(&whom) {
            make_room(&mut strikes, window, now);
        }
        let own = strikes.entry(whom).or_insert_with(|| Strikes::new(now));
        if own.add(times, window, now) < config.after {
            return None;
        }
        strikes.remove(&whom);
        drop(strikes);
        let until = now + span(config.duration);
        self.ban(whom, Why::Offence(offence), now, until)
    }

    /// Shuts somebody out, or for longer. None where there is no room for it.
    pub(super) fn ban(&self, whom: Whom, why: Why, now: Time, until: Time) -> Option<Ban> {
        let ban = Ban {
            whom,
            why,
            since: now,
            until,
        };
        if !self.banned.contains_key(&whom) && self.count() >= BANS_MAX && !self.expire(now) {
            return None;
        }
        if self.banned.insert(whom, ban).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.generation.fetch_add(1, Ordering::Release);
        Some(ban)
    }

    /// Lets a source in again, with all its flows. Returns false where nothing of it was shut out.
    pub(super) fn lift(&self, source: Source, now: Time) -> bool {
        lock(&self.strikes).retain(|whom, _| whom.source != source);
        let mut lifted = false;
        self.forget(|ban| {
            let its = ban.whom.source == source;
            lifted |= its && ban.until > now;
            its
        });
        lifted
    }

    /// Returns up to `limit` bans in the order of sources, a source before its flows.
    pub(super) fn list(&self, limit: usize, now: Time) -> Vec<Ban> {
        let mut bans: Vec<Ban> = self
            .banned
            .iter()
            .map(|ban| *ban)
            .filter(|ban| ban.until > now)
            .collect();
        bans.sort_unstable_by_key(|ban| ban.whom);
        bans.truncate(limit);
        bans
    }

    /// Forgets what is over.
    pub(super) fn sweep(&self, config: &BanConfig, now: Time) {
        self.expire(now);
        let window = span(config.within);
        lock(&self.strikes).retain(|_, strikes| !strikes.is_over(window, now));
    }

    /// Returns true where any was over.
    fn expire(&self, now: Time) -> bool {
        self.forget(|ban| ban.until <= now) > 0
    }

    /// Returns how many there were of those.
    fn forget(&self, mut which: impl FnMut(&Ban) -> bool) -> usize {
        let mut gone = 0;
        self.banned.retain(|_, ban| {
            let goes = which(ban);
            gone += usize::from(goes);
            !goes
        });
        self.count.fetch_sub(gone, Ordering::Relaxed);
        gone
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "which come first is left to chance, so that nobody can aim"
)]
fn make_room(strikes: &mut HashMap<Whom, Strikes>, window: Millis, now: Time) {
    let few = |(_, strikes): &(&Whom, &Strikes)| {
        let over = strikes.is_over(window, now);
        (!over, strikes.now.saturating_add(strikes.before))
    };
    let first = strikes.iter().take(LOOKED_AT);
    let fewest = first.min_by_key(few).map(|(whom, _)| *whom);
    if let Some(whom) = fewest {
        strikes.remove(&whom);
    }
}

pub(super) fn span(of: std::time::Duration) -> Millis {
    Millis(u64::try_from(of.as_millis()).unwrap_or(u64::MAX / 4))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::ids::Transport;

    const START: Time = Time(1_800_000_000_000);

    const CONFIG: BanConfig = BanConfig {
        after: 5,
        within: Duration::from_secs(60),
        duration: Duration::from_secs(600),
    };

    fn bans() -> Bans {
        Bans::new()
    }

    fn source(last: u32) -> Whom {
        Whom::source(origin(last).source())
    }

    fn origin(last: u32) -> Origin {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 ^ last);
        Origin {
            transport: Transport::Udp,
            peer: (ip, 5060).into(),
        }
    }

    fn holds(bans: &Bans, last: u32, now: Time) -> bool {
        bans.hold(origin(last), now).source.is_some()
    }

    fn at(seconds: u64) -> Time {
        START + Millis::from_secs(seconds)
    }

    #[test]
    fn so_many_in_so_long_and_for_so_long() {
        let bans = bans();
        for second in [0, 10, 20, 30] {
            let struck = bans.strike(&CONFIG, source(1), 1, Offence::Credentials, at(second));
            assert_eq!(struck, None);
        }
        assert!(!holds(&bans, 1, at(59)) && bans.generation() == 0);
        let ban = bans
            .strike(&CONFIG, source(1), 1, Offence::Malformed, at(59))
            .unwrap();
        assert_eq!(ban.why.as_str(), "malformed");
        assert_eq!((ban.since, ban.until), (at(59), at(659)));
        assert!(holds(&bans, 1, at(658)) && !holds(&bans, 2, at(60)));
        assert_eq!((bans.count(), bans.generation()), (1, 1));
        assert!(!holds(&bans, 1, at(659)), "over, swept or not");
        bans.sweep(&CONFIG, at(659));
        assert_eq!((bans.count(), lock(&bans.strikes).len()), (0, 0));
    }

    #[test]
    fn the_window_slides() {
        let bans = bans();
        // Four at the end of one window and one after it are five within a minute.
        for second in [0, 57, 58, 59] {
            assert_eq!(
                bans.strike(&CONFIG, source(1), 1, Offence::Scanner, at(second)),
                None
            );
        }
        assert_eq!(
            bans.strike(&CONFIG, source(1), 1, Offence::Scanner, at(61)),
            None
        );
        assert!(
            bans.strike(&CONFIG, source(1), 1, Offence::Scanner, at(62))
                .is_some(),
            "fewer count for the first has gone by"
        );
        for minute in 0..30 {
            let late = at(1000 + minute * 20);
            assert_eq!(
                bans.strike(&CONFIG, source(2), 1, Offence::Scanner, late),
                None
            );
        }
    }

    #[test]
    fn many_strangers_do_not_wash_away_the_strikes_of_one() {
        let bans = bans();
        for _ in 0..4 {
            bans.strike(&CONFIG, source(0), 1, Offence::Credentials, START);
        }
        for other in 1..(2 * STRUCK_MAX as u32) {
            bans.strike(&CONFIG, source(other), 1, Offence::Malformed, START);
        }
        assert!(lock(&bans.strikes).len() <= STRUCK_MAX);
        assert!(
            bans.strike(&CONFIG, source(0), 1, Offence::Credentials, START)
                .is_some()
        );
    }

    #[test]
    fn a_full_table_keeps_those_it_has() {
        let bans = bans();
        for number in 0..=BANS_MAX as u32 {
            let made = bans.ban(source(number), Why::Operator, START, at(60));
            assert_eq!(made.is_some(), number < BANS_MAX as u32);
        }
        assert!(holds(&bans, 0, START));
        assert!(bans.ban(source(0), Why::Operator, START, at(90)).is_some());
        assert_eq!(bans.count(), BANS_MAX);
        // Those that are over make room.
        let late = bans.ban(source(u32::MAX), Why::Operator, at(60), at(90));
        assert!(late.is_some());
        assert_eq!(bans.count(), 2);
    }

    #[test]
    fn an_operator_shuts_out_and_lets_in() {
        let bans = bans();
        bans.ban(source(2), Why::Operator, START, at(60));
        bans.ban(source(1), Why::Operator, START, at(30));
        let listed = bans.list(10, START);
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].whom, source(1));
        assert_eq!(bans.list(10, at(30)).len(), 1);
        assert!(bans.lift(source(2).source, START) && !bans.lift(source(2).source, START));
        assert!(!holds(&bans, 2, START));
        assert_eq!(bans.count(), 1);
    }
}
