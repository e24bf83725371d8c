//! What a run is made of: phones, weather, and what happens when. A seed makes one.

mod added;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use refork::engine::ids::Side;
use refork::engine::settings::Kind;
use refork::engine::time::Millis;
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::log::{Fault, PhoneId};
use crate::net::Weather;
use crate::phone::{Codec, Spec, Speech, Temper, Traits};
use crate::rules::Rules;

/// Whom a fault befalls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Victim {
    Phone(PhoneId),
    /// Whoever is in the conversation then.
    Holder(usize, Side),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    Register(PhoneId),
    Call {
        phone: PhoneId,
        user: String,
        kind: Kind,
    },
    Say {
        talk: usize,
        side: Side,
    },
    Hold {
        talk: usize,
        side: Side,
        on: bool,
    },
    /// Its user shows pictures, or no longer.
    Film {
        talk: usize,
        side: Side,
        on: bool,
    },
    /// A user of this side hands the call to another one.
    Refer {
        talk: usize,
        side: Side,
        user: String,
    },
    /// A user of this side puts the other on hold and calls a third one.
    Consult {
        talk: usize,
        side: Side,
        user: String,
    },
    /// Whoever has consulted joins the two calls.
    Join {
        talk: usize,
        side: Side,
    },
    /// A user of this side puts the receiver down; where nobody can, one of the other side does.
    HangUp {
        talk: usize,
        side: Side,
    },
    HangUpAgain {
        talk: usize,
        side: Side,
        tries: u32,
    },
    Befall {
        victim: Victim,
        fault: Fault,
        /// Of a killed phone: ICMP and RST tell of it.
        speaks: bool,
        /// None: for ever.
        lasts: Option<Millis>,
    },
    Restart {
        down: Millis,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) rules: Rules,
    pub(crate) weather: Weather,
    /// Of a hundred writes so many are late.
    pub(crate) slow_store: u64,
    /// Of a hundred so many fail.
    pub(crate) failing_store: u64,
    pub(crate) phones: Vec<Spec>,
    /// Conversation and side of each phone.
    pub(crate) places: Vec<(usize, Side)>,
    pub(crate) acts: Vec<(Millis, Act)>,
    pub(crate) length: Millis,
}

impl Scenario {
    /// Makes an empty one in fair weather.
    pub(crate) fn empty(seed: u64) -> Self {
        Self {
            seed,
            rules: Rules::default(),
            weather: Weather::fair(),
            slow_store: 0,
            failing_store: 0,
            phones: Vec::new(),
            places: Vec::new(),
            acts: Vec::new(),
            length: Millis::from_secs(120),
        }
    }

    pub(crate) fn at(&mut self, ms: u64, act: Act) {
        self.acts.push((Millis(ms), act));
    }

    /// Adds a phone of a conversation's side, which registers at `ms`.
    pub(crate) fn phone(
        &mut self,
        talk: usize,
        side: Side,
        traits: Traits,
        stream: bool,
        ms: u64,
    ) -> PhoneId {
        self.phone_of(user(talk, side), talk, side, traits, stream, ms)
    }

    /// Adds a phone of a user who may come into a side's place.
    fn phone_of(
        &mut self,
        user: String,
        talk: usize,
        side: Side,
        traits: Traits,
        stream: bool,
        ms: u64,
    ) -> PhoneId {
        let id = self.phones.len();
        let number = self
            .phones
            .iter()
            .filter(|phone| phone.user == user)
            .count();
        let ip = Ipv4Addr::new(10, 1, talk as u8, id as u8 + 1);
        self.phones.push(Spec {
            name: format!("{user}-{number}"),
            user,
            address: SocketAddr::new(IpAddr::V4(ip), 5060),
            stream,
            traits,
        });
        self.places.push((talk, side));
        self.at(ms, Act::Register(id));
        id
    }

    /// Takes a phone away, and what it does and what befalls it.
    pub(crate) fn leave_phone_out(&mut self, gone: PhoneId) {
        self.phones.remove(gone);
        self.places.remove(gone);
        self.acts.retain_mut(|(_, act)| match act {
            Act::Register(phone)
            | Act::Call { phone, .. }
            | Act::Befall {
                victim: Victim::Phone(phone),
                ..
            } => {
                let stays = *phone != gone;
                *phone = phone.saturating_sub(usize::from(*phone > gone));
                stays
            }
            Act::Say { .. }
            | Act::Hold { .. }
            | Act::Film { .. }
            | Act::Refer { .. }
            | Act::Consult { .. }
            | Act::Join { .. }
            | Act::HangUp { .. }
            | Act::HangUpAgain { .. }
            | Act::Befall {
                victim: Victim::Holder(..),
                ..
            }
            | Act::Restart { .. } => true,
        });
    }

