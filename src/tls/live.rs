//! What is in force now, and reading it again.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustls::client::ClientConfig;
use rustls::server::ServerConfig;

use super::load::{self, Fault, Files};
use super::validity::{doubts, earliest_end};

/// Certificates in force. A handshake takes those of its beginning; connections that stand keep theirs.
pub struct Tls {
    files: Files,
    server: RwLock<Arc<ServerConfig>>,
    client: RwLock<Arc<ClientConfig>>,
    /// Which each file was, as of the last reading.
    stamps: Mutex<Vec<Option<Stamp>>>,
    /// When the first of ours ends, in seconds since 1970; 0 where there is none.
    not_after: AtomicU64,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn load(files: Files) -> Result<Self, Fault> {
        let stamps = stamps(&files);
        let (server, client) = (load::server(&files)?, load::client(&files)?);
        let not_after = AtomicU64::new(earliest_end(&files).unwrap_or(0));
        Ok(Self {
            not_after,
            files,
            server: RwLock::new(server),
            client: RwLock::new(client),
            stamps: Mutex::new(stamps),
        })
    }

    /// Returns what a new connection of a client is met with.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns what a new connection to a server is opened with.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns true where servers that ask who we are are shown a certificate.
    pub fn has_own(&self) -> bool {
        !self.files.pairs.is_empty()
    }

    /// Reads the files again; new connections get what they say. Whoever resumes a session of before has
    /// to prove itself anew.
    ///
    /// # Errors
    /// The first fault: all stays as it was.
    pub fn reload(&self) -> Result<(), Fault> {
        *lock(&self.stamps) = stamps(&self.files);
        let (server, client) = (load::server(&self.files)?, load::client(&self.files)?);
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = server;
        let end = earliest_end(&self.files).unwrap_or(0);
        self.not_after.store(end, Ordering::Relaxed);
        Ok(())
    }

    /// Returns when the first of our certificates ends, in seconds since 1970; 0 without one.
    pub fn not_after(&self) -> u64 {
        self.not_after.load(Ordering::Relaxed)
    }

    /// Returns a sentence for each certificate of ours that has ended, has not begun, or ends soon.
    pub fn doubts(&self) -> Vec<String> {
        doubts(&self.files)
    }

    /// Returns true where a file is not the one that was read last.
    pub fn has_changed(&self) -> bool {
        *lock(&self.stamps) != stamps(&self.files)
    }
}

/// Which file it is, and its last change of any kind. The time of the last writing would not do: whoever copies
/// or unpacks a file may set it to what it was elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
}

fn stamps(files: &Files) -> Vec<Option<Stamp>> {
    let stamp = |path| {
        let about = std::fs::metadata(path).ok()?;
        Some(Stamp {
            file: (about.dev(), about.ino()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    };
    files.all().map(stamp).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
