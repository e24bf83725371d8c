//! Lamps (RFC 4235, RFC 6665): users who watch whether others of their domain have calls.
//!
//! ```text
//!   watcher            Refork: watcher's shard      the call's shard
//!     │── SUBSCRIBE ───────►│                             │
//!     │◄── 200, NOTIFY ─────│◄─────── the board ──────────│ a call begins, rings,
//!     │─────── 200 ────────►│     (and word that it       │ is answered, ends
//!     │◄── NOTIFY ──────────│          has changed)       │
//! ```
//!
//! `asking` what SUBSCRIBE must be, `pace` when is told, `document` what. What there is to tell stands on the board
//! (`engine::board`), which all shards write to and read. A subscription lives in memory: after a restart its
//! refresh gets 481, and the phone subscribes anew (RFC 6665 4.1.2.2).

mod asking;
mod document;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::document::{CONTENT_TYPE, Shown, document};
use self::pace::{Do, Happens, Pace};
use super::Engine;
use super::conversation::context::{Context, Errand, What, retry_after};
use super::dialog::failure::{Ends, ends};
use super::{location, routing};
use crate::engine::asker::Asker;
use crate::engine::board::{Light, LightKey, Watch};
use crate::engine::dialog::Dialog;
use crate::engine::endpoint::{BindingChange, BindingsChanged, Endpoint, Identity};
use crate::engine::events::{Event, Told};
use crate::engine::ids::{Aor, ConversationId, LegId, Side, VirtualShard};
use crate::engine::mint::tag_shard;
use crate::engine::ports::{Output, World};
use crate::engine::settings::{Pickup, ServedBy, Settings};
use crate::engine::time::{Millis, Time};
use crate::sip::{Message, Method, Name};

/// RFC 4235 3.10.
const PAUSE: Millis = Millis::from_secs(1);
/// The same where a NOTIFY was refused for now, and nothing was said of when.
const PUT_OFF: Millis = Millis::from_secs(30);
const PUT_OFF_MAX: Millis = Millis::from_secs(600);
/// Subscriptions of one phone to one user: two keys may show the same. What a phone had before it was switched off is
/// one of them until that is forgotten.
const LIKE_MAX: u32 = 2;
/// Seconds in which each subscription is compared with the board: word of a change may be lost between shards.
const LOOK_AROUND_S: usize = 30;

/// The subscriptions of one shard.
#[derive(Default)]
pub(super) struct Lamps {
    /// By the number in our tag.
    lamps: BTreeMap<u64, Lamp>,
    watched: BTreeSet<(Aor, u64)>,
    watchers: BTreeSet<(Aor, u64)>,
    due: BTreeSet<(Time, u64)>,
    /// Which was compared with the board last.
    looked_at: u64,
}

/// Somebody watches somebody.
struct Lamp {
    watched: Aor,
    watcher: Aor,
    /// What is known of the watcher, and the phone that has subscribed.
    asker: Asker,
    phone: Arc<Identity>,
    dialog: Dialog,
    /// It came over a flow that the phone had registered over.
    registered: bool,
    /// Value of Event, with its id where it has one.
    event: Box<str>,
    expires: Time,
    pace: Pace,
    /// When it is told next, where there is something to tell.
    at: Time,
    /// When it was told last.
    sent: Time,
    version: u32,
    /// What it was told last, each call by its number.
    told: BTreeMap<LightKey, (u32, Light)>,
    numbers: u32,
    /// That was put off: it is told again, new or not.
    unheard: bool,
    /// A SUBSCRIBE was accepted while a NOTIFY was out: another follows, whatever becomes of that one.
    asked: bool,
    /// So many of the same phone have begun since it was heard of last.
    newer: u32,
    /// As it stands in `due`.
    deadline: Option<Time>,
}

