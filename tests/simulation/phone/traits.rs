//! How a phone behaves.

use refork::engine::time::Millis;
use serde::{Deserialize, Serialize};

use super::Speech;

/// What is odd about a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Temper {
    Perfect,
    /// Sends its 2xx twice at once.
    AnswersTwice,
    IgnoresOptions,
    /// Has no MESSAGE in Allow, and refuses it within a dialog.
    NoMessage,
    /// Answers slowly and sends again late.
    Slow,
    /// Rings for ever.
    NeverAnswers,
    Declines,
    Busy,
    /// All its dialogs have the same tag of it, before and after it is started anew.
    ReusesTags,
    /// Says 200 to a CANCEL, rings on, and is answered.
    IgnoresCancel,
    /// Says 200 to OPTIONS within a dialog that it knows nothing of.
    OptionsAnyway,
    /// Hangs up when it gets another address.
    HangsUpOnMove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traits {
    pub(crate) temper: Temper,
    /// RFC 3891.
    pub(crate) replaces: bool,
    /// RFC 3311.
    pub(crate) update: bool,
    /// Rings although it is in a call; else it says 486.
    pub(crate) call_waiting: bool,
    /// Sends a re-INVITE by itself after it has moved.
    pub(crate) repairs: bool,
    /// It does so by an INVITE with Replaces instead (RFC 3891).
    #[serde(default)]
    pub(crate) anew: bool,
    /// RFC 3262.
    #[serde(default)]
    pub(crate) reliable: bool,
    /// It plays something to who calls it before it is answered (RFC 3960), and as caller sends at once where it is told.
    #[serde(default)]
    pub(crate) early: bool,
    /// Session-Expires that it wishes, in seconds; 0: it knows no session timer (RFC 4028).
    #[serde(default)]
    pub(crate) timer: u64,
    pub(crate) ring_after: Millis,
    pub(crate) answer_after: Millis,
    #[serde(default)]
    pub(crate) speech: Speech,
}

impl Traits {
    pub(crate) fn perfect() -> Self {
        Self {
            temper: Temper::Perfect,
            replaces: true,
            update: true,
            call_waiting: true,
            repairs: false,
            anew: false,
            reliable: false,
            early: false,
            timer: 0,
            ring_after: Millis(100),
            answer_after: Millis(1000),
            speech: Speech::default(),
        }
    }

    pub(crate) fn of(temper: Temper) -> Self {
        Self {
            temper,
            ..Self::perfect()
        }
    }

    /// Returns true where its user takes calls.
    pub(crate) fn answers(&self) -> bool {
        match self.temper {
            Temper::Perfect
            | Temper::AnswersTwice
            | Temper::IgnoresOptions
            | Temper::NoMessage
            | Temper::Slow
            | Temper::ReusesTags
            | Temper::IgnoresCancel
            | Temper::OptionsAnyway
            | Temper::HangsUpOnMove => true,
            Temper::NeverAnswers | Temper::Declines | Temper::Busy => false,
        }
    }

    pub(crate) fn ignores_options(&self) -> bool {
        self.temper == Temper::IgnoresOptions
    }

    pub(crate) fn ignores_cancel(&self) -> bool {
        self.temper == Temper::IgnoresCancel
    }

    pub(crate) fn allow(&self) -> String {
        let mut allow = String::from("INVITE, ACK, BYE, CANCEL, OPTIONS, REFER, NOTIFY");
        if self.update {
            allow.push_str(", UPDATE");
        }
        if self.temper != Temper::NoMessage {
            allow.push_str(", MESSAGE");
        }
        if self.reliable {
            allow.push_str(", PRACK");
        }
        allow
    }

    /// Returns the option tags of what it knows.
    pub(crate) fn supported(&self) -> String {
        let known = [
            (self.replaces, "replaces"),
            (self.reliable, "100rel"),
            (self.timer > 0, "timer"),
        ];
        let known = known.iter().filter(|(known, _)| *known);
        known.map(|(_, tag)| *tag).collect::<Vec<_>>().join(", ")
    }

    /// RFC 3261 17.1.1.1.
    pub(crate) fn t1(&self) -> Millis {
        if self.temper == Temper::Slow {
            Millis(1500)
        } else {
            Millis(500)
        }
    }
}
