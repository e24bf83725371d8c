//! A phone that forwards its calls (RFC 3261 8.1.3.4, 16.5): whom it names is called instead, within limits,
//! and is told whose call it was (RFC 7044).
//!
//! Those named have their turn once nobody else of the fork rings: one phone of several does not take the
//! call away from the others. Called is only whom the one who forwards could call itself, nobody twice, and
//! only our own users where it is an upstream that says so.

use std::cmp::Reverse;

use super::trail::Trail;
use super::{Branch, Fork, Meant, Turn};
use crate::engine::asker::Asker;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::people::far_ends::may_have_called;
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::transferring::refer::bare;
use crate::engine::dialog::is_sips;
use crate::engine::events::Happening;
use crate::engine::ids::{Aor, Flow, LegId, Side};
use crate::engine::location;
use crate::engine::routing::{self, By, dialled};
use crate::engine::settings::{Redirects, RouteFork};
use crate::sip::{Address, Message, Name, Uri};

/// Redirections followed for one call.
const REDIRECTS_MAX: u32 = 5;
/// Contacts looked at in one of them.
const CONTACTS_MAX: usize = 8;

/// Who forwards.
struct Forwarder<'a> {
    side: Side,
    aor: &'a Aor,
    /// As others know it.
    address: &'a str,
    asker: &'a Asker,
    /// What it is reached over.
    flow: Flow,
    /// Is called through an upstream.
    beyond: bool,
    /// Whom the call was for until it was its.
    trail: Option<&'a Trail>,
    rules: RouteFork,
}

impl Forwarder<'_> {
    /// Returns its address of record, or the temporary GRUU by which it was called.
    fn shown(&self) -> &str {
        let address = Address::parse(self.address).ok();
        let hidden = address.filter(|address| {
            let uri = address.uri_parsed();
            uri.is_ok_and(|uri| location::hides(&uri))
        });
        hidden.map_or(self.aor.as_str(), |address| address.uri)
    }
}

impl Conversation {
    /// Where a branch of the first fork, of a transfer's or of a re-fork names somebody else, that one has the next
    /// turn.
    pub(crate) fn redirected(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
    ) {
        let mut aside = self.party_mut(side).lost.take();
        let restores = (aside.as_ref()).is_some_and(|aside| aside.transfer.is_none());
        let first = self.invitation.as_mut().map(|first| &mut first.fork);
        let again = aside.as_mut().map(|aside| &mut aside.fork);
        let fork = first.into_iter().chain(again).find_map(|fork| {
            let branch = fork.branch(leg)?;
            let endpoint = branch.endpoint();
            let (name, beyond) = (endpoint.name.clone(), endpoint.through.is_some());
            let (flow, meant) = (branch.leg.dialog.flow, branch.meant.clone());
            Some((fork, name, beyond, flow, meant))
        });
        let told = fork.map(|(fork, endpoint, beyond, flow, meant)| {
            let party = &self.parties[side.index()];
            let person = meant.as_ref().map(|meant| &meant.person);
            let asked = person.map_or(&party.asked, |person| &person.asked);
            let trail = match &meant {
                Some(meant) => meant.trail.clone(),
                None => fork.trail.clone(),
            };
            let by = Forwarder {
                side,
                aor: person.map_or(&party.aor, |person| &person.aor),
                address: person.map_or(&party.address, |person| &person.address),
                asker: person.map_or(&party.asker, |person| &person.asker),
                flow,
                beyond,
                trail: trail.as_deref(),
                rules: if restores {
                    rules_toward(context, asked.as_deref())
                } else {
                    fork.rules
                },
            };
            let (told, followed) = follow(context, fork, &by, &endpoint, response, self.secure);
            let branch = fork.branches.iter_mut().find(|branch| branch.leg.id == leg);
            if let Some(branch) = branch {
                branch.followed = followed;
            }
            told
        });
        self.party_mut(side).lost = aside;
        for happening in told.into_iter().flatten() {
            self.note(context, happening);
        }
    }
}

impl Branch {
    /// Says whom a branch is for. Where that is somebody whom a phone that forwards has named, we call at our own
    /// expense: what is asked for proof there is not for who called to give, who knows nothing of it.
    pub(crate) fn is_for(&mut self, meant: Option<Box<Meant>>) {
        self.leg.dialog.ours_alone = meant.is_some();
        self.meant = meant;
    }
}