impl Lamps {
    /// Counts the subscriptions.
    pub(super) fn len(&self) -> usize {
        self.lamps.len()
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A call of a user has changed.
    pub(super) fn news(&mut self, context: &mut Context<'_>, user: &Aor) {
        for number in of(&self.watched, user) {
            self.step(context, number, Happens::News);
        }
    }

    /// Phones have registered: who has moved is told where it is now, also what is on its way to where it was.
    pub(super) fn registered(&mut self, changed: &BindingsChanged) {
        for change in &changed.changes {
            let BindingChange::Registered {
                binding,
                moved: true,
                ..
            } = change
            else {
                continue;
            };
            for number in of(&self.watchers, &changed.aor) {
                if let Some(lamp) = self.lamps.get_mut(&number)
                    && matches!(lamp.pace, Pace::Out | Pace::Behind)
                    && location::same(&lamp.phone, &binding.endpoint.identity)
                {
                    lamp.asked = true;
                }
            }
        }
    }

    /// A phone has begun to watch a user, here or at another shard: what it had before is forgotten (RFC 6665
    /// 4.2.2), which it knows no more if it was switched off, and would never end.
    pub(super) fn outdated(&mut self, context: &mut Context<'_>, watch: &Watch, new: Option<u64>) {
        for number in of(&self.watched, &watch.watched) {
            let Some(lamp) = self.lamps.get_mut(&number) else {
                continue;
            };
            if new != Some(number)
                && lamp.watcher == watch.watcher
                && lamp.event == watch.event
                && location::same(&lamp.phone, &watch.phone)
            {
                lamp.newer += 1;
                if lamp.newer >= LIKE_MAX {
                    self.forget(context, number);
                }
            }
        }
    }

    /// Compares some of the subscriptions with the board. To be called each second.
    pub(super) fn look_around(&mut self, context: &mut Context<'_>) {
        let some = self.lamps.len().div_ceil(LOOK_AROUND_S);
        let after = self.lamps.range(self.looked_at.saturating_add(1)..);
        let some: Vec<u64> = after.take(some).map(|(number, _)| *number).collect();
        self.looked_at = some.last().copied().unwrap_or(0);
        for number in some {
            let lamp = self.lamps.get(&number);
            let missed = lamp.is_some_and(|lamp| {
                lamp.pace == Pace::Rest && lamp.is_news(&context.world.lights(&lamp.watched))
            });
            if missed {
                self.step(context, number, Happens::News);
            }
        }
    }

    /// Does what is due.
    pub(super) fn fire(&mut self, context: &mut Context<'_>) {
        while let Some((at, number)) = self.due.first().copied()
            && at <= context.now
        {
            let Some(lamp) = self.lamps.get(&number) else {
                self.due.pop_first();
                continue;
            };
            let what = if lamp.expires <= context.now {
                Happens::End
            } else if lamp.is_news(&context.world.lights(&lamp.watched)) {
                Happens::Time
            } else {
                Happens::AsItWas
            };
            self.step(context, number, what);
        }
    }

    /// A NOTIFY was answered.
    pub(super) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        number: u64,
        response: &Message,
    ) {
        let (what, told) = match response.status() {
            ..200 => return,
            200..300 => (Happens::Taken, Told::Taken),
            status if ends(status) == Ends::Transaction => {
                let later = retry_after(response).unwrap_or(PUT_OFF);
                (
                    Happens::PutOff(later.clamp(PAUSE, PUT_OFF_MAX)),
                    Told::PutOff,
                )
            }
            _ => (Happens::Gone, Told::Refused),
        };
        self.answered(context, number, what, told);
    }

    /// Nobody has answered a NOTIFY (RFC 6665 4.2.2).
    pub(super) fn on_unanswered(&mut self, context: &mut Context<'_>, number: u64) {
        self.answered(context, number, Happens::Gone, Told::Unanswered);
    }

