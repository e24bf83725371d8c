//! `acl`: who is heard.

use super::{Check, key};
use crate::config::file::File;
use crate::config::tree::Step;
use crate::engine::network::Network;
use crate::engine::settings::AclSettings;

pub(super) fn resolve(file: &File, check: &mut Check<'_>) -> AclSettings {
    let mut networks = |name: &str, list: &[String]| -> Vec<Network> {
        let mut networks = Vec::with_capacity(list.len());
        for (index, text) in list.iter().enumerate() {
            match text.parse() {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let mut path = key(name);
                    path.push(Step::Item(index));
                    check.problem(
                        &path,
                        format!("`{text}` is no network"),
                        "an address, or one with a prefix length: 192.0.2.7, 10.0.0.0/8, 2001:db8::/32",
                    );
                }
            }
        }
        networks
    };
    AclSettings {
        allow: networks("acl.allow", &file.acl.allow),
        deny: networks("acl.deny", &file.acl.deny),
        trusted: networks("acl.trusted", &file.acl.trusted),
    }
}
