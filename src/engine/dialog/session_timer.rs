//! The session timer of one dialog (RFC 4028): who refreshes, how often, and when a refresh is missed.

use serde::{Deserialize, Serialize};

use crate::engine::settings::{RefresherChoice, SessionTimerSettings};
use crate::engine::time::{Millis, Time};
use crate::sip::{Builder, Message, Name, Params};

/// RFC 4028 10: who waits for a refresh gives up so long before the session's end at most.
const EARLY_S: u32 = 32;
/// A far end that wants to be refreshed all the time is refreshed so often at most.
const INTERVAL_MIN_S: u32 = 10;
/// Who demands more than a day, or more and more, wants no call.
const FLOOR_MAX_S: u32 = 86_400;
const RAISED_MAX: u8 = 3;
/// A refresh that was refused is tried again after so long at most.
const RETRY_MAX: Millis = Millis::from_secs(30);
const RETRY_MIN: Millis = Millis::from_secs(1);
/// One that meets an offer of theirs goes out again soon (RFC 3261 14.1), so often in a row. Who answers 491 to each has
/// no offer of its own.
const GLARES_MAX: u8 = 3;
/// How long a request of theirs that met a restart of ours is sent again (64*T1).
const RESENT: Millis = Millis::from_secs(32);
/// The far end counts from when it sent what began the session, we from when that came.
const ON_ITS_WAY: Millis = Millis::from_secs(2);

/// Which of the two sends the refreshes: of one request, its sender (`uac`) or who answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refresher {
    Uac,
    Uas,
}

/// Whose turn it is.
///
/// ```text
///           agreed: we refresh            agreed: they refresh
///   Off ────────────────────────► Ours   Off ──────────────────► Theirs
///                  half of it over │ ▲ refused, 2xx                │ a refresh: again
///                                  ▼ │                             │
///                                 Asked ────── nothing came ───────┴──► Missed
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// No timer runs.
    #[default]
    Off,
    /// We send the next refresh.
    Ours,
    /// It is out.
    Asked,
    /// They send it.
    Theirs,
    /// None came in time.
    Missed,
}

/// What happens to the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// A request that refreshes the session is accepted: these are to send the next one.
    WeRefresh,
    TheyRefresh,
    /// It is accepted without a timer.
    NoTimer,
    /// Our refresh was refused; the session goes on until its end.
    Refused,
    /// The moment that was set has come, and the session's end has not.
    Due,
    /// The session's end has come; for who waits, what RFC 4028 10 allows before it.
    End,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Nothing,
    /// A refresh goes out.
    Refresh,
    /// The far end may be lost.
    Suspect,
}

impl Turn {
    /// Returns the next state, and what is to be done.
    #[rustfmt::skip]
    pub fn after(self, tick: Tick) -> (Self, Act) {
        use Tick as T;
        match (self, tick) {
            (Self::Off | Self::Ours | Self::Asked | Self::Theirs | Self::Missed, T::WeRefresh) => (Self::Ours, Act::Nothing),
            (Self::Off | Self::Ours | Self::Asked | Self::Theirs | Self::Missed, T::TheyRefresh) => (Self::Theirs, Act::Nothing),
            // RFC 4028 7.2: the session never expires.
            (Self::Off | Self::Ours | Self::Asked | Self::Theirs | Self::Missed, T::NoTimer) => (Self::Off, Act::Nothing),

            (Self::Off, T::Refused | T::Due | T::End) => (Self::Off, Act::Nothing),

            (Self::Ours, T::Due) => (Self::Asked, Act::Refresh),
            (Self::Ours, T::Refused) => (Self::Ours, Act::Nothing),
            // It has refused every one, or we could not ask.
            (Self::Ours, T::End) => (Self::Missed, Act::Suspect),

            (Self::Asked, T::Refused) => (Self::Ours, Act::Nothing),
            (Self::Asked, T::Due) => (Self::Asked, Act::Nothing),
            (Self::Asked, T::End) => (Self::Missed, Act::Suspect),

            // Ours that was refused is none of the timer's.
            (Self::Theirs, T::Refused | T::Due) => (Self::Theirs, Act::Nothing),
            // RFC 4028 10 has a BYE here; what it means is that the far end is gone.
            (Self::Theirs, T::End) => (Self::Missed, Act::Suspect),

            (Self::Missed, T::Refused | T::Due | T::End) => (Self::Missed, Act::Nothing),
        }
    }
}

/// The timer of a dialog, from our end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionTimer {
    turn: Turn,
    /// What was agreed last, in seconds.
    interval_s: u32,
    /// The greatest Min-SE that a 422 told, and how many have told one.
    floor_s: u32,
    raised: u8,
    /// When the session was last refreshed.
    since: Time,
    next: Option<Time>,
    /// How many refreshes of ours in a row have met an offer of theirs.
    #[serde(default)]
    glares: u8,
}

