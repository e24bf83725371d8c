//! Which leg a tag of ours belongs to. A tag names the shard that minted it; a leg that was given to a
//! conversation of another shard is known there, and its old shard sends on what comes for it.

use std::collections::HashMap;

use crate::engine::conversation::context::{Bound, Context};
use crate::engine::handover::{Forward, Moved};
use crate::engine::ids::{ConversationId, Flow, VirtualShard};
use crate::engine::mint::{tag_key, tag_shard};
use crate::engine::ports::Output;
use crate::sip::{Message, Method, Name};

/// Legs whose tags name a shard of ours, and that are with a conversation of another worker.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// A bit a virtual shard of ours.
    own: u64,
    with: HashMap<u64, ConversationId>,
}

impl Moves {
    pub(crate) fn new(shards: &[VirtualShard]) -> Self {
        let own = shards.iter().fold(0, |own, shard| own | 1 << shard.0);
        Self {
            own,
            with: HashMap::new(),
        }
    }

    fn is_own(&self, shard: VirtualShard) -> bool {
        self.own >> shard.0 & 1 == 1
    }

    /// Takes note of where the leg of a tag is.
    pub(crate) fn learn(&mut self, moved: &Moved) {
        match moved.with.filter(|id| !self.is_own(id.shard())) {
            Some(id) => self.with.insert(moved.key, id),
            None => self.with.remove(&moved.key),
        };
    }

    /// Returns who has the leg of a tag, where it is with another worker.
    pub(crate) fn find(&self, tag: &str) -> Option<ConversationId> {
        if self.with.is_empty() {
            return None;
        }
        self.with.get(&tag_key(tag)?).copied()
    }

    /// Returns to whom a request goes on.
    pub(crate) fn route(&self, request: &Message) -> Option<ConversationId> {
        if self.with.is_empty() || !request.is_request() {
            return None;
        }
        if let Some(tag) = request.to_tag() {
            return self.find(tag);
        }
        let replaces = request.header(Name::Replaces);
        let replaced = replaces.filter(|_| *request.method() == Method::Invite)?;
        self.find(crate::engine::conversation::replaced(replaced)?.local_tag)
    }
}

impl Context<'_> {
    /// Makes a tag by which a leg is found.
    pub(crate) fn tag(&mut self, bound: Bound) -> Box<str> {
        let tag = self.shared.mint.tag(bound.0.shard());
        self.know_tag(&tag, bound);
        tag
    }

    pub(crate) fn know_tag(&mut self, tag: &str, bound: Bound) {
        if let Some(key) = tag_key(tag) {
            self.shared.tags.insert(key, bound);
            self.shared.moves.with.remove(&key);
            self.tell_of_move(tag, key, Some(bound.0));
        }
    }

    pub(crate) fn forget_tag(&mut self, tag: &str) {
        if let Some(key) = tag_key(tag)
            && self.shared.tags.remove(&key).is_some()
        {
            self.tell_of_move(tag, key, None);
        }
    }

    /// A leg leaves for another conversation: what comes for it meanwhile follows.
    pub(super) fn tag_moves(&mut self, tag: &str, with: ConversationId) {
        if let (Some(key), Some(shard)) = (tag_key(tag), tag_shard(tag)) {
            self.shared.tags.remove(&key);
            let with = Some(with);
            let moved = Moved { shard, key, with };
            self.shared.moves.learn(&moved);
        }
    }

    fn tell_of_move(&mut self, tag: &str, key: u64, with: Option<ConversationId>) {
        if let Some(shard) = tag_shard(tag).filter(|shard| !self.shared.moves.is_own(*shard)) {
            let moved = Moved { shard, key, with };
            self.shared.out.push_back(Output::Moved(moved));
        }
    }

    /// Sends a message on to the conversation of another worker that it belongs to.
    pub(crate) fn forward(&mut self, to: ConversationId, flow: Flow, message: &Message) {
        let bytes = message.bytes().clone();
        let forward = Forward { to, flow, bytes };
        self.shared.out.push_back(Output::Forward(forward));
    }
}
