//! Who is let in: how much a source may send, and who is shut out for a while.
//!
//! It stands before the parser. A source is an IPv4 address or an IPv6 /64 (`Source`), a flow is told from
//! others of it by transport and port (`Origin`).
//!
//! **Rates** (`limits.requests_per_ip`). One bucket a source for the whole node, however many sockets and
//! shards it reaches; ten times as much for what begins as a response, since those were asked for. What
//! comes by datagram beyond that is dropped without an answer: an answer would cost the parse, and would
//! go to whoever was named as the source; SIP sends it again. A connection is read no faster than the
//! rate, and loses nothing; a keep-alive over it costs as much as a response. A large message counts as
//! several, by its size: what it costs to read, hold and send on grows with that.
//!
//! **Bans** (`bans`). A strike counts only where its source is proven: over a connection, or where a
//! datagram answers a nonce that was given to the same address. What anybody can put into a datagram with
//! another's address shuts nobody out.
//!
//! **Lists** (`acl`). Who is denied, or not among those who are allowed, is not heard, whoever it is.
//!
//! Datagrams and connections have buckets of their own: what is sent in another's name, by datagram, does not
//! slow the connections of whoever has that address.
//!
//! **Known flows**, which have a binding or an answered leg, have buckets of their own too, ten times as
//! large (those with a leg alone share one of their source, since calls are easily made), and a ban of their source leaves them be: behind one address may be many phones, and one that
//! misbehaves shuts out neither those that are registered nor those that talk. What is done over a known
//! flow is counted against the flow, and shuts out that; several such flows shut out their source. Trusted
//! peers are exempt from all. Whether a flow is known is asked only where it matters, so that a flood costs
//! a look into two tables.

mod bans;
mod buckets;
mod rules;
mod source;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::events::Offence;
use crate::engine::time::{Millis, Time};
use crate::metrics::GateReading;

use self::bans::{Bans, Held};
use self::buckets::{Buckets, Pace};

pub use self::bans::{Ban, Whom, Why};
pub use self::rules::Rules;
pub use self::source::{Origin, Source};

/// So many flows of a source that are shut out within `bans.within` shut the source out.
const FLOWS_OF_SOURCE: u32 = 4;
/// A source is named in the log once in so many microseconds for the same thing.
const NAMED_EVERY: u64 = 60_000_000;
/// Lines of the log about all sources, a second and at once.
const LINES: (u32, u32) = (5, 20);
const SWEEP: Millis = Millis::from_secs(10);
/// Bytes that count as one message: most are smaller.
const SHARE: usize = 4096;

/// What a datagram or a connection brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    Request,
    Response,
}

/// What a datagram or a connection brings, and how many bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freight(pub Load, pub usize);

impl Freight {
    /// Returns as how many messages it counts.
    fn tokens(self) -> u64 {
        self.1.div_ceil(SHARE).max(1) as u64
    }
}

impl From<Load> for Freight {
    /// A small one.
    fn from(load: Load) -> Self {
        Self(load, 0)
    }
}

/// What is known of who is at the other end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Stranger,
    /// The flow has the leg of a call that was answered: whom anybody can have called, by many flows.
    InCall,
    /// The flow has a binding.
    Bound,
    /// A trusted peer: not even an operator's order shuts it out.
    Trusted,
}

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Heard,
    /// More than the source may send.
    TooMuch,
    /// The source is shut out.
    Banned,
    /// The configuration shuts the address out.
    Denied,
}

/// The gate of a node, shared by all its shards. Each brings the rules that it has, so that no message
/// takes a lock for them.
#[derive(Debug)]
pub struct Gate {
    /// In force from the next look at them on.
    rules: Mutex<Arc<Rules>>,
    /// Grows with each revision of the rules.
    revision: AtomicU64,
    buckets: Buckets,
    /// Numbers that are remembered for a while.
    marks: Buckets,
    bans: Bans,
    swept: AtomicU64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    too_much: AtomicU64,
    banned: AtomicU64,
    denied: AtomicU64,
    closed: AtomicU64,
    strikes: [AtomicU64; Offence::ALL.len()],
    /// By offence, then those of operators.
    bans: [AtomicU64; Offence::ALL.len() + 1],
}

/// What a bucket is for.
#[derive(Clone, Copy, Hash)]
enum Of {
    /// Whether it comes by datagram: anybody can have sent that.
    Load(Source, Load, bool),
    Bound(Origin, Load),
    /// As `Load`.
    InCall(Source, Load, bool),
    /// Being named in the log.
    Line(Source),
    Lines,
}

impl Of {
    fn load(from: Origin, load: Load) -> Self {
        Self::Load(from.source(), load, !from.transport.is_reliable())
    }

    fn bound(from: Origin, load: Load) -> Self {
        Self::Bound(from, load)
    }

    fn in_call(from: Origin, load: Load) -> Self {
        Self::InCall(from.source(), load, !from.transport.is_reliable())
    }
}

