//! SIP messages (RFC 3261), SDP (RFC 8866) and digest (RFC 7616): bytes in, typed views out.
