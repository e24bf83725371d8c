//! Who is let in: how much a source may send, and who is shut out for a while.
//!
//! It stands before the parser. A source is an IPv4 address or an IPv6 /64 (`Source`).
//!
//! **Rates** (`limits.requests_per_ip`). One bucket a source for the whole node, however many sockets and
//! shards it reaches; ten times as much for what begins as a response, since those were asked for. What
//! comes by datagram beyond that is dropped without an answer: an answer would cost the parse, and would
//! go to whoever was named as the source; SIP sends it again. A connection is read no faster than the
//! rate, and loses nothing.
//!
//! **Bans** (`bans`). A strike counts only where its source is proven: over a connection, or where a
//! datagram answers a nonce that was given to the same address. What anybody can put into a datagram with
//! another's address shuts nobody out.
//!
//! **Lists** (`acl`). Who is denied, or not among those who are allowed, is not heard, whoever it is.
//!
//! Flows with a binding or a leg are exempt from rates and bans, as are trusted peers: behind one address may be
//! many phones, and one that guesses passwords does not shut out those that are registered. Who is exempt
//! is asked only where it matters, so that a flood costs a look into two tables.

mod bans;
mod buckets;
mod source;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{BanConfig, RateConfig};
use crate::engine::events::Offence;
use crate::engine::settings::AclSettings;
use crate::engine::time::{Millis, Time};
use crate::metrics::GateReading;

use self::bans::Bans;
use self::buckets::{Buckets, Pace};

pub use self::bans::{Ban, Why};
pub use self::source::Source;

/// Responses are let through at so many times the rate of requests.
const RESPONSES: u32 = 10;
/// A source is named in the log once in so many microseconds for the same thing.
const NAMED_EVERY: u64 = 60_000_000;
/// Lines of the log about all sources, a second and at once.
const LINES: (u32, u32) = (5, 20);
const SWEEP: Millis = Millis::from_secs(10);

/// What a datagram or a connection brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    Request,
    Response,
}

/// Why somebody may be exempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// A binding or a leg over the flow, or a trusted peer.
    Any,
    /// A trusted peer: nothing else stands against an operator's order.
    Trust,
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

/// The gate of a node, shared by all its shards.
#[derive(Debug)]
pub struct Gate {
    acl: AclSettings,
    buckets: Buckets,
    requests: Pace,
    responses: Pace,
    bans: Bans,
    ban_for: Millis,
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
    Load(Source, Load),
    /// Being named in the log.
    Line(Source),
    Lines,
}

