//! `endpoints`: fixed ones, and names for those that register.

use std::collections::BTreeMap;

use super::Check;
use super::domains::{AOR_FORM, aor};
use super::reach::check_target;
use crate::config::file::{self, File};
use crate::config::tree::Step;
use crate::engine::settings::{Domain, StaticEndpoint};

const NAME_MAX: usize = 128;

type Endpoints = (Vec<StaticEndpoint>, BTreeMap<Box<str>, Box<str>>);

pub(super) fn resolve(file: &File, domains: &[Domain], check: &mut Check<'_>) -> Endpoints {
    let mut fixed = Vec::new();
    let mut names = BTreeMap::new();
    for (index, endpoint) in file.endpoints.iter().enumerate() {
        let path = [Step::Key("endpoints"), Step::Item(index)];
        let part = |part| [path[0], path[1], Step::Key(part)];
        if let Some(name) = &endpoint.name
            && (name.trim().is_empty()
                || name.chars().count() > NAME_MAX
                || name.chars().any(char::is_control))
        {
            check.problem(
                &part("name"),
                "this is no name to show",
                "up to 128 characters, no control characters",
            );
        }
        let file::Endpoint {
            aor,
            contact,
            instance,
            name,
        } = endpoint;
        match (aor, contact, instance, name) {
            (Some(aor), Some(contact), None, name) => {
                check_target(contact, &part("contact"), check);
                match self::aor(aor, domains) {
                    Ok((aor, _)) => fixed.push(StaticEndpoint {
                        aor,
                        contact: contact.as_str().into(),
                        name: name.as_deref().map(Into::into),
                    }),
                    Err(what) => check.problem(&part("aor"), what, AOR_FORM),
                }
            }
            (None, None, Some(instance), Some(name)) => {
                let urn = instance.trim_matches(['<', '>']).to_ascii_lowercase();
                if !is_urn(&urn) {
                    check.problem(
                        &part("instance"),
                        format!("`{instance}` is no instance"),
                        "the URN of +sip.instance: urn:uuid:00000000-0000-1000-8000-000a95a0e128",
                    );
                }
                if names.insert(urn.into(), name.as_str().into()).is_some() {
                    check.problem(&part("instance"), "this instance has two names", "");
                }
            }
            (_, _, _, _) if !check.is_whole(&path) => {}
            (_, _, _, _) => check.problem(
                &path,
                "this is neither a fixed endpoint nor a name",
                "`aor` and `contact` (and `name`) make one, `instance` and `name` the other",
            ),
        }
    }
    (fixed, names)
}

fn is_urn(text: &str) -> bool {
    text.strip_prefix("urn:")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(space, name)| {
            !space.is_empty()
                && !name.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"'))
        })
}
