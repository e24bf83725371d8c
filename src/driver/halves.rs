//! The halves of calls that go through an upstream twice (`engine::conversation::restoring::halves`), on all workers.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::engine::ids::ConversationId;

/// By the number that the other half looks for: one each, but where two users have several calls with one another.
#[derive(Debug, Default)]
pub struct Halves(DashMap<u64, Vec<ConversationId>>);

impl Halves {
    pub(super) fn of(&self, number: u64) -> Vec<ConversationId> {
        self.0.get(&number).map_or_else(Vec::new, |all| all.clone())
    }

    pub(super) fn change(&self, number: u64, half: ConversationId, begins: bool) {
        match self.0.entry(number) {
            Entry::Vacant(free) if begins => drop(free.insert(vec![half])),
            // What ends has begun.
            Entry::Vacant(_) => {}
            Entry::Occupied(mut held) if begins => held.get_mut().push(half),
            Entry::Occupied(mut held) => {
                held.get_mut().retain(|known| *known != half);
                if held.get().is_empty() {
                    held.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_until_it_is_over() {
        let halves = Halves::default();
        let [a, b] = [1, 2].map(ConversationId);
        halves.change(7, a, true);
        halves.change(7, b, true);
        halves.change(7, a, false);
        halves.change(8, a, false);
        assert_eq!((halves.of(7), halves.of(8)), (vec![b], vec![]));
        halves.change(7, b, false);
        assert!(halves.of(7).is_empty() && halves.0.is_empty());
    }
}