impl Gate {
    /// Makes a gate that nobody has passed yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules: Mutex::new(Arc::new(rules)),
            revision: AtomicU64::new(0),
            buckets: Buckets::new(),
            marks: Buckets::new(),
            bans: Bans::new(),
            swept: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// Returns the rules in force. A shard keeps them until there is another `revision`.
    pub fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rules)
    }

    /// Returns a number that grows with each revision of the rules.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Puts other rules in force. Bans that there are stay; connections of whoever is denied from now on
    /// are closed.
    pub fn revise(&self, rules: Rules) {
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.revision.fetch_add(1, Ordering::Release);
        self.bans.look_again();
    }

    /// Judges a datagram, or a connection that begins.
    pub fn hear(
        &self,
        rules: &Rules,
        from: Origin,
        freight: impl Into<Freight>,
        now: Time,
        standing: impl Fn() -> Standing,
    ) -> Verdict {
        if !rules.acl.admits(from.peer.ip()) {
            add(&self.counts.denied);
            return Verdict::Denied;
        }
        if self.shuts_out(from, now, &standing) {
            add(&self.counts.banned);
            return Verdict::Banned;
        }
        let freight = freight.into();
        if self.spend(rules, from, freight, now, &standing) {
            return Verdict::Heard;
        }
        add(&self.counts.too_much);
        let source = from.source();
        if self.names(source, now) {
            let Freight(load, bytes) = freight;
            tracing::warn!(%source, %from, ?load, bytes, "more than limits.requests_per_ip: dropped");
        }
        Verdict::TooMuch
    }

    /// Returns how long a connection is not to be read; zero: at once.
    pub fn unheard_for(
        &self,
        rules: &Rules,
        from: Origin,
        now: Time,
        standing: impl Fn() -> Standing,
    ) -> Millis {
        let dry_of = |load| self.dry_for(rules, from, load, now, &standing);
        let dry = dry_of(Load::Request).max(dry_of(Load::Response));
        let source = from.source();
        if dry > Millis(0) && self.names(source, now) {
            tracing::warn!(%source, %from, "more than limits.requests_per_ip: read slowly");
        }
        dry
    }

    fn dry_for(
        &self,
        rules: &Rules,
        from: Origin,
        load: Load,
        now: Time,
        standing: &impl Fn() -> Standing,
    ) -> Millis {
        let (of, pace) = (Of::load(from, load), rules.pace(load));
        if !self.buckets.is_scarce(of, pace, now) {
            return Millis(0);
        }
        match standing() {
            Standing::Stranger => self.buckets.dry_for(of, pace, now),
            Standing::InCall => {
                let own = Of::in_call(from, load);
                self.buckets.dry_for(own, rules.expected, now)
            }
            Standing::Bound => {
                let own = Of::bound(from, load);
                self.buckets.dry_for(own, rules.expected, now)
            }
            Standing::Trusted => Millis(0),
        }
    }

    /// Counts a message that was read from a connection.
    pub fn read(
        &self,
        rules: &Rules,
        from: Origin,
        freight: impl Into<Freight>,
        now: Time,
        standing: impl Fn() -> Standing,
    ) {
        let freight = freight.into();
        if self.spend(rules, from, freight, now, &standing) {
            return;
        }
        let (load, tokens) = (freight.0, freight.tokens());
        let expected = rules.expected.by(tokens);
        match standing() {
            Standing::Stranger => {
                let of = Of::load(from, load);
                self.buckets.owe(of, rules.pace(load).by(tokens), now);
            }
            Standing::InCall => {
                let of = Of::in_call(from, load);
                self.buckets.owe(of, expected, now);
            }
            Standing::Bound => {
                let of = Of::bound(from, load);
                self.buckets.owe(of, expected, now);
            }
            Standing::Trusted => {}
        }
    }

    /// Returns true where a connection is to be closed since its source is shut out, or itself.
    pub fn closes(
        &self,
        rules: &Rules,
        from: Origin,
        now: Time,
        standing: impl Fn() -> Standing,
    ) -> bool {
        let denied = !rules.acl.admits(from.peer.ip());
        let shut = denied || self.shuts_out(from, now, &standing);
        if shut {
            add(&self.counts.closed);
        }
        shut
    }

    /// Returns a number that grows with each ban; zero before the first.
    pub fn generation(&self) -> u64 {
        self.bans.generation()
    }

    /// Takes note of an offence. Who cannot be told from somebody else's name on a datagram (`proven` is
    /// false) is counted and not shut out.
    pub fn strike(
        &self,
        rules: &Rules,
        from: Origin,
        offence: Offence,
        proven: bool,
        now: Time,
        standing: impl Fn() -> Standing,
    ) {
        let standing = standing();
        if standing == Standing::Trusted {
            return;
        }
        add(&self.counts.strikes[offence as usize]);
        if !proven {
            return;
        }
        let source = Whom::source(from.source());
        match standing {
            Standing::Stranger => {
                self.struck(rules, source, 1, offence, now);
            }
            Standing::InCall | Standing::Bound => {
                if self.struck(rules, Whom::flow(from), 1, offence, now) {
                    // Another flow is soon made: whoever goes on so is shut out with all that he has.
                    let share = rules.bans.after.div_ceil(FLOWS_OF_SOURCE);
                    self.struck(rules, source, share, offence, now);
                }
            }
            Standing::Trusted => {}
        }
    }

    /// Returns true where it led to a ban.
    fn struck(&self, rules: &Rules, whom: Whom, times: u32, offence: Offence, now: Time) -> bool {
        let Some(ban) = self.bans.strike(&rules.bans, whom, times, offence, now) else {
            return false;
        };
        add(&self.counts.bans[offence as usize]);
        if self.is_line_due(now) {
            let for_s = rules.ban_for().as_secs_ceil();
            tracing::warn!(who = %ban.whom, why = offence.as_str(), for_s, "banned");
        }
        true
    }

    /// Shuts a source out by an operator's order, for the configured time where none is named. None:
    /// there are as many as there may be.
    pub fn ban(&self, source: Source, span: Option<Millis>, now: Time) -> Option<Ban> {
        let until = now + span.unwrap_or_else(|| self.rules().ban_for());
        let ban = self
            .bans
            .ban(Whom::source(source), Why::Operator, now, until)?;
        add(&self.counts.bans[Offence::ALL.len()]);
        Some(ban)
    }

    /// Lets a source in again, with all its flows. Returns false where neither was shut out.
    pub fn lift(&self, source: Source, now: Time) -> bool {
        self.bans.lift(source, now)
    }

    /// Returns up to `limit` bans in the order of sources.
    pub fn banned(&self, limit: usize, now: Time) -> Vec<Ban> {
        self.bans.list(limit, now)
    }

    /// Remembers a number for a while; where there is no room, instead of one whose time is up soonest.
    pub fn mark(&self, number: u64, span: Millis, now: Time) {
        let pace = Pace::every(span.0.saturating_mul(1000).max(1), 1);
        self.marks.take_all(number, pace, now);
    }

    /// Returns true for a number that is remembered still.
    pub fn is_marked(&self, number: u64, now: Time) -> bool {
        self.marks.is_there(number, now)
    }

    /// Forgets what is over, now and then. Any shard may call it, as often as it likes.
    pub fn sweep(&self, now: Time) {
        let last = self.swept.load(Ordering::Relaxed);
        let (set, unset) = (Ordering::Relaxed, Ordering::Relaxed);
        if now.since(Time(last)) >= SWEEP
            && self.swept.compare_exchange(last, now.0, set, unset).is_ok()
        {
            self.bans.sweep(&self.rules().bans, now);
            self.buckets.sweep(now);
            self.marks.sweep(now);
        }
    }

    /// Returns what has been counted.
    pub fn reading(&self) -> GateReading {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        GateReading {
            banned_now: self.bans.count() as u64,
            dropped_too_much: of(&self.counts.too_much),
            dropped_banned: of(&self.counts.banned),
            dropped_denied: of(&self.counts.denied),
            closed: of(&self.counts.closed),
            strikes: self.counts.strikes.each_ref().map(of),
            bans: self.counts.bans.each_ref().map(of),
        }
    }

    fn shuts_out(&self, from: Origin, now: Time, standing: &impl Fn() -> Standing) -> bool {
        let Held { source, flow } = self.bans.hold(from, now);
        match (source, flow) {
            (None, None) => false,
            (Some(Why::Offence(_)), None) => standing() == Standing::Stranger,
            (Some(Why::Operator), _) | (_, Some(_)) => standing() != Standing::Trusted,
        }
    }

    /// Spends of what the source may send, or, where that runs short, of what the flow may.
    fn spend(
        &self,
        rules: &Rules,
        from: Origin,
        freight: Freight,
        now: Time,
        standing: &impl Fn() -> Standing,
    ) -> bool {
        let (load, tokens) = (freight.0, freight.tokens());
        let expected = rules.expected.by(tokens);
        let aside = || match standing() {
            Standing::Stranger => None,
            Standing::InCall => {
                let own = Of::in_call(from, load);
                Some(self.buckets.spend(own, expected, now, || None))
            }
            Standing::Bound => {
                let own = Of::bound(from, load);
                Some(self.buckets.spend(own, expected, now, || None))
            }
            Standing::Trusted => Some(true),
        };
        let pace = rules.pace(load).by(tokens);
        self.buckets.spend(Of::load(from, load), pace, now, aside)
    }

    /// Returns true where a line about a source is due. Neither one source nor many can flood the log.
    pub(crate) fn names(&self, source: Source, now: Time) -> bool {
        let one = Pace::every(NAMED_EVERY, 1);
        self.buckets.spend(Of::Line(source), one, now, || None) && self.is_line_due(now)
    }

    fn is_line_due(&self, now: Time) -> bool {
        let (rate, burst) = LINES;
        let all = Pace::new(rate, burst);
        self.buckets.spend(Of::Lines, all, now, || None)
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
