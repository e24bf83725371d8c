//! Refork: a SIP back-to-back middlebox that keeps conversations alive when an endpoint is lost.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod driver;
pub mod engine;
pub mod gate;
pub mod logging;
pub mod media;
pub mod metrics;
pub mod observe;
pub mod sip;
pub mod store;
pub mod tls;
pub mod transport;
pub mod ua;
