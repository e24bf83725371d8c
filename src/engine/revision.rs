//! What of the settings may be changed while the node runs.

use crate::engine::settings::{AclSettings, LimitSettings, Settings};

/// Settings of another reading of the configuration. They are for what comes: what stands is not touched.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub acl: AclSettings,
    /// All but the size of messages, which the sockets are made for.
    pub limits: LimitSettings,
}

impl Revision {
    /// Takes of settings what may be changed.
    pub fn of(settings: &Settings) -> Self {
        Self {
            acl: settings.acl.clone(),
            limits: settings.limits.clone(),
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        settings.acl = self.acl;
        settings.limits = LimitSettings {
            message_size: settings.limits.message_size,
            ..self.limits
        };
    }
}
