//! One relay thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use mio::{Events, Poll, Token, Waker};

use crate::engine::ports::{MediaCommand, MediaEvent};
use crate::media::counters::RelayCounters;
use crate::media::handle::{Bell, EventSink, Order, StartError, Worker};
use crate::media::settings::RelaySettings;

const BELL: Token = Token(usize::MAX);

/// Starts thread `index` of `count`.
pub(crate) fn spawn(
    index: usize,
    count: usize,
    settings: RelaySettings,
    events: EventSink,
    counters: Arc<RelayCounters>,
) -> Result<(Worker, JoinHandle<()>), StartError> {
    let mut poll = Poll::new().map_err(StartError::System)?;
    let waker = Waker::new(poll.registry(), BELL).map_err(StartError::System)?;
    let bell = Arc::new(Bell {
        waker,
        rung: AtomicBool::new(false),
    });
    let (orders, incoming) = channel();
    let worker = Worker {
        orders,
        bell: Arc::clone(&bell),
    };
    let thread = std::thread::Builder::new()
        .name(format!("relay-{index}"))
        .spawn(move || {
            let _ = (count, settings, counters);
            let mut ready = Events::with_capacity(64);
            loop {
                if poll.poll(&mut ready, None).is_err() {
                    continue;
                }
                bell.rung.store(false, Ordering::Release);
                while let Ok(order) = incoming.try_recv() {
                    match order {
                        Order::Command(MediaCommand::Open {
                            media,
                            side,
                            generation,
                            ..
                        }) => {
                            events(MediaEvent::Opened {
                                media,
                                side,
                                generation,
                                result: None,
                            });
                        }
                        Order::Command(_) | Order::Resume { .. } => {}
                        Order::Report { reply, .. } => reply(None),
                        Order::Stop => return,
                    }
                }
            }
        })
        .map_err(StartError::System)?;
    Ok((worker, thread))
}