/// Follows a redirection, where that is wished and somebody is named who may be called. Returns what happened,
/// and true where whom it names is called, or was.
fn follow(
    context: &Context<'_>,
    fork: &mut Fork,
    by: &Forwarder<'_>,
    endpoint: &str,
    response: &Message,
    secure: bool,
) -> (Vec<Happening>, bool) {
    let settings = &context.shared.settings;
    let status = response.status();
    // 305 names a proxy, 380 another service.
    let moved = matches!(status, 300..=302);
    let wished = by.rules.redirects(&settings.fork) == Redirects::Follow;
    if !moved || !wished || fork.redirects >= REDIRECTS_MAX {
        return (Vec::new(), false);
    }
    fork.redirects += 1;
    if !fork.visited.contains(by.aor) {
        fork.visited.push(by.aor.clone());
    }
    let mut named: Vec<(u16, Address<'_>)> = response
        .values(Name::Contact)
        .take(CONTACTS_MAX)
        .filter_map(|contact| Address::parse(contact).ok())
        .map(|contact| (quality(&contact), contact))
        .collect();
    named.sort_by_key(|(q, _)| Reverse(*q));
    let (mut turns, mut told, mut followed) = (Vec::new(), Vec::new(), false);
    for (_, contact) in named {
        let uri = contact.uri_parsed().ok().and_then(|uri| bare(&uri));
        let Some(uri) = uri else { continue };
        // RFC 5630 5.3: who was asked for by sips is not looked for by sip.
        if secure && !is_sips(&uri) {
            continue;
        }
        let dials = By::over(&by.flow, by.asker, context.world);
        let uri = dialled(&uri, &dials, settings, context.world);
        let Ok(destination) = routing::route(&uri, &[], context.now, settings, context.world)
        else {
            continue;
        };
        let again = fork.visited.contains(&destination.aor);
        followed |= again;
        let upstream = destination.upstream.as_deref();
        if again || !may_have_called(by.asker, by.beyond, upstream) {
            continue;
        }
        followed = true;
        fork.visited.push(destination.aor.clone());
        told.push(Happening::Redirected {
            side: by.side,
            endpoint: endpoint.into(),
            to: destination.aor.to_string().into(),
        });
        let person = Person::at(
            settings,
            &destination,
            &uri,
            match Uri::parse(&uri).is_ok_and(|uri| location::hides(&uri)) {
                true => format!("<{uri}>").into(),
                false => format!("<{}>", destination.aor).into(),
            },
        );
        let trail = Trail::after(by.trail, by.shown(), status, &uri, &mut fork.steps);
        for targets in routing::groups(destination.targets, destination.order) {
            turns.push(Turn {
                targets,
                meant: Some(Box::new(Meant {
                    person: person.clone(),
                    trail: Some(trail.clone()),
                })),
                trail: None,
                rules: destination.fork,
            });
        }
    }
    for turn in turns.into_iter().rev() {
        fork.waiting.push_front(turn);
    }
    (told, followed)
}

/// Returns what the route has otherwise by which an upstream is asked for somebody.
fn rules_toward(context: &Context<'_>, asked: Option<&str>) -> RouteFork {
    let settings = &context.shared.settings;
    let route = |asked| routing::route(asked, &[], context.now, settings, context.world).ok();
    let destination = asked.and_then(route);
    destination.map_or_else(RouteFork::default, |there| there.fork)
}

/// Returns the preference of a Contact, in thousandths (RFC 3261 20.10).
fn quality(contact: &Address<'_>) -> u16 {
    let q = contact.params.value("q");
    let q: Option<f32> = q.and_then(|q| q.parse().ok());
    q.map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_that_is_none_is_the_highest() {
        for (contact, q) in [
            ("<sip:a@b>", 1000),
            ("<sip:a@b>;q=0.5", 500),
            ("<sip:a@b>;q=7", 1000),
            ("<sip:a@b>;q=-1", 0),
            ("<sip:a@b>;q=x", 1000),
        ] {
            assert_eq!(quality(&Address::parse(contact).unwrap()), q, "{contact}");
        }
    }
}
