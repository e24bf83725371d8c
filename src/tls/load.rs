//! From files to what a handshake needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use thiserror::Error;

use super::choose::ByName;
use super::verify::ByHost;

/// A certificate file that is larger is none.
const FILE_MAX: u64 = 4 << 20;

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Whether clients must show a certificate, where there is a CA to hold it against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Required,
    /// A client without one is let in as well; one with a bad one is not.
    Optional,
}

/// The files that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Not empty; the first is for who asks for no name, or for one that none of them has.
    pub pairs: Vec<Pair>,
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
    /// Whom servers that we connect to are vouched for by, in place of the CAs that the system trusts.
    pub server_ca: Option<PathBuf>,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Certificate(usize),
    Key(usize),
    ClientCa,
    ServerCa,
}

/// What is wrong with a file; the operator's to mend.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}", path.display())]
pub struct Fault {
    pub part: Part,
    pub path: PathBuf,
    pub what: String,
}

impl Files {
    /// Goes through all of them.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter();
        pairs
            .flat_map(|pair| [&*pair.certificate, &*pair.key])
            .chain(self.client_ca.as_deref())
            .chain(self.server_ca.as_deref())
    }
}

/// Reads the files and forgets them.
///
/// # Errors
/// The first fault.
pub fn check(files: &Files) -> Result<(), Fault> {
    server(files)?;
    client(files).map(|_| ())
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Makes what listeners work by: TLS 1.2 and 1.3.
pub(super) fn server(files: &Files) -> Result<Arc<ServerConfig>, Fault> {
    let provider = provider();
    let mut keys = Vec::with_capacity(files.pairs.len());
    for (index, pair) in files.pairs.iter().enumerate() {
        keys.push(Arc::new(certified(index, pair, &provider)?));
    }
    let ours = |error: rustls::Error| Fault {
        part: Part::Certificate(0),
        path: files
            .pairs
            .first()
            .map_or_else(PathBuf::new, |pair| pair.certificate.clone()),
        what: error.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(ours)?;
    let builder = match verifier(files, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName::new(keys)));
    // Whoever comes back spares both sides a signature. The keys of the tickets die with this value, and
    // with them what an older list of CAs has let in.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(ours)?;
    Ok(Arc::new(config))
}

/// Makes what connections to servers work by. Where they ask who we are, they are shown our first
/// certificate.
pub(super) fn client(files: &Files) -> Result<Arc<ClientConfig>, Fault> {
    let provider = provider();
    let roots = match &files.server_ca {
        Some(path) => roots(Part::ServerCa, path)?,
        None => {
            let mut roots = RootCertStore::empty();
            // What cannot be read vouches for nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault {
            part: Part::Certificate(0),
            path: PathBuf::new(),
            what: error.to_string(),
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ByHost::new(roots, &provider)));
    Ok(Arc::new(match files.pairs.first() {
        Some(pair) => {
            let own = SingleCertAndKey::from(certified(0, pair, &provider)?);
            builder.with_client_cert_resolver(Arc::new(own))
        }
        None => builder.with_no_client_auth(),
    }))
}

fn roots(part: Part, path: &Path) -> Result<RootCertStore, Fault> {
    let fault = |what: String| Fault {
        part,
        path: path.to_owned(),
        what,
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(fault)? {
        roots
            .add(certificate)
            .map_err(|error| fault(format!("is no certificate of a CA: {error}")))?;
    }
    Ok(roots)
}

fn verifier(
    files: &Files,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Fault> {
    let Some(path) = &files.client_ca else {
        return Ok(None);
    };
    let fault = |what: String| Fault {
        part: Part::ClientCa,
        path: path.clone(),
        what,
    };
    let roots = roots(Part::ClientCa, path)?;
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match files.client_auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder
        .build()
        .map(Some)
        .map_err(|error| fault(error.to_string()))
}

fn certified(index: usize, pair: &Pair, provider: &CryptoProvider) -> Result<CertifiedKey, Fault> {
    let (of_certificate, of_key) = (Part::Certificate(index), Part::Key(index));
    let fault = |part: Part, path: &Path, what: String| Fault {
        part,
        path: path.to_owned(),
        what,
    };
    let chain = certificates(&pair.certificate)
        .map_err(|what| fault(of_certificate, &pair.certificate, what))?;
    if let Some(first) = chain.first() {
        rustls::server::ParsedCertificate::try_from(first).map_err(|error| {
            let what = format!("the first certificate cannot be read: {error}");
            fault(of_certificate, &pair.certificate, what)
        })?;
    }
    let key = read(&pair.key)
        .and_then(|text| {
            PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
                if matches!(error, pem::Error::NoItemsFound) {
                    "holds no private key in PEM form".to_owned()
                } else {
                    format!("is not PEM: {error}")
                }
            })
        })
        .map_err(|what| fault(of_key, &pair.key, what))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        let what = if matches!(error, rustls::Error::InconsistentKeys(_)) {
            format!("is not the key of {}", pair.certificate.display())
        } else {
            format!("is no key that can be used: {error}")
        };
        fault(of_key, &pair.key, what)
    })
}

/// Returns the certificate that a file begins with, which is the holder's; none where it cannot be read.
pub(super) fn leaf(path: &Path) -> Option<CertificateDer<'static>> {
    certificates(path).ok()?.into_iter().next()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is not PEM: {error}"))?;
    if all.is_empty() {
        return Err("holds no certificate in PEM form".to_owned());
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let about = std::fs::metadata(path).map_err(cannot)?;
    if about.len() > FILE_MAX {
        return Err("is too large for a certificate".to_owned());
    }
    std::fs::read(path).map_err(cannot)
}
