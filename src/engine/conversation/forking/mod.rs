//! INVITEs that are out for one side: the first fork of a conversation, or the re-fork that restores it.
//!
//! `calling` one endpoint, `toward` the ports of a fork, `turn` who refuses SRTP or wants it, `redirect` phones
//! that forward, `severed` and `deaf` phones that are lost while they ring, `trail` and `diverted` whom a call was for before,
//! `breadth` how many ring, `beside` proxies that fork.

pub(crate) mod beside;
pub(crate) mod breadth;
pub(crate) mod calling;
mod deaf;
pub(crate) mod diverted;
mod redirect;
mod severed;
pub(crate) mod toward;
pub(crate) mod trail;
pub(crate) mod turn;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use self::beside::Beside;
use self::deaf::Deaf;
use self::trail::{Step, Steps, Trail};
use crate::engine::conversation::leg::{Leg, Talk};
use crate::engine::conversation::people::person::Person;
use crate::engine::conversation::session::enclosed::{Enclosed, sdp_of};
use crate::engine::conversation::session::keys::is_too_bare;
use crate::engine::dialog::proofs::Rounds;
use crate::engine::dialog::reliable::Heard;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::ids::{Aor, ConversationId, LegId};
use crate::engine::locating::Located;
use crate::engine::ports::{Generation, Token};
use crate::engine::routing::{Q_DEFAULT, Target};
use crate::engine::settings::{ForkSettings, MediaSettings, RouteFork};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::{ClientId, ServerId};
use crate::sip::{Message, sdp};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fork {
    /// Whom the call was for until it was theirs who have their turn, unless it was forwarded to them.
    #[serde(skip)]
    pub(crate) trail: Option<Box<Trail>>,
    /// What the route to those has otherwise. After a restart it is as for all.
    #[serde(skip)]
    pub(crate) rules: RouteFork,
    #[serde(skip)]
    pub(crate) steps: Steps,
    /// Whom the call was forwarded to.
    #[serde(skip)]
    pub(crate) visited: Vec<Aor>,
    /// Redirections that were followed.
    #[serde(skip)]
    pub(crate) redirects: u32,
    /// As they stand, but for those whose way is being looked up.
    #[serde(serialize_with = "durable")]
    pub(crate) branches: Vec<Branch>,
    /// Groups that have not had their turn.
    #[serde(default)]
    pub(crate) waiting: VecDeque<Turn>,
    /// The best failure so far (RFC 3261 16.7).
    #[serde(default)]
    pub(crate) best: Option<Verdict>,
}

/// Endpoints that are invited together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) targets: Vec<Target>,
    #[serde(default)]
    pub(crate) meant: Option<Box<Meant>>,
    #[serde(skip)]
    pub(crate) trail: Option<Box<Trail>>,
    #[serde(skip)]
    pub(crate) rules: RouteFork,
}

/// Whom a call was forwarded to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meant {
    pub(crate) person: Person,
    /// Whom the call was for until it was theirs.
    #[serde(skip)]
    pub(crate) trail: Option<Box<Trail>>,
}

impl Turn {
    /// Makes the turn of one endpoint alone.
    pub(crate) fn to(endpoint: Endpoint) -> Self {
        let q = Q_DEFAULT;
        Self {
            targets: vec![Target { endpoint, q }],
            meant: None,
            trail: None,
            rules: RouteFork::default(),
        }
    }

    /// Makes turns of groups that are tried one after another.
    pub(crate) fn of(
        groups: Vec<Vec<Target>>,
        trail: Option<&Trail>,
        rules: RouteFork,
    ) -> VecDeque<Self> {
        let turn = |targets| Self {
            targets,
            meant: None,
            trail: trail.cloned().map(Box::new),
            rules,
        };
        groups.into_iter().map(turn).collect()
    }

    /// Returns how long they ring, one after another.
    pub(crate) fn ring_in_all(turns: &VecDeque<Self>, all: &ForkSettings) -> Millis {
        let each = turns.iter().map(|turn| turn.rules.ring_timeout(all).0);
        Millis(each.fold(0, u64::saturating_add))
    }
}

