//! What of the configuration differs from run to run.

use std::collections::BTreeMap;

use refork::engine::settings::{
    Auth, DetectSettings, Domain, FailureCause, ForkSettings, NoticeSettings, PerKind,
    RegistrarSettings, RestoreOrder, RestoreSettings, ServedBy, Settings,
};
use refork::engine::time::Millis;
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::judge;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    SameFirst,
    All,
    Q,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// Who is invited first where a leg is lost.
    pub(crate) order: Order,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            order: Order::SameFirst,
        }
    }
}

impl Rules {
    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        Self {
            order: dice.pick(&[Order::SameFirst, Order::SameFirst, Order::All, Order::Q]),
        }
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
                ring_timeout: Millis::from_secs(40),
                ..ForkSettings::default()
            },
            detect: DetectSettings {
                failure_bye: vec![FailureCause::Sip(408), FailureCause::Q850(41)],
                ..DetectSettings::default()
            },
            restore: RestoreSettings {
                order: match self.order {
                    Order::SameFirst => RestoreOrder::SameFirst,
                    Order::All => RestoreOrder::All,
                    Order::Q => RestoreOrder::Q,
                },
                timeout: PerKind::both(judge::RESTORE_TIMEOUT),
                ..RestoreSettings::default()
            },
            notice: NoticeSettings {
                continued: text(&format!("{}{{endpoint}}", judge::CONTINUED)),
                failed: text(&format!("{}{{undelivered}}", judge::FAILED)),
                ..NoticeSettings::default()
            },
            history_keep: Millis::from_secs(30),
            ..Settings::default()
        }
    }
}
