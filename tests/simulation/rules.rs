//! What of the configuration differs from run to run.

use std::collections::BTreeMap;

use refork::engine::settings::{
    Auth, DetectSettings, Domain, EarlyDialogs, FailureCause, ForkSettings, MessageSettings,
    NoticeSettings, PerKind, ProbeSettings, RegistrarSettings, RestoreOrder, RestoreSettings,
    ServedBy, Settings,
};
use refork::engine::time::Millis;
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::judge;

// What the judge goes by the server is told as well: its defaults are its own.
/// How long the answer to a probe may take, and how many go unanswered.
pub(crate) const PROBE_TIMEOUT: Millis = Millis(4000);
pub(crate) const PROBE_TRIES: u64 = 2;
/// So long a phone rings that is called first, by its user's caller or in a transfer.
pub(crate) const FIRST_RINGS: Millis = Millis(40_000);
/// A text that has no answer is looked into after this.
pub(crate) const TEXT_SUSPECT: Millis = Millis(2000);
/// For so long the same endpoint is asked alone, in a call and in a session.
const FIRST_FOR: [Millis; 2] = [Millis(2000), Millis(12_000)];
/// Whose media still comes has so long to show itself.
const GRACE: Millis = Millis(5000);
/// What is on the way, and what is sent again.
const MARGIN: Millis = Millis(8000);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    SameFirst,
    All,
    Q,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rules {
    /// Who is invited first where a leg is lost.
    pub(crate) order: Order,
    /// How long a restoration may take, and a phone rings in it.
    restore: Millis,
    pub(crate) rings: Millis,
    /// INVITEs of restorations in a second.
    rate: u32,
    /// After so much quiet a phone is probed.
    probe: Millis,
    /// None: nobody looks whether media comes.
    pub(crate) silence: Option<Millis>,
    /// What becomes of a notice that the phone takes in no dialog.
    out_of_dialog: bool,
    tone: bool,
    /// Texts that may wait in a conversation.
    queue: usize,
    /// The caller sees one early dialog, whoever rings.
    pub(crate) single_early: bool,
    /// Phones over TCP come by another of the server's addresses.
    pub(crate) two_homes: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            order: Order::SameFirst,
            restore: Millis::from_secs(60),
            rings: Millis::from_secs(30),
            rate: 2500,
            probe: Millis::from_secs(15),
            silence: Some(Millis::from_secs(3)),
            out_of_dialog: true,
            tone: false,
            queue: 200,
            single_early: false,
            two_homes: false,
        }
    }
}

impl Rules {
    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        let secs = |dice: &mut Dice, from: &[u64]| Millis::from_secs(dice.pick(from));
        Self {
            order: dice.pick(&[Order::SameFirst, Order::SameFirst, Order::All, Order::Q]),
            restore: secs(dice, &[60, 60, 30, 120]),
            rings: secs(dice, &[30, 30, 12]),
            rate: dice.pick(&[2500, 2500, 20, 10]),
            probe: secs(dice, &[15, 15, 8, 25]),
            silence: dice.pick(&[3, 3, 3, 6, 0].map(silence)),
            out_of_dialog: dice.percent(75),
            tone: dice.percent(25),
            queue: dice.pick(&[200, 200, 2]),
            single_early: dice.percent(25),
            ..Self::default()
        }
    }

    /// Returns how long a restoration may take.
    pub(crate) fn restore(&self) -> Millis {
        self.restore
    }

    /// Returns true where a phone without MESSAGE is told of a change as well.
    pub(crate) fn tells_all(&self) -> bool {
        self.out_of_dialog
    }

    /// Returns for how long at most the same endpoint is asked alone.
    pub(crate) fn first_for(&self) -> Millis {
        let [audio, message] = FIRST_FOR;
        audio.max(message)
    }

    /// Returns by when it is known that a phone is gone: quiet for an interval of the probes, which then go
    /// unanswered, the device's and the dialog's. One that never answered any is asked more seldom.
    pub(crate) fn noticed(&self, hard_to_ask: bool) -> Millis {
        let times = if hard_to_ask { 4 } else { 1 };
        let unanswered = PROBE_TIMEOUT.times(2 * PROBE_TRIES);
        Millis(self.probe.times(times).0 + unanswered.0 + MARGIN.0)
    }

    /// Returns for how long a phone is quiet until a probe of it counts as unanswered.
    pub(crate) fn probed(&self) -> Millis {
        Millis(self.probe.0 + PROBE_TIMEOUT.0)
    }

    pub(crate) fn settings(&self) -> Settings {
        let text = |text: &str| BTreeMap::from([("".into(), text.into())]);
        Settings {
            node: "sim".into(),
            domains: vec![Domain {
                host: "sim.test".into(),
                realm: "sim.test".into(),
                served_by: ServedBy::Registrar(RegistrarSettings {
                    auth: Auth::None,
                    ..RegistrarSettings::default()
                }),
            }],
            fork: ForkSettings {
                ring_timeout: FIRST_RINGS,
                early_dialogs: if self.single_early {
                    EarlyDialogs::Single
                } else {
                    EarlyDialogs::Forward
                },
                ..ForkSettings::default()
            },
            detect: DetectSettings {
                probe: Some(ProbeSettings {
                    interval: self.probe,
                    timeout: PROBE_TIMEOUT,
                    tries: PROBE_TRIES as u32,
                }),
                grace: GRACE,
                media_silence: self.silence,
                failure_bye: vec![FailureCause::Sip(408), FailureCause::Q850(41)],
                ..DetectSettings::default()
            },
            restore: RestoreSettings {
                order: match self.order {
                    Order::SameFirst => RestoreOrder::SameFirst,
                    Order::All => RestoreOrder::All,
                    Order::Q => RestoreOrder::Q,
                },
                same_first_for: PerKind {
                    audio: FIRST_FOR[0],
                    message: FIRST_FOR[1],
                },
                timeout: PerKind::both(self.restore),
                ring_timeout: self.rings,
                rate: self.rate,
                ..RestoreSettings::default()
            },
            notice: NoticeSettings {
                continued: text(&format!("{}{{endpoint}}", judge::CONTINUED)),
                failed: text(&format!("{}{{undelivered}}", judge::FAILED)),
                undelivered: text(&format!("{}{{undelivered}}", judge::UNDELIVERED)),
                out_of_dialog: self.out_of_dialog,
                tone: self.tone,
                ..NoticeSettings::default()
            },
            messages: MessageSettings {
                suspect_after: TEXT_SUSPECT,
                per_conversation: self.queue,
                ..MessageSettings::default()
            },
            history_keep: Millis::from_secs(30),
            ..Settings::default()
        }
    }
}

fn silence(secs: u64) -> Option<Millis> {
    (secs > 0).then(|| Millis::from_secs(secs))
}
