//! The open port pairs of one relay thread: in use, or at rest and kept open for the next call.
//!
//! A pair that is given back must rest (see `pool`). Meanwhile it stays open and is read as any other,
//! though what comes is dropped: so a steady load opens, binds and registers no sockets. Pairs that
//! nobody asks for are closed after a while, and all of them before anything else fails for want of
//! open files.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;

use mio::{Interest, Registry};

use crate::media::clock::Micros;
use crate::media::place::{PairId, Place};
use crate::media::pool::{Pool, REST, rested};
use crate::media::sockets::Pair;
use crate::media::stream::Port;
use crate::media::table::Table;

/// Ports held by others on this machine that are passed over for one pair.
const TRIES: usize = 256;
/// Microseconds for which a pair that nobody asks for stays open.
const KEEP: u64 = 15_000_000;
/// Pairs that are closed in one turn because nobody asked for them.
const CLOSED_AT_ONCE: usize = 64;

/// How much one thread may hold open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Pairs at rest.
    pub(crate) at_rest: usize,
    /// Pairs in all; above this none is kept at rest.
    pub(crate) open: usize,
}

pub(crate) struct Pairs {
    registry: Registry,
    /// The ports of which no socket is open.
    pool: Pool,
    bounds: Bounds,
    /// Code point of what is sent.
    dscp: u8,
    open: Table<Pair>,
    shelves: Vec<Shelf>,
    at_rest: usize,
}

/// The pairs at rest of one local address, in the order of their release.
struct Shelf {
    bind: IpAddr,
    pairs: VecDeque<(Micros, PairId)>,
}

impl Pairs {
    pub(crate) fn new(registry: Registry, pool: Pool, bounds: Bounds, dscp: u8) -> Self {
        Self {
            registry,
            pool,
            bounds,
            dscp,
            open: Table::new(),
            shelves: Vec::new(),
            at_rest: 0,
        }
    }

    pub(crate) fn get(&self, id: PairId) -> Option<&Pair> {
        self.open.get(id.0)
    }

