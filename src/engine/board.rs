//! What those who watch a user see of the user's calls (RFC 4235), for all shards: a call is worked on by one, and
//! its watchers are at any.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::endpoint::Identity;
use crate::engine::ids::{Aor, ConversationId, Side};

/// A call of a user; who has made it is the caller's side.
pub type LightKey = (ConversationId, Side);

/// How far a call is for one of its two users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Light {
    pub state: LightState,
    /// The phone that rings, for whoever may take the call in its place.
    pub rings: Option<Box<Early>>,
}

/// RFC 4235 3.7.1, as far as it lights a lamp: what is over is not on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LightState {
    /// Called, and nothing rings yet.
    Trying,
    /// A phone rings: the user's own, or one that the user calls.
    Early,
    /// Answered. One that is lost and sought stays so: the other end's dialog goes on.
    Confirmed,
}

impl LightState {
    /// Returns the word of RFC 4235.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
        }
    }
}

/// The early dialog of a phone that rings, seen from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Early {
    pub call_id: Box<str>,
    /// The phone's.
    pub local_tag: Box<str>,
    /// Ours.
    pub remote_tag: Box<str>,
    /// Who calls, as the phone was told (name-addr).
    pub remote: Box<str>,
}

/// A phone has begun to watch a user.
#[derive(Clone, Debug)]
pub struct Watch {
    pub watched: Aor,
    pub watcher: Aor,
    pub phone: Arc<Identity>,
    /// Value of Event.
    pub event: Box<str>,
}

/// The calls of users, and how many watch each.
#[derive(Debug, Default)]
pub struct Board(BTreeMap<Aor, Shown>);

#[derive(Debug, Default)]
struct Shown {
    lights: BTreeMap<LightKey, Light>,
    watchers: u32,
}

impl Board {
    /// Shows a call of a user as it is now; none: it is over. Returns true where somebody watches.
    pub fn show(&mut self, user: &Aor, call: LightKey, light: Option<Light>) -> bool {
        self.change(user, |shown| {
            match light {
                Some(light) => drop(shown.lights.insert(call, light)),
                None => drop(shown.lights.remove(&call)),
            }
            shown.watchers > 0
        })
    }

    /// Somebody begins to watch a user, or watches no more.
    pub fn watch(&mut self, user: &Aor, begins: bool) {
        self.change(user, |shown| {
            // What ends has begun.
            let fewer = shown.watchers.saturating_sub(1);
            shown.watchers = if begins { shown.watchers + 1 } else { fewer };
        });
    }

    /// Returns the calls of a user.
    pub fn lights(&self, user: &Aor) -> Vec<(LightKey, Light)> {
        let shown = self.0.get(user).into_iter();
        let lights = shown.flat_map(|shown| &shown.lights);
        lights.map(|(call, light)| (*call, light.clone())).collect()
    }

    /// Returns true where nobody has a call, and nobody watches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn change<T>(&mut self, user: &Aor, act: impl FnOnce(&mut Shown) -> T) -> T {
        let mut shown = self.0.remove(user).unwrap_or_default();
        let done = act(&mut shown);
        if !shown.lights.is_empty() || shown.watchers > 0 {
            self.0.insert(user.clone(), shown);
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn light(state: LightState) -> Option<Light> {
        Some(Light { state, rings: None })
    }

    #[test]
    fn who_watches_is_told_and_nothing_is_left() {
        let (mut board, bob) = (Board::default(), Aor::from_canonical("sip:bob@example.org"));
        let [first, second] = [1, 2].map(|id| (ConversationId(id), Side::Callee));
        assert!(!board.show(&bob, first, light(LightState::Early)));
        board.watch(&bob, true);
        assert!(board.show(&bob, second, light(LightState::Confirmed)));
        let states = |board: &Board| -> Vec<_> {
            let lights = board.lights(&bob).into_iter();
            lights.map(|(_, light)| light.state).collect()
        };
        assert_eq!(states(&board), [LightState::Early, LightState::Confirmed]);
        assert!(board.show(&bob, first, None));
        assert_eq!(states(&board), [LightState::Confirmed]);
        board.watch(&bob, false);
        assert!(!board.is_empty());
        assert!(!board.show(&bob, second, None));
        board.watch(&bob, false);
        assert!(board.is_empty());
    }
}
