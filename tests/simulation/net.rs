//! Delay, loss, duplication, and the state of each phone's line.

use bytes::Bytes;
use refork::engine::ids::ConnectionId;
use refork::engine::time::{Millis, Time};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::dice::Dice;

/// How the network treats datagrams, in hundredths and milliseconds. Jitter reorders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    /// One in a hundred of these is late by up to a second more.
    pub(crate) late: u64,
}

impl Weather {
    pub(crate) fn fair() -> Self {
        Self {
            loss: 0,
            duplication: 0,
            delay: 5,
            jitter: 0,
            late: 0,
        }
    }

    /// Returns after which times a datagram arrives: never, once, or twice.
    pub(crate) fn fates(&self, dice: &mut Dice) -> Vec<Millis> {
        let copies = if dice.percent(self.loss) {
            0
        } else {
            1 + u64::from(dice.percent(self.duplication))
        };
        (0..copies).map(|_| self.delay(dice)).collect()
    }

    pub(crate) fn delay(&self, dice: &mut Dice) -> Millis {
        let late = if dice.percent(self.late) {
            dice.between(0, 1000)
        } else {
            0
        };
        Millis(self.delay + dice.between(0, self.jitter) + late)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    /// Stopped: what arrives waits in its socket.
    Frozen,
    /// Gone. `speaks`: the machine is still there and refuses what comes (ICMP, RST).
    Off {
        speaks: bool,
    },
}

/// A phone's line.
pub(crate) struct Line {
    pub(crate) power: Power,
    /// Nothing passes, either way.
    pub(crate) cut: bool,
    /// No datagram reaches the phone.
    pub(crate) deaf: bool,
    /// No datagram of the phone arrives.
    pub(crate) mute: bool,
    /// No media of the phone arrives.
    pub(crate) unheard: bool,
    pub(crate) connection: Option<Connection>,
    /// Datagrams that wait in a stopped phone's socket.
    pub(crate) waiting: VecDeque<Bytes>,
}

/// A TCP connection of a phone: what is sent arrives, in order, or the connection ends.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    /// The phone's end.
    pub(crate) peer: SocketAddr,
    /// What was sent last arrives then.
    pub(crate) to_server: Time,
    pub(crate) to_phone: Time,
    /// What waits for the line to be whole again, or the phone to run.
    pub(crate) held_for_server: VecDeque<Bytes>,
    pub(crate) held_for_phone: VecDeque<Bytes>,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, peer: SocketAddr, now: Time) -> Self {
        Self {
            id,
            peer,
            to_server: now,
            to_phone: now,
            held_for_server: VecDeque::new(),
            held_for_phone: VecDeque::new(),
        }
    }
}

impl Line {
    pub(crate) fn new() -> Self {
        Self {
            power: Power::On,
            cut: false,
            deaf: false,
            mute: false,
            unheard: false,
            connection: None,
            waiting: VecDeque::new(),
        }
    }

    /// Returns true where what the phone sends and gets passes.
    pub(crate) fn passes(&self) -> bool {
        self.speaks() && !self.deaf
    }

    /// Returns true where what the phone sends passes.
    pub(crate) fn speaks(&self) -> bool {
        !self.cut && !self.mute && self.power == Power::On
    }
}
