//! Where a stream's packets may come from, and where ours go (symmetric RTP, RFC 4961).
//!
//! We send to the address of the SDP until a packet comes, then to where it came from. Who may be
//! the first is told by signalling: the IP of the SDP, or of the SIP peer where the operator lets
//! it. From then on address and SSRC are locked. They change
//! - after signalling, to another address that may be latched to;
//! - where the old address fell silent and its own SSRC goes on elsewhere (a NAT that rebinds, a
//!   phone that changed its network and has not said so yet);
//! - to the very address of the SDP, whoever was faster: of two phones that answer at once the loser's
//!   packets may come first; and, once the source has fallen silent, to any that may be latched to;
//! - on the same address, where the old SSRC fell silent: PBXs switch sources without a word.

use std::net::{IpAddr, SocketAddr};

use crate::media::clock::Micros;

/// How long an address must be silent before its SSRC is believed from another one.
pub(crate) const MOVE_AFTER: u64 = 500_000;
/// How long an SSRC must be silent before another one may follow on the same address.
pub(crate) const SSRC_AFTER: u64 = 100_000;

/// What a packet's source is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The source latched to, or the first one.
    Ours,
    /// It went on from another address without signalling.
    Moved,
    Stranger,
}

/// Where RTP comes from.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    spot: Spot,
    allowed: [Option<IpAddr>; 2],
    ssrc: Option<u32>,
}

/// Where RTCP comes from that has a port of its own, beside RTP's.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    spot: Spot,
}

/// What there is to know of one address.
#[derive(Debug, Default)]
struct Spot {
    /// Address of the SDP; none where it can't be sent to.
    sdp: Option<SocketAddr>,
    source: Option<SocketAddr>,
    heard: Micros,
    /// Signalling came after the last packet.
    open: bool,
    /// The address left behind when the SDP named a new one, and when.
    former: Option<Box<(SocketAddr, Micros)>>,
}

impl Latch {
    /// Signalling told where the side is. `anew`: another endpoint, of which nothing is known.
    pub(crate) fn signalled(
        &mut self,
        sdp: Option<SocketAddr>,
        allowed: [Option<IpAddr>; 2],
        anew: bool,
        now: Micros,
    ) {
        if anew {
            self.ssrc = None;
        }
        self.spot.signalled(sdp, anew, now);
        self.allowed = allowed;
    }

    /// Returns where to send.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.spot.target()
    }

    /// Returns true for the address that signalling told.
    pub(crate) fn is_told(&self, address: SocketAddr) -> bool {
        self.spot.sdp == Some(address)
    }

    /// Returns true where nothing has come for so long, or since signalling named another address.
    pub(crate) fn is_quiet(&self, now: Micros, after: u64) -> bool {
        self.spot.source.is_none() || now.since(self.spot.heard) >= after
    }

    /// Returns true for the address that it is locked to.
    pub(crate) fn is_locked_to(&self, address: SocketAddr) -> bool {
        self.spot.source == Some(address)
    }

    /// Judges a packet by its source and locks to it where it may.
    pub(crate) fn judge(&mut self, from: SocketAddr, ssrc: Option<u32>, now: Micros) -> Verdict {
        let spot = &self.spot;
        let verdict = match spot.source {
            Some(source) if source == from => {
                let known = ssrc.is_none() || self.ssrc.is_none() || self.ssrc == ssrc;
                if known || spot.open || now.since(spot.heard) >= SSRC_AFTER {
                    Verdict::Ours
                } else {
                    Verdict::Stranger
                }
            }
            Some(_) if spot.open && self.may_latch(from, now) => Verdict::Ours,
            Some(_) if spot.sdp == Some(from) && ssrc != self.ssrc && self.may_latch(from, now) => {
                Verdict::Ours
            }
            Some(_) if now.since(spot.heard) >= MOVE_AFTER && self.may_latch(from, now) => {
                Verdict::Ours
            }
            Some(_)
                if ssrc.is_some() && self.ssrc == ssrc && now.since(spot.heard) >= MOVE_AFTER =>
            {
                Verdict::Moved
            }
            Some(_) => Verdict::Stranger,
            None if self.may_latch(from, now) => Verdict::Ours,
            None => Verdict::Stranger,
        };
        if verdict != Verdict::Stranger {
            self.spot.lock(from, now);
            self.ssrc = ssrc.or(self.ssrc);
        }
        verdict
    }

    /// Judges a packet of a stream that is not ours to read: many SSRCs may share an address.
    pub(crate) fn judge_opaque(
        &mut self,
        from: SocketAddr,
        ssrc: Option<u32>,
        now: Micros,
    ) -> Verdict {
        if self.spot.source == Some(from) {
            self.ssrc = ssrc.or(self.ssrc);
            return self.judge(from, None, now);
        }
        self.judge(from, ssrc, now)
    }

    fn may_latch(&self, from: SocketAddr, now: Micros) -> bool {
        self.allows(from) && !self.spot.is_left(from, now)
    }

    fn allows(&self, from: SocketAddr) -> bool {
        self.allowed.contains(&Some(from.ip()))
    }
}