/// One INVITE to one endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Branch {
    pub(crate) leg: Leg,
    pub(crate) state: BranchState,
    /// As it was sent: after a restart the same goes out again, a retransmission to the phone.
    pub(crate) invite: Bytes,
    #[serde(skip)]
    pub(crate) client: Option<ClientId>,
    /// Whom it is for, where the call was forwarded.
    #[serde(default)]
    pub(crate) meant: Option<Box<Meant>>,
    /// Whom the call was for, down to this endpoint.
    #[serde(skip)]
    pub(crate) trail: Option<Box<Trail>>,
    /// Whom its INVITE was for, where another phone has turned out to be there.
    #[serde(default)]
    pub(crate) asked: Option<Arc<Identity>>,
    /// Carries Replaces of the lost dialog (RFC 3891).
    pub(crate) replaces: bool,
    /// Which that is.
    #[serde(default)]
    pub(crate) names: Option<LegId>,
    /// How often upstreams have asked for proof.
    #[serde(skip)]
    pub(crate) rounds: Rounds,
    pub(crate) rang: bool,
    /// The number of its INVITE in a restoration; 0 before the answer.
    #[serde(default)]
    pub(crate) attempt: u32,
    /// Whom it is to is there, and waits for no turn (`restoring::turns`).
    #[serde(skip)]
    pub(crate) at_once: bool,
    /// Its flow leads to a target that was located (RFC 3263), not to where a phone came from.
    #[serde(skip)]
    pub(crate) located: bool,
    /// Its INVITE was too large for a datagram: what follows on a failure is sent as it is.
    #[serde(skip)]
    pub(crate) grown: bool,
    /// Targets of the same hop that have not been tried.
    #[serde(skip)]
    pub(crate) rest: VecDeque<Located>,
    /// The ways to the same phone that have failed (RFC 5626 7).
    #[serde(skip)]
    pub(crate) past: Vec<Endpoint>,
    /// When its INVITE went out.
    #[serde(skip)]
    pub(crate) sent: Time,
    /// When the next of them has its turn, where this one has said nothing.
    #[serde(skip)]
    pub(crate) silent_at: Option<Time>,
    /// When it stops ringing.
    pub(crate) until: Time,
    /// Its connection is closed, and it stops then (`severed`).
    #[serde(skip)]
    pub(crate) severed: Option<Time>,
    /// ICMP says that nobody is there any more, and it is asked until then.
    #[serde(skip)]
    pub(crate) deaf: Option<Deaf>,
    /// The ports that its offer names.
    #[serde(default)]
    pub(crate) generation: Generation,
    /// Whether it is offered SRTP; none: as the other side has it.
    #[serde(default)]
    pub(crate) secure: Option<bool>,
    /// It was asked the other way before, and refused.
    #[serde(default)]
    pub(crate) turned: bool,
    /// Whom it named is called in its place.
    #[serde(skip)]
    pub(crate) followed: bool,
    /// What its offer comes in.
    #[serde(skip)]
    pub(crate) enclosed: Option<Enclosed>,
    /// The reliable responses heard so far. A restart may take one twice: its PRACK is as good.
    #[serde(skip)]
    pub(crate) heard: Heard,
    /// Offer and answer of its INVITE are complete before the 2xx (RFC 3262 5).
    #[serde(skip)]
    pub(crate) settled: bool,
    /// Its early dialogs but the one that spoke last, which is the leg's.
    #[serde(skip)]
    pub(crate) beside: Vec<Beside>,
    /// What its INVITE says, where one of them has been told something else since.
    #[serde(skip)]
    pub(crate) invited: Option<Box<Talk>>,
    /// Who has taken the call of somebody else's phone (`pickup`).
    #[serde(default)]
    pub(crate) picker: Option<Box<Person>>,
    /// It is who picks up the call of this one, and its ACK is to bring a session (`unoffered`).
    #[serde(default)]
    pub(crate) picks: Option<LegId>,
    /// The conversation that has the leg still (`taking`).
    #[serde(default)]
    pub(crate) giver: Option<ConversationId>,
    /// The INVITE is the endpoint's own, and waits (`consent`).
    #[serde(skip)]
    pub(crate) asks: Option<Box<Asking>>,
}

