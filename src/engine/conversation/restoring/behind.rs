//! Which phone has answered an INVITE, by its 2xx: a name leads to many, and an upstream forks as it likes, where one
//! address is many phones'.
//!
//! Two that show an instance (or `epid`) are told apart by it. Where one of them shows none, it takes another Contact
//! (user or host) and another product in Server or User-Agent: a trunk shows one for all, and some PBXs have a Contact
//! for each call. Whom the upstream is asked for stays the endpoint that is called.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::conversation::Conversation;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::leg::Leg;
use crate::engine::endpoint::{Endpoint, Identity};
use crate::engine::ids::{LegId, Side};
use crate::engine::location;
use crate::engine::routing;
use crate::engine::settings::Settings;
use crate::sip::{Address, Message, Name, Uri};

/// The phone of a leg.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Behind {
    /// None where the leg is not called through an upstream.
    device: Option<Device>,
    /// What it counts as to the other side, where not as the endpoint that was called.
    counts_as: Option<Arc<Identity>>,
    /// The upstreams that it may have called by.
    #[serde(default)]
    callers: Vec<Box<str>>,
}

/// What a phone shows of itself in its 2xx.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Device {
    /// By the surest sign.
    identity: Arc<Identity>,
    /// By its Contact and product.
    shown: Arc<Identity>,
}

impl Device {
    fn is_like(&self, other: &Self) -> bool {
        match (&*self.identity, &*other.identity) {
            (Identity::Instance(a), Identity::Instance(b))
            | (Identity::Epid(a), Identity::Epid(b)) => a == b,
            (Identity::Instance(_) | Identity::Epid(_) | Identity::Contact { .. }, _) => {
                !differs(&self.shown, &other.shown)
            }
        }
    }
}

/// Returns true where all of it is another's, as far as both say it.
fn differs(a: &Identity, b: &Identity) -> bool {
    let (
        Identity::Contact {
            user,
            host,
            user_agent,
            behind: _,
        },
        Identity::Contact {
            user: their_user,
            host: their_host,
            user_agent: their_agent,
            behind: _,
        },
    ) = (a, b)
    else {
        return false;
    };
    let both_say = !user_agent.is_empty() && !their_agent.is_empty();
    (user, host) != (their_user, their_host) && both_say && user_agent != their_agent
}

/// Returns the Contact of a 2xx, and the phone that is there.
fn shown<'a>(response: &'a Message, settings: &Settings) -> Option<(Address<'a>, Endpoint)> {
    let contact = Address::parse(response.header(Name::Contact)?).ok()?;
    let there = location::endpoint(&contact, response, None, settings);
    Some((contact, there))
}

impl Conversation {
    /// Who takes the place may be another device than the one that was asked there: its Contact says which.
    pub(super) fn is_known_by_answer(
        &mut self,
        context: &Context<'_>,
        side: Side,
        leg: LegId,
        response: &Message,
    ) {
        let settings = &context.shared.settings;
        let Some((_, mut there)) = shown(response, settings) else {
            return;
        };
        let aor = self.party(side).aor.clone();
        let Some(branch) = self.branch_mut(leg) else {
            return;
        };
        branch.leg.is_shown_by(response, settings);
        let at_first = &mut branch.asked;
        let asked = &mut branch.leg.endpoint;
        // An upstream's phones are told apart by who is asked there, and other signs than an instance are less sure.
        let both = (&*asked.identity, &*there.identity);
        let sure = matches!(both, (Identity::Instance(_), Identity::Instance(_)));
        if !sure || asked.through.is_some() || location::same(&asked.identity, &there.identity) {
            return;
        }
        let aor = branch
            .meant
            .as_ref()
            .map_or(&aor, |meant| &meant.person.aor);
        let known = routing::flows(aor, &there.identity, context.now, context.world);
        if let Some(known) = known.into_iter().next() {
            there.name = known.name;
        }
        at_first.get_or_insert_with(|| asked.identity.clone());
        (asked.identity, asked.name) = (there.identity, there.name);
    }
}

impl Leg {
    /// Its endpoint has called by one of these upstreams.
    pub(crate) fn is_called_by(&mut self, upstreams: Option<Vec<Box<str>>>) {
        self.beyond = upstreams.is_some();
        self.is_called_as(upstreams.unwrap_or_default());
    }

    pub(super) fn is_called_as(&mut self, callers: Vec<Box<str>>) {
        if !callers.is_empty() {
            self.behind.get_or_insert_default().callers = callers;
        }
    }

    /// Returns the upstreams that it may have called by.
    pub(crate) fn callers(&self) -> Vec<Box<str>> {
        let behind = self.behind.as_ref();
        behind.map_or_else(Vec::new, |behind| behind.callers.clone())
    }

    /// What was asked of an upstream has its 2xx, by which its phone has a name and is known from now on.
    pub(crate) fn is_shown_by(&mut self, response: &Message, settings: &Settings) {
        if self.endpoint.through.is_none() {
            return;
        }
        let Some((contact, there)) = shown(response, settings) else {
            return;
        };
        let sure = matches!(*there.identity, Identity::Instance(_) | Identity::Epid(_));
        self.endpoint.name = there.name;
        self.behind = Some(Box::new(Behind {
            counts_as: sure.then(|| there.identity.clone()),
            callers: Vec::new(),
            device: Some(Device {
                identity: there.identity,
                shown: location::by_contact_alone(&contact, response).into(),
            }),
        }));
    }

    /// Returns what it is told from others by where the other side is told of a change.
    pub(crate) fn who(&self) -> &Arc<Identity> {
        let behind = self.behind.as_ref();
        let counts_as = behind.and_then(|behind| behind.counts_as.as_ref());
        counts_as.unwrap_or(&self.endpoint.identity)
    }

    fn device(&self) -> Option<&Device> {
        self.behind.as_ref()?.device.as_ref()
    }

    /// Returns true where it is one more leg of the endpoint that had `old`.
    pub(crate) fn is_endpoint_of(&self, old: &Self) -> bool {
        if let (Some(device), Some(known)) = (self.device(), old.device()) {
            return device.is_like(known);
        }
        let both = (&**self.who(), &**old.who());
        if let (Identity::Instance(instance), Identity::Instance(known)) = both {
            return instance == known;
        }
        location::same(&self.endpoint.identity, &old.endpoint.identity)
    }

    /// It takes the place of `old` for the same person, and is its endpoint (`same`) or another: what it counts as
    /// says so, too.
    pub(super) fn follows(&mut self, old: &Self, same: bool) {
        if self.device().is_none() && old.device().is_none() {
            return;
        }
        let behind = self.behind.get_or_insert_default();
        if same {
            behind.counts_as = Some(old.who().clone());
        } else if let Some(device) = &behind.device {
            behind.counts_as.get_or_insert_with(|| device.shown.clone());
        }
    }

    /// Returns the host of the upstream's target that it was called through.
    pub(super) fn host_beyond(&self) -> Option<&str> {
        let target = self.endpoint.through.as_deref()?;
        Uri::parse(target).ok().map(|target| target.host)
    }
}
