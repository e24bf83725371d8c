//! Which leg a tag of ours belongs to. A tag names the shard that minted it; a leg that was given to a
//! conversation of another shard is known there, and its old shard sends on what comes for it. An INVITE with Replaces
//! is with the dialog that it names, of which its CANCEL says nothing (RFC 3261 9.1): the shard of its Call-ID sends
//! that on.

use std::collections::{HashMap, VecDeque};

use crate::engine::conversation::context::{Bound, Context};
use crate::engine::handover::{Forward, Moved, MovedBy};
use crate::engine::ids::{ConversationId, Flow, VirtualShard};
use crate::engine::mint::{hash_shard, hash64, tag_key, tag_shard};
use crate::engine::ports::Output;
use crate::sip::{Message, Method, Name};

/// INVITEs with Replaces whose CANCEL would be sent on; the oldest is forgotten first.
const CALLS_MAX: usize = 1024;

/// Legs whose tags name a shard of ours, and that are with a conversation of another worker.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// A bit a virtual shard of ours.
    own: u64,
    with: HashMap<u64, ConversationId>,
    /// INVITEs whose Call-IDs name a shard of ours, and that are with such a one.
    calls: VecDeque<(u64, ConversationId)>,
}

impl Moves {
    pub(crate) fn new(shards: &[VirtualShard]) -> Self {
        let own = shards.iter().fold(0, |own, shard| own | 1 << shard.0);
        Self {
            own,
            with: HashMap::new(),
            calls: VecDeque::new(),
        }
    }

    pub(crate) fn is_own(&self, shard: VirtualShard) -> bool {
        self.own >> shard.0 & 1 == 1
    }

    /// Takes note of where something is.
    pub(crate) fn learn(&mut self, moved: &Moved) {
        let with = moved.with.filter(|id| !self.is_own(id.shard()));
        match (moved.by, with) {
            (MovedBy::Tag(key), Some(id)) => {
                self.with.insert(key, id);
            }
            (MovedBy::Tag(key), None) => {
                self.with.remove(&key);
            }
            (MovedBy::CallId(key), Some(id)) => {
                if self.calls.len() >= CALLS_MAX {
                    self.calls.pop_front();
                }
                self.calls.push_back((key, id));
            }
            (MovedBy::CallId(_), None) => {}
        }
    }

    /// Returns who has the leg of a tag, where it is with another worker.
    pub(crate) fn find(&self, tag: &str) -> Option<ConversationId> {
        if self.with.is_empty() {
            return None;
        }
        self.with.get(&tag_key(tag)?).copied()
    }

    /// Returns to whom a CANCEL goes on whose INVITE is not here.
    pub(crate) fn invited(&self, cancel: &Message) -> Option<ConversationId> {
        if self.calls.is_empty() {
            return None;
        }
        let key = hash64(cancel.call_id());
        let mut calls = self.calls.iter().rev();
        calls.find(|(known, _)| *known == key).map(|(_, id)| *id)
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
            let by = MovedBy::Tag(key);
            let moved = Moved { shard, by, with };
            self.shared.moves.learn(&moved);
        }
    }

    fn tell_of_move(&mut self, tag: &str, key: u64, with: Option<ConversationId>) {
        if let Some(shard) = tag_shard(tag).filter(|shard| !self.shared.moves.is_own(*shard)) {
            let by = MovedBy::Tag(key);
            let moved = Moved { shard, by, with };
            self.shared.out.push_back(Output::Moved(moved));
        }
    }

    /// An INVITE is here for the dialog that it replaces: its CANCEL goes to the shard of its Call-ID.
    pub(crate) fn cancel_follows(&mut self, call_id: &str, with: ConversationId) {
        let shard = hash_shard(self.shared.shard_key, call_id);
        if !self.shared.moves.is_own(shard) {
            let (by, with) = (MovedBy::CallId(hash64(call_id)), Some(with));
            let moved = Moved { shard, by, with };
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
