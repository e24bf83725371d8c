//! What of the settings may be changed while the node runs.

use crate::engine::settings::{AclSettings, Settings};

/// Settings of another reading of the configuration. They are for what comes: what stands is not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub acl: AclSettings,
    /// Conversations at a time.
    pub conversations: usize,
}

impl Revision {
    /// Takes of settings what may be changed.
    pub fn of(settings: &Settings) -> Self {
        Self {
            acl: settings.acl.clone(),
            conversations: settings.limits.conversations,
        }
    }

    pub(super) fn apply(self, settings: &mut Settings) {
        settings.acl = self.acl;
        settings.limits.conversations = self.conversations;
    }
}
