//! Whom the configuration trusts: networks, and names that are proved by a certificate.

use crate::engine::ids::Flow;
use crate::engine::ports::World;
use crate::engine::settings::Settings;

/// Returns true where the peer of a flow is trusted by the configuration, by its address or its certificate.
pub(crate) fn is_listed(flow: &Flow, settings: &Settings, world: &dyn World) -> bool {
    let acl = &settings.acl;
    acl.trusts(flow.peer.ip())
        || !acl.trusted_certificates.is_empty()
            && flow
                .connection
                .and_then(|connection| world.vouched(connection))
                .is_some_and(|names| acl.trusts_names(&names))
}
