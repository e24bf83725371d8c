//! Call detail records: a line of JSON for each conversation at its end, appended to a file (`cdr.file`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::admin;
use crate::driver::{Recorded, Records};
use crate::engine::view::Detail;
use crate::metrics::{Metrics, Recording};

/// Records that are written at once.
const BATCH: usize = 100;

/// The thread that writes.
pub(super) struct Writer(JoinHandle<()>);

impl Writer {
    /// Opens the file, and writes from then on.
    pub(super) fn start(
        path: &Path,
        node: &str,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Records, Self)> {
        let mut book = Book::open(path, node)?;
        let (records, recorded) = Records::to_write();
        let write = move || book.write_all(&recorded, &metrics);
        let thread = std::thread::Builder::new()
            .name("cdr".to_owned())
            .spawn(write)?;
        Ok((records, Self(thread)))
    }

    /// Waits for the last record, after `Records::end`.
    pub(super) fn join(self) {
        // One that panicked has ended the process.
        let _ = self.0.join();
    }
}

struct Book {
    path: PathBuf,
    node: Box<str>,
    file: BufWriter<File>,
    /// The last one could not be written: one word of that is enough.
    failing: bool,
}

impl Book {
    fn open(path: &Path, node: &str) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            node: node.into(),
            file: BufWriter::new(append(path)?),
            failing: false,
        })
    }

    fn write_all(&mut self, recorded: &Recorded, metrics: &Metrics) {
        while let Ok(Some(first)) = recorded.recv() {
            let mut last = false;
            let waiting = std::iter::from_fn(|| match recorded.try_recv() {
                Ok(Some(detail)) => Some(detail),
                Ok(None) => {
                    last = true;
                    None
                }
                Err(_) => None,
            });
            let lines: Vec<String> = std::iter::once(first)
                .chain(waiting.take(BATCH))
                .map(|detail| self.line(*detail))
                .collect();
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
            if last {
                return;
            }
        }
    }

    fn line(&self, detail: Detail) -> String {
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
    options.create(true).append(true).mode(0o640).open(path)
}
