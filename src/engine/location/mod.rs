//! Who is where: addresses of record, endpoint identity, the registrar (RFC 3261 10).