    fn answered(&mut self, context: &mut Context<'_>, number: u64, what: Happens, told: Told) {
        let Some(lamp) = self.lamps.get_mut(&number) else {
            return;
        };
        lamp.unheard = told == Told::PutOff;
        // The watcher has been heard of since, maybe from another place.
        let crossed = what == Happens::Gone && lamp.asked;
        let what = if crossed { Happens::Taken } else { what };
        context.emit(Event::Notified {
            watcher: lamp.watcher.as_str().into(),
            watched: lamp.watched.as_str().into(),
            told,
        });
        self.step(context, number, what);
    }

    fn step(&mut self, context: &mut Context<'_>, number: u64, what: Happens) {
        let Some(lamp) = self.lamps.get_mut(&number) else {
            return;
        };
        let (pace, deed) = lamp.pace.take(what);
        lamp.pace = pace;
        match deed {
            Do::Nothing => {}
            Do::Wait => lamp.at = context.now.max(lamp.sent + PAUSE),
            Do::WaitLonger(span) => lamp.at = context.now + span,
            Do::Notify | Do::NotifyLast => lamp.notify(context, number),
            Do::Forget => return self.forget(context, number),
        }
        let deadline = lamp.pace.is_active().then(|| match lamp.pace {
            Pace::Due => lamp.at.min(lamp.expires),
            Pace::Rest | Pace::Out | Pace::Behind | Pace::Ending | Pace::Last => lamp.expires,
        });
        let before = std::mem::replace(&mut lamp.deadline, deadline);
        if before != deadline {
            if let Some(at) = before {
                self.due.remove(&(at, number));
            }
            self.due.extend(deadline.map(|at| (at, number)));
        }
    }

    fn forget(&mut self, context: &mut Context<'_>, number: u64) {
        let Some(lamp) = self.lamps.remove(&number) else {
            return;
        };
        if let Some(at) = lamp.deadline {
            self.due.remove(&(at, number));
        }
        context.world.watch(&lamp.watcher, &lamp.watched, false);
        self.watched.remove(&(lamp.watched, number));
        self.watchers.remove(&(lamp.watcher, number));
    }

    fn insert(&mut self, context: &mut Context<'_>, number: u64, lamp: Lamp) {
        context.world.watch(&lamp.watcher, &lamp.watched, true);
        self.watched.insert((lamp.watched.clone(), number));
        self.watchers.insert((lamp.watcher.clone(), number));
        self.lamps.insert(number, lamp);
    }
}

impl Lamp {
    fn is_news(&self, lights: &[(LightKey, Light)]) -> bool {
        let told = self.told.iter().map(|(key, (_, light))| (key, light));
        self.unheard || self.asked || !told.eq(lights.iter().map(|(key, light)| (key, light)))
    }

    /// Tells what holds now.
    fn notify(&mut self, context: &mut Context<'_>, number: u64) {
        self.asked = false;
        let lights = context.world.lights(&self.watched);
        let before = std::mem::take(&mut self.told);
        for (key, light) in lights {
            let known = before.get(&key).map(|(number, _)| *number);
            let number = known.unwrap_or_else(|| {
                self.numbers += 1;
                self.numbers
            });
            self.told.insert(key, (number, light));
        }
        let standing = self.told.iter().map(|(key, (number, light))| Shown {
            number: *number,
            side: key.1,
            light: Some(light),
        });
        let over = before
            .iter()
            .filter(|(key, _)| !self.told.contains_key(key));
        let over = over.map(|(key, (number, _))| Shown {
            number: *number,
            side: key.1,
            light: None,
        });
        let shown: Vec<_> = standing.chain(over).collect();
        let whole = match context.shared.settings.fork.pickup {
            Pickup::Domain => true,
            Pickup::Own => self.watcher == self.watched,
            Pickup::Off => false,
        };
        let whole = whole.then_some(context.shared.shard_key);
        let body = document(&self.watched, self.version, &shown, whole);
        self.version += 1;
        self.sent = context.now;
        let state = if self.pace.is_active() {
            let left = self.expires.since(context.now).as_secs_ceil();
            format!("active;expires={left}")
        } else {
            "terminated;reason=timeout".to_owned()
        };
        self.send(context, number, &state, &body);
    }