    /// Makes the scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5ce0_a210);
        let mut scenario = Self::empty(seed);
        scenario.rules = Rules::thrown(&mut dice);
        scenario.weather = Weather {
            loss: dice.between(0, 8),
            duplication: dice.between(0, 10),
            delay: dice.between(1, 40),
            jitter: dice.between(0, 80),
            late: dice.between(0, 4),
        };
        scenario.slow_store = dice.between(0, 30);
        let longest = if dice.percent(12) { 600_000 } else { 150_000 };
        let length = dice.between(40_000, longest);
        for talk in 0..dice.between(1, 4) as usize {
            scenario.talk(talk, length, &mut dice);
        }
        if dice.percent(35) {
            for _ in 0..dice.between(1, 2) {
                let down = dice.span(0, 4000);
                scenario.at(dice.between(3000, length), Act::Restart { down });
            }
        }
        if dice.percent(25) {
            scenario.failing_store = dice.between(1, 60);
        }
        if dice.percent(10) {
            scenario.mass_loss(length, &mut dice);
        }
        scenario.survivors_hold(&mut Dice::new(seed ^ 0x401d_6e0f));
        scenario.transferors_hold(&mut Dice::new(seed ^ 0x4efe_401d));
        scenario.lines_fail_one_way(length, &mut Dice::new(seed ^ 0x0e1a_5e1f));
        scenario.some_call_anew(&mut Dice::new(seed ^ 0xca11_a2e3));
        scenario.some_play_early(&mut Dice::new(seed ^ 0xea21_3ed1));
        scenario.rules.two_homes = Dice::new(seed ^ 0x2a2d_4e57).percent(15);
        // The last restoration runs out, and the last user gives up.
        scenario.length = Millis(length + 200_000);
        scenario
    }

    fn talk(&mut self, talk: usize, length: u64, dice: &mut Dice) {
        let kind = dice.pick(&[Kind::Call, Kind::Session]);
        // One that all of them know: nothing is transcoded.
        let common = dice.pick(&[
            Codec::Pcmu,
            Codec::Pcmu,
            Codec::Pcma,
            Codec::G722,
            Codec::Opus,
        ]);
        let callers = if dice.percent(70) { 1 } else { 2 };
        let mut first = None;
        for number in 0..callers {
            let caller = self.phone(
                talk,
                Side::Caller,
                traits(kind, common, number == 0, dice),
                dice.percent(35),
                dice.between(0, 1000),
            );
            first.get_or_insert(caller);
        }
        for number in 0..dice.between(1, 3) {
            let traits = traits(kind, common, number == 0 && dice.percent(85), dice);
            let (stream, at) = (dice.percent(35), dice.between(0, 1500));
            self.phone(talk, Side::Callee, traits, stream, at);
        }
        let user = user(talk, Side::Callee);
        let at = dice.between(3000, 5000);
        if let Some(phone) = first {
            self.at(at, Act::Call { phone, user, kind });
        }
        if kind == Kind::Session {
            for _ in 0..dice.between(5, 25) {
                let side = dice.pick(&[Side::Caller, Side::Callee]);
                self.at(dice.between(6000, length), Act::Say { talk, side });
            }
        } else if dice.percent(40) {
            let side = dice.pick(&[Side::Caller, Side::Callee]);
            let at = dice.between(8000, length);
            let (on, off) = (true, false);
            self.at(at, Act::Hold { talk, side, on });
            if dice.percent(35) {
                // The other side's user has the same thought: glare (RFC 3261 14.1).
                let (at, side) = (at + dice.between(0, 60), side.other());
                self.at(at, Act::Hold { talk, side, on });
                let at = at + dice.between(4000, 20_000);
                self.at(
                    at,
                    Act::Hold {
                        talk,
                        side,
                        on: off,
                    },
                );
            }
            let later = at + dice.between(500, 20_000);
            self.at(
                later,
                Act::Hold {
                    talk,
                    side,
                    on: off,
                },
            );
        }
        if kind == Kind::Call && dice.percent(20) {
            self.transfer(talk, common, length, dice);
        }
        if kind == Kind::Call && dice.percent(25) {
            self.pictures(talk, length, dice);
        }
        for _ in 0..dice.between(0, 3 + length / 150_000) {
            self.fault(talk, length, dice);
        }
        let side = dice.pick(&[Side::Caller, Side::Callee]);
        let end = if dice.percent(15) {
            dice.between(10_000, length)
        } else {
            length + dice.between(0, 10_000)
        };
        self.at(end, Act::HangUp { talk, side });
    }

    /// One side hands the call to a third user, who may not take it; something may befall somebody just then.
    fn transfer(&mut self, talk: usize, common: Codec, length: u64, dice: &mut Dice) {
        let side = dice.pick(&[Side::Caller, Side::Callee]);
        let user = format!("c{talk}");
        for _ in 0..dice.between(1, 2) {
            let traits = traits(Kind::Call, common, dice.percent(80), dice);
            let (stream, at) = (dice.percent(35), dice.between(0, 1500));
            self.phone_of(user.clone(), talk, side, traits, stream, at);
        }
        let at = dice.between(8000, length);
        let at = if dice.percent(35) {
            self.at(at, Act::Consult { talk, side, user });
            let at = at + dice.between(4000, 12_000);
            self.at(at, Act::Join { talk, side });
            at
        } else {
            self.at(at, Act::Refer { talk, side, user });
            at
        };
        if dice.percent(50) {
            let fault = dice.pick(&[Fault::Killed, Fault::Frozen, Fault::Cut, Fault::Moved]);
            let lasts =
                (fault == Fault::Moved || dice.percent(50)).then(|| dice.span(1000, 40_000));
            let side = dice.pick(&[side, side.other()]);
            let victim = Victim::Holder(talk, side);
            let speaks = dice.percent(50);
            self.at(
                at + dice.between(0, 7000),
                Act::Befall {
                    victim,
                    fault,
                    speaks,
                    lasts,
                },
            );
        }
    }

    /// A user switches the camera on, and perhaps off again.
    fn pictures(&mut self, talk: usize, length: u64, dice: &mut Dice) {
        let side = dice.pick(&[Side::Caller, Side::Callee]);
        let (mut at, mut on) = (dice.between(6000, length), true);
        for _ in 0..dice.between(1, 3) {
            self.at(at, Act::Film { talk, side, on });
            (at, on) = (at + dice.between(1000, 30_000), !on);
        }
    }

    /// A part of the network is cut off: all phones at once, for a while.
    fn mass_loss(&mut self, length: u64, dice: &mut Dice) {
        let (at, lasts) = (dice.between(5000, length), dice.span(2000, 60_000));
        let share = dice.between(30, 100);
        for phone in 0..self.phones.len() {
            if dice.percent(share) {
                self.at(
                    at,
                    Act::Befall {
                        victim: Victim::Phone(phone),
                        fault: Fault::Cut,
                        speaks: false,
                        lasts: Some(lasts),
                    },
                );
            }
        }
    }

    fn fault(&mut self, talk: usize, length: u64, dice: &mut Dice) {
        let side = if dice.percent(70) {
            Side::Callee
        } else {
            Side::Caller
        };
        let victim = if dice.percent(85) {
            Victim::Holder(talk, side)
        } else {
            let of_talk: Vec<_> = (0..self.places.len())
                .filter(|phone| self.places[*phone].0 == talk)
                .collect();
            Victim::Phone(dice.pick(&of_talk))
        };
        let fault = dice.pick(&[
            Fault::Killed,
            Fault::Killed,
            Fault::Frozen,
            Fault::Cut,
            Fault::Deaf,
            Fault::Mute,
            Fault::Reset,
            Fault::Moved,
        ]);
        let for_ever = match fault {
            Fault::Killed => 50,
            Fault::Frozen | Fault::Cut | Fault::Deaf | Fault::Mute => 25,
            Fault::Unheard | Fault::Reset | Fault::Moved => 100,
        };
        let lasts = (!dice.percent(for_ever)).then(|| dice.span(1000, 90_000));
        let speaks = dice.percent(50);
        let at = dice.between(5000, length);
        self.at(
            at,
            Act::Befall {
                victim,
                fault,
                speaks,
                lasts,
            },
        );
    }
}

