//! Why something was refused, put off or not answered, as metrics and logs name it.

use crate::engine::time::Millis;

/// Whose calls ring, or are, in too great a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    User,
    /// Of one user, those that are answered among them.
    UserCalls,
    /// Of one address nothing else is known of.
    Address,
    /// Of such an address, those that are answered among them.
    AddressCalls,
    /// Streams of one user's calls.
    UserStreams,
    /// Streams of the calls of such an address.
    AddressStreams,
    /// For one user, of all who are not known.
    Called,
    /// Of all who are not known.
    Strangers,
    All,
}

impl Crowd {
    /// Every crowd, for the metrics that must exist from the start.
    pub const ALL: [Self; 9] = [
        Self::User,
        Self::UserCalls,
        Self::Address,
        Self::AddressCalls,
        Self::UserStreams,
        Self::AddressStreams,
        Self::Called,
        Self::Strangers,
        Self::All,
    ];

    /// Returns the word used in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::UserCalls => "user_calls",
            Self::Address => "address",
            Self::AddressCalls => "address_calls",
            Self::UserStreams => "user_streams",
            Self::AddressStreams => "address_streams",
            Self::Called => "called",
            Self::Strangers => "strangers",
            Self::All => "all",
        }
    }

    /// Returns which limit is reached.
    pub fn limit(self) -> &'static str {
        match self {
            Self::User => "limits.ringing_per_user is reached",
            Self::UserCalls => "limits.calls_per_user is reached",
            Self::Address => "limits.ringing_per_ip or limits.ringing_per_unproven_ip is reached",
            Self::AddressCalls => "limits.calls_per_ip is reached",
            Self::UserStreams => "limits.streams_per_user is reached",
            Self::AddressStreams => "limits.streams_per_ip is reached",
            Self::Called => "limits.ringing_per_called is reached by strangers",
            Self::Strangers => "half of limits.ringing is reached by strangers",
            Self::All => "limits.ringing is reached",
        }
    }
}

/// Of whose requests outside of dialogs too many, or too much, is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glut {
    User,
    /// Of one address nothing else is known of.
    Address,
    /// For one user, of all who are not known.
    Called,
    Strangers,
    All,
}

impl Glut {
    /// Every one, for the metrics that must exist from the start.
    pub const ALL: [Self; 5] = [
        Self::User,
        Self::Address,
        Self::Called,
        Self::Strangers,
        Self::All,
    ];

    /// Returns the word used in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Address => "address",
            Self::Called => "called",
            Self::Strangers => "strangers",
            Self::All => "all",
        }
    }

    /// Returns which limit is reached.
    pub fn limit(self) -> &'static str {
        match self {
            Self::User => "limits.texts_per_user is reached",
            Self::Address => "limits.texts_per_ip or limits.texts_per_unproven_ip is reached",
            Self::Called => "limits.texts_per_called is reached by strangers",
            Self::Strangers => "a quarter of limits.under_way is reached by strangers",
            Self::All => "limits.under_way is reached",
        }
    }
}

/// When a dialog that has ended is forgotten, though its phone has not answered the BYE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Its phone is told no more.
    AtOnce,
    /// A restart will not know of it.
    AtRestart,
}

impl Forgotten {
    /// Every one, for the metrics that must exist from the start.
    pub const ALL: [Self; 2] = [Self::AtOnce, Self::AtRestart];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "at_once",
            Self::AtRestart => "at_restart",
        }
    }
}

/// What became of a NOTIFY of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Taken,
    /// Refused for now: it comes again.
    PutOff,
    /// Refused for good: the subscription is over.
    Refused,
    /// The same, since nobody has answered.
    Unanswered,
}

impl Told {
    /// Every one, for the metrics that must exist from the start.
    pub const ALL: [Self; 4] = [Self::Taken, Self::PutOff, Self::Refused, Self::Unanswered];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::PutOff => "put_off",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What was wrong with the credentials of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// None for our realm: how every client begins.
    Missing,
    /// The right ones, for a nonce that is too old or of an earlier start.
    Stale,
    /// The right ones, but they have been used before.
    Replayed,
    /// A wrong password, an unknown user, or credentials made for another request.
    Wrong,
    /// The right ones of somebody else.
    Other,
}

impl Unproven {
    /// Every reason, for the metrics that must exist from the start.
    pub const ALL: [Self; 5] = [
        Self::Missing,
        Self::Stale,
        Self::Replayed,
        Self::Wrong,
        Self::Other,
    ];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
            Self::Wrong => "wrong",
            Self::Other => "other",
        }
    }

    /// Returns true where it speaks of guessing, and not of how every client begins.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Wrong | Self::Other => true,
            Self::Missing | Self::Stale | Self::Replayed => false,
        }
    }
}

/// Why a challenge of an upstream was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// We have no account there.
    NoAccount,
    /// The account is for other realms.
    Realm,
    /// Its algorithm, or all its qop, are not known here.
    Algorithm,
    /// It was shown the account, and does not take it.
    Refused,
    /// Too many realms have asked, or too often.
    TooOften,
    /// There is no digest challenge in it.
    Unreadable,
}

impl Unanswered {
    /// Every reason, for the metrics that must exist from the start.
    pub const ALL: [Self; 6] = [
        Self::NoAccount,
        Self::Realm,
        Self::Algorithm,
        Self::Refused,
        Self::TooOften,
        Self::Unreadable,
    ];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAccount => "no_account",
            Self::Realm => "realm",
            Self::Algorithm => "algorithm",
            Self::Refused => "refused",
            Self::TooOften => "too_often",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How a target failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetFailure {
    /// It said nothing in time.
    Silent,
    /// ICMP, or no connection.
    Unreachable,
    /// 503, with the pause that it asked for.
    Unavailable(Option<Millis>),
}

/// Why media is not sent where a leg has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// SIP is spoken there, by us or by who believes us.
    Sip,
    /// It is a port of our relay.
    Relay,
}

impl Barred {
    /// Every reason, for the metrics that must exist from the start.
    pub const ALL: [Self; 2] = [Self::Sip, Self::Relay];

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Relay => "relay",
        }
    }
}

impl TargetFailure {
    /// Every word, for the metrics that must exist from the start.
    pub const WORDS: [&'static str; 3] = ["silent", "unreachable", "unavailable"];

    /// Returns the index of its word.
    pub fn index(self) -> usize {
        match self {
            Self::Silent => 0,
            Self::Unreachable => 1,
            Self::Unavailable(_) => 2,
        }
    }

    /// Returns the word used in logs and labels.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self.index()]
    }
}