impl SessionTimer {
    /// Returns when something is due.
    pub fn next(&self) -> Option<Time> {
        self.next
    }

    /// Returns what is due.
    pub fn due(&mut self, now: Time) -> Act {
        if self.next.is_none_or(|next| next > now) {
            return Act::Nothing;
        }
        self.take(
            if now >= self.end() {
                Tick::End
            } else {
                Tick::Due
            },
            now,
        )
    }

    /// Our refresh was refused, or could not be sent.
    pub fn refused(&mut self, now: Time) {
        self.take(Tick::Refused, now);
    }

    /// Another offer is in the way of our refresh, which goes out again soon: that one may have its end a moment before
    /// the session's.
    pub fn waits(&mut self, now: Time, pause: Millis) {
        self.refused(now);
        if self.turn == Turn::Ours {
            self.next = self.next.map(|next| next.min(now + pause));
        }
    }

    /// Our refresh has met an offer of theirs, and goes out again after a pause; after some, as any that was refused.
    pub fn meets_glare(&mut self, now: Time, pause: Millis) {
        self.glares = self.glares.saturating_add(1);
        match self.glares > GLARES_MAX {
            true => self.refused(now),
            false => self.waits(now, pause),
        }
    }

    /// After a restart, or while it was thought lost, the far end's refresh may not have been heard, and
    /// ours may not have left.
    pub fn resume(&mut self, now: Time) {
        match self.turn {
            Turn::Asked => {
                self.take(Tick::Refused, now);
            }
            Turn::Theirs => self.next = self.next.map(|next| next.max(now + RESENT)),
            Turn::Off | Turn::Ours | Turn::Missed => {}
        }
    }

    /// Returns true where the far end, which has had no refresh, may be ending the session by now (RFC 4028 10).
    pub fn may_have_run_out(&self, now: Time) -> bool {
        let early = EARLY_S.min(self.interval_s / 3);
        let from = self.since + Millis::from_secs((self.interval_s - early).into());
        let until = self.since + Millis::from_secs(self.interval_s.into()) + RESENT;
        self.turn != Turn::Off && now + ON_ITS_WAY >= from && now < until
    }

    /// Returns true where a refresh of ours is out that nobody has answered.
    pub fn is_unanswered(&self) -> bool {
        self.turn == Turn::Asked
    }

    /// Adds what a refresh of ours says (RFC 4028 7.1, 7.4).
    pub fn ask(&self, wish: &SessionTimerSettings, builder: Builder) -> Builder {
        let refresher = match self.turn {
            Turn::Ours | Turn::Asked => ";refresher=uac",
            Turn::Theirs => ";refresher=uas",
            Turn::Off | Turn::Missed => match wish.refresher {
                RefresherChoice::Auto => "",
                RefresherChoice::Uac => ";refresher=uac",
                RefresherChoice::Uas => ";refresher=uas",
            },
        };
        builder
            .header(
                Name::SessionExpires,
                format_args!("{}{refresher}", self.asks(wish)),
            )
            .header(Name::MinSe, self.floor_s.max(wish.min_s))
    }

    /// Takes the 2xx to it (RFC 4028 7.2).
    pub fn answered(&mut self, response: &Message, now: Time) {
        match session_expires(response) {
            // Whoever names nobody leaves it to us.
            Some((interval, refresher)) => {
                self.interval_s = interval.max(INTERVAL_MIN_S);
                self.agree(refresher != Some(Refresher::Uas), now);
            }
            None => {
                self.take(Tick::NoTimer, now);
            }
        }
    }

    /// Takes a 422 (RFC 4028 7.3). Returns true where asking again with what it demands makes sense.
    pub fn too_brief(&mut self, response: &Message, wish: &SessionTimerSettings) -> bool {
        let asked = self.asks(wish);
        let demanded = min_se(response)
            .filter(|demanded| (asked + 1..=FLOOR_MAX_S).contains(demanded))
            .filter(|_| self.raised < RAISED_MAX);
        let Some(demanded) = demanded else {
            return false;
        };
        self.floor_s = demanded;
        self.raised += 1;
        true
    }

    /// Returns the Session-Expires that we ask for.
    fn asks(&self, wish: &SessionTimerSettings) -> u32 {
        let standing = Some(self.interval_s).filter(|interval| *interval > 0);
        standing
            .unwrap_or(wish.expires_s)
            .max(wish.min_s)
            .max(self.floor_s)
    }

