//! Who is where: addresses of record, endpoint identity, the registrar (RFC 3261 10).
//!
//! `aor` tells which addresses are one person, `identity` which Contacts are one device, `gruu` which URIs mean
//! one, `temporary` those that do not show whose; `auth` asks for proof, `offers` says by which algorithms, `bindings`
//! is the table of RFC 3261 10.3 step 7 and `registrar` the rest of that section; `sender` who a request is of that
//! does not say so; `held` keeps what an upstream's registrar has agreed to, `guesses` tells who guesses at what it
//! knows, `token` names a phone to it.

mod aor;
mod auth;
mod bindings;
mod gruu;
mod guesses;
mod held;
mod hmac;
mod identity;
mod nonce;
mod offers;
mod registrar;
mod sender;
mod spent;
mod temporary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod token;

pub use aor::{aor_in, canonical, domain, is_known};
pub(crate) use aor::{host_text, only_known};
pub use auth::{Authenticator, Challenge};
pub(crate) use bindings::{has_flow, is_bound};
pub(crate) use gruu::{Meant, hides, meant};
pub(crate) use guesses::Tried;
pub(crate) use held::{Held, Naming};
pub(crate) use identity::{alike, by_contact_alone, displaces};
pub use identity::{caller, endpoint, identity, same, same_uri};
pub(crate) use registrar::knows_path;
pub use registrar::{Registered, Registrar};
pub(crate) use sender::{is_anonymous, is_named, over_flow, sender};
pub use spent::SpentNonces;
pub(crate) use temporary::{revealed, whose};
