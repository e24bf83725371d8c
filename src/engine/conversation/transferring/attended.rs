//! An attended transfer (RFC 5589 7): the transferor has called the target itself, and names that call.
//!
//! ```text
//!   transferee         this call     transferor     the other call         target
//!       │◄═══════════════►│◄═════════════►│◄═══════════════►│◄═════════════►│
//!       │                 │◄─ REFER ──────│                 │               │
//!       │                 │   (Replaces: the other call)    │               │
//!       │                 ├── who is there? ───────────────►│               │
//!       │                 │◄────────────── target, promised ┤               │
//!       │                 ├── this is the session ─────────►│── re-INVITE ─►│
//!       │                 │◄──────────────────────── target ┤◄─── 200 ──────│
//!       │◄════════════════╪════════════════════════════════════════════════►│
//!       │                 ├─ NOTIFY 200 ─►│                 │               │
//!       │                 │               │◄───── BYE ──────│               │
//! ```
//!
//! The two calls are two conversations, often of two shards, with tags, ports and snapshots of their own.
//! The one that the transferor has named gives its far end away (`giving`), and the transferee's takes it
//! (`taking`): the target's phone keeps its dialog too, and does not ring. So all that follows is as after
//! any transfer.
//!
//! A call that rings only is no other case: its far end is given once it has answered (`semi_attended`).
//!
//! Where that end is not free to go, its phone is invited in place of the dialog that it has (RFC 3891), as
//! it would be by the transferee's phone, and one that has not got Replaces is simply called (RFC 5589 7.6).

use super::Aim;
use super::refer::Refer;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::forking::Turn;
use crate::engine::conversation::people::asserted::asserted_of_called;
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::people::veil::Veil;
use crate::engine::endpoint::Endpoint;
use crate::engine::handover::Word;
use crate::engine::ids::{LegId, Side, VirtualShard};
use crate::engine::inquiry::{Counterpart, Inquiry};
use crate::engine::ports::{Output, Token};
use crate::engine::refusal::{Refusal, SIPS_NOT_ALLOWED};
use crate::engine::routing::{Q_DEFAULT, Target};
use crate::engine::settings::RouteFork;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::Message;

/// Another shard answers at once, or is so busy that it never will.
const PATIENCE: Millis = Millis::from_secs(2);

/// A REFER that waits for the answer of another shard.
#[derive(Debug)]
pub(crate) struct Inquiring {
    token: Token,
    side: Side,
    server: ServerId,
    request: Message,
    refer: Refer,
    pub(crate) until: Time,
}

/// A dialog of ours that a REFER names, by our tag and theirs.
pub(super) struct Named {
    pub(super) shard: VirtualShard,
    pub(super) call_id: Box<str>,
    pub(super) local_tag: Box<str>,
    pub(super) remote_tag: Box<str>,
}

impl Conversation {
    /// Asks who is at the other end of the call that the REFER names by its Call-ID and tags.
    pub(super) fn inquire(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        server: ServerId,
        request: &Message,
        refer: Refer,
        named: Named,
    ) {
        let token = context.ask(self.id);
        self.inquiring = Some(Box::new(Inquiring {
            token,
            side,
            server,
            request: request.clone(),
            refer,
            until: context.now + PATIENCE,
        }));
        let whose = self.party(side).aor.clone();
        context.shared.out.push_back(Output::Inquiry(Inquiry {
            token,
            by: self.id,
            shard: named.shard,
            call_id: named.call_id,
            local_tag: named.local_tag,
            remote_tag: named.remote_tag,
            whose,
            kind: self.kind,
            secure: self.secure,
        }));
    }

    /// Returns the other end of a call of ours, for who has that call.
    pub(crate) fn counterpart(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        inquiry: &Inquiry,
    ) -> Result<Counterpart, u16> {
        // Where two calls ask for one another's end, one of them gives.
        let yields = self.inquiring.is_some() && self.id < inquiry.by;
        let transfers = [Side::Caller, Side::Callee].map(|side| self.is_transferring(side));
        if yields || transfers.contains(&true) || self.giving.is_some() {
            return Err(491);
        }
        if self.invitation.is_some() {
            return self.promise_ringing(context, leg, inquiry);
        }
        let counterpart = self.other_end(leg, inquiry)?;
        self.goes_on_in(inquiry)?;
        let gives = self.kind == inquiry.kind
            && self
                .side_of(leg)
                .is_some_and(|side| self.promise(context, side.other(), inquiry.by));
        // Whoever is told of the promise may count on it after a restart.
        self.persist(context);
        Ok(Counterpart {
            gives: gives.then_some(self.id),
            ..counterpart
        })
    }

    /// Nobody's call by `sips:` goes on in the clear, whoever transfers it (RFC 3261 26.2.2).
    ///
    /// # Errors
    /// 480, as to any request that would lead there.
    pub(super) fn goes_on_in(&self, inquiry: &Inquiry) -> Result<(), u16> {
        if self.secure && !inquiry.secure {
            return Err(SIPS_NOT_ALLOWED.status);
        }
        Ok(())
    }