/// An INVITE with Replaces whose session the other side must agree to first.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) server: ServerId,
    /// Who is to be the participant from then on, where that is another one.
    pub(crate) person: Option<Person>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BranchState {
    /// The Contact's host is being looked up.
    #[serde(skip)]
    Resolving(Token),
    /// A flow is known; the media ports are not open yet.
    Ready,
    /// The INVITE is out.
    Calling,
    /// It took the call, but the survivor must first agree to another session.
    Joining,
}

/// A final failure, as far as it is passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) status: u16,
    pub(crate) reason: Box<str>,
    /// Header lines that cross.
    pub(crate) lines: Vec<u8>,
    /// A body that crosses, and its Content-Type.
    #[serde(default)]
    pub(crate) body: Option<(Box<str>, Vec<u8>)>,
}

impl Fork {
    pub(crate) fn find(&self, leg: LegId) -> Option<&Branch> {
        self.branches.iter().find(|branch| branch.leg.id == leg)
    }

    /// Returns true where anybody is called. Who picks up lets nobody wait: it may never acknowledge.
    pub(crate) fn is_calling(&self) -> bool {
        !self.branches.iter().all(Branch::is_being_asked)
    }

    /// Takes the next turn: who is called now, and why.
    pub(crate) fn next_turn(&mut self) -> Option<Turn> {
        let mut turn = self.waiting.pop_front()?;
        (self.trail, self.rules) = (turn.trail.take(), turn.rules);
        Some(turn)
    }

    /// Gives branches that have not been called another turn, each person's together.
    pub(crate) fn wait_again(&mut self, uncalled: Vec<Branch>) {
        let mut turns: Vec<Turn> = Vec::new();
        for mut branch in uncalled {
            let meant = branch.meant.take();
            match turns.last_mut() {
                Some(turn) if aor_of(&turn.meant) == aor_of(&meant) => {
                    turn.targets.push(branch.target())
                }
                Some(_) | None => turns.push(Turn {
                    targets: vec![branch.target()],
                    meant,
                    trail: None,
                    rules: self.rules,
                }),
            }
        }
        for turn in turns.into_iter().rev() {
            self.waiting.push_front(turn);
        }
    }

    /// Gives those that have none the trail that leads to each of them.
    pub(crate) fn lead_on(&mut self) {
        let unled = |branch: &&mut Branch| branch.trail.is_none();
        for branch in self.branches.iter_mut().filter(unled) {
            let trail = match &branch.meant {
                Some(meant) => &meant.trail,
                None => &self.trail,
            };
            let Some(trail) = trail else { continue };
            let endpoint = &branch.leg.endpoint;
            let step = Step::toward(endpoint);
            branch.trail = Some(trail.toward(&endpoint.contact, step, &mut self.steps));
        }
    }

    pub(crate) fn branch(&mut self, leg: LegId) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.leg.id == leg)
    }

    pub(crate) fn take(&mut self, leg: LegId) -> Option<Branch> {
        let at = self
            .branches
            .iter()
            .position(|branch| branch.leg.id == leg)?;
        Some(self.branches.remove(at))
    }

    /// Takes out those whose offer names these ports, or would.
    pub(crate) fn take_of(&mut self, generation: Generation) -> Vec<Branch> {
        let theirs = |branch: &mut Branch| branch.has_ports() && branch.generation == generation;
        self.branches.extract_if(.., theirs).collect()
    }

    /// Returns the branch to an endpoint that is still out.
    pub(crate) fn to(&mut self, identity: &Identity) -> Option<&mut Branch> {
        self.branches
            .iter_mut()
            .find(|branch| branch.leg.endpoint.identity.as_ref() == identity)
    }

    /// Returns true where an endpoint rings, or is about to, at the very place.
    pub(crate) fn rings_at(&self, endpoint: &Endpoint) -> bool {
        let mut branches = self.branches.iter();
        branches.any(|branch| branch.leg.endpoint.is_at(endpoint))
    }

    /// The upstream of the present turn has spoken: its other machines would say the same. Who was named by
    /// somebody that forwards is somebody else.
    pub(crate) fn skip_other_machines(&mut self, leg: LegId) {
        let Some(branch) = self.find(leg) else { return };
        let present = aor_of(&branch.meant).cloned();
        self.waiting
            .retain(|turn| aor_of(&turn.meant) != present.as_ref());
    }

    /// Keeps the better of two failures.
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        if self
            .best
            .as_ref()
            .is_none_or(|best| rank(verdict.status) < rank(best.status))
        {
            self.best = Some(verdict);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.branches
            .iter()
            .filter(|branch| branch.state == BranchState::Calling)
            .flat_map(|branch| {
                [
                    branch.silent_at,
                    branch.severed,
                    branch.asks_again_at(),
                    Some(branch.until),
                ]
            })
            .flatten()
            .min()
    }
}

