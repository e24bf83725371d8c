//! The server as a whole: start it, ask it, drain it, stop it.

mod banner;
mod directory;
mod http;
mod records;
mod reload;
mod run;
mod share;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Poll;
use rand::TryRng;
use rand::rngs::SysRng;
use thiserror::Error;

use crate::config::Config;
use crate::driver::{
    BELL, Bindings, Boards, Clock, Conversations, Counts, Halves, Legs, Mail, Mailboxes, Records,
    Resolver, Revisions, Shard, Shared, Spent, Start,
};
use crate::engine::Engine;
use crate::engine::ids::{Transport, VIRTUAL_SHARDS, VirtualShard};
use crate::engine::mint::{Secret, ShardKey};
use crate::engine::ports::{Command, Input, MediaEvent};
use crate::engine::snapshot::{self, Snapshot};
use crate::engine::view::Gauges;
use crate::gate::Gate;
use crate::logging;
use crate::media::{self, Relay, RelaySettings};
use crate::metrics::{Metrics, Readings};
use crate::observe::Spans;
use crate::store::{Store, StoreError, Volatile};
use crate::tls::{self, Tls};
use crate::transport::{BindError, Bound, Registry, Socket, bind, bindable};

use self::directory::Shards;
use self::http::Http;
use self::records::Writer;
use self::reload::Reloading;

pub use self::run::run;

