//! What the operator wishes, as the engine needs it: resolved, checked, without defaults left to take.
//! `config` makes it. `Default` is what it makes of an empty file, for tests to begin with.

mod acl;
mod limits;
mod media;
mod notice;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::acl::AclSettings;
pub use self::limits::LimitSettings;
pub use self::media::{Filler, Latch, MediaMode, MediaSettings, Reserve, Srtp};
pub use self::notice::NoticeSettings;
pub use crate::engine::group::UpstreamTarget;
use crate::engine::ids::{Aor, ListenerId};
use crate::engine::network::Network;
use crate::engine::time::Millis;
use crate::sip::digest::Algorithm;

/// Calls carry media; sessions carry text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Audio or video.
    Call,
    /// IM session: `m=message`, text in in-dialog MESSAGE.
    Session,
}

impl Kind {
    /// Returns the word used in logs, labels and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Session => "session",
        }
    }
}

/// A value that may differ between calls and IM sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerKind<T> {
    pub audio: T,
    pub message: T,
}

impl<T: Copy> PerKind<T> {
    /// Makes a value that is the same for both.
    pub fn both(value: T) -> Self {
        Self {
            audio: value,
            message: value,
        }
    }

    /// Returns the value for a kind.
    pub fn of(&self, kind: Kind) -> T {
        match kind {
            Kind::Call => self.audio,
            Kind::Session => self.message,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub node: Box<str>,
    pub timers: TimerSettings,
    /// First match wins.
    pub domains: Vec<Domain>,
    pub users: BTreeMap<Aor, Credentials>,
    /// Whose telephone numbers they are; each as the user part of an address of record.
    pub numbers: BTreeMap<Box<str>, Aor>,
    /// The number that others are shown of a user; as the user part of an address of record.
    pub shown_numbers: BTreeMap<Aor, Box<str>>,
    pub endpoints: Vec<StaticEndpoint>,
    /// Instance URN (lower case) to the name shown to people.
    pub names: BTreeMap<Box<str>, Box<str>>,
    pub upstreams: BTreeMap<Box<str>, Upstream>,
    /// First match wins; tried after domains.
    pub routes: Vec<Route>,
    pub fork: ForkSettings,
    pub refer: ReferPolicy,
    pub detect: DetectSettings,
    pub restore: RestoreSettings,
    pub notice: NoticeSettings,
    pub messages: MessageSettings,
    pub media: MediaSettings,
    pub limits: LimitSettings,
    pub acl: AclSettings,
    /// How long an ended conversation's history stays in memory for the API.
    pub history_keep: Millis,
    /// Each conversation is told in full at its end (`Output::Record`).
    pub records: bool,
}

/// RFC 3261 17, table 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerSettings {
    pub t1: Millis,
    pub t2: Millis,
    pub t4: Millis,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// Lower case host, or `*` for any.
    pub host: Box<str>,
    pub realm: Box<str>,
    pub served_by: ServedBy,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ServedBy {
    Registrar(RegistrarSettings),
    Upstream(Box<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct RegistrarSettings {
    pub max_expires: Millis,
    pub min_expires: Millis,
    pub max_bindings: usize,
    pub auth: Auth,
    /// Users may watch one another's calls (RFC 4235).
    pub lamps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Digest against `Settings::users`.
    Users,
    /// Anyone; `config` accepts it on loopback listeners only.
    None,
}

/// HA1 of a user in its realm, lower-case hex (RFC 7616 3.4.2).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Credentials {
    pub ha1_md5: Option<Box<str>>,
    pub ha1_sha256: Option<Box<str>>,
    pub ha1_sha512_256: Option<Box<str>>,
}

impl Credentials {
    /// Returns the HA1 of one algorithm.
    pub fn ha1(&self, algorithm: Algorithm) -> Option<&str> {
        match algorithm {
            Algorithm::Md5 => self.ha1_md5.as_deref(),
            Algorithm::Sha256 => self.ha1_sha256.as_deref(),
            Algorithm::Sha512_256 => self.ha1_sha512_256.as_deref(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct StaticEndpoint {
    pub aor: Aor,
    /// A SIP URI.
    pub contact: Box<str>,
    pub name: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// SIP URIs, tried in order.
    pub targets: Vec<UpstreamTarget>,
    /// Where it calls from, beside the addresses of those.
    pub sources: Vec<Network>,
    /// How often each is asked whether it lives. None: never.
    pub probe: Option<Millis>,
    /// Its word on who calls is believed, by its address.
    pub trusted: bool,
    /// What we begin toward it leaves by this one, or by another on its address.
    pub listener: Option<ListenerId>,
    /// How phones that register through us are reached from there.
    pub path: PathMode,
    /// How it is told of users that have a telephone number.
    pub identity: Presented,
    /// What stands for their domain then.
    pub from_domain: Option<Box<str>>,
    /// What we answer its challenges with.
    pub account: Option<Account>,
    /// How long the phones of a lost participant that are registered here are asked before it is asked for others.
    pub restore_after: Millis,
}

/// What an upstream is told of a user (From, P-Asserted-Identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The address of record.
    User,
    /// The user's number, where there is one (`Settings::shown_numbers`).
    Number,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            targets: Vec::new(),
            sources: Vec::new(),
            probe: Some(Millis::from_secs(10)),
            trusted: true,
            listener: None,
            path: PathMode::Path,
            identity: Presented::Number,
            from_domain: None,
            account: None,
            restore_after: Millis::from_secs(15),
        }
    }
}

/// Whom an upstream knows us as.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    pub user: Box<str>,
    pub password: Box<str>,
    /// The realms that are shown it; none: all that ask.
    pub realms: Box<[Box<str>]>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Account")
    }
}

/// How an upstream is told where phones are that register with it through us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMode {
    /// By a Path header (RFC 3327); the Contact stays the phone's.
    #[default]
    Path,
    /// By a Contact of ours, where the upstream does not know of Path.
    Contact,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `*` matches any run of characters; held against the Request-URI as `sip:user@host`, or as the URN of a
    /// service.
    pub pattern: Box<str>,
    pub to: Box<str>,
    pub fork: RouteFork,
    /// Its calls are calls for help.
    pub emergency: Option<Emergency>,
}

/// Who may call for help; no limit turns them away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emergency {
    /// Whoever may call there anyway.
    Users,
    /// Whoever does, without proof.
    Anyone,
}

