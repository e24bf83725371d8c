//! Is an endpoint still there?
//!
//! `signs` from outside of the dialogs, `check` the probes that settle them, `outcome` what an answer says of the
//! dialog.

pub(crate) mod check;
pub(crate) mod outcome;
mod signs;
