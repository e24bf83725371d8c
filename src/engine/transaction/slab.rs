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
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.item = Some(item);
            return Key {
                index,
                generation: place.generation,
            };
        }
        let index = self.places.len() as u32;
        self.places.push(Place {
            generation: 0,
            item: Some(item),
        });
        Key {
            index,
            generation: 0,
        }
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
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(item)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