/// What a route has otherwise than `ForkSettings` have it for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteFork {
    pub ring_timeout: Option<Millis>,
    pub redirects: Option<Redirects>,
}

impl RouteFork {
    /// Returns how long an endpoint rings.
    pub fn ring_timeout(self, all: &ForkSettings) -> Millis {
        self.ring_timeout.unwrap_or(all.ring_timeout)
    }

    /// Returns what becomes of a 3xx.
    pub fn redirects(self, all: &ForkSettings) -> Redirects {
        self.redirects.unwrap_or(all.redirects)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForkOrder {
    Parallel,
    Q,
    Serial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyDialogs {
    /// The caller sees one early dialog per branch.
    Forward,
    /// The caller sees one stable early dialog.
    Single,
}

/// What becomes of a phone's 3xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// Whom it names is called, where the phone's user could call that.
    Follow,
    /// It is the caller's answer.
    Pass,
}

/// Who may take a call that rings another one's phone (RFC 3891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pickup {
    /// Whoever is of the called user's domain.
    Domain,
    /// The called user alone, with another phone.
    Own,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ForkSettings {
    pub order: ForkOrder,
    pub ring_timeout: Millis,
    pub early_dialogs: EarlyDialogs,
    /// A target that says nothing for so long gives way to the next one of its hop.
    pub failover: Millis,
    /// RFC 3262: provisional responses may want a PRACK.
    pub reliable_provisionals: bool,
    pub redirects: Redirects,
    pub pickup: Pickup,
}

/// What becomes of a REFER within a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferPolicy {
    /// The transfer is ours to do; the other side's phone sees nothing of it.
    Execute,
    /// It goes to the other side's phone as it came.
    Pass,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DetectSettings {
    pub grace: Millis,
    pub transport: bool,
    pub registration: bool,
    /// None: never.
    pub probe: Option<ProbeSettings>,
    /// How long who says nothing is waited for where the upstream that it is reached through says nothing either.
    pub outage: Millis,
    /// No RTP for this long is a suspicion; None: never.
    pub media_silence: Option<Millis>,
    /// A silent leg is probed before it counts as lost (else silence alone is loss).
    pub media_confirm: bool,
    /// RFC 4028; None: none is asked for or agreed to.
    pub session_timer: Option<SessionTimerSettings>,
    pub failure_bye: Vec<FailureCause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimerSettings {
    /// Session-Expires.
    pub expires_s: u32,
    /// Min-SE.
    pub min_s: u32,
    pub refresher: RefresherChoice,
}

/// Who is to refresh a session where the far end leaves that to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefresherChoice {
    /// Our requests leave it to who answers; who asks us refreshes.
    Auto,
    /// Who sends the request.
    Uac,
    /// Who answers it.
    Uas,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSettings {
    /// A leg that showed no life for this long is probed.
    pub interval: Millis,
    pub timeout: Millis,
    pub tries: u32,
}

/// A cause in the Reason header of a BYE (RFC 3326) that says the network failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    Sip(u16),
    Q850(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOrder {
    SameFirst,
    All,
    Q,
}

/// Whose word a 6xx in a re-fork is (RFC 3261 21.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    /// The person's, for all of its endpoints.
    Person,
    /// That of the one endpoint.
    Endpoint,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RestoreSettings {
    pub order: RestoreOrder,
    pub same_first_for: PerKind<Millis>,
    /// Ask the same endpoint to answer by itself (RFC 5373).
    pub auto_answer_same: bool,
    pub avoid_voicemail: bool,
    pub decline: Decline,
    /// An endpoint that is in another conversation here is not asked while that lasts.
    pub spare_busy: bool,
    pub ring_timeout: Millis,
    pub retry: RetrySettings,
    pub timeout: PerKind<Millis>,
    pub filler: Filler,
    pub max_per_conversation: u32,
    /// INVITEs of re-forks a second, of the whole node.
    pub rate: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    pub first: Millis,
    pub factor: f64,
    pub max: Millis,
    /// Share of the delay by which it may be longer or shorter.
    pub jitter: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MessageSettings {
    pub suspect_after: Millis,
    pub per_conversation: usize,
    pub bytes_per_conversation: usize,
    pub total_bytes: usize,
    pub max_age: Millis,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "refork".into(),
            timers: TimerSettings::default(),
            domains: vec![Domain {
                host: "*".into(),
                realm: "refork".into(),
                served_by: ServedBy::Registrar(RegistrarSettings::default()),
            }],
            users: BTreeMap::new(),
            numbers: BTreeMap::new(),
            shown_numbers: BTreeMap::new(),
            endpoints: Vec::new(),
            names: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            fork: ForkSettings::default(),
            refer: ReferPolicy::Execute,
            detect: DetectSettings::default(),
            restore: RestoreSettings::default(),
            notice: NoticeSettings::default(),
            messages: MessageSettings::default(),
            media: MediaSettings::default(),
            limits: LimitSettings::default(),
            acl: AclSettings::default(),
            history_keep: Millis::from_secs(7 * 24 * 3600),
            records: false,
        }
    }
}

impl Default for TimerSettings {
    fn default() -> Self {
        Self {
            t1: Millis(500),
            t2: Millis(4000),
            t4: Millis(5000),
        }
    }
}

impl Default for RegistrarSettings {
    fn default() -> Self {
        Self {
            max_expires: Millis::from_secs(3600),
            min_expires: Millis::from_secs(60),
            max_bindings: 10,
            auth: Auth::Users,
            lamps: true,
        }
    }
}

impl Default for ForkSettings {
    fn default() -> Self {
        Self {
            order: ForkOrder::Parallel,
            ring_timeout: Millis::from_secs(60),
            early_dialogs: EarlyDialogs::Forward,
            failover: Millis::from_secs(4),
            reliable_provisionals: true,
            redirects: Redirects::Follow,
            pickup: Pickup::Domain,
        }
    }
}

impl Default for DetectSettings {
    fn default() -> Self {
        use FailureCause::{Q850, Sip};
        Self {
            grace: Millis::from_secs(5),
            transport: true,
            registration: true,
            probe: Some(ProbeSettings::default()),
            outage: Millis::from_secs(300),
            media_silence: Some(Millis::from_secs(3)),
            media_confirm: true,
            session_timer: Some(SessionTimerSettings::default()),
            failure_bye: vec![Sip(408), Sip(480), Sip(503), Q850(27), Q850(38), Q850(41)],
        }
    }
}

impl Default for SessionTimerSettings {
    fn default() -> Self {
        Self {
            expires_s: 1800,
            min_s: 90,
            refresher: RefresherChoice::Auto,
        }
    }
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: Millis::from_secs(15),
            timeout: Millis::from_secs(4),
            tries: 2,
        }
    }
}

impl Default for RestoreSettings {
    fn default() -> Self {
        Self {
            order: RestoreOrder::SameFirst,
            same_first_for: PerKind {
                audio: Millis::from_secs(2),
                message: Millis::from_secs(12),
            },
            auto_answer_same: false,
            avoid_voicemail: true,
            decline: Decline::Person,
            spare_busy: false,
            ring_timeout: Millis::from_secs(30),
            retry: RetrySettings::default(),
            timeout: PerKind::both(Millis::from_secs(60)),
            filler: Filler::Silence,
            max_per_conversation: 10,
            rate: 2500,
        }
    }
}

impl RetrySettings {
    /// Returns how long it takes until the next round, without jitter.
    pub(crate) fn pause(&self, rounds: u32) -> Millis {
        let pause = self.first.0 as f64 * self.factor.powi(rounds.min(30) as i32);
        Millis((pause as u64).clamp(1, self.max.0.max(1)))
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            first: Millis(500),
            factor: 2.0,
            max: Millis::from_secs(8),
            jitter: 0.2,
        }
    }
}

impl Default for MessageSettings {
    fn default() -> Self {
        Self {
            suspect_after: Millis::from_secs(2),
            per_conversation: 200,
            bytes_per_conversation: 1 << 20,
            total_bytes: 1 << 28,
            max_age: Millis::from_secs(3600),
        }
    }
}
