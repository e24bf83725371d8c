//! SUBSCRIBE (RFC 6665 4.2.1): who may watch whom, for how long, and what is told of it.
//!
//! | | |
//! | --- | --- |
//! | another event, or one call of a user among others (RFC 4235 3.2) | 489 |
//! | the user's domain has no lamps | 489 |
//! | nobody has proven to be a user of that domain | 407, 403 |
//! | a form of body that we do not write, or one that we do not read | 406, 415 |
//! | nobody by that name | 404 |
//! | for less than a minute | 423 |
//! | as many as there may be | 500 with Retry-After |

use std::sync::Arc;

use super::document::CONTENT_TYPE;
use super::{Engine, Lamp, Pace, has_lamps};
use crate::engine::asker::Asker;
use crate::engine::board::Watch;
use crate::engine::conversation::context::Context;
use crate::engine::dialog::onward::Known;
use crate::engine::dialog::{Dialog, is_sips};
use crate::engine::ids::{Aor, Flow};
use crate::engine::lamps::pace::Happens;
use crate::engine::location;
use crate::engine::mint::{hash_shard, tag_key};
use crate::engine::ports::{Output, World};
use crate::engine::refusal::{Refusal, SIPS_NOT_ALLOWED};
use crate::engine::routing::{By, dialled};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Address, Message, Method, Name, Params, reason_phrase};

const PACKAGE: &str = "dialog";
/// Seconds: what is longer is cut to it (RFC 6665 4.2.1.1). After a restart, or a phone's absence, lamps are dark until
/// the refresh, which phones send by what is granted.
const EXPIRES_MAX: u32 = 600;
/// Seconds: what is shorter is refused.
const EXPIRES_MIN: u32 = 60;
/// Subscriptions of one user, over all shards.
const OF_ONE_MAX: usize = 500;
/// Subscriptions of one shard.
const ALL_MAX: usize = 20_000;

const UNKNOWN: Refusal = Refusal::new(404, "nobody by that name to be watched");
const NOT_THEIRS: Refusal = Refusal::new(403, "somebody to be watched who is of another domain");
const TOO_MANY: Refusal = Refusal::new(500, "as many subscriptions as there may be");

/// What a SUBSCRIBE asks for.
struct Wish {
    /// Value of Event of what is told.
    event: Box<str>,
    span: Millis,
}

/// Why a SUBSCRIBE is not taken.
enum Not {
    Refused(Refusal),
    /// Another event than there is for such a user, with those that there are.
    Unserved {
        lamps: bool,
    },
    /// With the Accept of a 415.
    Unread,
    TooBrief,
}

impl From<Refusal> for Not {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Engine {
    /// A SUBSCRIBE that begins something.
    pub(in crate::engine) fn subscribe(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) {
        let settings = &self.shared.settings;
        let by = By::over(&flow, &Asker::Stranger, world);
        let uri = dialled(request.uri(), &by, settings, world);
        let watched = location::aor_in(&uri, settings);
        let watched = watched.filter(|watched| has_lamps(watched, settings));
        let has = watched.is_some();
        let (Some(watched), Some(event)) = (watched, event(request)) else {
            let mut context = self.shared.context(now, world);
            return context.turn_down_wish(server, &Not::Unserved { lamps: has });
        };
        let Some(asker) = self.admit(server, request, flow, now, world) else {
            return;
        };
        if let Err(refusal) =
            self.begin(server, request, flow, (watched, event), &asker, now, world)
        {
            let mut context = self.shared.context(now, world);
            context.turn_down_wish(server, &refusal);
            if let Not::Refused(refusal) = refusal {
                self.looked_for(&asker, refusal.status, (request, flow), now, world);
            }
        }
    }

