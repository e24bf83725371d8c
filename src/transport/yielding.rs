//! Who gives way where there is no place for another connection: first who came and has said nothing, then who
//! has been idle for longest and is needed by nobody.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};
use crate::gate::Source;

use super::connection::Connection;
use super::counters::Counters;
use super::registry::{Guest, Origin, connection_id};
use super::streams::Streams;

/// Who came keeps its place for so long at least: a phone's first word takes its time.
const GRACE: Millis = Millis::from_secs(1);
/// To look at each connection takes time: not oftener than this, however many come.
const LOOK_EVERY: Millis = Millis(100);
/// Of how many at most it is asked at a time whether they are needed.
const ASKED: usize = 64;

/// What others know of peers and their connections.
pub struct Views<'a> {
    /// As whose guest a connection is let in, if it is.
    pub admits: &'a dyn Fn(&Flow) -> Option<Guest>,
    pub trusts: &'a dyn Fn(&Flow) -> bool,
    /// True where a registration or a conversation needs the connection.
    pub needs: &'a dyn Fn(&Flow) -> bool,
}

/// Why a connection gave way to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yielded {
    /// Its peer had said nothing yet.
    Silent,
    /// Its peer had said nothing for long.
    Idle,
}

impl Yielded {
    pub const ALL: [Self; 2] = [Self::Silent, Self::Idle];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Idle => "idle",
        }
    }
}

/// The connections of one shard that may give way.
#[derive(Debug, Default)]
pub(super) struct Yielding {
    /// Whom to ask next where there are too many in all: those that deserve their place least first.
    next: VecDeque<u64>,
    /// When all were last looked at, for a place in all and for one of a source.
    looked: [Option<Time>; 2],
    gone: Vec<(Flow, Yielded)>,
}

impl Streams {
    /// Takes a place for who came, and one of those of its source where that is known. Where there is none,
    /// another connection gives way.
    pub(super) fn admit(
        &mut self,
        client: Option<IpAddr>,
        guest: Guest,
        now: Time,
        views: &Views<'_>,
    ) -> bool {
        let free = self.registry.admit(Origin::Accepted, guest)
            || self.makes_way(now, views) && self.registry.admit(Origin::Accepted, guest);
        if !free {
            return false;
        }
        let admitted = client.is_none_or(|ip| self.admit_client(ip, guest, now, views));
        if !admitted {
            self.registry.release(Origin::Accepted, None);
        }
        admitted
    }

    /// Takes a place of those that the source of a client has; where it has none left, another connection of
    /// its own gives way.
    pub(super) fn admit_client(
        &mut self,
        ip: IpAddr,
        guest: Guest,
        now: Time,
        views: &Views<'_>,
    ) -> bool {
        self.registry.admit_client(ip, guest)
            || self.source_makes_way(Source::of(ip), now, views)
                && self.registry.admit_client(ip, guest)
    }

    /// Returns whose connections have given way since this was asked.
    pub fn take_yielded(&mut self) -> Vec<(Flow, Yielded)> {
        std::mem::take(&mut self.yielding.gone)
    }

    fn makes_way(&mut self, now: Time, views: &Views<'_>) -> bool {
        if self.yielding.next.is_empty() && self.looks(0, now) {
            self.yielding.next = self.by_merit(now, |_| true);
        }
        let mut asked = 0;
        while asked < ASKED
            && let Some(number) = self.yielding.next.pop_front()
        {
            asked += 1;
            if self.gives_way(number, now, views) {
                return true;
            }
        }
        false
    }

    fn source_makes_way(&mut self, source: Source, now: Time, views: &Views<'_>) -> bool {
        if !self.looks(1, now) {
            return false;
        }
        let of_source = |connection: &Connection| {
            let client = connection.client;
            client.is_some_and(|ip| Source::of(ip) == source)
        };
        let own = self.by_merit(now, of_source);
        let mut own = own.into_iter().take(ASKED);
        own.any(|number| self.gives_way(number, now, views))
    }

    fn looks(&mut self, which: usize, now: Time) -> bool {
        let looked = &mut self.yielding.looked[which];
        let due = looked.is_none_or(|at| now.since(at) >= LOOK_EVERY);
        if due {
            *looked = Some(now);
        }
        due
    }

    /// Returns the connections that may give way, who deserves its place least first.
    fn by_merit(&self, now: Time, of: impl Fn(&Connection) -> bool) -> VecDeque<u64> {
        let open = self.open.iter().filter(|(_, connection)| of(connection));
        let rank = |(number, connection): (&u64, &Connection)| {
            let why = self.why_it_may_yield(connection, now)?;
            let since = match why {
                Yielded::Silent => connection.silent_for(now),
                Yielded::Idle => connection.wordless_for(now),
            };
            Some(((why == Yielded::Idle, std::cmp::Reverse(since)), *number))
        };
        let mut ranked: Vec<_> = open.filter_map(rank).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, number)| number).collect()
    }

    /// Returns why a connection may give way, as far as itself shows.
    fn why_it_may_yield(&self, connection: &Connection, now: Time) -> Option<Yielded> {
        if connection.origin != Origin::Accepted || connection.is_paused() {
            return None;
        }
        if connection.is_silent() {
            return (connection.silent_for(now) >= GRACE).then_some(Yielded::Silent);
        }
        let idle = connection.wordless_for(now) >= self.limits.first_message;
        idle.then_some(Yielded::Idle)
    }

    fn gives_way(&mut self, number: u64, now: Time, views: &Views<'_>) -> bool {
        let Some(connection) = self.open.get(&number) else {
            return false;
        };
        let flow = connection.flow;
        let Some(why) = self.why_it_may_yield(connection, now) else {
            return false;
        };
        // Of whom a proxy has yet to name, its address tells nothing.
        let stays = connection.is_known() && ((views.trusts)(&flow) || (views.needs)(&flow));
        if stays || self.close(connection_id(self.worker, number)).is_none() {
            return false;
        }
        self.counters.yielded(why);
        self.yielding.gone.push((flow, why));
        true
    }
}

impl Counters {
    fn yielded(&self, why: Yielded) {
        let [silent, idle] = &self.yielded;
        Self::add(match why {
            Yielded::Silent => silent,
            Yielded::Idle => idle,
        });
    }
}
