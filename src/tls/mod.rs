//! Certificates: read from PEM files, chosen by the name that a client asks for, read again while the
//! server runs, and how long they are good; whom we trust, and what a peer's certificate says of it.

mod choose;
mod identity;
mod live;
mod load;
mod validity;
mod verify;

pub use identity::names;
pub use live::Tls;
pub use load::{ClientAuth, Fault, Files, Pair, Part, check};
pub use validity::{Validity, date, doubts};
