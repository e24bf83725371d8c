//! Whom Refork is told to call: whether it can, from the listeners that there are, whether that is itself, and
//! whether it hears the answers (`acl`).

use super::acl::warn_of_everybody;
use super::{Check, key};
use crate::config::file::{File, ListenAt, TargetUri, TextOr};
use crate::config::resolved::Listener;
use crate::config::tree::Step;
use crate::engine::ids::{ListenerId, Transport};
use crate::engine::locating::{Hop, Located};
use crate::engine::network::Network;
use crate::engine::settings::{Settings, UpstreamTarget};
use crate::sip::{Scheme, Uri};

/// Checks a SIP URI that requests are sent to.
pub(super) fn check_target(text: &str, path: &[Step<'_>], check: &mut Check<'_>) {
    const FORM: &str = "sip:host, sip:user@host:port, sip:host;transport=tcp or sips:host";
    let Ok(uri) = Uri::parse(text) else {
        return check.problem(path, format!("`{text}` is no SIP URI"), FORM);
    };
    let transport = uri.transport().map(Transport::parse);
    let wrong = match (uri.scheme, transport) {
        (Scheme::Sip, None | Some(Some(Transport::Udp | Transport::Tcp | Transport::Tls)))
        | (Scheme::Sips, None | Some(Some(Transport::Tcp | Transport::Tls))) => {
            return check_hop(text, &uri, path, check);
        }
        (Scheme::Sip | Scheme::Sips, Some(Some(Transport::Ws | Transport::Wss))) => {
            format!("`{text}`: nobody can be called over a WebSocket that it did not open")
        }
        (Scheme::Sips, Some(Some(Transport::Udp))) => format!("`{text}` wants TLS over UDP"),
        (Scheme::Sip | Scheme::Sips, Some(None)) => {
            format!("`{text}` names an unknown transport")
        }
        (Scheme::Tel | Scheme::Other(_), _) => format!("`{text}` is no SIP URI"),
    };
    check.problem(path, wrong, FORM);
}

/// Checks that there is a listener to reach it from, and that it is none of them.
fn check_hop(text: &str, uri: &Uri<'_>, path: &[Step<'_>], check: &mut Check<'_>) {
    let Some(hop) = Hop::of(uri) else {
        return;
    };
    if !check.is_whole(&key("listen")) {
        return;
    }
    if let Some((what, mend)) = out_of_reach(text, &hop, &check.listeners) {
        return check.problem(path, what, &mend);
    }
    let itself = hop.numeric().and_then(|at| itself(at, &check.listeners));
    if let Some(listener) = itself {
        let own = written(listener);
        check.problem(
            path,
            format!(
                "`{text}` is Refork itself, by its listener {own}: calls would come back to it"
            ),
            "name the server that is to have them",
        );
    }
}

/// Says why no listener reaches it, and what would: RFC 3263 4.1 says by which transport it is reached.
fn out_of_reach(text: &str, hop: &Hop, listeners: &[Listener]) -> Option<(String, String)> {
    let speaks = |transport| listeners.iter().any(|l| l.transport == transport);
    let some = [Transport::Udp, Transport::Tcp, Transport::Tls].map(speaks);
    let wanted = match transport_of(hop) {
        Some(transport) => transport,
        None if some.contains(&true) => return None,
        None => Transport::Udp,
    };
    let (param, port) = (wanted.param(), wanted.default_port());
    if !speaks(wanted) {
        let name = param.to_ascii_uppercase();
        let mut mend = format!("add one to `listen`: {param}://0.0.0.0:{port}");
        if hop.transport.is_none() && !hop.secure && speaks(Transport::Tcp) {
            mend.push_str("; or say ;transport=tcp, for an address without it is called over UDP");
        }
        let what = format!("`{text}` wants {name}, and there is no listener to speak it from");
        return Some((what, mend));
    }
    let (_, at) = hop.numeric()?;
    let mut same = listeners.iter().filter(|l| l.transport == wanted);
    if same.any(|l| l.at.is_ipv4() == at.is_ipv4()) {
        return None;
    }
    let (family, all) = if at.is_ipv4() {
        ("IPv4", "0.0.0.0")
    } else {
        ("IPv6", "[::]")
    };
    Some((
        format!("`{text}` is an {family} address, and no {param} listener is"),
        format!("add one to `listen`: {param}://{all}:{port}"),
    ))
}

/// Returns the transport that a hop is called by; None for a name, which is called by what there is on both sides.
fn transport_of(hop: &Hop) -> Option<Transport> {
    let numeric = hop.numeric().map(|(transport, _)| transport);
    let secure = hop.secure.then_some(Transport::Tls);
    hop.transport.or(numeric).or(secure)
}

