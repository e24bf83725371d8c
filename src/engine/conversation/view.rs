//! What the API sees of a conversation.

use super::Conversation;
use super::leg::Leg;
use crate::engine::events::{Ending, Happening};
use crate::engine::ids::Side;
use crate::engine::view::{Detail, LegView, Summary};

impl Conversation {
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            id: self.id.to_string(),
            key: self.id,
            kind: self.kind,
            stage: self.stage(),
            from: self.party(Side::Caller).aor.to_string(),
            to: self.party(Side::Callee).aor.to_string(),
            call_id: self.call_id.to_string(),
            started: self.started,
            answered: self.answered,
            ended: self.ended,
            restorations: self.restorations,
            queued: self.parties.iter().map(|party| party.queue.waiting()).sum(),
        }
    }

    pub(crate) fn detail(&self) -> Detail {
        Detail {
            summary: self.summary(),
            legs: self.legs().map(|(state, leg)| view(state, leg)).collect(),
            history: self.history.clone(),
        }
    }

    /// Counts dialogs, those of branches among them.
    pub(crate) fn leg_count(&self) -> usize {
        self.legs().count()
    }

    /// Returns true where nobody had taken the call and not everybody had refused it: what was sent to those who
    /// said nothing may be sent again.
    pub(crate) fn was_taken_back(&self) -> bool {
        matches!(
            self.how_it_ended(),
            Some(Ending::Cancelled | Ending::Failed(408 | 480 | 487))
        )
    }

    /// Returns true where its caller was only asked for proof: the call is the one that comes with that.
    pub(crate) fn was_challenged(&self) -> bool {
        matches!(self.how_it_ended(), Some(Ending::Challenged(_)))
    }

    fn how_it_ended(&self) -> Option<&Ending> {
        match self.history.last().map(|entry| &entry.what) {
            Some(Happening::Ended { how, .. }) => Some(how),
            Some(_) | None => None,
        }
    }

    fn legs(&self) -> impl Iterator<Item = (&'static str, &Leg)> {
        let lost = self
            .parties
            .iter()
            .filter_map(|party| party.lost.as_ref())
            .map(|lost| {
                let transfers = lost.transfer.is_some();
                (if transfers { "transferring" } else { "lost" }, &lost.old)
            });
        let leaving = self.leaving.iter().map(|leaving| ("leaving", &leaving.leg));
        let live = self.parties.iter().filter_map(|party| {
            let leg = party.leg.as_ref()?;
            Some((
                if leg.life.is_up() {
                    "confirmed"
                } else {
                    "early"
                },
                leg,
            ))
        });
        let branches = self
            .branches()
            .map(|branch| (if branch.rang { "ringing" } else { "calling" }, &branch.leg));
        live.chain(lost).chain(leaving).chain(branches)
    }
}

fn view(state: &'static str, leg: &Leg) -> LegView {
    LegView {
        side: leg.side,
        state,
        endpoint: leg.endpoint.name.to_string(),
        contact: leg.dialog.target.to_string(),
        flow: leg.dialog.reached_over().to_string(),
        call_id: leg.dialog.call_id.to_string(),
        session_id: leg.dialog.session.to_string(),
    }
}