impl Branch {
    /// Returns true where its Replaces may be for a phone that is gone, while others stand behind the same name: a
    /// proxy keeps their 481 to itself until that phone has answered too (RFC 3891 3, RFC 3261 16.7).
    pub(crate) fn may_miss(&self) -> bool {
        let endpoint = &self.leg.endpoint;
        self.replaces && (endpoint.through.is_some() || endpoint.flow.is_none())
    }

    /// Returns the number of its INVITE in a restoration, for the history.
    pub(crate) fn attempt(&self) -> Option<u32> {
        (self.attempt > 0).then_some(self.attempt)
    }

    pub(crate) fn new(leg: Leg, state: BranchState, until: Time) -> Self {
        Self {
            leg,
            state,
            invite: Bytes::new(),
            client: None,
            meant: None,
            trail: None,
            asked: None,
            replaces: false,
            names: None,
            rounds: Rounds::default(),
            attempt: 0,
            at_once: false,
            rang: false,
            located: false,
            grown: false,
            rest: VecDeque::new(),
            past: Vec::new(),
            sent: Time(0),
            silent_at: None,
            generation: 0,
            secure: None,
            turned: false,
            followed: false,
            enclosed: None,
            until,
            severed: None,
            deaf: None,
            heard: Heard::default(),
            settled: false,
            beside: Vec::new(),
            invited: None,
            picker: None,
            picks: None,
            giver: None,
            asks: None,
        }
    }

    /// Its INVITE has failed for a reason that another one does away with: no dialog came of it.
    pub(crate) fn call_again(&mut self) {
        let dialog = &mut self.leg.dialog;
        dialog.remote_tag = None;
        dialog.target.clone_from(&self.leg.endpoint.contact);
        dialog.routes.clone_from(&self.leg.endpoint.path);
        self.state = BranchState::Ready;
        self.client = None;
        self.heard = Heard::default();
        self.settled = false;
        self.beside.clear();
        self.invited = None;
    }

    /// Returns true once it is known which ports it has.
    pub(crate) fn has_ports(&self) -> bool {
        match self.state {
            BranchState::Ready | BranchState::Calling | BranchState::Joining => true,
            BranchState::Resolving(_) => false,
        }
    }

    /// Returns true where a 2xx answers an offer of ours by nothing, and nothing has answered it before.
    pub(super) fn lacks_answer(&self, response: &Message) -> bool {
        let talk = &self.leg.talk;
        talk.told.is_some() && talk.said.is_none() && sdp_of(response).is_none()
    }

    /// Returns true where a 2xx leaves out the keys that the INVITE asked for, or that `media.srtp` demands.
    pub(crate) fn lacks_keys(&self, media: &MediaSettings, response: &Message) -> bool {
        // Where its answer came before (RFC 3262 5), that counts.
        let before = self.leg.talk.said.clone().filter(|_| self.settled);
        let said = sdp_of(response).or(before);
        said.is_some_and(|said| self.leg.talk.keys.misses(&said) || is_too_bare(&said, media))
    }

    /// Returns whom it calls.
    pub(crate) fn target(self) -> Target {
        Target {
            endpoint: self.leg.endpoint,
            q: Q_DEFAULT,
        }
    }

