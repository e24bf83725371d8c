//! Endpoints that have said that nobody is to be had for now: they are not asked again at the pace of those that are
//! not reached. So are those that the survivor could not be asked about.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::{Context, retry_after};
use crate::engine::conversation::forking::{Branch, Failure, failure};
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::location;
use crate::engine::time::{Millis, Time};
use crate::sip::Message;

/// Who has said so, and until when each is left alone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Away(Vec<Absent>);

/// How often it is looked whether a phone is free again that another conversation of ours engages.
const LOOK: Millis = Millis(500);

#[derive(Debug, Serialize, Deserialize)]
struct Absent {
    identity: Arc<Identity>,
    /// The upstream's target that was asked, if any: another one may know better.
    through: Option<Box<str>>,
    until: Time,
    /// How often it has said so and no time with it.
    times: u32,
    /// It is in another call.
    #[serde(default)]
    engaged: bool,
    /// That call is one of ours: where the phone is, and when it is looked at next. A restart waits instead.
    #[serde(skip)]
    watched: Option<(Flow, Time)>,
}

impl Away {
    /// Returns true where one of these endpoints is in another call: an upstream would ask it all the same.
    pub(super) fn has_engaged(&self, here: &[Endpoint]) -> bool {
        let mut engaged = self.0.iter().filter(|absent| absent.engaged);
        engaged.any(|absent| here.iter().any(|endpoint| absent.is(endpoint)))
    }

    /// An endpoint has failed otherwise.
    pub(super) fn is_free(&mut self, endpoint: &Endpoint) {
        let mut absent = self.0.iter_mut();
        if let Some(absent) = absent.find(|absent| absent.is(endpoint)) {
            absent.engaged = false;
        }
    }

    /// Returns true where an endpoint is to be asked later, and not before.
    pub(super) fn holds_back(&self, endpoint: &Endpoint, now: Time) -> bool {
        let mut absent = self.0.iter();
        absent.any(|absent| absent.is(endpoint) && now < absent.until)
    }

    /// An endpoint is left alone until then.
    pub(super) fn leave(&mut self, endpoint: &Endpoint, until: Time) {
        if let Some(absent) = self.of(endpoint) {
            absent.until = until;
        }
    }

    /// Returns when the next of them may be asked again.
    pub(super) fn next_back(&self, now: Time) -> Option<Time> {
        let times = self.0.iter().map(|absent| absent.until);
        times.filter(|until| *until > now).min()
    }

    /// Returns where those are that are to be looked at now.
    pub(super) fn looks(&mut self, now: Time) -> Vec<Flow> {
        // Whose time is over has been asked again by now, whether it was free or not.
        for absent in self.0.iter_mut().filter(|absent| absent.until <= now) {
            absent.watched = None;
        }
        let watched = self
            .0
            .iter_mut()
            .filter_map(|absent| absent.watched.as_mut());
        let due = watched.filter(|(_, at)| *at <= now);
        due.map(|(flow, at)| {
            *at = now + LOOK;
            *flow
        })
        .collect()
    }

    /// Those there are engaged no more. Returns true where any was.
    pub(super) fn are_free_again(&mut self, free: &[Flow], now: Time) -> bool {
        let is = |absent: &&mut Absent| absent.watched.is_some_and(|(at, _)| free.contains(&at));
        let mut any = false;
        for absent in self.0.iter_mut().filter(is) {
            (absent.watched, absent.engaged, absent.times) = (None, false, 0);
            absent.until = now;
            any = true;
        }
        any
    }

    pub(super) fn next_look(&self) -> Option<Time> {
        let watched = self.0.iter().filter_map(|absent| absent.watched);
        watched.map(|(_, at)| at).min()
    }

    fn of(&mut self, endpoint: &Endpoint) -> Option<&mut Absent> {
        let at = self.0.iter().position(|absent| absent.is(endpoint));
        let at = at.unwrap_or_else(|| {
            self.0.push(Absent {
                identity: endpoint.identity.clone(),
                through: endpoint.through.clone(),
                until: Time(0),
                times: 0,
                engaged: false,
                watched: None,
            });
            self.0.len() - 1
        });
        self.0.get_mut(at)
    }
}

impl Absent {
    fn is(&self, endpoint: &Endpoint) -> bool {
        self.through == endpoint.through && location::same(&self.identity, &endpoint.identity)
    }
}

impl Conversation {
    /// A refusal that is none of the person: it may say when to ask again (RFC 3261 20.33). Without a word of that a
    /// phone's own 480, and who is engaged, has the longest wait of all retries, then twice as long; what a server
    /// beyond says of a phone may change at any time, and is asked for as one that is not reached.
    pub(super) fn is_away(
        &mut self,
        context: &Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
    ) {
        let (now, status) = (context.now, response.status());
        let longest = context.shared.settings.restore.retry.max;
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        let Some(branch) = lost.fork.find(leg).filter(|_| lost.transfer.is_none()) else {
            return;
        };
        let engaged = is_engaged(status, branch);
        let temporary = matches!(status, 404 | 480 | 500 | 503);
        if !engaged && (!temporary || failure(status, branch.rang) != Failure::Absent) {
            return;
        }
        let endpoint = branch.endpoint().clone();
        let near = endpoint.has_own_address();
        let own = engaged || status == 480 && near;
        let flow = branch.leg.dialog.flow;
        let told = retry_after(response);
        let watched = engaged && near && told.is_none() && self.is_engaged_here(context, &flow);
        let Some(lost) = &mut self.party_mut(side).lost else {
            return;
        };
        if told.is_none() && !own {
            return;
        }
        let Some(absent) = lost.away.of(&endpoint) else {
            return;
        };
        let pause = told.unwrap_or_else(|| {
            let times = absent.times;
            absent.times += 1;
            Millis(longest.0.saturating_mul(1 << times.min(16)))
        });
        absent.engaged = engaged;
        absent.watched = watched.then_some((flow, now + LOOK));
        absent.until = now + pause;
    }
}

/// Returns true where a phone is in another call, of which one may have been lost together with this: nobody has
/// heard it ring, and refused.
pub(super) fn is_engaged(status: u16, branch: &Branch) -> bool {
    status == 486 && !branch.rang
}
