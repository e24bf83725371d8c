//! Who a certificate says that its holder is.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Names taken of one certificate; what has more has a mistake in it.
const NAMES_MAX: usize = 64;

/// Returns the SIP identities of a certificate that has been verified (RFC 5922 7.1): domains of `sip:`
/// URIs and whole `sip:user@domain` ones among its alternative names; its DNS names only where it has no
/// SIP URI. Lower case. Never the common name.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<Box<str>> {
    let Ok(read) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let of_uris = domains_of_uris(certificate);
    if !of_uris.is_empty() {
        return of_uris;
    }
    read.valid_dns_names()
        .map(|name| name.to_ascii_lowercase().into())
        .take(NAMES_MAX)
        .collect()
}

/// Returns what the SIP URIs of a certificate name.
pub(super) fn domains_of_uris(certificate: &CertificateDer<'_>) -> Vec<Box<str>> {
    let Ok(read) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let of_uris = read.valid_uri_names().filter_map(of_uri);
    of_uris.take(NAMES_MAX).collect()
}

/// `sip:example.org` is the domain; a URI with a user is that user only, not the domain.
fn of_uri(uri: &str) -> Option<Box<str>> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("sip") || rest.is_empty() {
        return None;
    }
    let lower = rest.to_ascii_lowercase();
    Some(if lower.contains('@') {
        format!("sip:{lower}").into()
    } else {
        lower.into()
    })
}
