//! What was agreed on each leg: its media, and how it changes (RFC 3264).
//!
//! `media` and `keys` where media runs and with which SRTP keys, `barred` where it never goes, `named` where an endpoint
//! is that gives a name for that, `enclosed` what a description comes in,
//! `telling`, `renegotiate`, `grow` and `refused` a new offer, `open_invite` one that waits over a restart, `fits` what
//! a new leg brings, `formats` the payload numbers that the relay must know, `refresh` session timers, `untold` what is said with them,
//! `withdrawn` an offer that was taken back.

pub(crate) mod barred;
pub(crate) mod enclosed;
pub(crate) mod fits;
mod formats;
pub(crate) mod grow;
pub(crate) mod keys;
pub(crate) mod media;
pub(crate) mod named;
pub(crate) mod open_invite;
pub(crate) mod refresh;
pub(crate) mod refused;
pub(crate) mod renegotiate;
pub(crate) mod telling;
pub(crate) mod untold;
pub(crate) mod withdrawn;
