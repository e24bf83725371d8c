//! Requests outside of dialogs that wait for their answers: MESSAGE, INVITE, and what is carried to an upstream and
//! from it. Each is held with all that was sent of it for as long as somebody may still answer, and costs who sends it
//! nothing. So they are measured by what they hold, and strangers together have a quarter of what there is:
//! they cannot take what others need.
//!
//! A text lets a phone ring, too. So a user has so many of them under way, an address of which nothing else is
//! known has (fewer where datagrams alone name it), and so have all strangers to one user, over all shards.
//! Nobody meets these whose texts are answered.
//!
//! Who is not known and has reached a limit of its own is answered 480 with Retry-After; everybody else 500,
//! which speaks of now: a 503 would tell a proxy to send nothing here for a while (RFC 3261 21.5.4).

use std::collections::VecDeque;

use crate::engine::conversation::context::Context;
use crate::engine::conversation::{Rings, Stranger};
use crate::engine::events::{Event, Glut};
use crate::engine::mint::hash64;
use crate::engine::ports::{Claim, World};
use crate::engine::routing::Destination;
use crate::engine::settings::{ForkOrder, LimitSettings};
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ServerId;
use crate::sip::{Message, Name, reason_phrase};

/// Between two lines of the log about one limit.
const SAID_EVERY: Millis = Millis::from_secs(10);
/// Seconds after which something may have been answered.
const RETRY_AFTER_S: u32 = 10;
/// What a request costs besides its bytes, and each copy of it: transactions, indexes, timers.
const OVERHEAD: usize = 2048;
/// Targets of an upstream that a request is under way to at a time: one that is silent, and the next.
const TARGETS_AT_ONCE: usize = 2;
/// Strangers together have one part of so many.
const STRANGERS_PART: usize = 4;

/// What one request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burden {
    bytes: usize,
    of_stranger: bool,
    /// It is a text, and counts.
    text: Option<Rings>,
}

/// What a shard holds of such requests.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    bytes: usize,
    of_strangers: usize,
    /// What was answered while another phone has said nothing yet, and until when that may.
    lingering: VecDeque<(Time, Burden)>,
    /// When the operator was told last, by `Glut`.
    said: [Option<Time>; Glut::ALL.len()],
}

/// As what a text counts: calls that ring have numbers of their own.
fn number_of(one: u64) -> u64 {
    hash64(("text", one))
}

fn numbers(text: Rings) -> impl Iterator<Item = u64> {
    text.counted().map(number_of)
}

impl UnderWay {
    /// Takes note of a text that is sent to so many phones.
    fn begin_text(
        &mut self,
        request: &Message,
        copies: usize,
        text: Rings,
        limits: &LimitSettings,
        world: &mut dyn World,
    ) -> Result<Burden, Glut> {
        if let Some(glut) = glut_of_texts(text, limits, world) {
            return Err(glut);
        }
        let burden = self.begin(request, copies, text.claim(), limits)?;
        for number in numbers(text) {
            world.rings(number, true);
        }
        Ok(Burden {
            text: Some(text),
            ..burden
        })
    }

    /// Takes note of a request that is sent to so many targets. One alone is taken whatever its size, and who calls
    /// for help in any case.
    fn begin(
        &mut self,
        request: &Message,
        copies: usize,
        claim: Claim,
        limits: &LimitSettings,
    ) -> Result<Burden, Glut> {
        let bytes = (request.bytes().len() + OVERHEAD) * (1 + copies);
        let fits = |held: usize, most: usize| held == 0 || held + bytes <= most;
        let of_stranger = claim == Claim::Stranger;
        if of_stranger && !fits(self.of_strangers, limits.under_way / STRANGERS_PART) {
            return Err(Glut::Strangers);
        }
        if claim != Claim::Standing && !fits(self.bytes, limits.under_way) {
            return Err(Glut::All);
        }
        let burden = Burden {
            bytes,
            of_stranger,
            text: None,
        };
        self.bytes += bytes;
        self.of_strangers += burden.of_strangers();
        Ok(burden)
    }

