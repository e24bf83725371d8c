//! A side without a leg: what there is of it until a new one takes the place, or the old one comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::away::Away;
use super::busy::Busy;
use super::halves::Half;
use super::join::Joining;
use super::machines::Machines;
use super::relapses::PutOff;
use super::turns::Turns;
use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, ELSEWHERE};
use crate::engine::conversation::forking::Fork;
use crate::engine::conversation::leg::{Leg, Talk};
pub(crate) use crate::engine::conversation::session::media::{PortState, Ports};
use crate::engine::conversation::transferring::Transfer;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::ids::{ConversationId, LegId, Side};
use crate::engine::location;
use crate::engine::ports::MediaCommand;
use crate::engine::time::{Millis, Time};

/// One side between its loss and its new leg.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restoration {
    /// The leg that was lost: its dialog may be replaced, and gets a BYE in the end.
    pub(crate) old: Leg,
    pub(crate) old_ports: Ports,
    pub(super) since: Time,
    pub(super) deadline: Time,
    pub(crate) fork: Fork,
    /// It has not begun, and may then: the node keeps to `restore.rate`, and who hangs up may say so once more.
    pub(crate) start: Option<Time>,
    /// When not only those are asked whose turn is first.
    pub(super) all_at: Option<Time>,
    /// Until when the phones that are registered here are asked, and no upstream for others.
    #[serde(default)]
    pub(super) own_until: Time,
    /// When it is, where it waits for that.
    #[serde(default)]
    pub(super) beyond_at: Option<Time>,
    /// The q-value of those whose turn it is, where that orders them.
    #[serde(skip)]
    pub(super) turn: Option<u16>,
    pub(crate) retry_at: Option<Time>,
    /// Rounds of INVITEs so far.
    pub(super) round: u32,
    pub(super) attempts: u32,
    /// Rang out or said no: not rung again.
    pub(crate) refused: Vec<Arc<Identity>>,
    /// Those of them that rang out, and have not said that the INVITE of this leg is over: they may have been gone.
    #[serde(default)]
    pub(crate) silent: Vec<(LegId, Arc<Identity>)>,
    /// The lost dialog has ended by a BYE, of its phone or ours: it can be neither replaced, revived nor
    /// ended.
    pub(crate) gone: bool,
    /// That BYE may have been a farewell, or what our Replaces asked for: the answer to it tells.
    pub(super) farewell: bool,
    /// Knows nothing of the lost dialog: invited without Replaces.
    pub(super) plain: Vec<Arc<Identity>>,
    pub(super) busy: Busy,
    #[serde(default)]
    pub(super) away: Away,
    #[serde(default)]
    pub(super) machines: Machines,
    /// The re-INVITE to the survivor, while an answer waits for its consent.
    #[serde(skip)]
    pub(crate) joining: Option<Joining>,
    /// Times that the survivor answered it by a time to wait for (RFC 3261 14.2).
    #[serde(skip)]
    pub(super) put_off: u32,
    /// Until when the one that waits for the survivor's consent waits for it to be reached.
    #[serde(skip)]
    pub(super) unreached: Option<Time>,
    /// Nobody could be asked of late since there were no media ports.
    #[serde(skip)]
    pub(super) no_ports: bool,
    /// The old leg was not lost: its phone transfers the other side to somebody else.
    pub(crate) transfer: Option<Box<Transfer>>,
    /// Refused SRTP, or the lack of it: whether it is asked with it now.
    #[serde(default)]
    pub(crate) turned: Vec<(Arc<Identity>, bool)>,
    /// The old leg was not lost: its phone replaces it, and the other side is asked for its consent.
    #[serde(default)]
    pub(crate) stands: bool,
    /// What the survivor was told before it was asked for its consent to who repairs itself, or has answered.
    #[serde(default)]
    pub(crate) before: Option<Box<Talk>>,
    #[serde(default)]
    pub(super) turns: Turns,
    /// Failed since the last round, and are asked in the next one.
    #[serde(skip)]
    pub(crate) failed: Vec<Endpoint>,
    /// When whom somebody names that forwards is called, also where others have said nothing.
    #[serde(default)]
    pub(super) named_at: Option<Time>,
    /// Took the call, and the survivor did not answer the re-INVITE for it.
    #[serde(default)]
    pub(super) unjoined: Vec<Arc<Identity>>,
    /// Took a re-fork and were lost at once.
    #[serde(default)]
    pub(super) relapsed: Vec<PutOff>,
    #[serde(default)]
    pub(super) half: Option<Half>,
}

