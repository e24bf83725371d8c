//! Who a user is for an upstream: a trunk knows telephone numbers alone (`upstreams.*.identity`).

use super::account::upstream_of_leg;
use crate::engine::conversation::leg::Leg;
use crate::engine::dialog::name_addr;
use crate::engine::endpoint::Endpoint;
use crate::engine::settings::{Presented, Settings};
use crate::engine::{location, routing};
use crate::sip::{Address, Params};

/// Returns the address of a user of ours with the user's number, where a leg leads to an upstream that is told that;
/// none where the address is to be told as it is.
pub(crate) fn by_number(address: &str, leg: &Leg, settings: &Settings) -> Option<Box<str>> {
    if settings.shown_numbers.is_empty() {
        return None;
    }
    numbered(address, upstream_of_leg(leg, settings)?, settings)
}

/// The same for who is asked outside of a call.
pub(crate) fn by_number_to(address: &str, to: &Endpoint, settings: &Settings) -> Option<Box<str>> {
    let (upstream, _) = routing::upstream_with(to.through.as_deref()?, settings)?;
    numbered(address, upstream, settings)
}

fn numbered(address: &str, upstream: &str, settings: &Settings) -> Option<Box<str>> {
    let address = Address::parse(address).ok()?;
    let user = location::aor_in(address.uri, settings)?;
    let number = settings.shown_numbers.get(&user)?;
    let upstream = settings.upstreams.get(upstream)?;
    if upstream.identity == Presented::User {
        return None;
    }
    let domain = upstream.from_domain.as_deref();
    let domain = domain.unwrap_or_else(|| user.host());
    // RFC 3261 19.1.6: a number is marked as one; without its country it is one of a place, which this cannot name.
    let mark = if number.starts_with('+') {
        ";user=phone"
    } else {
        ""
    };
    let uri = format!("sip:{number}@{domain}{mark}");
    Some(name_addr(&Address {
        display: address.display.clone(),
        uri: &uri,
        params: Params::new(""),
    }))
}
