//! The server as the admin interface asks it: questions into the shards' mailboxes, answers out.

use std::cmp::Reverse;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use crate::admin::{Directory, Unanswered};
use crate::driver::{Mail, Shared};
use crate::engine::Engine;
use crate::engine::endpoint::Binding;
use crate::engine::health::{Observation, Sign};
use crate::engine::ids::{Aor, ConversationId, VirtualShard};
use crate::engine::ports::{Command, Input};
use crate::engine::time::{Millis, Time};
use crate::engine::upstreams::hop_of;
use crate::engine::view::{Detail, Gauges, Summary, UpstreamView};
use crate::gate::{Ban, Source};
use crate::logging;
use crate::metrics::{Metrics, Readings};
use crate::observe::Spans;
use crate::sip::Uri;

pub(super) struct Shards {
    shared: Arc<Shared>,
    listening: Arc<AtomicBool>,
}

/// Adds what is shared to the shards' gauges.
pub(super) fn readings(shared: &Shared, shards: Gauges) -> Readings {
    Readings {
        shards,
        bindings: shared.bindings.count() as u64,
        transport: shared.transport_reading(),
        gate: shared.gate.reading(),
        relay: shared.media.counters().reading(),
        certificate_not_after: shared.tls.as_ref().map_or(0, |tls| tls.not_after()),
        log_lost: logging::lost(),
    }
}

impl Shards {
    pub(super) fn new(shared: Arc<Shared>, listening: Arc<AtomicBool>) -> Self {
        Self { shared, listening }
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    pub(super) fn spans(&self) -> &Spans {
        &self.shared.spans
    }

    fn shown(&self, ban: &mut Ban) {
        let by = self.shared.clock.by_the_wall();
        (ban.since, ban.until) = (by(ban.since), by(ban.until));
    }

    /// Puts a question into a shard's mailbox now; the future waits for the answer.
    fn ask<T, Q>(
        &self,
        worker: usize,
        question: Q,
    ) -> impl Future<Output = Result<T, Unanswered>> + Send + use<T, Q>
    where
        T: Send + 'static,
        Q: FnOnce(&Engine) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // Who asked may have given up since.
        let ask = move |engine: &Engine| drop(reply.send(question(engine)));
        let asked = self.shared.mailboxes.post(worker, Mail::Ask(Box::new(ask)));
        async move {
            if !asked {
                return Err(Unanswered);
            }
            answer.await.map_err(|_| Unanswered)
        }
    }

    /// Asks all shards at once, and collects.
    fn ask_all<T, Q>(
        &self,
        question: Q,
    ) -> impl Future<Output = Result<Vec<T>, Unanswered>> + Send + use<T, Q>
    where
        T: Send + 'static,
        Q: Fn(&Engine) -> T + Clone + Send + 'static,
    {
        let workers = 0..self.shared.mailboxes.workers();
        let asked: Vec<_> = workers
            .map(|worker| self.ask(worker, question.clone()))
            .collect();
        async move {
            let mut answers = Vec::with_capacity(asked.len());
            for answer in asked {
                answers.push(answer.await?);
            }
            Ok(answers)
        }
    }
}

impl Directory for Shards {
    fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    async fn readings(&self) -> Result<Readings, Unanswered> {
        let gauges = self.ask_all(Engine::gauges).await?;
        Ok(readings(&self.shared, gauges.into_iter().sum()))
    }

    async fn list(&self, limit: usize) -> Result<Vec<Summary>, Unanswered> {
        let lists = self.ask_all(move |engine| engine.list(limit)).await?;
        let mut all: Vec<_> = lists.into_iter().flatten().collect();
        all.sort_by_key(|summary| Reverse((summary.started, summary.key)));
        all.truncate(limit);
        let by = self.shared.clock.by_the_wall();
        all.iter_mut().for_each(|summary| summary.shown(by));
        Ok(all)
    }

    async fn detail(&self, id: ConversationId) -> Result<Option<Detail>, Unanswered> {
        let owner = self.shared.mailboxes.owner_of(id);
        let mut detail = self.ask(owner, move |engine| engine.detail(id)).await?;
        if let Some(detail) = &mut detail {
            detail.shown(self.shared.clock.by_the_wall());
        }
        Ok(detail)
    }

    fn command(&self, command: Command) -> impl Future<Output = Result<(), Unanswered>> + Send {
        let mailboxes = &self.shared.mailboxes;
        let post = |worker| mailboxes.post(worker, Mail::Input(Input::Command(command)));
        let posted = match command {
            Command::DeclareLost { conversation, .. } | Command::HangUp { conversation } => {
                post(mailboxes.owner_of(conversation))
            }
            // Every shard is to be told, even where one is full.
            Command::HangUpAll | Command::Drain => (0..mailboxes.workers())
                .map(post)
                .fold(true, |all, one| all & one),
        };
        std::future::ready(posted.then_some(()).ok_or(Unanswered))
    }

    fn upstreams(&self) -> impl Future<Output = Result<Vec<UpstreamView>, Unanswered>> + Send {
        let leads = self.shared.mailboxes.owner(VirtualShard(0));
        let asked = self.ask(leads, Engine::upstreams);
        async move {
            let mut all = asked.await?;
            let by = self.shared.clock.by_the_wall();
            for view in &mut all {
                let uri = Uri::parse(&view.target).ok();
                view.trouble = uri.and_then(|uri| self.shared.registry.troubles.of(uri.host));
                view.trouble.iter_mut().for_each(|one| one.at = by(one.at));
                view.paused = view.paused.map(by);
                // Of old, and no moment.
                if view.since > Time(0) {
                    view.since = by(view.since);
                }
            }
            Ok(all)
        }
    }

    async fn resume(&self, target: &str) -> Result<bool, Unanswered> {
        let known = self.upstreams().await?;
        let mut known = known.into_iter();
        let paused = known.any(|known| *known.target == *target && known.paused.is_some());
        let Some(hop) = hop_of(target).filter(|_| paused) else {
            return Ok(false);
        };
        let seen = Observation {
            hop,
            sign: Sign::Resumed,
            at: self.shared.clock.now(),
        };
        let mailboxes = &self.shared.mailboxes;
        let tell = |worker| mailboxes.post(worker, Mail::Input(Input::Observed(seen.clone())));
        let told = (0..mailboxes.workers())
            .map(tell)
            .fold(true, |all, one| all & one);
        told.then_some(true).ok_or(Unanswered)
    }

    fn bindings(&self, aor: Option<&Aor>, limit: usize) -> Vec<(Aor, Binding)> {
        let mut found: Vec<_> = match aor {
            None => self.shared.bindings.list(limit),
            Some(aor) => {
                let bindings = self.shared.bindings.of(aor).into_iter();
                bindings
                    .map(|binding| (aor.clone(), binding))
                    .take(limit)
                    .collect()
            }
        };
        let by = self.shared.clock.by_the_wall();
        for (_, binding) in &mut found {
            (binding.registered, binding.expires) = (by(binding.registered), by(binding.expires));
        }
        found
    }

    fn bans(&self, limit: usize) -> Vec<Ban> {
        let mut bans = self.shared.gate.banned(limit, self.shared.clock.now());
        bans.iter_mut().for_each(|ban| self.shown(ban));
        bans
    }

    fn ban(&self, source: Source, span: Option<Millis>) -> Option<Ban> {
        let mut ban = self.shared.gate.ban(source, span, self.shared.clock.now());
        ban.iter_mut().for_each(|ban| self.shown(ban));
        ban
    }

    fn lift(&self, source: Source) -> bool {
        self.shared.gate.lift(source, self.shared.clock.now())
    }
}
