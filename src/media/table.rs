//! Numbered places for things that come and go. It grows by pieces that stay where they are: a vector
//! that doubles would copy everything, and leave holes of its former sizes in the heap.

/// Places in one piece.
const PIECE: usize = 256;

#[derive(Debug)]
pub(crate) struct Table<T> {
    pieces: Vec<Box<[Option<T>]>>,
    /// Places that were left.
    vacant: Vec<u32>,
    /// Places below this were taken once.
    end: u32,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self {
            pieces: Vec::new(),
            vacant: Vec::new(),
            end: 0,
        }
    }

    /// Returns how many things are in it.
    pub(crate) fn len(&self) -> usize {
        self.end as usize - self.vacant.len()
    }

    /// Returns the number that `insert` would give.
    pub(crate) fn next(&self) -> u32 {
        self.vacant.last().copied().unwrap_or(self.end)
    }

    /// Puts something in and returns its number, be it one that was left.
    pub(crate) fn insert(&mut self, thing: T) -> u32 {
        let number = match self.vacant.pop() {
            Some(number) => number,
            None => {
                if self.end as usize == self.pieces.len() * PIECE {
                    self.pieces.push((0..PIECE).map(|_| None).collect());
                }
                self.end += 1;
                self.end - 1
            }
        };
        self.pieces[number as usize / PIECE][number as usize % PIECE] = Some(thing);
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.pieces.get(number / PIECE)?[number % PIECE].as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        self.pieces.get_mut(number / PIECE)?[number % PIECE].as_mut()
    }

    /// Takes something out and leaves its place.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let place = number as usize;
        let thing = self.pieces.get_mut(place / PIECE)?[place % PIECE].take()?;
        self.vacant.push(number);
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_places_are_taken_again() {
        let mut table = Table::new();
        let count = 3 * PIECE as u32 + 1;
        for number in 0..count {
            assert_eq!(table.next(), number);
            assert_eq!(table.insert(number * 10), number);
        }
        assert_eq!(table.len(), count as usize);
        assert_eq!(table.get(count), None);
        assert_eq!(table.get(u32::MAX), None);
        assert_eq!(table.remove(300), Some(3000));
        assert_eq!(table.remove(300), None);
        assert_eq!((table.get(300), table.get(299)), (None, Some(&2990)));
        assert_eq!(table.len(), count as usize - 1);
        assert_eq!(table.next(), 300);
        assert_eq!(table.insert(7), 300);
        assert_eq!(table.get_mut(300), Some(&mut 7));
        assert_eq!(table.insert(8), count);
    }
}
