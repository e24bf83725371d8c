//! Names to targets (RFC 3263): a thread with the DNS client, its cache, and the searches under way. The
//! engine's `locating` says what is looked up and what comes of it; here it is done.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng, TryRng};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::config::DnsConfig;
use crate::engine::events::Event;
use crate::engine::ids::Transport;
use crate::engine::locating::{Hop, Located, Naptr, Query, Records, Search, Srv};
use crate::engine::ports::{Input, Token};
use crate::metrics::Metrics;
use crate::observe;
use crate::transport::Bound;

use super::kept::{Found, Kept, Settled};
use super::mailbox::{Mail, Mailboxes};
use super::shared::can_open;

/// Questions that may wait for the thread.
const WAITING_MAX: usize = 1024;
/// Names that are sought at a time.
const SEARCHES_MAX: usize = 256;
/// Questions of one shard that wait for an answer.
const ASKED_MAX: usize = 4096;
/// Answers that DNS has given lately, by name and type.
const CACHE_SIZE: u64 = 8192;
/// A name that is not there is asked for again after this, whatever its zone says.
const NEGATIVE_MAX: Duration = Duration::from_secs(300);
/// A record is not believed for longer, whatever its zone says.
const POSITIVE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How often the system's own settings are looked at again.
const LOOK: Duration = Duration::from_secs(30);
const SYSTEM: &str = "/etc/resolv.conf";

/// A question, and who asks.
pub(super) struct Question {
    pub(super) worker: usize,
    pub(super) token: Token,
    pub(super) hop: Hop,
}

/// The thread ends with the last copy of it.
pub struct Resolver {
    questions: Sender<Question>,
}

impl Resolver {
    /// Starts the thread; answers go to the mailbox of the worker that asked. What is located is what can be
    /// reached from `listeners`.
    ///
    /// # Errors
    /// The system has no thread or no randomness to give.
    pub fn start(
        dns: DnsConfig,
        listeners: &[Bound],
        mailboxes: &Mailboxes,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Self> {
        let (questions, waiting) = channel(WAITING_MAX);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let desk = Desk::new(
            dns,
            listeners,
            mailboxes.clone(),
            Arc::clone(metrics),
            &runtime,
        )?;
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || runtime.block_on(desk.work(waiting)))?;
        Ok(Self { questions })
    }

    /// Answers at once where too many names wait; else the answer comes by mail.
    pub(super) fn ask(&self, question: Question) -> Option<Input> {
        let token = question.token;
        let host = question.hop.host.clone();
        if self.questions.try_send(question).is_ok() {
            return None;
        }
        tracing::warn!(%host, "too many names wait to be located");
        let targets = Vec::new();
        Some(Input::Resolved { token, targets })
    }
}

/// What the thread works with.
struct Desk {
    dns: DnsConfig,
    resolver: TokioResolver,
    /// When the system's settings were last written.
    written: Option<SystemTime>,
    speaks: Vec<Transport>,
    prefers_v6: bool,
    mailboxes: Mailboxes,
    metrics: Arc<Metrics>,
    rng: StdRng,
    searches: JoinSet<Found>,
    by_hop: HashMap<Hop, Id>,
    under_way: HashMap<Id, (Hop, Vec<(usize, Token)>)>,
    /// By worker: questions that wait.
    asked: Vec<usize>,
    kept: Kept,
    began: Instant,
}

