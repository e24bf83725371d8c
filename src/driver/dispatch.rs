//! Whose a message is, told as cheaply as may be.

use bytes::Bytes;

use crate::engine::dispatch::owner;
use crate::engine::ids::VirtualShard;
use crate::engine::mint::{ShardKey, branch_shard};
use crate::sip::Message;

/// The beginning of every response (RFC 3261 7.2).
const RESPONSE: &[u8] = b"SIP/2.0 ";
const BRANCH: &[u8] = b";branch=";
/// A branch of ours is not longer.
const BRANCH_BYTES: usize = 64;

/// Returns the shard that owns a message; none where it can't be read, and any shard may refuse it.
///
/// A response's first branch is in its topmost Via, which is ours: no more of it is looked at. Where that
/// is wrong, the response is nobody's anyway.
pub(super) fn shard_of(bytes: &Bytes, key: ShardKey) -> Option<VirtualShard> {
    if bytes.starts_with(RESPONSE)
        && let Some(shard) = first_branch(bytes).and_then(branch_shard)
    {
        return Some(shard);
    }
    let message = Message::parse(bytes.clone()).ok()?;
    Some(owner(&message, key))
}

fn first_branch(bytes: &[u8]) -> Option<&str> {
    let at = memchr::memmem::find(bytes, BRANCH)? + BRANCH.len();
    let rest = &bytes[at..bytes.len().min(at + BRANCH_BYTES)];
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::VIRTUAL_SHARDS;
    use crate::engine::mint::Mint;

    #[test]
    fn the_short_way_leads_where_the_long_one_does() {
        let mut mint = Mint::new([3; 32]);
        for number in 0..VIRTUAL_SHARDS {
            let branch = mint.branch(VirtualShard(number));
            for via in [
                format!("SIP/2.0/UDP 127.0.0.1;branch={branch};rport=5060"),
                format!("SIP/2.0/UDP 127.0.0.1;rport;branch={branch}"),
                format!("SIP/2.0/UDP 127.0.0.1; branch = {branch}"),
            ] {
                let text = format!(
                    "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\n\
                     To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\n\
                     Content-Length: 0\r\n\r\n"
                );
                assert_eq!(
                    shard_of(&text.into(), ShardKey::default()),
                    Some(VirtualShard(number)),
                    "{via}"
                );
            }
        }
        let nonsense = Bytes::from_static(b"SIP/2.0 nonsense");
        assert_eq!(shard_of(&nonsense, ShardKey::default()), None);
    }
}