    fn let_go(&mut self, burden: Burden) {
        self.bytes -= burden.bytes;
        self.of_strangers -= burden.of_strangers();
    }

    /// Lets go of what nobody answers any more.
    pub(crate) fn sweep(&mut self, now: Time) {
        while let Some((_, burden)) = self.lingering.pop_front_if(|(until, _)| *until <= now) {
            self.let_go(burden);
        }
    }

    /// Returns how many bytes are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns true where what is held is no more than these burdens and what lingers.
    pub(crate) fn is_made_up_of<'a>(&'a self, burdens: impl Iterator<Item = &'a Burden>) -> bool {
        let lingering = self.lingering.iter().map(|(_, burden)| burden);
        let sum = burdens
            .chain(lingering)
            .fold((0, 0), |(all, strange), one| {
                (all + one.bytes, strange + one.of_strangers())
            });
        sum == (self.bytes, self.of_strangers)
    }

    /// Returns true where the operator is to be told of a limit: a flood is a line now and then.
    fn tells(&mut self, glut: Glut, now: Time) -> bool {
        let said = &mut self.said[glut as usize];
        let tells = said.is_none_or(|said| now.since(said) >= SAID_EVERY);
        if tells {
            *said = Some(now);
        }
        tells
    }
}

impl Burden {
    fn of_strangers(&self) -> usize {
        if self.of_stranger { self.bytes } else { 0 }
    }
}

fn glut_of_texts(text: Rings, limits: &LimitSettings, world: &dyn World) -> Option<Glut> {
    let under_way = |one| world.ringing(number_of(one));
    match text {
        Rings::Free | Rings::Help => None,
        Rings::User(user) => (under_way(user) >= limits.texts_per_user).then_some(Glut::User),
        Rings::Stranger(Stranger {
            address,
            called,
            proven,
        }) => {
            let most = if proven {
                limits.texts_per_ip
            } else {
                limits.texts_per_ip.min(limits.texts_per_unproven_ip)
            };
            if under_way(address) >= most {
                Some(Glut::Address)
            } else {
                (under_way(called) >= limits.texts_per_called).then_some(Glut::Called)
            }
        }
    }
}

