//! What waits to be written to one connection, as it goes over the wire.

use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::{Buf, Bytes};

/// Bytes that may wait for one connection. Beyond it the peer does not read, and is as good as gone.
pub(super) const UNWRITTEN_MAX: usize = 256 * 1024;

/// More waits than a peer that reads would leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Bytes>,
    len: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), Full> {
        if self.len + bytes.len() > UNWRITTEN_MAX {
            return Err(Full);
        }
        self.len += bytes.len();
        self.queue.push_back(bytes);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Writes as far as the sink takes it. Returns true where anything went.
    pub(super) fn write_to(&mut self, sink: &mut impl Write) -> io::Result<bool> {
        let mut any = false;
        while let Some(front) = self.queue.front_mut() {
            match sink.write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    any = true;
                    self.len -= len;
                    front.advance(len);
                    if front.is_empty() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a number of bytes at a time, and then no more.
    struct Narrow {
        at_a_time: usize,
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.at_a_time).min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= len;
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_goes_in_order_however_little_is_taken() {
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"one, ")).unwrap();
        outbox.push(Bytes::from_static(b"two")).unwrap();
        let mut sink = Narrow {
            at_a_time: 2,
            room: 3,
            taken: Vec::new(),
        };
        assert!(outbox.write_to(&mut sink).unwrap());
        assert!(!outbox.write_to(&mut sink).unwrap(), "nothing went");
        sink.room = 100;
        assert!(outbox.write_to(&mut sink).unwrap());
        assert_eq!((&*sink.taken, outbox.len), (&b"one, two"[..], 0));
    }

    #[test]
    fn it_is_bounded() {
        let mut outbox = Outbox::default();
        let piece = Bytes::from(vec![0; UNWRITTEN_MAX / 2]);
        assert_eq!(outbox.push(piece.clone()), Ok(()));
        assert_eq!(outbox.push(piece.clone()), Ok(()));
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Full));
    }
}
