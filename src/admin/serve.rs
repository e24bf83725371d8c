//! Connections of the admin interface, with a limit on how many, how slow and how large.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::AdminState;
use super::directory::Directory;
use super::routes::router;

/// Connections at a time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// For the head of a request, and so for the pause between two on a connection: longer than
/// Prometheus' usual interval of 15 s.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of a head: twice as much as is taken (`guard::fits`), so that most of what is too much is told so.
const READ_BYTES_MAX: usize = 32 * 1024;
const READ_HEADERS_MAX: usize = 128;
/// How long requests under way may take once the server stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long who has a place may take once the last is taken: longer than an answer. A health check must not wait for
/// the silence of others to end.
const CROWDED: Duration = Duration::from_secs(6);

/// Serves the admin interface until `shutdown` is ready, then lets requests under way finish.
pub async fn serve<D: Directory>(
    listener: TcpListener,
    state: AdminState<D>,
    shutdown: impl Future<Output = ()>,
) {
    let router = router(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stopped) = watch::channel(());
    let (crowd, _) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        // Who takes the last place has the others make room that wait for nothing.
        if places.available_permits() == 0 {
            crowd.send_replace(());
        }
        let (router, stopped, crowded) = (router.clone(), stopped.clone(), crowd.subscribe());
        connections.spawn(async move {
            connection(stream, router, stopped, crowded).await;
            drop(place);
        });
    }
    drop(stop);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    if timeout(FAREWELL, all_gone).await.is_err() {
        debug!("admin requests were cut short by the shutdown");
    }
}

/// Waits for a place, then for a connection.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            warn!(%error, "admin connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection until it closes, or until `stopped` or `crowded` and its request is answered.
async fn connection(
    stream: TcpStream,
    router: axum::Router,
    mut stopped: watch::Receiver<()>,
    mut crowded: watch::Receiver<()>,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(READ_BYTES_MAX)
        .max_headers(READ_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        // The sender never sends: this ends when it is dropped.
        _ = stopped.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        Ok(()) = crowded.changed() => {
            served.as_mut().graceful_shutdown();
            match timeout(CROWDED, served).await {
                Ok(result) => result,
                Err(_) => return debug!("admin connection without a request made room"),
            }
        }
    };
    if let Err(error) = result {
        debug!(%error, "admin connection");
    }
}
