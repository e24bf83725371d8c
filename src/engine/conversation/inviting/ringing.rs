//! Calls that nobody has answered yet: each holds ports for its caller and for those it rings, and costs who
//! makes it nothing. So one asker may have so many of them, whoever is not known has no more than half of
//! all, and the node has a limit as a whole. Of those who are not known no more than a few ring the same
//! user, and an address that is known from datagrams alone, which anybody can send in its name, has less than
//! others and is counted apart.
//!
//! An answered call holds its ports for as long as it stands. So one asker has a limit of calls, too: of those
//! that ring and those that stand together.
//!
//! A call may have many streams, each of which takes two pairs of the relay's ports. So those have a limit, too.
//!
//! Who has reached a limit of its own is answered 480 with Retry-After. A 503 would tell a proxy to send
//! nothing here for a while (RFC 3261 21.5.4), also for others, and a 403 that asking again is of no use
//! (21.4.5). Where the node has enough of them it is the server that cannot, for now: 500 (21.5.1).

use crate::engine::asker::Asker;
use crate::engine::conversation::context::Context;
use crate::engine::conversation::index::aor_key;
use crate::engine::events::{Crowd, Event};
use crate::engine::ids::{Aor, Flow};
use crate::engine::location;
use crate::engine::mint::hash64;
use crate::engine::network::customer;
use crate::engine::ports::{Claim, World};
use crate::engine::routing::Destination;
use crate::engine::settings::LimitSettings;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Name, reason_phrase};

/// Between two lines of the log about one limit.
const SAID_EVERY: Millis = Millis::from_secs(10);
/// Seconds after which somebody may have answered.
const RETRY_AFTER_S: u32 = 10;

/// As what a call counts while it rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rings {
    /// Of a trusted peer, an upstream, or where nobody is asked who he is: it has no limit of its own.
    Free,
    /// For help, of somebody who is known: it has no limit at all.
    Help,
    User(u64),
    Stranger(Stranger),
}

/// Somebody of whom nothing but the address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stranger {
    pub(crate) address: u64,
    /// Whom it calls.
    pub(crate) called: u64,
    /// The address is that of a connection.
    pub(crate) proven: bool,
}

/// The calls of a shard that ring.
#[derive(Debug, Default)]
pub(crate) struct Ringing {
    all: usize,
    strangers: usize,
    /// When the operator was told last, by `Crowd`.
    said: [Option<Time>; Crowd::ALL.len()],
}

impl Rings {
    /// Returns as what a call counts that somebody wants to make.
    pub(crate) fn of(
        context: &Context<'_>,
        asker: &Asker,
        destination: &Destination,
        request: &Message,
        flow: &Flow,
    ) -> Self {
        if destination.asked_by.is_some() {
            return Self::Free;
        }
        if destination.emergency.is_some() && !asker.is_unknown() {
            return Self::Help;
        }
        match asker {
            Asker::Trusted | Asker::Unasked(_) => Self::Free,
            Asker::Proven(user) => Self::User(aor_key(user).number()),
            // A phone that lies on the flow of its binding.
            Asker::Of(_) => {
                let (now, settings) = (context.now, &context.shared.settings);
                let user = location::sender(request, asker, flow, now, settings, context.world);
                user.map_or_else(
                    || Self::from_address(flow, &destination.aor),
                    |user| Self::User(aor_key(&user).number()),
                )
            }
            Asker::Says(_) | Asker::Stranger => Self::from_address(flow, &destination.aor),
        }
    }

    fn from_address(flow: &Flow, called: &Aor) -> Self {
        let proven = flow.transport.is_reliable();
        Self::Stranger(Stranger {
            address: hash64((customer(flow.peer.ip()), proven)),
            called: hash64(("called", called)),
            proven,
        })
    }

    /// Returns whose call it is, as a number.
    pub(crate) fn asker(self) -> Option<u64> {
        match self {
            Self::Free | Self::Help => None,
            Self::User(number) => Some(number),
            Self::Stranger(stranger) => Some(stranger.address),
        }
    }

    /// Returns as what it is counted while it rings.
    pub(crate) fn counted(self) -> impl Iterator<Item = u64> {
        let called = match self {
            Self::Free | Self::Help | Self::User(_) => None,
            Self::Stranger(stranger) => Some(stranger.called),
        };
        self.asker().into_iter().chain(called)
    }

    /// Returns the limit that so many streams more would exceed.
    pub(crate) fn crowd_of_streams(
        self,
        more: usize,
        limits: &LimitSettings,
        world: &dyn World,
    ) -> Option<Crowd> {
        let (most, crowd) = match self {
            Self::Free | Self::Help => return None,
            Self::User(_) => (limits.streams_per_user, Crowd::UserStreams),
            Self::Stranger(_) => (limits.streams_per_ip, Crowd::AddressStreams),
        };
        let asker = self.asker()?;
        (more > 0 && world.streaming(asker) + more > most).then_some(crowd)
    }

    /// Returns true where nothing is known of who calls.
    pub(crate) fn is_stranger(self) -> bool {
        self.claim() == Claim::Stranger
    }

    /// Returns of what it may have a share.
    pub(crate) fn claim(self) -> Claim {
        match self {
            Self::Stranger(_) => Claim::Stranger,
            Self::Free | Self::User(_) => Claim::Known,
            Self::Help => Claim::Standing,
        }
    }
}

