//! Runs by hand.
