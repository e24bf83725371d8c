//! Whose a message is, told from the message alone: no table is shared between workers.

use crate::engine::ids::VirtualShard;
use crate::engine::mint::{ShardKey, branch_shard, hash_shard, tag_shard};
use crate::sip::{Message, Method, Name};

/// Returns the virtual shard that owns a message.
///
/// Responses come back with a branch of ours, in-dialog requests with a To tag of ours, and an INVITE
/// with Replaces names a dialog of ours. What carries neither belongs to the hash of its Call-ID under a key, so
/// that a request, its retransmissions and its CANCEL meet; page-mode MESSAGE to that of the two
/// addresses, so that their order is kept.
pub fn owner(message: &Message, key: ShardKey) -> VirtualShard {
    if !message.is_request() {
        return message
            .branch()
            .and_then(branch_shard)
            .unwrap_or_else(|| hash_shard(key, message.call_id()));
    }
    if let Some(tag) = message.to_tag() {
        return tag_shard(tag).unwrap_or_else(|| hash_shard(key, message.call_id()));
    }
    match message.method() {
        Method::Invite => message
            .header(Name::Replaces)
            .and_then(replaced_shard)
            .unwrap_or_else(|| hash_shard(key, message.call_id())),
        Method::Message => hash_shard(key, (message.from().uri, message.to().uri)),
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Register
        | Method::Info
        | Method::Update
        | Method::Prack
        | Method::Subscribe
        | Method::Notify
        | Method::Refer
        | Method::Publish
        | Method::Other(_) => hash_shard(key, message.call_id()),
    }
}

/// Returns the shard of the dialog that a Replaces header names (RFC 3891 3).
fn replaced_shard(replaces: &str) -> Option<VirtualShard> {
    replaces
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("to-tag"))
        .find_map(|(_, tag)| tag_shard(tag.trim()))
}
