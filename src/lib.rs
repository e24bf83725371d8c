//! Refork: a SIP back-to-back middlebox that keeps conversations alive when an endpoint is lost.

pub mod engine;
pub mod metrics;
pub mod observe;
pub mod sip;
