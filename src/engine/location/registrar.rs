//! The registrar: REGISTER in, bindings and the whole response out (RFC 3261 10.3).

use bytes::Bytes;

use super::aor::{aor_in, canonical, domain};
use super::auth::{Authenticator, Challenge};
use super::bindings::{
    Flows, Order, Unchanged, Wanted, Wish, apply, apply_over, drop_expired, shown,
};
use super::gruu;
use super::identity::endpoint;
use super::temporary::{number, opened, temporary};
use crate::engine::endpoint::{Binding, BindingChange, BindingsChanged, Identity};
use crate::engine::events::{Event, Offence, Unproven};
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Auth, Domain, RegistrarSettings, ServedBy, Settings};
use crate::engine::time::{Millis, Time};
use crate::engine::timestamp::SipDate;
use crate::engine::trust;
use crate::sip::{Address, Builder, Contacts, Message, Name, Uri, keep_every, reason_phrase};

/// What a REGISTER may require.
const SUPPORTED: [&str; 3] = ["path", "outbound", "gruu"];
/// RFC 3261 10.2.1.1: what a client gets that names no time, or a wrong one (20.10).
const DEFAULT_EXPIRES: Millis = Millis::from_secs(3600);
/// Proxies on the way that a Path may name, and bytes of each.
const PATH_MAX: usize = 16;
const PATH_ENTRY_MAX: usize = 512;
/// Bytes of a Contact, of its URI and its parameters.
const CONTACT_MAX: usize = 2048;
/// Contacts that any REGISTER may have, however few may be bound.
const CONTACTS_MIN: usize = 8;
/// Bytes kept of User-Agent and of Allow; what is longer is cut.
const TEXT_MAX: usize = 512;
const Q_DEFAULT: u16 = 1000;

/// The outcome of a REGISTER.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    pub status: u16,
    /// The whole response, with a To tag.
    pub response: Bytes,
    /// It only asks for proof: a copy of the request may be asked the same again.
    pub asks: bool,
    /// For every shard; none where nothing changed.
    pub changed: Option<BindingsChanged>,
    pub events: Vec<Event>,
}

/// Keeps the bindings of the domains that are ours. The bindings are the world's.
pub struct Registrar {
    authenticator: Authenticator,
}

/// A REGISTER that changes nothing, as the response tells it.
pub(super) struct Refused {
    pub(super) status: u16,
    /// For the operator, and the reason phrase. None for the first challenge, which is no refusal.
    pub(super) why: Option<&'static str>,
    headers: Vec<(Name, String)>,
    /// In whose name the request is, where that was not proven.
    unproven: Option<(Aor, Unproven)>,
    /// The credentials answer what was sent to the same address.
    answered: bool,
}

impl Refused {
    fn new(status: u16, why: &'static str) -> Self {
        Self {
            status,
            why: Some(why),
            headers: Vec::new(),
            unproven: None,
            answered: false,
        }
    }

    fn challenged(aor: Aor, challenge: Challenge) -> Self {
        Self {
            status: challenge.status,
            why: challenge.why.is_failure().then_some("wrong credentials"),
            headers: challenge.headers,
            unproven: Some((aor, challenge.why)),
            answered: challenge.answered,
        }
    }
}

impl Registrar {
    /// Makes a registrar. The shards of a node have one secret, by which they know each other's nonces, and each its
    /// own number.
    pub fn new(secret: [u8; 32], shard: u8) -> Self {
        Self {
            authenticator: Authenticator::new(secret, shard),
        }
    }

    /// Returns what authenticates requests of other methods.
    pub fn authenticator(&mut self) -> &mut Authenticator {
        &mut self.authenticator
    }