    /// # Errors
    /// 500 while one of the two ends is sought, 603 where there is none that could be given.
    fn other_end(&self, leg: LegId, inquiry: &Inquiry) -> Result<Counterpart, u16> {
        const NONE: u16 = 603;
        let side = self.side_of(leg).or_else(|| self.lost_side_of(leg));
        let side = side.filter(|_| self.answered.is_some()).ok_or(NONE)?;
        let (own, other) = (self.party(side), self.party(side.other()));
        let lost = own.lost.as_ref().map(|lost| &lost.old);
        let dialog = &own.leg.as_ref().or(lost).ok_or(NONE)?.dialog;
        let names = dialog.call_id == inquiry.call_id
            && dialog.local_tag == inquiry.local_tag
            && dialog.remote_tag.as_ref() == Some(&inquiry.remote_tag);
        // Nobody asks for the other end of its own call: there is nobody to join it with.
        if !names || !own.may_be_replaced_by(&inquiry.whose) || self.id == inquiry.by {
            return Err(NONE);
        }
        if own.lost.is_some() || other.lost.is_some() {
            return Err(500);
        }
        let leg = other.leg.as_ref().filter(|leg| leg.life.is_up());
        let leg = leg.ok_or(NONE)?;
        let dialog = &leg.dialog;
        let tag = dialog.remote_tag.as_deref().ok_or(NONE)?;
        // RFC 3891 6.1: the tags as the target sees them.
        let replaces = format!(
            "{};to-tag={tag};from-tag={}",
            dialog.call_id, dialog.local_tag
        );
        Ok(Counterpart {
            aor: other.aor.clone(),
            address: other.address.clone(),
            languages: other.languages.clone(),
            asked: other.asked.clone(),
            asker: other.asker.clone(),
            privacy: other.veil.value().map(Into::into),
            endpoint: Endpoint {
                flow: Some(dialog.flow),
                ..leg.endpoint.clone()
            },
            replaces: leg.abilities.replaces.then(|| replaces.into()),
            gives: None,
            rings: None,
        })
    }

    /// The answer has come.
    pub(crate) fn on_found(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        counterpart: Result<Box<Counterpart>, u16>,
    ) {
        let Some(inquiring) = self.inquiring.take_if(|waiting| waiting.token == token) else {
            return;
        };
        let Inquiring {
            side,
            server,
            request,
            mut refer,
            ..
        } = *inquiring;
        let restoring = self.parties.iter().any(|party| party.lost.is_some());
        let busy = restoring || self.party(side).leg.is_none() || self.giving.is_some();
        let counterpart = match counterpart {
            Ok(counterpart) => counterpart,
            // The transferor has taken that call back already, or nobody can be given: there is nothing to replace.
            Err(487) if !busy => {
                refer.replaces = None;
                return match self.aim(context, side, &refer) {
                    Ok(aim) => self.begin_transfer(context, side, server, &request, &refer, aim),
                    Err(refusal) => context.turn_down(server, refusal),
                };
            }
            Err(status) => {
                if status == SIPS_NOT_ALLOWED.status {
                    let why = "transfer of a call by sips: into one in the clear";
                    let refusal = Refusal {
                        why,
                        ..SIPS_NOT_ALLOWED
                    };
                    return context.turn_down(server, refusal);
                }
                let why = match status {
                    491 => "transfer to a call that is being transferred itself",
                    487 => "transfer of a side that is being restored",
                    500 => "transfer to a call that is being restored",
                    _ => "transfer to a call that the transferor has not got",
                };
                let status = if status == 487 { 500 } else { status };
                return context.refuse(server, status, why);
            }
        };
        if busy {
            if let Some(giver) = counterpart.gives {
                context.tell(self.id, giver, Word::Decline);
            }
            return context.refuse(server, 500, "transfer of a side that is being restored");
        }
        let Counterpart {
            aor,
            address,
            languages,
            asked,
            asker,
            privacy,
            endpoint,
            replaces,
            gives,
            rings,
        } = *counterpart;
        let q = Q_DEFAULT;
        let aim = Aim {
            person: Person {
                veil: Veil::again(privacy),
                aor,
                address,
                languages,
                asked,
                asserted: asserted_of_called(&asker),
                asker,
            },
            groups: Turn::of(
                vec![vec![Target { endpoint, q }]],
                None,
                RouteFork::default(),
            ),
            replaces: replaces.filter(|_| gives.is_none()),
            giver: gives,
            rings,
        };
        self.begin_transfer(context, side, server, &request, &refer, aim);
    }

    pub(crate) fn inquiry_due(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        if let Some(inquiring) = self.inquiring.take_if(|waiting| waiting.until <= now) {
            context.shared.asked.remove(&inquiring.token);
            context.refuse(
                inquiring.server,
                500,
                "the shard of the named call does not answer",
            );
        }
    }

    /// A REFER of this side waits for another shard.
    pub(crate) fn inquires_for(&self, side: Side) -> bool {
        let inquiring = self.inquiring.as_ref();
        inquiring.is_some_and(|inquiring| inquiring.side == side)
    }

    pub(crate) fn drop_inquiry(&mut self, context: &mut Context<'_>) {
        if let Some(inquiring) = self.inquiring.take() {
            context.shared.asked.remove(&inquiring.token);
            context.answer(inquiring.server, 481, None);
        }
    }
}
