//! What of the settings may be changed while the node runs.

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
        for route in &mut settings.routes {
            let same = |new: &&Route| new.pattern == route.pattern && new.to == route.to;
            if let Some(new) = self.routes.iter().find(same) {
                route.fork = new.fork;
            }
        }
    }
}