    /// Takes a REGISTER that came over `flow`: all of it, or nothing (RFC 3261 10.3).
    pub fn register(
        &mut self,
        request: &Message,
        flow: &Flow,
        now: Time,
        settings: &Settings,
        world: &mut dyn World,
    ) -> Registered {
        match self.accept(request, flow, now, settings, world) {
            Ok((aor, changes)) => {
                let events = changes
                    .iter()
                    .map(|change| event(&aor, change, now))
                    .collect();
                let bindings = world.bindings(&aor);
                Registered {
                    status: 200,
                    asks: false,
                    response: self.accepted(request, flow, &aor, &bindings, now, world),
                    changed: (!changes.is_empty()).then_some(BindingsChanged { aor, changes }),
                    events,
                }
            }
            Err(refused) => {
                let method: Box<str> = request.method().as_str().into();
                let unproven = refused.unproven.as_ref().map(|(aor, why)| Event::Unproven {
                    method: method.clone(),
                    aor: aor.as_str().into(),
                    why: *why,
                    peer: flow.peer,
                });
                let failed = refused
                    .unproven
                    .as_ref()
                    .is_some_and(|(_, why)| why.is_failure());
                let offence = failed.then(|| Event::Offence {
                    what: Offence::Credentials,
                    flow: *flow,
                    proven: flow.transport.is_reliable() || refused.answered,
                });
                let refusal = refused.why.map(|why| Event::Refused {
                    method,
                    status: refused.status,
                    why,
                    peer: flow.to_string().into(),
                });
                Registered {
                    status: refused.status,
                    asks: refused.why.is_none(),
                    response: self.refused(request, flow, &refused),
                    changed: None,
                    events: unproven.into_iter().chain(offence).chain(refusal).collect(),
                }
            }
        }
    }

    /// Removes what has expired by now.
    pub fn sweep(&self, now: Time, world: &mut dyn World) -> (Vec<BindingsChanged>, Vec<Event>) {
        let (mut all, mut events) = (Vec::new(), Vec::new());
        for aor in world.expired(now) {
            let mut changes = Vec::new();
            world.change_bindings(&aor, &mut |bindings| {
                drop_expired(bindings, now, &mut changes);
            });
            if !changes.is_empty() {
                events.extend(changes.iter().map(|change| event(&aor, change, now)));
                all.push(BindingsChanged { aor, changes });
            }
        }
        (all, events)
    }

    fn accept(
        &mut self,
        request: &Message,
        flow: &Flow,
        now: Time,
        settings: &Settings,
        world: &mut dyn World,
    ) -> Result<(Aor, Vec<BindingChange>), Refused> {
        check_required(request)?;
        let (aor, domain, registrar) = served(request, settings)?;
        match registrar.auth {
            Auth::None => {}
            Auth::Users if trust::is_listed(flow, settings, world) => {}
            Auth::Users => {
                let user = self
                    .authenticator
                    .authenticate(
                        request,
                        &aor,
                        domain,
                        settings,
                        flow.peer.ip(),
                        now,
                        false,
                        world,
                    )
                    .map_err(|challenge| Refused::challenged(aor.clone(), challenge))?;
                if user != aor {
                    let mut refused = Refused::new(403, "registers for somebody else");
                    refused.unproven = Some((aor, Unproven::Other));
                    return Err(refused);
                }
            }
        }
        check_first_hop(request)?;
        check_loop(request, &aor, settings, world)?;
        let Some(mut wish) = wish(request, flow, registrar, now, settings)? else {
            return Ok((aor, Vec::new()));
        };
        // RFC 5630 5.2: what asks for secrecy on every hop is not bound over one that has none.
        if wish.is_secret() && !world.spoken(flow).is_secure() {
            return Err(Refused::new(400, "sips: Contact over a hop in the clear"));
        }
        wish.number(|instance| number(world.gruu_key(), &aor, instance, request, now));
        let order = Order {
            call_id: request.call_id(),
            cseq: request.cseq(),
        };
        let mut outcome = Ok(Vec::new());
        world.change_bindings(&aor, &mut |bindings| {
            outcome = apply(bindings, &wish, order, registrar.max_bindings, now);
        });
        if matches!(outcome, Err(Unchanged::TooMany)) {
            let flows = Flows::of(&aor, world);
            world.change_bindings(&aor, &mut |bindings| {
                let max = registrar.max_bindings;
                outcome = apply_over(bindings, &wish, order, max, now, &flows);
            });
        }
        match outcome {
            Ok(changes) => Ok((aor, changes)),
            Err(Unchanged::OutOfOrder) => Err(Refused::new(500, "REGISTER out of order")),
            Err(Unchanged::TooMany) => Err(Refused::new(403, "too many bindings")),
        }
    }

