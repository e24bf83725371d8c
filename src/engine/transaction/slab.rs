//! Places for transactions, named so that a name is never mistaken for a later one of the same place.

/// A client transaction. It names nothing once that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) Key);

/// A server transaction. It names nothing once that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(super) Key);

/// Names a place and who is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    pub(super) const MIN: Self = Self {
        index: 0,
        generation: 0,
    };
    pub(super) const MAX: Self = Self {
        index: u32::MAX,
        generation: u32::MAX,
    };
}

/// Places that are used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    item: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, item: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        self.places[index as usize].item = Some(item);
        self.key(index)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.places
            .get(key.index as usize)
            .filter(|place| place.generation == key.generation)?
            .item
            .as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places
            .get_mut(key.index as usize)
            .filter(|place| place.generation == key.generation)?
            .item
            .as_mut()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self
            .places
            .get_mut(key.index as usize)
            .filter(|place| place.generation == key.generation)?;
        let item = place.item.take()?;
        self.vacate(key.index);
        Some(item)
    }

    /// Returns a key that names nothing, and never will.
    pub(super) fn spent(&mut self) -> Key {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let key = self.key(index);
        self.vacate(index);
        key
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn key(&self, index: u32) -> Key {
        Key {
            index,
            generation: self.places[index as usize].generation,
        }
    }

    fn grow(&mut self) -> u32 {
        self.places.push(Place {
            generation: 0,
            item: None,
        });
        (self.places.len() - 1) as u32
    }

    fn vacate(&mut self, index: u32) {
        let place = &mut self.places[index as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_is_never_taken_for_a_new_one() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let spent = slab.spent();
        let second = slab.insert("second");
        assert_eq!((slab.get(first), slab.get(spent)), (None, None));
        assert_eq!((slab.remove(first), slab.remove(spent)), (None, None));
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.places.len(), 1, "the place is used again");
    }
}
