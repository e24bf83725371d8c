//! `acl`: who is heard, and who is trusted.

use std::net::IpAddr;

use crate::engine::network::Network;

/// Who is heard, and who is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclSettings {
    /// Where there are any, all others are not heard.
    pub allow: Vec<Network>,
    /// Not heard, whatever else names them.
    pub deny: Vec<Network>,
    /// No digest is asked for.
    pub trusted: Vec<Network>,
    /// None of who proves by a certificate to be one of these either: domains, and `sip:user@domain`, in lower
    /// case (RFC 5922 7.1).
    pub trusted_certificates: Vec<Box<str>>,
    /// Phones are within the domain of trust, as far as hearing who calls goes (RFC 3325 7).
    pub identity_to_phones: bool,
}

impl AclSettings {
    /// Returns true where no digest is asked for.
    pub fn trusts(&self, source: IpAddr) -> bool {
        holds(&self.trusted, source)
    }

    /// Returns true where no digest is asked of who has proved to have these names. Names are equal or are not:
    /// RFC 5922 7.2 knows no wildcards.
    pub fn trusts_names(&self, names: &[Box<str>]) -> bool {
        names
            .iter()
            .any(|name| self.trusted_certificates.contains(name))
    }

    /// Returns true where what comes from there is heard at all.
    pub fn admits(&self, source: IpAddr) -> bool {
        let listed = self.allow.is_empty() || holds(&self.allow, source) || self.trusts(source);
        listed && !holds(&self.deny, source)
    }
}

fn holds(networks: &[Network], source: IpAddr) -> bool {
    networks.iter().any(|network| network.holds(source))
}
