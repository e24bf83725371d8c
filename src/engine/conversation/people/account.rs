//! An upstream that asks us for proof (RFC 3261 22.2, 22.3): we answer with the account that we have there.
//! What was asked for is sent again, as a new request of the same dialog, and whoever waits for its answer goes
//! on waiting. What is shown once is shown with all that follows in the dialog, as long as it is taken.
//!
//! ```text
//!  INVITE of a branch ── 401, 407 ──► called again (`Branch::call_again`)
//!  within a dialog ───── 401, 407 ──► sent again by `proves_again`, in a new transaction (`Renewed`)
//!  BYE of what is over ─ 401, 407 ──► sent again by `leave_again`, from what `Proving` keeps
//!  outside of dialogs ── 401, 407 ──► sent again by whoever carries it, where `proves_outside` says so
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::engine::conversation::Conversation;
use crate::engine::conversation::answers::Answer;
use crate::engine::conversation::carrying::within::Renewed;
use crate::engine::conversation::context::{Context, Errand, What, end_with};
use crate::engine::conversation::leg::Leg;
use crate::engine::conversation::people::far_ends::may_have_called;
use crate::engine::dialog::Dialog;
use crate::engine::dialog::proofs::{As, Proofs, Rounds};
use crate::engine::endpoint::Endpoint;
use crate::engine::events::{Event, Unanswered};
use crate::engine::ids::{Flow, LegId, Side};
use crate::engine::locating::Hop;
use crate::engine::mint::branch_shard;
use crate::engine::routing;
use crate::engine::settings::{Account, Settings, UpstreamTarget};
use crate::engine::transaction::{ClientId, Sent};
use crate::sip::{Builder, Message, Method, Name, Uri};

/// Requests that are out, and are sent again in another way once they are asked for proof.
#[derive(Debug, Default)]
pub(crate) struct Proving(BTreeMap<ClientId, Chain>);

/// One request, by whatever transaction it is out.
#[derive(Debug, Default)]
struct Chain {
    rounds: Rounds,
    /// Of a BYE, whose dialog may be gone when it is answered: the upstream, and what it is shown.
    parted: Option<(Box<str>, Proofs)>,
}

impl Proving {
    /// A request has another transaction.
    pub(crate) fn goes_on(&mut self, before: ClientId, now: ClientId) {
        if let Some(chain) = self.0.remove(&before) {
            self.0.insert(now, chain);
        }
    }

    /// Forgets what is over.
    pub(crate) fn retain(&mut self, waits: impl Fn(ClientId) -> bool) {
        self.0.retain(|client, _| waits(*client));
    }
}