impl Beside {
    /// Signalling told where the side's RTCP is.
    pub(crate) fn signalled(&mut self, sdp: Option<SocketAddr>, anew: bool, now: Micros) {
        self.spot.signalled(sdp, anew, now);
    }

    /// Returns where to send.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.spot.target()
    }

    /// Judges a packet: it may come from where RTP does, by another port.
    pub(crate) fn judge(&mut self, from: SocketAddr, rtp: &Latch, now: Micros) -> Verdict {
        let beside = match rtp.spot.source {
            Some(source) => source.ip() == from.ip(),
            None => rtp.may_latch(from, now),
        };
        let spot = &self.spot;
        let quiet = spot.open || now.since(spot.heard) >= MOVE_AFTER;
        let verdict = match spot.source {
            Some(source) if source == from => Verdict::Ours,
            Some(_) if beside && quiet => Verdict::Ours,
            None if beside || rtp.allows(from) && !spot.is_left(from, now) => Verdict::Ours,
            Some(_) | None => Verdict::Stranger,
        };
        if verdict != Verdict::Stranger {
            self.spot.lock(from, now);
        }
        verdict
    }

    /// Forgets the source but not where it may be: after the RTP beside it moved.
    pub(crate) fn release(&mut self) {
        self.spot.source = None;
    }
}

impl Spot {
    fn signalled(&mut self, sdp: Option<SocketAddr>, anew: bool, now: Micros) {
        if anew {
            *self = Self::default();
        } else if sdp != self.sdp {
            self.former = self.source.take().map(|source| Box::new((source, now)));
        }
        self.sdp = sdp;
        self.open = true;
    }

    fn target(&self) -> Option<SocketAddr> {
        self.source.or(self.sdp)
    }

    fn lock(&mut self, from: SocketAddr, now: Micros) {
        self.source = Some(from);
        self.heard = now;
        self.open = false;
    }

