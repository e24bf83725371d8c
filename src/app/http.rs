//! The thread that serves the admin interface.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::admin::{AdminState, serve};

use super::StartError;
use super::directory::Shards;

/// Serves until it is dropped.
pub(super) struct Http {
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Binds the admin interface's address.
pub(super) fn bind(at: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let open = || {
        let listener = TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    };
    open().map_err(|source| StartError::Admin { at, source })
}

impl Http {
    pub(super) fn start(
        listener: TcpListener,
        directory: Shards,
        token: Option<&str>,
    ) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::system("runtime"))?;
        let state = AdminState {
            metrics: Arc::clone(directory.metrics()),
            spans: directory.spans().clone(),
            directory,
            token: token.map(Into::into),
        };
        let (shutdown, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => {
                            serve(listener, state, async move { drop(stopped.await) }).await
                        }
                        Err(error) => tracing::error!(%error, "admin interface not served"),
                    }
                });
            })
            .map_err(StartError::system("thread"))?;
        Ok(Self {
            shutdown: Some(shutdown),
            thread: Some(thread),
        })
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.shutdown = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin thread panicked");
        }
    }
}
