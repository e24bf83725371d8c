use refork::engine::ids::ConversationId;
use refork::engine::ports::Claim;

use super::*;

/// Two phones ring, at ports 20 and 22; the first has fallen silent.
struct Two;

impl Phones for Two {
    fn media_to(&self, rtp: SocketAddr, _: IpAddr) -> Option<SocketAddr> {
        let second = SocketAddr::new(rtp.ip(), FIRST_PORT + 2);
        (rtp.port() == 22).then_some(second)
    }

    fn refuses(&self, _: SocketAddr) -> bool {
        false
    }

    fn plays_early_to(&self, port: u16) -> bool {
        port == FIRST_PORT + 2
    }

    fn listens_early_to(&self, port: u16) -> bool {
        port == FIRST_PORT
    }
}

fn open(media: MediaId, side: Side, generation: Generation, toward: IpAddr) -> MediaCommand {
    MediaCommand::Open {
        media,
        side,
        generation,
        streams: 1,
        claim: Claim::Known,
        toward,
        told: None,
        again: Vec::new(),
    }
}

/// The first generation, without a stream.
fn configure(media: MediaId, side: Side, signalling: IpAddr) -> MediaCommand {
    MediaCommand::Configure {
        media,
        side,
        generation: 0,
        signalling,
        streams: Vec::new(),
    }
}

#[test]
fn who_plays_and_is_not_heard_is_told_of() {
    for (known, told) in [(true, 1), (false, 0)] {
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut relay = Relay::new(address, None, true);
        let media = ConversationId(1);
        let side = Side::Callee;
        relay.handle(open(media, Side::Caller, 0, address), Time(0));
        relay.handle(open(media, side, 0, address), Time(0));
        relay.handle(configure(media, side, address), Time(0));
        let other = Other {
            number: 2,
            signalling: address,
            rtp: vec![Some(SocketAddr::new(address, 22))],
        };
        let others = known.then_some(other).into_iter().collect();
        let overhear = MediaCommand::Overhear {
            media,
            side,
            others,
        };
        relay.handle(overhear, Time(0));
        let mut heard = 0;
        for at in (0..=8000).step_by(500) {
            let events = relay.watch(&Two, Time(at));
            heard += events
                .iter()
                .filter(|event| matches!(event, MediaEvent::Overheard { number: 2, .. }))
                .count();
        }
        assert_eq!(heard, told, "told once, where the relay knows of it");
        // Nobody has done anything about it here.
        assert_eq!(relay.misuse.len(), 1, "{:?}", relay.misuse);
    }
}

#[test]
fn ports_beside_those_in_use_are_told_at_the_end() {
    // Soon after one of them is used nobody can say whether the others ring yet.
    for (given_back, closed, told) in [(true, 3000, 0), (false, 3000, 1), (false, 500, 0)] {
        let address = IpAddr::from([10, 0, 0, 1]);
        let mut relay = Relay::new(address, None, true);
        let (media, side) = (ConversationId(1), Side::Caller);
        let mut does = |command| relay.handle(command, Time(0));
        for generation in [0, 1] {
            does(open(media, side, generation, address));
        }
        does(configure(media, side, address));
        if given_back {
            does(MediaCommand::CloseSide {
                media,
                side,
                generation: 1,
            });
        }
        relay.handle(MediaCommand::Close { media }, Time(closed));
        assert_eq!(relay.misuse.len(), told, "{:?}", relay.misuse);
    }
}