    fn accepted(
        &self,
        request: &Message,
        flow: &Flow,
        aor: &Aor,
        bindings: &[Binding],
        now: Time,
        world: &dyn World,
    ) -> Bytes {
        let tag = self.authenticator.tag(request);
        let mut response =
            Builder::respond(request, 200, reason_phrase(200), Some(&tag), flow.peer);
        // By the name that the phone uses for itself, which others can reach it by.
        let user = canonical(request.to().uri).filter(|_| gruu::asks(request));
        for binding in shown(bindings, request.call_id(), now) {
            let mut text = contact(binding, now);
            if let Some(gruu) = user.as_ref().and_then(|user| gruu::public(user, binding)) {
                text.push_str(&format!(";pub-gruu=\"{gruu}\""));
                let host = user.as_ref().map_or("", Aor::host);
                let key = world.gruu_key();
                if let Some(gruu) = temporary(key, aor, host, binding, request, now) {
                    text.push_str(&format!(";temp-gruu=\"{gruu}\""));
                }
            }
            response = response.header(Name::Contact, text);
        }
        if is_outbound(request) {
            response = response.header(Name::Require, "outbound");
            if is_first_hop(request) {
                // RFC 5626 4.4: how often the phone is to look after a flow to us.
                let seconds = keep_every(flow.transport.is_reliable());
                response = response.header(Name::FlowTimer, seconds);
            }
        }
        if knows_path(request) {
            response = response.copy(request, Name::Path);
        }
        // RFC 3261 10.3 step 8: some phones have no other clock.
        let now = world.shown(now);
        response.header(Name::Date, SipDate(now)).end()
    }

    fn refused(&self, request: &Message, flow: &Flow, refused: &Refused) -> Bytes {
        let tag = self.authenticator.tag(request);
        let phrase = match refused.status {
            // These speak by their headers.
            401 | 407 | 420 | 423 => reason_phrase(refused.status),
            _ => refused.why.unwrap_or_else(|| reason_phrase(refused.status)),
        };
        let mut response = Builder::respond(request, refused.status, phrase, Some(&tag), flow.peer);
        for (name, value) in &refused.headers {
            response = response.header(*name, value);
        }
        response.end()
    }
}

/// RFC 3261 10.3 step 2.
fn check_required(request: &Message) -> Result<(), Refused> {
    let unknown: Vec<&str> = request
        .values(Name::Require)
        .filter(|tag| {
            !SUPPORTED
                .iter()
                .any(|known| known.eq_ignore_ascii_case(tag))
        })
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let mut refused = Refused::new(420, "requires an extension that is not supported");
    refused
        .headers
        .push((Name::Unsupported, unknown.join(", ")));
    Err(refused)
}

/// Returns the AOR and the domain that serves it (RFC 3261 10.3 steps 1 and 5).
///
/// The Request-URI names the domain; phones that were given an address in its place are let through.
fn served<'s>(
    request: &Message,
    settings: &'s Settings,
) -> Result<(Aor, &'s Domain, &'s RegistrarSettings), Refused> {
    let not_served = || Refused::new(404, "not served here");
    let uri = Uri::parse(request.uri()).map_err(|_| Refused::new(400, "bad Request-URI"))?;
    let to = request.to();
    let named = to.uri_parsed().map_err(|_| Refused::new(400, "bad To"))?;
    let aor = aor_in(to.uri, settings).ok_or_else(not_served)?;
    let domain_of_aor = domain(named.host, settings).ok_or_else(not_served)?;
    let same_domain =
        domain(uri.host, settings).is_some_and(|domain| domain.host == domain_of_aor.host);
    if !same_domain && uri.host_ip().is_none() {
        return Err(not_served());
    }
    match &domain_of_aor.served_by {
        ServedBy::Registrar(registrar) => Ok((aor, domain_of_aor, registrar)),
        ServedBy::Upstream(_) => Err(not_served()),
    }
}

