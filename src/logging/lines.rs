//! Lines of the log on their way to who reads them: who logs waits for nobody, and fails for nobody.
//!
//! Not tracing-appender's non-blocking writer: it does not count what cannot be written, and where nobody reads
//! as the process ends it says so on the same stream, and hangs.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, channel, sync_channel,
};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written: a few seconds of a busy node at `debug`. Who reads slower than that loses some.
const WAITING_MAX: usize = 10_000;

/// Where lines are put. Clones put them into the same place.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    /// None wakes a writer that waits.
    waiting: SyncSender<Option<Box<[u8]>>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Lines that were not written, and will not be.
    lost: AtomicU64,
    /// No more come.
    over: AtomicBool,
}

/// The thread that writes: nothing is ever sent, and the other end goes with the thread.
#[derive(Debug)]
pub(super) struct Writer(Receiver<()>);

/// One line in the making.
pub(super) struct Line<'a>(&'a Lines);

impl Lines {
    /// Writes lines to `out` from now on, by a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, Writer)> {
        let (waiting, lines) = sync_channel(WAITING_MAX);
        let state = Arc::new(State::default());
        let ours = Self {
            waiting,
            state: Arc::clone(&state),
        };
        let (goes, thread) = channel();
        let write = move || {
            let _with_us = goes;
            write_all(out, &lines, &state);
        };
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(write)?;
        Ok((ours, Writer(thread)))
    }

    /// Returns how many lines nobody will read: there was no room, or they could not be written.
    pub(super) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }

    /// Tells the writer that no more come. Never waits for it.
    pub(super) fn end(&self) {
        self.state.over.store(true, Ordering::Release);
        // Where there is no room it has something to do, and sees that it is over when it has done that.
        let _ = self.waiting.try_send(None);
    }
}

impl Writer {
    /// Waits for the last line, after `Lines::end`, for no longer than `patience`.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        self.0.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

impl Write for Line<'_> {
    /// Takes a whole line at once, as the formatter hands it over. Never fails: the formatter would tell of
    /// that on the stream that cannot be written to, and panic.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.waiting.try_send(Some(line.into())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.0.state.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut out: impl Write, lines: &Receiver<Option<Box<[u8]>>>, state: &State) {
    let mut told = 0;
    let mut failing = false;
    loop {
        let next = match lines.try_recv() {
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) if state.over.load(Ordering::Acquire) => return,
            Err(TryRecvError::Empty) => {
                let lost = state.lost.load(Ordering::Relaxed);
                if !failing && lost > told {
                    tracing::warn!(lines = lost - told, "lines of the log were lost");
                    told = lost;
                }
                match lines.recv() {
                    Ok(next) => next,
                    Err(_) => return,
                }
            }
            Ok(next) => next,
        };
        let Some(line) = next else {
            continue;
        };
        // What a full disk has taken of the one before spoils no other.
        let written = if failing {
            out.write_all(b"\n").and_then(|()| out.write_all(&line))
        } else {
            out.write_all(&line)
        };
        failing = written.is_err();
        if failing {
            state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk that is full for so many writes.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            if disk.0 > 0 {
                disk.0 -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that stands still.
    struct Stalled(Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(lines: &Lines, line: &str) {
        lines.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_line_is_whole() {
        let disk = Disk(Arc::new(Mutex::new((2, Vec::new()))));
        let (lines, writer) = Lines::start(disk.clone()).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            log(&lines, line);
        }
        lines.end();
        assert!(writer.finish(Duration::from_secs(60)));
        assert_eq!(lines.lost(), 2);
        assert_eq!(disk.0.lock().unwrap().1, b"\nthree\n");
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (reads, stalled) = channel();
        let (lines, writer) = Lines::start(Stalled(stalled)).unwrap();
        let logged = (0..)
            .take_while(|_| lines.lost() == 0)
            .inspect(|_| log(&lines, "line\n"));
        assert!(logged.count() >= WAITING_MAX);
        lines.end();
        assert!(!writer.finish(Duration::from_millis(1)));
        drop(reads);
        assert!(writer.finish(Duration::from_secs(60)), "it reads again");
    }
}