pub(crate) fn user(talk: usize, side: Side) -> String {
    match side {
        Side::Caller => format!("a{talk}"),
        Side::Callee => format!("b{talk}"),
    }
}

fn traits(kind: Kind, common: Codec, answers: bool, dice: &mut Dice) -> Traits {
    let temper = dice.pick(&[
        Temper::Perfect,
        Temper::Perfect,
        Temper::Perfect,
        Temper::AnswersTwice,
        Temper::Slow,
        Temper::IgnoresOptions,
        Temper::NoMessage,
        Temper::NeverAnswers,
        Temper::Declines,
        Temper::Busy,
        Temper::ReusesTags,
        Temper::IgnoresCancel,
        Temper::OptionsAnyway,
        Temper::HangsUpOnMove,
    ]);
    let unfit = answers && !Traits::of(temper).answers();
    let mute = kind == Kind::Session && temper == Temper::NoMessage;
    Traits {
        temper: if unfit || mute {
            Temper::Perfect
        } else {
            temper
        },
        replaces: dice.percent(70),
        update: dice.percent(60),
        call_waiting: dice.percent(60),
        repairs: dice.percent(40),
        anew: false,
        reliable: dice.percent(40),
        early: false,
        timer: dice.pick(&[0, 0, 0, 90, 120]),
        ring_after: dice.span(20, 800),
        answer_after: dice.span(900, 6000),
        speech: speech(common, dice),
    }
}

fn speech(common: Codec, dice: &mut Dice) -> Speech {
    let mut rest = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus].to_vec();
    rest.retain(|codec| *codec != common && dice.percent(50));
    let mut codecs = [None; 4];
    let place = dice.between(0, rest.len() as u64) as usize;
    rest.insert(place, common);
    if dice.percent(50) {
        rest.reverse();
    }
    for (slot, codec) in codecs.iter_mut().zip(rest) {
        *slot = Some(codec);
    }
    Speech {
        codecs,
        opus: dice.pick(&[96, 107, 111, 120]),
        event: dice.pick(&[97, 101, 101, 110, 127]),
        ptime: dice.pick(&[0, 0, 20, 30]),
        single: dice.percent(25),
        camera: dice.percent(40),
        rigid: dice.percent(5),
    }
}
