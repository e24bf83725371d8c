//! What one shard asks another: who is at the other end of a dialog that is named in a REFER (RFC 5589 7).

use crate::engine::asker::Asker;
use crate::engine::endpoint::Endpoint;
use crate::engine::ids::{Aor, ConversationId, Token, VirtualShard};
use crate::engine::settings::Kind;
use crate::engine::time::Millis;

/// Asks for the other end of a call of somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    pub token: Token,
    /// Who asks, and is answered.
    pub by: ConversationId,
    /// Who knows.
    pub shard: VirtualShard,
    /// The dialog, as Replaces names it (RFC 3891 6.1): one between us and `whose` phone.
    pub call_id: Box<str>,
    pub local_tag: Box<str>,
    pub remote_tag: Box<str>,
    pub whose: Aor,
    /// Of what kind the conversation is that wants it.
    pub kind: Kind,
    /// It was asked for by `sips:`.
    pub secure: bool,
}

/// The answer to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub token: Token,
    pub by: ConversationId,
    /// 603 where there is no such call, it is not `whose`, or it has no other end now; 491 where that end is
    /// on its way elsewhere; 487 where it is to be called anew; 480 where who asks is in the clear and the call
    /// must not be.
    pub counterpart: Result<Box<Counterpart>, u16>,
}

/// The other end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterpart {
    pub aor: Aor,
    /// Name-addr without a tag.
    pub address: Box<str>,
    pub languages: Box<str>,
    /// The Request-URI by which an upstream was asked for it.
    pub asked: Option<Box<str>>,
    pub asker: Asker,
    /// What it wishes to be kept from others: the value of Privacy (RFC 3323 4.2).
    pub privacy: Option<Box<str>>,
    /// Where it is invited to replace its dialog.
    pub endpoint: Endpoint,
    /// Value of the Replaces that names its dialog with us; none where its phone has not got that.
    pub replaces: Option<Box<str>>,
    /// The conversation that has the dialog, where it can give it away as it stands.
    pub gives: Option<ConversationId>,
    /// It has not answered, and may yet do so for that long.
    pub rings: Option<Millis>,
}
