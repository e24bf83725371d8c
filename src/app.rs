//! The running server: configuration in, sockets, shards, relay and admin interface up, drained at the end.
