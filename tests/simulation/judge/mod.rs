//! The reference judge: from what the phones sent and got, and from nothing else, it tells whether the
//! server kept its promises.
//!
//! Phones that something befell while their leg stood are *scarred*: of them little is asked. All others
//! must not have noticed anything.

mod causes;
mod counts;
mod detection;
mod ends;
mod legs;
mod life;
mod losses;
mod notices;
mod peace;
mod streams;
#[cfg(test)]
mod tests;
mod texts;
mod undelivered;

use refork::engine::ids::Side;
use refork::engine::time::{Millis, Time};
use refork::sip::{Method, Name};

use crate::log::{Fault, Log, PhoneId, What};
use crate::phone::Temper;
use crate::run::{Rest, START};
pub(crate) use counts::counted;
use legs::Leg;

pub(crate) const CONTINUED: &str = "CONTINUED ";
pub(crate) const FAILED: &str = "FAILED ";
pub(crate) const UNDELIVERED: &str = "UNDELIVERED ";

const FOR_EVER: Time = Time(u64::MAX);
/// How long a transaction may take to give up, and a little more.
const TRANSACTION: Millis = Millis(36_000);
/// How long a message may be on the way, and a little more.
const FLIGHT: Millis = Millis(1_200);
/// Who stood for less was not joined, or died of it.
const BRIEF: Millis = Millis(3000);

/// Returns the body of a side's `number`th text.
pub(crate) fn text(talk: usize, side: Side, number: u32) -> String {
    format!("text {talk} {} {number}", side.as_str())
}

/// Everything that the rules look at.
struct Case<'a> {
    log: &'a Log,
    legs: Vec<Leg>,
    farewells: Vec<(Time, usize)>,
    /// When the store has kept something that the server waited for.
    stored: Vec<Time>,
    /// From the death to the rising again.
    restarts: Vec<(Time, Time)>,
    /// By phone: from a fault until the phone is itself again.
    troubles: Vec<Vec<(Time, Time)>>,
    /// Those in which nothing could reach it, nor wait for it.
    absences: Vec<Vec<(Time, Time)>>,
    /// Those in which it neither heard nor said anything, to the moment of its return.
    gone: Vec<Vec<(Time, Time)>>,
    /// Those in which nothing that it said arrived, to that moment.
    unheard: Vec<Vec<(Time, Time)>>,
    /// By phone: since when the registrar knows it, and when it took its leave.
    registered: Vec<[Option<Time>; 2]>,
    /// By phone: when it was back after it was gone or had moved, and when the registrar had answered it then.
    back: Vec<Vec<(Time, Time)>>,
    /// Talks in which a second call was made, and perhaps joined to the first: who talks to whom then, the
    /// judge does not follow.
    tangled: Vec<usize>,
    found: Vec<String>,
}

/// Returns what was broken, in words.
pub(crate) fn judge(log: &Log) -> Vec<String> {
    let mut case = Case::of(log);
    case.peace();
    case.life();
    case.missed_for_nothing();
    case.ends();
    case.texts();
    case.notices();
    case.streams();
    case.found
}

/// Returns the talks in which a phone of the first call has made a second one.
fn tangled(log: &Log) -> Vec<usize> {
    let mut made = Vec::new();
    let mut tangled = Vec::new();
    for entry in &log.entries {
        if let (What::Sent(message), Some(phone)) = (&entry.what, entry.phone)
            && message.is_request()
            && *message.method() == Method::Invite
            && message.to_tag().is_none()
            && message.header(Name::Replaces).is_none()
        {
            let (talk, call) = (log.roster[phone].talk, message.call_id().to_owned());
            if made.iter().any(|(of, known)| *of == talk && *known != call) {
                tangled.push(talk);
            }
            made.push((talk, call));
        }
    }
    tangled
}

/// Returns by phone when it began anew, or stood elsewhere, and when it was registered so.
fn back(log: &Log) -> Vec<Vec<(Time, Time)>> {
    let mut back = vec![Vec::new(); log.roster.len()];
    let mut begun = vec![None; log.roster.len()];
    let mut dead = vec![false; log.roster.len()];
    for entry in &log.entries {
        let Some(phone) = entry.phone else { continue };
        match &entry.what {
            What::Fault(fault) => {
                dead[phone] = *fault == Fault::Killed;
                begun[phone] = (*fault == Fault::Moved).then_some(entry.at);
            }
            What::Recovered => begun[phone] = dead[phone].then_some(entry.at),
            What::Got(message) if *message.method() == Method::Register => {
                let known = !message.is_request() && message.status() == 200;
                if let Some(begun) = begun[phone].take_if(|_| known) {
                    back[phone].push((begun, entry.at));
                }
            }
            What::Got(_)
            | What::Sent(_)
            | What::TimedOut(_)
            | What::HungUp
            | What::Heard
            | What::Expired
            | What::Transferred
            | What::ServerDown
            | What::ServerUp
            | What::Stored(_)
            | What::Remark(_) => {}
        }
    }
    back
}

