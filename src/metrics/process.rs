//! What Linux says about this process, from `/proc/self`.

use std::fs;

/// Clock ticks per second in `/proc`: USER_HZ, which is 100 in every Linux ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at the process. What cannot be read is zero: metrics never fail a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    pub(super) open_fds: u64,
    pub(super) max_fds: u64,
    pub(super) threads: u64,
    pub(super) started: f64,
}

impl Process {
    pub(super) fn read() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let stat = read("/proc/self/stat");
        let fields = after_name(&stat);
        let status = read("/proc/self/status");
        let boot = labelled(&read("/proc/stat"), "btime").unwrap_or(0);
        Self {
            cpu_seconds: (number(&fields, 14) + number(&fields, 15)) as f64 / TICKS_PER_SECOND,
            resident_bytes: labelled(&status, "VmRSS:").unwrap_or(0) * 1024,
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            max_fds: max_open_files(&read("/proc/self/limits")).unwrap_or(0),
            threads: labelled(&status, "Threads:").unwrap_or(0),
            started: boot as f64 + number(&fields, 22) as f64 / TICKS_PER_SECOND,
        }
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
    fn this_process_has_memory_and_files() {
        let process = Process::read();
        assert!(process.resident_bytes > 0, "{process:?}");
        assert!(process.open_fds > 2, "{process:?}");
        assert!(process.threads > 0, "{process:?}");
        assert!(process.started > 0.0, "{process:?}");
    }
}
