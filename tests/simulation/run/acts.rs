//! What users do, and what befalls their phones.

use refork::engine::ids::Side;
use refork::engine::time::Millis;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Event, Simulation};
use crate::log::{Fault, PhoneId, What};
use crate::net::Power;
use crate::scenario::{Act, Victim};

/// A user who can't put the receiver down yet tries again so often, and after so long.
const TRIES: u32 = 12;
const TRY_AGAIN: Millis = Millis(2500);

impl Simulation {
    pub(super) fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Register(phone) => {
                if self.lines[phone].power == Power::On {
                    self.phones[phone].register(now);
                    self.flush(phone);
                }
            }
            Act::Call { phone, user, kind } => {
                if self.lines[phone].power == Power::On {
                    self.phones[phone].call(&user, kind, now);
                    self.flush(phone);
                }
            }
            Act::Say { talk, side } => {
                let Some(phone) = self.holder(talk, side) else {
                    return;
                };
                let count = self.said.entry((talk, side)).or_default();
                *count += 1;
                let text = crate::judge::text(talk, side, *count);
                self.phones[phone].say(&text, now);
                self.flush(phone);
            }
            Act::Hold { talk, side, on } => {
                if let Some(phone) = self.holder(talk, side) {
                    self.phones[phone].hold(on, now);
                    self.flush(phone);
                }
            }
            Act::Film { talk, side, on } => {
                if let Some(phone) = self.holder(talk, side) {
                    self.phones[phone].film(on, now);
                    self.flush(phone);
                }
            }
            Act::Refer { talk, side, user } => {
                if let Some(phone) = self.holder(talk, side) {
                    self.phones[phone].refer(&user, now);
                    self.flush(phone);
                }
            }
            Act::Consult { talk, side, user } => {
                if let Some(phone) = self.holder(talk, side) {
                    self.phones[phone].consult(&user, now);
                    self.flush(phone);
                }
            }
            Act::Join { talk, side } => {
                for phone in 0..self.phones.len() {
                    let here = self.scenario.places[phone] == (talk, side);
                    if here && self.lines[phone].power == Power::On {
                        self.phones[phone].join(now);
                        self.flush(phone);
                    }
                }
            }
            Act::HangUp { talk, side } => self.hang_up(talk, side, 0),
            Act::HangUpAgain { talk, side, tries } => self.hang_up(talk, side, tries),
            Act::Befall {
                victim,
                fault,
                speaks,
                lasts,
            } => {
                let phone = match victim {
                    Victim::Phone(phone) => Some(phone),
                    Victim::Holder(talk, side) => self.holder(talk, side),
                };
                if let Some(phone) = phone.filter(|phone| self.lines[*phone].passes()) {
                    self.befall(phone, fault, speaks, lasts);
                }
            }
            Act::Restart { down } => self.kill_server(down),
        }
    }

    /// Returns the running phone of a side that is in the conversation.
    fn holder(&self, talk: usize, side: Side) -> Option<PhoneId> {
        (0..self.phones.len()).find(|phone| {
            self.scenario.places[*phone] == (talk, side)
                && self.lines[*phone].power == Power::On
                && self.phones[*phone].is_talking()
        })
    }

    fn hang_up(&mut self, talk: usize, side: Side, tries: u32) {
        let mut any = false;
        for phone in 0..self.phones.len() {
            let here = self.scenario.places[phone] == (talk, side);
            if here && self.lines[phone].power == Power::On {
                any |= self.phones[phone].hang_up(self.now);
                self.flush(phone);
            }
        }
        if any || tries == TRIES {
            return;
        }
        // The other side's user is tired of it as well.
        let again = Act::HangUpAgain {
            talk,
            side: side.other(),
            tries: tries + 1,
        };
        self.after(TRY_AGAIN, Event::Act(again));
    }

    fn befall(&mut self, phone: PhoneId, fault: Fault, speaks: bool, lasts: Option<Millis>) {
        let stream = self.phones[phone].spec.stream;
        let possible = match fault {
            Fault::Reset => stream,
            Fault::Deaf | Fault::Mute => !stream,
            Fault::Killed | Fault::Frozen | Fault::Cut | Fault::Unheard | Fault::Moved => true,
        };
        if !possible {
            return;
        }
        self.log.add(self.now, Some(phone), What::Fault(fault));
        // Of its calls it is told all.
        self.shaken[phone] |= fault != Fault::Unheard;
        if let Some(lasts) = lasts {
            self.after(lasts, Event::Recover { phone, from: fault });
        }
        match fault {
            Fault::Killed => {
                self.lines[phone].power = Power::Off { speaks };
                self.lines[phone].waiting.clear();
                self.phones[phone].forget_all();
                if speaks {
                    self.close(phone, true);
                }
            }
            Fault::Frozen => self.lines[phone].power = Power::Frozen,
            Fault::Cut => {
                self.lines[phone].cut = true;
                if let Some(connection) = &self.lines[phone].connection {
                    let id = connection.id;
                    let wait = self.chance.span(10_000, 40_000);
                    self.after(wait, Event::StreamTimeout { phone, id });
                }
            }
            Fault::Deaf => self.lines[phone].deaf = true,
            Fault::Mute => self.lines[phone].mute = true,
            Fault::Unheard => self.lines[phone].unheard = true,
            Fault::Reset => self.close(phone, true),
            Fault::Moved => {
                if let Some(connection) = &self.lines[phone].connection {
                    self.outside.connections.remove(&connection.peer);
                    self.close(phone, speaks);
                }
                let address = self.new_address(phone);
                self.phones[phone].moved(address, self.now);
                self.flush(phone);
            }
        }
    }

    fn new_address(&mut self, phone: PhoneId) -> SocketAddr {
        let old = self.phones[phone].spec.address;
        let IpAddr::V4(ip) = old.ip() else { return old };
        let [a, b, c, d] = ip.octets();
        SocketAddr::new(Ipv4Addr::new(a, b + 1, c, d).into(), old.port())
    }

    pub(super) fn recover(&mut self, phone: PhoneId, from: Fault) {
        let now = self.now;
        match from {
            Fault::Killed => {
                self.close(phone, true);
                self.lines[phone].power = Power::On;
                self.log.add(now, Some(phone), What::Recovered);
                self.phones[phone].register(now);
                self.flush(phone);
            }
            Fault::Frozen => {
                self.lines[phone].power = Power::On;
                self.log.add(now, Some(phone), What::Recovered);
                self.release(phone);
                self.reconnect_if_lost(phone);
            }
            Fault::Cut | Fault::Deaf | Fault::Mute => {
                let line = &mut self.lines[phone];
                (line.cut, line.deaf, line.mute) = (false, false, false);
                self.log.add(now, Some(phone), What::Recovered);
                self.release(phone);
                self.reconnect_if_lost(phone);
            }
            Fault::Unheard => {
                self.lines[phone].unheard = false;
                self.log.add(now, Some(phone), What::Heard);
            }
            Fault::Reset | Fault::Moved => {}
        }
    }

    fn reconnect_if_lost(&mut self, phone: PhoneId) {
        if self.phones[phone].spec.stream && self.lines[phone].connection.is_none() {
            let wait = self.chance.span(100, 1000);
            self.after(wait, Event::Reconnect(phone));
        }
    }
}