impl Gate {
    /// Makes a gate that nobody has passed yet.
    pub fn new(rate: RateConfig, bans: BanConfig, acl: AclSettings) -> Self {
        Self {
            acl,
            buckets: Buckets::new(),
            requests: Pace::new(rate.per_second, rate.burst),
            responses: Pace::new(
                rate.per_second.saturating_mul(RESPONSES),
                rate.burst.saturating_mul(RESPONSES),
            ),
            ban_for: Millis(u64::try_from(bans.duration.as_millis()).unwrap_or(u64::MAX / 4)),
            bans: Bans::new(bans),
            swept: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }

    /// Judges a datagram, or a connection that begins.
    pub fn hear(
        &self,
        peer: IpAddr,
        load: Load,
        now: Time,
        exempt: impl Fn(Ground) -> bool,
    ) -> Verdict {
        if !self.acl.admits(peer) {
            add(&self.counts.denied);
            return Verdict::Denied;
        }
        let source = Source::of(peer);
        if self.shuts_out(source, now, &exempt) {
            add(&self.counts.banned);
            return Verdict::Banned;
        }
        let pace = self.pace(load);
        let any = || exempt(Ground::Any);
        if self.buckets.spend(Of::Load(source, load), pace, now, any) {
            return Verdict::Heard;
        }
        add(&self.counts.too_much);
        if self.names(source, now) {
            tracing::warn!(%source, ?load, "more than limits.requests_per_ip: dropped");
        }
        Verdict::TooMuch
    }

    /// Returns how long no connection of a source is to be read; zero: at once.
    pub fn unheard_for(&self, peer: IpAddr, now: Time, exempt: impl Fn(Ground) -> bool) -> Millis {
        let source = Source::of(peer);
        let of = Of::Load(source, Load::Request);
        let dry = self.buckets.dry_for(of, self.requests, now);
        if dry == Millis(0) || exempt(Ground::Any) {
            return Millis(0);
        }
        if self.names(source, now) {
            tracing::warn!(%source, "more than limits.requests_per_ip: its connections are read slowly");
        }
        dry
    }

    /// Counts a message that was read from a connection.
    pub fn read(&self, peer: IpAddr, load: Load, now: Time, exempt: impl Fn(Ground) -> bool) {
        let of = Of::Load(Source::of(peer), load);
        let pace = self.pace(load);
        if !self.buckets.spend(of, pace, now, || exempt(Ground::Any)) {
            self.buckets.owe(of, pace, now);
        }
    }

    /// Returns true where a connection is to be closed since its source is shut out.
    pub fn closes(&self, peer: IpAddr, now: Time, exempt: impl Fn(Ground) -> bool) -> bool {
        let shut = self.shuts_out(Source::of(peer), now, &exempt);
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
    pub fn strike(&self, peer: IpAddr, offence: Offence, proven: bool, now: Time) {
        add(&self.counts.strikes[offence as usize]);
        let source = Source::of(peer);
        if !proven || self.bans.hold(source, now).is_some() {
            return;
        }
        if let Some(ban) = self.bans.strike(source, offence, now) {
            add(&self.counts.bans[offence as usize]);
            let for_s = self.ban_for.as_secs_ceil();
            if self.is_line_due(now) {
                tracing::warn!(source = %ban.source, why = offence.as_str(), for_s, "banned");
            }
        }
    }

    /// Shuts a source out by an operator's order, for the configured time where none is named. None:
    /// there are as many as there may be.
    pub fn ban(&self, source: Source, span: Option<Millis>, now: Time) -> Option<Ban> {
        let until = now + span.unwrap_or(self.ban_for);
        let ban = self.bans.ban(source, Why::Operator, now, until)?;
        add(&self.counts.bans[Offence::ALL.len()]);
        Some(ban)
    }

    /// Lets a source in again. Returns false where it was not shut out.
    pub fn lift(&self, source: Source, now: Time) -> bool {
        self.bans.lift(source, now)
    }

    /// Returns up to `limit` bans in the order of sources.
    pub fn banned(&self, limit: usize, now: Time) -> Vec<Ban> {
        self.bans.list(limit, now)
    }

    /// Forgets what is over, now and then. Any shard may call it, as often as it likes.
    pub fn sweep(&self, now: Time) {
        let last = self.swept.load(Ordering::Relaxed);
        let (set, unset) = (Ordering::Relaxed, Ordering::Relaxed);
        if now.since(Time(last)) >= SWEEP
            && self.swept.compare_exchange(last, now.0, set, unset).is_ok()
        {
            self.bans.sweep(now);
            self.buckets.sweep(now);
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

    fn shuts_out(&self, source: Source, now: Time, exempt: &impl Fn(Ground) -> bool) -> bool {
        match self.bans.hold(source, now) {
            None => false,
            Some(Why::Offence(_)) => !exempt(Ground::Any),
            Some(Why::Operator) => !exempt(Ground::Trust),
        }
    }

    fn pace(&self, load: Load) -> Pace {
        match load {
            Load::Request => self.requests,
            Load::Response => self.responses,
        }
    }

    /// Returns true where a line about a source is due. Neither one source nor many can flood the log.
    fn names(&self, source: Source, now: Time) -> bool {
        let one = Pace::every(NAMED_EVERY, 1);
        self.buckets.spend(Of::Line(source), one, now, || false) && self.is_line_due(now)
    }

    fn is_line_due(&self, now: Time) -> bool {
        let (rate, burst) = LINES;
        let all = Pace::new(rate, burst);
        self.buckets.spend(Of::Lines, all, now, || false)
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
