//! Who may: what a request that begins something must prove, and how far it then gets.
//!
//! | the source, and whom the request says it is from | what is asked | how far |
//! | --- | --- | --- |
//! | a trusted network or certificate, or a trusted upstream's address | nothing | anywhere |
//! | a user of a domain with `auth: users`, in that domain, at an address of ours or by a number | digest as that user (RFC 3261 22.3) | anywhere |
//! | a user of a domain with `auth: none` | nothing | anywhere |
//! | a user of a domain that an upstream serves | nothing here: the upstream judges | our users, that upstream; transfers there only from a flow that it let register |
//! | anonymous (RFC 3323 4.1.1.3), or no SIP address | as of the identity that it prefers, of the realm that it has credentials for, of who has registered over its flow; digest as any user, where a domain is for all, or a stranger could not get there | as that user |
//! | anybody else | nothing | our users |
//! | anybody who calls for help by a route that is for anyone (`Emergency::Anyone`) | nothing | there |
//!
//! A source that lies on the flow of a binding is asked like any other: the address of a datagram proves
//! nothing, and over a connection a phone keeps its nonce.

mod dialogs;
mod domains;
mod scanners;

pub(in crate::engine) use self::domains::WrongDomains;
pub(crate) use self::scanners::is_of_scanner;

use super::Engine;
use super::conversation::context::{Context, Shared};
use super::location::{self, Challenge};
use super::routing::{self, By, dialled};
use crate::engine::asker::Asker;
use crate::engine::events::{Event, Offence, Unproven};
use crate::engine::ids::{Aor, Flow};
use crate::engine::ports::World;
use crate::engine::settings::{Auth, Domain, Emergency, ServedBy, Settings};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::digest::Credentials;
use crate::sip::{Message, Name, Uri, reason_phrase};

/// Between two lines of the log about services that nobody serves.
const TOLD_EVERY: Millis = Millis::from_secs(10);

/// In whose name a request is.
struct Claim<'s> {
    aor: Aor,
    domain: &'s Domain,
    /// Any user of the domain may have sent it.
    anonymous: bool,
}

enum Rejection {
    Challenge(Box<Challenge>, Aor),
    Refuse(Aor, &'static str),
}

impl Engine {
    /// Lets a first request in, or answers it: a challenge (407), or a refusal (403).
    pub(super) fn admit(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &mut dyn World,
    ) -> Option<Asker> {
        let (aor, rejection) = match self.judge(request, flow, now, world) {
            Ok(asker) => return Some(asker),
            // RFC 6881 5.1, by the operator's word. Who guesses at passwords by it is told of all the same.
            Err(rejection)
                if self.emergency(request, flow, now, world) == Some(Emergency::Anyone) =>
            {
                if let Rejection::Challenge(challenge, aor) = rejection
                    && challenge.why.is_failure()
                {
                    self.unproven(request, flow, &aor, challenge.why, challenge.answered);
                }
                return Some(Asker::Stranger);
            }
            Err(Rejection::Refuse(aor, why)) => {
                self.unproven(request, flow, &aor, Unproven::Other, false);
                self.shared.context(now, world).refuse(server, 403, why);
                return None;
            }
            Err(Rejection::Challenge(challenge, aor)) => (aor, challenge),
        };
        self.ask(server, request, flow, &aor, &rejection, now, world);
        None
    }

    /// Asks for proof. What came instead of it is told to the operator.
    fn ask(
        &mut self,
        server: ServerId,
        request: &Message,
        flow: Flow,
        aor: &Aor,
        challenge: &Challenge,
        now: Time,
        world: &mut dyn World,
    ) {
        self.unproven(request, flow, aor, challenge.why, challenge.answered);
        let tag = self.registrar.authenticator().tag(request);
        let mut context = self.shared.context(now, world);
        if challenge.why.is_failure() {
            context.tell_refusal(server, challenge.status, "wrong credentials");
        }
        context.challenge(server, challenge, &tag);
    }

    /// Returns who may make the call for help that a first request is, where it is one.
    pub(super) fn emergency(
        &self,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &dyn World,
    ) -> Option<Emergency> {
        let settings = &self.shared.settings;
        if settings
            .routes
            .iter()
            .all(|route| route.emergency.is_none())
        {
            return None;
        }
        let by = By::over(&flow, &Asker::Stranger, world);
        let uri = dialled(request.uri(), &by, settings, world);
        let there = routing::route(&uri, &[], now, settings, world);
        there.ok()?.emergency
    }

