//! Who gives way where there is no place for another connection: first who came and has said nothing, then who
//! has been idle for longest and is needed by nobody.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use crate::engine::ids::Flow;
use crate::engine::time::{Millis, Time};
use crate::gate::Source;

use super::connection::Connection;
use super::counters::Counters;
use super::fault::Refusal;
use super::registry::{Guest, Origin, connection_id};
use super::streams::Streams;

/// Who came keeps its place for so long at least: a phone's first word takes its time.
const GRACE: Millis = Millis::from_secs(1);
/// To look at each connection takes time: not oftener than this, however many come.
const LOOK_EVERY: Millis = Millis(100);
/// A list of who may give way is good for so long: others have fallen silent, and answers were believed for
/// a while.
const LISTED: Millis = Millis::from_secs(1);
/// Of how many at most the other shards are asked ahead: so many can give way at once.
const AHEAD: usize = 256;
/// Of so many sources the connections are looked at within `LOOK_EVERY`.
const SOURCES: usize = 32;

/// Whether a registration or a conversation needs a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Needed,
    /// Others have yet to say.
    Asked,
    Free,
}

/// What others know of peers and their connections.
pub struct Views<'a> {
    /// As whose guest a connection is let in, if it is.
    pub admits: &'a dyn Fn(&Flow) -> Option<Guest>,
    pub trusts: &'a dyn Fn(&Flow) -> bool,
    /// Whether a registration or a conversation needs the connection, over which no message has come or gone
    /// for so long.
    pub needs: &'a dyn Fn(&Flow, Millis) -> Need,
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
    /// When all were last looked at.
    looked: Option<Time>,
    /// When those of a source were: one that knocks all the time takes no turn of another.
    sources: BTreeMap<Source, Time>,
    gone: Vec<(Flow, Yielded)>,
}

impl Streams {
    /// Takes a place for who came, and one of those of its source where that is known. Where there is none,
    /// another connection gives way.
    ///
    /// # Errors
    /// Which limit turns it away.
    pub(super) fn admit(
        &mut self,
        client: Option<IpAddr>,
        guest: Guest,
        now: Time,
        views: &Views<'_>,
    ) -> Result<(), Refusal> {
        let free = self.registry.admit(Origin::Accepted, guest)
            || self.makes_way(now, views) && self.registry.admit(Origin::Accepted, guest);
        if !free {
            return Err(Refusal::Limit);
        }
        let admitted = client.is_none_or(|ip| self.admit_client(ip, guest, now, views));
        if !admitted {
            self.registry.release(Origin::Accepted, None);
            return Err(Refusal::LimitPerIp);
        }
        Ok(())
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

    /// Asks whether anybody needs those that would give way next, where places are short: whoever comes then need
    /// not wait for the answers.
    pub fn look_ahead(&mut self, now: Time, views: &Views<'_>) {
        if !self.registry.is_short() {
            return;
        }
        self.list(now);
        let mut next = std::mem::take(&mut self.yielding.next);
        let mut ahead = 0;
        while ahead < AHEAD
            && let Some(number) = next.get(ahead)
        {
            match self.need(*number, now, views) {
                Some((_, Need::Asked | Need::Free)) => ahead += 1,
                Some((_, Need::Needed)) | None => drop(next.remove(ahead)),
            }
        }
        self.yielding.next = next;
    }

    fn makes_way(&mut self, now: Time, views: &Views<'_>) -> bool {
        self.list(now);
        let mut next = std::mem::take(&mut self.yielding.next);
        let goes = self.first_to_go(&mut next, now, views);
        self.yielding.next = next;
        goes.is_some_and(|(number, why)| self.gives_way(number, why))
    }

    fn source_makes_way(&mut self, source: Source, now: Time, views: &Views<'_>) -> bool {
        if !self.looks_at(source, now) {
            return false;
        }
        let mut own = self.by_merit(now, |connection| {
            let client = connection.client;
            client.is_some_and(|ip| Source::of(ip) == source)
        });
        let goes = self.first_to_go(&mut own, now, views);
        goes.is_some_and(|(number, why)| self.gives_way(number, why))
    }

    /// Lists anew who may give way, where nobody is left on the list or it is old.
    fn list(&mut self, now: Time) {
        let good_for = if self.yielding.next.is_empty() {
            LOOK_EVERY
        } else {
            LISTED
        };
        let looked = self.yielding.looked;
        if looked.is_none_or(|at| now.since(at) >= good_for) {
            self.yielding.looked = Some(now);
            self.yielding.next = self.by_merit(now, |_| true);
        }
    }

    fn looks_at(&mut self, source: Source, now: Time) -> bool {
        let looked = &mut self.yielding.sources;
        looked.retain(|_, at| now.since(*at) < LOOK_EVERY);
        let due = looked.len() < SOURCES && !looked.contains_key(&source);
        if due {
            looked.insert(source, now);
        }
        due
    }

    /// Takes the first that gives way off a list, and whoever stays before it. Those that others are asked about
    /// stay on the list: they may be free by the next time.
    fn first_to_go(
        &self,
        list: &mut VecDeque<u64>,
        now: Time,
        views: &Views<'_>,
    ) -> Option<(u64, Yielded)> {
        let mut asked = 0;
        while asked < AHEAD {
            let number = *list.get(asked)?;
            match self.need(number, now, views) {
                Some((_, Need::Asked)) => asked += 1,
                Some((why, Need::Free)) => {
                    list.remove(asked);
                    return Some((number, why));
                }
                Some((_, Need::Needed)) | None => drop(list.remove(asked)),
            }
        }
        None
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

    /// Returns why a connection may give way, and whether anybody needs it; none where it stays in any case.
    fn need(&self, number: u64, now: Time, views: &Views<'_>) -> Option<(Yielded, Need)> {
        let connection = self.open.get(&number)?;
        let why = self.why_it_may_yield(connection, now)?;
        // Of whom a proxy has yet to name, its address tells nothing.
        if connection.is_known() && (views.trusts)(&connection.flow) {
            return None;
        }
        Some(match why {
            // What no message has passed over, nobody can need.
            Yielded::Silent => (why, Need::Free),
            Yielded::Idle => {
                let wordless = connection.wordless_for(now);
                (why, (views.needs)(&connection.flow, wordless))
            }
        })
    }

    fn gives_way(&mut self, number: u64, why: Yielded) -> bool {
        let Some(flow) = self.close(connection_id(self.worker, number)) else {
            return false;
        };
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
