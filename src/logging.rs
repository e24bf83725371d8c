//! Where the log goes: stderr, as lines for people or as JSON objects.
//!
//! Calls go on whatever becomes of it: a disk that is full, a reader that is gone or stands still costs lines,
//! which are counted.

mod lines;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::{self, Location, PanicHookInfo};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

use self::lines::{Lines, Writer};

/// How long an end waits for the lines that are not written yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log of the process, once it has been started.
static LOG: OnceLock<(Lines, Mutex<Writer>)> = OnceLock::new();

/// Starts the log, which a panic is told in from then on. A second call leaves the first one's log standing.
///
/// # Errors
/// The system gives no thread.
pub fn start(config: &LogConfig) -> io::Result<()> {
    let (lines, writer) = Lines::start(io::stderr())?;
    // Someone else's subscriber, in a test or an embedding program, is no reason not to run.
    if subscriber(config, lines.clone()).try_init().is_ok() {
        let _ = LOG.set((lines, Mutex::new(writer)));
        // The standard one writes to stderr itself, and waits for whoever reads that.
        panic::set_hook(Box::new(|panic| tell(panic, past_the_level)));
    }
    Ok(())
}

/// Tells of a panic: in the log, or `otherwise` where its level leaves errors out (`off`).
fn tell(panic: &PanicHookInfo<'_>, otherwise: impl FnOnce(&str)) {
    let place = panic
        .location()
        .map(Location::to_string)
        .unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let words = words(panic.payload());
    // Where the environment asks for it (`RUST_BACKTRACE`).
    let trace = Backtrace::capture();
    let traced = trace.status() == BacktraceStatus::Captured;
    match (tracing::enabled!(tracing::Level::ERROR), traced) {
        (true, true) => tracing::error!(thread, place, %trace, "panicked: {words}"),
        (true, false) => tracing::error!(thread, place, "panicked: {words}"),
        (false, true) => otherwise(&format!("{thread} panicked at {place}: {words}\n{trace}\n")),
        (false, false) => otherwise(&format!("{thread} panicked at {place}: {words}\n")),
    }
    // The process ends with it, and the line is on its way yet.
    if thread == "main" {
        finish();
    }
}

/// Writes a line to where the log goes, whatever its level.
fn past_the_level(line: &str) {
    if let Some((lines, _)) = LOG.get() {
        // Never fails.
        let _ = lines.make_writer().write(line.as_bytes());
    }
}

fn words(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word")
}

/// Writes what is for people, not for the log. Nobody may be there to read it: who writes waits for no longer than
/// `patience`.
pub fn show(mut out: impl Write + Send + 'static, text: String, patience: Duration) {
    let (done, shown) = mpsc::channel();
    let show = move || {
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        // Nobody is left to tell where it is closed.
        let _ = written;
        let _ = done.send(());
    };
    if thread::Builder::new()
        .name("words".to_owned())
        .spawn(show)
        .is_ok()
    {
        let _ = shown.recv_timeout(patience);
    }
}

/// Waits until all that was logged is written, for a second at most: before the process ends.
pub fn finish() {
    if let Some((lines, writer)) = LOG.get() {
        lines.end();
        let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.finish(PATIENCE);
    }
}

/// Returns how many lines nobody will read, since the start.
pub fn lost() -> u64 {
    LOG.get().map_or(0, |(lines, _)| lines.lost())
}

/// Makes a log that writes to `writer`.
fn subscriber<W>(config: &LogConfig, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The configuration has refused a level that is none.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = fmt::fmt().with_env_filter(filter).with_writer(writer);
    match config.format {
        LogFormat::Text => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            Box::new(log.with_ansi(colours).with_target(false).finish())
        }
        LogFormat::Json => Box::new(
            log.json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut memory = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
            memory.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, format: LogFormat, act: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let config = LogConfig {
            level: level.to_owned(),
            format,
        };
        tracing::subscriber::with_default(subscriber(&config, move || writer.clone()), act);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_has_one_object_per_event() {
        let text = logged("info", LogFormat::Json, || {
            let span = tracing::error_span!("conversation", id = "0300018f2c5d7a10");
            let _entered = span.enter();
            tracing::info!(reason = "no \"answer\"\n", legs = 2, "leg lost");
            tracing::debug!("not at this level");
        });
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["message"], "leg lost");
        assert_eq!(lines[0]["reason"], "no \"answer\"\n");
        assert_eq!(lines[0]["legs"], 2);
        assert_eq!(lines[0]["span"]["id"], "0300018f2c5d7a10");
        assert_eq!(lines[0]["target"], "refork::logging::tests");
        let timestamp = lines[0]["timestamp"].as_str().unwrap();
        assert!(
            timestamp.contains('T') && timestamp.ends_with('Z'),
            "{timestamp}"
        );
    }

    #[test]
    fn a_panic_is_told_in_the_log_with_its_place_and_past_a_level_that_is_off() {
        let before = panic::take_hook();
        let (past, told) = mpsc::channel();
        panic::set_hook(Box::new(move |panic| {
            tell(panic, |line| past.send(line.to_owned()).unwrap());
        }));
        let panics = || {
            let ended = panic::catch_unwind(|| panic!("call {} is \"lost\"", 7));
            assert!(ended.is_err());
        };
        let text = logged("info", LogFormat::Json, panics);
        let none = logged("off", LogFormat::Json, panics);
        panic::set_hook(before);
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "panicked: call 7 is \"lost\"");
        let place = line["place"].as_str().unwrap();
        assert!(place.starts_with("src/logging.rs:"), "{place}");
        assert_eq!(none, "");
        let past: Vec<String> = told.try_iter().collect();
        assert_eq!(past.len(), 1, "{past:?}");
        assert!(past[0].contains("panicked at src/logging.rs:"), "{past:?}");
        assert!(past[0].contains(": call 7 is \"lost\""), "{past:?}");
    }

    #[test]
    fn the_level_may_differ_by_module() {
        let text = logged("warn,refork::logging=debug", LogFormat::Text, || {
            tracing::debug!("ours");
            tracing::info!(target: "another", "theirs");
            tracing::warn!(target: "another", "loud");
        });
        assert!(text.contains("ours") && text.contains("loud"), "{text}");
        assert!(!text.contains("theirs"), "{text}");
    }
}
