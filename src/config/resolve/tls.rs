//! `tls`: certificates, looked into before anything is bound.

use std::path::Path;

use super::{Check, key};
use crate::config::file::{self, File};
use crate::config::resolved::Listener;
use crate::config::tree::Step;
use crate::tls::{ClientAuth, Fault, Files, Pair, Part, check as look_into, doubts};

const MAKE_ONE: &str = "PEM files; for a try-out: openssl req -x509 -newkey rsa:2048 -nodes \
                        -keyout key.pem -out cert.pem -days 365 -subj /CN=sip.example.org \
                        -addext subjectAltName=DNS:sip.example.org";

/// Returns what listeners need; none where no listener needs any.
pub(super) fn resolve(
    file: &File,
    listeners: &[Listener],
    directory: &Path,
    check: &mut Check<'_>,
) -> Option<Files> {
    let tls = &file.tls;
    let first = listeners.iter().position(|l| l.transport.is_secure());
    let Some(needed) = first else {
        if check.is_set(&key("tls")) {
            check.warn("`tls` has no effect: there is no `tls` or `wss` listener");
        }
        return None;
    };
    let (certificate, private) = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(private)) => (certificate, private),
        (certificate, _) => {
            let missing = if certificate.is_none() {
                "certificate"
            } else {
                "key"
            };
            // One that is there and could not be read was told of already.
            if check.is_whole(&key("tls")) {
                check.problem(
                    &[Step::Key("listen"), Step::Item(needed)],
                    format!("a listener with TLS needs `tls.{missing}`"),
                    MAKE_ONE,
                );
            }
            return None;
        }
    };
    let pair = |certificate: &Path, private: &Path| Pair {
        certificate: directory.join(certificate),
        key: directory.join(private),
    };
    let more = tls
        .more
        .iter()
        .map(|more| pair(&more.certificate, &more.key));
    let files = Files {
        pairs: std::iter::once(pair(certificate, private))
            .chain(more)
            .collect(),
        client_ca: tls.client_ca.as_ref().map(|ca| directory.join(ca)),
        server_ca: tls.server_ca.as_ref().map(|ca| directory.join(ca)),
        client_auth: match tls.client_auth {
            file::ClientAuth::Required => ClientAuth::Required,
            file::ClientAuth::Optional => ClientAuth::Optional,
        },
    };
    match look_into(&files) {
        Ok(()) => {
            // No error: UDP and whoever does not look go on, and a restart is no time to lose them as well.
            for doubt in doubts(&files) {
                check.warn(format!("`tls`: {doubt}"));
            }
        }
        Err(fault) => tell(&fault, check),
    }
    Some(files)
}

fn tell(fault: &Fault, check: &mut Check<'_>) {
    let of_more = |index: usize, name: &'static str| {
        let more = [Step::Key("tls"), Step::Key("more")];
        [more[0], more[1], Step::Item(index - 1), Step::Key(name)].to_vec()
    };
    let path = match fault.part {
        Part::Certificate(0) => key("tls.certificate"),
        Part::Key(0) => key("tls.key"),
        Part::Certificate(index) => of_more(index, "certificate"),
        Part::Key(index) => of_more(index, "key"),
        Part::ClientCa => key("tls.client_ca"),
        Part::ServerCa => key("tls.server_ca"),
    };
    let mend = if fault.what.starts_with("cannot be read") {
        "the path is relative to the configuration file"
    } else {
        MAKE_ONE
    };
    check.problem(&path, fault.to_string(), mend);
}