    fn judge(
        &mut self,
        request: &Message,
        flow: Flow,
        now: Time,
        world: &dyn World,
    ) -> Result<Asker, Rejection> {
        let (settings, source) = (&self.shared.settings, flow.peer.ip());
        if self.shared.peers.trusts(&flow, settings, world) {
            return Ok(Asker::Trusted);
        }
        // An upstream has no password of a user's.
        let by_upstream = self.shared.doubted.knows(source);
        let claim = claim(request, &flow, by_upstream, now, settings, world).or_else(|| {
            let apart = !by_upstream && location::is_anonymous(request);
            apart.then(|| beyond(request, &flow, now, settings, world))?
        });
        let Some(claim) = claim else {
            return Ok(Asker::Stranger);
        };
        let Claim {
            aor,
            domain,
            anonymous,
        } = claim;
        match &domain.served_by {
            ServedBy::Upstream(upstream) if location::is_bound(&aor, &flow, now, world) => {
                return Ok(Asker::Of(upstream.clone()));
            }
            ServedBy::Upstream(upstream) => return Ok(Asker::Says(upstream.clone())),
            ServedBy::Registrar(registrar) if registrar.auth == Auth::None => {
                return Ok(Asker::Unasked(aor));
            }
            ServedBy::Registrar(_) => {}
        }
        let authenticator = self.registrar.authenticator();
        match authenticator.authenticate(request, &aor, domain, settings, source, now, true, world)
        {
            Ok(user) if user == aor || anonymous => Ok(Asker::Proven(user)),
            Ok(_) => Err(Rejection::Refuse(aor, "in the name of somebody else")),
            Err(challenge) => Err(Rejection::Challenge(Box::new(challenge), aor)),
        }
    }

    /// Returns the upstreams that a request comes by, as far as that can be told. None where it comes by none, or is
    /// of a phone that has shown to be here.
    pub(super) fn came_by(
        &self,
        request: &Message,
        flow: &Flow,
        asker: &Asker,
        now: Time,
        world: &dyn World,
    ) -> Option<Vec<Box<str>>> {
        match asker {
            Asker::Trusted | Asker::Says(_) | Asker::Stranger => {}
            Asker::Proven(_) | Asker::Unasked(_) | Asker::Of(_) => return None,
        }
        let source = flow.peer.ip();
        if !(self.shared.peers.knows(source) || self.shared.doubted.knows(source)) {
            return None;
        }
        let own = location::whose(request.from().uri, now, &self.shared.settings, world);
        if own.is_some_and(|own| location::is_bound(&own, flow, now, world)) {
            return None;
        }
        let mut by = self.shared.peers.at(flow.peer);
        by.append(&mut self.shared.doubted.at(flow.peer));
        Some(by)
    }

    fn unproven(
        &mut self,
        request: &Message,
        flow: Flow,
        aor: &Aor,
        why: Unproven,
        answered: bool,
    ) {
        self.emit(Event::Unproven {
            method: request.method().as_str().into(),
            aor: aor.as_str().into(),
            why,
            peer: flow.peer,
        });
        if why.is_failure() {
            self.emit(offence(Offence::Credentials, flow, answered));
        }
    }

    /// Tells the operator that a service was called which no route leads to.
    pub(super) fn no_service(&mut self, request: &Message, flow: Flow, now: Time) {
        let told = self.no_service_told;
        if told.is_none_or(|told| now.since(told) >= TOLD_EVERY) {
            self.no_service_told = Some(now);
            self.emit(Event::NoService {
                uri: request.uri().into(),
                peer: flow.to_string().into(),
            });
        }
    }

    /// Takes note of a stranger who asks for somebody that does not exist: he may be trying names. An upstream hands
    /// on what others dial.
    pub(super) fn looked_for(
        &mut self,
        asker: &Asker,
        status: u16,
        (request, flow): (&Message, Flow),
        now: Time,
        world: &dyn World,
    ) {
        if status == 404 {
            self.misdirected(request, flow, now, world);
        }
        let is_upstream = self.shared.doubted.knows(flow.peer.ip());
        if status == 404 && *asker == Asker::Stranger && !is_upstream {
            self.emit(offence(Offence::UnknownUser, flow, false));
        }
    }
}

/// Returns an offence. Over a connection its source is proven; by datagram only where it `answered`
/// something that was sent there.
pub(super) fn offence(what: Offence, flow: Flow, answered: bool) -> Event {
    Event::Offence {
        what,
        flow,
        proven: answered || flow.transport.is_reliable(),
    }
}

/// Returns in whose name a request is, where a domain here has to do with that.
fn claim<'s>(
    request: &Message,
    flow: &Flow,
    by_upstream: bool,
    now: Time,
    settings: &'s Settings,
    world: &dyn World,
) -> Option<Claim<'s>> {
    let from = request.from();
    let uri = from.uri_parsed().ok();
    if let Some(uri) = uri.as_ref().filter(|uri| location::is_named(uri))
        && let Some(domain) = location::domain(uri.host, settings)
    {
        // Without a user it is the domain itself that speaks, whom no password proves.
        let aor = location::whose(from.uri, now, settings, world)
            .unwrap_or_else(|| Aor::from_canonical(format!("sip:{}", uri.host)));
        return Some(Claim {
            aor,
            domain,
            anonymous: false,
        });
    }
    // An upstream hands on whom it was called by, in whatever words.
    let meant = || by_other_name(from.uri, flow, settings, world);
    if let Some((aor, domain)) = (!by_upstream).then(meant).flatten() {
        return Some(Claim {
            aor,
            domain,
            anonymous: false,
        });
    }
    if uri.is_some_and(|uri| location::is_named(&uri)) {
        return None;
    }
    let (aor, domain) = preferred(request, settings)
        .or_else(|| by_credentials(request, settings))
        .or_else(|| {
            (!by_upstream).then(|| location::over_flow(request, flow, now, settings, world))?
        })
        .or_else(|| for_all(settings))?;
    Some(Claim {
        aor,
        domain,
        anonymous: true,
    })
}