impl Context<'_> {
    /// Shows the realms that have asked within a dialog what they want to see. Who asks through us proves
    /// itself where it has an account of its own.
    pub(crate) fn shown(&mut self, dialog: &mut Dialog, bytes: Bytes, errand: Errand) -> Bytes {
        let invite = bytes.starts_with(b"INVITE ");
        let theirs = dialog.proofs.others_prove && errand.what.is_theirs();
        let ours = !dialog.proofs.is_empty() && !theirs;
        if !(ours || invite && has_credentials(&bytes)) {
            if invite {
                dialog.keep_credentials(0, Vec::new());
            }
            return bytes;
        }
        let Ok(request) = Message::parse(bytes.clone()) else {
            return bytes;
        };
        let mut credentials = credentials(&request);
        let bytes = if ours && credentials.is_empty() && dialog.made(&request) {
            credentials = proven(&mut dialog.proofs, &request);
            written(&request, None, None, &credentials)
        } else {
            bytes
        };
        if invite {
            dialog.keep_credentials(request.cseq(), credentials);
        }
        bytes
    }

    /// A BYE went out by which its dialog may be forgotten.
    pub(crate) fn is_farewell(&mut self, client: ClientId, leg: &Leg) {
        let settings = &self.shared.settings;
        let Some((name, _)) = account(leg, settings) else {
            return;
        };
        let parted = Some((name.into(), leg.dialog.proofs.clone()));
        let chain = Chain {
            parted,
            ..Chain::default()
        };
        self.shared.proving.0.insert(client, chain);
    }

    /// A BYE is asked for proof whose dialog is gone. Returns false where it is not sent again.
    pub(crate) fn leave_again(
        &mut self,
        client: ClientId,
        errand: Errand,
        response: &Message,
        sent: &Sent,
    ) -> bool {
        let Some(mut chain) = self.shared.proving.0.remove(&client) else {
            return false;
        };
        let Some((name, proofs)) = &mut chain.parted else {
            return false;
        };
        let known = self.shared.settings.upstreams.get(&**name).cloned();
        let Some(own) = known.and_then(|upstream| upstream.account) else {
            return false;
        };
        let name = name.clone();
        let Some(request) = self.learn(proofs, &mut chain.rounds, (&name, &own), response, sent)
        else {
            return false;
        };
        let lines = proven(proofs, &request);
        let Some(bytes) = self.anew_with(&request, request.cseq() + 1, &lines) else {
            return false;
        };
        let client = self.send(bytes, sent.flow, errand);
        self.shared.proving.0.insert(client, chain);
        true
    }

    /// A request outside of dialogs is asked for proof by whom it was sent to. Returns true where another try may
    /// meet that.
    pub(crate) fn proves_outside(
        &mut self,
        endpoint: &Endpoint,
        (proofs, rounds): (&mut Proofs, &mut Rounds),
        response: &Message,
    ) -> bool {
        let settings = &self.shared.settings;
        let through = endpoint.through.as_deref();
        let Some(name) = through.and_then(|hop| upstream_name(hop, settings)) else {
            return false;
        };
        let own = settings.upstreams.get(name);
        let own = own.and_then(|upstream| upstream.account.clone());
        let name: Box<str> = name.into();
        let Some(own) = own else {
            self.unanswered(&name, response, Unanswered::NoAccount, "");
            return false;
        };
        self.meets(proofs, rounds, (&name, &own), response)
    }

    /// As `meets`. Returns the request that the response answers.
    fn learn(
        &mut self,
        proofs: &mut Proofs,
        rounds: &mut Rounds,
        own: (&str, &Account),
        response: &Message,
        sent: &Sent,
    ) -> Option<Message> {
        let met = self.meets(proofs, rounds, own, response);
        let request = met.then(|| Message::parse(sent.bytes.clone()));
        request?.ok()
    }

    /// Takes what a response asks for. Returns true where another try may meet that; else the operator is told.
    fn meets(
        &mut self,
        proofs: &mut Proofs,
        rounds: &mut Rounds,
        (name, own): (&str, &Account),
        response: &Message,
    ) -> bool {
        let mint = &mut self.shared.mint;
        let own = As {
            user: &own.user,
            password: &own.password,
            realms: &own.realms,
        };
        match proofs.learn(response, rounds, own, || mint.hex(8)) {
            Ok(()) => {
                self.emit(Event::Proved);
                true
            }
            Err((why, realm)) => {
                self.unanswered(name, response, why, &realm);
                false
            }
        }
    }

    fn unanswered(&mut self, upstream: &str, response: &Message, why: Unanswered, realm: &str) {
        self.emit(Event::Unanswered {
            upstream: upstream.into(),
            method: response.method().as_str().into(),
            realm: realm.into(),
            why,
        });
    }

    /// Writes a request anew with other credentials.
    fn anew_with(&mut self, request: &Message, cseq: u32, lines: &[u8]) -> Option<Bytes> {
        let old = request.branch()?;
        let branch = self.shared.mint.branch(branch_shard(old)?);
        // What it is known by where it comes back (`breadth::mark`).
        let mark = old.split_once('.').map_or("", |(_, mark)| mark);
        let dot = if mark.is_empty() { "" } else { "." };
        let via = request
            .header(Name::Via)?
            .replace(old, &format!("{branch}{dot}{mark}"));
        Some(written(request, Some(&via), Some(cseq), lines))
    }
}

impl Conversation {
    /// An upstream challenges the INVITE of a branch. Returns true where it is to go out again, with
    /// credentials.
    pub(crate) fn answers_challenge(
        &mut self,
        context: &mut Context<'_>,
        leg: LegId,
        answer: &Answer<'_>,
    ) -> bool {
        let response = answer.response;
        // Who called, and has shown nobody who it is, is asked where its Contact says.
        let called = self.branch_side(leg);
        let unknown = called.is_some_and(|side| self.party(side).asker.is_unknown());
        let claimed = self.claims(called.unwrap_or(Side::Callee).other());
        let (Some(branch), Some(sent)) = (self.branch_mut(leg), answer.sent) else {
            return false;
        };
        if unknown && branch.leg.endpoint.through.is_none() {
            return false;
        }
        let Some((name, own)) = account(&branch.leg, &context.shared.settings) else {
            if let Some(name) = upstream_of_leg(&branch.leg, &context.shared.settings) {
                let name: Box<str> = name.into();
                context.unanswered(&name, response, Unanswered::NoAccount, "");
            }
            return false;
        };
        let (name, own) = (Box::<str>::from(name), own.clone());
        if branch.leg.dialog.ours_alone && claimed.as_ref() == Some(&name) {
            return false;
        }
        let proofs = &mut branch.leg.dialog.proofs;
        let learned = context.learn(proofs, &mut branch.rounds, (&name, &own), response, sent);
        if learned.is_some() {
            branch.call_again();
        }
        learned.is_some()
    }

