//! What of the settings may be changed while the node runs.

use std::collections::BTreeMap;

use crate::engine::ids::Aor;
use crate::engine::settings::{AclSettings, LimitSettings, Redirects, Route, Settings};
use crate::engine::time::Millis;

/// Settings of another reading of the configuration. They are for what comes: what stands is not touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub acl: AclSettings,
    /// All but the size of messages, which the sockets are made for.
    pub limits: LimitSettings,
    /// Of `fork`.
    pub ring_timeout: Millis,
    pub redirects: Redirects,
    /// How the calls of those routes are made that there are already.
    pub routes: Vec<Route>,
    /// Telephone numbers of those users that there are already. None: the file names no users, and those of the first
    /// start have theirs.
    pub numbers: Option<BTreeMap<Box<str>, Aor>>,
    /// Which of them others are shown.
    pub shown_numbers: BTreeMap<Aor, Box<str>>,
}

impl Revision {
    /// Takes of settings what may be changed.
    pub fn of(settings: &Settings) -> Self {
        Self {
            acl: settings.acl.clone(),
            limits: settings.limits.clone(),
            ring_timeout: settings.fork.ring_timeout,
            redirects: settings.fork.redirects,
            routes: settings.routes.clone(),
            numbers: (!settings.users.is_empty()).then(|| settings.numbers.clone()),
            shown_numbers: settings.shown_numbers.clone(),
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        settings.acl = self.acl;
        settings.limits = LimitSettings {
            message_size: settings.limits.message_size,
            ..self.limits
        };
        settings.fork.ring_timeout = self.ring_timeout;
        settings.fork.redirects = self.redirects;
        if let Some(mut numbers) = self.numbers {
            numbers.retain(|_, user| settings.users.contains_key(user));
            settings.numbers = numbers;
            settings.shown_numbers = self.shown_numbers;
            let users = &settings.users;
            settings
                .shown_numbers
                .retain(|user, _| users.contains_key(user));
        }
        for route in &mut settings.routes {
            let same = |new: &&Route| new.pattern == route.pattern && new.to == route.to;
            if let Some(new) = self.routes.iter().find(same) {
                route.fork = new.fork;
            }
        }
    }
}