impl Desk {
    fn new(
        dns: DnsConfig,
        listeners: &[Bound],
        mailboxes: Mailboxes,
        metrics: Arc<Metrics>,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        let speaks = [Transport::Udp, Transport::Tcp, Transport::Tls];
        let has = |transport: &Transport| {
            let mut all = listeners.iter();
            can_open(*transport) && all.any(|bound| bound.listener.transport == *transport)
        };
        let _within = runtime.enter();
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(io::Error::other)?;
        Ok(Self {
            resolver: client(&dns).map_err(io::Error::other)?,
            dns,
            written: written(),
            speaks: speaks.into_iter().filter(has).collect(),
            prefers_v6: listeners.first().is_some_and(|bound| bound.at.is_ipv6()),
            asked: vec![0; mailboxes.workers()],
            mailboxes,
            metrics,
            rng: StdRng::from_seed(seed),
            searches: JoinSet::new(),
            by_hop: HashMap::new(),
            under_way: HashMap::new(),
            kept: Kept::default(),
            began: Instant::now(),
        })
    }

    async fn work(mut self, mut questions: Receiver<Question>) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => self.take(question),
                    None => return,
                },
                Some(done) = self.searches.join_next_with_id() => {
                    let (id, found) = match done {
                        Ok((id, found)) => (id, Some(found)),
                        Err(error) => (error.id(), None),
                    };
                    self.settle(id, found);
                }
                _ = look.tick() => self.look_at_the_system(),
            }
        }
    }

    fn take(&mut self, question: Question) {
        let Question { worker, token, hop } = question;
        let asked = self.asked.get_mut(worker);
        let Some(asked) = asked.filter(|asked| **asked < ASKED_MAX) else {
            tracing::warn!(host = %hop.host, "too many questions wait for a name");
            return self.answer(worker, token, Vec::new());
        };
        *asked += 1;
        let known = self.by_hop.get(&hop).copied();
        if let Some((_, waiting)) = known.and_then(|id| self.under_way.get_mut(&id)) {
            return waiting.push((worker, token));
        }
        if self.searches.len() >= SEARCHES_MAX {
            *asked -= 1;
            tracing::warn!(host = %hop.host, "too many names are sought");
            return self.answer(worker, token, Vec::new());
        }
        let search = Search::new(hop.clone(), &self.speaks, self.prefers_v6);
        let (resolver, seed) = (self.resolver.clone(), self.rng.random());
        let deadline = self.dns.deadline();
        let id = self
            .searches
            .spawn(locate(resolver, search, seed, deadline))
            .id();
        self.by_hop.insert(hop.clone(), id);
        self.under_way.insert(id, (hop, vec![(worker, token)]));
    }

    fn settle(&mut self, id: Id, found: Option<Found>) {
        let Some((hop, waiting)) = self.under_way.remove(&id) else {
            return;
        };
        self.by_hop.remove(&hop);
        let found = found.unwrap_or(Found {
            targets: Vec::new(),
            trouble: true,
        });
        let (targets, how) = self.kept.settle(&hop, found, self.began.elapsed());
        match how {
            Settled::Found => {}
            Settled::Stale | Settled::Nothing => {
                let event = Event::NotLocated {
                    host: hop.host,
                    kept: how == Settled::Stale,
                };
                self.metrics.event(&event);
                observe::log(&event);
            }
        }
        for (worker, token) in waiting {
            if let Some(asked) = self.asked.get_mut(worker) {
                *asked -= 1;
            }
            self.answer(worker, token, targets.clone());
        }
    }

    fn answer(&self, worker: usize, token: Token, targets: Vec<Located>) {
        let answer = Mail::Input(Input::Resolved { token, targets });
        self.mailboxes.post(worker, answer);
    }

    /// Takes the system's name servers again where they have changed.
    fn look_at_the_system(&mut self) {
        let written = written();
        if self.dns.servers.is_empty() && written != self.written {
            self.written = written;
            match client(&self.dns) {
                Ok(resolver) => self.resolver = resolver,
                Err(error) => tracing::warn!(%error, "{SYSTEM} cannot be read"),
            }
        }
    }
}

fn written() -> Option<SystemTime> {
    let about = Path::new(SYSTEM).metadata();
    about.and_then(|about| about.modified()).ok()
}

