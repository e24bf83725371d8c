//! Whole conversations over real sockets: the server as it runs, and phones that know nothing of it
//! but SIP. Each test prints the ladder of what its phones saw where it fails.

#![allow(clippy::unwrap_used, reason = "a test: what cannot be had ends it")]

mod addresses;
mod attacks;
#[path = "../transport/authority.rs"]
mod authority;
mod calls;
mod certificates;
mod dns;
mod fax;
mod floods;
mod flows;
mod forks;
mod lamps;
mod listeners;
mod loss;
mod metrics;
mod names;
mod numbers;
mod proxies;
mod reference;
mod secure;
mod services;
mod sessions;
mod srtp;
mod stage;
mod torture;
mod transports;
mod video;
mod wire;
