//! What the operator writes (YAML), and what the program makes of it: resolved, checked, without
//! defaults left to take.

mod resolved;

pub use resolved::{
    AdminConfig, Config, Listener, LogConfig, LogFormat, MadeUser, MediaConfig, TransportLimits,
};