impl Context<'_> {
    /// Takes note of a text that is to be sent to so many phones.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn begin_text(
        &mut self,
        request: &Message,
        copies: usize,
        text: Rings,
    ) -> Result<Burden, Glut> {
        let shared = &mut *self.shared;
        let limits = &shared.settings.limits;
        shared
            .under_way
            .begin_text(request, copies, text, limits, self.world)
    }

    /// The same for a request that only passes through, to one of so many targets. One that is too much is
    /// refused, and holds nothing.
    pub(crate) fn begin_carrying(
        &mut self,
        server: ServerId,
        request: &Message,
        targets: usize,
        of_stranger: bool,
    ) -> Option<Burden> {
        let copies = targets.min(TARGETS_AT_ONCE);
        self.begin_measured(server, request, copies, Claim::of_caller(of_stranger))
    }

    /// The same for a call that is to ring at so many places, of an upstream one after another.
    pub(crate) fn begin_ringing(
        &mut self,
        server: ServerId,
        request: &Message,
        there: &Destination,
        claim: Claim,
    ) -> Option<Burden> {
        let targets = there.targets.len();
        let copies = match there.order {
            ForkOrder::Parallel | ForkOrder::Q => targets,
            ForkOrder::Serial => targets.min(TARGETS_AT_ONCE),
        };
        self.begin_measured(server, request, copies, claim)
    }

    fn begin_measured(
        &mut self,
        server: ServerId,
        request: &Message,
        copies: usize,
        claim: Claim,
    ) -> Option<Burden> {
        let shared = &mut *self.shared;
        let limits = &shared.settings.limits;
        let begun = shared.under_way.begin(request, copies, claim, limits);
        begun
            .inspect_err(|glut| _ = self.refuse_glut(server, *glut))
            .ok()
    }

    /// A request is answered, or given up; `others` still hold copies of it that may be sent again.
    pub(crate) fn no_longer_under_way(&mut self, mut burden: Burden, others: bool) {
        for number in burden.text.take().into_iter().flat_map(numbers) {
            self.world.rings(number, false);
        }
        let shared = &mut *self.shared;
        if others {
            // RFC 3261 17.1.2.2: timer F.
            let until = self.now + shared.settings.timers.t1.times(64);
            shared.under_way.lingering.push_back((until, burden));
        } else {
            shared.under_way.let_go(burden);
        }
    }

    /// Refuses a request since too many, or too much, are under way.
    pub(crate) fn refuse_glut(&mut self, server: ServerId, glut: Glut) -> u16 {
        let status = match glut {
            Glut::Address | Glut::Called => 480,
            Glut::User | Glut::Strangers | Glut::All => 500,
        };
        let tell = self.shared.under_way.tells(glut, self.now);
        if let Some((request, flow)) = self.shared.transactions.request_of(server) {
            let event = Event::Glut {
                glut,
                method: request.method().as_str().into(),
                from: request.from().uri.into(),
                peer: flow.to_string().into(),
                tell,
            };
            self.emit(event);
        }
        self.tell_refusal(server, status, glut.limit());
        let tag = self.shared.mint.hex(8);
        let reason = reason_phrase(status);
        self.respond(server, status, reason, Some(&tag), |builder| {
            builder.header(Name::RetryAfter, RETRY_AFTER_S).end()
        });
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Builder, Method};

    fn of_bytes(bytes: usize) -> Message {
        let request = Builder::request(&Method::Message, "sip:bob@example.org")
            .header(Name::Via, "SIP/2.0/UDP h;branch=z9hG4bKx")
            .header(Name::From, "<sip:a@h>;tag=1")
            .header(Name::To, "<sip:bob@example.org>")
            .header(Name::CallId, "c")
            .header(Name::CSeq, "1 MESSAGE");
        let request = request.body("text/plain", &vec![b'x'; bytes]);
        Message::parse(request).unwrap()
    }

    #[test]
    fn strangers_have_a_quarter_and_one_alone_passes() {
        let limits = LimitSettings {
            under_way: 400_000,
            ..LimitSettings::default()
        };
        let mut held = UnderWay::default();
        // More than 120,000 with its copy: the only one, and no other beside it.
        let large = of_bytes(60_000);
        let first = held.begin(&large, 1, Claim::Stranger, &limits).unwrap();
        for bytes in [0, 60_000] {
            let refused = held.begin(&of_bytes(bytes), 1, Claim::Stranger, &limits);
            assert_eq!(refused.unwrap_err(), Glut::Strangers);
        }
        // Others have the rest.
        let known: Vec<Burden> = (0..2)
            .map(|_| held.begin(&large, 1, Claim::Known, &limits).unwrap())
            .collect();
        let refused = held.begin(&large, 1, Claim::Known, &limits);
        assert_eq!(refused.unwrap_err(), Glut::All);
        assert!(held.is_made_up_of(known.iter().chain([&first])));
        let help = held.begin(&large, 1, Claim::Standing, &limits).unwrap();
        held.let_go(help);
        held.let_go(first);
        held.begin(&of_bytes(0), 1, Claim::Stranger, &limits)
            .unwrap();
        held.begin(&large, 1, Claim::Known, &limits).unwrap();
    }

    #[test]
    fn what_lingers_is_held_until_its_time() {
        let limits = LimitSettings::default();
        let mut held = UnderWay::default();
        let burden = held
            .begin(&of_bytes(9), 2, Claim::Stranger, &limits)
            .unwrap();
        held.lingering.push_back((Time(1000), burden));
        held.sweep(Time(999));
        assert!(held.bytes() > 3 * OVERHEAD && held.is_made_up_of([].iter()));
        held.sweep(Time(1000));
        assert_eq!((held.bytes(), held.of_strangers), (0, 0));
    }
}