impl Ringing {
    /// Returns the limit that one call more would exceed, of so many streams.
    pub(crate) fn crowd(
        &self,
        (one, streams): (Rings, usize),
        limits: &LimitSettings,
        world: &dyn World,
    ) -> Option<Crowd> {
        let own = match one {
            Rings::Help => return None,
            Rings::Free => None,
            Rings::User(user) => {
                let ringing = world.ringing(user);
                if ringing >= limits.ringing_per_user {
                    Some(Crowd::User)
                } else {
                    let calls = ringing + world.standing(user);
                    (calls >= limits.calls_per_user).then_some(Crowd::UserCalls)
                }
                .or_else(|| one.crowd_of_streams(streams, limits, world))
            }
            Rings::Stranger(stranger) => self
                .crowd_of_stranger(stranger, limits, world)
                .or_else(|| one.crowd_of_streams(streams, limits, world)),
        };
        own.or_else(|| (self.all >= limits.ringing).then_some(Crowd::All))
    }

    fn crowd_of_stranger(
        &self,
        stranger: Stranger,
        limits: &LimitSettings,
        world: &dyn World,
    ) -> Option<Crowd> {
        let ringing = world.ringing(stranger.address);
        let most = if stranger.proven {
            limits.ringing_per_ip
        } else {
            limits.ringing_per_ip.min(limits.ringing_per_unproven_ip)
        };
        if ringing >= most {
            Some(Crowd::Address)
        } else if ringing + world.standing(stranger.address) >= limits.calls_per_ip {
            Some(Crowd::AddressCalls)
        } else if world.ringing(stranger.called) >= limits.ringing_per_called {
            Some(Crowd::Called)
        } else if self.strangers >= limits.ringing.div_ceil(2) {
            Some(Crowd::Strangers)
        } else {
            None
        }
    }

    pub(crate) fn begin(&mut self, one: Rings, world: &mut dyn World) {
        self.all += 1;
        self.strangers += usize::from(one.is_stranger());
        for number in one.counted() {
            world.rings(number, true);
        }
    }

    /// It is answered, or over.
    pub(crate) fn end(&mut self, one: Rings, world: &mut dyn World) {
        self.all -= 1;
        self.strangers -= usize::from(one.is_stranger());
        for number in one.counted() {
            world.rings(number, false);
        }
    }

    /// Returns true where the operator is to be told of a limit: a flood is a line now and then.
    pub(crate) fn tells(&mut self, crowd: Crowd, now: Time) -> bool {
        let said = &mut self.said[crowd as usize];
        let tells = said.is_none_or(|said| now.since(said) >= SAID_EVERY);
        if tells {
            *said = Some(now);
        }
        tells
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.all, self.strangers)
    }
}

impl Context<'_> {
    /// Refuses a call since there are too many.
    pub(crate) fn refuse_one_more(&mut self, server: ServerId, crowd: Crowd, tell: bool) {
        let status = match crowd {
            Crowd::User
            | Crowd::UserCalls
            | Crowd::Address
            | Crowd::AddressCalls
            | Crowd::UserStreams
            | Crowd::AddressStreams
            | Crowd::Called => 480,
            Crowd::Strangers | Crowd::All => 500,
        };
        if let Some((request, flow)) = self.shared.transactions.request_of(server) {
            let (peer, from) = (flow.to_string().into(), request.from().uri.into());
            self.emit(Event::Crowded {
                crowd,
                from,
                peer,
                tell,
            });
        }
        self.tell_refusal(server, status, crowd.limit());
        let warning = match crowd {
            Crowd::UserCalls | Crowd::AddressCalls => "Too many calls at a time",
            Crowd::UserStreams | Crowd::AddressStreams => "Too many streams at a time",
            Crowd::User | Crowd::Address | Crowd::Called | Crowd::Strangers | Crowd::All => {
                "Too many calls ring that nobody has answered"
            }
        };
        let tag = self.shared.mint.hex(8);
        let node = self.shared.settings.node.clone();
        self.respond(
            server,
            status,
            reason_phrase(status),
            Some(&tag),
            |builder| {
                builder
                    .header(Name::RetryAfter, RETRY_AFTER_S)
                    // RFC 3261 20.43.
                    .header(Name::Warning, format_args!("399 {node} \"{warning}\""))
                    .end()
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::location::testing::Book;

    #[test]
    fn each_crowd_has_its_limit() {
        let limits = LimitSettings {
            ringing: 4,
            ringing_per_user: 9,
            ringing_per_ip: 9,
            ringing_per_unproven_ip: 9,
            ..LimitSettings::default()
        };
        let world = &mut Book::default();
        let mut ringing = Ringing::default();
        let stranger = Rings::Stranger(Stranger {
            address: 1,
            called: 7,
            proven: false,
        });
        for _ in 0..2 {
            assert_eq!(ringing.crowd((stranger, 1), &limits, world), None);
            ringing.begin(stranger, world);
        }
        assert_eq!(
            ringing.crowd((stranger, 1), &limits, world),
            Some(Crowd::Strangers)
        );
        for one in [Rings::User(2), Rings::Free] {
            assert_eq!(ringing.crowd((one, 1), &limits, world), None);
            ringing.begin(one, world);
        }
        for one in [Rings::User(3), Rings::Free] {
            assert_eq!(ringing.crowd((one, 1), &limits, world), Some(Crowd::All));
        }
        assert_eq!(ringing.crowd((Rings::Help, 1), &limits, world), None);
        for one in [stranger, stranger, Rings::User(2), Rings::Free] {
            ringing.end(one, world);
        }
        assert_eq!(ringing.counts(), (0, 0));
    }

    #[test]
    fn a_flood_is_a_line_now_and_then() {
        let mut ringing = Ringing::default();
        let start = Time(1_000_000);
        let told = (0..100u64)
            .filter(|n| ringing.tells(Crowd::User, start + Millis(n * 250)))
            .count();
        assert_eq!(told, 3);
        assert!(ringing.tells(Crowd::All, start), "another limit");
    }
}
