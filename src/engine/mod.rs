//! The engine: SIP events and the time in, actions out. It owns no socket, no task and no clock.

pub mod conversation;
pub mod dialog;
pub mod dispatch;
pub mod endpoint;
pub mod events;
pub mod ids;
pub mod location;
pub mod mint;
pub mod ports;
pub mod routing;
pub mod settings;
pub mod snapshot;
pub mod time;
pub mod timers;
pub mod transaction;
pub mod view;

use std::collections::VecDeque;

use crate::engine::ids::{ConversationId, VirtualShard};
use crate::engine::ports::{Input, Output, World};
use crate::engine::settings::Settings;
use crate::engine::snapshot::Snapshot;
use crate::engine::time::Time;
use crate::engine::view::{Detail, Gauges, Summary};

/// One shard's engine.
pub struct Engine {
    settings: Settings,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// Makes an engine that mints ids in `shards` (its own virtual shards, not empty); `seed` is the
    /// source of every tag, branch and jitter.
    pub fn new(settings: Settings, shards: Vec<VirtualShard>, seed: [u8; 32]) -> Self {
        let _ = (shards, seed);
        Self {
            settings,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one event. Its consequences wait in `poll_output`.
    pub fn handle_input(&mut self, input: Input, now: Time, world: &mut dyn World) {
        let _ = (input, now, world);
    }

    /// Fires what is due. Call it when `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time, world: &mut dyn World) {
        let _ = (now, world);
    }

    /// Returns the next action, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when `handle_timeout` wants to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Returns the durable state of a conversation, or nothing where it has none (not yet answered).
    pub fn snapshot(&self, id: ConversationId) -> Option<Snapshot> {
        let _ = id;
        None
    }

    /// Takes a conversation up again from its durable state, at start.
    pub fn rebuild(&mut self, snapshot: Snapshot, now: Time, world: &mut dyn World) {
        let _ = (snapshot, now, world);
    }

    /// Counts what there is now.
    pub fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    /// Lists live conversations, and ended ones as long as their history is kept; newest first.
    pub fn list(&self, limit: usize) -> Vec<Summary> {
        let _ = limit;
        Vec::new()
    }

    /// Returns one conversation with its history.
    pub fn detail(&self, id: ConversationId) -> Option<Detail> {
        let _ = id;
        None
    }

    /// Returns the settings it works by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}