    /// Returns true where a 2xx refuses every stream of ours that was offered.
    pub(crate) fn is_mute(&self, response: &Message) -> bool {
        let before = self.leg.talk.said.clone().filter(|_| self.settled);
        let said = sdp_of(response).or(before);
        let told = self.leg.talk.told.as_deref();
        said.zip(told)
            .is_some_and(|(said, told)| sdp::is_mute(told.as_bytes(), said.as_bytes()))
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.leg.endpoint
    }

    /// Returns the phone that is there, and whom its INVITE was for: who finds the one asks for the other.
    pub(crate) fn identities(&self) -> impl Iterator<Item = Arc<Identity>> {
        let there = self.leg.endpoint.identity.clone();
        [there].into_iter().chain(self.asked.clone())
    }
}

/// Returns whose phones are called, where the call was forwarded.
pub(crate) fn aor_of(meant: &Option<Box<Meant>>) -> Option<&Aor> {
    meant.as_ref().map(|meant| &meant.person.aor)
}

fn durable<S: Serializer>(branches: &[Branch], to: S) -> Result<S::Ok, S::Error> {
    let mine = branches.iter().filter(|branch| branch.asks.is_none());
    let known = mine.map(|branch| match branch.state {
        // Who has the leg is asked anew.
        BranchState::Calling if branch.giver.is_some() => Cow::Owned(Branch {
            state: BranchState::Ready,
            ..branch.clone()
        }),
        BranchState::Ready | BranchState::Calling | BranchState::Joining => Cow::Borrowed(branch),
        BranchState::Resolving(_) => Cow::Owned(Branch {
            state: BranchState::Ready,
            ..branch.clone()
        }),
    });
    to.collect_seq(known.collect::<Vec<_>>())
}

/// RFC 3261 16.7 step 6: a 6xx first, else the lowest class; within it what tells the caller how to do
/// better, and a time-out or an unreachable phone last, since it hides what others said.
fn rank(status: u16) -> (u16, u16) {
    match status {
        600.. => (0, 0),
        415 | 420 | 484 => (4, 0),
        408 | 480 => (4, 2),
        503 => (5, 9),
        _ => (status / 100, 1),
    }
}

/// What a final failure says of the endpoint that gave it (design: one that refused is not rung again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The person or the phone said no.
    Refused,
    /// Nobody was there, or something on the way is ill: worth another try.
    Absent,
}

/// Tells a refusal from an absence.
pub(crate) fn failure(status: u16, rang: bool) -> Failure {
    match status {
        // The person let it ring; without that it is a proxy's word that nobody is registered now.
        480 if rang => Failure::Refused,
        // 404 and 410: the Contact is stale; the same device may register another one.
        404 | 408 | 410 | 430 | 480 | 481 | 491 | 500 | 502..=504 => Failure::Absent,
        _ => Failure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_failure_is_kept() {
        for (statuses, best) in [
            (&[408, 486][..], 486),
            (&[486, 408], 486),
            (&[480, 404], 404),
            (&[503, 500], 500),
            (&[503, 404], 404),
            (&[486, 603], 603),
            (&[302, 486], 302),
            (&[486, 407], 486),
            (&[407, 480], 407),
            (&[404, 420], 420),
            (&[500, 604, 486], 604),
            (&[302, 404], 302),
            (&[408, 503], 408),
        ] {
            let mut fork = Fork::default();
            for status in statuses {
                fork.judge(Verdict {
                    status: *status,
                    reason: "".into(),
                    lines: Vec::new(),
                    body: None,
                });
            }
            assert_eq!(
                fork.best.map(|best| best.status),
                Some(best),
                "{statuses:?}"
            );
        }
    }

    #[test]
    fn a_no_is_told_from_an_absence() {
        for status in [486, 600, 603, 403, 488, 302] {
            assert_eq!(failure(status, false), Failure::Refused, "{status}");
        }
        for status in [408, 503, 500, 404, 480, 481] {
            assert_eq!(failure(status, false), Failure::Absent, "{status}");
        }
        assert_eq!(failure(480, true), Failure::Refused);
    }
}