/// Returns what was left behind.
pub(crate) fn drained(log: &Log, rest: &Rest) -> Vec<String> {
    let mut found = Vec::new();
    let mut zero = |what: &str, count: usize| {
        if count > 0 {
            found.push(format!("{count} {what} left at the end"));
        }
    };
    zero("media sessions", rest.media_sessions);
    zero("media ports", rest.media_ports);
    zero("snapshots", rest.snapshots);
    zero("bindings", rest.bindings);
    // A phone that is gone may never answer its BYE; where nothing befell anybody, each has.
    let befell = |what: &What| matches!(what, What::Fault(_) | What::ServerDown);
    if !log.entries.iter().any(|entry| befell(&entry.what)) {
        zero("lost dialogs", rest.gauges.lost_dialogs);
    }
    if !rest.gauges.is_at_rest() {
        found.push(format!("gauges are not zero at the end: {:?}", rest.gauges));
    }
    for phone in &rest.busy {
        found.push(format!("{phone} is still in a call at the end"));
    }
    found.extend(rest.misuse.iter().chain(&rest.broken).cloned());
    found
}

impl<'a> Case<'a> {
    fn of(log: &'a Log) -> Self {
        let mut case = Self {
            log,
            legs: legs::of(log),
            farewells: Vec::new(),
            stored: Vec::new(),
            restarts: Vec::new(),
            troubles: vec![Vec::new(); log.roster.len()],
            absences: vec![Vec::new(); log.roster.len()],
            gone: vec![Vec::new(); log.roster.len()],
            unheard: vec![Vec::new(); log.roster.len()],
            registered: vec![[None; 2]; log.roster.len()],
            back: back(log),
            tangled: tangled(log),
            found: Vec::new(),
        };
        case.read();
        case.scar();
        case
    }
}