/// Returns which of our users a From names without their domain: by a number of theirs, or at an address of ours.
/// Whoever is called back by it is who is meant.
fn by_other_name<'s>(
    uri: &str,
    flow: &Flow,
    settings: &'s Settings,
    world: &dyn World,
) -> Option<(Aor, &'s Domain)> {
    let by = By::over(flow, &Asker::Stranger, world);
    let number = global_number(uri);
    let meant = dialled(number.as_deref().unwrap_or(uri), &by, settings, world);
    let aor = location::aor_in(&meant, settings)?;
    let domain = location::domain(aor.host(), settings)?;
    // A fixed endpoint without a password could prove nothing.
    let is_user = settings.users.contains_key(&aor) || !world.bindings(&aor).is_empty();
    is_user.then_some((aor, domain))
}

/// Returns the number that a SIP URI says to be one (`user=phone`) as a `tel:` URI: it is the same at every host
/// (RFC 3261 19.1.6). A local one is of its host.
fn global_number(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri).ok().filter(location::is_named)?;
    let phone = uri.params.value("user")?.eq_ignore_ascii_case("phone");
    let user = uri.user_unescaped();
    (phone && user.starts_with('+')).then(|| format!("tel:{user}"))
}

/// RFC 3325 9.2: whom an anonymous user wants to be known as to those who may know.
fn preferred<'s>(request: &Message, settings: &'s Settings) -> Option<(Aor, &'s Domain)> {
    let value = request.values(Name::PPreferredIdentity).next()?;
    let address = crate::sip::Address::parse(value).ok()?;
    let host = address.uri_parsed().ok()?.host;
    let domain = location::domain(host, settings)?;
    Some((location::aor_in(address.uri, settings)?, domain))
}

/// The first credentials for a realm of ours.
fn by_credentials<'s>(request: &Message, settings: &'s Settings) -> Option<(Aor, &'s Domain)> {
    let mut ours = request
        .fields(Name::ProxyAuthorization)
        .filter_map(Credentials::parse)
        .filter_map(|credentials| {
            let mut domains = settings.domains.iter();
            let domain = domains.find(|domain| *domain.realm == *credentials.realm)?;
            let user = credentials.username.split('@').next().unwrap_or("");
            let host = if &*domain.host == "*" {
                &domain.realm
            } else {
                &domain.host
            };
            let aor = location::aor_in(&format!("sip:{user}@{host}"), settings)?;
            Some((aor, domain))
        });
    ours.next()
}

/// Where a domain is for every host, nobody is a stranger.
fn for_all(settings: &Settings) -> Option<(Aor, &Domain)> {
    let domain = settings
        .domains
        .iter()
        .find(|domain| &*domain.host == "*")?;
    let aor = location::aor_in("sip:anonymous@anonymous.invalid", settings)?;
    Some((aor, domain))
}

/// Who asks a domain of ours for somebody beyond an upstream, and says nothing of who it is, may be a user of the
/// domain: a stranger would get 403.
fn beyond<'s>(
    request: &Message,
    flow: &Flow,
    now: Time,
    settings: &'s Settings,
    world: &dyn World,
) -> Option<Claim<'s>> {
    let by = By::over(flow, &Asker::Stranger, world);
    let uri = dialled(request.uri(), &by, settings, world);
    let domain = location::domain(Uri::parse(&uri).ok()?.host, settings)?;
    let asks = match &domain.served_by {
        ServedBy::Registrar(registrar) => registrar.auth == Auth::Users,
        ServedBy::Upstream(_) => false,
    };
    let there = asks.then(|| routing::route(&uri, &[], now, settings, world));
    there?.ok()?.upstream?;
    let aor = Aor::from_canonical(format!("sip:anonymous@{}", domain.host));
    Some(Claim {
        aor,
        domain,
        anonymous: true,
    })
}

impl Context<'_> {
    /// Asks for proof (RFC 3261 22.3). `tag` is the same for each answer to the request.
    ///
    /// Nothing is kept of a request that brought no credentials that count (26.3.2.4). Wrong ones are a guess,
    /// and a copy of it is not another.
    fn challenge(&mut self, server: ServerId, challenge: &Challenge, tag: &str) {
        let status = challenge.status;
        let phrase = reason_phrase(status);
        let written = self.compose(server, status, phrase, Some(tag), |builder| {
            let headers = challenge.headers.iter();
            headers
                .fold(builder, |builder, (name, value)| {
                    builder.header(*name, value)
                })
                .end()
        });
        let Some(bytes) = written else { return };
        if challenge.why.is_failure() {
            return self.reply(server, status, bytes);
        }
        let Shared {
            transactions, out, ..
        } = &mut *self.shared;
        transactions.challenge(server, bytes, self.now, out);
    }
}
