//! `upstreams` and `routes`: where others are.

use std::collections::BTreeMap;

use super::acl::networks;
use super::{Check, behaviour};
use crate::config::file::{self, File, TargetUri, TextOr};
use crate::config::problem::nearest;
use crate::config::tree::Step;
use crate::engine::ids::Transport;
use crate::engine::settings::{Account, Emergency, PathMode, Route, Upstream, UpstreamTarget};
use crate::engine::time::Millis;
use crate::sip::{Scheme, Uri};

/// Checks a SIP URI that requests are sent to.
pub(super) fn check_target(text: &str, path: &[Step<'_>], check: &mut Check<'_>) {
    const FORM: &str = "sip:host, sip:user@host:port, sip:host;transport=tcp or sips:host";
    let Ok(uri) = Uri::parse(text) else {
        return check.problem(path, format!("`{text}` is no SIP URI"), FORM);
    };
    let transport = uri.transport().map(Transport::parse);
    match (uri.scheme, transport) {
        (Scheme::Sip, None | Some(Some(Transport::Udp | Transport::Tcp))) => {}
        (Scheme::Sips, None | Some(Some(Transport::Tcp | Transport::Tls)))
        | (Scheme::Sip, Some(Some(Transport::Tls))) => {
            if !check.speaks_tls {
                check.problem(
                    path,
                    format!("`{text}` wants TLS, and there is no listener to speak it from"),
                    "add one to `listen`: tls://0.0.0.0:5061",
                );
            }
        }
        (Scheme::Sip | Scheme::Sips, Some(Some(Transport::Ws | Transport::Wss))) => {
            check.problem(
                path,
                format!("`{text}`: nobody can be called over a WebSocket that it did not open"),
                FORM,
            );
        }
        (Scheme::Sips, Some(Some(Transport::Udp))) => {
            check.problem(path, format!("`{text}` wants TLS over UDP"), FORM);
        }
        (Scheme::Sip | Scheme::Sips, Some(None)) => {
            check.problem(path, format!("`{text}` names an unknown transport"), FORM);
        }
        (Scheme::Tel | Scheme::Other(_), _) => {
            check.problem(path, format!("`{text}` is no SIP URI"), FORM);
        }
    }
}

pub(super) fn resolve(file: &File, check: &mut Check<'_>) -> BTreeMap<Box<str>, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, upstream) in &file.upstreams.0 {
        let path = [
            Step::Key("upstreams"),
            Step::Key(name),
            Step::Key("targets"),
        ];
        if upstream.targets.is_empty() {
            check.problem(&path, "there is no target", "name at least one SIP URI");
        }
        let mut targets = Vec::new();
        for (index, target) in upstream.targets.iter().enumerate() {
            let path = [path[0], path[1], path[2], Step::Item(index)];
            let (uri, priority, weight) = match target {
                TextOr::Text(TargetUri(uri)) => {
                    check_target(uri, &path, check);
                    (uri, None, 1)
                }
                TextOr::Map(long) => {
                    let path = [path[0], path[1], path[2], path[3], Step::Key("uri")];
                    check_target(&long.uri, &path, check);
                    (&long.uri, long.priority, long.weight.0)
                }
            };
            let place = u64::try_from(index).map_or(u64::MAX, |index| index + 1);
            targets.push(UpstreamTarget {
                uri: uri.as_str().into(),
                priority: narrow(priority.map_or(place, |priority| priority.0)),
                weight: narrow(weight),
            });
        }
        let account = upstream.credentials.as_ref().map(|login| Account {
            user: login.user.as_str().into(),
            password: login.password.as_str().into(),
            realms: login
                .realms
                .iter()
                .map(|realm| realm.as_str().into())
                .collect(),
        });
        for (part, text) in account
            .iter()
            .flat_map(|a| [("user", &a.user), ("password", &a.password)])
        {
            let quotable =
                |c: char| !c.is_control() && (part == "password" || !matches!(c, '"' | '\\'));
            if text.is_empty() || !text.chars().all(quotable) {
                let path = [path[0], path[1], Step::Key("credentials"), Step::Key(part)];
                let form = "visible characters, in a user name no quotes and no backslashes";
                check.problem(&path, format!("this is no {part}"), form);
            }
        }
        let how = match upstream.path {
            file::PathMode::Path => PathMode::Path,
            file::PathMode::Contact => PathMode::Contact,
        };
        let upstream = Upstream {
            targets,
            sources: networks(
                &[path[0], path[1], Step::Key("sources")],
                &upstream.sources,
                check,
            ),
            trusted: upstream.trusted,
            path: how,
            probe: upstream.probe.map(|span| Millis(span.0)),
            account,
        };
        upstreams.insert(name.as_str().into(), upstream);
    }
    upstreams
}

fn starts_with(text: &str, with: &str) -> bool {
    let head = text.get(..with.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(with))
}

fn narrow(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Checks that there is an upstream of that name.
pub(super) fn check_upstream(name: &str, path: &[Step<'_>], check: &mut Check<'_>) {
    let known = check.all_keys("upstreams");
    if known.contains(&name) {
        return;
    }
    let mend = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "there are no `upstreams`".to_owned(),
        None => format!("the upstreams are: {}", known.join(", ")),
    };
    check.problem(path, format!("there is no upstream `{name}`"), &mend);
}

pub(super) fn routes(file: &File, check: &mut Check<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, route) in file.routes.iter().enumerate() {
        let path = [Step::Key("routes"), Step::Item(index)];
        check_upstream(&route.to, &[path[0], path[1], Step::Key("to")], check);
        let begins = |with: &str| starts_with(&route.pattern, with);
        let scheme = ["sip:", "*", "urn:service:"].into_iter().any(begins);
        if !scheme || route.pattern.contains(char::is_whitespace) {
            check.problem(
                &[path[0], path[1], Step::Key("match")],
                format!("`{}` can match nothing", route.pattern),
                "held against sip:user@host, of a tel: URI too, or urn:service:sos; * is any run of characters: sip:+*@*",
            );
        }
        let help = begins("urn:service:sos");
        let user = route.pattern.split('@').next().unwrap_or("");
        let emergency = match route.emergency {
            Some(file::Emergency::Off) => None,
            None => help.then_some(Emergency::Users),
            Some(file::Emergency::Users) => Some(Emergency::Users),
            Some(file::Emergency::Anyone) => {
                if !help && user.contains('*') {
                    check.problem(
                        &[path[0], path[1], Step::Key("emergency")],
                        format!("anybody could call whatever `{}` matches", route.pattern),
                        "name the number in `match`: sip:112@*, or urn:service:sos*; or say users",
                    );
                }
                Some(Emergency::Anyone)
            }
        };
        routes.push(Route {
            pattern: route.pattern.as_str().into(),
            to: route.to.as_str().into(),
            fork: behaviour::route_fork(&route.fork),
            emergency,
        });
    }
    routes
}