    pub(crate) fn get_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        self.open.get_mut(id.0)
    }

    /// Takes a pair: the one that is asked for again, else one that rested, else the next that is
    /// free.
    ///
    /// # Errors
    /// All ports are taken, or the system gives no socket.
    pub(crate) fn take(
        &mut self,
        bind: IpAddr,
        again: Option<u16>,
        place: Place,
        now: Micros,
    ) -> io::Result<PairId> {
        let again = again.filter(|port| port % 2 == 0 && *port != 0);
        let found = again
            .and_then(|port| self.take_this(bind, port, now))
            .or_else(|| self.take_rested(bind, now));
        let id = match found {
            Some(id) => id,
            None => self.take_next(bind, now)?,
        };
        if let Some(pair) = self.get_mut(id) {
            pair.place = Some(place);
        }
        Ok(id)
    }

    /// Returns how many pairs the thread has.
    pub(crate) fn size(&self) -> usize {
        self.pool.size()
    }

    /// Returns how many pairs can be taken now: those that must still rest cannot.
    pub(crate) fn available(&self, now: Micros) -> usize {
        let shelves = self.shelves.iter();
        let at_rest: usize = shelves.map(|shelf| rested(&shelf.pairs, now)).sum();
        self.pool.available(now) + at_rest
    }

    /// Gives a pair back.
    pub(crate) fn release(&mut self, id: PairId, now: Micros) {
        let Some(pair) = self.get_mut(id) else {
            return;
        };
        pair.place = None;
        let (bind, port) = (pair.bind, pair.port);
        let kept = self.pool.contains(port)
            && self.at_rest < self.bounds.at_rest
            && self.open.len() <= self.bounds.open;
        if !kept {
            self.close(id);
            self.pool.release(port, now);
            return;
        }
        let index = match self.shelves.iter().position(|shelf| shelf.bind == bind) {
            Some(index) => index,
            None => {
                self.shelves.push(Shelf {
                    bind,
                    pairs: VecDeque::new(),
                });
                self.shelves.len() - 1
            }
        };
        self.shelves[index].pairs.push_back((now, id));
        self.at_rest += 1;
    }

    /// Closes pairs that nobody asked for in a long time.
    pub(crate) fn tidy(&mut self, now: Micros) {
        for _ in 0..CLOSED_AT_ONCE {
            if self.deadline().is_none_or(|deadline| deadline > now) {
                return;
            }
            self.close_oldest(now);
        }
    }

    /// Returns when `tidy` has something to do.
    pub(crate) fn deadline(&self) -> Option<Micros> {
        self.oldest().map(|since| since + KEEP)
    }

    fn take_rested(&mut self, bind: IpAddr, now: Micros) -> Option<PairId> {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.bind == bind)?;
        let has_rested = |(since, _): &mut (Micros, PairId)| now.since(*since) >= REST;
        let (_, id) = shelf.pairs.pop_front_if(has_rested)?;
        self.at_rest -= 1;
        Some(id)
    }

    fn take_this(&mut self, bind: IpAddr, port: u16, now: Micros) -> Option<PairId> {
        let at_rest = self
            .shelves
            .iter()
            .enumerate()
            .flat_map(|(shelf, s)| (0..s.pairs.len()).map(move |index| (shelf, index)))
            .find(|&(shelf, index)| {
                let (_, id) = self.shelves[shelf].pairs[index];
                self.get(id).is_some_and(|pair| pair.port == port)
            });
        if let Some((shelf, index)) = at_rest
            && let Some((_, id)) = self.shelves[shelf].pairs.remove(index)
        {
            self.at_rest -= 1;
            if self.shelves[shelf].bind == bind {
                return Some(id);
            }
            self.close(id);
            self.pool.release(port, now);
        }
        match self.open(bind, port) {
            Ok(id) => {
                self.pool.take_this(port);
                Some(id)
            }
            Err(error) => {
                tracing::warn!(port, %error, "a media port is not to be had again");
                None
            }
        }
    }

    fn take_next(&mut self, bind: IpAddr, now: Micros) -> io::Result<PairId> {
        let mut last = io::Error::new(io::ErrorKind::AddrInUse, "all ports are taken");
        for _ in 0..TRIES.min(self.pool.size()) {
            let Some(port) = self.free_port(now) else {
                break;
            };
            match self.open(bind, port) {
                Ok(id) => {
                    if self.open.len() > self.bounds.open {
                        self.close_oldest(now);
                    }
                    return Ok(id);
                }
                Err(error) => {
                    self.pool.put_off(port);
                    let again = error.kind() == io::ErrorKind::AddrInUse
                        || is_out_of_files(&error) && self.close_oldest(now);
                    last = error;
                    if !again {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Returns a port of which no socket is open, be it that of a pair that rested elsewhere.
    fn free_port(&mut self, now: Micros) -> Option<u16> {
        if let Some(port) = self.pool.take(now) {
            return Some(port);
        }
        let oldest = self.oldest()?;
        if now.since(oldest) < REST {
            return None;
        }
        self.close_oldest(now);
        self.pool.take(now)
    }

    /// Returns since when the pair is at rest that is so for longest.
    fn oldest(&self) -> Option<Micros> {
        let front = |shelf: &Shelf| shelf.pairs.front().map(|(since, _)| *since);
        self.shelves.iter().filter_map(front).min()
    }

    /// Closes the pair that was at rest for longest; returns false where none is.
    fn close_oldest(&mut self, now: Micros) -> bool {
        let front = |shelf: &Shelf| shelf.pairs.front().map(|(since, _)| *since);
        let oldest = (0..self.shelves.len())
            .filter(|index| !self.shelves[*index].pairs.is_empty())
            .min_by_key(|index| front(&self.shelves[*index]));
        let Some(index) = oldest else {
            return false;
        };
        let Some((since, id)) = self.shelves[index].pairs.pop_front() else {
            return false;
        };
        if self.shelves[index].pairs.is_empty() {
            self.shelves.swap_remove(index);
        }
        self.at_rest -= 1;
        let port = self.get(id).map_or(0, |pair| pair.port);
        self.close(id);
        if now.since(since) >= REST {
            self.pool.put_off(port);
        } else {
            self.pool.release(port, now);
        }
        true
    }

    /// Opens and registers a pair, be it in the pool or not.
    fn open(&mut self, bind: IpAddr, port: u16) -> io::Result<PairId> {
        let mut pair = Pair::bind(bind, port, self.dscp)?;
        let id = PairId(self.open.next());
        for port in [Port::Rtp, Port::Rtcp] {
            let socket = pair.socket_mut(port);
            self.registry
                .register(socket, id.token(port), Interest::READABLE)?;
        }
        Ok(PairId(self.open.insert(pair)))
    }

    /// Closing a socket takes it out of the poller; an event that is underway finds nobody, or a
    /// successor with nothing to read.
    fn close(&mut self, id: PairId) {
        self.open.remove(id.0);
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};

    use mio::Poll;

    use super::*;
    use crate::engine::ids::Side;
    use crate::media::pool::Share;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    const PLACE: Place = Place {
        slot: 3,
        generation: 1,
        side: Side::Callee,
        stream: 0,
    };

    /// Some pairs on free ports; the poll keeps the registry alive.
    struct Rig {
        _poll: Poll,
        pairs: Pairs,
        now: Micros,
    }

    impl Rig {
        fn new(count: u16, bounds: Bounds) -> Self {
            let poll = Poll::new().unwrap();
            let from = free_ports(2 * count);
            let share = Share::new(from..=from + 2 * count - 1, 0, 1);
            let pool = Pool::new(share, |below| below - 1);
            assert_eq!(pool.size(), usize::from(count));
            let registry = poll.registry().try_clone().unwrap();
            Self {
                _poll: poll,
                pairs: Pairs::new(registry, pool, bounds, 46),
                now: Micros(0),
            }
        }

        fn take(&mut self, bind: IpAddr) -> Option<PairId> {
            self.pairs.take(bind, None, PLACE, self.now).ok()
        }

        fn port(&self, id: PairId) -> u16 {
            self.pairs.get(id).unwrap().port
        }

        fn pass(&mut self, micros: u64) {
            self.now = self.now + micros;
            self.pairs.tidy(self.now);
        }

        fn is_open(port: u16) -> bool {
            UdpSocket::bind((HERE, port)).is_err()
        }
    }

    /// Returns the first of a row of ports that are free on both addresses, an even one.
    fn free_ports(count: u16) -> u16 {
        (0..100)
            .find_map(|_| {
                let probe = UdpSocket::bind((HERE, 0)).unwrap();
                let from = probe.local_addr().unwrap().port() & !1;
                drop(probe);
                let end = from.checked_add(count)?;
                let places = (from..end).flat_map(|port| [(HERE, port), (THERE, port)]);
                let sockets: Result<Vec<_>, _> = places.map(UdpSocket::bind).collect();
                sockets.ok().map(|_| from)
            })
            .expect("free ports in a row")
    }

    const ENOUGH: Bounds = Bounds {
        at_rest: 100,
        open: 100,
    };

    #[test]
    fn a_pair_at_rest_stays_open_and_is_taken_once_rested() {
        let mut rig = Rig::new(2, ENOUGH);
        let first = rig.take(HERE).unwrap();
        let port = rig.port(first);
        rig.pairs.release(first, rig.now);
        assert_eq!(rig.pairs.get(first).unwrap().place, None);
        assert!(Rig::is_open(port));
        rig.pass(REST - 1);
        let other = rig.take(HERE).unwrap();
        assert_ne!(rig.port(other), port);
        rig.pass(1);
        assert_eq!(rig.take(HERE), Some(first));
        assert_eq!(rig.pairs.get(first).unwrap().place, Some(PLACE));
        assert_eq!(rig.pairs.deadline(), None);
    }

    #[test]
    fn what_nobody_asks_for_is_closed() {
        let mut rig = Rig::new(1, ENOUGH);
        let pair = rig.take(HERE).unwrap();
        let port = rig.port(pair);
        rig.pass(1_000_000);
        rig.pairs.release(pair, rig.now);
        rig.pass(KEEP - 1);
        assert!(rig.pairs.get(pair).is_some());
        assert_eq!(rig.pairs.deadline(), Some(rig.now + 1));
        rig.pass(1);
        assert!(rig.pairs.get(pair).is_none());
        assert!(!Rig::is_open(port));
        // It rested long enough.
        let again = rig.take(HERE).unwrap();
        assert_eq!(rig.port(again), port);
    }

    #[test]
    fn each_address_has_its_own() {
        let mut rig = Rig::new(1, ENOUGH);
        let here = rig.take(HERE).unwrap();
        let port = rig.port(here);
        rig.pairs.release(here, rig.now);
        assert_eq!(rig.take(THERE), None, "it rests");
        rig.pairs.tidy(rig.now);
        rig.pass(REST);
        // No other port is left: the one that rested is bound anew.
        let there = rig.take(THERE).unwrap();
        assert_eq!(rig.port(there), port);
        assert_eq!(rig.pairs.get(there).unwrap().bind, THERE);
        assert!(!Rig::is_open(port));
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        for (at_rest, open, kept) in [(1, 100, 1), (100, 2, 2), (100, 0, 0), (100, 100, 3)] {
            let mut rig = Rig::new(3, Bounds { at_rest, open });
            let pairs: Vec<_> = (0..3).map(|_| rig.take(HERE).unwrap()).collect();
            for id in &pairs {
                rig.pairs.release(*id, rig.now);
            }
            let still_open = pairs.iter().filter(|id| rig.pairs.get(**id).is_some());
            assert_eq!(still_open.count(), kept, "{at_rest} at rest, {open} open");
            rig.pass(REST);
            let again = (0..3).filter(|_| rig.take(HERE).is_some());
            assert_eq!(again.count(), 3);
        }
    }

    #[test]
    fn a_pair_that_is_named_is_taken_from_its_rest() {
        let mut rig = Rig::new(2, ENOUGH);
        let pair = rig.take(HERE).unwrap();
        let port = rig.port(pair);
        rig.pairs.release(pair, rig.now);
        let again = |rig: &mut Rig, bind| rig.pairs.take(bind, Some(port), PLACE, rig.now);
        assert_eq!(again(&mut rig, HERE).unwrap(), pair);
        rig.pairs.release(pair, rig.now);
        let there = again(&mut rig, THERE).unwrap();
        let taken = rig.pairs.get(there).unwrap();
        assert_eq!((taken.bind, taken.port), (THERE, port));
        // Its number is taken; the other is what is left.
        let other = rig.take(HERE).unwrap();
        assert_ne!(rig.port(other), port);
        assert_eq!(rig.take(HERE), None);
    }

    #[test]
    fn what_must_rest_cannot_be_taken() {
        for bounds in [
            ENOUGH,
            Bounds {
                at_rest: 0,
                open: 0,
            },
        ] {
            let mut rig = Rig::new(3, bounds);
            let pairs: Vec<_> = (0..2).map(|_| rig.take(HERE).unwrap()).collect();
            assert_eq!(rig.pairs.available(rig.now), 1);
            rig.pairs.release(pairs[0], rig.now);
            rig.pass(REST - 1);
            assert_eq!(rig.pairs.available(rig.now), 1);
            rig.pairs.release(pairs[1], rig.now);
            rig.pass(1);
            assert_eq!(rig.pairs.available(rig.now), 2);
            rig.pass(REST);
            assert_eq!(rig.pairs.available(rig.now), 3);
        }
    }
}
