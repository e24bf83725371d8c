//! `upstreams` and `routes`: where others are.

use std::collections::BTreeMap;

use super::acl::networks;
use super::domains::is_host;
use super::reach::{self, check_target};
use super::{Check, behaviour};
use crate::config::file::{self, File, TargetUri, TextOr};
use crate::config::problem::nearest;
use crate::config::tree::Step;
use crate::engine::routing;
use crate::engine::settings::{
    Account, Emergency, PathMode, Presented, Route, Upstream, UpstreamTarget,
};
use crate::engine::time::Millis;

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
        let at = [path[0], path[1], Step::Key("listener")];
        let listener = upstream.listener;
        let listener = listener.and_then(|named| reach::listener(named, &targets, &at, check));
        let upstream = Upstream {
            targets,
            sources: networks(
                &[path[0], path[1], Step::Key("sources")],
                &upstream.sources,
                check,
            ),
            trusted: upstream.trusted,
            listener,
            identity: match upstream.identity {
                file::Presented::Number => Presented::Number,
                file::Presented::User => Presented::User,
            },
            from_domain: from_domain(upstream, &[path[0], path[1]], check),
            path: how,
            probe: upstream.probe.map(|span| Millis(span.0)),
            account,
            restore_after: Millis(upstream.restore_after.0),
        };
        upstreams.insert(name.as_str().into(), upstream);
    }
    upstreams
}

fn from_domain(
    upstream: &file::Upstream,
    path: &[Step<'_>],
    check: &mut Check<'_>,
) -> Option<Box<str>> {
    let domain = upstream.from_domain.as_deref()?;
    let path = [path, &[Step::Key("from_domain")]].concat();
    if !is_host(&domain.to_ascii_lowercase()) {
        check.problem(
            &path,
            format!("`{domain}` is no domain"),
            "a host name or an IP address",
        );
    } else if upstream.identity == file::Presented::User {
        let mend = "leave it out, or say `identity: number`";
        check.problem(&path, "it stands beside numbers alone", mend);
    }
    Some(domain.into())
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
    let mut routes: Vec<Route> = Vec::new();
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
        let route = Route {
            pattern: route.pattern.as_str().into(),
            to: route.to.as_str().into(),
            fork: behaviour::route_fork(&route.fork),
            emergency,
        };
        if let Some(what) = hidden_by(&routes, &route) {
            check.warn_at(&[path[0], path[1], Step::Key("match")], &what);
        }
        routes.push(route);
    }
    routes
}

/// Tells of upstreams that nothing leads to. One with `sources` may be there for what it calls in.
pub(super) fn warn_of_unused(file: &File, check: &mut Check<'_>) {
    // One that cannot be read may lead anywhere.
    if !check.is_whole(&[Step::Key("routes")]) || !check.is_whole(&[Step::Key("domains")]) {
        return;
    }
    for (name, upstream) in &file.upstreams.0 {
        let routed = file.routes.iter().any(|route| route.to == *name);
        let mut domains = file.domains.0.iter();
        let serves = domains.any(|(_, domain)| {
            let upstream = domain
                .as_ref()
                .and_then(|domain| domain.upstream.as_deref());
            upstream == Some(name)
        });
        if !routed && !serves && upstream.sources.is_empty() {
            check.warn_at(
                &[Step::Key("upstreams"), Step::Key(name)],
                "nothing is sent there: no route's `to` and no domain's `upstream` names it; \
                 one that only calls in says so by `sources`",
            );
        }
    }
}

/// Says of a route behind others what those leave to it, where one of them matches all that it does.
fn hidden_by(before: &[Route], route: &Route) -> Option<String> {
    // A `*` of the latter is a character that nothing but a `*` of the former matches.
    let hides = |other: &&Route| routing::matches(&other.pattern, &route.pattern);
    let hiding: Vec<&Route> = before.iter().filter(hides).collect();
    let first = hiding.first()?;
    // What comes from an upstream goes by the next route that leads elsewhere.
    let never = hiding
        .iter()
        .any(|other| other.to == route.to || other.to != first.to);
    let left = if never {
        "never reached".to_owned()
    } else {
        format!(
            "reached by what comes from the upstream `{}` alone",
            first.to
        )
    };
    let help = if route.emergency.is_some() && first.emergency.is_none() {
        ", and its calls are not taken for calls for help"
    } else {
        ""
    };
    Some(format!(
        "{left}: `{}` before it matches all that it does{help}; put it first",
        first.pattern
    ))
}