    /// Takes a refresh of theirs that is accepted (RFC 4028 9). Returns what its 2xx says.
    pub fn accept(
        &mut self,
        request: &Message,
        wish: &SessionTimerSettings,
        now: Time,
    ) -> Option<Accepted> {
        let supports = request.has_token(Name::Supported, "timer")
            || request.has_token(Name::Require, "timer");
        let asked = session_expires(request);
        if asked.is_none() && !supports {
            // Who is refreshed by us may only have left it out.
            if self.turn == Turn::Theirs {
                self.take(Tick::NoTimer, now);
            }
            return None;
        }
        let (interval, named) = asked.unwrap_or((u32::MAX, None));
        let refresher = refresher(supports, named, wish.refresher);
        // It may be made shorter, but not below what those on the way have asked for, nor longer.
        let least = min_se(request).unwrap_or(0).max(wish.min_s);
        self.interval_s = wish.expires_s.max(least).min(interval).max(INTERVAL_MIN_S);
        self.agree(refresher == Refresher::Uas, now);
        Some(Accepted {
            interval_s: self.interval_s,
            refresher,
            require: supports,
        })
    }

    fn agree(&mut self, ours: bool, now: Time) {
        (self.since, self.glares) = (now, 0);
        self.take(
            if ours {
                Tick::WeRefresh
            } else {
                Tick::TheyRefresh
            },
            now,
        );
    }

    fn take(&mut self, tick: Tick, now: Time) -> Act {
        let (turn, act) = self.turn.after(tick);
        self.turn = turn;
        let interval = Millis::from_secs(self.interval_s.into());
        self.next = match (turn, tick) {
            (Turn::Off | Turn::Missed, _) => None,
            (Turn::Ours, Tick::Refused) => {
                let pause = Millis(interval.0 / 16).clamp(RETRY_MIN, RETRY_MAX);
                Some(self.end().min(now + pause).max(now + RETRY_MIN))
            }
            // RFC 4028 7.2: half of it leaves the time for another.
            (Turn::Ours, _) => Some(self.since + Millis(interval.0 / 2)),
            (Turn::Asked | Turn::Theirs, _) => Some(self.end()),
        };
        act
    }

    /// Returns when the session ends; where they refresh, when no refresh is waited for any more.
    fn end(&self) -> Time {
        let interval = match self.turn {
            Turn::Theirs => self.interval_s - EARLY_S.min(self.interval_s / 3),
            Turn::Off | Turn::Ours | Turn::Asked | Turn::Missed => self.interval_s,
        };
        self.since + Millis::from_secs(interval.into())
    }
}

/// What our 2xx to a refresh says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    interval_s: u32,
    refresher: Refresher,
    require: bool,
}

impl Accepted {
    /// Adds it.
    pub fn write(self, builder: Builder) -> Builder {
        let word = match self.refresher {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        };
        let builder = builder.header(
            Name::SessionExpires,
            format_args!("{};refresher={word}", self.interval_s),
        );
        if self.require {
            builder.header(Name::Require, "timer")
        } else {
            builder
        }
    }
}

/// Returns true where a request speaks of a session timer at all.
pub fn speaks(message: &Message) -> bool {
    message.header(Name::SessionExpires).is_some()
        || message.has_token(Name::Supported, "timer")
        || message.has_token(Name::Require, "timer")
}

/// Returns true where a request asks for less than we take, and can be told so (RFC 4028 9).
pub fn is_too_brief(request: &Message, wish: &SessionTimerSettings) -> bool {
    request.has_token(Name::Supported, "timer")
        && session_expires(request).is_some_and(|(interval, _)| interval < wish.min_s)
}

/// Says who refreshes, as the 2xx tells it (RFC 4028 9, table 2).
fn refresher(supports: bool, named: Option<Refresher>, wish: RefresherChoice) -> Refresher {
    match (supports, named, wish) {
        // A proxy has asked for it; the far end knows nothing of timers.
        (false, _, _) => Refresher::Uas,
        (true, Some(named), _) => named,
        (true, None, RefresherChoice::Uas) => Refresher::Uas,
        (true, None, RefresherChoice::Auto | RefresherChoice::Uac) => Refresher::Uac,
    }
}

fn session_expires(message: &Message) -> Option<(u32, Option<Refresher>)> {
    let value = message.header(Name::SessionExpires)?;
    let (seconds, params) = value.split_once(';').unwrap_or((value, ""));
    let seconds = seconds.trim().parse().ok()?;
    let refresher = match Params::new(params).value("refresher") {
        Some(word) if word.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
        Some(word) if word.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
        Some(_) | None => None,
    };
    Some((seconds, refresher))
}

fn min_se(message: &Message) -> Option<u32> {
    let value = message.header(Name::MinSe)?;
    let seconds = value.split_once(';').map_or(value, |(seconds, _)| seconds);
    seconds.trim().parse().ok()
}

#[cfg(test)]
mod tests;