/// Reads what the Contacts ask for; none where there are none: then it is a question.
pub(super) fn wish(
    request: &Message,
    flow: &Flow,
    registrar: &RegistrarSettings,
    now: Time,
    settings: &Settings,
) -> Result<Option<Wish>, Refused> {
    let contacts = request
        .contacts()
        .map_err(|_| Refused::new(400, "bad Contact"))?;
    let list = match contacts {
        Contacts::None => return Ok(None),
        Contacts::Star if request.expires() == Some(0) => return Ok(Some(Wish::RemoveAll)),
        Contacts::Star => return Err(Refused::new(400, "Contact * without Expires 0")),
        Contacts::List(list) => list,
    };
    // As many as there may be, put in the place of as many. Each is held against all the others.
    if list.len() > 2 * registrar.max_bindings.max(CONTACTS_MIN) {
        return Err(Refused::new(403, "too many bindings"));
    }
    let path = path(request)?;
    let allow: Vec<&str> = request.fields(Name::Allow).collect();
    let allow = allow.join(", ");
    let mut wanted = Vec::with_capacity(list.len());
    for contact in &list {
        let scheme = contact.uri.split(':').next().unwrap_or("");
        if !scheme.eq_ignore_ascii_case("sip") && !scheme.eq_ignore_ascii_case("sips") {
            return Err(Refused::new(400, "Contact is no SIP URI"));
        }
        if contact.uri.len() + contact.params.as_str().len() > CONTACT_MAX {
            return Err(Refused::new(400, "Contact too long"));
        }
        let q = match contact.params.value("q") {
            Some(q) => quality(q)
                .ok_or_else(|| Refused::new(400, "q of a Contact is no number from 0 to 1"))?,
            None => Q_DEFAULT,
        };
        let expires = expires(contact, request, registrar)?;
        let mut endpoint = endpoint(contact, request, Some(*flow), settings);
        endpoint.path.clone_from(&path);
        let reg_id = match &*endpoint.identity {
            // RFC 5626 6: without an instance it means nothing.
            Identity::Instance(_) => contact.params.value("reg-id").and_then(reg_id),
            Identity::Epid(_) | Identity::Contact { .. } => None,
        };
        wanted.push(Wanted {
            binding: Binding {
                endpoint,
                reg_id,
                q,
                expires: now + expires,
                call_id: request.call_id().into(),
                cseq: request.cseq(),
                user_agent: cut(request.header(Name::UserAgent).unwrap_or("")).into(),
                params: contact.params.as_str().into(),
                allow: cut(&allow).into(),
                registered: now,
                token: None,
                gruu: None,
                timed: is_outbound(request) && is_first_hop(request),
            },
            remove: expires == Millis(0),
        });
    }
    Ok(Some(Wish::Contacts(wanted)))
}

/// Returns how long a Contact is to be bound: its parameter, else the header, else an hour; zero is a
/// removal. More than the most is the most (RFC 3261 10.3 step 7).
///
/// # Errors
/// 423 with Min-Expires.
fn expires(
    contact: &Address<'_>,
    request: &Message,
    registrar: &RegistrarSettings,
) -> Result<Millis, Refused> {
    let asked = match contact.params.get("expires") {
        // RFC 3261 20.10: a value that is no number is an hour.
        Some(value) => value.and_then(seconds).unwrap_or(DEFAULT_EXPIRES),
        None => request
            .expires()
            .map_or(DEFAULT_EXPIRES, |s| Millis::from_secs(u64::from(s))),
    };
    if asked == Millis(0) {
        return Ok(asked);
    }
    if asked < registrar.min_expires && asked < DEFAULT_EXPIRES {
        let mut refused = Refused::new(423, "asks for too short a time");
        let least = registrar.min_expires.as_secs_ceil();
        refused.headers.push((Name::MinExpires, least.to_string()));
        return Err(refused);
    }
    Ok(asked.min(registrar.max_expires))
}

/// Returns the Path (RFC 3327 5.3), topmost first. It is kept even where the phone does not know of it:
/// the proxy that wrote it needs it. Only who knows of it is shown it.
fn path(request: &Message) -> Result<Vec<Box<str>>, Refused> {
    let mut path = Vec::new();
    for value in request.values(Name::Path) {
        let fits = path.len() < PATH_MAX && value.len() <= PATH_ENTRY_MAX;
        if !fits || Address::parse(value).is_err() {
            return Err(Refused::new(400, "bad Path"));
        }
        path.push(value.into());
    }
    Ok(path)
}