    fn send(&mut self, context: &mut Context<'_>, number: u64, state: &str, body: &str) {
        // Another flow of the phone, where the one that it has subscribed over is closed.
        let others = routing::flows(&self.watcher, &self.phone, context.now, context.world);
        self.follow(context, &others);
        let others = others.into_iter().filter_map(|endpoint| endpoint.flow);
        let others = others.filter(|flow| context.may_take(&self.dialog, flow));
        let others: Vec<_> = others.collect();
        let course = context.course(&self.dialog).or_over(others);
        let id = of_shard(&self.dialog.local_tag);
        let via = context.via(id, &course.flow);
        let contact = context.contact_over(&course.flow, self.dialog.security().is_told());
        let bytes = self
            .dialog
            .request(&Method::Notify, &via)
            .header(Name::Contact, contact)
            .header(Name::Event, &self.event)
            .header(Name::SubscriptionState, state)
            .body(CONTENT_TYPE, body.as_bytes());
        let errand = Errand {
            conversation: id,
            leg: LegId(0),
            what: What::Lamp(number),
        };
        context.send_on(&mut self.dialog, course, bytes, errand);
    }
}

impl Lamp {
    /// Its phone has registered elsewhere since, and no more where it subscribed: the dialog goes there too.
    fn follow(&mut self, context: &Context<'_>, known: &[Endpoint]) {
        let (dialog, now) = (&mut self.dialog, context.now);
        if !self.registered || location::is_bound(&self.watcher, &dialog.flow, now, context.world) {
            return;
        }
        let mut known = known.iter().filter_map(|to| Some((to, to.flow?)));
        let Some((endpoint, flow)) = known.find(|(_, flow)| context.may_take(dialog, flow)) else {
            return;
        };
        dialog.flow = flow;
        if endpoint.has_own_address() && dialog.routes.is_empty() {
            dialog.target = endpoint.contact.clone();
        }
    }
}

/// Returns the subscriptions of a user in a list.
fn of(list: &BTreeSet<(Aor, u64)>, user: &Aor) -> Vec<u64> {
    let all = list.range((user.clone(), 0)..=(user.clone(), u64::MAX));
    all.map(|(_, number)| *number).collect()
}

impl Engine {
    /// What is to be seen of a call has changed: it goes on the board, and who watches is told, here and at other
    /// shards.
    pub(super) fn shine(
        &mut self,
        id: ConversationId,
        news: Vec<(Aor, Side, Option<Light>)>,
        now: Time,
        world: &mut dyn World,
    ) {
        for (user, side, light) in news {
            if has_lamps(&user, &self.shared.settings) && world.show(&user, (id, side), light) {
                self.shine_here(&user, now, world);
                self.shared.out.push_back(Output::Lit(user));
            }
        }
    }

    /// The same for those who watch at this shard.
    pub(super) fn shine_here(&mut self, user: &Aor, now: Time, world: &mut dyn World) {
        let mut context = self.shared.context(now, world);
        self.lamps.news(&mut context, user);
    }
}

/// Returns true for a user of a domain whose users may watch one another.
fn has_lamps(user: &Aor, settings: &Settings) -> bool {
    let domain = location::domain(user.host(), settings);
    domain.is_some_and(|domain| match &domain.served_by {
        ServedBy::Registrar(registrar) => registrar.lamps,
        ServedBy::Upstream(_) => false,
    })
}

/// Returns a number of the shard that a tag of ours names: what is sent in its dialog is answered there.
fn of_shard(tag: &str) -> ConversationId {
    let shard = tag_shard(tag).unwrap_or(VirtualShard(0));
    ConversationId(u64::from(shard.0) << 56)
}
