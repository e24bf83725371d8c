//! Transactions (RFC 3261 17, RFC 6026): the four machines and the table that finds them.
