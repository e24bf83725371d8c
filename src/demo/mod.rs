//! `refork demo`: a call and an IM session that outlive a phone, on loopback, shown as a ladder.