impl Restoration {
    pub(crate) fn new(old: Leg, now: Time, deadline: Time) -> Self {
        Self {
            old,
            old_ports: Ports::default(),
            since: now,
            deadline,
            fork: Fork::default(),
            start: Some(now),
            all_at: None,
            own_until: Time(0),
            beyond_at: None,
            turn: None,
            retry_at: None,
            round: 0,
            attempts: 0,
            refused: Vec::new(),
            silent: Vec::new(),
            gone: false,
            farewell: false,
            plain: Vec::new(),
            busy: Busy::default(),
            away: Away::default(),
            machines: Machines::default(),
            joining: None,
            put_off: 0,
            unreached: None,
            no_ports: false,
            transfer: None,
            turned: Vec::new(),
            stands: false,
            before: None,
            turns: Turns::default(),
            failed: Vec::new(),
            named_at: None,
            unjoined: Vec::new(),
            relapsed: Vec::new(),
            half: None,
        }
    }

    /// Returns the conversation that has the leg which is to take the place.
    pub(crate) fn giver(&self) -> Option<ConversationId> {
        self.transfer.as_ref()?.giver
    }

    /// Returns true where the old leg's phone hands the call on, and has it back where nobody takes it.
    pub(crate) fn is_handed_on(&self) -> bool {
        self.transfer.is_some() && !self.gone
    }

    /// Returns true where an endpoint rang out or has said no: it is not rung again.
    pub(crate) fn has_refused(&self, identity: &Identity) -> bool {
        let mut refused = self.refused.iter();
        refused.any(|known| location::same(known, identity))
    }

    /// Returns how long who is to be given may ring before it answers.
    pub(super) fn rings(&self) -> Millis {
        let transfer = self.transfer.as_ref();
        transfer
            .and_then(|transfer| transfer.rings)
            .unwrap_or_default()
    }

    /// Returns true where who was given up at a time, since it did not answer, may take the call yet.
    pub(crate) fn may_yet_take(&self, given_up: Time) -> bool {
        self.transfer.is_none() && !self.stands && self.since <= given_up
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [
            Some(self.over_at()),
            self.start.filter(|_| !self.turns.waits()),
            self.all_at,
            self.beyond_at,
            self.retry_at,
            self.named_at,
            self.busy.next_deadline(),
            self.away.next_look(),
            self.machines.next_deadline(),
            self.put_off_until(),
            self.joining.as_ref().and_then(Joining::next_deadline),
            self.fork.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Conversation {
    /// A side's leg has no part in the conversation, for now at least: what it owed the other side is settled
    /// here, and ports are ready for the next one.
    pub(crate) fn put_aside(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        mut lost: Restoration,
    ) {
        lost.old.leave(context);
        if let Some(before) = self.drop_giving(context, side) {
            lost.old.talk.back_to(before);
        }
        lost.old.ack.take_if(|ack| ack.waits);
        if let Some(waiting) = &mut lost.old.unacknowledged {
            waiting.answer_due = false;
        }
        self.party_mut(side).check = None;
        let ports = &mut self.ports[side.index()];
        let new_ports = Ports {
            generation: ports.newest + 1,
            newest: ports.newest + 1,
            ..Ports::default()
        };
        lost.old_ports = std::mem::replace(ports, new_ports);
        let transferred = lost.transfer.is_some();
        // Who stands goes on talking meanwhile.
        if lost.old_ports.state == PortState::Open && !lost.stands {
            self.media(
                context,
                MediaCommand::Lost {
                    media: self.id,
                    side,
                    transferred,
                },
            );
        }
        self.party_mut(side).lost = Some(Box::new(lost));
        self.join_without(context, side);
        self.acknowledge_with_the_standing(context, side.other());
        self.settle_renegotiation(context, side);
        self.settle_carried(context, side);
        self.letters_of_the_lost(context, side);
    }

    /// Takes the lost leg back: the phone came back by itself.
    pub(crate) fn revive(&mut self, context: &mut Context<'_>, side: Side) -> Option<Leg> {
        let mut lost = self.party_mut(side).lost.take()?;
        lost.turns.leave(context);
        self.cancel_branches(context, &mut lost.fork, Some(ELSEWHERE));
        let ports = &mut self.ports[side.index()];
        let opened = ports.generations();
        *ports = Ports {
            newest: ports.newest,
            ..lost.old_ports
        };
        self.close_ports(context, side, opened);
        self.unask(context, side.other(), lost.joining.take());
        Some(lost.old)
    }

    /// The re-INVITE to the survivor is taken back: all is as it was.
    pub(super) fn unask(
        &mut self,
        context: &mut Context<'_>,
        survivor: Side,
        joining: Option<Joining>,
    ) {
        let Some(joining) = joining else { return };
        if let Some(lost) = &mut self.party_mut(survivor.other()).lost {
            lost.before = None;
        }
        let Some(leg) = self.leg_mut(survivor) else {
            return;
        };
        if let Some((_, before)) = joining.asked {
            leg.take_back(context);
            leg.talk.back_to(before);
        } else {
            self.restate_to_unsure(context, survivor);
        }
        self.persist(context);
    }
}
