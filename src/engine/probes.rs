//! OPTIONS to the targets of upstreams: whether they live (RFC 3261 11). Any final answer but 503 and 408
//! says that somebody is there.

use std::collections::VecDeque;

use super::Engine;
use super::conversation::carrying::failover::next_flow_to;
use super::conversation::context::{Context, Errand, What};
use crate::engine::health::{Observation, Sign};
use crate::engine::ids::{ConversationId, Flow, LegId, VirtualShard};
use crate::engine::locating::{Hop, Located};
use crate::engine::ports::{Output, Token, World};
use crate::engine::routing;
use crate::engine::time::{Millis, Time};
use crate::engine::transaction::ClientId;
use crate::sip::{Builder, Message, Method, Name};

/// How far apart the first probes lie: not all targets are asked in the same millisecond.
const SPREAD: Millis = Millis(50);
/// Share of the interval by which it varies.
const JITTER: f64 = 0.1;

/// The probes of the one shard that sends them.
pub(super) struct Probes {
    shard: VirtualShard,
    probes: Vec<Probe>,
}

struct Probe {
    hop: Hop,
    uri: Box<str>,
    interval: Millis,
    /// When it is sent, or when it has had its time.
    due: Time,
    /// When the one that is out was begun.
    began: Time,
    stage: Stage,
    /// Other targets of the hop.
    rest: VecDeque<Located>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Locating(Token),
    Asking(ClientId),
}

impl Probes {
    pub(super) fn new(shard: VirtualShard, probed: Vec<(Hop, Box<str>, Millis)>) -> Self {
        let probes = probed.into_iter().enumerate();
        Self {
            shard,
            probes: probes
                .map(|(index, (hop, uri, interval))| Probe {
                    hop,
                    uri,
                    interval,
                    due: Time(0) + SPREAD.times(index as u64),
                    began: Time(0),
                    stage: Stage::Idle,
                    rest: VecDeque::new(),
                })
                .collect(),
        }
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        self.probes.iter().map(|probe| probe.due).min()
    }

    /// Probes what a call has failed at.
    pub(super) fn hurry(&mut self, context: &mut Context<'_>) {
        let hurried = context.shared.upstreams.hurried();
        for probe in &mut self.probes {
            if probe.stage == Stage::Idle && hurried.contains(&probe.hop) {
                probe.due = probe.due.min(context.now);
            }
        }
    }

    /// Does what is due.
    pub(super) fn fire(&mut self, context: &mut Context<'_>) {
        for index in 0..self.probes.len() {
            if self.probes[index].due > context.now {
                continue;
            }
            match self.probes[index].stage {
                Stage::Idle => self.begin(context, index),
                Stage::Locating(_) => self.settle(context, index, Sign::ProbeFailed),
                Stage::Asking(_) => self.next(context, index),
            }
        }
    }

    fn begin(&mut self, context: &mut Context<'_>, index: usize) {
        let probe = &mut self.probes[index];
        probe.began = context.now;
        if let Some(numeric) = probe.hop.numeric() {
            probe.rest = [numeric].into();
            return self.next(context, index);
        }
        let token = context.shared.mint.token();
        probe.stage = Stage::Locating(token);
        probe.due = context.now + probe.interval;
        let hop = probe.hop.clone();
        let out = &mut context.shared.out;
        out.push_back(Output::Resolve { token, hop });
    }

    /// Asks the next target of a hop, or has it that none answers.
    fn next(&mut self, context: &mut Context<'_>, index: usize) {
        let probe = &mut self.probes[index];
        let settings = &context.shared.settings;
        let from =
            routing::upstream_with(&probe.uri, settings).and_then(|(_, found)| found.listener);
        let host = (&*probe.hop.host, from);
        let Some(flow) = next_flow_to(context, host, &mut probe.rest) else {
            return self.settle(context, index, Sign::ProbeFailed);
        };
        let id = ConversationId(u64::from(self.shard.0) << 56);
        let bytes = options(context, id, flow, (&probe.uri, probe.hop.secure));
        let errand = Errand {
            conversation: id,
            leg: LegId(0),
            what: What::Upstream(index),
        };
        let patience = context.shared.settings.fork.failover.min(probe.interval);
        probe.due = context.now + patience;
        probe.stage = Stage::Asking(context.send(bytes, flow, errand));
    }

