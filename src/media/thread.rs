//! One relay thread: waits for packets, orders and alarms, and hands them to its desk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Poll, Token, Waker};
use rand::{
    Rng, RngExt, SeedableRng,
    rngs::{StdRng, SysRng},
};

use crate::media::clock::Micros;
use crate::media::counters::RelayCounters;
use crate::media::desk::{Desk, Fittings};
use crate::media::handle::{Bell, EventSink, Order, StartError, Worker};
use crate::media::pairs::{Bounds, Pairs};
use crate::media::pool::{Pool, Share};
use crate::media::settings::RelaySettings;
use crate::media::sound::Fill;

const BELL: Token = Token(usize::MAX);
/// Sockets that are looked at in one turn.
const READY: usize = 256;
/// Orders that are carried out in one turn: each may open a few sockets, and packets wait meanwhile.
const ORDERS: usize = 32;
/// Microseconds after an order in which we look for those that can wait, so that in a steady load
/// nobody needs to ring for them.
const LINGER: u64 = 10_000;

/// Starts thread `index` of `count`. `bounds`: of this thread.
pub(crate) fn spawn(
    index: usize,
    count: usize,
    settings: RelaySettings,
    filler: Fill,
    bounds: Bounds,
    events: EventSink,
    counters: Arc<RelayCounters>,
) -> Result<(Worker, JoinHandle<()>), StartError> {
    let poll = Poll::new().map_err(StartError::System)?;
    let waker = Waker::new(poll.registry(), BELL).map_err(StartError::System)?;
    let bell = Arc::new(Bell::new(waker));
    let (orders, incoming) = channel();
    let mut random = StdRng::try_from_rng(&mut SysRng)
        .map_err(|error| StartError::System(io::Error::other(error)))?;
    let share = Share::new(settings.ports.clone(), index, count);
    let pool = Pool::new(share, |below| random.random_range(0..below));
    counters
        .ports
        .fetch_add(2 * pool.size() as u64, Ordering::Relaxed);
    let registry = poll.registry().try_clone().map_err(StartError::System)?;
    let clock = Clock::start();
    let desk = Desk::new(Fittings {
        pairs: Pairs::new(registry, pool, bounds, settings.dscp),
        settings,
        filler,
        events,
        counters: Arc::clone(&counters),
        random: Box::new(move || random.next_u64()),
        epoch_us: clock.epoch_us,
    });
    let worker = Worker {
        orders,
        bell: Arc::clone(&bell),
    };
    let mut turns = Turns {
        poll,
        clock,
        desk,
        incoming,
        bell,
        counters,
        more_orders: false,
        attends_until: None,
    };
    let thread = std::thread::Builder::new()
        .name(format!("relay-{index}"))
        .spawn(move || turns.run())
        .map_err(StartError::System)?;
    Ok((worker, thread))
}

struct Turns {
    poll: Poll,
    clock: Clock,
    desk: Desk,
    incoming: Receiver<Order>,
    bell: Arc<Bell>,
    counters: Arc<RelayCounters>,
    /// The last turn left orders in the queue.
    more_orders: bool,
    /// Until when we look for orders that nobody rings for.
    attends_until: Option<Micros>,
}

impl Turns {
    fn run(&mut self) {
        let mut ready = Events::with_capacity(READY);
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.patience()) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::error!(%error, "a relay thread can't wait for packets");
                    return;
                }
                continue;
            }
            // Orders first: they were given before the packets that come because of them.
            if !self.carry_out_orders() {
                return;
            }
            self.desk.read_on(self.clock.now());
            for event in ready.iter().filter(|event| event.token() != BELL) {
                self.desk.ready(event, self.clock.now());
            }
            self.desk.tick(self.clock.now());
            self.desk.tell();
            self.desk.tally.flush(&self.counters);
            let now = self.clock.now();
            if self.attends_until.is_some_and(|until| until <= now) {
                self.attends_until = None;
                self.bell.attend(false);
                if !self.carry_out_orders() {
                    return;
                }
            }
        }
    }

    /// Returns how long to wait for packets: until the next alarm.
    fn patience(&self) -> Option<Duration> {
        if self.more_orders {
            return Some(Duration::ZERO);
        }
        let now = self.clock.now();
        let deadline = self.desk.deadline(now);
        let wait = deadline.into_iter().chain(self.attends_until).min()?;
        let wait = wait.since(now);
        Some(Duration::from_micros(wait))
    }

    /// Returns false after `Stop`.
    fn carry_out_orders(&mut self) -> bool {
        self.bell.hear();
        self.more_orders = false;
        for count in 0..ORDERS {
            let Ok(order) = self.incoming.try_recv() else {
                if count > 0 {
                    self.linger();
                }
                return true;
            };
            let now = self.clock.now();
            match order {
                Order::Command(command) => self.desk.command(command, now),
                Order::Report { media, reply } => {
                    // So that whoever asked finds the totals and has the events no older than the
                    // report.
                    self.desk.tally.flush(&self.counters);
                    self.desk.tell();
                    reply(self.desk.report(media));
                }
                Order::Resume { media, side, lines } => {
                    self.desk.resume(media, side, &lines, now);
                }
                Order::Reserve(reserve) => self.desk.reserve(reserve),
                Order::Stop => return false,
            }
        }
        self.more_orders = true;
        self.linger();
        true
    }

    /// Those who ask for something wait for the answer, and where one order came, others follow.
    fn linger(&mut self) {
        self.desk.tell();
        if self.attends_until.is_none() {
            self.bell.attend(true);
        }
        self.attends_until = Some(self.clock.now() + LINGER);
    }
}

/// The clock of one relay thread.
struct Clock {
    start: Instant,
    epoch_us: u64,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the relay's threads read the clock themselves; its core does not"
)]
impl Clock {
    fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            epoch_us: unix.as_micros() as u64,
        }
    }

    fn now(&self) -> Micros {
        Micros(self.start.elapsed().as_micros() as u64)
    }
}
