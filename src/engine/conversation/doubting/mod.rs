//! Is an endpoint still there?
//!
//! `signs` from outside of the dialogs, `moving` where it registers elsewhere, `check` the watch that they begin, `probe` asks the device and `dialog` the
//! dialog, `outcome` what an answer says of that, `outage` silence of the way there, `trust` what follows where all was well.

pub(crate) mod check;
mod dialog;
pub(crate) mod moving;
pub(crate) mod outage;
pub(crate) mod outcome;
mod probe;
pub(super) mod signs;
pub(crate) mod trust;
