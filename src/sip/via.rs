//! Via (RFC 3261 20.42, RFC 3581).

use super::params::{digits, is_balanced};
use super::uri::host_and_port;
use super::{BadSyntax, Params, cut};

/// One Via value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    pub transport: &'a str,
    /// IPv6 without brackets.
    pub host: &'a str,
    pub port: Option<u16>,
    pub branch: Option<&'a str>,
    /// `Some(None)`: the peer asks for it.
    pub rport: Option<Option<u16>>,
    pub received: Option<&'a str>,
    pub params: Params<'a>,
}

/// Seconds within which a phone is to show that its flow stands (RFC 5626 4.4, RFC 6223 4.4): over UDP before
/// a NAT forgets it (RFC 4787 4.3 has some do after 30), over a connection before most do (RFC 5382 5).
pub fn keep_every(reliable: bool) -> u32 {
    if reliable { 120 } else { 30 }
}

const VIA: BadSyntax = BadSyntax("Via");

impl<'a> Via<'a> {
    /// Reads one value.
    ///
    /// # Errors
    /// No protocol, no host, empty, a quote without its other half.
    pub fn parse(text: &'a str) -> Result<Self, BadSyntax> {
        let (protocol, params) = cut::once(text, b';').unwrap_or((text, ""));
        let (name, rest) = cut::once(protocol.trim_ascii(), b'/').ok_or(VIA)?;
        let (version, rest) = cut::once(rest, b'/').ok_or(VIA)?;
        if !name.trim_ascii().eq_ignore_ascii_case("SIP") || version.trim_ascii().is_empty() {
            return Err(VIA);
        }
        let rest = rest.trim_ascii_start();
        let blank = rest.bytes().position(|byte| byte.is_ascii_whitespace());
        let (transport, sent_by) = rest.split_at(blank.ok_or(VIA)?);
        let (host, port) = host_and_port(sent_by).map_err(|_| VIA)?;
        if !is_balanced(params) {
            return Err(VIA);
        }
        let params = Params::new(params);
        // In one pass: each message is read so, and each hop of it. Of two of a name the first counts.
        let (mut branch, mut rport, mut received) = (None, None, None);
        for (name, value) in params.iter() {
            let of = if name.eq_ignore_ascii_case("branch") {
                &mut branch
            } else if name.eq_ignore_ascii_case("rport") {
                &mut rport
            } else if name.eq_ignore_ascii_case("received") {
                &mut received
            } else {
                continue;
            };
            of.get_or_insert(value);
        }
        Ok(Self {
            transport,
            host,
            port,
            branch: branch.flatten().filter(|branch| !branch.is_empty()),
            rport: rport.map(|value| value.and_then(digits)),
            received: received.flatten(),
            params,
        })
    }
}
