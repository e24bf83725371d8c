//! The server in the foreground: from start to the signal that ends it.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config};
use crate::logging;
use crate::transport::Bound;

use super::banner::banner;
use super::{Server, StartError, start};

/// How long standing conversations may take to end by themselves. Short of the time that service
/// managers wait before they kill (systemd's unit: 45 s, containers: 10 s and more).
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// How often it is looked whether a certificate has been renewed.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);

/// How long the words on stdout may take.
const BANNER: Duration = Duration::from_millis(500);

/// How long phones may take to answer the BYE of what has not ended by then.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts the server, says where to point a phone, and returns once a signal has ended it.
///
/// SIGHUP has it read the certificates, and the configuration at `path`, again: see `Server::reload`.
/// SIGTERM or SIGINT drains it, a second one ends the drain. Conversations that still stand get a BYE
/// where no store keeps them, and are left as they are where one does.
///
/// # Errors
/// It could not start.
pub fn run(config: Config, path: Option<&Path>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::system("runtime"))?;
    // Before anything is started: a signal that comes meanwhile is not lost.
    let _inside = runtime.enter();
    let mut signals = Signals::new().map_err(StartError::system("signals"))?;
    let of_host = config::warnings_of_host(&config);
    for warning in config.warnings.iter().chain(&of_host) {
        tracing::warn!("{warning}");
    }
    let made_users = config.made_users.clone();
    let node = config.engine.node.clone();
    let server = start(config)?;
    let (listeners, admin) = (&server.shared.listeners, server.admin_address());
    let words = banner(listeners, admin, &made_users);
    logging::show(io::stdout(), words, BANNER);
    let told = |bound: &Bound| format!("{}://{}", bound.listener.transport.param(), bound.at);
    let listen: Vec<String> = listeners.iter().map(told).collect();
    let listen = listen.join(" ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %node, listen, %admin, "refork serves");
    runtime.block_on(async {
        serve(&server, path, &mut signals).await;
        drain(&server, &mut signals).await;
    });
    server.hang_up(FAREWELL);
    server.stop();
    tracing::info!("refork has stopped");
    Ok(())
}

/// Waits for a signal to end; meanwhile takes up certificates that were renewed, and what SIGHUP tells.
async fn serve(server: &Server, path: Option<&Path>, signals: &mut Signals) {
    let mut look = tokio::time::interval(CERTIFICATE_LOOK);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            Some(()) = signals.hang_up.recv() => {
                server.reload_certificates();
                match path {
                    Some(path) => {
                        server.reload(path);
                    }
                    None => tracing::warn!(
                        "SIGHUP: the server was started without a configuration file: there is \
                         nothing to read again but certificates"
                    ),
                }
            }
            _ = look.tick() => {
                if server.certificates_changed() {
                    server.reload_certificates();
                }
            }
        }
    }
}

/// Waits for the standing conversations, for the deadline, or for another signal.
async fn drain(server: &Server, signals: &mut Signals) {
    server.begin_drain();
    let standing = server.standing();
    tracing::info!(
        standing,
        "draining: no new conversations; signal again to end at once"
    );
    let mut look = tokio::time::interval(super::DRAIN_LOOK);
    let all_ended = async {
        while server.standing() > 0 {
            look.tick().await;
        }
    };
    tokio::select! {
        () = all_ended => {}
        () = tokio::time::sleep(DRAIN_DEADLINE) => {
            tracing::warn!(standing = server.standing(), "still standing at the end of the drain");
        }
        () = signals.end() => {
            tracing::warn!(standing = server.standing(), "told to end at once");
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for another signal to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