    fn begin(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        (watched, event): (Aor, Box<str>),
        asker: &Asker,
        now: Time,
        world: &mut dyn World,
    ) -> Result<(), Not> {
        let settings = &self.shared.settings;
        let watcher = match asker {
            Asker::Proven(user) | Asker::Unasked(user) => Some(user.clone()),
            Asker::Trusted => location::sender(request, asker, &flow, now, settings, world),
            Asker::Of(_) | Asker::Says(_) | Asker::Stranger => None,
        };
        let watcher = watcher.filter(|watcher| watcher.host() == watched.host());
        let watcher = watcher.ok_or(NOT_THEIRS)?;
        if is_sips(request.uri()) && !world.spoken(&flow).is_secure() {
            return Err(SIPS_NOT_ALLOWED.into());
        }
        let contact = request.values(Name::Contact).next();
        let contact = contact.and_then(|contact| Address::parse(contact).ok());
        let contact = contact.ok_or(Refusal::new(400, "SUBSCRIBE without Contact"))?;
        let wish = wish(request, event)?;
        if !location::is_known(&watched, settings) && world.bindings(&watched).is_empty() {
            return Err(UNKNOWN.into());
        }
        if self.lamps.len() >= ALL_MAX || world.watching(&watcher) >= OF_ONE_MAX {
            return Err(TOO_MANY.into());
        }
        let phone = location::caller(&contact, request, &flow, &watcher, now, settings, world);
        let registered = location::is_bound(&watcher, &flow, now, world);
        let known = Known::caller(&phone, asker, request, &flow, registered);
        let shard = hash_shard(self.shared.shard_key, request.call_id());
        let tag = self.shared.mint.tag(shard);
        let Some(number) = tag_key(&tag) else {
            return Err(TOO_MANY.into());
        };
        let dialog = Dialog {
            known,
            ..Dialog::of_request(request, flow, tag.clone())
        };
        let lamp = Lamp {
            watched,
            watcher,
            asker: asker.clone(),
            phone: Arc::clone(&phone.identity),
            dialog,
            registered,
            event: Box::default(),
            expires: now,
            pace: Pace::Rest,
            at: now,
            sent: now,
            version: 0,
            told: Default::default(),
            numbers: 0,
            unheard: false,
            asked: false,
            newer: 0,
            deadline: None,
        };
        let watch = (wish.span > Millis(0)).then(|| Watch {
            watched: lamp.watched.clone(),
            watcher: lamp.watcher.clone(),
            phone: lamp.phone.clone(),
            event: wish.event.clone(),
        });
        let mut context = self.shared.context(now, world);
        self.lamps.insert(&mut context, number, lamp);
        self.grant(server, (number, Some(&*tag)), wish, now, world);
        if let Some(watch) = watch {
            let mut context = self.shared.context(now, world);
            self.lamps.outdated(&mut context, &watch, Some(number));
            self.shared.out.push_back(Output::Watches(Box::new(watch)));
        }
        Ok(())
    }

    /// A request within the dialog of a subscription. Returns false where it is of none.
    pub(in crate::engine) fn resubscribed(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) -> bool {
        let number = request.to_tag().and_then(tag_key);
        let known = number.and_then(|number| Some((number, self.lamps.lamps.get(&number)?)));
        let Some((number, lamp)) = known else {
            return false;
        };
        let place = self.place_in(&lamp.dialog, &lamp.asker, request, flow, now, world);
        let Some(flow) = self.admitted(server, request, flow, place, now, world) else {
            return true;
        };
        if let Err(refusal) = self.renew(server, request, flow, number, now, world) {
            self.shared
                .context(now, world)
                .turn_down_wish(server, &refusal);
        }
        true
    }

    fn renew(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        number: u64,
        now: Time,
        world: &mut dyn World,
    ) -> Result<(), Not> {
        const NONE: Refusal = Refusal::new(481, "no such subscription");
        let lamp = self.lamps.lamps.get_mut(&number).ok_or(NONE)?;
        let event = event(request).filter(|event| *event == lamp.event);
        let asks = *request.method() == Method::Subscribe && lamp.pace.is_active();
        let event = event.filter(|_| asks && lamp.dialog.owns(request));
        let event = event.ok_or(NONE)?;
        if lamp.dialog.receive(request).is_err() {
            return Err(Refusal::new(500, "request that came out of order").into());
        }
        let wish = wish(request, event)?;
        lamp.dialog.refresh(request);
        lamp.dialog.flow = flow;
        lamp.registered = location::is_bound(&lamp.watcher, &flow, now, world);
        lamp.newer = 0;
        self.grant(server, (number, None), wish, now, world);
        Ok(())
    }

