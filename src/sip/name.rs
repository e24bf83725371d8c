//! Header field names that Refork looks at, with their compact forms.

macro_rules! names {
    ($($variant:ident $text:literal $($compact:literal)?;)*) => {
        /// A known header field name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Name { $($variant),* }

        impl Name {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$variant, $text)),*];

            /// Returns the name in its usual writing.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            fn compact(letter: u8) -> Option<Self> {
                match letter.to_ascii_lowercase() {
                    $($($compact => Some(Self::$variant),)?)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    Via "Via" b'v';
    FlowTimer "Flow-Timer";
    From "From" b'f';
    To "To" b't';
    CallId "Call-ID" b'i';
    CSeq "CSeq";
    MaxForwards "Max-Forwards";
    Contact "Contact" b'm';
    ContentLength "Content-Length" b'l';
    ContentType "Content-Type" b'c';
    Route "Route";
    RecordRoute "Record-Route";
    Accept "Accept";
    AcceptContact "Accept-Contact" b'a';
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AlertInfo "Alert-Info";
    Allow "Allow";
    AllowEvents "Allow-Events" b'u';
    AnswerMode "Answer-Mode";
    AuthenticationInfo "Authentication-Info";
    Authorization "Authorization";
    CallInfo "Call-Info";
    ContentDisposition "Content-Disposition";
    ContentEncoding "Content-Encoding" b'e';
    Date "Date";
    Diversion "Diversion";
    Event "Event" b'o';
    Expires "Expires";
    HistoryInfo "History-Info";
    Identity "Identity" b'y';
    MaxBreadth "Max-Breadth";
    MinExpires "Min-Expires";
    MinSe "Min-SE";
    MimeVersion "MIME-Version";
    PAssertedIdentity "P-Asserted-Identity";
    PPreferredIdentity "P-Preferred-Identity";
    Path "Path";
    PrivAnswerMode "Priv-Answer-Mode";
    Privacy "Privacy";
    ProxyAuthenticate "Proxy-Authenticate";
    ProxyAuthorization "Proxy-Authorization";
    ProxyRequire "Proxy-Require";
    RAck "RAck";
    RSeq "RSeq";
    Reason "Reason";
    ReferSub "Refer-Sub";
    ReferTo "Refer-To" b'r';
    ReferredBy "Referred-By" b'b';
    RejectContact "Reject-Contact" b'j';
    Replaces "Replaces";
    ReplyTo "Reply-To";
    RequestDisposition "Request-Disposition" b'd';
    Require "Require";
    RetryAfter "Retry-After";
    Server "Server";
    ServiceRoute "Service-Route";
    SessionExpires "Session-Expires" b'x';
    SessionId "Session-ID";
    Subject "Subject" b's';
    SubscriptionState "Subscription-State";
    Supported "Supported" b'k';
    Timestamp "Timestamp";
    Unsupported "Unsupported";
    UserAgent "User-Agent";
    Warning "Warning";
    WwwAuthenticate "WWW-Authenticate";
}

/// Buckets of the perfect-enough hash below: at most a handful of names share one.
const BUCKETS: usize = 128;

/// Names by `hash`, each bucket a run in `ORDER`; made at compile time.
static TABLE: ([u8; BUCKETS + 1], [u8; Name::ALL.len()]) = table();

const fn hash(name: &[u8]) -> usize {
    let first = (name[0] | 0x20) as usize;
    let last = (name[name.len() - 1] | 0x20) as usize;
    (first * 7 + last * 31 + name.len() * 13) % BUCKETS
}

const fn table() -> ([u8; BUCKETS + 1], [u8; Name::ALL.len()]) {
    let mut starts = [0u8; BUCKETS + 1];
    let mut order = [0u8; Name::ALL.len()];
    let mut filled = 0;
    let mut bucket = 0;
    while bucket < BUCKETS {
        starts[bucket] = filled as u8;
        let mut at = 0;
        while at < Name::ALL.len() {
            if hash(Name::ALL[at].1.as_bytes()) == bucket {
                order[filled] = at as u8;
                filled += 1;
            }
            at += 1;
        }
        bucket += 1;
    }
    starts[BUCKETS] = filled as u8;
    (starts, order)
}

impl Name {
    /// Reads a name in any case or its compact form (RFC 3261 7.3.3).
    pub fn parse(name: &[u8]) -> Option<Self> {
        match name {
            [] => None,
            [letter] => Self::compact(*letter),
            _ => {
                let (starts, order) = &TABLE;
                let bucket = hash(name);
                order[starts[bucket] as usize..starts[bucket + 1] as usize]
                    .iter()
                    .map(|at| Self::ALL[*at as usize])
                    .find(|(_, text)| text.as_bytes().eq_ignore_ascii_case(name))
                    .map(|(known, _)| known)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for (name, text) in Name::ALL {
            assert_eq!(Name::parse(text.as_bytes()), Some(*name));
            assert_eq!(
                Name::parse(text.to_ascii_uppercase().as_bytes()),
                Some(*name)
            );
            assert_eq!(
                Name::parse(text.to_ascii_lowercase().as_bytes()),
                Some(*name)
            );
        }
        for (compact, name) in [
            (b"v", Name::Via),
            (b"I", Name::CallId),
            (b"m", Name::Contact),
            (b"k", Name::Supported),
        ] {
            assert_eq!(Name::parse(compact), Some(name));
        }
        for unknown in ["", "Q", "z", "X-Foo", "Vi", "Viaa", "Call_ID"] {
            assert_eq!(Name::parse(unknown.as_bytes()), None, "{unknown}");
        }
    }

    #[test]
    fn buckets_stay_short() {
        let longest = TABLE.0.windows(2).map(|run| run[1] - run[0]).max();
        assert!(longest <= Some(5), "{longest:?}");
    }
}
