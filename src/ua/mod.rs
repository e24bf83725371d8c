//! Small SIP user agents over real sockets, for the demo and for tests.