/// Makes the DNS client, within the runtime that it is to run in.
fn client(dns: &DnsConfig) -> Result<TokioResolver, NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = if dns.servers.is_empty() {
        match TokioResolver::builder(provider.clone()) {
            Ok(builder) => builder,
            Err(error) => {
                tracing::warn!(%error, "no name servers: {SYSTEM} cannot be read");
                TokioResolver::builder_with_config(ResolverConfig::default(), provider)
            }
        }
    } else {
        let servers = dns.servers.iter().map(|at| name_server(*at)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, provider)
    };
    limit(builder.options_mut(), dns);
    builder.build()
}

fn limit(options: &mut ResolverOpts, dns: &DnsConfig) {
    options.timeout = dns.timeout;
    options.attempts = dns.attempts;
    options.cache_size = CACHE_SIZE;
    options.positive_max_ttl = Some(POSITIVE_MAX);
    options.negative_max_ttl = Some(NEGATIVE_MAX);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.try_tcp_on_error = true;
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = at.port();
        connection
    });
    NameServerConfig::new(at.ip(), true, connections.into())
}

/// Makes one search, round by round, with all lookups of a round at once.
async fn locate(
    resolver: TokioResolver,
    mut search: Search,
    seed: [u8; 32],
    deadline: Duration,
) -> Found {
    let mut rng = StdRng::from_seed(seed);
    let mut dice = |most: u32| rng.random_range(0..=most);
    let mut trouble = false;
    let rounds = async {
        loop {
            let queries = search.queries();
            if queries.is_empty() {
                break;
            }
            let mut lookups = JoinSet::new();
            for query in queries {
                let resolver = resolver.clone();
                lookups.spawn(async move {
                    let found = look_up(&resolver, &query).await;
                    (query, found)
                });
            }
            let mut found = BTreeMap::new();
            for (query, records) in lookups.join_all().await {
                let records = match records {
                    Ok(records) => Some(records),
                    // There is no such record, and DNS says so.
                    Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Some(Records::default()),
                    Err(error) => {
                        tracing::debug!(?query, %error, "no answer");
                        trouble = true;
                        None
                    }
                };
                found.insert(query, records);
            }
            search.take(&found, &mut dice);
        }
    };
    let done = tokio::time::timeout(deadline, rounds).await;
    Found {
        trouble: trouble || done.is_err(),
        targets: search.targets(),
    }
}

async fn look_up(resolver: &TokioResolver, query: &Query) -> Result<Records, NetError> {
    let mut records = Records::default();
    match query {
        Query::Naptr(name) => {
            let found = resolver.lookup(whole(name)?, RecordType::NAPTR).await?;
            for record in found.answers() {
                if let RData::NAPTR(naptr) = &record.data {
                    records.naptr.push(Naptr {
                        order: naptr.order,
                        preference: naptr.preference,
                        flags: String::from_utf8_lossy(&naptr.flags).into(),
                        service: String::from_utf8_lossy(&naptr.services).into(),
                        replacement: text(&naptr.replacement),
                    });
                }
            }
        }
        Query::Srv(name) => {
            let found = resolver.lookup(whole(name)?, RecordType::SRV).await?;
            for record in found.answers() {
                if let RData::SRV(srv) = &record.data {
                    records.srv.push(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: text(&srv.target),
                    });
                }
            }
        }
        // The host's own name may be short: the system's search list and its file of hosts count.
        Query::Addresses(name) => {
            let found = resolver.lookup_ip(&**name).await?;
            records.addresses = found.iter().collect::<Vec<IpAddr>>();
        }
    }
    Ok(records)
}

/// Reads the name of a service: it is whole as it stands, but where the host is a single word.
fn whole(name: &str) -> Result<Name, NetError> {
    let mut read = Name::from_utf8(name)?;
    let labels = name.split('.').filter(|label| !label.starts_with('_'));
    read.set_fqdn(labels.count() > 1);
    Ok(read)
}

fn text(name: &Name) -> Box<str> {
    name.to_ascii().trim_end_matches('.').into()
}