/// EX_SOFTWARE of sysexits.h: a bug of ours ended the process. A service manager starts it again.
const EXIT_BUG: i32 = 70;
/// How long a shard may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an end waits for the call records that are not written yet.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at what still stands while draining.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// The server could not start: what, why, and what to do about it.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {transport}://{at}: {source}", transport = .transport.param())]
    Listen {
        transport: Transport,
        at: SocketAddr,
        source: BindError,
    },
    #[error(
        "cannot serve the admin interface on http://{at}: {source}: \
         stop what has it, or change `admin.listen`"
    )]
    Admin { at: SocketAddr, source: io::Error },
    #[error("cannot speak TLS: {0}: change `tls`")]
    Tls(#[source] tls::Fault),
    #[error("cannot relay media: {0}: change `media`")]
    Media(#[source] media::StartError),
    #[error("cannot write call records to {path}: {source}: change `cdr.file`", path = .path.display())]
    Records { path: PathBuf, source: io::Error },
    #[error("cannot read what was kept: {0}")]
    Store(#[source] StoreError),
    #[error("the system gives no {what}: {source}")]
    System {
        what: &'static str,
        source: io::Error,
    },
}

impl StartError {
    fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// A running server. Dropping it stops it; what stands is left as it is, and nobody gets a BYE.
pub struct Server {
    shared: Arc<Shared>,
    shards: Vec<JoinHandle<()>>,
    relay: Option<Relay>,
    records: Option<Writer>,
    http: Option<Http>,
    admin_address: SocketAddr,
    listening: Arc<AtomicBool>,
    reloading: Reloading,
}

/// Starts a server that keeps its state in memory.
///
/// # Errors
/// An address could not be bound, or the system has no threads or descriptors left.
pub fn start(config: Config) -> Result<Server, StartError> {
    start_with(config, Arc::new(Volatile))
}

/// Starts a server over a store, whose conversations are taken up again.
///
/// # Errors
/// As `start`, and where the store can't be read.
pub fn start_with(config: Config, store: Arc<dyn Store>) -> Result<Server, StartError> {
    let workers = config.workers.clamp(1, usize::from(VIRTUAL_SHARDS));
    let (listeners, mut sockets) = listen(&config, workers)?;
    let (admin, admin_address) = http::bind(config.admin.listen)?;
    let polls = (0..workers)
        .map(|_| Poll::new())
        .collect::<io::Result<Vec<_>>>()
        .map_err(StartError::system("poll"))?;
    let mailboxes = Mailboxes::new(polls.iter().map(Poll::registry), BELL)
        .map_err(StartError::system("waker"))?;
    let spans = Spans::default();
    let relay = start_relay(&config, workers, mailboxes.clone(), spans.clone())?;
    let limits = &config.limits;
    let tls = config.tls.clone().map(Tls::load).transpose();
    let tls = tls.map_err(StartError::Tls)?.map(Arc::new);
    let metrics = Arc::new(Metrics::new(&config.engine.node));
    let clock = Clock::start();
    let (records, writer) = match &config.cdr {
        Some(path) => {
            let node = &config.engine.node;
            let started = Writer::start(path, node, clock.clone(), Arc::clone(&metrics));
            let path = path.clone();
            let (records, writer) =
                started.map_err(|source| StartError::Records { path, source })?;
            (records, Some(writer))
        }
        None => (Records::default(), None),
    };
    let resolver = Resolver::start(config.dns.clone(), &listeners, &mailboxes, &metrics);
    let kept = store.secret(Secret(random()?)).map_err(StartError::Store)?;
    let shared = Arc::new(Shared {
        clock,
        listeners: listeners.into(),
        bindings: Bindings::new(workers),
        spent: Spent::new(workers),
        boards: Boards::new(workers),
        legs: Legs::default(),
        halves: Halves::default(),
        ringing: Counts::default(),
        standing: Counts::default(),
        streams: Counts::default(),
        conversations: Conversations::new(workers),
        gate: Gate::new(reload::rules(&config)),
        revisions: Revisions::default(),
        registry: Arc::new(Registry::new(limits.connections, limits.connections_per_ip)),
        tls,
        counters: (0..workers).map(|_| Arc::default()).collect(),
        metrics,
        spans,
        media: relay.handle(),
        resolver: resolver.map_err(StartError::system("thread"))?,
        mailboxes,
        shard_key: kept.shard_key(),
        gruu_key: kept.gruu_key(),
        records,
        stream_limits: limits.into(),
        message_size: limits.message_size,
        keepalive: limits.keepalive,
        store,
    });
    let mut kept = snapshots(&shared, workers)?;
    let listening = Arc::new(AtomicBool::new(true));
    // From here on, dropping the server stops what has been started.
    let mut server = Server {
        shards: Vec::with_capacity(workers),
        relay: Some(relay),
        records: writer,
        http: None,
        admin_address,
        listening: Arc::clone(&listening),
        shared: Arc::clone(&shared),
        reloading: Reloading::new(config.written.clone()),
    };
    let secret = random()?;
    for (worker, poll) in polls.into_iter().enumerate() {
        let start = Start {
            worker,
            poll,
            sockets: sockets.iter_mut().filter_map(Vec::pop).collect(),
            engine: engine(&config, worker, workers, secret, shared.shard_key)?,
            snapshots: std::mem::take(&mut kept[worker]),
        };
        let shard = Shard::new(start, Arc::clone(&shared)).map_err(StartError::system("poll"))?;
        server.shards.push(spawn(worker, shard)?);
    }
    let directory = Shards::new(shared, listening);
    server.http = Some(Http::start(
        admin,
        directory,
        config.admin.token.as_deref(),
    )?);
    Ok(server)
}

impl Server {
    /// Returns what it listens on for SIP, in the order of the configuration, with the real ports.
    pub fn sip_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let listeners = self.shared.listeners.iter();
        listeners
            .map(|bound| (bound.listener.transport, bound.at))
            .collect()
    }

    /// Returns where metrics and the API are served.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Reads the certificates again. Connections that stand keep theirs; where the files cannot be used, the
    /// old certificates stay. Returns true where all is well, or there are none.
    pub fn reload_certificates(&self) -> bool {
        let Some(tls) = &self.shared.tls else {
            return true;
        };
        match tls.reload() {
            Ok(()) => {
                tracing::info!("certificates were read again");
                for doubt in tls.doubts() {
                    tracing::warn!("{doubt}");
                }
                true
            }
            Err(fault) => {
                tracing::warn!(%fault, "certificates stay as they were");
                false
            }
        }
    }

    /// Returns true where a certificate's file is not the one that was read last.
    pub fn certificates_changed(&self) -> bool {
        self.shared
            .tls
            .as_ref()
            .is_some_and(|tls| tls.has_changed())
    }

    /// Asks every shard for its counts; none where one does not answer.
    pub fn readings(&self) -> Option<Readings> {
        let gauges = self.gauges()?;
        Some(directory::readings(&self.shared, gauges))
    }

    /// Takes no new conversations, and waits until the standing ones have ended or the time is over.
    /// Returns how many still stand.
    pub fn drain(&self, deadline: Duration) -> usize {
        self.begin_drain();
        self.wait_while(deadline, || self.standing() > 0);
        self.standing()
    }

    /// Looks again and again whether something is still so. The shards tell nobody when they have nothing
    /// left, and at the end of the process a look every so often costs less than telling would.
    fn wait_while(&self, deadline: Duration, still: impl Fn() -> bool) {
        let clock = &self.shared.clock;
        let begun = clock.now();
        while still() && Duration::from_millis(clock.now().since(begun).0) < deadline {
            std::thread::sleep(DRAIN_LOOK);
        }
    }

    /// Hangs up what still stands where it would not outlive the process, for nothing keeps it, and waits
    /// until every phone has answered or the time is over.
    pub fn hang_up(&self, deadline: Duration) {
        if self.shared.store.keeps() || self.standing() == 0 {
            return;
        }
        self.order(Command::HangUpAll);
        self.wait_while(deadline, || {
            self.gauges().unwrap_or_default().client_transactions > 0
        });
    }

    /// Stops: sockets close, threads end. What still stands is left as it is.
    pub fn stop(mut self) {
        self.halt();
    }

    fn begin_drain(&self) {
        self.listening.store(false, Ordering::Relaxed);
        self.order(Command::Drain);
    }

    fn order(&self, command: Command) {
        for worker in 0..self.shared.mailboxes.workers() {
            let order = Mail::Input(Input::Command(command));
            self.shared.mailboxes.post(worker, order);
        }
    }

    /// Returns how many conversations have not ended. A shard that does not answer has none to wait for.
    fn standing(&self) -> usize {
        let gauges = self.gauges().unwrap_or_default();
        gauges.inviting + gauges.established + gauges.suspect + gauges.restoring
    }

    fn gauges(&self) -> Option<Gauges> {
        let (reply, answers) = mpsc::channel();
        let workers = self.shared.mailboxes.workers();
        for worker in 0..workers {
            let reply = reply.clone();
            // A receiver that has given up is no loss.
            let ask = move |engine: &Engine| reply.send(engine.gauges()).unwrap_or(());
            let asked = self.shared.mailboxes.post(worker, Mail::Ask(Box::new(ask)));
            if !asked {
                return None;
            }
        }
        (0..workers)
            .map(|_| answers.recv_timeout(ANSWER_TIMEOUT).ok())
            .sum()
    }

    fn halt(&mut self) {
        self.listening.store(false, Ordering::Relaxed);
        for worker in 0..self.shards.len() {
            self.shared.mailboxes.post(worker, Mail::Stop);
        }
        for shard in self.shards.drain(..) {
            // A shard that panicked has ended the process.
            let _ = shard.join();
        }
        self.http = None;
        if let Some(relay) = self.relay.take() {
            relay.stop();
        }
        if let Some(writer) = self.records.take() {
            self.shared.records.end();
            if !writer.finish(RECORDS_TIMEOUT) {
                tracing::warn!("the last call records could not be written in time and are lost");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Opens all listeners: by listener, a socket for each worker.
fn listen(config: &Config, workers: usize) -> Result<(Vec<Bound>, Vec<Vec<Socket>>), StartError> {
    let mut listeners = Vec::with_capacity(config.listeners.len());
    let mut sockets = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let asked = config.limits.receive_buffer;
        let opened = bind(listener, workers, asked);
        let (bound, of_workers) = opened.map_err(|source| StartError::Listen {
            transport: listener.transport,
            at: listener.at,
            source,
        })?;
        if let Some(given) = bound.receive_buffer.filter(|given| *given < asked) {
            tracing::warn!(
                at = %bound.at, given, asked,
                "the kernel gives a smaller queue of datagrams than `limits.receive_buffer`: raise net.core.rmem_max"
            );
        }
        listeners.push(bound);
        sockets.push(of_workers);
    }
    Ok((listeners, sockets))
}

fn start_relay(
    config: &Config,
    workers: usize,
    mailboxes: Mailboxes,
    spans: Spans,
) -> Result<Relay, StartError> {
    let address = config.media.address;
    let settings = RelaySettings {
        ports: config.media.ports.clone(),
        reserve: config.engine.media.reserve,
        address,
        // An address that is not ours is the outer one of a NAT.
        bind: address
            .filter(|address| !bindable(*address))
            .map(unspecified),
        latch: config.engine.media.latch,
        silence: config.engine.detect.media_silence.map(|span| span.0),
        filler: config.engine.restore.filler.clone(),
        dscp: config.media.dscp,
        threads: workers.div_ceil(2),
        spans,
    };
    let sink = move |event: MediaEvent| {
        let owner = mailboxes.owner_of(event.media());
        mailboxes.post(owner, Mail::Input(Input::Media(event)));
    };
    Relay::start(settings, sink).map_err(StartError::Media)
}

fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn engine(
    config: &Config,
    worker: usize,
    workers: usize,
    secret: [u8; 32],
    key: ShardKey,
) -> Result<Engine, StartError> {
    let shards = (0..VIRTUAL_SHARDS)
        .filter(|shard| usize::from(*shard) % workers == worker)
        .map(VirtualShard)
        .collect();
    let settings = share::of_shard(&config.engine, workers);
    let engine = Engine::new(settings, shards, random()?);
    let number = u8::try_from(worker).unwrap_or(u8::MAX);
    Ok(engine.with_secret(secret, number).with_shard_key(key))
}

fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| StartError::System {
            what: "randomness",
            source: io::Error::other(error),
        })?;
    Ok(bytes)
}

/// Reads what the store kept, by worker.
fn snapshots(shared: &Shared, workers: usize) -> Result<Vec<Vec<Snapshot>>, StartError> {
    let mut kept = vec![Vec::new(); workers];
    for (id, bytes) in shared.store.all().map_err(StartError::Store)? {
        match rmp_serde::from_slice::<Snapshot>(&bytes) {
            Ok(snapshot) if snapshot.version <= snapshot::VERSION => {
                kept[shared.mailboxes.owner_of(id)].push(snapshot);
            }
            Ok(snapshot) => tracing::warn!(
                parent: &shared.spans.of(id),
                version = snapshot.version,
                "kept by a newer version: not taken up again"
            ),
            Err(error) => {
                let span = shared.spans.of(id);
                tracing::error!(parent: &span, %error, "cannot be taken up again");
            }
        }
    }
    Ok(kept)
}

/// Gives a shard its thread. A shard that ends otherwise than told takes the process with it: its
/// conversations would stand without anyone to speak for them.
fn spawn(worker: usize, shard: Shard) -> Result<JoinHandle<()>, StartError> {
    struct Guard(usize);
    impl Drop for Guard {
        fn drop(&mut self) {
            if std::thread::panicking() {
                tracing::error!(shard = self.0, "a shard panicked: the process ends");
                logging::finish();
                std::process::exit(EXIT_BUG);
            }
        }
    }
    std::thread::Builder::new()
        .name(format!("shard-{worker}"))
        .spawn(move || {
            let _guard = Guard(worker);
            if let Err(error) = shard.run() {
                tracing::error!(shard = worker, %error, "a shard cannot poll: the process ends");
                logging::finish();
                std::process::exit(EXIT_BUG);
            }
        })
        .map_err(StartError::system("thread"))
}

#[cfg(test)]
mod tests;
