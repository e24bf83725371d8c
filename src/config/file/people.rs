//! `domains`, `users`, `endpoints`, `upstreams`, `routes`: who is ours and where others are.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::behaviour::Redirects;
use super::listen::ListenAt;
use super::quantity::{DAY, HOUR, MINUTE, SECOND, Span, Whole};
use super::text::{FromText, TextOr, text_type};

/// Either served here or by an upstream.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Domain {
    /// What HA1 was made with; by default the domain, of `*` refork.
    pub(crate) realm: Option<String>,
    /// Phones register here.
    pub(crate) registrar: Option<Registrar>,
    /// Name of the upstream that serves the domain.
    pub(crate) upstream: Option<String>,
    /// Users may watch whether others of the domain have calls, where phones register here. None: they may.
    pub(crate) lamps: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Registrar {
    /// A longer wish is cut to this.
    pub(crate) max_expires: Span<{ 10 * SECOND }, { 30 * DAY }>,
    /// A shorter wish is refused with 423.
    pub(crate) min_expires: Span<0, DAY>,
    /// Contacts of one user.
    pub(crate) max_bindings: Whole<1, 100>,
    /// Whether a secret is asked for.
    pub(crate) auth: Auth,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            max_expires: Span(HOUR),
            min_expires: Span(MINUTE),
            max_bindings: Whole(10),
            auth: Auth::Users,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Auth {
    /// Digest against `users`.
    Users,
    /// Anyone; where every listener is on loopback.
    None,
}

/// A secret: a password, or hashes of user, realm and password (RFC 7616 3.4.2).
#[derive(Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct User {
    /// In the clear.
    pub(crate) password: Option<String>,
    /// MD5 of `user:realm:password`, 32 hexadecimal digits.
    pub(crate) ha1_md5: Option<String>,
    /// SHA-256 of `user:realm:password`, 64 hexadecimal digits.
    pub(crate) ha1_sha256: Option<String>,
    /// SHA-512/256 of `user:realm:password`, 64 hexadecimal digits.
    pub(crate) ha1_sha512_256: Option<String>,
    /// Telephone numbers by which the user is called, too.
    pub(crate) numbers: Vec<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User")
    }
}

/// `aor` and `contact` make a fixed endpoint; `instance` and `name` name one that registers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Endpoint {
    /// Whose endpoint it is.
    pub(crate) aor: Option<String>,
    /// SIP URI at which it is reached.
    pub(crate) contact: Option<String>,
    /// The instance it registers with (`+sip.instance`, RFC 5626).
    pub(crate) instance: Option<String>,
    /// What people are told.
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// SIP URIs, or maps with one and its priority and weight.
    pub(crate) targets: Vec<UpstreamTarget>,
    /// Addresses or networks that it calls from, beside those of its targets.
    #[serde(default)]
    pub(crate) sources: Vec<String>,
    /// How often each is asked whether it lives.
    #[serde(default = "probe")]
    pub(crate) probe: Option<Span<SECOND, HOUR>>,
    /// Its word on who calls is believed: no digest is asked of its addresses.
    #[serde(default = "trusted")]
    pub(crate) trusted: bool,
    /// The listener, as it stands under `listen`, that what begins here toward it leaves by.
    #[serde(default)]
    pub(crate) listener: Option<ListenAt>,
    /// What it is told of a user that has a telephone number.
    #[serde(default)]
    pub(crate) identity: Presented,
    /// What stands for the user's domain beside the number.
    #[serde(default)]
    pub(crate) from_domain: Option<String>,
    /// How long the phones that a lost participant has here are asked before it is asked for others.
    #[serde(default = "restore_after")]
    pub(crate) restore_after: Span<0, HOUR>,
    /// What we answer its challenges with.
    #[serde(default)]
    pub(crate) credentials: Option<UpstreamCredentials>,
    /// How it is told where phones are that register with it through us.
    #[serde(default)]
    pub(crate) path: PathMode,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PathMode {
    /// By a Path header (RFC 3327); the Contact stays the phone's.
    #[default]
    Path,
    /// By a Contact of ours, for upstreams that do not know of Path.
    Contact,
}

/// In From and P-Asserted-Identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presented {
    /// The first of the user's numbers.
    #[default]
    Number,
    /// The user's address.
    User,
}

pub(crate) type UpstreamTarget = TextOr<TargetUri, TargetLong>;

/// A SIP URI; `resolve` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetUri(pub(crate) String);

impl FromText for TargetUri {
    const WHAT: &'static str = "a SIP URI";

    fn form() -> String {
        "a SIP URI, or a map with `uri`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn pattern() -> String {
        "^[sS][iI][pP][sS]?:".to_owned()
    }
}

impl fmt::Display for TargetUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_type!(TargetUri);

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetLong {
    /// SIP URI.
    pub(crate) uri: String,
    /// The least is asked first; by default the place in the list.
    #[serde(default)]
    pub(crate) priority: Option<Whole<1, 1000>>,
    /// Share of the calls among those of one priority.
    #[serde(default = "weight")]
    pub(crate) weight: Whole<1, 1000>,
}

fn weight() -> Whole<1, 1000> {
    Whole(1)
}

fn restore_after() -> Span<0, HOUR> {
    Span(15 * SECOND)
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the field's type")]
fn probe() -> Option<Span<SECOND, HOUR>> {
    Some(Span(10 * SECOND))
}

fn trusted() -> bool {
    true
}

#[derive(Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamCredentials {
    /// User name.
    pub(crate) user: String,
    /// Password.
    pub(crate) password: String,
    /// The realms that are shown them. None: all that ask.
    #[serde(default)]
    pub(crate) realms: Vec<String>,
}

impl fmt::Debug for UpstreamCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamCredentials")
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Held against the Request-URI as `sip:user@host`, or `urn:service:sos`; `*` is any run of characters.
    #[serde(rename = "match")]
    pub(crate) pattern: String,
    /// Name of an upstream.
    pub(crate) to: String,
    /// What is otherwise for its calls than `fork` says.
    #[serde(default)]
    pub(crate) fork: RouteFork,
    /// Its calls are for help: no limit turns them away. `users` where `match` begins with `urn:service:sos`.
    pub(crate) emergency: Option<Emergency>,
}

/// Who may call for help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Emergency {
    Off,
    /// Whoever may call there anyway.
    Users,
    /// Whoever does, without proof.
    Anyone,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteFork {
    /// How long an endpoint rings.
    pub(crate) ring_timeout: Option<Span<SECOND, { 10 * MINUTE }>>,
    /// A 3xx: whom it names is called, or the caller is told.
    pub(crate) redirects: Option<Redirects>,
}