impl Case<'_> {
    fn read(&mut self) {
        for entry in &self.log.entries {
            match (&entry.what, entry.phone) {
                (What::HungUp, Some(phone)) => {
                    let talk = self.log.roster[phone].talk;
                    self.farewells.push((entry.at, talk));
                }
                (What::Stored(true), _) => self.stored.push(entry.at),
                (What::ServerDown, _) => self.restarts.push((entry.at, FOR_EVER)),
                (What::ServerUp, _) => {
                    if let Some(last) = self.restarts.last_mut() {
                        last.1 = entry.at;
                    }
                }
                (What::Fault(fault), Some(phone)) => {
                    let until = match fault {
                        Fault::Killed | Fault::Frozen | Fault::Cut | Fault::Deaf | Fault::Mute => {
                            FOR_EVER
                        }
                        // It has its calls as before.
                        Fault::Unheard => continue,
                        Fault::Reset | Fault::Moved => entry.at + TRANSACTION,
                    };
                    self.troubles[phone].push((entry.at, until));
                    if *fault != Fault::Frozen {
                        self.absences[phone].push((entry.at, until));
                    }
                    if matches!(fault, Fault::Frozen | Fault::Cut) {
                        self.gone[phone].push((entry.at, until));
                    }
                    if matches!(fault, Fault::Frozen | Fault::Cut | Fault::Mute) {
                        self.unheard[phone].push((entry.at, until));
                    }
                }
                (What::Recovered, Some(phone)) => {
                    let absences = self.absences[phone].iter_mut();
                    for trouble in self.troubles[phone].iter_mut().chain(absences) {
                        trouble.1 = trouble.1.min(entry.at + TRANSACTION);
                    }
                    let unheard = self.unheard[phone].iter_mut();
                    for gone in self.gone[phone].iter_mut().chain(unheard) {
                        gone.1 = gone.1.min(entry.at);
                    }
                }
                (What::Got(message) | What::Sent(message), Some(phone))
                    if *message.method() == Method::Register =>
                {
                    let [known, left] = &mut self.registered[phone];
                    if !message.is_request() && message.status() == 200 {
                        known.get_or_insert(entry.at);
                    } else if message.is_request() && message.header(Name::Expires) == Some("0") {
                        left.get_or_insert(entry.at);
                    }
                }
                (What::HungUp | What::Fault(_) | What::Recovered, None)
                | (What::Expired | What::Heard | What::Transferred | What::Stored(false), _)
                | (What::Got(_) | What::Sent(_) | What::TimedOut(_) | What::Remark(_), _) => {}
            }
        }
    }

    /// Marks the legs of which little can be asked.
    fn scar(&mut self) {
        let mut legs = std::mem::take(&mut self.legs);
        for leg in &mut legs {
            let card = &self.log.roster[leg.phone];
            let end = leg.end().unwrap_or(Time(u64::MAX));
            let settled = leg.settled().unwrap_or(end);
            let hit = self.trouble(leg.phone, leg.invited, end);
            let orphaned = self.restarted(leg.invited, settled)
                || leg.is_left_to_itself() && self.restarted(leg.invited - FLIGHT, settled);
            let cut_off = card.stream && self.restarted(leg.invited, end);
            leg.scarred = hit || orphaned || cut_off || card.traits.ignores_options();
        }
        self.legs = legs;
    }

    fn trouble(&self, phone: PhoneId, from: Time, until: Time) -> bool {
        self.troubles[phone]
            .iter()
            .any(|(begin, end)| *begin <= until && *end >= from)
    }

    fn restarted(&self, from: Time, until: Time) -> bool {
        self.restarts
            .iter()
            .any(|(down, up)| *down <= until && *up >= from)
    }

    /// Returns true where a user of the conversation has put the receiver down by then.
    fn bid_farewell(&self, talk: usize, by: Time) -> bool {
        self.farewells
            .iter()
            .any(|(at, of)| *of == talk && *at <= by)
    }

    /// Those that can be judged by who talks to whom.
    fn plain(&self) -> impl Iterator<Item = &Leg> {
        let plain = |leg: &&Leg| !leg.scarred && !self.tangled.contains(&leg.talk);
        self.legs.iter().filter(plain)
    }

    /// Returns true where a word of the server reaches a phone's user.
    fn can_be_told(&self, leg: &Leg) -> bool {
        let mute = self.log.roster[leg.phone].traits.temper == Temper::NoMessage;
        !mute || self.log.rules.tells_all()
    }

    fn side(&self, talk: usize, side: Side) -> impl Iterator<Item = &Leg> {
        self.legs
            .iter()
            .filter(move |leg| leg.talk == talk && leg.side == side)
    }

    /// Returns which phone of a side was there last by then. One that was told at once that it is not joined never was.
    fn last_there(&self, talk: usize, side: Side, by: Time) -> Option<&Leg> {
        let there = self.side(talk, side).filter_map(|leg| {
            // A caller is there from its INVITE on, also where it hears the answer later.
            let caller = leg.is_callers().then_some(leg.invited);
            let begun = leg.acked.filter(|acked| *acked <= by).or(caller);
            let begun = begun.filter(|begun| *begun <= by)?;
            let rejected = leg.bye_got.is_some_and(|bye| bye.since(begun) < BRIEF)
                || self.has_handed_on(leg, by);
            let gone = self.gone[leg.phone].iter();
            let gone = gone.filter(|(from, until)| *from >= begun && *until >= by);
            let left = gone.map(|(from, _)| *from).chain(leg.end()).min();
            (!rejected).then_some((left.map_or(by, |left| left.min(by)), begun, leg))
        });
        let last = there.max_by_key(|(left, begun, _)| (*left, *begun));
        last.map(|(_, _, leg)| leg)
    }

    /// Returns true where a phone of another user has the call by then that this one has handed on, whether its own BYE
    /// was heard or not.
    fn has_handed_on(&self, leg: &Leg, by: Time) -> bool {
        let user = |leg: &Leg| &self.log.roster[leg.phone].user;
        let mut sent = leg.sent.iter();
        let asked = sent.find(|sent| sent.method == Method::Refer);
        asked.is_some_and(|asked| {
            self.side(leg.talk, leg.side).any(|other| {
                let took = other.acked.filter(|at| (asked.at..=by).contains(at));
                let stayed = |at| other.end().is_none_or(|end| end.since(at) > BRIEF);
                user(other) != user(leg) && took.is_some_and(stayed)
            })
        })
    }

    fn blame(&mut self, at: Time, phone: PhoneId, what: impl std::fmt::Display) {
        let at = at.since(START).0;
        let name = &self.log.roster[phone].name;
        self.found
            .push(format!("{}.{:03} {name}: {what}", at / 1000, at % 1000));
    }
}
