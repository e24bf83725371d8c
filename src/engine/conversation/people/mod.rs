//! Who takes part, apart from the phone.
//!
//! `person` who a side is, `asserted`, `presented` and `veil` what others are told of that, `far_ends` who is beyond an
//! upstream, `proof` and `account` credentials and challenges.

pub(crate) mod account;
pub(crate) mod asserted;
pub(crate) mod claims;
pub(crate) mod far_ends;
pub(crate) mod person;
pub(crate) mod presented;
pub(crate) mod proof;
pub(crate) mod veil;
