//! Who stands before a listener: proxies, and the pages that open WebSockets.

use super::Check;
use super::acl::warn_of_everybody;
use crate::config::file::{self, ListenLong};
use crate::config::resolved::{ForwardedBy, Listener, NamedBy, Proxies};
use crate::config::tree::Step;
use crate::engine::ids::Transport;
use crate::engine::locating::Hop;
use crate::engine::network::Network;
use crate::engine::settings::Settings;
use crate::sip::Uri;

pub(super) fn resolve(
    long: &ListenLong,
    path: &[Step<'_>],
    check: &mut Check<'_>,
) -> (Option<Proxies>, Vec<Box<str>>) {
    (proxies(long, path, check), origins(long, path, check))
}

/// Returns true where peers are told of TLS at a listener that speaks none: they must be told of the proxies.
pub(super) fn is_told_of_tls(long: &ListenLong) -> bool {
    long.proxies_end_tls && long.at.transport == Transport::Tcp && !long.proxies.is_empty()
}

fn proxies(long: &ListenLong, path: &[Step<'_>], check: &mut Check<'_>) -> Option<Proxies> {
    let transport = long.at.transport;
    let below = |name| [path, &[Step::Key(name)]].concat();
    let by = match (long.proxy_protocol, long.forwarded_by) {
        (true, None) => NamedBy::ProxyProtocol,
        (true, Some(_)) => {
            check.problem(
                &below("forwarded_by"),
                "the proxies say by the PROXY protocol who a client is",
                "keep one of `proxy_protocol` and `forwarded_by`",
            );
            NamedBy::ProxyProtocol
        }
        (false, Some(file::ForwardedBy::Forwarded)) => NamedBy::Header(ForwardedBy::Forwarded),
        (false, None | Some(file::ForwardedBy::XForwardedFor)) => {
            NamedBy::Header(ForwardedBy::XForwardedFor)
        }
    };
    if long.proxies_end_tls && transport != Transport::Tcp {
        check.problem(
            &below("proxies_end_tls"),
            "only where TCP comes of it can proxies end TLS before SIP",
            "leave it out; browsers know by themselves what they speak",
        );
    }
    if long.proxies.is_empty() {
        for (name, is_set) in [
            ("proxies_end_tls", long.proxies_end_tls),
            ("proxy_protocol", long.proxy_protocol),
            ("forwarded_by", long.forwarded_by.is_some()),
        ] {
            if is_set {
                check.problem(
                    &below(name),
                    "nobody's word is taken",
                    "name in `proxies` the addresses of the proxies",
                );
            }
        }
        return None;
    }
    let mut networks: Vec<Network> = Vec::with_capacity(long.proxies.len());
    for (index, text) in long.proxies.iter().enumerate() {
        match text.parse() {
            Ok(network) => networks.push(network),
            Err(_) => check.problem(
                &[path, &[Step::Key("proxies"), Step::Item(index)]].concat(),
                format!("`{text}` is no network"),
                "an address, or one with a prefix length: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32",
            ),
        }
    }
    let trusting = "whoever connects may say who it is";
    warn_of_everybody(&below("proxies"), &long.proxies, trusting, check);
    if !transport.is_reliable() {
        check.problem(
            &below("proxies"),
            "datagrams have no proxies",
            "leave it out, or listen on tcp, tls, ws or wss",
        );
    } else if by != NamedBy::ProxyProtocol && !transport.is_web_socket() {
        check.problem(
            &below("proxies"),
            format!(
                "proxies of a {} listener can say who a client is by the PROXY protocol alone",
                transport.param()
            ),
            "set `proxy_protocol: true`",
        );
    }
    Some(Proxies { networks, by })
}

/// Warns of proxies that are trusted themselves: a proxy may speak for itself (`PROXY UNKNOWN`), and of one that
/// comes through another it is believed who came before.
pub(super) fn warn_of_trust(settings: &Settings, listeners: &[Listener], check: &mut Check<'_>) {
    let upstreams = settings.upstreams.iter();
    let trusted = upstreams.filter(|(_, upstream)| upstream.trusted);
    let addresses = trusted.flat_map(|(name, upstream)| {
        let targets = upstream.targets.iter();
        targets.filter_map(move |target| {
            let (_, at) = Hop::of(&Uri::parse(&target.uri).ok()?)?.numeric()?;
            Some((name, at.ip()))
        })
    });
    let addresses: Vec<_> = addresses.collect();
    let upstreams = settings.upstreams.iter();
    let trusted = upstreams.filter(|(_, upstream)| upstream.trusted);
    let sources =
        trusted.flat_map(|(name, upstream)| upstream.sources.iter().map(move |s| (name, s)));
    let sources: Vec<_> = sources.collect();
    for (index, listener) in listeners.iter().enumerate() {
        let Some(proxies) = &listener.proxies else {
            continue;
        };
        for network in &proxies.networks {
            let acl = settings.acl.trusted.iter();
            let mut listed = acl.filter(|trusted| trusted.overlaps(network));
            let known = addresses.iter().filter(|(_, ip)| network.holds(*ip));
            let calling = sources
                .iter()
                .filter(|(_, source)| source.overlaps(network));
            let mut known = known
                .map(|(name, _)| name)
                .chain(calling.map(|(name, _)| name));
            let by = match (listed.next(), known.next()) {
                (Some(_), _) => "`acl.trusted`".to_owned(),
                (None, Some(name)) => format!("`upstreams.{name}.trusted`"),
                (None, None) => continue,
            };
            check.warn(format!(
                "`listen[{index}].proxies`: {network} is trusted by {by}, so nothing is asked of who comes in a \
                 proxy's own name"
            ));
        }
    }
}

fn origins(long: &ListenLong, path: &[Step<'_>], check: &mut Check<'_>) -> Vec<Box<str>> {
    if !long.origins.is_empty() && !long.at.transport.is_web_socket() {
        check.problem(
            &[path, &[Step::Key("origins")]].concat(),
            "only browsers say where their pages are from",
            "leave it out, or listen on ws or wss",
        );
    }
    let mut origins = Vec::with_capacity(long.origins.len());
    for (index, text) in long.origins.iter().enumerate() {
        match origin(text) {
            Some(origin) => origins.push(origin),
            None => check.problem(
                &[path, &[Step::Key("origins"), Step::Item(index)]].concat(),
                format!("`{text}` is no origin"),
                "scheme, host, and a port where it is not the scheme's own, without a path: \
                 https://phone.example.org",
            ),
        }
    }
    origins
}

/// Writes an origin as browsers do (RFC 6454 6.2).
fn origin(text: &str) -> Option<Box<str>> {
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://")?;
    let is_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let is_host = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'*');
    if scheme.is_empty()
        || !scheme.bytes().all(is_scheme)
        || authority.is_empty()
        || !authority.bytes().all(is_host)
    {
        return None;
    }
    let own = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let authority = match authority.strip_suffix(own) {
        Some(host) if !own.is_empty() => host,
        Some(_) | None => authority,
    };
    Some(format!("{scheme}://{authority}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        for (text, written) in [
            (
                "https://Phone.example.org",
                Some("https://phone.example.org"),
            ),
            (
                "https://phone.example.org:443",
                Some("https://phone.example.org"),
            ),
            (
                "https://phone.example.org:8443",
                Some("https://phone.example.org:8443"),
            ),
            ("http://[2001:db8::1]:80", Some("http://[2001:db8::1]")),
            ("app://phone", Some("app://phone")),
            ("phone.example.org", None),
            ("https://phone.example.org/", None),
            ("https://*.example.org", None),
            ("https://", None),
            ("://x", None),
            ("", None),
        ] {
            assert_eq!(origin(text).as_deref(), written, "{text}");
        }
    }
}