    /// A request within a dialog is asked for proof. None where its dialog is not known here; else whether it is
    /// sent again, by another transaction.
    pub(crate) fn proves_again(
        &mut self,
        context: &mut Context<'_>,
        client: ClientId,
        errand: Errand,
        response: &Message,
        sent: &Sent,
    ) -> Option<bool> {
        let asker = self.asker_toward(errand.leg);
        let wanted = self.is_wanted(client, errand);
        let leg = self.leg_anywhere(errand.leg)?;
        let (through, alone) = (leg.endpoint.through.clone(), leg.dialog.ours_alone);
        let others_prove = !alone
            && asker.is_some_and(|side| self.proves_through(context, side, through.as_deref()));
        let theirs = errand.what.is_theirs();
        let refers = theirs && *response.method() == Method::Refer;
        let beyond = refers && asker.is_some_and(|side| self.is_beyond(context, side));
        let asker = asker
            .filter(|_| refers)
            .map(|side| self.party(side).asker.clone());
        if others_prove && theirs || !wanted {
            return Some(false);
        }
        let leg = self.leg_anywhere(errand.leg)?;
        let Some((name, own)) = account(leg, &context.shared.settings) else {
            if let Some(name) = upstream_of_leg(leg, &context.shared.settings) {
                let name: Box<str> = name.into();
                context.unanswered(&name, response, Unanswered::NoAccount, "");
            }
            return Some(false);
        };
        // What a REFER has the upstream call is at our expense, too.
        if asker.is_some_and(|asker| !may_have_called(&asker, beyond, Some(name))) {
            return Some(false);
        }
        let (name, own) = (Box::from(name), own.clone());
        let mut chain = context.shared.proving.0.remove(&client).unwrap_or_default();
        let proofs = &mut leg.dialog.proofs;
        proofs.others_prove = others_prove;
        let learned = context.learn(proofs, &mut chain.rounds, (&name, &own), response, sent);
        let Some(request) = learned else {
            return Some(false);
        };
        let lines = proven(proofs, &request);
        let cseq = leg.dialog.number_after(&request);
        if *request.method() == Method::Invite {
            leg.dialog.keep_credentials(cseq, lines.clone());
        }
        let Some(bytes) = context.anew_with(&request, cseq, &lines) else {
            return Some(false);
        };
        let now = context.send_grown(&leg.dialog, bytes, sent.flow, errand);
        context.shared.proving.0.insert(now, chain);
        self.goes_on_as(&Renewed {
            errand,
            before: client,
            now,
            flow: sent.flow,
        });
        Some(true)
    }

    /// Returns true where somebody waits for the answer to a request that could be sent again.
    fn is_wanted(&mut self, client: ClientId, errand: Errand) -> bool {
        let withdrawn = self
            .leg_anywhere(errand.leg)
            .is_some_and(|leg| leg.withdrawn == Some(client));
        let waits = match errand.what {
            What::Carry => {
                self.is_renegotiating(client)
                    || self.carried.iter().any(|carried| carried.client == client)
            }
            What::Letter(to, number, tried) => self.party(to).queue.is_out(number, tried),
            What::Probe
            | What::Doubt
            | What::Give
            | What::Join
            | What::Wish
            | What::Refresh
            | What::Report
            | What::Early
            | What::Farewell => true,
            // Others answer for these.
            What::Invite
            | What::Passage(_)
            | What::Relay(_)
            | What::Upstream(_)
            | What::Lamp(_) => false,
        };
        waits && !withdrawn
    }

    /// A server that was shown something by a request may want another nonce from now on.
    pub(crate) fn proof_goes_on(
        &mut self,
        context: &mut Context<'_>,
        errand: Errand,
        response: &Message,
    ) {
        if response.status() >= 200
            && response.header(Name::AuthenticationInfo).is_some()
            && let Some(leg) = self.leg_anywhere(errand.leg)
        {
            let mint = &mut context.shared.mint;
            leg.dialog.proofs.go_on(response, || mint.hex(8));
        }
    }

