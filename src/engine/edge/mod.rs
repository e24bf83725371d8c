//! The edge of a PBX: what phones say to an upstream outside of calls and texts goes on to it, and what it
//! says to them comes back over their flows.
//!
//! Here we are a proxy that keeps the transactions (RFC 3261 16) and not an end: From, To, Call-ID and CSeq
//! stay, and with them the phone's credentials and the upstream's challenges; a dialog that begins so, as by
//! SUBSCRIBE, is the phone's with the upstream, and goes through us by Record-Route. Calls and texts are
//! anchored by the conversation as everywhere.
//!
//! `arrivals` tells which requests those are, `named` which phone an upstream means by a token, `register` takes REGISTER on and learns what is granted,
//! `relay` carries requests and answers, `targets` tells to which of an upstream's, `forward` writes them.

mod arrivals;
mod forward;
mod named;
mod register;
mod relay;
mod targets;

pub(crate) use self::named::Named;
pub(crate) use self::relay::Relays;

use crate::engine::conversation::upstream_of;
use crate::engine::refusal::Refusal;
use crate::engine::routing::{Destination, Q_DEFAULT, Target};
use crate::engine::settings::{ForkOrder, RouteFork, Settings};
use crate::sip::Message;

impl Named {
    /// Returns the one phone that an upstream asks for by a first request: the others of the same user are
    /// the upstream's to ask.
    ///
    /// # Errors
    /// 430: it is no longer kept here (RFC 5626 5.3.1).
    pub(crate) fn destination(
        &self,
        request: &Message,
        settings: &Settings,
    ) -> Result<Destination, Refusal> {
        let Some(binding) = self.exactly(request.uri()) else {
            return Err((430, "the phone is no longer registered through here").into());
        };
        Ok(Destination {
            aor: self.aor.clone(),
            uri: request.uri().into(),
            targets: vec![Target {
                endpoint: binding.endpoint.clone(),
                q: Q_DEFAULT,
            }],
            order: ForkOrder::Parallel,
            upstream: None,
            asked_by: upstream_of(&self.aor, settings).map(Into::into),
            fork: RouteFork::default(),
            emergency: None,
        })
    }
}