/// Returns the listener that an upstream names, which one of its targets at least can be called from: by that one,
/// or by another at its address.
pub(super) fn listener(
    named: ListenAt,
    targets: &[UpstreamTarget],
    path: &[Step<'_>],
    check: &mut Check<'_>,
) -> Option<ListenerId> {
    let (mut all, listeners) = (check.listeners.iter(), &check.listeners);
    let is_named = |l: &Listener| (l.transport, l.at) == (named.transport, named.at);
    let Some(index) = all.position(is_named) else {
        let known: Vec<String> = listeners.iter().map(written).collect();
        let mend = format!("as it stands under `listen`: {}", known.join(", "));
        if check.is_whole(&key("listen")) {
            check.problem(path, format!("there is no listener {named}"), &mend);
        }
        return None;
    };
    let beside = |l: &&Listener| l.at.ip() == named.at.ip();
    let here: Vec<Transport> = listeners
        .iter()
        .filter(beside)
        .map(|l| l.transport)
        .collect();
    let is_called = |target: &UpstreamTarget| {
        let hop = Uri::parse(&target.uri).ok().and_then(|uri| Hop::of(&uri));
        // What is no hop is told of elsewhere.
        hop.is_none_or(|hop| {
            let family = hop.numeric().map(|(_, at)| at.is_ipv4());
            let wanted = transport_of(&hop).unwrap_or(named.transport);
            here.contains(&wanted) && family.is_none_or(|v4| v4 == named.at.is_ipv4())
        })
    };
    if named.transport.is_web_socket() || !targets.iter().any(is_called) {
        check.problem(
            path,
            format!("none of the targets is called from {named}"),
            "name a listener of their transport and address family",
        );
    }
    u16::try_from(index).ok().map(ListenerId)
}

fn written(listener: &Listener) -> String {
    format!("{}://{}", listener.transport.param(), listener.at)
}

/// Returns the listener that an address leads to, as far as the file shows.
fn itself((transport, at): Located, listeners: &[Listener]) -> Option<&Listener> {
    let mut listeners = listeners.iter();
    listeners.find(|listener| {
        let own = listener.at;
        let here = own == at
            || own.ip().is_unspecified()
                && own.is_ipv4() == at.is_ipv4()
                && own.port() == at.port()
                && (at.ip().is_loopback() || at.ip().is_unspecified());
        listener.transport == transport && here
            || listener.spoken == transport && listener.advertise == Some(at)
    })
}

/// Checks that `acl` lets in what the upstreams and the fixed endpoints send, and warns of an upstream that is
/// everybody.
pub(super) fn hearing(file: &File, settings: &Settings, check: &mut Check<'_>) {
    for (name, upstream) in &file.upstreams.0 {
        let path = |part| vec![Step::Key("upstreams"), Step::Key(name), Step::Key(part)];
        for (index, target) in upstream.targets.iter().enumerate() {
            let mut path = path("targets");
            path.push(Step::Item(index));
            let uri = match target {
                TextOr::Text(TargetUri(uri)) => uri,
                TextOr::Map(long) => {
                    path.push(Step::Key("uri"));
                    &long.uri
                }
            };
            check_heard(uri, &path, settings, check);
        }
        let sources = path("sources");
        if upstream.trusted {
            let trusting = "whoever sends a request is believed as this upstream is";
            warn_of_everybody(&sources, &upstream.sources, trusting, check);
        }
        for (index, text) in upstream.sources.iter().enumerate() {
            let unheard = |network: Network| is_unheard(&network, settings);
            if text.parse().is_ok_and(unheard) {
                let what =
                    format!("`acl` lets in nothing from {text}: calls from there are dropped");
                check.warn_at(&[&sources[..], &[Step::Item(index)]].concat(), &what);
            }
        }
    }
    for (index, endpoint) in file.endpoints.iter().enumerate() {
        if let Some(contact) = &endpoint.contact {
            let path = [
                Step::Key("endpoints"),
                Step::Item(index),
                Step::Key("contact"),
            ];
            check_heard(contact, &path, settings, check);
        }
    }
}

/// Datagrams from elsewhere are dropped, answers too; over a connection of ours they come, but none is let in that
/// begins there.
fn check_heard(uri: &str, path: &[Step<'_>], settings: &Settings, check: &mut Check<'_>) {
    let hop = Uri::parse(uri).ok().and_then(|uri| Hop::of(&uri));
    let Some((transport, at)) = hop.and_then(|hop| hop.numeric()) else {
        return;
    };
    if settings.acl.admits(at.ip()) {
        return;
    }
    let by = if settings.acl.deny.iter().any(|n| n.holds(at.ip())) {
        "`acl.deny` names it"
    } else {
        "`acl.allow` leaves it out"
    };
    if transport.is_reliable() {
        let what = format!("nothing that begins at {} is let in: {by}", at.ip());
        return check.warn_at(path, &what);
    }
    check.problem(
        path,
        format!("no answer from {} would be heard: {by}", at.ip()),
        "name its address in `acl.allow`, and not in `acl.deny`",
    );
}

fn is_unheard(network: &Network, settings: &Settings) -> bool {
    let acl = &settings.acl;
    let mut let_in = acl.allow.iter().chain(&acl.trusted);
    !acl.allow.is_empty() && !let_in.any(|other| other.overlaps(network))
}
