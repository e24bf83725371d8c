//! What the operator has ordered of the gate. It may be revised while the node runs.

use crate::config::{BanConfig, RateConfig};
use crate::engine::settings::AclSettings;
use crate::engine::time::Millis;

use super::Load;
use super::bans::span;
use super::buckets::Pace;

/// Responses, and what comes over a known flow, are let through at so many times the rate of requests.
const EXPECTED: u32 = 10;

/// Lists, rates and bans, as they are in force.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) acl: AclSettings,
    pub(super) requests: Pace,
    /// Of responses, and of what comes over a known flow.
    pub(super) expected: Pace,
    pub(super) bans: BanConfig,
}

impl Rules {
    /// Makes them of what the configuration says.
    pub fn new(rate: RateConfig, bans: BanConfig, acl: AclSettings) -> Self {
        Self {
            acl,
            requests: Pace::new(rate.per_second, rate.burst),
            expected: Pace::new(
                rate.per_second.saturating_mul(EXPECTED),
                rate.burst.saturating_mul(EXPECTED),
            ),
            bans,
        }
    }

    pub(super) fn pace(&self, load: Load) -> Pace {
        match load {
            Load::Request => self.requests,
            Load::Response => self.expected,
        }
    }

    /// Returns how long a ban is for.
    pub(super) fn ban_for(&self) -> Millis {
        span(self.bans.duration)
    }
}
