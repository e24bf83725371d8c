//! The program while it runs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::refork;

/// The program looks at certificates every 10 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Running {
    process: Child,
    log: Receiver<String>,
    printed: Vec<String>,
}

impl Running {
    pub(crate) fn start(config: &str) -> Self {
        let mut process = refork()
            .args(["run", "-c", config])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, log) = channel();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // The test may have seen enough.
                let _ = tell.send(line);
            }
        });
        let mut printed = Vec::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let is_last = line.starts_with("Conversations:");
            printed.push(line);
            if is_last {
                break;
            }
        }
        Self {
            process,
            log,
            printed,
        }
    }

    /// Returns where it listens.
    pub(crate) fn at(&self, transport: &str) -> SocketAddr {
        let end = format!(";transport={transport}");
        let found = self.printed.iter().find_map(|line| {
            let (before, _) = line.split_once(&end)?;
            before.trim().strip_prefix("sip:")
        });
        found.unwrap().parse().unwrap()
    }

    /// Returns where the admin interface is.
    pub(crate) fn admin(&self) -> SocketAddr {
        let found = self.printed.iter().find_map(|line| {
            let (_, at) = line.strip_prefix("Conversations:")?.split_once("http://")?;
            at.split('/').next()
        });
        found.unwrap().parse().unwrap()
    }

    /// Returns the lines of the log up to one with these words.
    pub(crate) fn says_until(&self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines
            .last()
            .is_some_and(|line: &String| line.contains(words))
        {
            let line = self.log.recv_timeout(PATIENCE);
            lines.push(line.unwrap_or_else(|_| panic!("it never said `{words}`: {lines:#?}")));
        }
        lines
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        let told = Command::new("kill")
            .args(["-HUP", &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(told.success());
    }

    /// Waits for a line of the log with these words, and returns it.
    pub(crate) fn says(&self, words: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it never said `{words}`"));
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
