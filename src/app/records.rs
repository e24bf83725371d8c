//! Call detail records: a line of JSON for each conversation at its end, appended to a file (`cdr.file`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::admin;
use crate::driver::{Clock, Recorded, Records};
use crate::engine::view::Detail;
use crate::metrics::{Metrics, Recording};

/// Records that are written at once.
const BATCH: usize = 100;

/// The thread that writes: nothing is ever sent, and the other end goes with the thread.
pub(super) struct Writer(Receiver<()>);

impl Writer {
    /// Opens the file, and writes from then on.
    pub(super) fn start(
        path: &Path,
        node: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Records, Self)> {
        let mut book = Book::open(path, node, clock)?;
        let (records, recorded) = Records::to_write();
        let (goes, thread) = channel();
        let write = move || {
            let _with_us = goes;
            book.write_all(&recorded, &metrics);
        };
        std::thread::Builder::new()
            .name("cdr".to_owned())
            .spawn(write)?;
        Ok((records, Self(thread)))
    }

    /// Waits for the last record, after `Records::end`. Returns false where the disk takes longer than `patience`:
    /// what is not written by then is left.
    pub(super) fn finish(self, patience: Duration) -> bool {
        self.0.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

struct Book {
    path: PathBuf,
    node: Box<str>,
    clock: Clock,
    file: BufWriter<File>,
    /// The last one could not be written: one word of that is enough.
    failing: bool,
}

impl Book {
    fn open(path: &Path, node: &str, clock: Clock) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            node: node.into(),
            clock,
            file: BufWriter::new(append(path)?),
            failing: false,
        })
    }

    fn write_all(&mut self, recorded: &Recorded, metrics: &Metrics) {
        loop {
            let lines: Vec<String> = recorded
                .next(BATCH)
                .into_iter()
                .map(|detail| self.line(*detail))
                .collect();
            if lines.is_empty() {
                return;
            }
            let outcome = match self.write(&lines) {
                Ok(()) => Recording::Written,
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        let file = self.path.display();
                        tracing::warn!(%file, %error, "call records cannot be written");
                    }
                    Recording::Failed
                }
            };
            metrics.recorded(outcome, lines.len() as u64);
        }
    }

    fn line(&self, mut detail: Detail) -> String {
        detail.shown(self.clock.by_the_wall());
        let mut line = admin::record(&self.node, detail);
        line.push('\n');
        line
    }

    fn write(&mut self, lines: &[String]) -> io::Result<()> {
        if self.was_moved() || self.failing {
            // What could not be written is given up with the file.
            let file = append(&self.path)?;
            let _ = std::mem::replace(&mut self.file, BufWriter::new(file)).into_parts();
        }
        for line in lines {
            self.file.write_all(line.as_bytes())?;
        }
        self.file.flush()?;
        if std::mem::take(&mut self.failing) {
            tracing::info!(file = %self.path.display(), "call records are written again");
        }
        Ok(())
    }

    /// Somebody has put the file away, as logrotate does.
    fn was_moved(&self) -> bool {
        let is_ours = |there: std::fs::Metadata| {
            let ours = self.file.get_ref().metadata();
            ours.is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        !std::fs::metadata(&self.path).is_ok_and(is_ours)
    }
}

fn append(path: &Path) -> io::Result<File> {
    // Who called whom is not for everybody.
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    // A FIFO without a reader would keep who opens it to write: our own end for reading, never used, does not.
    let is_fifo = std::fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo());
    let mut file = options.read(is_fifo).open(path)?;
    if is_torn(&file, path) {
        // A line that was cut short, by a full disk or the end of a process, spoils no other.
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The last line has no end.
fn is_torn(file: &File, path: &Path) -> bool {
    let last = file
        .metadata()
        .ok()
        .filter(std::fs::Metadata::is_file)
        .and_then(|ours| ours.len().checked_sub(1));
    let mut octet = [0];
    let read = |at| File::open(path)?.read_exact_at(&mut octet, at);
    last.map(read).is_some_and(|read| read.is_ok()) && octet != *b"\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;
    use crate::engine::ids::ConversationId;
    use crate::engine::settings::Kind;
    use crate::engine::time::Time;
    use crate::engine::view::{Stage, Summary};
    use crate::metrics::Readings;

    fn detail() -> Box<Detail> {
        Box::new(Detail {
            summary: Summary {
                id: "c-1".into(),
                key: ConversationId(1),
                kind: Kind::Call,
                stage: Stage::Ended,
                from: "sip:alice@example.org".into(),
                to: "sip:bob@example.org".into(),
                call_id: "1@example.org".into(),
                started: Time(1_000),
                answered: None,
                ended: Some(Time(9_000)),
                restorations: 0,
                queued: 0,
            },
            legs: Vec::new(),
            history: Vec::new(),
        })
    }

    fn count(metrics: &Metrics, outcome: &str) -> u64 {
        let text = metrics.render(&Readings::default(), Duration::ZERO);
        let series = format!("refork_cdr_records_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse().unwrap()
    }

    /// Returns what each line is: true, a record.
    fn whole(path: &Path) -> Vec<bool> {
        let is_record = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(is_record).collect()
    }

    #[test]
    fn a_line_that_was_cut_short_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        for (before, lines) in [
            ("", vec![true]),
            ("{}\n", vec![true, true]),
            ("{}\n{\"node\":", vec![true, false, true]),
        ] {
            let path = folder.path().join("calls.json");
            fs::write(&path, before).unwrap();
            let mut book = Book::open(&path, "n1", Clock::start()).unwrap();
            let line = book.line(*detail());
            book.write(&[line]).unwrap();
            assert_eq!(whole(&path), lines, "{before}");
        }
    }

    #[test]
    fn what_a_full_disk_takes_not_is_counted_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = (folder.path().join("calls.json"), folder.path().join("file"));
        symlink("/dev/full", &path).unwrap();
        let metrics = Metrics::new("n1");
        let mut book = Book::open(&path, "n1", Clock::start()).unwrap();
        let mut writes = |most: usize| {
            let (records, recorded) = Records::to_write();
            for _ in 0..most {
                assert!(records.take(detail()));
            }
            records.end();
            book.write_all(&recorded, &metrics);
        };
        writes(3);
        // There is room again, behind what was written of the last line.
        fs::write(&file, "{\"node\":").unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&file, &path).unwrap();
        writes(1);
        assert_eq!(whole(&file), [false, true]);
        assert_eq!(
            (count(&metrics, "written"), count(&metrics, "failed")),
            (1, 3)
        );
    }

    #[test]
    fn a_disk_that_stands_still_costs_records_and_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.json");
        // Which nobody reads.
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let metrics = Arc::new(Metrics::new("n1"));
        let (records, writer) = Writer::start(&path, "n1", Clock::start(), metrics).unwrap();
        // It holds 64 KiB; then one batch is in hand, and the others wait.
        let taken = (0..100_000).take_while(|_| records.take(detail())).count();
        assert!(taken < 100_000, "no limit");
        records.end();
        assert!(!writer.finish(Duration::from_millis(1)));
    }

    #[test]
    fn all_that_waits_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.json");
        let (records, recorded) = Records::to_write();
        let put = (0..).take_while(|_| records.take(detail())).count();
        // With no room left for a word of the end.
        records.end();
        let metrics = Metrics::new("n1");
        Book::open(&path, "n1", Clock::start())
            .unwrap()
            .write_all(&recorded, &metrics);
        assert_eq!(whole(&path), vec![true; put]);
        assert_eq!(count(&metrics, "written"), put as u64);
    }
}