    /// Returns the leg of that number, whatever has become of it.
    fn leg_anywhere(&mut self, leg: LegId) -> Option<&mut Leg> {
        let inviting = self.invitation.as_mut().map(|first| &mut first.fork);
        let of_sides = self.parties.iter_mut().flat_map(|party| {
            let lost = party.lost.as_mut().map(|lost| {
                let branches = lost.fork.branches.iter_mut();
                branches
                    .map(|branch| &mut branch.leg)
                    .chain([&mut lost.old])
            });
            party.leg.iter_mut().chain(lost.into_iter().flatten())
        });
        let invited = inviting.into_iter().flat_map(|fork| &mut fork.branches);
        let left = self.leaving.iter_mut().map(|leaving| &mut leaving.leg);
        of_sides
            .chain(invited.map(|branch| &mut branch.leg))
            .chain(left)
            .chain(&mut self.ghosts)
            .find(|known| known.id == leg)
    }

    /// Returns the side whose requests cross to a leg.
    fn asker_toward(&mut self, leg: LegId) -> Option<Side> {
        self.leg_anywhere(leg).map(|leg| leg.side.other())
    }
}

/// Writes what a request is proven by.
fn proven(proofs: &mut Proofs, request: &Message) -> Vec<u8> {
    proofs.lines(request.method().as_str(), request.uri(), request.body())
}

/// Returns true where `credentials` would find any. Most requests have none, and the rest need not be read.
fn has_credentials(request: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', request).any(|at| {
        [Name::Authorization, Name::ProxyAuthorization]
            .iter()
            .any(|name| {
                let start = request.get(at + 1..at + 1 + name.as_str().len());
                start.is_some_and(|start| start.eq_ignore_ascii_case(name.as_str().as_bytes()))
            })
    })
}

/// Returns the lines of a request that are credentials.
fn credentials(request: &Message) -> Vec<u8> {
    request.lines_but(|field| !is_credentials(field.name))
}

fn is_credentials(name: Option<Name>) -> bool {
    matches!(name, Some(Name::Authorization | Name::ProxyAuthorization))
}

/// Writes a request with these credentials and no others; under another branch and number where these are given.
fn written(request: &Message, via: Option<&str>, cseq: Option<u32>, lines: &[u8]) -> Bytes {
    let mut builder = Builder::request(request.method(), request.uri());
    for field in request.all() {
        builder = match (field.name, via, cseq) {
            (Some(Name::Via), Some(via), _) => builder.header(Name::Via, via),
            (Some(Name::CSeq), _, Some(cseq)) => {
                let method = request.method().as_str();
                builder.header(Name::CSeq, format_args!("{cseq} {method}"))
            }
            // The body brings them.
            (Some(Name::ContentLength | Name::ContentType), ..) => builder,
            (name, ..) if is_credentials(name) => builder,
            _ => {
                let line = [field.raw_name.as_bytes(), b": ", field.value, b"\r\n"].concat();
                builder.raw_lines(&line)
            }
        };
    }
    let builder = builder.raw_lines(lines);
    end_with(builder, request.content_type(), request.body())
}

/// Returns the account that a leg's upstream has given us, with the upstream's name.
fn account<'s>(leg: &Leg, settings: &'s Settings) -> Option<(&'s str, &'s Account)> {
    let name = upstream_of_leg(leg, settings)?;
    let account = settings.upstreams.get(name)?.account.as_ref()?;
    Some((name, account))
}

/// Returns the upstream that a leg is reached through: it was called so, or it calls by the upstream and goes on at an
/// address that the settings name as one of the upstream's. Where it goes on alone tells nothing: a Contact is the far
/// end's word. A phone may share such an address: it has shown who it is, or has another port.
pub(super) fn upstream_of_leg<'s>(leg: &Leg, settings: &'s Settings) -> Option<&'s str> {
    if let Some(through) = &leg.endpoint.through {
        return upstream_name(through, settings);
    }
    let is_there = |flow: &Flow, target: &UpstreamTarget| {
        let hop = Uri::parse(&target.uri).ok().and_then(|uri| Hop::of(&uri));
        let at = hop.and_then(|hop| hop.numeric());
        at.is_some_and(|(_, at)| {
            at.ip().to_canonical() == flow.peer.ip().to_canonical()
                // A connection that it opens has a port of its own.
                && (leg.beyond || flow.transport.is_reliable() || at.port() == flow.peer.port())
        })
    };
    let (reached, heard) = (leg.dialog.reached_over(), leg.dialog.flow);
    let callers = leg.callers();
    let mut known = settings.upstreams.iter();
    let found = known.find(|(name, upstream)| {
        let mut targets = upstream.targets.iter();
        let calls = callers.contains(name) || targets.any(|target| is_there(&heard, target));
        let mut targets = upstream.targets.iter();
        calls && targets.any(|target| is_there(&reached, target))
    });
    found.map(|(name, _)| &**name)
}

fn upstream_name<'s>(hop: &str, settings: &'s Settings) -> Option<&'s str> {
    routing::upstream_with(hop, settings).map(|(name, _)| name)
}
