//! What Linux says about this process, from `/proc/self`.

use std::fs::{self, ReadDir};
use std::io;
use std::sync::{Mutex, PoisonError};

use prometheus::{Counter, Gauge, IntGauge};

use super::family::{Maker, show};
use super::names;

/// Clock ticks per second in `/proc`: USER_HZ, which is 100 in every Linux ABI.
const TICKS_PER_SECOND: f64 = 100.0;
/// EMFILE: no descriptor is left to look with.
const NO_DESCRIPTOR: i32 = 24;

pub(super) struct ProcessMetrics {
    cpu: Counter,
    resident: IntGauge,
    fds: IntGauge,
    fds_max: IntGauge,
    threads: IntGauge,
    started: Gauge,
    last: Mutex<Process>,
}

impl ProcessMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Self {
        Self {
            cpu: make.float_counter(names::PROCESS_CPU),
            resident: make.gauge(names::PROCESS_RSS),
            fds: make.gauge(names::PROCESS_FDS),
            fds_max: make.gauge(names::PROCESS_FDS_MAX),
            threads: make.gauge(names::PROCESS_THREADS),
            started: make.float(names::PROCESS_START),
            // While there are descriptors: the limit is known when there are none.
            last: Mutex::new(Process::default().next()),
        }
    }

    /// Looks at the process.
    pub(super) fn set(&self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.next();
        let more = last.cpu_seconds - self.cpu.get();
        if more > 0.0 {
            self.cpu.inc_by(more);
        }
        show(&self.resident, last.resident_bytes);
        show(&self.fds, last.open_fds);
        show(&self.fds_max, last.max_fds);
        show(&self.threads, last.threads);
        self.started.set(last.started);
    }
}

/// One look at the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    open_fds: u64,
    max_fds: u64,
    threads: u64,
    started: f64,
}

impl Process {
    /// Looks again. What cannot be read is as it was: metrics never fail a scrape, and an alert that tells of
    /// want must not fall silent for want.
    fn next(&self) -> Self {
        let read = |path| fs::read_to_string(path).ok();
        let stat = read("/proc/self/stat");
        let fields = stat.as_deref().map(after_name);
        let field = |at| fields.as_deref().map(|fields| number(fields, at));
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        let status = read("/proc/self/status");
        let status = |label| labelled(status.as_deref()?, label);
        let boot = read("/proc/stat").and_then(|text| labelled(&text, "btime"));
        let limits = read("/proc/self/limits");
        let max_fds = limits.and_then(|text| max_open_files(&text));
        let max_fds = max_fds.unwrap_or(self.max_fds);
        Self {
            cpu_seconds: field(14)
                .zip(field(15))
                .map_or(self.cpu_seconds, |(user, system)| seconds(user + system)),
            resident_bytes: status("VmRSS:").map_or(self.resident_bytes, |kib| kib * 1024),
            open_fds: open_files(fs::read_dir("/proc/self/fd"), max_fds).unwrap_or(self.open_fds),
            max_fds,
            threads: status("Threads:").unwrap_or(self.threads),
            started: boot
                .zip(field(22))
                .map_or(self.started, |(boot, since)| boot as f64 + seconds(since)),
        }
    }
}

/// Returns how many descriptors are open: all of them, where none is left to look with.
fn open_files(listed: io::Result<ReadDir>, most: u64) -> Option<u64> {
    match listed {
        Ok(entries) => Some(entries.count() as u64),
        Err(error) if error.raw_os_error() == Some(NO_DESCRIPTOR) => Some(most),
        Err(_) => None,
    }
}

/// Returns the fields of `/proc/self/stat` from the third on: the second is a name that may hold
/// spaces and parentheses itself.
fn after_name(stat: &str) -> Vec<&str> {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace().collect()
}

/// Returns a field by its number in proc(5), which counts from one.
fn number(fields: &[&str], field: usize) -> u64 {
    fields
        .get(field - 3)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// Returns the number that follows a line's first word.
fn labelled(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// Returns the soft limit.
fn max_open_files(limits: &str) -> Option<u64> {
    labelled(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_moves_no_field() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 0 10 0 0 0 250 50 0 0 20 0 9 0 4200 1000 25";
        let fields = after_name(stat);
        assert_eq!(number(&fields, 14), 250);
        assert_eq!(number(&fields, 15), 50);
        assert_eq!(number(&fields, 22), 4200);
        assert_eq!(number(&fields, 90), 0);
    }

    #[test]
    fn lines_are_found_by_their_label() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(max_open_files(limits), Some(1024));
        assert_eq!(
            max_open_files("Max open files   unlimited   unlimited   files"),
            None
        );
        assert_eq!(labelled("VmRSS:\t    1234 kB\n", "VmRSS:"), Some(1234));
    }

    #[test]
    fn where_no_descriptor_is_left_to_look_with_all_are_open() {
        let listed = |code| Err(io::Error::from_raw_os_error(code));
        assert_eq!(open_files(listed(NO_DESCRIPTOR), 64), Some(64));
        assert_eq!(open_files(listed(13), 64), None, "not allowed");
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = Process::default().next();
        assert!(process.resident_bytes > 0, "{process:?}");
        assert!(process.open_fds > 2, "{process:?}");
        assert!(process.threads > 0, "{process:?}");
        assert!(process.started > 0.0, "{process:?}");
    }
}
