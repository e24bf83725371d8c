//! The conversation: anchored on whoever is still there.
