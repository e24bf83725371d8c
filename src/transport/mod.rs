//! Sockets for SIP: UDP and TCP, IPv4 and IPv6.
