//! Answering machines: one that takes a re-fork's call is left while a person may come back, and is the last resort.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aside::Restoration;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::{Branch, BranchState, Turn};
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::events::{Happening, Refuser};
use crate::engine::ids::{LegId, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};
use crate::sip::{Address, Message, Name};

/// They are asked again so long before the time is over, or in its last quarter where that is shorter.
const LAST_RESORT: Millis = Millis::from_secs(15);

/// Those that were left.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Machines {
    left: Vec<Arc<Identity>>,
    /// When they are asked again.
    again: Option<Time>,
    /// From now on they are as good as any.
    welcome: bool,
    /// Those of them that are of somebody who was named by a phone that forwards.
    #[serde(default)]
    named: Vec<Turn>,
}

impl Machines {
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.again
    }

    /// Returns true for one that is to be asked later, and not before.
    pub(super) fn holds_back(&self, identity: &Identity) -> bool {
        !self.welcome && self.has(identity)
    }

    fn has(&self, identity: &Identity) -> bool {
        self.left.iter().any(|left| location::same(left, identity))
    }
}

impl Restoration {
    /// Returns true where a machine is not to take the call that this endpoint is asked for. One that was lost itself
    /// is sought, as is whatever answers at the very endpoint that was lost.
    pub(super) fn minds_machines(&self, context: &Context<'_>, endpoint: &Endpoint) -> bool {
        let wished = context.shared.settings.restore.avoid_voicemail;
        // Behind an upstream all of a participant's endpoints are one, its voicemail among them.
        let same = endpoint.through.is_none()
            && location::same(&endpoint.identity, &self.old.endpoint.identity);
        wished
            && self.transfer.is_none()
            && !self.machines.welcome
            && !self.old.abilities.machine
            && !same
    }
}

impl Conversation {
    /// Returns true where an answering machine has taken the call, and a person may yet do so (RFC 3841: not every
    /// server heeds the Reject-Contact).
    pub(super) fn prefers_people(
        &self,
        context: &Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
    ) -> bool {
        let Some(lost) = &self.party(side).lost else {
            return false;
        };
        let mut branches = lost.fork.branches.iter();
        let Some(branch) = branches.find(|branch| branch.leg.id == leg) else {
            return false;
        };
        // Else it has been joined already, or waits for that.
        branch.state == BranchState::Calling
            && is_machine(response)
            && lost.minds_machines(context, branch.endpoint())
            && self.awaits_people(context, side, Some(branch))
    }

    /// Returns true where an endpoint that has not refused is called, or is known and can be called again; a machine
    /// that was left is none, nor is one that has just answered.
    fn awaits_people(&self, context: &Context<'_>, side: Side, answers: Option<&Branch>) -> bool {
        let Some(lost) = &self.party(side).lost else {
            return false;
        };
        let may = |identity: &Identity| !lost.has_refused(identity) && !lost.machines.has(identity);
        let is_it = |identity: &Identity| {
            answers.is_some_and(|branch| location::same(&branch.leg.endpoint.identity, identity))
        };
        let mut called = lost.fork.branches.iter();
        let called = called.any(|branch| {
            answers.is_none_or(|own| own.leg.id != branch.leg.id)
                && may(&branch.leg.endpoint.identity)
        });
        called
            || self
                .targets_again(context, side)
                .iter()
                .any(|target| may(&target.endpoint.identity) && !is_it(&target.endpoint.identity))
    }

    /// An answering machine is asked again at last only.
    pub(super) fn machine_left(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        leg: LegId,
        status: u16,
    ) {
        let timeout = context.shared.settings.restore.timeout.of(self.kind);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(branch) = lost.fork.take(leg) else {
            return;
        };
        context.forget_tag(&branch.leg.dialog.local_tag);
        let identity = branch.leg.endpoint.identity.clone();
        lost.machines.left.push(identity);
        if let Some(meant) = branch.meant.clone() {
            lost.machines.named.push(Turn {
                meant: Some(meant),
                ..Turn::to(branch.leg.endpoint.clone())
            });
        }
        let before = Millis(LAST_RESORT.0.min(timeout.0 / 4));
        lost.machines.again = Some(Time(lost.deadline.0.saturating_sub(before.0)));
        let refused = Happening::Refused {
            side,
            endpoint: branch.leg.endpoint.name.clone(),
            status,
            by: Refuser::Refork,
            attempt: branch.attempt(),
        };
        self.note(context, refused);
        self.go_on(context, side);
    }

    /// Returns true where machines were left, and nobody else is there any more who has not refused.
    pub(super) fn machines_are_all(&self, context: &Context<'_>, side: Side) -> bool {
        let lost = self.party(side).lost.as_ref();
        lost.is_some_and(|lost| lost.machines.again.is_some())
            && !self.awaits_people(context, side, None)
    }

    /// The time is nearly over.
    pub(super) fn machines_due(&mut self, context: &mut Context<'_>, side: Side) {
        let lost = self.party(side).lost.as_ref();
        let again = lost.and_then(|lost| lost.machines.again);
        if again.is_some_and(|at| at <= context.now) {
            self.ask_the_machines(context, side);
        }
    }

    /// The last resort: the machines that were left may take the call.
    pub(super) fn ask_the_machines(&mut self, context: &mut Context<'_>, side: Side) {
        let targets = self.targets_again(context, side);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        lost.machines.again = None;
        lost.machines.welcome = true;
        let endpoints = targets.into_iter().map(|target| target.endpoint);
        let left: Vec<Endpoint> = endpoints
            .filter(|endpoint| lost.machines.has(&endpoint.identity))
            .collect();
        let named = std::mem::take(&mut lost.machines.named);
        self.ask(context, side, left);
        for Turn { targets, meant, .. } in named {
            let endpoints = targets.into_iter().map(|target| target.endpoint);
            self.ask_meant(context, side, endpoints.collect(), meant);
        }
    }
}

/// Returns true where an answering machine has sent this, by its Contact (RFC 3840 10.2, 10.6).
pub(crate) fn is_machine(message: &Message) -> bool {
    let contact = message.values(Name::Contact).next();
    let Some(contact) = contact.and_then(|contact| Address::parse(contact).ok()) else {
        return false;
    };
    let params = contact.params;
    let automata = params.get("automata");
    let yes = |value: Option<&str>| value.is_none_or(|value| !value.eq_ignore_ascii_case("false"));
    let actors = params.value("actor").unwrap_or("");
    automata.is_some_and(yes)
        || actors
            .split(',')
            .any(|actor| actor.trim().eq_ignore_ascii_case("msg-taker"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_known_by_their_contact() {
        for (params, expected) in [
            ("", false),
            (";automata", true),
            (";AUTOMATA=\"TRUE\"", true),
            (";automata=\"FALSE\"", false),
            (";actor=\"msg-taker\"", true),
            (";actor=\"attendant,MSG-TAKER\"", true),
            (";actor=\"principal\"", false),
            (";x=\";automata\"", false),
        ] {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:c@192.0.2.9>{params}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let response = Message::parse(text.into_bytes().into()).unwrap();
            assert_eq!(is_machine(&response), expected, "{params}");
        }
    }
}