    /// Answers a SUBSCRIBE, and tells what holds now (RFC 6665 4.2.1.2).
    fn grant(
        &mut self,
        server: ServerId,
        (number, tag): (u64, Option<&str>),
        wish: Wish,
        now: Time,
        world: &mut dyn World,
    ) {
        let Some(lamp) = self.lamps.lamps.get_mut(&number) else {
            return;
        };
        (lamp.event, lamp.expires) = (wish.event, now + wish.span);
        lamp.asked = matches!(lamp.pace, Pace::Out | Pace::Behind);
        let mut context = self.shared.context(now, world);
        let contact = context.contact(&lamp.dialog);
        context.respond(server, 200, "OK", tag, |builder| {
            builder
                .header(Name::Contact, contact)
                .header(Name::Expires, wish.span.as_secs_ceil())
                .end()
        });
        let what = match wish.span {
            Millis(0) => Happens::End,
            Millis(_) => Happens::Asked,
        };
        self.lamps.step(&mut context, number, what);
    }
}

impl Context<'_> {
    fn turn_down_wish(&mut self, server: ServerId, not: &Not) {
        let (status, why) = match not {
            Not::Refused(refusal) => return self.turn_down(server, *refusal),
            Not::Unserved { .. } => (489, "no such event is served here"),
            Not::Unread => (415, "SUBSCRIBE with a body"),
            Not::TooBrief => (423, "subscription for too short a time"),
        };
        self.tell_refusal(server, status, why);
        let tag = self.shared.mint.hex(8);
        self.respond(server, status, reason_phrase(status), Some(&tag), |to| {
            match not {
                // RFC 6665 8.4.
                Not::Unserved { lamps: true } => to.header(Name::AllowEvents, "dialog, refer"),
                Not::Unserved { lamps: false } => to.header(Name::AllowEvents, "refer"),
                Not::TooBrief => to.header(Name::MinExpires, EXPIRES_MIN),
                // RFC 3261 21.4.13: no body is read at all.
                Not::Unread | Not::Refused(_) => to.header(Name::Accept, ""),
            }
            .end()
        });
    }
}

/// Returns what Event says in each NOTIFY; none where it is another event than that of all calls of a user.
fn event(request: &Message) -> Option<Box<str>> {
    let value = request.header(Name::Event)?;
    let (package, params) = value.split_once(';').unwrap_or((value, ""));
    let params = Params::new(params);
    let is_plain = |name: &str| {
        // RFC 4235 3.2: a session may be left out, a call that is asked for may not.
        name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("include-session-description")
    };
    let mut names = params
        .raw()
        .map(|param| param.split('=').next().unwrap_or(param));
    if !package.trim().eq_ignore_ascii_case(PACKAGE) || !names.all(|name| is_plain(name.trim())) {
        return None;
    }
    Some(match params.value("id") {
        Some(id) => format!("{PACKAGE};id={id}").into(),
        None => PACKAGE.into(),
    })
}

fn wish(request: &Message, event: Box<str>) -> Result<Wish, Not> {
    if !accepts(request) {
        return Err(Refusal::new(406, "nothing that we write is accepted").into());
    }
    if !request.body().is_empty() {
        return Err(Not::Unread);
    }
    match request.expires().unwrap_or(EXPIRES_MAX).min(EXPIRES_MAX) {
        1..EXPIRES_MIN => Err(Not::TooBrief),
        seconds => Ok(Wish {
            event,
            span: Millis::from_secs(seconds.into()),
        }),
    }
}

/// RFC 4235 3.5: without a word the type of the event is accepted.
fn accepts(request: &Message) -> bool {
    let mut accepted = request.values(Name::Accept).peekable();
    let is = |value: &str| {
        let kind = value.split(';').next().unwrap_or("").trim();
        [CONTENT_TYPE, "application/*", "*/*"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(kind))
    };
    accepted.peek().is_none() || accepted.any(is)
}