/// RFC 5626 6: true where the phone keeps flows and we, or the proxy that it is connected to, keep them
/// too. It is told so, and looks after them by CRLF or STUN.
fn is_outbound(request: &Message) -> bool {
    let knows = |name| request.has_token(name, "outbound");
    (knows(Name::Supported) || knows(Name::Require))
        && first_hop_keeps(request)
        && names_flow(request)
}

/// RFC 5626 6: a phone that offers to keep flows is told where the proxy that it is connected to keeps none.
fn check_first_hop(request: &Message) -> Result<(), Refused> {
    let offers = request.has_token(Name::Supported, "outbound");
    if offers && names_flow(request) && !first_hop_keeps(request) {
        return Err(Refused::new(439, reason_phrase(439)));
    }
    Ok(())
}

/// RFC 5627 5.1: a user whose Contact is a GRUU of its own would be sought at itself.
fn check_loop(
    request: &Message,
    aor: &Aor,
    settings: &Settings,
    world: &dyn World,
) -> Result<(), Refused> {
    let Ok(Contacts::List(contacts)) = request.contacts() else {
        return Ok(());
    };
    let loops = contacts.iter().any(|contact| {
        contact.uri_parsed().is_ok_and(|uri| {
            let within = opened(world.gruu_key(), &uri).map(|(within, _)| within);
            let named = within.or_else(|| aor_in(contact.uri, settings));
            uri.params.has("gr") && named.as_ref() == Some(aor)
        })
    });
    if loops {
        return Err(Refused::new(403, "Contact is a GRUU of the same user"));
    }
    Ok(())
}

fn is_first_hop(request: &Message) -> bool {
    request.vias().count() == 1 && request.header(Name::Path).is_none()
}

/// The far end of the phone's flow is ours, or that of an edge that says `ob` in its Path.
fn first_hop_keeps(request: &Message) -> bool {
    let edge = request.values(Name::Path).last();
    let edge = edge.and_then(|path| Address::parse(path).ok());
    match edge {
        Some(edge) => edge.uri_parsed().is_ok_and(|uri| uri.params.has("ob")),
        None => is_first_hop(request),
    }
}

fn names_flow(request: &Message) -> bool {
    let Ok(Contacts::List(contacts)) = request.contacts() else {
        return false;
    };
    contacts.iter().any(|contact| {
        let reg_id = contact.params.value("reg-id").and_then(reg_id);
        reg_id.is_some() && contact.params.has("+sip.instance")
    })
}

pub(crate) fn knows_path(request: &Message) -> bool {
    request.has_token(Name::Supported, "path") || request.has_token(Name::Require, "path")
}

/// Writes a binding for the 200: the Contact's parameters as they came, and what is left of its time.
fn contact(binding: &Binding, now: Time) -> String {
    let mut text = format!("<{}>", binding.endpoint.contact);
    for part in parts(&binding.params) {
        let name = part.split('=').next().unwrap_or("").trim();
        // RFC 5627 4.1: what a phone says of its GRUUs counts for nothing.
        let ours = ["expires", "pub-gruu", "temp-gruu"];
        if !name.is_empty() && !ours.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            text.extend([";", part.trim()]);
        }
    }
    let left = binding.expires.since(now).as_secs_ceil();
    text.push_str(&format!(";expires={left}"));
    text
}

/// Cuts parameters apart with their quotes, which `Params` takes off.
fn parts(params: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    params.split(move |c| {
        let ends = c == ';' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        ends
    })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

pub(super) fn seconds(text: &str) -> Option<Millis> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| text.parse().unwrap_or(u32::MAX))?;
    Some(Millis::from_secs(u64::from(number)))
}

/// Reads a reg-id: 1 to 2^31 - 1 (RFC 5626 4.2).
fn reg_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| (1..1 << 31).contains(id))
}

/// Reads a qvalue (RFC 3261 25.1) to thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

pub(super) fn event(aor: &Aor, change: &BindingChange, now: Time) -> Event {
    match change {
        BindingChange::Registered { binding, .. } => Event::Registered {
            aor: aor.as_str().into(),
            contact: binding.endpoint.contact.clone(),
            expires: binding.expires.since(now),
        },
        BindingChange::Removed { binding, expired } => Event::Unregistered {
            aor: aor.as_str().into(),
            contact: binding.endpoint.contact.clone(),
            expired: *expired,
        },
    }
}