    /// Returns false where the question is none of a probe's.
    pub(super) fn on_resolved(
        &mut self,
        context: &mut Context<'_>,
        token: Token,
        targets: &[Located],
    ) -> bool {
        let mut probes = self.probes.iter();
        let Some(index) = probes.position(|probe| probe.stage == Stage::Locating(token)) else {
            return false;
        };
        self.probes[index].rest = targets.iter().copied().collect();
        self.next(context, index);
        true
    }

    pub(super) fn on_response(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        client: ClientId,
        response: &Message,
    ) {
        match response.status() {
            ..200 => {}
            408 | 503 => {
                self.speaks(context, index);
                self.on_unanswered(context, index, client);
            }
            _ if self.is_asking(index, client) => {
                self.settle(context, index, Sign::ProbeAnswered);
            }
            // It has been judged meanwhile.
            _ => self.speaks(context, index),
        }
    }

    /// A target has said something, which is no reason to use it.
    fn speaks(&self, context: &mut Context<'_>, index: usize) {
        if let Some(probe) = self.probes.get(index) {
            let (hop, sign, at) = (probe.hop.clone(), Sign::Heard, context.now);
            context.observe(Observation { hop, sign, at });
        }
    }

    pub(super) fn on_unanswered(
        &mut self,
        context: &mut Context<'_>,
        index: usize,
        client: ClientId,
    ) {
        if self.is_asking(index, client) {
            self.next(context, index);
        }
    }

    fn is_asking(&self, index: usize, client: ClientId) -> bool {
        let probe = self.probes.get(index);
        probe.is_some_and(|probe| probe.stage == Stage::Asking(client))
    }

    fn settle(&mut self, context: &mut Context<'_>, index: usize, sign: Sign) {
        let probe = &mut self.probes[index];
        probe.stage = Stage::Idle;
        probe.rest.clear();
        let pause = context.shared.mint.jitter(probe.interval, JITTER);
        probe.due = context.now + pause;
        let hop = probe.hop.clone();
        let at = if sign.is_good() {
            context.now
        } else {
            probe.began
        };
        context.observe(Observation { hop, sign, at });
    }
}

impl Engine {
    /// Targets of upstreams answer again: the ends of dialogs that they have missed are told once more.
    pub(super) fn upstreams_are_back(&mut self, now: Time, world: &mut dyn World) {
        let back = std::mem::take(&mut self.shared.back);
        let names = back
            .iter()
            .flat_map(|hop| self.shared.upstreams.names_of(hop));
        let names: Vec<Box<str>> = names.map(|(name, _)| name).collect();
        if names.is_empty() {
            return;
        }
        self.shared.context(now, world).graves_beyond(&names);
        let haunted = self.conversations.iter();
        let haunted = haunted.filter(|(_, conversation)| conversation.ghost_count() > 0);
        let haunted: Vec<ConversationId> = haunted.map(|(id, _)| *id).collect();
        for id in haunted {
            self.with(id, now, world, |conversation, context| {
                conversation.ghosts_beyond(context, &names);
            });
        }
    }
}

fn options(
    context: &mut Context<'_>,
    id: ConversationId,
    flow: Flow,
    (uri, sips): (&str, bool),
) -> bytes::Bytes {
    let ours = context.world.advertised(&flow);
    let (via, tag) = (context.via(id, &flow), context.shared.mint.hex(8));
    Builder::request(&Method::Options, uri)
        .header(Name::Via, via)
        .header(Name::MaxForwards, 70)
        .header(Name::From, format_args!("<sip:refork@{ours}>;tag={tag}"))
        .header(Name::To, format_args!("<{uri}>"))
        .header(Name::CallId, context.shared.mint.call_id())
        .header(Name::CSeq, "1 OPTIONS")
        .header(Name::Contact, context.contact_over(&flow, sips))
        .header(Name::Accept, "application/sdp")
        .end()
}
