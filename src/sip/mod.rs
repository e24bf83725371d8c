//! SIP messages (RFC 3261), SDP (RFC 8866) and digest (RFC 7616): bytes in, typed views out.
//!
//! A message is kept as it came and indexed in one pass; a header is taken apart when it is asked for,
//! and what is not touched goes out byte for byte.

mod address;
mod build;
pub mod cpim;
mod cut;
pub mod digest;
mod fault;
pub mod glance;
mod message;
mod method;
pub mod multipart;
mod name;
mod params;
mod privacy;
pub mod proof;
mod reason;
pub mod sdp;
pub mod stream;
pub mod stun;
pub mod unframed;
mod uri;
mod via;

pub use address::Address;
pub use build::Builder;
pub use fault::{Fault, Malformed};
pub use message::{Contacts, Field, Message};
pub use method::Method;
pub use name::Name;
pub use params::Params;
pub use privacy::Privacy;
pub use reason::reason_phrase;
pub use uri::{Scheme, Uri};
pub use via::{Via, keep_every};

/// A header value, URI or parameter that does not follow its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct BadSyntax(pub &'static str);
