//! What of a call those see who watch one of its users (`engine::board`).
//!
//! | the call | its caller | whom it is for |
//! | --- | --- | --- |
//! | nothing rings | trying | |
//! | phones ring | early | early: one of them stands for all, and whoever may take the call takes it from all |
//! | answered | confirmed | confirmed |
//! | a side is lost, and sought | confirmed | confirmed |
//! | a side is transferred | as it is | who transfers confirmed, whom it goes to early where that rings |
//!
//! Sessions of text show nothing: who writes can be called.

use super::{Conversation, Party};
use crate::engine::board::{Early, Light, LightState};
use crate::engine::conversation::forking::Fork;
use crate::engine::dialog::{Dialog, Life};
use crate::engine::ids::{Aor, Side};
use crate::engine::settings::Kind;

/// What is shown of a call for one of its users.
#[derive(Clone, Debug)]
pub(crate) struct Lit {
    pub(crate) user: Aor,
    pub(crate) side: Side,
    pub(crate) light: Light,
}

/// The same, before it is known whether it is new.
struct Seen<'a> {
    user: &'a Aor,
    side: Side,
    state: LightState,
    rings: Option<&'a Dialog>,
}

impl Seen<'_> {
    fn is(&self, lit: &Lit) -> bool {
        let same = match (self.rings, &lit.light.rings) {
            (Some(dialog), Some(early)) => {
                dialog.call_id == early.call_id
                    && dialog.remote_tag.as_deref() == Some(&*early.local_tag)
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same && self.stands_for(lit) && self.state == lit.light.state
    }

    fn stands_for(&self, lit: &Lit) -> bool {
        self.side == lit.side && *self.user == lit.user
    }

    fn lit(&self) -> Lit {
        let rings = self.rings.map(|dialog| Early {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.remote_tag.clone().unwrap_or_default(),
            remote_tag: dialog.local_tag.clone(),
            remote: dialog.local.clone(),
        });
        Lit {
            user: self.user.clone(),
            side: self.side,
            light: Light {
                state: self.state,
                rings: rings.map(Box::new),
            },
        }
    }
}

impl Conversation {
    /// Takes note of what is to be seen of it now, and returns what of that is new; without a light: what is over.
    pub(crate) fn shines(&mut self) -> Vec<(Aor, Side, Option<Light>)> {
        let seen = self.seen();
        let known = |seen: &Seen<'_>| self.lit.iter().any(|lit| seen.is(lit));
        if seen.len() == self.lit.len() && seen.iter().all(known) {
            return Vec::new();
        }
        let gone = self.lit.iter();
        let gone = gone.filter(|lit| !seen.iter().any(|seen| seen.stands_for(lit)));
        let mut news: Vec<_> = gone.map(|lit| (lit.user.clone(), lit.side, None)).collect();
        let new = seen.iter().filter(|seen| !known(seen));
        news.extend(new.map(|seen| {
            let Lit { user, side, light } = seen.lit();
            (user, side, Some(light))
        }));
        self.lit = seen.iter().map(Seen::lit).collect();
        news
    }

    fn seen(&self) -> Vec<Seen<'_>> {
        let mut seen = Vec::new();
        if self.ended.is_some() || self.kind != Kind::Call {
            return seen;
        }
        for side in [Side::Caller, Side::Callee] {
            let party = self.party(side);
            if self.answered.is_some() {
                see_standing(party, side, &mut seen);
                continue;
            }
            let Some(invitation) = &self.invitation else {
                continue;
            };
            match side {
                // Whoever only says so lights nobody's lamp.
                Side::Caller if party.asker.is_unknown() => {}
                Side::Caller => seen.push(Seen {
                    user: &party.aor,
                    side,
                    state: if invitation.early.is_empty() {
                        LightState::Trying
                    } else {
                        LightState::Early
                    },
                    rings: None,
                }),
                Side::Callee => see_ringing(&invitation.fork, (&party.aor, side), &mut seen),
            }
        }
        seen
    }
}

fn see_standing<'a>(party: &'a Party, side: Side, seen: &mut Vec<Seen<'a>>) {
    let transferred = party.lost.as_ref().and_then(|lost| {
        let transfer = lost.transfer.as_ref()?;
        Some((&lost.fork, transfer.transferor()))
    });
    let user = match transferred {
        Some((_, transferor)) => Some(transferor),
        None => (!party.asker.is_unknown()).then_some(&party.aor),
    };
    seen.extend(user.map(|user| Seen {
        user,
        side,
        state: LightState::Confirmed,
        rings: None,
    }));
    if let Some((fork, _)) = transferred {
        see_ringing(fork, (&party.aor, side), seen);
    }
}

/// Of several phones of one user the first is seen. One that has taken the call may wait yet for the other side.
fn see_ringing<'a>(fork: &'a Fork, (user, side): (&'a Aor, Side), seen: &mut Vec<Seen<'a>>) {
    for branch in &fork.branches {
        let (state, rings) = match branch.leg.life {
            Life::Ringing => (LightState::Early, Some(&branch.leg.dialog)),
            Life::Answered | Life::Confirmed => (LightState::Confirmed, None),
            Life::Calling | Life::Invited | Life::Ended => continue,
        };
        let meant = branch.meant.as_ref();
        let user = meant.map_or(user, |meant| &meant.person.aor);
        if !seen
            .iter()
            .any(|seen| seen.side == side && seen.user == user)
        {
            seen.push(Seen {
                user,
                side,
                state,
                rings,
            });
        }
    }
}