    /// Returns true for the address that was just left: what comes from there was underway.
    fn is_left(&self, from: SocketAddr, now: Micros) -> bool {
        self.former.as_deref().is_some_and(|(address, left)| {
            *address == from && self.sdp != Some(from) && now.since(*left) < MOVE_AFTER
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:4000";
    const A2: &str = "192.0.2.1:4500";
    const NAT: &str = "198.51.100.9:61000";
    const EVIL: &str = "203.0.113.66:4000";

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ms(ms: u64) -> Micros {
        Micros::from_ms(ms)
    }

    fn latch() -> Latch {
        let mut latch = Latch::default();
        signal(&mut latch, A, false, 0);
        latch
    }

    fn signal(latch: &mut Latch, sdp: &str, anew: bool, now: u64) {
        let allowed = [Some(at(sdp).ip()), Some(at(NAT).ip())];
        latch.signalled(Some(at(sdp)), allowed, anew, ms(now));
    }

    #[test]
    fn sends_to_the_sdp_until_a_packet_comes() {
        let mut latch = latch();
        assert_eq!(latch.target(), Some(at(A)));
        assert_eq!(latch.judge(at(NAT), Some(7), ms(1)), Verdict::Ours);
        assert_eq!(latch.target(), Some(at(NAT)));
    }

    #[test]
    fn lets_nobody_else_in() {
        let mut latch = latch();
        assert_eq!(latch.judge(at(EVIL), Some(7), ms(1)), Verdict::Stranger);
        assert_eq!(latch.target(), Some(at(A)));
        assert_eq!(latch.judge(at(A), Some(7), ms(2)), Verdict::Ours);
        // Locked: another port of an allowed IP, the right SSRC from elsewhere, a second SSRC.
        assert_eq!(latch.judge(at(A2), Some(8), ms(3)), Verdict::Stranger);
        assert_eq!(latch.judge(at(EVIL), Some(7), ms(4)), Verdict::Stranger);
        assert_eq!(latch.judge(at(A), Some(8), ms(5)), Verdict::Stranger);
        assert_eq!(latch.target(), Some(at(A)));
    }

    #[test]
    fn follows_its_ssrc_once_the_old_address_is_silent() {
        let mut latch = latch();
        latch.judge(at(A), Some(7), ms(0));
        assert_eq!(latch.judge(at(EVIL), Some(7), ms(499)), Verdict::Stranger);
        assert_eq!(latch.judge(at(EVIL), Some(8), ms(5000)), Verdict::Stranger);
        assert_eq!(latch.judge(at(EVIL), None, ms(5000)), Verdict::Stranger);
        assert_eq!(latch.judge(at(EVIL), Some(7), ms(500)), Verdict::Moved);
        assert_eq!(latch.target(), Some(at(EVIL)));
        assert_eq!(latch.judge(at(A), Some(7), ms(501)), Verdict::Stranger);
    }

    #[test]
    fn the_address_of_the_sdp_wins_over_who_was_faster() {
        // Two phones behind one address answer at once, and the loser's packet is here first.
        let mut latch = latch();
        assert_eq!(latch.judge(at(A2), Some(8), ms(1)), Verdict::Ours);
        assert_eq!(latch.judge(at(A), Some(7), ms(2)), Verdict::Ours);
        assert_eq!(latch.judge(at(A2), Some(8), ms(3)), Verdict::Stranger);
        assert_eq!(latch.target(), Some(at(A)));
        // Behind a NAT neither sends from there: the winner has its turn when the loser is silent.
        let mut latch = self::latch();
        assert_eq!(latch.judge(at(NAT), Some(8), ms(1)), Verdict::Ours);
        let winner = at("198.51.100.9:62000");
        assert_eq!(latch.judge(winner, Some(7), ms(400)), Verdict::Stranger);
        assert_eq!(latch.judge(winner, Some(7), ms(501)), Verdict::Ours);
    }

    #[test]
    fn takes_another_ssrc_on_its_address_after_a_pause() {
        let mut latch = latch();
        latch.judge(at(A), Some(7), ms(0));
        assert_eq!(latch.judge(at(A), Some(8), ms(99)), Verdict::Stranger);
        assert_eq!(latch.judge(at(A), Some(8), ms(100)), Verdict::Ours);
        assert_eq!(latch.judge(at(A), Some(7), ms(101)), Verdict::Stranger);
    }

    #[test]
    fn latches_again_after_signalling() {
        let mut latch = latch();
        latch.judge(at(NAT), Some(7), ms(0));
        signal(&mut latch, A, false, 10);
        // The SDP is the same: what works is kept until something else comes.
        assert_eq!(latch.target(), Some(at(NAT)));
        assert_eq!(latch.judge(at(EVIL), Some(9), ms(11)), Verdict::Stranger);
        assert_eq!(latch.judge(at(A), Some(9), ms(12)), Verdict::Ours);
        assert_eq!(latch.judge(at(NAT), Some(7), ms(13)), Verdict::Stranger);
    }

    #[test]
    fn leaves_the_old_address_when_the_sdp_names_another() {
        let mut latch = latch();
        latch.judge(at(A), Some(7), ms(0));
        signal(&mut latch, A2, false, 10);
        assert_eq!(latch.target(), Some(at(A2)));
        // What was still on its way from the old port does not latch.
        assert_eq!(latch.judge(at(A), Some(7), ms(11)), Verdict::Stranger);
        assert_eq!(latch.judge(at(A2), Some(7), ms(12)), Verdict::Ours);
    }

    #[test]
    fn forgets_a_lost_endpoint() {
        let mut latch = latch();
        latch.judge(at(A), Some(7), ms(0));
        latch.signalled(
            Some(at("192.0.2.77:9")),
            [Some(at("192.0.2.77:9").ip()), None],
            true,
            ms(1),
        );
        assert_eq!(latch.judge(at(A), Some(7), ms(2000)), Verdict::Stranger);
        assert_eq!(latch.target(), Some(at("192.0.2.77:9")));
    }

    #[test]
    fn rtcp_comes_from_where_rtp_does() {
        let mut rtp = latch();
        let mut rtcp = Beside::default();
        rtcp.signalled(Some(at("192.0.2.1:4001")), false, ms(0));
        rtp.judge(at(NAT), Some(7), ms(1));
        let beside = at("198.51.100.9:61777");
        assert_eq!(rtcp.judge(at(EVIL), &rtp, ms(2)), Verdict::Stranger);
        assert_eq!(rtcp.judge(beside, &rtp, ms(2)), Verdict::Ours);
        assert_eq!(rtcp.target(), Some(beside));
        let other = at("198.51.100.9:61778");
        assert_eq!(rtcp.judge(other, &rtp, ms(3)), Verdict::Stranger);
        assert_eq!(rtcp.judge(other, &rtp, ms(503)), Verdict::Ours);
    }
}
